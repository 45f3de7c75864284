//! Addresses of AF_UNIX sockets with a path (unix(7)): translated on their way to the kernel, and back.
//!
//! The kernel keeps the address a socket was bound to and tells it to every peer, so what was bound is remembered:
//! the guest reads the very bytes it passed. A host path that does not fit the 108 bytes of `sun_path` is reached
//! through a directory that the tracer holds open.

use super::paths::Named;
use super::{Action, Call, Exit};
use crate::path::{Buf, PATH_MAX};
use crate::resolve::{Follow, Restrict};
use crate::tracee::memory;
use syscalls::{Errno, Sysno};

/// `sizeof(struct sockaddr_un)`.
const ADDR_MAX: usize = 110;
/// Offset of `sun_path`.
const PATH_AT: usize = 2;
/// `sizeof(struct msghdr)` and `sizeof(struct mmsghdr)`.
const MSG_LEN: usize = 56;
const MMSG_LEN: u64 = 64;

/// An address the kernel writes: where, how long the buffer is, and where the length goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    address: u64,
    room: u32,
    length: u64,
}

/// What the exit stop of a receiving call looks at.
#[derive(Debug)]
pub struct Received(smallvec::SmallVec<[Place; 1]>);

impl Call<'_> {
    /// A call with an address in argument `at` and its length behind it.
    pub(super) fn addr_in(&mut self, at: usize) -> Result<Action, Errno> {
        let binds = self.regs.number() == Sysno::bind as u32;
        if let Some((address, len)) = self.outgoing(self.args[at], self.args[at + 1], binds)? {
            self.args[at] = address;
            self.args[at + 1] = len;
        }
        Ok(Action::Run)
    }

    /// Translates one address; `None` if it holds no path that has to be.
    fn outgoing(&mut self, address: u64, len: u64, binds: bool) -> Result<Option<(u64, u64)>, Errno> {
        let len = len as u32 as usize;
        let mut bytes = [0; ADDR_MAX + 1];
        if !(PATH_AT + 1..=ADDR_MAX).contains(&len)
            || memory::read(self.task.tid, address, &mut bytes[..len]).is_err()
            || u16::from_ne_bytes([bytes[0], bytes[1]]) != libc::AF_UNIX as u16
            || bytes[PATH_AT] == 0
        {
            return Ok(None);
        }
        let path = &bytes[PATH_AT..len];
        let n = memchr::memchr(0, path).unwrap_or(path.len());
        let path = path[..n].to_vec();
        self.session.text[..n].copy_from_slice(&path);
        self.session.text[n] = 0;
        let follow = if binds { Follow::Entry } else { Follow::Yes };
        let named = self.find_text(None, n, follow, binds, Restrict::default())?;
        let Named::Found(found) = named else { return Ok(None) };
        if found.void {
            return Err(if binds { Errno::EROFS } else { Errno::ENOENT });
        }
        if binds {
            self.permit(&Named::Found(found), super::Touch::Makes, follow)?;
        }
        let limit = ADDR_MAX - PATH_AT;
        let host = if self.session.resolver.host().len() <= limit {
            self.session.resolver.host().to_vec()
        } else {
            self.shorten(limit)?
        };
        if host.len() > limit {
            return Err(Errno::ENAMETOOLONG);
        }
        if host[..host.len() - 1] == path[..] {
            return Ok(None);
        }
        if binds {
            self.session.sockets.bound(&host[..host.len() - 1], path);
        }
        let mut new = (libc::AF_UNIX as u16).to_ne_bytes().to_vec();
        new.extend_from_slice(&host);
        Ok(Some((self.slot.push(&new)?, new.len() as u64)))
    }

    pub(super) fn addr_out(&mut self, at: usize) -> Result<Action, Errno> {
        let (address, length) = (self.args[at], self.args[at + 1]);
        let mut room = [0; 4];
        if address == 0 || memory::read(self.task.tid, length, &mut room).is_err() {
            return Ok(Action::Run);
        }
        let place = Place { address, room: u32::from_ne_bytes(room), length };
        Ok(Action::RunThen(Exit::Received(Received([place].into_iter().collect()))))
    }

    fn message(&self, at: u64) -> Option<[u8; MSG_LEN]> {
        let mut bytes = [0; MSG_LEN];
        memory::read(self.task.tid, at, &mut bytes).ok().map(|()| bytes)
    }

    /// sendmsg(2): the address is inside the structure, of which the kernel gets a copy.
    pub(super) fn sendmsg(&mut self) -> Result<Action, Errno> {
        if let Some(copy) = self.outgoing_message(self.args[1])? {
            self.args[1] = copy;
        }
        Ok(Action::Run)
    }

    fn outgoing_message(&mut self, at: u64) -> Result<Option<u64>, Errno> {
        let Some(mut bytes) = self.message(at) else { return Ok(None) };
        let (name, len) = name_of(&bytes);
        if name == 0 {
            return Ok(None);
        }
        let Some((address, len)) = self.outgoing(name, u64::from(len), false)? else { return Ok(None) };
        bytes[..8].copy_from_slice(&address.to_ne_bytes());
        bytes[8..12].copy_from_slice(&(len as u32).to_ne_bytes());
        Ok(Some(self.slot.push(&bytes)?))
    }

    /// sendmmsg(2) may send fewer messages than asked for: it sends those before the first with a path, or, if
    /// that one comes first, none but an error says so; callers then send it singly.
    pub(super) fn sendmmsg(&mut self) -> Result<Action, Errno> {
        let count = u64::from(self.args[2] as u32).min(1024);
        for i in 0..count {
            let Some(at) = self.args[1].checked_add(i * MMSG_LEN) else { break };
            let Some(bytes) = self.message(at) else { break };
            let (name, len) = name_of(&bytes);
            if name == 0 {
                continue;
            }
            let Some((address, len)) = self.outgoing(name, u64::from(len), false)? else { continue };
            if i > 0 {
                self.args[2] = i;
                break;
            }
            // The first: its own address is replaced where the guest keeps it only for the kernel to read.
            let mut copy = bytes;
            copy[..8].copy_from_slice(&address.to_ne_bytes());
            copy[8..12].copy_from_slice(&(len as u32).to_ne_bytes());
            self.args = [self.args[0], self.slot.push(&copy)?, self.args[3], 0, 0, 0];
            self.number = Some(Sysno::sendmsg);
            return Ok(Action::RunThen(Exit::Received(Received(
                [Place { address: 0, room: 0, length: at + MSG_LEN as u64 }].into_iter().collect(),
            ))));
        }
        Ok(Action::Run)
    }

    pub(super) fn recvmsg(&mut self) -> Result<Action, Errno> {
        let place = self.incoming_message(self.args[1]);
        Ok(match place {
            Some(place) => Action::RunThen(Exit::Received(Received([place].into_iter().collect()))),
            None => Action::Run,
        })
    }

    pub(super) fn recvmmsg(&mut self) -> Result<Action, Errno> {
        let count = u64::from(self.args[2] as u32).min(1024);
        let places: smallvec::SmallVec<[Place; 1]> = (0..count)
            .filter_map(|i| self.incoming_message(self.args[1].checked_add(i * MMSG_LEN)?))
            .collect();
        Ok(if places.is_empty() { Action::Run } else { Action::RunThen(Exit::Received(Received(places))) })
    }

    fn incoming_message(&self, at: u64) -> Option<Place> {
        let (address, room) = name_of(&self.message(at)?);
        (address != 0).then_some(Place { address, room, length: at + 8 })
    }

    /// At the exit stop: every address that is a path of the host becomes the guest's.
    pub(super) fn received(&mut self, received: &Received) {
        let result = self.regs.result();
        if result < 0 {
            return;
        }
        for place in &received.0 {
            if place.address == 0 {
                // One message of sendmmsg(2), sent as sendmsg(2): its length, and that it was one.
                if memory::write(self.task.tid, place.length, &(result as u32).to_ne_bytes()).is_ok() {
                    self.regs.set_result(1);
                }
            } else if let Err(e) = self.incoming(place) {
                crate::note!(1, "an address could not be translated back: {}", crate::sys::io(e));
            }
        }
    }

    fn incoming(&mut self, place: &Place) -> Result<(), Errno> {
        let mut len = [0; 4];
        memory::read(self.task.tid, place.length, &mut len)?;
        let len = u32::from_ne_bytes(len) as usize;
        let have = len.min(place.room as usize).min(ADDR_MAX);
        let mut bytes = [0; ADDR_MAX];
        if have <= PATH_AT {
            return Ok(());
        }
        memory::read(self.task.tid, place.address, &mut bytes[..have])?;
        if u16::from_ne_bytes([bytes[0], bytes[1]]) != libc::AF_UNIX as u16 || bytes[PATH_AT] == 0 {
            return Ok(());
        }
        let path = &bytes[PATH_AT..have];
        let path = &path[..memchr::memchr(0, path).unwrap_or(path.len())];
        let guest = match self.session.sockets.guest(path) {
            Some(guest) => guest,
            None => {
                let mut out = Buf::<PATH_MAX>::new();
                if path[0] != b'/' || !self.session.view.guest(path, &mut out) || out.as_bytes() == path {
                    return Ok(());
                }
                out.as_bytes().to_vec()
            }
        };
        let mut new = bytes[..PATH_AT].to_vec();
        new.extend_from_slice(&guest);
        new.push(0);
        let fits = new.len().min(place.room as usize);
        memory::write(self.task.tid, place.address, &new[..fits])?;
        memory::write(self.task.tid, place.length, &(new.len() as u32).to_ne_bytes())
    }
}

/// `msg_name` and `msg_namelen`.
fn name_of(message: &[u8; MSG_LEN]) -> (u64, u32) {
    let word = |at: usize| message[at..at + 8].try_into().map_or(0, u64::from_ne_bytes);
    (word(0), word(8) as u32)
}
