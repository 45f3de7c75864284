//! The host's file tree as one tracee sees it: [`Host`] over real system calls, with the links of /proc that would
//! otherwise speak of the tracer or in host paths.

use crate::emulate::proc::{self, ProcLink};
use crate::path::{Buf, PATH_MAX};
use crate::resolve::{Host, Identity, Last, Link, Plain};
use crate::session::Counter;
use crate::sys;
use crate::tracee::rights::AsGuest;
use crate::tracee::{Directory, Task};
use crate::view::View;
use syscalls::Errno;

/// See the module.
pub struct HostTree<'a> {
    calls: &'a Counter,
    view: Option<&'a View>,
    who: Option<(&'a Directory, &'a Task)>,
    rights: Option<AsGuest>,
}

impl<'a> HostTree<'a> {
    /// The tree as `task` sees it; `calls` counts the questions.
    pub fn new(calls: &'a Counter, view: Option<&'a View>, tasks: &'a Directory, task: &'a Task) -> Self {
        Self { calls, view, who: Some((tasks, task)), rights: None }
    }

    /// The tree while the view is built: nobody looks yet.
    pub fn bare(calls: &'a Counter) -> Self {
        Self { calls, view: None, who: None, rights: None }
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
        match link {
            ProcLink::Own => text(out, me.tgid.to_string().as_bytes()),
            ProcLink::OwnThread => text(out, format!("{}/task/{}", me.tgid, me.tid).as_bytes()),
            ProcLink::Root(pid) if proc::traced(tasks, me, pid) => jump(out, b"/"),
            ProcLink::Exe(pid) => match proc::exe_of(tasks, me, pid) {
                Some(exe) => jump(out, exe.as_bytes()),
                None => self.magic(path, out),
            },
            ProcLink::Root(_) | ProcLink::Cwd(_) | ProcLink::Other => self.magic(path, out),
        }
    }

    fn magic(&self, path: &[u8], out: &mut [u8]) -> Link {
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
            _ => Link::Magic(0),
        }
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
        sys::plain(None, path, last)
    }

    fn link(&mut self, path: &[u8], out: &mut [u8]) -> Link {
        self.calls.add(1);
        match proc::link_at(&path[..path.len() - 1]) {
            Some(link) => self.proc_link(path, link, out),
            None => raw(path, out),
        }
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

    fn epoch(&self) -> u32 {
        self.who.map_or(0, |(tasks, _)| tasks.links_made())
    }
}
