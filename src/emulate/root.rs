//! The root of tasks that called chroot(2): where it is now, and how paths are told to them.
//!
//! The kernel's own root of every tracee stays the host's; what `/` means is the tracer's to say, like all paths. As
//! in the kernel, a root is no wall: it is where absolute paths and absolute links start, and where `..` stops if the
//! walk comes past it. A directory that was open before, and a link of /proc, lead outside, and from there up to the
//! view's own root.

use crate::emulate::proc;
use crate::path::{Buf, GuestPath, PATH_MAX};
use crate::sys;
use crate::tracee::{Fs, Shared};
use crate::view::View;
use std::os::fd::AsRawFd;
use std::sync::Arc;

/// Guest path of the root of tasks with these directories; `None` for the view's own.
///
/// A root that has been renamed is looked for where it is now. One that has been removed keeps a path at which nothing
/// is found, as nothing is found in it.
pub fn current(fs: &Shared<Fs>, view: &View) -> Option<GuestPath> {
    let root = Arc::clone(fs.lock().root.as_ref()?);
    let Some(dir) = &root.dir else { return Some(root.guest.clone()) };
    let mut text = [0; PATH_MAX];
    // Without /proc, and where the path is too long, what is known has to do.
    let Ok(n) = sys::readlink(format!("/proc/self/fd/{}\0", dir.as_raw_fd()).as_bytes(), &mut text) else {
        return Some(root.guest.clone());
    };
    let host = &text[..n];
    if view.shows(root.guest.as_bytes(), host) {
        return Some(root.guest.clone());
    }
    let mut guest = Buf::<PATH_MAX>::new();
    if !proc::is_deleted(host) && view.guest(host, &mut guest) {
        return Some(GuestPath::new(guest.as_bytes()));
    }
    Some(GuestPath::new(&[root.guest.as_bytes(), b" (deleted)"].concat()))
}

/// A guest path as a task with some root is told it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told<'a> {
    /// By this path.
    Inside(&'a [u8]),
    /// It is not below the task's root: by its path from the view's.
    Outside(&'a [u8]),
}

impl<'a> Told<'a> {
    /// How `guest` is told to a task whose root is `root`.
    pub fn new(guest: &'a [u8], root: Option<&GuestPath>) -> Self {
        let Some(root) = root.map(GuestPath::as_bytes).filter(|root| *root != b"/") else {
            return Self::Inside(guest);
        };
        match guest.strip_prefix(root) {
            Some(b"") => Self::Inside(b"/"),
            Some(rest) if rest[0] == b'/' => Self::Inside(rest),
            _ => Self::Outside(guest),
        }
    }

    /// In links of /proc, where `d_path()` says nothing of the root (`fs/d_path.c`).
    pub fn path(self) -> &'a [u8] {
        match self {
            Self::Inside(path) | Self::Outside(path) => path,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_told_from_the_root() {
        let root = GuestPath::new(b"/srv/jail");
        let told = |guest: &'static [u8]| Told::new(guest, Some(&root));
        assert_eq!(told(b"/srv/jail"), Told::Inside(b"/"));
        assert_eq!(told(b"/srv/jail/a/b"), Told::Inside(b"/a/b"));
        assert_eq!(told(b"/srv/jailer"), Told::Outside(b"/srv/jailer"));
        assert_eq!(told(b"/"), Told::Outside(b"/"));
        assert_eq!(Told::new(b"/a", None), Told::Inside(b"/a"));
    }
}
