//! What path resolution needs of the outside world.

use super::cache::Identity;
use syscalls::Errno;

/// Whether the last component of a path that is asked about would be followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Last {
    /// A final link counts as a link on the way.
    Followed,
    /// A final link is the thing meant.
    Kept,
}

/// Answer of [`Host::plain`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plain {
    /// No link was met: the path was walked to its end, or to an error that every walk of it ends with.
    Yes,
    /// No link was met before a directory that may not be searched, where every walk of the path ends.
    Denied,
    /// A link is on the way.
    Link,
    /// The host cannot tell with one call.
    Unknown,
}

/// Answer of [`Host::link`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// There is something, and it is no link.
    None,
    /// A link with a text of this many bytes, which is a path in the guest.
    Text(usize),
    /// A link of /proc without a text that leads to this guest path, of so many bytes, wherever the caller's root is.
    Jump(usize),
    /// A link of /proc that the kernel follows without a text, such as `/proc/PID/fd/N`. The guest path it leads to
    /// has this many bytes; 0 where the guest has no name for it.
    Magic(usize),
    /// The host refuses that path.
    Refused(Errno),
    /// The guest may not go there, whatever the host would say.
    Barred(Errno),
}

/// The host's file tree, as the process sees it whose path is resolved. Paths are absolute and end in a NUL.
pub trait Host {
    /// Whether `path` can be walked without meeting a symbolic link.
    fn plain(&mut self, path: &[u8], last: Last) -> Plain;

    /// What is at `path`; the text of a link goes to `out`.
    fn link(&mut self, path: &[u8], out: &mut [u8]) -> Link;

    /// The directory that `path` itself names, links on the way followed; `None` where it names something else, and
    /// where nothing is to be remembered about directories.
    fn directory(&mut self, path: &[u8]) -> Option<Identity> {
        let _ = path;
        None
    }

    /// A walk begins that looks at each component; the host may take on other rights until it ends.
    fn walk_begins(&mut self) {}

    /// It has ended.
    fn walk_ends(&mut self) {}

    /// Whether [`Host::search`] has to be asked in each directory: the caller is held to modes that are not the host's.
    fn checks_search(&self) -> bool {
        false
    }

    /// Whether the caller may look names up in what is at `path`, if that is a directory.
    ///
    /// # Errors
    /// `EACCES`.
    fn search(&mut self, path: &[u8]) -> Result<(), Errno> {
        let _ = path;
        Ok(())
    }

    /// Whether the caller may follow the link at `path`, where a path ends; `text` is what [`Host::link`] has read there.
    ///
    /// # Errors
    /// `EACCES`.
    fn follow(&mut self, path: &[u8], text: &[u8]) -> Result<(), Errno> {
        let _ = (path, text);
        Ok(())
    }

    /// Changes whenever the guest may have put a link where none was.
    fn epoch(&self) -> u32 {
        0
    }
}
