//! What may not be changed: read-only bindings, mount points, and made-up directories.
//!
//! The kernel asks `mnt_want_write()` at a place in each call that differs from call to call, and what comes before
//! it wins: an entry that is there is `EEXIST`, a parent that is not is `ENOENT`, a directory opened for writing is
//! `EISDIR`. Here `EROFS` is said where the kernel would come to that place; else the call runs, and the host's
//! kernel refuses it for the reason that came first.
//!
//! # Descriptors
//!
//! A descriptor knows the host's mount, not the binding it was opened by. Mostly its host path tells: one binding
//! shows it. Where one shows it read-only and another does not, files opened by the former carry a mark: `O_DSYNC`,
//! which means nothing to a file that is only read, and which dup(2), fork(2) and SCM_RIGHTS keep. It can be seen with
//! `F_GETFL`. What is opened with `O_PATH` is marked by `O_NOFOLLOW`.

use super::paths::{Base, Named, is_cwd};
use super::table::{Arg, Row, Touch};
use super::{Action, Call, Exit};
use crate::emulate::proc::{self, ProcLink};
use crate::path::{PATH_MAX, components};
use crate::resolve::{Follow, Found, Last};
use crate::sys;
use crate::tracee::memory;
use crate::view::{Access, Kind, NodeId, Ways};
use prun_arch::Sysno;
use prun_arch::abi::Form;
use syscalls::Errno;

/// The mark of files opened by a read-only binding.
pub(super) const MARK: i32 = libc::O_DSYNC;

/// The mark of those that only name a place: a link at the end has been followed already. The guest may have set it
/// itself, by a path that can be written: better no change than one that was not to be.
const PATH_MARK: i32 = libc::O_NOFOLLOW;

fn marked(flags: i32) -> bool {
    flags & if flags & libc::O_PATH == 0 { MARK } else { PATH_MARK } != 0
}

/// What a path may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leave {
    /// What the call does.
    Given,
    /// Looking; if the kernel grants the permission to write that was asked about, the mount refuses it still.
    ToLook,
}

impl Leave {
    /// What the call does then.
    pub(super) fn action(self) -> Action {
        match self {
            Self::Given => Action::Run,
            Self::ToLook => Action::RunThen(Exit::Asked),
        }
    }
}

