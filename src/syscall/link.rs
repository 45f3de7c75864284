//! rename(2), link(2) and readlink(2): two paths at once, and links whose text is the host's.

use super::paths::Named;
use super::table::{Arg, Row};
use super::{Action, Call};
use crate::emulate::proc::{self, ProcLink};
use crate::emulate::root::Told;
use crate::path::{Buf, GuestPath, PATH_MAX};
use crate::resolve::{Follow, Found, Last, Restrict};
use crate::sys;
use crate::sys::file::Place;
use crate::tracee::memory;
use crate::view::{Access, Kind, NodeId};
use prun_arch::Sysno;
use syscalls::Errno;

/// One of two paths, with what has to be known before the other takes its place in the resolver.
struct Side {
    named: Named,
    /// The mount whose directory holds the entry.
    mount: NodeId,
    /// Which of the host's that is, where it can matter.
    beneath: Option<u64>,
    /// Whether that mount is read-only.
    access: Access,
    exists: bool,
    /// The walk gets to the last component.
    reached: bool,
    /// That is a name of its own, and can be one here.
    possible: bool,
}

/// One name of a rename that a mount point has to do with.
struct End {
    found: Found,
    guest: Vec<u8>,
    /// That whose directory holds the entry, and which of the host's it is.
    mount: (NodeId, Option<u64>),
    /// Whether what is there is a directory; `None` if nothing is.
    directory: Option<bool>,
    slash: bool,
    /// What removing the mount point would be refused with, or the entry, if its directory cannot be written.
    busy: Option<Errno>,
}

