//! sendmmsg(2) where messages go to paths.
//!
//! The kernel writes to the vector it is given (`msg_len`), and what prun shares with tracees they, and so the kernel
//! for them, can only read: a copy of the vector cannot be sent. But the kernel's own sendmmsg(2) is a loop of
//! sendmsg(2), so the call is made in pieces. A message whose address has to be translated goes by a sendmsg(2) of
//! its own; those between two such go together by a sendmmsg(2) of part of the vector. In between the call is made
//! once more from its first instruction, and the task knows how far it has come. As in the kernel, what goes wrong
//! after the first message only ends the loop, and so does a signal: the call returns how many were sent.

use super::address::{MMSG_LEN, MSG_LEN, name_of, set_name};
use crate::syscall::{Action, Again, Call, Exit};
use crate::tracee::memory;
use syscalls::{Errno, Sysno};

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
            let Some(at) = vector.checked_add(i * MMSG_LEN) else { break };
            // What cannot be read the kernel says itself, when it gets there.
            let Some(mut message) = self.message(at) else { break };
            let (name, len) = name_of(&message);
            let translated = match name {
                0 => Ok(None),
                name => self.outgoing(name, u64::from(len), super::Binds::No),
            };
            let (address, len) = match translated {
                Ok(None) => continue,
                Ok(Some(new)) if i == before => new,
                // Those before it first; then it is looked at again.
                Ok(Some(_)) | Err(_) if i > before => {
                    self.args[1] = vector + before * MMSG_LEN;
                    self.args[2] = i - before;
                    return Ok(then(Piece { before, count: i - before, all, length: None }));
                }
                Ok(Some(_)) => continue,
                Err(e) => return Err(e),
            };
            set_name(&mut message, address, len as u32);
            self.args = [self.args[0], self.slot.push(&message)?, self.args[3], 0, 0, 0];
            self.number = Some(Sysno::sendmsg);
            return Ok(then(Piece { before, count: 1, all, length: Some(at + MSG_LEN as u64) }));
        }
        if before == 0 {
            return Ok(Action::Run);
        }
        self.args[1] = vector + before * MMSG_LEN;
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
