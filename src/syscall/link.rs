//! rename(2), link(2) and readlink(2): two paths at once, and links whose text is the host's.

use super::paths::Named;
use super::table::{Arg, Row, Touch};
use super::{Action, Call};
use crate::emulate::proc::{self, ProcLink};
use crate::path::{Buf, PATH_MAX};
use crate::resolve::{Follow, Restrict};
use crate::sys;
use crate::tracee::memory;
use syscalls::Errno;

impl Call<'_> {
    /// Neither name may be a mount point. Across bindings the host decides, and says `EXDEV` where it cannot.
    pub(super) fn rename(&mut self, row: &Row) -> Result<Action, Errno> {
        let [old, new] = self.two(row)?;
        self.tasks.link_made();
        for named in [&old, &new] {
            if let Named::Found(found) = named
                && found.node.is_some()
            {
                return Err(Errno::EBUSY);
            }
        }
        Ok(Action::Run)
    }

    /// A link across two mounts is `EXDEV`, also where both happen to lie on one file system of the host.
    pub(super) fn hard_link(&mut self, row: &Row) -> Result<Action, Errno> {
        let [old, new] = self.two(row)?;
        self.tasks.link_made();
        if let (Named::Found(old), Named::Found(new)) = (&old, &new)
            && old.bind != new.bind
            && !self.is_open_file(row)
        {
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

    fn two(&mut self, row: &Row) -> Result<[Named; 2], Errno> {
        let mut out = [Named::Untouched, Named::Untouched];
        let mut dir = None;
        let mut next = 0;
        // Which binding covers a relative path matters only where there are several.
        let exact = self.session.view.merges();
        self.compares = exact;
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
            let touch = match (follow, next) {
                (Follow::Entry, 0) => Touch::Changes,
                (Follow::Entry, _) => Touch::Makes,
                _ => Touch::Reads,
            };
            if let Named::Found(found) = &named {
                let renames = !row.call.name().starts_with("link");
                // Renaming writes to both directories, whatever is there.
                let at_node = found.node.is_some() && renames;
                if !at_node {
                    self.permit(&named, touch)?;
                }
            }
            out[next.min(1)] = named;
            next += 1;
        }
        Ok(out)
    }

    /// readlink(2): what the kernel says of a link of /proc is put in the guest's terms.
    pub(super) fn readlink(&mut self, row: &Row, at: usize) -> Result<Action, Errno> {
        let dir = (row.args[0] == Arg::At).then(|| self.args[0]);
        let named = self.find(dir, self.args[at], Follow::No, false, Restrict::default())?;
        let Named::Found(found) = named else { return Ok(Action::Run) };
        if found.void {
            return Err(Errno::ENOENT);
        }
        let host = self.session.resolver.host();
        let Some(link) = proc::link_at(&host[..host.len() - 1]) else {
            self.replace(at, &found)?;
            return Ok(Action::Run);
        };
        let me = &*self.task;
        let text: Vec<u8> = match link {
            // The kernel says who the reader is, and reads it right by itself.
            ProcLink::Own | ProcLink::OwnThread => return Ok(Action::Run),
            ProcLink::Root(pid) if proc::traced(self.tasks, me, pid) => b"/".to_vec(),
            ProcLink::Exe(pid) if proc::exe_of(self.tasks, me, pid).is_some() => {
                proc::exe_of(self.tasks, me, pid).map_or_else(Vec::new, |p| p.as_bytes().to_vec())
            }
            _ => {
                let mut text = [0; PATH_MAX];
                let Ok(n) = sys::readlink(host, &mut text) else {
                    self.replace(at, &found)?;
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
            return guest.as_bytes().to_vec();
        }
        let (path, suffix): (&[u8], &[u8]) = match host.strip_suffix(b" (deleted)") {
            Some(path) => (path, b" (deleted)"),
            None => (host, b""),
        };
        let mut guest = Buf::<PATH_MAX>::new();
        if path.starts_with(b"/") && self.session.view.guest(path, &mut guest) {
            return [guest.as_bytes(), suffix].concat();
        }
        host.to_vec()
    }
}