impl Call<'_> {
    /// Whether a path may be used as the call wants.
    ///
    /// # Errors
    /// `EROFS`, `EBUSY` for a mount point, `ENOENT` inside a made-up directory.
    pub(super) fn permit(&mut self, named: &Named, touch: Touch, follow: Follow) -> Result<Leave, Errno> {
        let Named::Found(found) = *named else { return Ok(Leave::Given) };
        if found.void {
            return Err(if matches!(touch, Touch::Makes | Touch::Links) {
                Errno::EROFS
            } else {
                Errno::ENOENT
            });
        }
        let table = &self.session.view.table;
        if let (Touch::Removes, Some(node)) = (touch, found.node) {
            let passage = table.node(node).kind() == Kind::Passage;
            return Err(if passage { Errno::ENOTEMPTY } else { self.busy(node) });
        }
        let writes = match touch {
            Touch::Reads => false,
            Touch::Changes | Touch::Makes | Touch::Links | Touch::Removes => true,
            Touch::Asks(mode) => self.args[mode as usize] as i32 & libc::W_OK != 0,
        };
        if !writes || !table.any_read_only() || self.access(&found, follow) == Access::ReadWrite {
            return Ok(Leave::Given);
        }
        match touch {
            Touch::Reads => Ok(Leave::Given),
            Touch::Asks(_) => Ok(match self.target(follow) {
                Some(st) if !special(st.mode) => Leave::ToLook,
                _ => Leave::Given,
            }),
            Touch::Makes | Touch::Links if self.exists() || !self.can_be_made() => Ok(Leave::Given),
            Touch::Removes if !self.entry_possible() => Ok(Leave::Given),
            Touch::Changes if !self.changes(follow) => Ok(Leave::Given),
            _ => Err(Errno::EROFS),
        }
    }

    /// The error of removing or renaming a mount point: `EBUSY`, once the directory may be written and the entry is
    /// what the call removes (`may_delete()`).
    pub(super) fn busy(&self, node: NodeId) -> Errno {
        let rmdir = match self.call() {
            Some(Sysno::rmdir) => Some(true),
            Some(Sysno::unlink) => Some(false),
            Some(Sysno::unlinkat) => {
                let flags = self.args[2] as i32;
                if flags & !libc::AT_REMOVEDIR != 0 {
                    return Errno::EINVAL;
                }
                Some(flags != 0)
            }
            _ => None,
        };
        let is_dir = |st: sys::Stat| st.mode & libc::S_IFMT == libc::S_IFDIR;
        let directory = self.entry(Last::Followed).is_ok_and(is_dir);
        if rmdir == Some(false) && self.session.resolver.host().ends_with(b"/\0") {
            // A slash behind the name comes before permissions.
            return if directory { Errno::EISDIR } else { Errno::ENOTDIR };
        }
        if let Some(e) = self.directory_denied(node) {
            return e;
        }
        match (rmdir, directory) {
            (Some(true), false) => Errno::ENOTDIR,
            (Some(false), true) => Errno::EISDIR,
            _ => Errno::EBUSY,
        }
    }

    /// Why the directory that holds a mount point's entry, or would, cannot be written.
    fn directory_denied(&self, node: NodeId) -> Option<Errno> {
        let table = &self.session.view.table;
        let mut names: Vec<&[u8]> = vec![];
        let mut at = table.parent(node)?;
        while table.node(at).kind() == Kind::Passage {
            names.push(table.name(at));
            at = table.parent(at)?;
        }
        if table.node(at).kind() == Kind::Placeholder {
            return None;
        }
        let mut above = table.host(at).to_vec();
        for name in names.into_iter().rev() {
            above.push(b'/');
            above.extend_from_slice(name);
        }
        above.push(0);
        sys::accessible(&above, libc::W_OK | libc::X_OK).err()
    }

    /// Whether what was resolved lies on a read-only mount.
    pub(super) fn access(&self, found: &Found, follow: Follow) -> Access {
        let host = self.session.resolver.host();
        let host = &host[..host.len() - 1];
        match proc::link_at(host) {
            // The kernel follows it to where it leads.
            Some(link) if follow == Follow::Yes => self.access_through(link, host),
            _ => self.session.view.table.node(found.bind).access(),
        }
    }

    fn access_through(&self, link: ProcLink, path: &[u8]) -> Access {
        let (ProcLink::Other | ProcLink::Cwd(_) | ProcLink::Exe(_)) = link else { return Access::ReadWrite };
        let mut text = [0; PATH_MAX];
        let Ok(n) = sys::readlink(&[path, b"\0"].concat(), &mut text) else { return Access::ReadWrite };
        let info = path.rsplit(|&b| b == b'/').nth(1).filter(|&part| part == b"fd").map(|_| {
            let cut = path.len() - path.rsplit(|&b| b == b'/').next().map_or(0, <[u8]>::len);
            [&path[..cut - 1], b"info/", &path[cut..]].concat()
        });
        self.access_at(&text[..n], info.and_then(flags_in))
    }

    /// `flags` are those of an open file.
    fn access_at(&self, host: &[u8], flags: Option<i32>) -> Access {
        let host = host.strip_suffix(b" (deleted)").unwrap_or(host);
        if host.first() != Some(&b'/') {
            return Access::ReadWrite;
        }
        match self.session.view.ways(host) {
            Ways::ReadOnly => Access::ReadOnly,
            Ways::ReadWrite | Ways::None => Access::ReadWrite,
            Ways::Both => match flags {
                Some(flags) if marked(flags) => Access::ReadOnly,
                _ => Access::ReadWrite,
            },
        }
    }

    /// The mark that a file opened at this place gets.
    pub(super) fn mark(&self, found: &Found, flags: i32) -> i32 {
        let table = &self.session.view.table;
        if !table.any_read_only_binding() || table.node(found.bind).access() == Access::ReadWrite {
            return 0;
        }
        let host = self.session.resolver.host();
        match self.session.view.ways(&plain(&host[..host.len() - 1])) {
            Ways::Both if flags & libc::O_PATH == 0 => MARK,
            Ways::Both if proc::link_at(&host[..host.len() - 1]).is_none() => PATH_MARK,
            _ => 0,
        }
    }

    /// Of the guest paths of a descriptor's file, whether those of read-only bindings are meant; `None` where it makes
    /// no difference.
    pub(super) fn opened_by(&self, fd: i32, host: &[u8]) -> Option<Access> {
        if !self.session.view.table.any_read_only_binding() || self.session.view.ways(host) != Ways::Both {
            return None;
        }
        let flags = proc::open_flags(self.task.tid, fd)?;
        Some(if marked(flags) { Access::ReadOnly } else { Access::ReadWrite })
    }

    fn target(&self, follow: Follow) -> Option<sys::Stat> {
        let host = self.session.resolver.host();
        let magic = proc::link_at(&host[..host.len() - 1]).is_some() && follow == Follow::Yes;
        sys::stat(host, if magic { Last::Followed } else { Last::Kept }).ok()
    }

    /// Whether the entry itself is there, whatever follows its name.
    pub(super) fn exists(&self) -> bool {
        self.entry(Last::Kept).is_ok()
    }

    /// What is at the path, slashes at its end left out.
    pub(super) fn entry(&self, last: Last) -> Result<sys::Stat, Errno> {
        let host = self.session.resolver.host();
        let mut path = host[..host.len() - 1].to_vec();
        while path.len() > 1 && path.ends_with(b"/") {
            path.pop();
        }
        path.push(0);
        sys::stat(&path, last)
    }

    /// Whether the last component is a name of its own.
    pub(super) fn named(&self) -> bool {
        let host = self.session.resolver.host();
        let host = &host[..host.len() - 1];
        !host.ends_with(b"/.") && !host.ends_with(b"/..")
    }

    /// Whether the walk gets to the last component, and that can be made or removed.
    pub(super) fn entry_possible(&self) -> bool {
        let host = self.session.resolver.host();
        let host = &host[..host.len() - 1];
        // A slash behind the name of what is not to be a directory is an error of its own.
        use Sysno::{mkdir, mkdirat, rename, renameat, renameat2, rmdir, unlink, unlinkat};
        let takes_slash = matches!(
            self.call(),
            Some(mkdir | mkdirat | rmdir | unlink | unlinkat | rename | renameat | renameat2)
        );
        self.named() && (takes_slash || !host.ends_with(b"/")) && self.parent_exists()
    }

    /// As [`Call::entry_possible`], and the name is one that file systems take: making looks it up before the mount is
    /// asked, removing after.
    pub(super) fn can_be_made(&self) -> bool {
        self.entry_possible() && self.entry(Last::Kept).err() != Some(Errno::ENAMETOOLONG)
    }

    pub(super) fn parent_exists(&self) -> bool {
        sys::stat(&self.parent_host(), Last::Followed).is_ok()
    }

    /// Why the directory of the entry cannot be written, if it cannot.
    pub(super) fn parent_denied(&self) -> Option<Errno> {
        sys::accessible(&self.parent_host(), libc::W_OK | libc::X_OK).err()
    }

    fn parent_host(&self) -> Vec<u8> {
        let host = self.session.resolver.host();
        let path = host[..host.len() - 1].strip_suffix(b"/").unwrap_or(&host[..host.len() - 1]);
        let cut = path.iter().rposition(|&b| b == b'/').unwrap_or(0).max(1);
        let mut parent = path.get(..cut).unwrap_or(b"/").to_vec();
        parent.extend_from_slice(b"/.\0");
        parent
    }

    /// Whether the call would change what was resolved, if it could.
    fn changes(&self, follow: Follow) -> bool {
        let Some(st) = self.target(follow) else { return false };
        match self.call() {
            // vfs_truncate() looks at the type first.
            Some(Sysno::truncate) => st.mode & libc::S_IFMT == libc::S_IFREG,
            Some(Sysno::utimensat) => self.times(2, Unit::Nanoseconds),
            Some(Sysno::futimesat) => self.times(2, Unit::Microseconds),
            Some(Sysno::utimes) => self.times(1, Unit::Microseconds),
            _ => true,
        }
    }

    /// Whether times are to be set: those in argument `at` are valid, and not all are left out.
    fn times(&self, at: usize, unit: Unit) -> bool {
        if self.args[at] == 0 {
            return true;
        }
        let Some(parts) = self.parts_of_seconds(at) else { return false };
        match unit {
            Unit::Microseconds => parts.iter().all(|p| (0..1_000_000).contains(p)),
            Unit::Nanoseconds => {
                let valid = |p: &i64| {
                    (0..1_000_000_000).contains(p) || *p == libc::UTIME_NOW || *p == libc::UTIME_OMIT
                };
                parts.iter().all(valid) && parts != [libc::UTIME_OMIT; 2]
            }
        }
    }

    /// What the two times at an address have beside their seconds; `None` where they cannot be read.
    pub(super) fn parts_of_seconds(&self, at: usize) -> Option<[i64; 2]> {
        // Two structures of two words each.
        let len = if self.form() == Form::Wide { 8 } else { self.regs.abi().word() };
        let mut bytes = [0; 32];
        memory::read(self.task.tid, self.args[at], &mut bytes[..4 * len]).ok()?;
        let word = |i: usize| match len {
            4 => bytes[4 * i..4 * i + 4].try_into().map_or(0, i32::from_ne_bytes).into(),
            _ => bytes[8 * i..8 * i + 8].try_into().map_or(0, i64::from_ne_bytes),
        };
        Some([word(1), word(3)])
    }

    /// A call with a path that names no place: the descriptor in front of it may be meant.
    pub(super) fn permit_descriptor(
        &mut self,
        row: &Row,
        touch: Touch,
        dir: Option<u64>,
        at: usize,
    ) -> Result<Leave, Errno> {
        let wanted = match touch {
            Touch::Changes => true,
            Touch::Asks(mode) => self.args[mode as usize] as i32 & libc::W_OK != 0,
            _ => false,
        };
        let Some(fd) = dir.filter(|_| wanted && self.session.view.table.any_read_only()) else {
            return Ok(Leave::Given);
        };
        let flags = match row.args.get(at) {
            Some(Arg::Unless(n, _)) => self.args[*n as usize] as i32,
            _ => 0,
        };
        let null = self.args[at] == 0;
        let mut first = [0xff];
        let empty = !null && memory::read(self.task.tid, self.args[at], &mut first).is_ok() && first[0] == 0;
        let by_flag = (empty || null) && flags & libc::AT_EMPTY_PATH != 0;
        use Sysno::{
            faccessat2, fchmodat2, fchownat, file_setattr, futimesat, removexattrat, setxattrat, utimensat,
        };
        let (meant, opened) = match row.call {
            utimensat if null => (flags == 0 && !is_cwd(fd), true),
            utimensat => (empty && by_flag, false),
            futimesat => (null && !is_cwd(fd), true),
            // getname_maybe_null(): the descriptor itself, and no O_PATH one.
            setxattrat | removexattrat | file_setattr => (by_flag, true),
            fchmodat2 | fchownat | faccessat2 => (empty && by_flag, false),
            _ => (false, false),
        };
        if !meant || self.descriptor_access(fd, opened) == Access::ReadWrite {
            return Ok(Leave::Given);
        }
        match (touch, row.call) {
            (Touch::Asks(_), _) => Ok(Leave::ToLook),
            (_, utimensat) if !self.times(2, Unit::Nanoseconds) => Ok(Leave::Given),
            (_, futimesat) if !self.times(2, Unit::Microseconds) => Ok(Leave::Given),
            _ => Err(Errno::EROFS),
        }
    }

    /// A change through the descriptor in argument 0.
    pub(super) fn fd_change(&mut self) -> Result<Action, Errno> {
        match self.descriptor_access(self.args[0], true) {
            Access::ReadOnly => Err(Errno::EROFS),
            Access::ReadWrite => Ok(Action::Run),
        }
    }

    /// `opened`: the call refuses a descriptor that only names a place (`O_PATH`) by itself.
    fn descriptor_access(&mut self, fd: u64, opened: bool) -> Access {
        let tid = self.task.tid;
        if is_cwd(fd) {
            return match self.base(None) {
                Base::At(guest) => self.covering(guest.as_bytes()),
                Base::Unknown | Base::Closed => Access::ReadWrite,
            };
        }
        let fd = fd as i32;
        let mut text = [0; PATH_MAX];
        let Ok(n) = sys::readlink(format!("/proc/{tid}/fd/{fd}\0").as_bytes(), &mut text) else {
            return Access::ReadWrite;
        };
        let flags = proc::open_flags(tid, fd);
        if opened && flags.is_some_and(|f| f & libc::O_PATH != 0) {
            return Access::ReadWrite;
        }
        self.access_at(&text[..n], flags)
    }

    fn covering(&self, guest: &[u8]) -> Access {
        let table = &self.session.view.table;
        let mut at = NodeId::ROOT;
        for name in components(guest) {
            let Some(next) = table.child(at, name) else { break };
            at = next;
        }
        table.node(at).access()
    }
}

