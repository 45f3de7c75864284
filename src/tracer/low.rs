//! prun's memory for calls of the 32-bit ABI in 64-bit programs: `int 0x80` takes the low halves of registers, so the
//! kernel reads their paths below 4 GiB, where such a program has none of prun's memory.
//!
//! The first of these calls that has to be looked at is made an mmap2(2) of memory of the program's own, and then once
//! more from its first instruction.

use super::Tracer;
use super::ptrace::{self, Resume};
use crate::syscall::Exit;
use crate::tracee::region::Home;
use crate::tracee::{InCall, State};
use prun_arch::narrow::MMAP2;
use prun_arch::{LOW_WINDOWS, Regs, layout};
use syscalls::Errno;

impl Tracer {
    /// Makes the call that the task is stopped at an mmap2(2).
    pub(super) fn make_low(&mut self, tid: i32, original: &Regs) -> Result<(), Errno> {
        let Some(task) = self.tasks.get_mut(&tid) else { return Err(Errno::ESRCH) };
        let prot = (libc::PROT_READ | libc::PROT_WRITE) as u64;
        let flags = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE) as u64;
        let mut regs = *original;
        regs.set_number(MMAP2);
        let given = [LOW_WINDOWS[0], layout::LOW_LEN, prot, flags, u64::MAX, 0];
        regs.set_args(given);
        ptrace::set_call_regs(tid, original, &regs)?;
        task.state = State::InCall(Box::new(InCall {
            args: original.args(),
            given,
            number: original.number(),
            abi: original.abi(),
            exit: Exit::Low,
            line: None,
        }));
        ptrace::resume(tid, Resume::ToExit, 0)
    }
}

/// What the mmap2(2) has made, for its result.
pub fn made(result: i64) -> Option<Home> {
    let window = u64::try_from(result).ok().filter(|&at| layout::is_low(at))?;
    Some(Home { window, private: true })
}
