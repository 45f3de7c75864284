//! Arguments that another task may change while the call is under way, and paths under which it may put a link.
//!
//! The kernel reads a path, an address or a structure after prun has looked at it. What prun has translated lies in
//! memory that only the tracer writes; what may stay as the guest wrote it is copied there too where other tasks share
//! the caller's memory. A guest that is not trusted (`--confine`) could have it in memory that processes share, so
//! there everything is copied; and what a path leads to is opened here, where no link is followed, and reached by the
//! kernel through that descriptor, so that it is of no use to put a link in its place.

use super::Call;
use super::table::{Arg, Row, Work};
use crate::path::{NAME_MAX, PATH_MAX};
use crate::resolve::{Follow, Last};
use crate::sys;
use crate::tracee::memory::{self, Text};
use crate::tracee::rights::AsGuest;
use std::os::fd::AsRawFd;
use syscalls::Errno;

/// An address that no program can use, for an argument that could not be read.
const NOWHERE: u64 = !0xfff;

/// What a call gets for a path that cannot be opened.
fn refused(e: Errno) -> Result<Option<Vec<u8>>, Errno> {
    match e {
        // Before Linux 5.6 nothing can be opened like this.
        Errno::ENOSYS => Ok(None),
        // A link has been put there in between, which no guest meets: the call is refused whatever else is wrong with it.
        Errno::ELOOP => Err(e),
        e => failing(e).map(Some).ok_or(e),
    }
}

/// A path on which the kernel meets this error by itself, so that it comes in the kernel's own order, after those of
/// flags and of other arguments; `None` where there is no such path on this host.
pub(super) fn failing(e: Errno) -> Option<Vec<u8>> {
    let path = match e {
        Errno::ENOENT => b"/proc/none/x\0".to_vec(),
        Errno::ENOTDIR => b"/proc/version/x/.\0".to_vec(),
        Errno::ENAMETOOLONG => [b"/", [b'x'; NAME_MAX + 1].as_slice(), b"/x\0"].concat(),
        // Nobody but its user may look into that.
        Errno::EACCES => b"/proc/1/fd/none/x\0".to_vec(),
        Errno::ELOOP => [b"/proc/self/root".repeat(21).as_slice(), b"/x\0"].concat(),
        _ => return None,
    };
    (sys::stat(&path, Last::Kept).err() == Some(e)).then_some(path)
}

/// Bytes of `struct open_how` for which a slot has room, beside a path.
const SLOT_HOW: usize = 4096;

impl Call<'_> {
    /// Whether arguments are copied before they are looked at. Slots of the tracee's own are no better than what it has.
    pub(super) fn copies(&self) -> bool {
        // The task and the directory know its memory; one more owner is another task.
        !self.task.home.private && (self.session.confine || self.task.mm.owners() > 2)
    }

    /// Puts copies of a call's paths in their place.
    ///
    /// # Errors
    /// `ENAMETOOLONG` when the slot is full, which two paths do not fill.
    pub(super) fn keep_arguments(&mut self, row: &Row) -> Result<(), Errno> {
        let mut text = [0; PATH_MAX];
        for (i, arg) in row.args.iter().enumerate() {
            let at = self.args[i];
            // utimensat(2) without a path means the descriptor.
            if matches!(arg, Arg::Pass | Arg::At) || at == 0 {
                continue;
            }
            self.args[i] = match memory::read_path(self.task.tid, at, &mut text) {
                Text::Of(len) => self.slot.push(&text[..=len])?,
                Text::Fault => NOWHERE,
                // As long, whatever it is by then.
                Text::TooLong => self.slot.push(&text)?,
            };
        }
        if row.work == Work::Open2 {
            let size = self.args[3] as usize;
            // More than a page is none to the kernel.
            if size <= sys::page_size() as usize {
                let mut how = vec![0; size];
                self.args[2] = match memory::read(self.task.tid, self.args[2], &mut how) {
                    Ok(()) if size <= SLOT_HOW => self.slot.push(&how)?,
                    Ok(()) => self.session.region.put_scratch(self.task.tid, self.home(), &how)?,
                    Err(_) => NOWHERE,
                };
            }
        }
        Ok(())
    }

    /// The resolver's host path by way of a descriptor, NUL-terminated, for a guest that is not trusted; `None` where it
    /// goes as it is. `makes`: nothing there is what the call wants, too.
    ///
    /// # Errors
    /// What looking it up ends with.
    pub(super) fn straight(&mut self, follow: Follow, makes: bool) -> Result<Option<Vec<u8>>, Errno> {
        if !self.session.confine || self.task.home.private {
            return Ok(None);
        }
        let host = self.session.resolver.host().to_vec();
        let path = &host[..host.len() - 1];
        // Nobody can make a link in /proc, and links are what it is full of.
        if path.starts_with(b"/proc/") || path == b"/proc" || path == b"/" {
            return Ok(None);
        }
        if host.len() > PATH_MAX {
            // Reached through descriptors anyway.
            return Ok(None);
        }
        let rights = AsGuest::of(self.task.tid);
        if rights.borrowed() {
            // Another user's tracer shows it no descriptors.
            return Ok(None);
        }
        // The last component, with what slashes follow it.
        let end = path.iter().rposition(|&b| b != b'/').map_or(0, |i| i + 1);
        let slash = path[..end].iter().rposition(|&b| b == b'/').unwrap_or(0);
        let name = &path[slash + 1..];
        let directory = end < path.len() || matches!(name, b"." | b"..");
        let whole = follow == Follow::Yes || (follow == Follow::No && directory);
        if whole {
            match sys::open_straight(&host) {
                // A descriptor is a link in /proc: followed, or gone through.
                Ok(fd) => return self.by_descriptor(fd, if directory { b"/." } else { b"" }).map(Some),
                Err(Errno::ENOENT) if makes && !directory => {}
                Err(e) => return refused(e),
            }
        }
        let parent = if slash == 0 { b"/\0".to_vec() } else { [&path[..slash], b"\0"].concat() };
        match sys::open_straight(&parent) {
            Ok(fd) => {
                self.made_new = whole;
                let name = [b"/", name].concat();
                self.by_descriptor(fd, &name).map(Some)
            }
            Err(e) => refused(e),
        }
    }

    /// The path of what lies at `rest` below a descriptor that is kept open until the task's next call.
    fn by_descriptor(&mut self, fd: std::os::fd::OwnedFd, rest: &[u8]) -> Result<Vec<u8>, Errno> {
        let path = format!("/proc/{}/fd/{}", self.session.tracer, fd.as_raw_fd());
        self.task.held.push(fd);
        self.pinned = true;
        Ok([path.as_bytes(), rest, b"\0"].concat())
    }
}
