//! A tracee changes hands between two threads of the tracer.
//!
//! ptrace(2) knows no such request: the old thread must detach and the new one attach, and in between nobody traces
//! the task, so it must not make a call that has to be translated (the filter would answer `ENOSYS`) nor run a
//! signal handler. At the stop of a call, before it is run, the old thread blocks the task's signals, makes it go on
//! in [`prun_arch::PARK`] instead, where it sleeps, and detaches. The new thread attaches, stops it, and puts back
//! registers and signal mask so that the call is made again from its first instruction: translated by its new tracer.
//!
//! A task is handed on only where the tracer could attach to it anew, which is what reading its memory by
//! process_vm_readv(2) needs too (`ptrace_may_access()`), and only where it has the code page.

use super::Tracer;
use super::ptrace::{self, Resume, Status};
use super::team::Mail;
use crate::tracee::{State, Task};
use prun_arch::Regs;
use std::time::Duration;
use syscalls::Errno;

/// A task under way.
#[derive(Debug)]
pub struct Parked {
    task: Box<Task>,
    /// Registers at the stop of the call that it is to make again.
    regs: Regs,
    /// Signals the guest has blocked.
    mask: u64,
}

/// Attempts to attach before it is given up, and the pause between two: under Yama the task must first have said,
/// in the parking place, that prun may.
const ATTEMPTS: u32 = 2000;
const PAUSE: Duration = Duration::from_micros(50);

impl Tracer {
    /// Hands the task, stopped at a call, to member `to`; true when it is gone.
    pub(super) fn hand_on(&mut self, tid: i32, regs: &Regs, to: usize) -> Result<bool, Errno> {
        let Some(task) = self.tasks.get(&tid) else { return Ok(false) };
        let parkable = !task.private && self.session.tracing.code == super::Code::Shared;
        if tid == self.command || !parkable || !self.attachable(tid, regs) {
            return Ok(false);
        }
        let mask = ptrace::signal_mask(tid)?;
        ptrace::set_signal_mask(tid, u64::MAX)?;
        let mut parked = *regs;
        parked.park(self.session.tracer);
        ptrace::set_call_regs(tid, &parked)?;
        let Some(mut task) = self.tasks.remove(&tid) else { return Ok(false) };
        if let Some(pin) = task.pin.take() {
            self.team.placement.free(&pin);
        }
        task.heat = 0;
        match ptrace::detach(tid) {
            Ok(()) => {}
            Err(e) => {
                self.tasks.insert(tid, task);
                return Err(e);
            }
        }
        let parked = Box::new(Parked { task, regs: *regs, mask });
        if !self.team.send(to, Mail::Adopt(parked)) {
            // The keeper names members that exist; a parked task without one ends by itself.
            crate::note!(0, "task {tid} is lost: there is no member {to}");
        }
        Ok(true)
    }

    /// Whether attaching anew would be allowed.
    fn attachable(&self, tid: i32, regs: &Regs) -> bool {
        let mut byte = [0; 1];
        crate::tracee::memory::readable(tid, regs.ip() - 1, &mut byte)
    }

    /// Takes a task over.
    pub(super) fn adopt(&mut self, parked: Parked) {
        let tid = parked.task.tid;
        match self.attach(&parked) {
            Ok(Some(how)) => {
                let Parked { mut task, .. } = parked;
                task.inside = false;
                self.tasks.insert(tid, task);
                self.session.stats.adopted.add(1);
                match ptrace::resume(tid, how, 0) {
                    Ok(()) | Err(Errno::ESRCH) => {}
                    Err(e) => crate::note!(0, "task {tid} does not go on: {}", crate::sys::io(e)),
                }
            }
            // It was killed on the way.
            Ok(None) | Err(Errno::ESRCH) => self.gone(&parked.task),
            Err(e) => {
                crate::note!(0, "task {tid} is killed: it could not be attached to: {}", crate::sys::io(e));
                ptrace::kill(parked.task.tgid);
                self.gone(&parked.task);
            }
        }
    }

    fn attach(&self, parked: &Parked) -> Result<Option<Resume>, Errno> {
        let tid = parked.task.tid;
        let mut attempts = 0;
        loop {
            match ptrace::seize(tid) {
                Ok(()) => break,
                Err(Errno::EPERM) if attempts < ATTEMPTS => {
                    attempts += 1;
                    std::thread::sleep(PAUSE);
                }
                Err(e) => return Err(e),
            }
        }
        ptrace::interrupt(tid)?;
        loop {
            match ptrace::wait_for(tid) {
                Some(Status::Ended) | None => return Ok(None),
                Some(Status::Stop(signal)) => {
                    let mut regs = parked.regs;
                    regs.unpark(parked.regs.number());
                    ptrace::set_call_regs(tid, &regs)?;
                    ptrace::set_signal_mask(tid, parked.mask)?;
                    let stopped = super::job_control(Status::Stop(signal));
                    return Ok(Some(if stopped {
                        Resume::Listen
                    } else {
                        self.session.tracing.engine.onward()
                    }));
                }
                // Nothing else is due in the parking place, but it would be passed by.
                Some(_) => ptrace::resume(tid, Resume::Run, 0)?,
            }
        }
    }

    fn gone(&self, task: &Task) {
        debug_assert!(matches!(task.state, State::Running), "only such tasks are handed on");
        self.team.directory.leave(task.tid, task.slot);
        self.team.ended();
    }
}
