//! Programs that may be executed but not read (mode 0111): the kernel lets nobody but root look into their memory, the
//! tracer included (`ptrace_access_vm()`), so their paths could not be translated.
//!
//! A task may make itself readable (`PR_SET_DUMPABLE`), and its registers are always the tracer's. So the program runs
//! up to its first system call, whatever that is; there it makes prctl(2) instead, and goes back to before its own
//! call. Then it is like any other program, and the loader runs: it finds the stack where execve(2) left it.

use super::Tracer;
use super::load::{home_of, load};
use super::plain::say_abi;
use super::ptrace::{self, Resume};
use crate::exec::Plan;
use crate::tracee::State;
use prun_arch::Regs;
use prun_arch::Sysno;
use syscalls::Errno;

/// A program on the way to its first call.
#[derive(Debug)]
pub struct Locked {
    /// Stack pointer as execve(2) left it.
    pub sp: u64,
    /// What the loader has to know.
    pub plan: Option<Box<Plan>>,
    /// How far it is.
    pub stage: Stage,
}

/// What a [`Locked`] program's next stop is.
#[derive(Debug)]
pub enum Stage {
    /// The end of execve(2).
    Exec,
    /// The beginning of its first call.
    Call,
    /// The end of the prctl(2) in its place, which came with these registers.
    Unlocked(Box<Regs>),
}

impl Tracer {
    /// The next stop at a call's beginning or end.
    pub(super) fn unlock(&mut self, tid: i32) -> Result<(), Errno> {
        let Some(task) = self.tasks.get_mut(&tid) else { return Err(Errno::ESRCH) };
        let State::Locked(locked) = &mut task.state else { return Err(Errno::EINVAL) };
        let mut regs = ptrace::regs(tid)?;
        say_abi(tid, &mut regs);
        let mut own = match &locked.stage {
            Stage::Exec => {
                locked.stage = Stage::Call;
                return ptrace::resume(tid, Resume::ToExit, 0);
            }
            Stage::Call => {
                locked.stage = Stage::Unlocked(Box::new(regs));
                let mut prctl = regs;
                prctl.set_number(regs.abi().number(Sysno::prctl));
                prctl.set_args([libc::PR_SET_DUMPABLE as u64, 1, 0, 0, 0, 0]);
                ptrace::set_regs(tid, &prctl)?;
                return ptrace::resume(tid, Resume::ToExit, 0);
            }
            Stage::Unlocked(own) => **own,
        };
        if regs.result() != 0 {
            return Err(Errno::new(regs.result().unsigned_abs() as i32));
        }
        let (sp, mut plan) = (locked.sp, locked.plan.take());
        let number = own.number();
        own.unpark(number);
        task.mm.lock().dumpable = Some(0);
        let home = home_of(&self.session, tid, &own, sp, plan.as_deref());
        load(&self.session, task, own, own.result(), sp, &mut plan, home)
    }
}
