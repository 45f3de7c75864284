//! Relative paths from a directory that has no guest path: deeper than `PATH_MAX`, deleted, or never shown.
//!
//! The kernel may go down from there by itself. But a link would be followed in the host's terms, and `..` may lead
//! back to where the guest has names. So the tracer goes ahead, one descriptor a component and never through a link:
//! where the way comes to an absolute link, or up to a directory with a name, the rest is resolved as any other path.

use super::Call;
use crate::path::{Buf, GuestPath, PATH_MAX, next_component};
use crate::resolve::{Follow, MAX_LINKS};
use crate::sys;
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
    /// Goes the first `len` bytes of the session's text from directory `dir`.
    pub(super) fn nameless(&mut self, dir: Option<u64>, len: usize, follow: Follow) -> Result<Way, Errno> {
        let tid = self.task.tid;
        let start = match dir {
            None => format!("/proc/{tid}/cwd\0"),
            Some(fd) => format!("/proc/{tid}/fd/{}\0", fd as i32),
        };
        let Ok(mut at) = sys::open(start.as_bytes(), libc::O_PATH) else { return Ok(Way::Kernel) };
        let mut rest = self.session.text[..len].to_vec();
        let mut links = 0;
        while let Some((name, tail)) = next_component(&rest) {
            let last = next_component(tail).is_none();
            let (name, tail) = (name.to_vec(), tail.to_vec());
            self.session.stats.host_calls.add(1);
            if name == b".." && !(last && follow == Follow::Entry) {
                // `ENOTDIR` and `EACCES` are the kernel's to say.
                let Ok(up) = sys::open_at(at.as_fd(), b"..\0", libc::O_PATH) else { return Ok(Way::Kernel) };
                match self.name_of(&up) {
                    Name::Is(guest) => {
                        let rest = tail.iter().skip_while(|&&b| b == b'/').copied().collect::<Vec<u8>>();
                        return Ok(Way::From(guest, if rest.is_empty() { b".".to_vec() } else { rest }));
                    }
                    Name::TooLong => at = up,
                    Name::None => return Err(Errno::ENOENT),
                }
            } else if name != b"." && name != b".." {
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
                at = next;
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
