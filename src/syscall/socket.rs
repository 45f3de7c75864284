//! Addresses of AF_UNIX sockets with a path (unix(7)): translated on their way to the kernel, and back.
//!
//! The kernel keeps the address a socket was bound to and tells it to every peer, so what was bound is remembered:
//! the guest reads the very bytes it passed. A host path that does not fit the 108 bytes of `sun_path` is reached
//! through a directory that the tracer holds open.

pub mod address;
mod many;

pub use many::{Piece, Sending};

use super::paths::Named;
use super::{Action, Call, Exit, inet};
use crate::path::{Buf, PATH_MAX};
use crate::resolve::{Follow, Restrict};
use crate::tracee::memory;
use address::{ADDR_MAX, MMSG_LEN, MSG_LEN, PATH_AT, name_of, of_path, path_of, set_name};
use syscalls::{Errno, Sysno};

/// An address the kernel writes: where, how long the buffer is, and where the length goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    address: u64,
    room: u32,
    length: u64,
    /// Which message of the call it belongs to.
    message: u32,
}

/// Whether an address is going to be a socket's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Binds {
    /// bind(2): the name is made.
    Yes,
    /// It is looked up.
    No,
}

/// What the exit stop of a receiving call looks at.
#[derive(Debug)]
pub struct Received(smallvec::SmallVec<[Place; 1]>);

impl Call<'_> {
    /// A call with an address in argument `at` and its length behind it.
    pub(super) fn addr_in(&mut self, at: usize) -> Result<Action, Errno> {
        let binds = if self.regs.number() == Sysno::bind as u32 { Binds::Yes } else { Binds::No };
        if binds == Binds::Yes
            && let Some(done) = self.bind_anywhere()
        {
            return done.map(|()| Action::Return(0));
        }
        if let Some((address, len)) = self.outgoing(self.args[at], self.args[at + 1], binds)? {
            self.args[at] = address;
            self.args[at + 1] = len;
        }
        Ok(Action::Run)
    }

    /// Translates one address; `None` if it holds no path that has to be.
    fn outgoing(&mut self, address: u64, len: u64, binds: Binds) -> Result<Option<(u64, u64)>, Errno> {
        let len = len as u32 as usize;
        let mut bytes = [0; ADDR_MAX];
        if self.session.emulation.ports.is_some() {
            let some = len.min(inet::INET_MAX);
            if memory::read(self.task.tid, address, &mut bytes[..some]).is_ok()
                && inet::is_inet(&bytes[..some])
            {
                let new = self.outgoing_inet(&bytes[..some], binds)?;
                return Ok(new.map(|new| (new, some as u64)));
            }
        }
        if len > ADDR_MAX || memory::read(self.task.tid, address, &mut bytes[..len]).is_err() {
            return Ok(None);
        }
        let Some(path) = path_of(&bytes[..len]) else { return Ok(None) };
        let path = path.to_vec();
        let n = path.len();
        let binds = binds == Binds::Yes;
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
        let new = of_path(&host[..host.len() - 1]);
        Ok(Some((self.slot.push(&new)?, new.len() as u64)))
    }

    pub(super) fn addr_out(&mut self, at: usize) -> Result<Action, Errno> {
        let (address, length) = (self.args[at], self.args[at + 1]);
        let mut room = [0; 4];
        if address == 0 || memory::read(self.task.tid, length, &mut room).is_err() {
            return Ok(Action::Run);
        }
        let place = Place { address, room: u32::from_ne_bytes(room), length, message: 0 };
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
        let Some((address, len)) = self.outgoing(name, u64::from(len), Binds::No)? else { return Ok(None) };
        set_name(&mut bytes, address, len as u32);
        Ok(Some(self.slot.push(&bytes)?))
    }

    pub(super) fn recvmsg(&mut self) -> Result<Action, Errno> {
        let place = self.incoming_message(self.args[1], 0);
        Ok(match place {
            Some(place) => Action::RunThen(Exit::Received(Received([place].into_iter().collect()))),
            None => Action::Run,
        })
    }

    pub(super) fn recvmmsg(&mut self) -> Result<Action, Errno> {
        let count = u64::from(self.args[2] as u32).min(1024);
        let places: smallvec::SmallVec<[Place; 1]> = (0..count)
            .filter_map(|i| self.incoming_message(self.args[1].checked_add(i * MMSG_LEN)?, i as u32))
            .collect();
        Ok(if places.is_empty() { Action::Run } else { Action::RunThen(Exit::Received(Received(places))) })
    }

    fn incoming_message(&self, at: u64, message: u32) -> Option<Place> {
        let (address, room) = name_of(&self.message(at)?);
        (address != 0).then_some(Place { address, room, length: at + 8, message })
    }

    /// At the exit stop: every address that is a path of the host becomes the guest's.
    pub(super) fn received(&mut self, received: &Received) {
        let result = self.regs.result();
        if result < 0 {
            return;
        }
        // recvmmsg(2) returns how many messages it has got; what it has not written is not looked at.
        let many = self.regs.number() == Sysno::recvmmsg as u32;
        for place in received.0.iter().filter(|p| !many || i64::from(p.message) < result) {
            if let Err(e) = self.incoming(place) {
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
        memory::read(self.task.tid, place.address, &mut bytes[..have])?;
        if inet::is_inet(&bytes[..have]) {
            if self.incoming_inet(&mut bytes[..have]) {
                memory::write(self.task.tid, place.address, &bytes[..have])?;
            }
            return Ok(());
        }
        let Some(path) = path_of(&bytes[..have]) else { return Ok(()) };
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
        let new = of_path(&guest);
        let fits = new.len().min(place.room as usize);
        memory::write(self.task.tid, place.address, &new[..fits])?;
        memory::write(self.task.tid, place.length, &(new.len() as u32).to_ne_bytes())
    }
}
