//! Making, removing and opening files under a fake identity.

use super::super::paths::Named;
use super::super::table::{Arg, Row, Touch};
use super::super::{Action, Call};
use super::Later;
use super::files::open_to_owner;
use crate::emulate::identity::owner::{PERMISSIONS, SET_IDS};
use crate::emulate::identity::status::{self, File};
use crate::emulate::identity::{Cap, Cred, Device, Identity};
use crate::emulate::proc;
use crate::resolve::{Follow, Restrict};
use crate::sys;
use crate::sys::file::{Attr, Place};
use crate::tracee::memory;
use prun_arch::Sysno;
use std::sync::Arc;
use syscalls::Errno;

const TYPE: u32 = libc::S_IFMT;
const W_X: u32 = (libc::W_OK | libc::X_OK) as u32;
/// Devices that everybody may open, by major and minor number (`Documentation/admin-guide/devices.txt`).
const OPEN_TO_ALL: [((u32, u32), &[u8]); 7] = [
    ((1, 3), b"/dev/null\0"),
    ((1, 5), b"/dev/zero\0"),
    ((1, 7), b"/dev/full\0"),
    ((1, 8), b"/dev/random\0"),
    ((1, 9), b"/dev/urandom\0"),
    ((5, 0), b"/dev/tty\0"),
    ((5, 2), b"/dev/ptmx\0"),
];

/// What open(2) opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Opens {
    /// What its path names.
    AsIs,
    /// Something else: the arguments have been changed.
    Elsewhere,
}

/// A file that a call makes.
#[derive(Debug)]
pub struct Made {
    /// Where; `None`: at the descriptor that the call returns.
    place: Option<Place>,
    ids: (u32, u32),
    /// Permission bits that the host does not get.
    mode: Option<u32>,
}

