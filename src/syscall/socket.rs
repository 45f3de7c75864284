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
use crate::emulate::proc::text;
use crate::path::{Buf, PATH_MAX};
use crate::resolve::{Follow, Restrict};
use crate::tracee::memory;
use address::{ADDR_MAX, Header, PATH_AT, mmsg_len, of_path, path_of};
use prun_arch::Sysno;
use syscalls::Errno;

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

/// What becomes of a message's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sends {
    /// It stays as the guest wrote it.
    AsIs,
    /// Another one is sent in its place.
    AnotherMessage,
}

/// What the exit stop of a receiving call looks at.
#[derive(Debug)]
pub struct Received {
    places: smallvec::SmallVec<[Place; 1]>,
    /// The result counts messages.
    counts: bool,
}

impl Received {
    fn one(place: Place) -> Self {
        Self { places: [place].into_iter().collect(), counts: false }
    }
}

impl Call<'_> {
    /// A call with an address in argument `at` and its length behind it.
    pub(super) fn addr_in(&mut self, at: usize) -> Result<Action, Errno> {
        let binds = if self.call() == Some(Sysno::bind) { Binds::Yes } else { Binds::No };
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

    /// Translates one address; `None` if the kernel gets the guest's own.
    fn outgoing(&mut self, address: u64, len: u64, binds: Binds) -> Result<Option<(u64, u64)>, Errno> {
        let len = len as u32 as usize;
        let mut bytes = [0; ADDR_MAX];
        if self.session.emulation.ports.is_some() {
            let some = len.min(inet::INET_MAX);
            if memory::read(self.task.tid, address, &mut bytes[..some]).is_ok()
                && inet::is_inet(&bytes[..some])
            {
                let new = self.outgoing_inet(&bytes[..some], binds)?.map(|new| (new, some as u64));
                return if new.is_none() { self.kept_address(&bytes[..some]) } else { Ok(new) };
            }
        }
        if len > ADDR_MAX || memory::read(self.task.tid, address, &mut bytes[..len]).is_err() {
            return Ok(None);
        }
        let new = self.outgoing_path(&bytes[..len], binds)?;
        if new.is_none() { self.kept_address(&bytes[..len]) } else { Ok(new) }
    }

    /// An address that stays as it is, in memory that nobody else changes where somebody could.
    fn kept_address(&mut self, bytes: &[u8]) -> Result<Option<(u64, u64)>, Errno> {
        Ok(if self.copies() { Some((self.slot.push(bytes)?, bytes.len() as u64)) } else { None })
    }

    /// Translates an address of the file system; `None` where there is none, or its path is the host's.
    fn outgoing_path(&mut self, bytes: &[u8], binds: Binds) -> Result<Option<(u64, u64)>, Errno> {
        let Some(path) = path_of(bytes) else { return Ok(None) };
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
        if !binds {
            self.may_send(&named, n)?;
        }
        if binds {
            self.permit(&Named::Found(found), super::Touch::Makes, follow)?;
        }
        let limit = ADDR_MAX - PATH_AT;
        let host = match self.straight(follow, false)? {
            Some(path) => path,
            None if self.session.resolver.host().len() <= limit => self.session.resolver.host().to_vec(),
            None => self.shorten(limit)?,
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
        Ok(Action::RunThen(Exit::Received(Received::one(place))))
    }

    pub(super) fn message(&self, at: u64) -> Option<Header> {
        let mut header = Header::new(self.regs.abi().word());
        memory::read(self.task.tid, at, header.bytes_mut()).ok().map(|()| header)
    }

    /// Address of the message behind `i` others in a vector.
    pub(super) fn message_at(&self, vector: u64, i: u64) -> Option<u64> {
        vector.checked_add(i * mmsg_len(self.regs.abi().word()))
    }

    /// sendmsg(2): the address is inside the structure, of which the kernel gets a copy.
    pub(super) fn sendmsg(&mut self) -> Result<Action, Errno> {
        if let Some(mut message) = self.message(self.args[1])
            && self.outgoing_message(&mut message)? == Sends::AnotherMessage
        {
            self.args[1] = self.slot.push(message.bytes())?;
        }
        Ok(Action::Run)
    }

    /// Puts the kernel's terms into a copy of a message's header: its address, and under a fake identity credentials.
    fn outgoing_message(&mut self, message: &mut Header) -> Result<Sends, Errno> {
        let mut sends = self.outgoing_credentials(message)?;
        let (name, len) = message.name();
        if self.copies() && (name != 0 || self.session.confine) {
            sends = Sends::AnotherMessage;
        }
        if name != 0
            && let Some((address, len)) = self.outgoing(name, u64::from(len), Binds::No)?
        {
            message.set_name(address, len as u32);
            sends = Sends::AnotherMessage;
        }
        Ok(sends)
    }

    pub(super) fn recvmsg(&mut self) -> Result<Action, Errno> {
        let place = self.incoming_message(self.args[1], 0);
        Ok(match place {
            Some(place) => Action::RunThen(Exit::Received(Received::one(place))),
            None => Action::Run,
        })
    }

    pub(super) fn recvmmsg(&mut self) -> Result<Action, Errno> {
        let count = u64::from(self.args[2] as u32).min(1024);
        let places: smallvec::SmallVec<[Place; 1]> = (0..count)
            .filter_map(|i| self.incoming_message(self.message_at(self.args[1], i)?, i as u32))
            .collect();
        Ok(match places.is_empty() {
            true => Action::Run,
            false => Action::RunThen(Exit::Received(Received { places, counts: true })),
        })
    }

    fn incoming_message(&self, at: u64, message: u32) -> Option<Place> {
        let header = self.message(at)?;
        let (address, room) = header.name();
        (address != 0).then_some(Place { address, room, length: at + header.length_at(), message })
    }

    /// At the exit stop: every address that is a path of the host becomes the guest's.
    pub(super) fn received(&mut self, received: &Received) {
        let result = self.regs.result();
        if result < 0 {
            return;
        }
        // recvmmsg(2) returns how many messages it has got; what it has not written is not looked at.
        for place in received.places.iter().filter(|p| !received.counts || i64::from(p.message) < result) {
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
        if len > have {
            return self.incoming_part(place, &mut bytes[..have], len);
        }
        let Some(path) = path_of(&bytes[..have]) else { return Ok(()) };
        let guest = self.guest_address(path);
        if guest == path {
            return Ok(());
        }
        self.tell_address(place, &of_path(&guest), have)
    }

    /// Writes an address over the `had` bytes of another, of which none is left, and its length.
    fn tell_address(&self, place: &Place, address: &[u8], had: usize) -> Result<(), Errno> {
        let mut bytes = [0; ADDR_MAX];
        let fits = address.len().min(place.room as usize).min(ADDR_MAX);
        bytes[..fits].copy_from_slice(&address[..fits]);
        memory::write(self.task.tid, place.address, &bytes[..fits.max(had)])?;
        memory::write(self.task.tid, place.length, &(address.len() as u32).to_ne_bytes())
    }

    /// A path that a socket is bound to, as the guest has bound it or may reach it. What it cannot reach stays as it is,
    /// as in a chroot.
    fn guest_address(&self, host: &[u8]) -> Vec<u8> {
        let mut out = Buf::<PATH_MAX>::new();
        match self.session.sockets.guest(host) {
            Some(guest) => guest,
            None if host.starts_with(b"/") && self.session.view.guest(host, &mut out) => {
                out.as_bytes().to_vec()
            }
            None => host.to_vec(),
        }
    }

    /// An address that did not fit: the kernel has written the beginning of the host's, and told its length.
    ///
    /// `net/unix` has the whole of it. Where that is not to be read, or there are several that begin so and the guest
    /// would be told different things, the path is zero, not the host's. With less room than the family takes, it may be
    /// any socket's, and nothing is changed.
    fn incoming_part(&mut self, place: &Place, told: &mut [u8], len: usize) -> Result<(), Errno> {
        let (Some(family), Some(host_len)) = (told.first_chunk::<PATH_AT>(), len.checked_sub(PATH_AT + 1))
        else {
            return Ok(());
        };
        let start = &told[PATH_AT..];
        let unix = *family == (libc::AF_UNIX as u16).to_ne_bytes();
        if !unix || len > ADDR_MAX || start.first() == Some(&0) || !self.session.view.merges() {
            return Ok(());
        }
        let text = std::fs::read(format!("/proc/{}/net/unix", self.task.tid)).unwrap_or_default();
        let mut fitting = text::bound(&text)
            .filter(|host| host.len() == host_len && host.starts_with(start))
            .map(|host| of_path(&self.guest_address(host)));
        let known = fitting.next().filter(|first| {
            fitting.all(|other| {
                other.len() == first.len() && other.iter().zip(first).take(told.len()).all(|(a, b)| a == b)
            })
        });
        drop(fitting);
        match known {
            Some(new) => self.tell_address(place, &new, told.len()),
            None => {
                told[PATH_AT..].fill(0);
                memory::write(self.task.tid, place.address, told)
            }
        }
    }
}
