//! What the kernel would refuse a task that has given up root, and does not, because it takes all tasks of a session
//! for one user: the guest's owners and modes are asked first, where the kernel would ask (`fs/namei.c`, `fs/attr.c`,
//! `fs/xattr.c`). Who may search which directory is asked on the way ([`crate::resolve::Host::search`]); making and
//! removing entries, opening and access(2) have handlers of their own.

use super::super::paths::is_cwd;
use super::super::table::{Row, Touch};
use super::super::{Call, Named};
use crate::emulate::identity::{Cap, Cred, Identity, Seen};
use crate::emulate::proc;
use crate::resolve::Follow;
use crate::sys::file::{Attr, Place};
use crate::sys::setting::Setting;
use crate::tracee::memory::{self, Text};
use prun_arch::Sysno;
use std::sync::Arc;
use syscalls::Errno;

const TYPE: u32 = libc::S_IFMT;
const R: u32 = libc::R_OK as u32;
const W: u32 = libc::W_OK as u32;
const X: u32 = libc::X_OK as u32;

/// What the times of utimensat(2) and its kin ask for.
enum Times {
    /// Now: who may write may do that.
    Now,
    /// Any others: the owner's affair.
    Given,
    /// None at all, or ones that the kernel refuses.
    None,
}

impl Call<'_> {
    /// The caller's credentials, where they are to be asked at all.
    pub(super) fn held(&self, identity: &Identity) -> Option<Arc<Cred>> {
        Some(self.cred(identity)).filter(|cred| identity.holds(cred))
    }

    /// Whether the guest's owners and modes let the caller do what the call does to its file.
    ///
    /// # Errors
    /// `EACCES`, `EPERM`.
    pub(super) fn permitted(&mut self, identity: &Identity, row: &Row) -> Result<(), Errno> {
        use Sysno as S;
        let Some(cred) = self.held(identity) else { return Ok(()) };
        match row.call {
            S::chdir | S::fchdir => self.allows(identity, &cred, row, libc::S_IFDIR, X),
            S::truncate => self.allows(identity, &cred, row, libc::S_IFREG, W),
            S::inotify_add_watch | S::fanotify_mark => self.allows(identity, &cred, row, 0, R),
            S::utime | S::utimes | S::futimesat | S::utimensat => self.may_set_times(identity, &cred, row),
            S::setxattr | S::lsetxattr | S::fsetxattr | S::setxattrat => {
                self.may_use_attribute(identity, &cred, row, W)
            }
            S::removexattr | S::lremovexattr | S::fremovexattr | S::removexattrat => {
                self.may_use_attribute(identity, &cred, row, W)
            }
            S::getxattr | S::lgetxattr | S::fgetxattr | S::getxattrat => {
                self.may_use_attribute(identity, &cred, row, R)
            }
            S::link | S::linkat => self.may_link(identity, &cred, row),
            _ => Ok(()),
        }
    }

    /// The file that the call names, as the guest sees it, if it is of type `format`, or of any.
    fn of_type(&mut self, row: &Row, format: u32) -> Result<Option<(Place, Attr)>, Errno> {
        let Some(place) = self.place(row, Touch::Reads)? else { return Ok(None) };
        let Ok(attr) = place.attr() else { return Ok(None) };
        Ok((format == 0 || attr.mode & TYPE == format).then_some((place, attr)))
    }

    fn allows(
        &mut self,
        identity: &Identity,
        cred: &Cred,
        row: &Row,
        format: u32,
        want: u32,
    ) -> Result<(), Errno> {
        match self.of_type(row, format)? {
            Some((place, attr)) if !cred.may(&identity.seen(&place, &attr), want) => Err(Errno::EACCES),
            _ => Ok(()),
        }
    }

    fn times_of(&self, row: &Row) -> Times {
        let (at, nanoseconds) = match row.call {
            Sysno::utimensat => (2, true),
            Sysno::futimesat => (2, false),
            _ => (1, false),
        };
        if self.args[at] == 0 {
            return Times::Now;
        }
        if !nanoseconds {
            return Times::Given;
        }
        match self.parts_of_seconds(at) {
            None | Some([libc::UTIME_OMIT, libc::UTIME_OMIT]) => Times::None,
            Some([libc::UTIME_NOW, libc::UTIME_NOW]) => Times::Now,
            Some(_) => Times::Given,
        }
    }

    /// `may_setattr()` and `setattr_prepare()`.
    fn may_set_times(&mut self, identity: &Identity, cred: &Cred, row: &Row) -> Result<(), Errno> {
        let times = self.times_of(row);
        if matches!(times, Times::None) {
            return Ok(());
        }
        let by_descriptor = matches!(row.call, Sysno::utimensat | Sysno::futimesat)
            && self.args[1] == 0
            && !is_cwd(self.args[0]);
        let place = if by_descriptor {
            let (tid, fd) = (self.task.tid, self.args[0] as i32);
            // One that was opened for its path is the kernel's to refuse.
            let opened = proc::open_flags(tid, fd).is_some_and(|flags| flags & libc::O_PATH == 0);
            opened.then(|| Place::open_file(tid, fd))
        } else {
            self.place(row, Touch::Reads)?
        };
        let Some(place) = place else { return Ok(()) };
        let Ok(attr) = place.attr() else { return Ok(()) };
        let seen = identity.seen(&place, &attr);
        if cred.uid.fs == seen.uid || cred.can(Cap::Fowner) {
            return Ok(());
        }
        match times {
            Times::Now if cred.may(&seen, W) => Ok(()),
            Times::Now => Err(Errno::EACCES),
            Times::Given | Times::None => Err(Errno::EPERM),
        }
    }

    /// `xattr_permission()`: attributes called `user.*` follow the file's permissions, access control lists are the
    /// owner's.
    fn may_use_attribute(
        &mut self,
        identity: &Identity,
        cred: &Cred,
        row: &Row,
        want: u32,
    ) -> Result<(), Errno> {
        let Some(name_at) = self.attribute_at(row) else { return Ok(()) };
        let mut text = [0; crate::path::PATH_MAX];
        let Text::Of(len) = memory::read_path(self.task.tid, name_at, &mut text) else { return Ok(()) };
        let (user, acl) = (text[..len].starts_with(b"user."), text[..len].starts_with(b"system.posix_acl_"));
        if !user && !acl {
            return Ok(());
        }
        let Some((place, attr)) = self.of_type(row, 0)? else { return Ok(()) };
        let seen = identity.seen(&place, &attr);
        let owner = cred.uid.fs == seen.uid || cred.can(Cap::Fowner);
        let (directory, file) =
            (seen.mode & TYPE == libc::S_IFDIR, matches!(seen.mode & TYPE, libc::S_IFDIR | libc::S_IFREG));
        let sticky = directory && seen.mode & libc::S_ISVTX != 0;
        match (want, acl) {
            (W, true) if !owner => Err(Errno::EPERM),
            (_, true) => Ok(()),
            (W, _) if !file || (sticky && !owner) => Err(Errno::EPERM),
            _ if file && !cred.may(&seen, want) => Err(Errno::EACCES),
            _ => Ok(()),
        }
    }

    /// link(2): the new name is an entry of its directory, and the old one's file may have to be the caller's own
    /// (`fs.protected_hardlinks` of proc(5), `may_linkat()`).
    fn may_link(&mut self, identity: &Identity, cred: &Cred, row: &Row) -> Result<(), Errno> {
        let at: Vec<usize> = (0..row.args.len()).filter(|&i| self.follow(row.args[i]).is_some()).collect();
        let [old, new] = at[..] else { return Ok(()) };
        let Some(old) = self.place_at(row, old, Touch::Reads)? else { return Ok(()) };
        let Ok(attr) = old.attr() else { return Ok(()) };
        let Some(new) = self.place_at(row, new, Touch::Reads)? else { return Ok(()) };
        if new.attr().is_ok() || new.parent().attr().is_err() {
            return Ok(());
        }
        let seen = identity.seen(&old, &attr);
        if Setting::HardLinks.level() > 0 && cred.uid.fs != seen.uid && !cred.can(Cap::Fowner) {
            let by_group = libc::S_ISGID | libc::S_IXGRP;
            let safe = seen.mode & TYPE == libc::S_IFREG
                && seen.mode & libc::S_ISUID == 0
                && seen.mode & by_group != by_group
                && cred.may(&seen, R | W);
            if !safe {
                return Err(Errno::EPERM);
            }
        }
        let parent = new.parent();
        match parent.attr() {
            Ok(attr) if !cred.may(&identity.seen(&parent, &attr), W | X) => Err(Errno::EACCES),
            _ => Ok(()),
        }
    }

    /// `may_open()`: the file at `place` is there, and open(2) gets these flags.
    ///
    /// # Errors
    /// `EACCES`, `EPERM`.
    pub(super) fn may_open(
        &self,
        identity: &Identity,
        cred: &Cred,
        place: &Place,
        seen: &Seen,
        flags: i32,
    ) -> Result<(), Errno> {
        let has = |flag: i32| flags & flag != 0;
        let directory = seen.mode & TYPE == libc::S_IFDIR;
        let want = match flags & libc::O_ACCMODE {
            libc::O_RDONLY => R,
            libc::O_WRONLY => W,
            _ => R | W,
        } | if has(libc::O_TRUNC) { W } else { 0 };
        let refused = if directory { want & W != 0 || has(libc::O_CREAT) } else { has(libc::O_DIRECTORY) };
        if refused || seen.mode & TYPE == libc::S_IFLNK {
            // `EISDIR`, `ENOTDIR`, `ELOOP`: the kernel's to say.
            return Ok(());
        }
        if has(libc::O_CREAT) {
            may_create_in_sticky(identity, cred, place, seen)?;
        }
        if !cred.may(seen, want) {
            return Err(Errno::EACCES);
        }
        if has(libc::O_NOATIME) && cred.uid.fs != seen.uid && !cred.can(Cap::Fowner) {
            return Err(Errno::EPERM);
        }
        Ok(())
    }

    /// connect(2) to a socket with a path, and sending to one: `unix_find_bsd()` asks for permission to write. The
    /// path has been resolved, from the first `len` bytes of the session's text.
    ///
    /// # Errors
    /// `EACCES`.
    pub(in super::super) fn may_send(&mut self, named: &Named, len: usize) -> Result<(), Errno> {
        let Some(identity) = self.session.identity.clone() else { return Ok(()) };
        let Some(cred) = self.held(&identity) else { return Ok(()) };
        let Some(place) = self.located(named, None, len, Follow::Yes)? else { return Ok(()) };
        match place.attr() {
            Ok(attr) if !cred.may(&identity.seen(&place, &attr), W) => Err(Errno::EACCES),
            _ => Ok(()),
        }
    }
}

/// `O_CREAT` of what is there already, in a directory where everybody may make files: `may_create_in_sticky()`, with
/// `fs.protected_regular` and `fs.protected_fifos` of proc(5).
fn may_create_in_sticky(identity: &Identity, cred: &Cred, place: &Place, seen: &Seen) -> Result<(), Errno> {
    let parent = place.parent();
    let Ok(attr) = parent.attr() else { return Ok(()) };
    let dir = identity.seen(&parent, &attr);
    if dir.mode & libc::S_ISVTX == 0 || seen.uid == dir.uid || seen.uid == cred.uid.fs {
        return Ok(());
    }
    let (level, special) = match seen.mode & TYPE {
        libc::S_IFREG => (Setting::Regular.level(), false),
        libc::S_IFIFO => (Setting::Fifos.level(), false),
        _ => (1, true),
    };
    let groups = level >= 2 && !special;
    if level > 0 && (dir.mode & 0o002 != 0 || (dir.mode & 0o020 != 0 && groups)) {
        return Err(Errno::EACCES);
    }
    Ok(())
}
