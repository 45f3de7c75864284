//! The event loop: what the kernel says of each tracee, and how it goes on.
//!
//! * [`ptrace`]: the requests, raw. * [`launch`]: front, tracer and command are three processes; see there.
//! * [`load`]: the stops around execve(2).
//!
//! # Engines
//!
//! A handler says what should happen ([`Action`]); there are two ways to put the guest's argument registers back:
//! *one stop*, where the call returns into the trampoline, which does it in the tracee, and *two stops*, where the
//! tracer does it at the exit stop. Calls whose result is looked at always take the second.
//!
//! # Signals
//!
//! A tracee that is about to get a signal may be anywhere in the trampoline. [`Regs::fix_up`] then gives back what it
//! would have had: if the call was interrupted, the kernel restarts the *original* instruction with the original
//! arguments, and it is translated again; a handler sees no trace of prun. A restart without a handler runs the
//! trampoline's own instruction again, which the filter stops like any other: there only the slot's address, which
//! the instruction has overwritten, is given back.

pub mod launch;
mod load;
pub mod ptrace;

pub use load::Loading;

use crate::session::Session;
use crate::syscall::table;
use crate::syscall::{Action, Call, Exit};
use crate::tracee::region::Slot;
use crate::tracee::{Fs, IdMap, InCall, Mm, Registry, State, Task, memory};
use prun_arch::layout::SlotHead;
use ptrace::{Resume, Status};
use std::cell::RefCell;
use std::rc::Rc;
use syscalls::{Errno, Sysno};

/// How rewritten arguments are put back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// By the trampoline.
    OneStop,
    /// By the tracer.
    TwoStop,
}

/// The tracer.
pub struct Tracer {
    /// What all tasks share.
    pub session: Session,
    /// The tasks.
    pub tasks: Registry,
    /// Tasks whose first stop came before their creator's event: they wait for it.
    unborn: IdMap<i32, ()>,
    engine: Engine,
    /// The command is stopped by job control, and so, by its own doing, is the front.
    command_stopped: bool,
}

impl Tracer {
    /// A tracer of nothing yet.
    pub fn new(session: Session, engine: Engine) -> Self {
        Self { session, tasks: Registry::default(), unborn: IdMap::default(), engine, command_stopped: false }
    }

    /// Handles events until no tracee is left; `ended` is called when the task `command` has ended.
    ///
    /// The process `front` stops itself when the command is stopped; whoever continues the command, the front goes
    /// on with it.
    pub fn run(&mut self, command: i32, front: i32, mut ended: impl FnMut(&Session)) {
        while let Some((tid, status)) = ptrace::wait() {
            // ESRCH: killed while it was stopped; wait(2) will say so.
            match self.event(tid, status) {
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(e) => {
                    crate::note!(
                        0,
                        "task {tid} is killed: its stop could not be handled: {}",
                        crate::sys::io(e)
                    );
                    ptrace::kill(tid);
                }
            }
            if tid == command {
                let stopped = job_control(status);
                if (self.command_stopped && !stopped) || status == Status::Ended {
                    ptrace::wake(front);
                }
                self.command_stopped = stopped;
            }
            if tid == command && status == Status::Ended {
                ended(&self.session);
            }
        }
    }

    fn event(&mut self, tid: i32, status: Status) -> Result<(), Errno> {
        match status {
            Status::Ended => {
                self.tasks.remove(tid);
                self.unborn.remove(&tid);
                return Ok(());
            }
            Status::Seccomp => self.session.stats.stops += 1,
            Status::Call => self.session.stats.exits += 1,
            _ => self.session.stats.events += 1,
        }
        if let Status::Exec = status {
            return self.exec_stop(tid);
        }
        let Some(mut task) = self.tasks.take(tid) else {
            // A new task whose creator has not been heard of yet stays stopped until then.
            self.unborn.insert(tid, ());
            return Ok(());
        };
        let done = match status {
            Status::Seccomp => self.seccomp_stop(&mut task),
            Status::Call => self.exit_stop(&mut task),
            Status::NewTask(event) => self.new_task(&task, event),
            status if job_control(status) => ptrace::resume(tid, Resume::Listen, 0),
            Status::Signal(signal) => signal_stop(&task, signal),
            Status::Stop(_) | Status::Exec | Status::Ended => ptrace::resume(tid, onward(&task), 0),
        };
        self.tasks.put(task);
        done
    }