impl Call<'_> {
    /// The caller's umask, of proc_pid_status(5).
    fn umask(&self) -> u32 {
        let status = sys::read_text(&format!("/proc/{}/status", self.task.tid)).unwrap_or_default();
        let field = status.lines().find_map(|l| l.strip_prefix("Umask:"));
        field.and_then(|f| u32::from_str_radix(f.trim(), 8).ok()).unwrap_or(0o022)
    }

    /// Whose a new file at `place` is: the caller's, or its directory's group (inode(7), "set-group-ID").
    ///
    /// # Errors
    /// `EACCES` where the guest's modes forbid an entry in that directory.
    fn owner_of_new(&self, identity: &Identity, place: &Place) -> Result<(u32, u32), Errno> {
        let cred = self.cred(identity);
        let mut ids = (cred.uid.fs, cred.gid.fs);
        if cred.can(Cap::DacOverride) && !identity.records.any() {
            return Ok(ids);
        }
        let parent = place.parent();
        if let Ok(attr) = parent.attr() {
            let seen = identity.seen(&parent, &attr);
            if !cred.may(&seen, W_X) {
                return Err(Errno::EACCES);
            }
            if seen.mode & libc::S_ISGID != 0 {
                ids.1 = seen.gid;
            }
        }
        Ok(ids)
    }

    /// Sees to it that what the call makes at `place` is recorded; `mode` is asked for, from argument `.1`.
    fn will_make(
        &mut self,
        identity: &Identity,
        place: Place,
        format: u32,
        mode: Option<(u32, usize)>,
    ) -> Result<(), Errno> {
        let ids = self.owner_of_new(identity, &place)?;
        let cred = self.cred(identity);
        // `mode_strip_sgid()`: nobody gets into the directory's group by that.
        let stripped = |mode: u32| {
            let both = libc::S_ISGID | libc::S_IXGRP;
            let strange = format != libc::S_IFDIR && !cred.in_group(ids.1) && !cred.can(Cap::Fsetid);
            if strange && mode & both == both { mode & !libc::S_ISGID } else { mode }
        };
        let mode = mode.map(|(mode, at)| (stripped(mode), at));
        if let Some((mode, at)) = mode {
            self.args[at] = mode.into();
        }
        let mut kept = None;
        if let Some((mode, at)) = mode
            && host_mode(&cred, format, mode) != mode
        {
            self.args[at] = host_mode(&cred, format, mode).into();
            let settable = if format == libc::S_IFDIR { PERMISSIONS & !SET_IDS } else { PERMISSIONS };
            kept = Some(mode & settable & !self.umask());
        }
        if ids != (identity.wanted.uid, identity.wanted.gid) || kept.is_some() {
            let place = (format != 0).then_some(place);
            self.then = Some(Later::Made(Made { place, ids, mode: kept }));
        }
        Ok(())
    }

    /// At the exit stop: a file was made; `result` is its descriptor where it has one.
    pub(super) fn made(&mut self, identity: &Identity, made: Made, result: i32) {
        let place = made.place.unwrap_or_else(|| Place::open_file(self.task.tid, result));
        // Nothing can be done for a file that somebody has removed by now.
        let Ok(attr) = place.attr() else { return };
        let done = identity.records.change(&place, &attr, |record| {
            (record.uid, record.gid) = (Some(made.ids.0), Some(made.ids.1));
            if let Some(mode) = made.mode {
                // A directory has its parent's set-group-ID bit: the host's kernel sees to that.
                let inherits = if attr.mode & TYPE == libc::S_IFDIR { attr.mode & libc::S_ISGID } else { 0 };
                record.mode = Some((mode | inherits, attr.mode & PERMISSIONS));
            }
        });
        if let Err(e) = done {
            crate::note!(0, "the owner of a new file is forgotten: {}", sys::io(e));
        }
    }

    /// A call that makes an entry and no descriptor; `mode` is the argument that holds its mode.
    pub(super) fn makes(
        &mut self,
        identity: &Identity,
        row: &Row,
        mode: Option<usize>,
    ) -> Result<Option<Action>, Errno> {
        let cred = self.cred(identity);
        let base = (cred.uid.fs, cred.gid.fs) == (identity.wanted.uid, identity.wanted.gid);
        let asked = mode.map(|at| self.args[at] as u32);
        let format = match (row.call, asked) {
            (Sysno::mkdir | Sysno::mkdirat, _) => libc::S_IFDIR,
            (Sysno::symlink | Sysno::symlinkat, _) => libc::S_IFLNK,
            (_, Some(mode)) if mode & TYPE != 0 => mode & TYPE,
            _ => libc::S_IFREG,
        };
        let open = asked.is_none_or(|mode| open_to_owner(format, mode) == mode);
        if base && open && !identity.records.any() {
            return Ok(None);
        }
        let Some(place) = self.place(row, Touch::Makes)? else { return Ok(None) };
        if place.attr().is_ok() {
            // `EEXIST`, in the kernel's own order.
            return Ok(None);
        }
        self.will_make(identity, place, format, asked.zip(mode))?;
        Ok(None)
    }

    pub(super) fn mkdir(&mut self, identity: &Identity, row: &Row) -> Result<Option<Action>, Errno> {
        let at = row.args.len();
        identity.records.changed();
        self.makes(identity, row, Some(at))
    }

    /// mknod(2): a device is an empty file with a record.
    pub(super) fn mknod(&mut self, identity: &Identity, row: &Row) -> Result<Option<Action>, Errno> {
        let at = row.args.len();
        let mode = self.args[at] as u32;
        let format = mode & TYPE;
        if !matches!(format, libc::S_IFCHR | libc::S_IFBLK) {
            return self.makes(identity, row, Some(at));
        }
        let Some(place) = self.place(row, Touch::Makes)? else { return Ok(None) };
        if place.attr().is_ok() {
            return Err(Errno::EEXIST);
        }
        let ids = self.owner_of_new(identity, &place)?;
        if !self.cred(identity).can(Cap::Mknod) {
            return Err(Errno::EPERM);
        }
        let mode = mode & PERMISSIONS & !self.umask();
        place.make(0o600)?;
        // `new_decode_dev()`
        let dev = self.args[at + 1] as u32;
        let number = ((dev & 0xf_ff00) >> 8, (dev & 0xff) | (dev >> 12 & 0xf_ff00));
        let recorded = place.attr().and_then(|attr| {
            identity.records.change(&place, &attr, |record| {
                (record.uid, record.gid) = (Some(ids.0), Some(ids.1));
                record.mode = Some((mode, attr.mode & PERMISSIONS));
                record.device = Some(Device { format, number });
            })
        });
        if let Err(e) = recorded {
            // Without its record it would be an empty file.
            place.unlink()?;
            return Err(e);
        }
        Ok(Some(Action::Return(0)))
    }

    /// bind(2) of a socket with a path (unix(7)): that makes a file.
    pub(super) fn binds(&mut self, identity: &Identity) -> Result<Option<Action>, Errno> {
        let cred = self.cred(identity);
        let base = (cred.uid.fs, cred.gid.fs) == (identity.wanted.uid, identity.wanted.gid);
        let len = self.args[2] as u32 as usize;
        let mut bytes = [0; size_of::<libc::sockaddr_un>()];
        if (base && !identity.records.any())
            || !(3..=bytes.len()).contains(&len)
            || memory::read(self.task.tid, self.args[1], &mut bytes[..len]).is_err()
            || u16::from_ne_bytes([bytes[0], bytes[1]]) != libc::AF_UNIX as u16
            || bytes[2] == 0
        {
            return Ok(None);
        }
        let path = &bytes[2..len];
        let len = memchr::memchr(0, path).unwrap_or(path.len());
        self.session.text[..len].copy_from_slice(&path[..len]);
        self.session.text[len] = 0;
        let named = self.find_text(None, len, Follow::Entry, true, Restrict::default())?;
        let Some(place) = self.located(&named, None, len, Follow::Entry)? else { return Ok(None) };
        if place.attr().is_err() {
            self.will_make(identity, place, libc::S_IFSOCK, None)?;
        }
        Ok(None)
    }

    /// Whether the guest's modes let the caller take an entry out of its directory: write permission, and in a
    /// sticky one ownership.
    fn may_remove(&self, identity: &Identity, place: &Place) -> Result<(), Errno> {
        let cred = self.cred(identity);
        if cred.can(Cap::DacOverride) && cred.can(Cap::Fowner) {
            return Ok(());
        }
        let parent = place.parent();
        let Ok(attr) = parent.attr() else { return Ok(()) };
        let dir = identity.seen(&parent, &attr);
        if attr.mode & TYPE != libc::S_IFDIR {
            return Ok(());
        }
        if !cred.may(&dir, W_X) {
            return Err(Errno::EACCES);
        }
        if dir.mode & libc::S_ISVTX != 0
            && !cred.can(Cap::Fowner)
            && dir.uid != cred.uid.fs
            && let Ok(attr) = place.attr()
            && identity.seen(place, &attr).uid != cred.uid.fs
        {
            return Err(Errno::EPERM);
        }
        Ok(())
    }

    /// Notes that the record of the file at `place` goes with the name.
    fn will_forget(&mut self, identity: &Identity, place: &Place) {
        if let Ok(attr) = place.attr()
            && (attr.nlink <= 1 || attr.mode & TYPE == libc::S_IFDIR)
            && identity.records.has(attr.id)
        {
            self.then = Some(Later::Forget(attr.id));
        }
    }

    /// unlink(2) and its kin.
    pub(super) fn removes(&mut self, identity: &Identity, row: &Row) -> Result<Option<Action>, Errno> {
        if self.cred(identity).can(Cap::DacOverride) && !identity.records.any() {
            return Ok(None);
        }
        let Some(place) = self.place(row, Touch::Removes)? else { return Ok(None) };
        if place.attr().is_err() {
            // `ENOENT`, before anybody asks who may.
            return Ok(None);
        }
        self.may_remove(identity, &place)?;
        self.will_forget(identity, &place);
        Ok(None)
    }

    /// rename(2) and its kin: what is at the new name goes.
    pub(super) fn renames(&mut self, identity: &Identity, row: &Row) -> Result<Option<Action>, Errno> {
        if self.cred(identity).can(Cap::DacOverride) && !identity.records.any() {
            return Ok(None);
        }
        let exchange = row.call == Sysno::renameat2 && self.args[4] as u32 & libc::RENAME_EXCHANGE != 0;
        let mut places = vec![];
        for at in (0..row.args.len()).filter(|&i| row.args[i] == Arg::Entry) {
            // What may be renamed is the plain handler's to say.
            let Some(place) = self.place_at(row, at, Touch::Reads)? else { return Ok(None) };
            places.push(place);
        }
        let [old, new] = places.as_slice() else { return Ok(None) };
        let Ok(moved) = old.attr() else { return Ok(None) };
        let replaced = new.attr().ok();
        if replaced.is_some_and(|attr| attr.id == moved.id) {
            // Two names of one file: nothing is done, and nothing asked (`vfs_rename()`).
            return Ok(None);
        }
        self.may_remove(identity, old)?;
        self.may_remove(identity, new)?;
        if let Some(cred) = self.held(identity)
            && old.parent().attr().map(|attr| attr.id) != new.parent().attr().map(|attr| attr.id)
        {
            // A directory that gets another parent is written to: its `..` (`vfs_rename()`).
            let writes = |place: &Place, attr: &Attr| {
                attr.mode & TYPE != libc::S_IFDIR || cred.may(&identity.seen(place, attr), libc::W_OK as u32)
            };
            if !writes(old, &moved) || !replaced.filter(|_| exchange).is_none_or(|attr| writes(new, &attr)) {
                return Err(Errno::EACCES);
            }
        }
        if !exchange {
            self.will_forget(identity, new);
        }
        Ok(None)
    }

    /// open(2) and its kin, after the path was resolved and before anything else.
    pub(in super::super) fn open_as_another(
        &mut self,
        named: &Named,
        dir: Option<u64>,
        at: usize,
        flags: i32,
    ) -> Result<Opens, Errno> {
        let Some(identity) = self.session.identity.clone() else { return Ok(Opens::AsIs) };
        if matches!(named, Named::Found(_)) {
            let host = self.session.resolver.host();
            if let Some(file) = status::file_at(&host[..host.len() - 1]) {
                return self.open_made_up(&identity, file, at, flags);
            }
        }
        let cred = self.cred(&identity);
        let base = (cred.uid.fs, cred.gid.fs) == (identity.wanted.uid, identity.wanted.gid);
        let path_only = flags & libc::O_PATH != 0;
        let creates = flags & libc::O_CREAT != 0;
        let temporary = flags & libc::O_TMPFILE == libc::O_TMPFILE;
        let mode_at = match self.call() {
            Some(Sysno::creat) => Some(at + 1),
            Some(Sysno::openat2) => None,
            _ => Some(at + 2),
        };
        let mode = mode_at.map(|i| (self.args[i] as u32, i)).filter(|_| creates || temporary);
        let shut = mode.is_some_and(|(mode, _)| host_mode(&cred, 0, mode) != mode);
        let root = base && cred.can(Cap::DacOverride);
        let writes = flags & libc::O_ACCMODE != libc::O_RDONLY || flags & libc::O_TRUNC != 0;
        let looks = shut || writes || identity.records.any_device() || (creates && identity.records.any());
        if path_only || (root && !looks) {
            return Ok(Opens::AsIs);
        }
        let follow = if flags & libc::O_NOFOLLOW != 0 || (creates && flags & libc::O_EXCL != 0) {
            Follow::No
        } else {
            Follow::Yes
        };
        let len = memchr::memchr(0, &self.session.text[..]).unwrap_or(0);
        if len == 0 {
            return Ok(Opens::AsIs);
        }
        let Some(place) = self.located(named, dir, len, follow)? else { return Ok(Opens::AsIs) };
        let attr = match place.attr() {
            Ok(attr) if !temporary => attr,
            Ok(attr) if attr.mode & TYPE == libc::S_IFDIR => {
                // A file without a name in that directory.
                let inside = Place::below(Arc::new(place.open(libc::O_PATH)?), b"x\0".to_vec());
                self.will_make(&identity, inside, 0, mode)?;
                return Ok(Opens::AsIs);
            }
            Ok(_) | Err(Errno::ENOENT) => {
                if creates {
                    self.will_make(&identity, place, 0, mode)?;
                }
                return Ok(Opens::AsIs);
            }
            Err(_) => return Ok(Opens::AsIs),
        };
        if creates && flags & libc::O_EXCL != 0 {
            return Ok(Opens::AsIs);
        }
        let record = identity.records.of(&place, &attr);
        let seen = identity.seen(&place, &attr);
        if !nameless(&place) {
            self.may_open(&identity, &cred, &place, &seen, flags)?;
        }
        if writes && record.as_ref().is_none_or(|r| r.device.is_none()) {
            Self::before_writing(&identity, &cred, (&place, &attr), record.as_ref(), &seen)?;
        }
        if let Some(device) = record.and_then(|r| r.device) {
            let known = OPEN_TO_ALL
                .iter()
                .find(|(number, _)| device.format == libc::S_IFCHR && *number == device.number);
            let (_, host) = known.ok_or(Errno::ENXIO)?;
            self.args[at] = self.slot.push(host)?;
            return Ok(Opens::Elsewhere);
        }
        Ok(Opens::AsIs)
    }

    /// A file of /proc that tells credentials: the guest gets one in memory with the same text.
    fn open_made_up(
        &mut self,
        identity: &Identity,
        file: File,
        at: usize,
        flags: i32,
    ) -> Result<Opens, Errno> {
        if flags & (libc::O_ACCMODE | libc::O_PATH | libc::O_DIRECTORY) != 0
            || self.call() == Some(Sysno::openat2)
        {
            return Ok(Opens::AsIs);
        }
        let text = match file {
            File::Status(pid) => {
                self.session.placement.free_all();
                let Some(cred) = identity.of(pid) else { return Ok(Opens::AsIs) };
                let host = self.session.resolver.host();
                let path = std::ffi::OsStr::new(std::str::from_utf8(&host[..host.len() - 1]).unwrap_or(""));
                let Ok(kernel) = std::fs::read(path) else { return Ok(Opens::AsIs) };
                status::status(&String::from_utf8_lossy(&kernel), &cred)
            }
            File::UidMap | File::GidMap => status::map(identity, file),
        };
        let fd = sys::file::in_memory(text.as_bytes())?;
        let mut path = self.session.hold(fd);
        path.push(0);
        self.args[at] = self.slot.push(&path)?;
        // The path that replaces it ends in a link.
        self.args[at + 1] = (flags & !libc::O_NOFOLLOW) as u64;
        Ok(Opens::Elsewhere)
    }
}

/// Whether a place is a link of /proc to what has no name anywhere, such as a pipe: that is open already, and whoever
/// made it is not known.
fn nameless(place: &Place) -> bool {
    let Some(path) = place.path() else { return false };
    if proc::link_at(path).is_none() {
        return false;
    }
    let mut text = [0; crate::path::PATH_MAX];
    sys::readlink(&[path, b"\0"].concat(), &mut text).is_ok_and(|n| n > 0 && text[0] != b'/')
}

/// The mode that the host's file gets when it is made. A file that is made by opening it may be written to, and would lose
/// its set-user-ID bit on the host by that, though the maker may keep it.
fn host_mode(cred: &Cred, format: u32, mode: u32) -> u32 {
    let keeps = format == 0 && cred.can(Cap::Fsetid);
    open_to_owner(format, if keeps { mode & !SET_IDS } else { mode })
}
