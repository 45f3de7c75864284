//! The engine for hosts that refuse seccomp filters: every call of every task stops at its beginning and at its end.
//!
//! What the filter would have decided is decided here, from the same table ([`filter::decide`]); so are calls of other
//! ABIs, which the filter knows by the kernel's own word. Here that word is `PTRACE_GET_SYSCALL_INFO`'s (Linux 5.3);
//! before, the instruction that made the call tells, which another thread could have changed since: prun is no
//! boundary against a program that attacks it.
//!
//! The kernel gives the two stops of a call the same status. They alternate: whoever is stopped at a call for the
//! first time is at a beginning, a new task is behind the call that made it, execve(2) ends in the new program, and a
//! signal or job control comes after an end, before the next beginning.

use super::{Engine, Tracer, finish, ptrace};
use crate::syscall::filter::{self, Decision};
use crate::tracee::{State, memory};
use prun_arch::abi::Abi;
use prun_arch::{ABI, ABIS, NATIVE_CALL, Regs, Sysno};
use syscalls::Errno;

impl Tracer {
    /// A stop at a call's beginning or end.
    pub(super) fn call_stop(&mut self, tid: i32) -> Result<(), Errno> {
        let Some(task) = self.tasks.get_mut(&tid) else { return Err(Errno::ESRCH) };
        task.inside = !task.inside;
        let stats = &self.session.stats;
        if task.inside {
            stats.stops.add(1)
        } else {
            stats.exits.add(1)
        }
        if let State::Locked(_) = task.state {
            return self.unlock(tid);
        }
        if !task.inside {
            return self.exit_stop(tid);
        }
        let mut regs = ptrace::call_regs(tid)?;
        let on = ptrace::Resume::ToExit;
        match task.state {
            State::Starting if regs.call() == Some(Sysno::execve) => task.state = State::Running,
            State::Starting => return ptrace::resume(tid, on, 0),
            State::Loading(_) => return self.entry_stop(tid, regs),
            _ => {}
        }
        let unknown = -i64::from(Errno::ENOSYS.into_raw());
        let Some(abi) = self.settled(tid, &mut regs) else {
            return finish(tid, Engine::Plain, regs, unknown);
        };
        // No code of prun's makes calls in these tasks: nothing comes from its window.
        match filter::decide(abi, regs.number(), &regs.args(), 0, &self.session.tracing.needs) {
            Decision::Allow => ptrace::resume(tid, on, 0),
            Decision::Unknown => {
                self.unknown(abi, regs.number());
                finish(tid, Engine::Plain, regs, unknown)
            }
            Decision::Stop => self.entry_stop(tid, regs),
        }
    }
}

impl Tracer {
    /// Says in a call's registers which ABI it is of; `None` for one that prun does not translate, of which `--strict`
    /// hears.
    pub(super) fn settled(&self, tid: i32, regs: &mut Regs) -> Option<Abi> {
        let abi = abi_of(tid, regs);
        match abi {
            Some(abi) => regs.set_abi(abi),
            None => {
                if let Some(strict) = &self.session.strict {
                    strict.foreign();
                }
            }
        }
        abi
    }

    /// A call of no known number is about to be refused: `--strict` hears of it.
    pub(super) fn unknown(&self, abi: Abi, number: u32) {
        if let Some(strict) = &self.session.strict {
            strict.refused(abi, number, Errno::ENOSYS);
        }
    }
}

/// The ABI of the call that a task is stopped in, by the kernel's word; `None` if prun knows none such.
pub(super) fn abi_of(tid: i32, regs: &Regs) -> Option<Abi> {
    match ptrace::call_arch(tid) {
        Ok(arch) => ABIS.iter().copied().find(|abi| abi.audit() == arch),
        Err(_) => {
            let mut code = [0; NATIVE_CALL.len()];
            let at = regs.ip().wrapping_sub(code.len() as u64);
            // A call from a page that may only be executed: no old kernel has a CPU that can do that.
            let native = memory::read(tid, at, &mut code).is_err() || code == NATIVE_CALL;
            if native && !regs.is_32bit() { Some(ABI) } else { ABIS.get(1).copied() }
        }
    }
}

/// Says in the registers of a task that is inside a call which ABI it is of.
pub(super) fn say_abi(tid: i32, regs: &mut Regs) {
    if regs.apparent_abi().is_none()
        && let Some(abi) = abi_of(tid, regs)
    {
        regs.set_abi(abi);
    }
}
