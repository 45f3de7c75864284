//! Calls under a fake identity ([`crate::emulate::identity`]).
//!
//! What can be answered is answered in one stop: the tracer, which is the same user as the tracee, looks at the file
//! or changes it itself. A second stop is taken only where something is made or removed that has to be recorded.
//!
//! * [`ids`]: who one is. * [`files`]: stat, chown, chmod. * [`attributes`]: xattr(7). * [`make`]: new files, removed
//!   files, opening. * [`peer`]: credentials of peers. * [`chroot`]: another root.
//!   * [`permissions`]: what a task that has given up root may not.
//!   * [`signals`]: to tasks of other users.

mod attributes;
mod chroot;
mod files;
mod ids;
mod make;
mod peer;
mod permissions;
mod signals;
mod writing;

use super::paths::Named;
use super::table::{Arg, Row, Touch};
use super::{Action, Call};
use crate::emulate::identity::{Cred, FileCaps, Identity};
use crate::emulate::proc;
use crate::exec::Distrust;
use crate::path::PATH_MAX;
use crate::resolve::{Follow, Restrict};
use crate::sys::file::Place;
use crate::tracee::memory::{self, Text};
use prun_arch::Sysno;
use std::sync::Arc;
use syscalls::Errno;

use make::Made;
pub(super) use make::Opens;

/// What is done with the result of a call.
#[derive(Debug)]
pub enum Later {
    /// A file has been made.
    Made(Made),
    /// The last name of a file has been removed.
    Forget((u64, u64)),
    /// `SO_PEERCRED`: the value at this address, and its length at that.
    Peer(u64, u64),
    /// Messages came with credentials, perhaps with addresses too: each `struct msghdr`, and which one of the call's.
    Messages(Option<super::Received>, Vec<(u64, i64)>),
}

