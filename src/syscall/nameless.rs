//! Relative paths from a directory that has no guest path: deeper than `PATH_MAX`, deleted, or never shown.
//!
//! The kernel may go down from there by itself. But a link would be followed in the host's terms, and `..` may lead
//! back to where the guest has names. So the tracer goes ahead, one descriptor a component and never through a link:
//! where the way comes to an absolute link, or up to a directory with a name, the rest is resolved as any other path.
//!
//! So it goes, too, where the directory has a guest path that the caller cannot get to by it: a directory above may no
//! longer be searched, or only by whom the caller was when he came. What cannot be said without that name stays refused:
//! links on the way of rename(2) and link(2), which compare places, and what a read-only binding may forbid.

use super::Call;
use crate::path::{Buf, GuestPath, PATH_MAX, next_component};
use crate::resolve::{Follow, Last, MAX_LINKS, Restrict};
use crate::sys;
use crate::tracee::rights::AsGuest;
use crate::view::{Access, Kind};
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use syscalls::Errno;

/// How such a path goes on.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// The kernel, starting in the same directory, finds the right thing.
    Kernel,
    /// From this directory by this path.
    From(GuestPath, Vec<u8>),
}

/// What the guest calls a directory.
enum Name {
    Is(GuestPath),
    /// Longer than a path may be, so still inside.
    TooLong,
    /// It is not shown.
    None,
}

impl Call<'_> {
    /// The way of the first `len` bytes of the session's text from directory `dir`, whose name `base` is of no use to the
    /// caller; `None` where it is, or where no other way is right. `exact` is for calls that may be refused here for
    /// being read-only.
    pub(super) fn around(
        &mut self,
        dir: Option<u64>,
        len: usize,
        (follow, restrict): (Follow, Restrict),
        exact: bool,
        base: &[u8],
        root: &[u8],
    ) -> Result<Option<Way>, Errno> {
        let table = &self.session.view.table;
        let (bind, below) = table.covering(base);
        let node = table.node(bind);
        let guarded = exact && node.access() == Access::ReadOnly;
        let host = [table.host(bind), below, b"\0"].concat();
        if guarded || node.kind() != Kind::Binding || host.starts_with(b"/proc/") {
            return Ok(None);
        }
        self.session.stats.host_calls.add(1);
        let there = {
            let _rights = AsGuest::of(self.task.tid);
            sys::stat(&host, Last::Followed)
        };
        if there.err() != Some(Errno::EACCES) {
            return Ok(None);
        }
        if restrict.confines() {
            // The kernel keeps inside by itself.
            return Ok(self.session.view.table.find(base).is_none().then_some(Way::Kernel));
        }
        let way = self.nameless(dir, len, follow, Some((base, root)))?;
        match &way {
            Way::From(_, path) if restrict != Restrict::default() => {
                let by_link = path.first() == Some(&b'/');
                if by_link && restrict.has(Restrict::NO_XDEV) && !restrict.has(Restrict::NO_SYMLINKS) {
                    return Err(Errno::EXDEV);
                }
                Ok((by_link && restrict.has(Restrict::NO_SYMLINKS)).then_some(Way::Kernel))
            }
            _ => Ok(Some(way)),
        }
    }

    /// Goes the first `len` bytes of the session's text from directory `dir`; `named` are its guest path and that of the
    /// caller's root, where it has one.
    pub(super) fn nameless(
        &mut self,
        dir: Option<u64>,
        len: usize,
        follow: Follow,
        named: Option<(&[u8], &[u8])>,
    ) -> Result<Way, Errno> {
        let tid = self.task.tid;
        let start = match dir {
            None => format!("/proc/{tid}/cwd\0"),
            Some(fd) => format!("/proc/{tid}/fd/{}\0", fd as i32),
        };
        let Ok(mut at) = sys::open(start.as_bytes(), libc::O_PATH) else { return Ok(Way::Kernel) };
        let mut rest = self.session.text[..len].to_vec();
        let mut links = 0;
        let root = named.map_or(b"/".as_slice(), |(_, root)| root);
        let mut here = named.map(|(base, _)| base.to_vec());
        while let Some((name, tail)) = next_component(&rest) {
            let last = next_component(tail).is_none();
            let (name, tail) = (name.to_vec(), tail.to_vec());
            self.session.stats.host_calls.add(1);
            if name == b".." && !(last && follow == Follow::Entry) {
                // `ENOTDIR` and `EACCES` are the kernel's to say.
                let Ok(up) = sys::open_at(at.as_fd(), b"..\0", libc::O_PATH) else { return Ok(Way::Kernel) };
                let edge = |here: &Vec<u8>| here == root || self.session.view.table.find(here).is_some();
                if let Some(here) = here.take_if(|here| edge(here)) {
                    let above = if here == root { here } else { parent(&here).to_vec() };
                    return Ok(onward(GuestPath::new(&above), &tail));
                }
                let above = here.take().map(|here| parent(&here).to_vec());
                match self.name_of(&up) {
                    Name::Is(guest) if above.as_deref() == Some(guest.as_bytes()) => (at, here) = (up, above),
                    Name::Is(guest) => return Ok(onward(guest, &tail)),
                    Name::TooLong => at = up,
                    Name::None => return Err(Errno::ENOENT),
                }
            } else if name != b"." && name != b".." {
                let inside =
                    here.as_ref().map(|here| [here.strip_suffix(b"/").unwrap_or(here), b"/", &name].concat());
                if let Some(inside) = &inside
                    && self.session.view.table.find(inside).is_some()
                {
                    return Ok(onward(GuestPath::new(inside), &tail));
                }
                if last && (follow == Follow::Entry || (follow == Follow::No && tail.is_empty())) {
                    break;
                }
                let path = [&name[..], b"\0"].concat();
                let Ok(next) = sys::open_at(at.as_fd(), &path, libc::O_PATH | libc::O_NOFOLLOW) else {
                    return Ok(Way::Kernel);
                };
                if let Some(text) = link_text(&next)? {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(Errno::ELOOP);
                    }
                    rest = [text, tail].concat();
                    if rest.len() >= PATH_MAX {
                        return Err(Errno::ENAMETOOLONG);
                    }
                    if rest.first() == Some(&b'/') {
                        return Ok(Way::From(GuestPath::new(b"/"), rest));
                    }
                    continue;
                }
                (at, here) = (next, inside);
            }
            rest = tail;
        }
        Ok(Way::Kernel)
    }

    fn name_of(&self, dir: &OwnedFd) -> Name {
        let mut text = [0; PATH_MAX];
        let link = format!("/proc/self/fd/{}\0", dir.as_raw_fd());
        let n = match sys::readlink(link.as_bytes(), &mut text) {
            Ok(n) => n,
            Err(Errno::ENAMETOOLONG) => return Name::TooLong,
            Err(_) => return Name::None,
        };
        let mut guest = Buf::<PATH_MAX>::new();
        let host = &text[..n];
        let shown =
            host.starts_with(b"/") && !self.removed(dir, host) && self.session.view.guest(host, &mut guest);
        if shown { Name::Is(GuestPath::new(guest.as_bytes())) } else { Name::None }
    }

    /// Whether the text that the kernel gives for a directory is that of one that is gone.
    fn removed(&self, dir: &OwnedFd, host: &[u8]) -> bool {
        let is_there =
            |file: File| file.metadata().is_ok_and(|m| std::os::unix::fs::MetadataExt::nlink(&m) > 0);
        crate::emulate::proc::is_deleted(host) && !dir.try_clone().is_ok_and(|fd| is_there(File::from(fd)))
    }

    /// Whether a descriptor is a directory's: from anything else, a link among it, the kernel starts no walk.
    pub(super) fn starts_in_a_directory(&self, dir: u64) -> bool {
        let link = format!("/proc/{}/fd/{}\0", self.task.tid, dir as i32);
        self.session.stats.host_calls.add(1);
        sys::stat(link.as_bytes(), crate::resolve::Last::Followed)
            .is_ok_and(|st| st.mode & libc::S_IFMT == libc::S_IFDIR)
    }
}