    fn seccomp_stop(&mut self, task: &mut Task) -> Result<(), Errno> {
        let tid = task.tid;
        let mut regs = ptrace::regs(tid)?;
        if let State::Loading(_) = task.state {
            return self.loader_stop(task, &regs);
        }
        if regs.at_trampoline_return() {
            regs.through(Slot::new(tid, task.slot, false).address());
            ptrace::set_regs(tid, &regs)?;
            return ptrace::resume(tid, Resume::Run, 0);
        }
        let number = regs.number();
        let Some(row) = table::row(number) else {
            return ptrace::resume(tid, Resume::Run, 0);
        };
        *self.session.stats.calls.entry(number).or_default() += 1;
        let original = regs;
        let mut call = Call::new(&mut self.session, &self.tasks, task, &mut regs);
        let action = call.enter(row);
        let (args, changed, slot) = (call.args, call.number, call.slot);
        let exit = match action {
            Ok(Action::Return(value)) => return finish(tid, original, value),
            Err(e) => return finish(tid, original, -i64::from(e.into_raw())),
            Ok(Action::Run) if args == original.args() && changed.is_none() => {
                return ptrace::resume(tid, Resume::Run, 0);
            }
            Ok(Action::Run) if self.engine == Engine::OneStop && changed.is_none() => {
                slot.set_head(&SlotHead { args: original.args(), ret: original.ip(), pad: 0 })?;
                let mut regs = original;
                regs.set_args(args);
                regs.through(slot.address());
                ptrace::set_regs(tid, &regs)?;
                return ptrace::resume(tid, Resume::Run, 0);
            }
            Ok(Action::Run) => Exit::Restore,
            Ok(Action::RunThen(exit)) => exit,
        };
        let mut regs = original;
        regs.set_args(args);
        if let Some(changed) = changed {
            regs.set_number(changed as u32);
        }
        ptrace::set_regs(tid, &regs)?;
        task.state = State::InCall(Box::new(InCall { args: original.args(), number, exit }));
        ptrace::resume(tid, Resume::ToExit, 0)
    }

    fn exit_stop(&mut self, task: &mut Task) -> Result<(), Errno> {
        let tid = task.tid;
        let State::InCall(work) = std::mem::replace(&mut task.state, State::Running) else {
            return ptrace::resume(tid, Resume::Run, 0);
        };
        let mut regs = ptrace::regs(tid)?;
        let again = Call::new(&mut self.session, &self.tasks, task, &mut regs).leave(work.exit);
        regs.set_args(work.args);
        regs.set_number(work.number);
        if again.is_some() {
            regs.again(work.number);
        }
        ptrace::set_regs(tid, &regs)?;
        ptrace::resume(tid, Resume::Run, 0)
    }

    /// fork, vfork or clone has succeeded: what the child shares follows from the flags.
    fn new_task(&mut self, parent: &Task, event: i32) -> Result<(), Errno> {
        let child = ptrace::message(parent.tid)? as i32;
        let regs = ptrace::regs(parent.tid)?;
        let flags = match (event, Sysno::new(regs.number() as usize)) {
            (_, Some(Sysno::clone)) => regs.args()[0],
            (_, Some(Sysno::clone3)) => memory::word(parent.tid, regs.args()[0]).unwrap_or(0),
            (libc::PTRACE_EVENT_VFORK, _) => libc::CLONE_VM as u64,
            _ => 0,
        };
        let has = |flag: i32| flags & flag as u32 as u64 != 0;
        let Some(slot) = self.tasks.new_slot() else {
            crate::note!(
                0,
                "task {child} is killed: a session has at most {} tasks",
                prun_arch::layout::SLOT_COUNT
            );
            ptrace::kill(child);
            return ptrace::resume(parent.tid, onward(parent), 0);
        };
        let fs = if has(libc::CLONE_FS) {
            Rc::clone(&parent.fs)
        } else {
            let cwd = Rc::clone(&parent.fs.borrow().cwd);
            Rc::new(RefCell::new(Fs { cwd }))
        };
        let mm = if has(libc::CLONE_VM) {
            Rc::clone(&parent.mm)
        } else {
            let copy: Mm = parent.mm.borrow().clone();
            Rc::new(RefCell::new(copy))
        };
        let tgid = if has(libc::CLONE_THREAD) { parent.tgid } else { child };
        self.tasks.put(Task {
            tid: child,
            tgid,
            fs,
            mm,
            slot,
            state: State::Running,
            plan: None,
            listing_host: None,
        });
        self.session.stats.tasks += 1;
        if self.unborn.remove(&child).is_some() {
            match ptrace::resume(child, Resume::Run, 0) {
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(e) => return Err(e),
            }
        }
        ptrace::resume(parent.tid, onward(parent), 0)
    }
}

/// Whether a task is stopped by job control, and stays so until SIGCONT.
fn job_control(status: Status) -> bool {
    matches!(status, Status::Stop(libc::SIGSTOP | libc::SIGTSTP | libc::SIGTTIN | libc::SIGTTOU))
}

/// How a task goes on after an event that has nothing to do with its call.
fn onward(task: &Task) -> Resume {
    if matches!(task.state, State::InCall(_)) { Resume::ToExit } else { Resume::Run }
}

/// The call is not run and returns `value`.
fn finish(tid: i32, mut regs: prun_arch::Regs, value: i64) -> Result<(), Errno> {
    regs.skip(value);
    ptrace::set_regs(tid, &regs)?;
    ptrace::resume(tid, Resume::Run, 0)
}

/// A signal is about to be delivered: the registers it finds are the guest's own.
fn signal_stop(task: &Task, signal: i32) -> Result<(), Errno> {
    let mut regs = ptrace::regs(task.tid)?;
    if regs.in_trampoline() {
        let private = task.mm.borrow().private;
        regs.fix_up(&Slot::new(task.tid, task.slot, private).head()?);
        ptrace::set_regs(task.tid, &regs)?;
    }
    ptrace::resume(task.tid, onward(task), signal)
}
