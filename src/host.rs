//! The host's file tree as one tracee sees it: [`Host`] over real system calls, with the links of /proc that would
//! otherwise speak of the tracer or in host paths.

use crate::emulate::hard_links::is_hidden;
use crate::emulate::identity::searchable::Searchable;
use crate::emulate::identity::{Cred, Identity as Another};
use crate::emulate::proc::{self, ProcLink};
use crate::path::{Buf, PATH_MAX};
use crate::resolve::{Host, Identity, Last, Link, Plain};
use crate::session::{Counter, is_prun};
use crate::sys;
use crate::sys::file::Place;
use crate::sys::setting::Setting;
use crate::tracee::rights::AsGuest;
use crate::tracee::{Directory, Task};
use crate::view::View;
use std::sync::Arc;
use syscalls::Errno;

/// See the module.
pub struct HostTree<'a> {
    calls: &'a Counter,
    view: Option<&'a View>,
    who: Option<(&'a Directory, &'a Task)>,
    /// The tracer and the front.
    prun: [u32; 2],
    rights: Option<AsGuest>,
    /// The host has refused to search a directory.
    denied: bool,
    /// Under a fake identity that has given up root: who may search which directory is the guest's to say.
    held: Option<(&'a Another, Arc<Cred>, &'a mut Searchable)>,
    /// Under a fake identity: whose files are whose is the guest's to say.
    owners: Option<(&'a Another, Arc<Cred>)>,
}

impl<'a> HostTree<'a> {
    /// The tree as `task` sees it; `calls` counts the questions. `prun` are the tracer and the front, which nobody sees.
    pub fn new(
        calls: &'a Counter,
        view: &'a View,
        tasks: &'a Directory,
        task: &'a Task,
        prun: [u32; 2],
    ) -> Self {
        Self {
            calls,
            view: Some(view),
            who: Some((tasks, task)),
            prun,
            rights: None,
            denied: false,
            held: None,
            owners: None,
        }
    }

    /// The tree as it is searched with the credentials that the task has under `identity`.
    #[must_use]
    pub fn as_another(self, identity: Option<&'a Another>, known: &'a mut Searchable) -> Self {
        let cred = self.who.and_then(|(_, task)| task.cred.clone());
        let owners = identity.zip(cred);
        let held = owners.clone().filter(|(identity, cred)| identity.holds(cred));
        Self { held: held.map(|(identity, cred)| (identity, cred, known)), owners, ..self }
    }

    /// The tree while the view is built: nobody looks yet.
    pub fn bare(calls: &'a Counter) -> Self {
        Self {
            calls,
            view: None,
            who: None,
            prun: [0; 2],
            rights: None,
            denied: false,
            held: None,
            owners: None,
        }
    }

    /// Whether the host has refused to search a directory since this was made.
    pub fn denied(&self) -> bool {
        self.denied
    }

    fn proc_link(&self, path: &[u8], link: ProcLink, out: &mut [u8]) -> Link {
        let text = |out: &mut [u8], text: &[u8]| {
            out[..text.len()].copy_from_slice(text);
            Link::Text(text.len())
        };
        let jump = |out: &mut [u8], text: &[u8]| {
            out[..text.len()].copy_from_slice(text);
            Link::Jump(text.len())
        };
        let Some((tasks, me)) = self.who else { return raw(path, out) };
        let pid = proc::pid_of(&path[..path.len() - 1]).unwrap_or(0);
        if !proc::traced(tasks, me, pid) && is_prun(self.prun, pid) {
            return Link::Barred(Errno::ENOENT);
        }
        match link {
            ProcLink::Own => text(out, me.tgid.to_string().as_bytes()),
            ProcLink::OwnThread => text(out, format!("{}/task/{}", me.tgid, me.tid).as_bytes()),
            ProcLink::Root(pid) if proc::traced(tasks, me, pid) => match self.view {
                Some(view) => jump(out, proc::root_of(tasks, me, pid, view).as_bytes()),
                None => jump(out, b"/"),
            },
            // As it would be if all processes were in one container.
            ProcLink::Root(_) => match raw(path, out) {
                Link::Text(_) => jump(out, b"/"),
                other => other,
            },
            ProcLink::Exe(pid) => match proc::exe_of(tasks, me, pid) {
                Some(exe) => jump(out, exe.as_bytes()),
                None => self.magic(path, proc::traced(tasks, me, pid), out),
            },
            ProcLink::Cwd(pid) => self.magic(path, proc::traced(tasks, me, pid), out),
            ProcLink::Other => self.magic(path, proc::traced(tasks, me, pid), out),
        }
    }

