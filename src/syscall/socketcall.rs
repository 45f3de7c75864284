//! socketcall(2) of the 32-bit ABI: one number for all calls about sockets, which one says the first argument; the
//! arguments are words in memory. They are read, worked on as any call's, and where they change the kernel gets a copy.

use super::filter::{self, Decision};
use super::{Action, Call, table};
use crate::tracee::memory;
use prun_arch::Sysno;
use prun_arch::abi::i386::SOCKET_CALLS;
use syscalls::Errno;

/// Bytes of a word.
const WORD: usize = 4;

impl Call<'_> {
    pub(super) fn socketcall(&mut self) -> Result<Action, Errno> {
        let outer = self.args;
        let which = (outer[0] as u32).checked_sub(1).and_then(|i| SOCKET_CALLS.get(i as usize));
        let Some(&(call, count)) = which else { return Ok(Action::Run) };
        let mut bytes = [0; 6 * WORD];
        let bytes = &mut bytes[..count * WORD];
        if memory::read(self.task.tid, outer[1], bytes).is_err() {
            return Ok(Action::Run);
        }
        let mut args = [0; 6];
        for (arg, word) in args.iter_mut().zip(bytes.chunks_exact(WORD)) {
            *arg = word.try_into().map_or(0, u32::from_ne_bytes).into();
        }
        // The filter could not see them.
        let number = prun_arch::abi::number(call);
        let needs = &self.session.tracing.needs;
        if filter::decide(prun_arch::ABI, number, &args, 0, needs) != Decision::Stop {
            return Ok(Action::Run);
        }
        let Some(row) = table::row(prun_arch::ABI, number) else { return Ok(Action::Run) };
        self.args = args;
        self.inner = Some(call);
        let action = self.enter(row)?;
        let becomes = self.number.take().unwrap_or(call);
        if becomes == call && self.args == args {
            self.args = outer;
        } else if !matches!(action, Action::Return(_)) {
            self.args = self.gathered(becomes)?;
        }
        Ok(action)
    }

    /// The arguments of socketcall(2) for those of `call`.
    fn gathered(&mut self, call: Sysno) -> Result<[u64; 6], Errno> {
        // Of two with one name the later has all arguments.
        let Some(i) = SOCKET_CALLS.iter().rposition(|&(c, _)| c == call) else { return Err(Errno::ENOSYS) };
        let count = SOCKET_CALLS[i].1;
        let bytes: Vec<u8> = self.args[..count].iter().flat_map(|&arg| (arg as u32).to_ne_bytes()).collect();
        Ok([i as u64 + 1, self.slot.push(&bytes)?, 0, 0, 0, 0])
    }
}