impl Call<'_> {
    /// Neither name may be a mount point. Across bindings the host decides, and says `EXDEV` where it cannot; where
    /// one of the two is read-only, it is not asked (`do_renameat2()`: `EXDEV` comes first).
    pub(super) fn rename(&mut self, row: &Row) -> Result<Action, Errno> {
        let sides = self.two(row)?;
        self.tasks.link_made();
        let [old, new] = &sides;
        let read_only = old.access == Access::ReadOnly || new.access == Access::ReadOnly;
        if read_only && old.reached && new.reached {
            match (old.mount, old.beneath) == (new.mount, new.beneath) {
                false => return Err(Errno::EXDEV),
                true if old.possible && new.possible => return Err(Errno::EROFS),
                true => {}
            }
        }
        let mut point = false;
        for side in &sides {
            if let Named::Found(found) = &side.named {
                if found.void {
                    return Err(Errno::ENOENT);
                }
                point |= found.node.is_some();
            }
        }
        if point { self.rename_point(row) } else { Ok(Action::Run) }
    }

    /// A rename where one name is a mount point, or leads to one: `do_renameat2()` and `vfs_rename()`, in their
    /// order. It never succeeds, but for a name that is renamed to itself.
    fn rename_point(&mut self, row: &Row) -> Result<Action, Errno> {
        let args = self.regs.args();
        let flags = if row.call == Sysno::renameat2 { args[4] as u32 } else { 0 };
        let mut ends = smallvec::SmallVec::<[End; 2]>::new();
        let mut refused = None;
        let mut dir = None;
        for (i, arg) in row.args.iter().enumerate() {
            if *arg == Arg::At {
                dir = Some(args[i]);
                continue;
            }
            let named = self.find(dir.take(), args[i], Follow::Entry, true, Restrict::default())?;
            let Named::Found(found) = named else { return Ok(Action::Run) };
            let side = self.side(named, Follow::Entry);
            if !self.parent_exists() || !self.named() && found.node.is_none() {
                // Refused before anything is looked up.
                return Ok(Action::Run);
            }
            let host = self.session.resolver.host();
            let st = self.entry(if found.node.is_some() { Last::Followed } else { Last::Kept });
            let st = match st {
                // A name that no file system takes: found out when it is looked up.
                Err(e @ Errno::ENAMETOOLONG) => {
                    refused = refused.or(Some(e));
                    None
                }
                st => st.ok(),
            };
            ends.push(End {
                found,
                guest: self.session.resolver.guest().to_vec(),
                mount: (side.mount, self.mount_beneath()),
                directory: st.map(|st| st.mode & libc::S_IFMT == libc::S_IFDIR),
                slash: host.ends_with(b"/\0"),
                busy: found.node.map_or_else(|| self.parent_denied(), |node| Some(self.busy(node))),
            });
        }
        let [old, new] = ends.into_inner().map_err(|_| Errno::EINVAL)?;
        if old.mount != new.mount {
            return Err(Errno::EXDEV);
        }
        if let Some(e) = refused {
            return Err(e);
        }
        let exchange = flags & libc::RENAME_EXCHANGE != 0;
        let Some(old_directory) = old.directory else { return Err(Errno::ENOENT) };
        match new.directory {
            Some(_) if flags & libc::RENAME_NOREPLACE != 0 => return Err(Errno::EEXIST),
            None if exchange => return Err(Errno::ENOENT),
            Some(false) if exchange && new.slash => return Err(Errno::ENOTDIR),
            _ => {}
        }
        if !old_directory && (old.slash || (!exchange && new.slash)) {
            return Err(Errno::ENOTDIR);
        }
        let inside =
            |a: &End, b: &End| a.guest.strip_prefix(&b.guest[..]).is_some_and(|r| r.starts_with(b"/"));
        if inside(&new, &old) || (exchange && inside(&old, &new)) {
            return Err(Errno::EINVAL);
        }
        if inside(&old, &new) {
            return Err(Errno::ENOTEMPTY);
        }
        if old.found.node.is_some() && old.found.node == new.found.node {
            return Ok(Action::Return(0));
        }
        let denied = [&old, &new].into_iter().filter_map(|end| end.busy).find(|e| *e != Errno::EBUSY);
        if let Some(e) = denied {
            return Err(e);
        }
        match new.directory {
            Some(directory) if !exchange && old_directory != directory => {
                Err(if directory { Errno::EISDIR } else { Errno::ENOTDIR })
            }
            _ => Err(Errno::EBUSY),
        }
    }

    /// A link across two mounts is `EXDEV`, also where both happen to lie on one file system of the host. What is
    /// wrong with either path comes first (`do_linkat()`).
    pub(super) fn hard_link(&mut self, row: &Row) -> Result<Action, Errno> {
        let [old, new] = self.two(row)?;
        self.tasks.link_made();
        let (Named::Found(from), Named::Found(to)) = (&old.named, &new.named) else { return Ok(Action::Run) };
        if from.void {
            return Err(Errno::ENOENT);
        }
        if to.void {
            return Err(Errno::EROFS);
        }
        if !old.exists || new.exists || !new.possible {
            return Ok(Action::Run);
        }
        if (new.access == Access::ReadOnly || from.bind != to.bind) && !self.can_be_made() {
            return Ok(Action::Run);
        }
        if new.access == Access::ReadOnly {
            return Err(Errno::EROFS);
        }
        if self.is_open_file(row) {
            return if old.access == Access::ReadOnly { Err(Errno::EXDEV) } else { Ok(Action::Run) };
        }
        if from.bind != to.bind {
            return Err(Errno::EXDEV);
        }
        Ok(Action::Run)
    }

    /// `/proc/self/fd/N` as the old name is how a nameless file gets one; its mount is not that of /proc.
    fn is_open_file(&self, row: &Row) -> bool {
        let mut text = [0; PATH_MAX];
        let at = usize::from(row.args[0] == Arg::At);
        match memory::read_path(self.task.tid, self.regs.args()[at], &mut text) {
            memory::Text::Of(n) => text[..n].starts_with(b"/proc/") || text[..n].starts_with(b"/dev/fd/"),
            _ => false,
        }
    }

    fn two(&mut self, row: &Row) -> Result<[Side; 2], Errno> {
        let mut out = smallvec::SmallVec::<[Side; 2]>::new();
        let mut dir = None;
        // Which binding covers a relative path matters only where there are several.
        let exact = self.session.view.merges();
        self.compares |= exact;
        for (i, arg) in row.args.iter().enumerate() {
            let follow = match arg {
                Arg::At => {
                    dir = Some(self.args[i]);
                    continue;
                }
                Arg::If(n, bit) if self.args[*n as usize] as u32 & bit != 0 => Follow::Yes,
                Arg::If(..) | Arg::Link => Follow::No,
                _ => Follow::Entry,
            };
            let named = self.path(dir.take(), i, follow, exact, Restrict::default())?;
            out.push(self.side(named, follow));
        }
        out.into_inner().map_err(|_| Errno::EINVAL)
    }

    fn row_links(&self) -> bool {
        matches!(self.call(), Some(Sysno::link | Sysno::linkat))
    }

    fn side(&self, named: Named, follow: Follow) -> Side {
        let table = &self.session.view.table;
        let Named::Found(found) = named else {
            let (mount, access) = (NodeId::ROOT, Access::ReadWrite);
            return Side {
                named,
                mount,
                beneath: None,
                access,
                exists: false,
                reached: false,
                possible: false,
            };
        };
        let mut mount = found.bind;
        if follow == Follow::Entry && found.node == Some(mount) {
            // The entry of a mount point is in the directory above.
            while let Some(above) = table.parent(mount) {
                mount = above;
                if table.node(mount).kind() != Kind::Passage {
                    break;
                }
            }
        }
        let access =
            if follow == Follow::Yes { self.access(&found, follow) } else { table.node(mount).access() };
        // Asked for only where it can matter: the host is not asked in vain at every rename.
        let renames = !self.row_links();
        let look = if renames {
            access == Access::ReadOnly || table.any_read_only_binding()
        } else {
            table.len() > 1
        };
        let there = || match follow {
            Follow::Entry => self.exists(),
            _ => sys::stat(self.session.resolver.host(), Last::Kept).is_ok(),
        };
        let exists = !look || found.void || there();
        let sure = !look || found.void || found.node.is_some();
        let reached = sure || self.parent_exists();
        let possible = sure || self.entry_possible();
        let beneath = if renames && access == Access::ReadOnly { self.mount_beneath() } else { None };
        Side { named, mount, beneath, access, exists, reached, possible }
    }

    /// The host's mount that the directory of the entry that was resolved lies on: a binding shows those below it too, as
    /// `MS_REC` would. None where only the guest has the directory.
    fn mount_beneath(&self) -> Option<u64> {
        let table = &self.session.view.table;
        let guest = self.session.resolver.guest();
        let end = guest.iter().rposition(|&b| b == b'/').unwrap_or(0).max(1);
        let (bind, below) = table.covering(&guest[..end]);
        if table.is_made_up(bind) {
            return None;
        }
        let host = [table.host(bind), below, b"/.\0"].concat();
        Place::at(host).mount().ok()
    }

    /// readlink(2): what the kernel says of a link of /proc is put in the guest's terms.
    pub(super) fn readlink(&mut self, row: &Row, at: usize) -> Result<Action, Errno> {
        let dir = (row.args[0] == Arg::At).then(|| self.args[0]);
        let Some(len) = self.read(self.args[at]) else { return Ok(Action::Run) };
        // In a directory of /proc the kernel would find it by itself, and say where it leads on the host.
        self.compares |= proc::may_be_link(&self.session.text[..len]);
        let named = self.find_text(dir, len, Follow::No, false, Restrict::default())?;
        let Named::Found(found) = named else { return Ok(Action::Run) };
        if found.void {
            return Err(Errno::ENOENT);
        }
        let host = self.session.resolver.host();
        let Some(link) = proc::link_at(&host[..host.len() - 1]) else {
            self.replace(at, &found, Follow::No)?;
            return Ok(Action::Run);
        };
        let me = &*self.task;
        let root = self.root();
        let told = |guest: GuestPath| Told::new(guest.as_bytes(), root.as_ref()).path().to_vec();
        let text: Vec<u8> = match link {
            // The kernel says who the reader is, and reads it right by itself.
            ProcLink::Own | ProcLink::OwnThread => return Ok(Action::Run),
            ProcLink::Root(pid) if proc::traced(self.tasks, me, pid) => {
                told(proc::root_of(self.tasks, me, pid, &self.session.view))
            }
            ProcLink::Exe(pid) if proc::exe_of(self.tasks, me, pid).is_some() => {
                proc::exe_of(self.tasks, me, pid).map_or_else(Vec::new, told)
            }
            _ => {
                let mut text = [0; PATH_MAX];
                let Ok(n) = sys::readlink(host, &mut text) else {
                    self.replace(at, &found, Follow::No)?;
                    return Ok(Action::Run);
                };
                self.in_guest_terms(
                    &text[..n],
                    matches!(link, ProcLink::Cwd(pid) if pid == me.tgid || pid == me.tid),
                )
            }
        };
        let (buffer, size) = (self.args[at + 1], self.args[at + 2] as i32);
        if size <= 0 {
            return Err(Errno::EINVAL);
        }
        let n = text.len().min(size as usize);
        memory::write(self.task.tid, buffer, &text[..n])?;
        Ok(Action::Return(n as i64))
    }

    /// A host path as the guest would read it; what the guest has no path for stays as it is.
    fn in_guest_terms(&mut self, host: &[u8], own_cwd: bool) -> Vec<u8> {
        if own_cwd && let super::paths::Base::At(guest) = self.base(None) {
            return Told::new(guest.as_bytes(), self.root().as_ref()).path().to_vec();
        }
        let (path, suffix): (&[u8], &[u8]) = match host.strip_suffix(b" (deleted)") {
            Some(path) => (path, b" (deleted)"),
            None => (host, b""),
        };
        let mut guest = Buf::<PATH_MAX>::new();
        if path.starts_with(b"/") && self.session.view.guest(path, &mut guest) {
            let root = self.root();
            return [Told::new(guest.as_bytes(), root.as_ref()).path(), suffix].concat();
        }
        host.to_vec()
    }
}
