//! chroot(2) under a fake identity: see [`crate::emulate::root`].

use super::super::table::Touch;
use super::super::{Action, Call, Named};
use crate::emulate::identity::{Cap, Identity};
use crate::emulate::{proc, root};
use crate::path::{Buf, GuestPath, PATH_MAX};
use crate::resolve::{Follow, Restrict};
use crate::sys;
use crate::tracee::Root;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;
use syscalls::Errno;

impl Call<'_> {
    /// Guest path of the caller's root; `None` for the view's own.
    pub(in super::super) fn root(&self) -> Option<GuestPath> {
        root::current(&self.task.fs, &self.session.view)
    }

    /// A directory becomes the root of the caller, and of all that share its directories. What is wrong with the path
    /// comes before what is wrong with the caller (`chroot()` of `fs/open.c`).
    pub(super) fn chroot(&mut self, identity: &Identity) -> Result<Option<Action>, Errno> {
        let Some(len) = self.read(self.args[0]) else { return Ok(None) };
        // Of several guest paths of the directory, the one that is named.
        self.compares = true;
        let named = self.find_text(None, len, Follow::Yes, true, Restrict::default())?;
        self.permit(&named, Touch::Reads, Follow::Yes)?;
        let canonical = self.canonical(&named);
        let Some(place) = self.located(&named, None, len, Follow::Yes)? else { return Err(Errno::ENOENT) };
        let dir = place.open(libc::O_PATH | libc::O_DIRECTORY)?;
        // It has to be searched, by the host's modes and by the guest's.
        let dir = sys::open_at(dir.as_fd(), b".\0", libc::O_PATH)?;
        let cred = self.cred(identity);
        if !cred.may(&identity.seen(&place, &place.attr()?), libc::X_OK as u32) {
            return Err(Errno::EACCES);
        }
        if !cred.can(Cap::SysChroot) {
            return Err(Errno::EPERM);
        }
        let guest = match canonical {
            Some(guest) => guest,
            None => self.guest_of(&dir).ok_or(Errno::ENOENT)?,
        };
        let root = (guest.as_bytes() != b"/").then(|| Arc::new(Root { guest, dir: Some(dir) }));
        self.task.fs.lock().root = root;
        Ok(Some(Action::Return(0)))
    }

    /// The guest path that was resolved, unless it ends in a link of /proc.
    fn canonical(&self, named: &Named) -> Option<GuestPath> {
        let host = self.session.resolver.host();
        let host = &host[..host.len() - 1];
        let plain = proc::link_at(host.strip_suffix(b"/").unwrap_or(host)).is_none();
        (plain && matches!(named, Named::Found(_))).then(|| GuestPath::new(self.session.resolver.guest()))
    }

    fn guest_of(&self, dir: &OwnedFd) -> Option<GuestPath> {
        let mut text = [0; PATH_MAX];
        let n = sys::readlink(format!("/proc/self/fd/{}\0", dir.as_raw_fd()).as_bytes(), &mut text).ok()?;
        let mut guest = Buf::<PATH_MAX>::new();
        let shown = !proc::is_deleted(&text[..n]) && self.session.view.guest(&text[..n], &mut guest);
        shown.then(|| GuestPath::new(guest.as_bytes()))
    }
}
