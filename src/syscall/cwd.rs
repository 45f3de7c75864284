//! The current directory: chdir(2), fchdir(2), getcwd(2), and unshare(2) of it.

use super::paths::{Base, Named};
use super::{Action, Call, Exit};
use crate::emulate::root::Told;
use crate::path::{GuestPath, PATH_MAX};
use crate::resolve::{Follow, Restrict};
use crate::sys;
use crate::tracee::{Cwd, Fs, Shared, memory};
use std::sync::{Arc, OnceLock};
use syscalls::Errno;

impl Call<'_> {
    pub(super) fn chdir(&mut self) -> Result<Action, Errno> {
        match self.path(None, 0, Follow::Yes, true, Restrict::default())? {
            Named::Untouched => Ok(Action::RunThen(Exit::Fchdir)),
            Named::Found(found) if found.void => Err(Errno::ENOENT),
            Named::Found(_) => {
                let guest = self.session.resolver.guest();
                if guest.len() >= PATH_MAX {
                    return Ok(Action::RunThen(Exit::Fchdir));
                }
                Ok(Action::RunThen(Exit::Chdir(GuestPath::new(guest))))
            }
        }
    }

    /// Another directory for every task that shares this one.
    pub(super) fn set_cwd(&mut self, guest: GuestPath) {
        self.task.fs.lock().cwd = Arc::new(Cwd { guest, dir: OnceLock::new() });
    }

    /// The kernel has changed the directory by a way that gave no guest path: ask where it is.
    pub(super) fn fchdir_done(&mut self) {
        let known = Arc::clone(&self.task.fs.lock().cwd);
        let guest = match self.base(None) {
            Base::At(guest) => guest,
            Base::Unknown | Base::Closed => known.guest.clone(),
        };
        self.set_cwd(guest);
    }

    pub(super) fn unshare_fs(&mut self) {
        let own: Fs = self.task.fs.lock().clone();
        self.task.fs = Shared::new(own);
        self.tasks.enter(self.task);
    }

    /// getcwd(2), answered without the kernel: `ENOENT` in a deleted directory, `ERANGE` for a short buffer.
    pub(super) fn getcwd(&mut self) -> Result<Action, Errno> {
        let guest = match self.base(None) {
            Base::At(guest) => guest,
            Base::Unknown | Base::Closed => {
                let mut text = [0; PATH_MAX];
                let link = format!("/proc/{}/cwd\0", self.task.tid);
                return match sys::readlink(link.as_bytes(), &mut text) {
                    Ok(n) if crate::emulate::proc::is_deleted(&text[..n]) => Err(Errno::ENOENT),
                    Err(e) => Err(e),
                    // Not shown by the view: as the kernel names a directory outside of the root.
                    Ok(_) => self.answer_cwd(b"(unreachable)/"),
                };
            }
        };
        match Told::new(guest.as_bytes(), self.root().as_ref()) {
            Told::Inside(path) => self.answer_cwd(path),
            Told::Outside(path) => self.answer_cwd(&[b"(unreachable)", path].concat()),
        }
    }

    fn answer_cwd(&mut self, path: &[u8]) -> Result<Action, Errno> {
        let text = [path, b"\0"].concat();
        if (self.args[1] as usize) < text.len() {
            return Err(Errno::ERANGE);
        }
        if text.len() > PATH_MAX {
            return Err(Errno::ENAMETOOLONG);
        }
        memory::write(self.task.tid, self.args[0], &text)?;
        Ok(Action::Return(text.len() as i64))
    }
}
