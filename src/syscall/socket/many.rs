//! sendmmsg(2) where messages go to paths, or carry credentials of a fake identity.
//!
//! The kernel writes to the vector it is given (`msg_len`), and what prun shares with tracees they, and so the kernel
//! for them, can only read: a copy of the vector cannot be sent. But the kernel's own sendmmsg(2) is a loop of
//! sendmsg(2), so the call is made in pieces. A message of which something has to be translated goes by a sendmsg(2) of
//! its own; those between two such go together by a sendmmsg(2) of part of the vector. In between the call is made
//! once more from its first instruction, and the task knows how far it has come. As in the kernel, what goes wrong
//! after the first message only ends the loop, and so does a signal: the call returns how many were sent.

use super::Sends;
use super::address::msg_len;
use crate::syscall::{Action, Again, Call, Exit};
use crate::tracee::memory;
use prun_arch::Sysno;
use syscalls::Errno;

/// `UIO_MAXIOV`: messages that one call sends at most.
const MOST: u64 = 1024;

/// How far a call has come: messages that were sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sending(pub u32);

/// A piece that is under way.
#[derive(Debug)]
pub struct Piece {
    /// Messages sent before it.
    before: u64,
    /// Messages in it.
    count: u64,
    /// Messages of the whole call.
    all: u64,
    /// It is one message, sent by sendmsg(2), whose length goes to this address.
    length: Option<u64>,
}

impl Call<'_> {
    pub(in crate::syscall) fn sendmmsg(&mut self) -> Result<Action, Errno> {
        let before = self.task.sending.take().map_or(0, |s| u64::from(s.0));
        match self.piece(before) {
            Err(_) if before > 0 => Ok(Action::Return(before as i64)),
            action => action,
        }
    }

    /// The next piece, where `before` messages have been sent.
    fn piece(&mut self, before: u64) -> Result<Action, Errno> {
        let all = u64::from(self.args[2] as u32).min(MOST);
        let vector = self.args[1];
        for i in before..all {
            let Some(at) = self.message_at(vector, i) else { break };
            // What cannot be read the kernel says itself, when it gets there.
            let Some(mut message) = self.message(at) else { break };
            match self.outgoing_message(&mut message) {
                Ok(Sends::AsIs) => continue,
                // Those before it first; then it is looked at again.
                Ok(Sends::AnotherMessage) | Err(_) if i > before => {
                    self.args[1] = self.message_at(vector, before).unwrap_or(u64::MAX);
                    self.args[2] = i - before;
                    return Ok(then(Piece { before, count: i - before, all, length: None }));
                }
                Ok(Sends::AnotherMessage) => {}
                Err(e) => return Err(e),
            }
            self.args = [self.args[0], self.slot.push(message.bytes())?, self.args[3], 0, 0, 0];
            self.number = Some(Sysno::sendmsg);
            return Ok(then(Piece {
                before,
                count: 1,
                all,
                length: Some(at + msg_len(self.regs.abi().word()) as u64),
            }));
        }
        if before == 0 {
            return Ok(Action::Run);
        }
        self.args[1] = self.message_at(vector, before).unwrap_or(u64::MAX);
        self.args[2] = all - before;
        Ok(then(Piece { before, count: all - before, all, length: None }))
    }

    /// At the exit stop of a piece.
    pub(in crate::syscall) fn sent(&mut self, piece: &Piece) -> Option<Again> {
        let result = self.regs.result();
        let outcome = match (result, piece.length) {
            (failed @ ..0, _) => Err(failed),
            (bytes, Some(at)) => memory::write(self.task.tid, at, &(bytes as u32).to_ne_bytes())
                .map(|()| 1)
                .map_err(|e| -i64::from(e.into_raw())),
            (messages, None) => Ok(messages as u64),
        };
        let sent = piece.before + outcome.unwrap_or(0);
        if outcome == Ok(piece.count) && sent < piece.all {
            self.task.sending = Some(Sending(sent as u32));
            return Some(Again);
        }
        self.regs.set_result(match outcome {
            Err(failed) if sent == 0 => failed,
            _ => sent as i64,
        });
        None
    }
}

fn then(piece: Piece) -> Action {
    Action::RunThen(Exit::Sent(piece))
}