/// What a part of a time counts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unit {
    Microseconds,
    Nanoseconds,
}

/// `special_file()` of `<linux/fs.h>`: writing to one changes nothing on its file system.
pub(super) fn special(mode: u32) -> bool {
    matches!(mode & libc::S_IFMT, libc::S_IFCHR | libc::S_IFBLK | libc::S_IFIFO | libc::S_IFSOCK)
}

/// The flags of an open file, from its fdinfo.
fn flags_in(path: Vec<u8>) -> Option<i32> {
    let text = sys::read_text(&String::from_utf8(path).ok()?).ok()?;
    let flags = text.lines().find_map(|l| l.strip_prefix("flags:"))?;
    i32::from_str_radix(flags.trim(), 8).ok()
}

/// The path without `.` and `..`: no symbolic link is on its way.
fn plain(path: &[u8]) -> Vec<u8> {
    let mut names: Vec<&[u8]> = vec![];
    for name in components(path) {
        if name == b".." {
            names.pop();
        } else {
            names.push(name);
        }
    }
    let mut out = vec![];
    for name in &names {
        out.push(b'/');
        out.extend_from_slice(name);
    }
    if out.is_empty() {
        out.push(b'/');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_made_plain() {
        for (path, expected) in [("/a/./b/../c/", "/a/c"), ("/", "/"), ("/..", "/"), ("/a/..", "/")] {
            assert_eq!(plain(path.as_bytes()), expected.as_bytes());
        }
    }
}