    /// A link that the kernel follows without a text: of one of the session's tasks, or, not `traced`, of a process
    /// outside, which leads nowhere but to what the guest sees.
    fn magic(&self, path: &[u8], traced: bool, out: &mut [u8]) -> Link {
        let mut host = [0; PATH_MAX];
        let n = match sys::readlink(path, &mut host) {
            Ok(n) => n,
            Err(Errno::EINVAL) => return Link::None,
            // Longer than a page can say, or not ours to read: the kernel may still follow it.
            Err(Errno::ENAMETOOLONG) => return Link::Magic(0),
            Err(e) => return Link::Refused(e),
        };
        let host = &host[..n];
        let mut guest = Buf::<PATH_MAX>::new();
        match self.view {
            Some(view)
                if host.starts_with(b"/") && !proc::is_deleted(host) && view.guest(host, &mut guest) =>
            {
                out[..guest.len()].copy_from_slice(guest.as_bytes());
                Link::Magic(guest.len())
            }
            Some(view) if !traced && host.starts_with(b"/") => {
                // What is gone had a name that the guest saw, or not.
                let gone = host.strip_suffix(b" (deleted)").is_some_and(|host| view.guest(host, &mut guest));
                let memory = host.starts_with(b"/memfd:") || host.starts_with(b"/dev/zero");
                if gone || memory { Link::Magic(0) } else { Link::Barred(Errno::EACCES) }
            }
            _ => Link::Magic(0),
        }
    }
}

impl HostTree<'_> {
    /// `may_follow_link()` of `fs/namei.c`: in a sticky directory that everybody may write to, a link is followed by its
    /// owner, and by all if the directory is its owner's too. Not even root may do more.
    fn may_follow(&self, path: &[u8], text: &[u8]) -> bool {
        let shared = libc::S_ISVTX | libc::S_IWOTH;
        let seen = |place: &Place| -> Option<(u32, u32)> {
            self.calls.add(1);
            let attr = place.attr().ok()?;
            let Some((identity, _)) = self.owners.as_ref() else { return Some((attr.mode, attr.uid)) };
            let seen = identity.seen(place, &attr);
            Some((seen.mode, seen.uid))
        };
        let place = Place::at(path.to_vec());
        let Some((mode, dir)) = seen(&place.parent()) else { return true };
        if mode & shared != shared || (self.owners.is_some() && is_hidden(text)) {
            // The latter is no link to the guest, but another name of a file.
            return true;
        }
        let Some((_, owner)) = seen(&place) else { return true };
        let who = match (&self.owners, &self.rights) {
            (Some((_, cred)), _) => cred.uid.fs,
            (None, Some(rights)) => rights.uid(),
            // While the view is built.
            (None, None) => return true,
        };
        owner == who || owner == dir
    }
}

fn raw(path: &[u8], out: &mut [u8]) -> Link {
    match sys::readlink(path, out) {
        Ok(n) => Link::Text(n),
        Err(Errno::EINVAL) => Link::None,
        Err(e) => Link::Refused(e),
    }
}

impl Host for HostTree<'_> {
    fn plain(&mut self, path: &[u8], last: Last) -> Plain {
        self.calls.add(1);
        let plain = sys::plain(None, path, last);
        self.denied |= plain == Plain::Denied;
        plain
    }

    fn link(&mut self, path: &[u8], out: &mut [u8]) -> Link {
        self.calls.add(1);
        let link = match proc::link_at(&path[..path.len() - 1]) {
            Some(link) => self.proc_link(path, link, out),
            None => raw(path, out),
        };
        self.denied |= link == Link::Refused(Errno::EACCES);
        link
    }

    fn directory(&mut self, path: &[u8]) -> Option<Identity> {
        self.who?;
        self.calls.add(1);
        let st = sys::stat(path, Last::Kept).ok()?;
        (st.mode & libc::S_IFMT == libc::S_IFDIR).then_some([st.id.0, st.id.1])
    }

    fn walk_begins(&mut self) {
        self.rights = self.who.map(|(_, task)| AsGuest::of(task.tid));
    }

    fn walk_ends(&mut self) {
        self.rights = None;
    }

    fn checks_search(&self) -> bool {
        self.held.is_some()
    }

    fn search(&mut self, path: &[u8]) -> Result<(), Errno> {
        let links = self.epoch();
        let Some((identity, cred, searchable)) = &mut self.held else { return Ok(()) };
        let epoch = u64::from(identity.records.changes()) << 32 | u64::from(links);
        if searchable.knows(cred, epoch, path) {
            return Ok(());
        }
        self.calls.add(1);
        let place = Place::at(path.to_vec()).followed();
        // What is missing or no directory is the kernel's to refuse.
        let Ok(attr) = place.attr() else { return Ok(()) };
        let directory = attr.mode & libc::S_IFMT == libc::S_IFDIR;
        if directory && !cred.may(&identity.seen(&place, &attr), libc::X_OK as u32) {
            return Err(Errno::EACCES);
        }
        if directory {
            searchable.learn(cred, epoch, path);
        }
        Ok(())
    }

    fn follow(&mut self, path: &[u8], text: &[u8]) -> Result<(), Errno> {
        let free = Setting::Links.level() == 0 || self.may_follow(path, text);
        if free { Ok(()) } else { Err(Errno::EACCES) }
    }

    fn epoch(&self) -> u32 {
        self.who.map_or(0, |(tasks, _)| tasks.links_made())
    }
}
