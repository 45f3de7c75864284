//! Calls that this kernel does not have, made by older ones: see [`crate::emulate::newer`] for which, and when.

mod descriptors;

pub use descriptors::Closing;

use super::paths::Named;
use super::table::Row;
use super::{Action, Call, Exit};
use crate::emulate::newer::{self, STAT_LEN};
use crate::path::PATH_MAX;
use crate::path::components;
use crate::resolve::{Follow, Last, Restrict};
use crate::sys;
use crate::tracee::memory::{self, Text};
use crate::tracee::rights::AsGuest;
use prun_arch::Sysno;
use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use syscalls::Errno;

/// Bytes of the first `struct open_how`; the largest that the kernel reads is a page.
const HOW_LEN: usize = 24;
/// Bytes that one getrandom(2) gets; callers ask again for more.
const RANDOM_MOST: u64 = 1 << 20;
const GRND_KNOWN: u32 = 7;

impl Call<'_> {
    /// Does what the table says, with an older call.
    ///
    /// # Errors
    /// The newer call's; `ENOSYS` where no older one does exactly the same.
    pub(super) fn by_an_older(&mut self, row: &'static Row) -> Result<Action, Errno> {
        let a = self.args;
        let known = |flags: u64, all: i32| {
            if flags as i32 & !all == 0 { Ok(flags as i32) } else { Err(Errno::EINVAL) }
        };
        match row.call {
            Sysno::openat2 => self.openat2_by_openat(),
            // A 32-bit structure has no room for all times.
            Sysno::statx if self.regs.abi().word() == 4 => self.statx_by_looking(row),
            Sysno::statx => {
                let flags = newer::stat_flags(a[2] as i32, a[3] as u32)?;
                let action = self.work(row)?;
                self.instead(Sysno::newfstatat, [self.args[0], self.args[1], a[4], flags as u64]);
                match action {
                    Action::Run => Ok(Action::RunThen(Exit::Statx)),
                    other => Ok(other),
                }
            }
            Sysno::faccessat2 => {
                let flags = known(a[3], libc::AT_EACCESS | libc::AT_SYMLINK_NOFOLLOW | libc::AT_EMPTY_PATH)?;
                let empty = flags & libc::AT_EMPTY_PATH != 0 && self.is_empty(a[1]);
                let effective = flags & libc::AT_EACCESS != 0 && !self.rights_are_effective();
                if empty || effective {
                    return Err(Errno::ENOSYS);
                }
                let nofollow = flags & libc::AT_SYMLINK_NOFOLLOW != 0;
                // Nothing says what a link's own permissions are.
                let itself = if nofollow { Some(self.itself(a[0], a[1], Errno::ENOSYS)?) } else { None };
                self.otherwise(row, Sysno::faccessat, 3, itself)
            }
            Sysno::fchmodat2 => {
                let flags = known(a[3], libc::AT_SYMLINK_NOFOLLOW | libc::AT_EMPTY_PATH)?;
                let itself = if flags & libc::AT_EMPTY_PATH != 0 && self.is_empty(a[1]) {
                    Some(if a[0] as i32 == libc::AT_FDCWD {
                        b".\0".to_vec()
                    } else {
                        format!("/proc/self/fd/{}\0", a[0] as i32).into_bytes()
                    })
                } else if flags & libc::AT_SYMLINK_NOFOLLOW != 0 {
                    // File systems do not keep permissions of links.
                    Some(self.itself(a[0], a[1], Errno::EOPNOTSUPP)?)
                } else {
                    None
                };
                self.otherwise(row, Sysno::fchmodat, 3, itself)
            }
            Sysno::renameat2 => match known(a[4], 7)? {
                0 => self.otherwise(row, Sysno::renameat, 4, None),
                _ => Err(Errno::ENOSYS),
            },
            Sysno::execveat => {
                known(a[4], libc::AT_SYMLINK_NOFOLLOW | libc::AT_EMPTY_PATH)?;
                self.execveat_by_execve(row)
            }
            Sysno::getrandom => self.draw(),
            Sysno::close_range => self.close_range(),
            Sysno::copy_file_range => self.copy_file_range(),
            _ => self.work(row),
        }
    }

    /// statx(2) with the tracer's own eyes.
    fn statx_by_looking(&mut self, row: &'static Row) -> Result<Action, Errno> {
        let [dir, path, flags, mask, buffer, _] = self.args;
        let flags = newer::stat_flags(flags as i32, mask as u32)?;
        if let Some((_, seen)) = self.look(row, flags & libc::AT_NO_AUTOMOUNT, mask as u32)? {
            memory::write(self.task.tid, buffer, seen.asked(mask as u32).bytes())?;
            return Ok(Action::Return(0));
        }
        // It names nothing: the kernel says why, and finds nowhere to write to.
        self.instead(Sysno::newfstatat, [dir, path, 0, flags as u64]);
        Ok(Action::Run)
    }

    /// The same with the first `count` arguments, under another number; `itself`: with this path.
    fn otherwise(
        &mut self,
        row: &'static Row,
        call: Sysno,
        count: usize,
        itself: Option<Vec<u8>>,
    ) -> Result<Action, Errno> {
        let action = self.work(row)?;
        let mut args = [0; 4];
        args[..count].copy_from_slice(&self.args[..count]);
        if let Some(path) = itself {
            args[0] = libc::AT_FDCWD as u64;
            args[1] = self.slot.push(&path)?;
        }
        self.instead(call, args);
        Ok(action)
    }

    fn instead(&mut self, call: Sysno, [a, b, c, d]: [u64; 4]) {
        self.number = Some(call);
        self.args = [a, b, c, d, 0, 0];
    }

    /// A path, ending in a NUL, to the very file that a path names if it is no link, by a descriptor that the tracer
    /// holds: nobody can put a link there meanwhile.
    ///
    /// # Errors
    /// `link` for a link; the errors of looking it up.
    fn itself(&mut self, dir: u64, path: u64, link: Errno) -> Result<Vec<u8>, Errno> {
        let tid = self.task.tid;
        let flags = libc::O_PATH | libc::O_NOFOLLOW;
        let file = match self.find(Some(dir), path, Follow::No, true, Restrict::default())? {
            Named::Found(found) if found.void => return Err(Errno::ENOENT),
            Named::Found(_) => {
                let _rights = AsGuest::of(tid);
                sys::open(self.session.resolver.host(), flags)?
            }
            Named::Untouched => {
                let mut text = [0; PATH_MAX];
                let n = match memory::read_path(tid, path, &mut text) {
                    Text::Of(0) => return Err(Errno::ENOENT),
                    Text::Of(n) => n,
                    Text::TooLong => return Err(Errno::ENAMETOOLONG),
                    Text::Fault => return Err(Errno::EFAULT),
                };
                let directory = match dir as i32 {
                    libc::AT_FDCWD => format!("/proc/{tid}/cwd\0"),
                    fd => format!("/proc/{tid}/fd/{fd}\0"),
                };
                let _rights = AsGuest::of(tid);
                if text[0] == b'/' {
                    sys::open(&text[..=n], flags)?
                } else {
                    let directory =
                        sys::open(directory.as_bytes(), libc::O_PATH).map_err(|_| Errno::EBADF)?;
                    sys::open_at(directory.as_fd(), &text[..=n], flags)?
                }
            }
        };
        let mut held = self.session.hold(file);
        held.push(0);
        let st = sys::stat(&held, Last::Followed)?;
        if st.mode & libc::S_IFMT == libc::S_IFLNK { Err(link) } else { Ok(held) }
    }

    pub(super) fn is_empty(&self, at: u64) -> bool {
        let mut byte = [1];
        memory::read(self.task.tid, at, &mut byte).is_ok() && byte[0] == 0
    }

    /// Whether access(2), which asks with the real ids, gets the answer that the effective ones would.
    fn rights_are_effective(&self) -> bool {
        let Ok(status) = sys::read_text(&format!("/proc/{}/status", self.task.tid)) else {
            return false;
        };
        let field = |name| status.lines().find_map(|l: &str| l.strip_prefix(name));
        let same = |name| {
            let mut ids = field(name).unwrap_or("").split_whitespace();
            let real = ids.next();
            real.is_some() && real == ids.next()
        };
        let capabilities = |name| field(name).map(str::trim);
        let none = |set: Option<&str>| set.is_some_and(|s| s.bytes().all(|b| b == b'0'));
        let root = field("Uid:").is_some_and(|ids| ids.split_whitespace().next() == Some("0"));
        let effective = capabilities("CapEff:");
        let plain = if root { effective == capabilities("CapPrm:") } else { none(effective) };
        same("Uid:") && same("Gid:") && plain
    }

    fn openat2_by_openat(&mut self) -> Result<Action, Errno> {
        let [dir, path, at, size, ..] = self.args;
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        if size < HOW_LEN {
            return Err(Errno::EINVAL);
        }
        if size > sys::page_size() as usize {
            return Err(Errno::E2BIG);
        }
        let mut bytes = vec![0; size];
        memory::read(self.task.tid, at, &mut bytes)?;
        if bytes[HOW_LEN..].iter().any(|&b| b != 0) {
            return Err(Errno::E2BIG);
        }
        let word = |i: usize| bytes[8 * i..8 * i + 8].try_into().map_or(0, u64::from_ne_bytes);
        let how = newer::how(word(0), word(1), word(2))?;
        if how.resolve & Restrict::NO_XDEV != 0 {
            // Where the host's mounts begin is not seen.
            return Err(Errno::ENOSYS);
        }
        let restrict = Restrict(how.resolve);
        let mark = self.open_path(Some(dir), 1, how.flags, restrict)?;
        let mut flags = how.flags | mark;
        let mut to = [self.args[0], self.args[1]];
        if how.resolve != 0 {
            let creates = how.flags & (libc::O_CREAT | libc::O_EXCL) == libc::O_CREAT | libc::O_EXCL;
            let follow = if how.flags & libc::O_NOFOLLOW != 0 || creates { Follow::No } else { Follow::Yes };
            if let Named::Found(_) = self.find(Some(dir), path, follow, true, restrict)? {
                let pinned = self.pinned()?;
                to = [libc::AT_FDCWD as u64, self.slot.push(&pinned)?];
                flags |= libc::O_NOFOLLOW;
            }
        }
        self.instead(Sysno::openat, [to[0], to[1], flags as u64, u64::from(how.mode)]);
        Ok(Action::Run)
    }

    /// The resolver's host path, which has no link in it, by way of its directory: gone to one component at a time, so
    /// that no link put there meanwhile is followed.
    ///
    /// # Errors
    /// `EAGAIN`, as the kernel says when a rename comes in between; what a directory on the way is refused with.
    fn pinned(&mut self) -> Result<Vec<u8>, Errno> {
        let host = self.session.resolver.host().to_vec();
        let path = &host[..host.len() - 1];
        let names: Vec<&[u8]> = components(path).collect();
        let Some((last, above)) = names.split_last() else { return Ok(host) };
        let mut dir = sys::open(b"/\0", libc::O_PATH | libc::O_DIRECTORY)?;
        for name in above {
            let name = [name, b"\0".as_slice()].concat();
            let flags = libc::O_PATH | libc::O_DIRECTORY | libc::O_NOFOLLOW;
            dir = sys::open_at(dir.as_fd(), &name, flags).map_err(|e| match e {
                Errno::ELOOP => Errno::EAGAIN,
                e => e,
            })?;
        }
        let mut short = self.session.hold(dir);
        short.push(b'/');
        short.extend_from_slice(last);
        // What says that it has to be a directory.
        if path.ends_with(b"/") || path.ends_with(b"/.") {
            short.extend_from_slice(b"/.");
        }
        short.push(0);
        Ok(short)
    }

    fn execveat_by_execve(&mut self, row: &'static Row) -> Result<Action, Errno> {
        let [dir, path, argv, envp, flags, _] = self.args;
        let nofollow = flags as i32 & libc::AT_SYMLINK_NOFOLLOW != 0;
        if nofollow && self.itself(dir, path, Errno::ELOOP) == Err(Errno::ELOOP) {
            return Err(Errno::ELOOP);
        }
        let action = self.work(row)?;
        if self.number.is_some() {
            // By descriptor, and another file than that is executed: it is execve(2) already.
            return Ok(action);
        }
        let [_, new, argv_new, ..] = self.args;
        let mut text = [0; PATH_MAX];
        let to = if new != path {
            new
        } else {
            match memory::read_path(self.task.tid, path, &mut text) {
                Text::Of(0) if flags as i32 & libc::AT_EMPTY_PATH != 0 => {
                    if dir as i32 == libc::AT_FDCWD {
                        return Err(Errno::EACCES);
                    }
                    self.slot.push(format!("/proc/self/fd/{}\0", dir as i32).as_bytes())?
                }
                Text::Of(n) if n > 0 && text[0] != b'/' && dir as i32 != libc::AT_FDCWD => {
                    // There is no such descriptor, or it is no directory that the guest has a path of.
                    return Err(Errno::ENOSYS);
                }
                _ => path,
            }
        };
        let argv = if argv_new == argv { argv } else { argv_new };
        self.instead(Sysno::execve, [to, argv, envp, 0]);
        Ok(action)
    }

    /// getrandom(2): what /dev/urandom gives, which the guest may not have.
    fn draw(&mut self) -> Result<Action, Errno> {
        let [at, len, flags, ..] = self.args;
        let flags = flags as u32;
        if flags & !GRND_KNOWN != 0 || flags & 6 == 6 {
            return Err(Errno::EINVAL);
        }
        if flags & libc::GRND_RANDOM != 0 {
            return Err(Errno::ENOSYS);
        }
        let mut bytes = vec![0; len.min(RANDOM_MOST) as usize];
        File::open("/dev/urandom")
            .and_then(|mut file| file.read_exact(&mut bytes))
            .map_err(|_| Errno::ENOSYS)?;
        memory::write(self.task.tid, at, &bytes)?;
        Ok(Action::Return(bytes.len() as i64))
    }

    /// newfstatat(2) has filled the buffer that is meant for statx(2).
    pub(super) fn stat_done(&mut self) {
        let at = self.args[2];
        let mut stat = [0; STAT_LEN];
        let done = memory::read(self.task.tid, at, &mut stat)
            .and_then(|()| memory::write(self.task.tid, at, &newer::statx_of(&stat)));
        if let Err(e) = done {
            self.regs.set_result(-i64::from(e.into_raw()));
        }
    }
}