impl Call<'_> {
    /// Does what the table says, as the guest's identity.
    pub(super) fn enter_as_another(&mut self, row: &'static Row) -> Result<Action, Errno> {
        use Sysno as S;
        let Some(identity) = self.session.identity.clone() else { return self.enter_plainly(row) };
        if row.call == S::truncate && (self.args[1] as i64) < 0 {
            // Refused before anything is looked up.
            return self.enter_plainly(row);
        }
        self.permitted(&identity, row)?;
        let answered = match row.call {
            S::stat | S::lstat | S::newfstatat | S::statx | S::fstat => self.stat(&identity, row)?,
            S::chown | S::lchown | S::fchownat | S::fchown => self.chown(&identity, row)?,
            S::chmod | S::fchmodat | S::fchmodat2 | S::fchmod => self.chmod(&identity, row)?,
            S::setxattr | S::lsetxattr | S::fsetxattr | S::setxattrat => {
                self.set_attribute(&identity, row)?
            }
            S::getxattr | S::lgetxattr | S::fgetxattr | S::getxattrat => {
                self.get_attribute(&identity, row)?
            }
            S::listxattr | S::llistxattr | S::flistxattr | S::listxattrat => {
                self.list_attributes(&identity, row)?
            }
            S::removexattr | S::lremovexattr | S::fremovexattr | S::removexattrat => {
                self.remove_attribute(&identity, row)?
            }
            S::access | S::faccessat | S::faccessat2 => self.asks(&identity, row)?,
            S::mknod | S::mknodat => self.mknod(&identity, row)?,
            S::mkdir | S::mkdirat => self.mkdir(&identity, row)?,
            S::symlink | S::symlinkat => self.makes(&identity, row, None)?,
            S::unlink | S::unlinkat | S::rmdir => self.removes(&identity, row)?,
            S::rename | S::renameat | S::renameat2 => self.renames(&identity, row)?,
            S::truncate => self.truncates(&identity, row)?,
            S::bind => self.binds(&identity)?,
            S::kill
            | S::tkill
            | S::tgkill
            | S::rt_sigqueueinfo
            | S::rt_tgsigqueueinfo
            | S::pidfd_send_signal => self.signals(&identity, row)?,
            S::setpriority
            | S::ioprio_set
            | S::sched_setparam
            | S::sched_setscheduler
            | S::sched_setattr
            | S::process_vm_readv
            | S::process_vm_writev => {
                self.reaches_another(&identity, row)?;
                None
            }
            S::chroot => self.chroot(&identity)?,
            S::socket => return self.socket(),
            S::getsockopt => return self.getsockopt(),
            S::recvmsg | S::recvmmsg => return self.receives_as_another(row),
            _ => self.ids(&identity, row.call)?,
        };
        if let Some(action) = answered {
            return Ok(action);
        }
        match (self.enter_plainly(row)?, self.then.take()) {
            (Action::Run, Some(later)) => Ok(Action::RunThen(super::Exit::Identity(Box::new(later)))),
            (action, _) => Ok(action),
        }
    }

    /// Finishes a call at its exit stop.
    pub(super) fn later(&mut self, later: Later) {
        let Some(identity) = self.session.identity.clone() else { return };
        let result = self.regs.result();
        match later {
            Later::Made(made) => {
                if result >= 0 {
                    self.made(&identity, made, result as i32);
                }
            }
            Later::Forget(id) => {
                if result == 0 {
                    identity.records.forget(id);
                }
            }
            Later::Peer(value, length) => {
                if result == 0 {
                    self.peer(&identity, value, length);
                }
            }
            Later::Messages(received, messages) => {
                if let Some(received) = received {
                    self.received(&received);
                }
                for (message, i) in messages {
                    if result >= 0 && i < result {
                        self.message_credentials(&identity, message);
                    }
                }
            }
        }
    }

    /// The caller's credentials.
    fn cred(&self, identity: &Identity) -> Arc<Cred> {
        self.task.cred.clone().unwrap_or_else(|| identity.first())
    }

    /// Gives the caller other credentials.
    fn set_cred(&mut self, identity: &Identity, cred: Cred) {
        let cred = Arc::new(cred);
        identity.enter(self.task.tid, &cred);
        self.task.cred = Some(cred);
    }

    /// The file that the row's path argument names; `None` where the kernel finds that it names none.
    fn place(&mut self, row: &Row, touch: Touch) -> Result<Option<Place>, Errno> {
        let Some(at) = row.args.iter().position(|a| !matches!(a, Arg::At | Arg::Pass)) else {
            let (tid, fd) = (self.task.tid, self.args[0] as i32);
            // Only fstat(2) and fchdir(2) take one that was opened for its path.
            let any = matches!(row.call, Sysno::fstat | Sysno::fchdir);
            if !any && proc::open_flags(tid, fd).is_some_and(|f| f & libc::O_PATH != 0) {
                return Err(Errno::EBADF);
            }
            return Ok(Some(Place::open_file(tid, fd)));
        };
        self.place_at(row, at, touch)
    }

    /// The file that the path in argument `at` names.
    fn place_at(&mut self, row: &Row, at: usize, touch: Touch) -> Result<Option<Place>, Errno> {
        let dir = (at > 0 && row.args[at - 1] == Arg::At).then(|| self.args[at - 1]);
        let empty = match row.args[at] {
            Arg::Unless(flags, _) => self.args[flags as usize] as i32 & libc::AT_EMPTY_PATH != 0,
            _ => false,
        };
        let Some(follow) = self.follow(row.args[at]) else { return Ok(None) };
        let len = match memory::read_path(self.task.tid, self.args[at], &mut self.session.text) {
            Text::Of(len) if len > 0 => len,
            // Since Linux 6.11 no path is an empty path.
            Text::Of(_) | Text::Fault if empty && (self.args[at] == 0 || self.session.text[0] == 0) => {
                return Ok(self.opened(dir));
            }
            _ => return Ok(None),
        };
        self.session.stats.paths.add(1);
        let named = self.find_text(dir, len, follow, touch != Touch::Reads, Restrict::default())?;
        match named {
            Named::Found(_) => self.permit(&named, touch, follow)?,
            Named::Untouched => self.permit_descriptor(row, touch, dir, at)?,
        };
        self.located(&named, dir, len, follow)
    }

    /// The file of a descriptor, or the current directory.
    fn opened(&self, dir: Option<u64>) -> Option<Place> {
        match dir.filter(|&fd| !super::paths::is_cwd(fd)) {
            Some(fd) => Some(Place::open_file(self.task.tid, fd as i32)),
            None => Some(Place::at(format!("/proc/{}/cwd/.\0", self.task.tid).into_bytes())),
        }
    }

    /// Where the tracer finds what a resolved path names; the path is the first `len` bytes of the session's text.
    fn located(
        &mut self,
        named: &Named,
        dir: Option<u64>,
        len: usize,
        follow: Follow,
    ) -> Result<Option<Place>, Errno> {
        let place = match named {
            Named::Found(found) if found.void => return Ok(None),
            Named::Found(_) if self.session.resolver.host().len() > PATH_MAX => {
                Place::at(self.shorten(PATH_MAX)?)
            }
            Named::Found(_) => Place::at(self.session.resolver.host().to_vec()),
            Named::Untouched => {
                let text = self.session.text[..=len].to_vec();
                let base = match dir.filter(|&fd| !super::paths::is_cwd(fd)) {
                    _ if text[0] == b'/' => return Ok(Some(Place::at(text))),
                    Some(fd) => self.open_dir(fd),
                    None => self.cwd_dir().and_then(|cwd| cwd.dir.get()?.as_ref()?.try_clone().ok()),
                };
                let Some(base) = base else { return Ok(None) };
                Place::below(Arc::new(base), text)
            }
        };
        Ok(Some(if follow == Follow::Yes { place.followed() } else { place }))
    }

    /// What the caller becomes by executing the host file `program`, which ends in a NUL.
    ///
    /// # Errors
    /// `EACCES` and `EPERM` of execve(2).
    pub(crate) fn becomes(&self, program: &[u8]) -> Result<Option<(Arc<Cred>, Distrust)>, Errno> {
        let Some(identity) = &self.session.identity else { return Ok(None) };
        let place = Place::at(program.to_vec()).followed();
        let attr = place.attr()?;
        let record = identity.records.of(&place, &attr);
        let seen = identity.records.look(record.as_ref(), &attr);
        let cred = self.cred(identity);
        if !cred.may(&seen, libc::X_OK as u32) {
            return Err(Errno::EACCES);
        }
        let caps = record.and_then(|r| FileCaps::parse(&r.capability?));
        let (new, distrust) = cred.executes(&seen, caps)?;
        Ok(Some((Arc::new(new), if distrust { Distrust::Yes } else { Distrust::No })))
    }
}