/// The guest path above this one.
fn parent(guest: &[u8]) -> &[u8] {
    let cut = guest.iter().rposition(|&b| b == b'/').unwrap_or(0);
    &guest[..cut.max(1)]
}

/// From what the walk has come to, by the rest of the way: nothing of that says that the former may be searched.
fn onward(guest: GuestPath, tail: &[u8]) -> Way {
    let rest = &tail[tail.iter().take_while(|&&b| b == b'/').count()..];
    match guest.as_bytes() {
        all if rest.is_empty() && all != b"/" => Way::From(GuestPath::new(b"/"), [&all[1..], tail].concat()),
        _ if rest.is_empty() => Way::From(guest, b".".to_vec()),
        _ => Way::From(guest, rest.to_vec()),
    }
}

/// The text of a link that is held open itself; `None` for everything else.
fn link_text(fd: &OwnedFd) -> Result<Option<Vec<u8>>, Errno> {
    let file = File::from(fd.try_clone().map_err(|e| Errno::new(e.raw_os_error().unwrap_or(libc::EMFILE)))?);
    let kind = file.metadata().map_err(|e| Errno::new(e.raw_os_error().unwrap_or(libc::EIO)))?.file_type();
    if !kind.is_symlink() {
        return Ok(None);
    }
    match nix::fcntl::readlinkat(fd, "") {
        Ok(text) => Ok(Some(text.into_vec())),
        Err(e) => Err(Errno::new(e as i32)),
    }
}
