//! A tracee changes hands between two threads of the tracer.
//!
//! ptrace(2) knows no such request: the old thread must detach and the new one attach, and in between nobody traces
//! the task, so it must not make a call that has to be translated (the filter would answer `ENOSYS`) nor run a
//! signal handler. At the stop of a call, before it is run, the old thread blocks the task's signals, makes it go on
//! in [`prun_arch::PARK`] instead, where it sleeps, and detaches. The new thread attaches, stops it, and puts back
//! registers and signal mask so that the call is made again from its first instruction: translated by its new tracer.
//!
//! Meanwhile its process may execute a program in another thread. If the task was the leader, its number is that thread's then,
//! whose tracer tells everybody: what is found under the number is not the task that was to be taken over, and that is gone.
//!
//! Or that thread waits in execve(2) for the ends of the others, and whoever attaches waits for it: then the keeper's nudges
//! let it hear of those ends ([`ptrace::seize_from_living`]).
//!
//! A task is handed on only where the tracer could attach to it anew, which is what reading its memory by
//! process_vm_readv(2) needs too (`ptrace_may_access()`), and only where it has the code page.

use super::Tracer;
use super::ptrace::{self, Resume, Status, Waited};
use super::team::Mail;
use crate::tracee::{State, Task};
use prun_arch::Regs;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
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

/// How long it is tried to attach, and the pauses between two attempts: under Yama the task must first have said, in the
/// parking place, that prun may, and where its number is another's by now, that one's tracer must have told. Each needs a
/// CPU for microseconds only, and may wait for one on a busy machine. Where nobody can tell whether the task is still
/// alive, it is not waited for as long.
const PATIENCE: Duration = Duration::from_secs(20);
const BLIND_PATIENCE: Duration = Duration::from_millis(200);
const PAUSE: Duration = Duration::from_micros(50);
const LONGEST_PAUSE: Duration = Duration::from_millis(5);

/// The state of a task, as proc_pid_stat(5) has it; `None` without /proc, and where there is no such task.
fn state(tid: i32) -> Option<u8> {
    let status = std::fs::read_to_string(format!("/proc/{tid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("State:"))?.trim().bytes().next()
}

/// For tests, in debug builds: the new thread comes so many milliseconds late, as it may on a machine that is busy.
#[cfg(debug_assertions)]
fn dawdle() {
    if let Some(millis) = std::env::var("PRUN_SLOW_ADOPTION").ok().and_then(|text| text.parse().ok()) {
        std::thread::sleep(Duration::from_millis(millis));
    }
}

impl Tracer {
    /// Hands the task, stopped at a call, to member `to`; true when it is gone.
    pub(super) fn hand_on(&mut self, tid: i32, regs: &Regs, to: usize) -> Result<bool, Errno> {
        let Some(task) = self.tasks.get(&tid) else { return Ok(false) };
        let parkable = !task.home.private && self.session.tracing.code == super::Code::Shared;
        if tid == self.command || !parkable || !self.attachable(tid, regs) {
            return Ok(false);
        }
        let mask = ptrace::signal_mask(tid)?;
        ptrace::set_signal_mask(tid, u64::MAX)?;
        let mut parked = *regs;
        parked.park(self.session.tracer, task.home.window);
        ptrace::set_call_regs(tid, regs, &parked)?;
        let Some(mut task) = self.tasks.remove(&tid) else { return Ok(false) };
        if let Some(pin) = task.pin.take() {
            self.team.placement.free(&pin);
        }
        // Its new tracer counts other events.
        (task.heat, task.called) = (0, None);
        match ptrace::detach(tid) {
            Ok(()) => {}
            Err(e) => {
                self.tasks.insert(tid, task);
                return Err(e);
            }
        }
        let parked = Box::new(Parked { task, regs: *regs, mask });
        assert!(self.team.send(to, Mail::Adopt(parked)), "the keeper names members that exist");
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
        self.me.attaching.store(true, Ordering::Relaxed);
        self.team.watch();
        let attached = self.attach(&parked);
        self.me.attaching.store(false, Ordering::Relaxed);
        match attached {
            Ok(Some(how)) => {
                let Parked { mut task, .. } = parked;
                task.inside = false;
                self.tasks.insert(tid, task);
                self.session.stats.adopted.add(1);
                // It can only have been killed meanwhile, and wait(2) will say so.
                let _ = ptrace::resume(tid, how, 0);
            }
            // It was killed on the way, or replaced.
            Ok(None) | Err(Errno::ESRCH) => self.gone(&parked.task),
            Err(e) => {
                crate::note!(0, "task {tid} is killed: it could not be attached to: {}", crate::sys::io(e));
                ptrace::kill(parked.task.tgid);
                self.gone(&parked.task);
            }
        }
    }

    fn attach(&mut self, parked: &Parked) -> Result<Option<Resume>, Errno> {
        let tid = parked.task.tid;
        #[cfg(debug_assertions)]
        dawdle();
        // More than those there are: some may not have been heard of.
        let room = 2 * self.tasks.len() + 100;
        let mut early;
        let (begun, mut pause) = (Instant::now(), PAUSE);
        loop {
            let seized = ptrace::seize_from_living(tid, &mut self.meanwhile, room);
            let own = self.meanwhile.iter().position(|(of, _)| *of == tid);
            early = own.and_then(|at| self.meanwhile.remove(at));
            match seized {
                Ok(()) => break,
                // Who has the number now is traced by another.
                Err(Errno::EPERM) if self.me.has_lost(tid) => return Ok(None),
                Err(Errno::EPERM) => {
                    let patience = match state(tid) {
                        // Killed, and its parent has not asked for it yet: the kernel gives the same answer.
                        Some(b'Z' | b'X') => return Ok(None),
                        Some(_) => PATIENCE,
                        None => BLIND_PATIENCE,
                    };
                    if begun.elapsed() > patience {
                        return Err(Errno::EPERM);
                    }
                    std::thread::sleep(pause);
                    pause = LONGEST_PAUSE.min(pause * 2);
                }
                Err(e) => return Err(e),
            }
        }
        let mut next = || match early.take().map(ptrace::heard) {
            Some(Waited::Event(_, status)) => Some(status),
            _ => ptrace::wait_for(tid),
        };
        if self.me.has_lost(tid) {
            // It was traced by another, who has handed it on as well: that mail comes later.
            ptrace::interrupt(tid)?;
            return match next() {
                Some(Status::Ended) | None => Ok(None),
                Some(_) => ptrace::detach(tid).map(|()| None),
            };
        }
        ptrace::interrupt(tid)?;
        loop {
            match next() {
                Some(Status::Ended) | None => return Ok(None),
                Some(Status::Stop(signal)) => {
                    let mut regs = parked.regs;
                    regs.unpark(parked.regs.number());
                    // Without a filter it was parked at a call's beginning, where one register did not show; nothing has
                    // changed it since, and it shows here.
                    regs.take_hidden(&ptrace::call_regs(tid)?);
                    ptrace::set_call_regs(tid, &parked.regs, &regs)?;
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
        self.leave(task);
    }
}
