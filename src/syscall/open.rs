//! open(2) and its kin: the flags say how the last component is followed and whether something is written or made.

use super::identity::Opens;
use super::paths::Named;
use super::table::{Arg, Row};
use super::{Action, Call};
use crate::emulate::proc;
use crate::resolve::{Follow, Last, Restrict};
use crate::sys;
use crate::tracee::memory;
use crate::view::{Access, Kind};
use prun_arch::Sysno;
use syscalls::Errno;

/// Bytes of the first `struct open_how`: flags, mode, resolve.
const HOW_LEN: usize = 24;

/// `O_PATH_FLAGS` and `VALID_OPEN_FLAGS` of `<linux/fcntl.h>`.
const PATH_FLAGS: i32 = libc::O_DIRECTORY | libc::O_NOFOLLOW | libc::O_PATH | libc::O_CLOEXEC;
const FLAGS: i32 = PATH_FLAGS
    | libc::O_ACCMODE
    | libc::O_CREAT
    | libc::O_EXCL
    | libc::O_NOCTTY
    | libc::O_TRUNC
    | libc::O_APPEND
    | libc::O_NONBLOCK
    | libc::O_SYNC
    | libc::O_ASYNC
    | libc::O_DIRECT
    | LARGEFILE
    | libc::O_NOATIME
    | libc::O_TMPFILE;
/// `O_LARGEFILE`, which libc has as 0 where nobody needs to give it.
const LARGEFILE: i32 = 0o100_000;
/// `__O_TMPFILE`.
const TMPFILE: i32 = libc::O_TMPFILE & !libc::O_DIRECTORY;

/// Whether slashes follow a last component that is a name.
fn ends_in_slash(path: &[u8]) -> bool {
    let name = path.rsplit(|&b| b == b'/').find(|name| !name.is_empty());
    path.ends_with(b"/") && !matches!(name, None | Some(b"." | b".."))
}

/// Whether the kernel refuses flags, mode or limits with `EINVAL` before it looks at any path: `build_open_flags()`
/// of `fs/open.c`.
fn refused(flags: u64, mode: u64, resolve: u64) -> bool {
    const KNOWN: u64 = Restrict::NO_XDEV
        | Restrict::NO_MAGIC
        | Restrict::NO_SYMLINKS
        | Restrict::BENEATH
        | Restrict::IN_ROOT
        | libc::RESOLVE_CACHED;
    const TOPS: u64 = Restrict::BENEATH | Restrict::IN_ROOT;
    if flags & !(FLAGS as u64) != 0 || resolve & !KNOWN != 0 || resolve & TOPS == TOPS {
        return true;
    }
    let flags = flags as i32;
    let has = |flag: i32| flags & flag != 0;
    let mode_is_bad = if has(libc::O_CREAT | TMPFILE) { mode & !0o7777 != 0 } else { mode != 0 };
    let writes = matches!(flags & libc::O_ACCMODE, libc::O_WRONLY | libc::O_RDWR) || has(libc::O_TRUNC);
    mode_is_bad
        || (has(TMPFILE) && (!has(libc::O_DIRECTORY) || has(libc::O_CREAT) || !writes))
        || (has(libc::O_PATH) && flags & !PATH_FLAGS != 0)
}

impl Call<'_> {
    pub(super) fn open(&mut self, row: &Row, flags: u8) -> Result<Action, Errno> {
        let at = usize::from(row.args[0] == Arg::At);
        let dir = (at == 1).then(|| self.args[0]);
        let given = self.args[flags as usize] as i32;
        // open(2) ignores flags it does not know, and with O_PATH most that it does.
        let known = given & if given & libc::O_PATH != 0 { PATH_FLAGS } else { FLAGS };
        if refused(known as u64, 0, 0) {
            return Ok(Action::Run);
        }
        let mark = self.open_path(dir, at, known, Restrict::default())?;
        self.args[flags as usize] |= mark as u64;
        if self.made_up {
            // The path that replaces it ends in a link.
            self.args[flags as usize] &= !(libc::O_NOFOLLOW as u64);
        }
        if self.made_new {
            self.args[flags as usize] |= libc::O_NOFOLLOW as u64;
        }
        Ok(Action::Run)
    }

    pub(super) fn creat(&mut self, _row: &Row) -> Result<Action, Errno> {
        let flags = libc::O_CREAT | libc::O_WRONLY | libc::O_TRUNC;
        self.open_path(None, 0, flags, Restrict::default())?;
        if self.made_new {
            self.number = Some(Sysno::open);
            (self.args[1], self.args[2]) = ((flags | libc::O_NOFOLLOW) as u64, self.args[1]);
        }
        Ok(Action::Run)
    }

    /// openat2(2): where the path is rewritten, the limits have been kept already; the ones that an absolute path
    /// would break are taken out of a copy of the structure.
    pub(super) fn open2(&mut self) -> Result<Action, Errno> {
        let mut how = [0; HOW_LEN];
        if (self.args[3] as usize) < HOW_LEN || memory::read(self.task.tid, self.args[2], &mut how).is_err() {
            return Ok(Action::Run);
        }
        let word = |i: usize| how[8 * i..8 * i + 8].try_into().map_or(0, u64::from_ne_bytes);
        let (flags, resolve) = (word(0), word(2));
        if refused(flags, word(1), resolve) || !self.rest_is_zero() {
            return Ok(Action::Run);
        }
        let before = self.args[1];
        let mark =
            self.open_path(Some(self.args[0]), 1, flags as i32, Restrict(resolve & !libc::RESOLVE_CACHED))?;
        // In the host's own root its mounts are the guest's, and they are counted from where the guest's path starts.
        let own = resolve & Restrict::NO_XDEV != 0
            && self.args[1] != before
            && self.session.view.table.node(crate::view::NodeId::ROOT).is_identity()
            && self.root().is_none()
            && self.session.resolver.host().starts_with(self.session.resolver.guest());
        if own {
            self.args[1] = before;
        }
        if self.args[1] == before && mark != 0 {
            how[..8].copy_from_slice(&(flags | mark as u64).to_ne_bytes());
            self.args[2] = self.slot.push(&how)?;
            self.args[3] = HOW_LEN as u64;
        }
        if self.args[1] != before {
            // The way to a binding may cross mounts of the host.
            let mut keep = resolve & !(Restrict::NO_XDEV | Restrict::BENEATH | Restrict::IN_ROOT);
            let mut flags = flags | mark as u64;
            if self.made_up {
                keep &= !(Restrict::NO_MAGIC | Restrict::NO_SYMLINKS | libc::RESOLVE_CACHED);
                flags &= !(libc::O_NOFOLLOW as u64);
            }
            if self.pinned {
                // They have been kept: by the resolver, and when the descriptor was opened.
                keep &= !(Restrict::NO_MAGIC | Restrict::NO_SYMLINKS | libc::RESOLVE_CACHED);
            }
            if self.made_new {
                flags |= libc::O_NOFOLLOW as u64;
            }
            how[..8].copy_from_slice(&flags.to_ne_bytes());
            how[16..24].copy_from_slice(&keep.to_ne_bytes());
            self.args[2] = self.slot.push(&how)?;
            // What follows the part that is known must be zero, or the kernel says E2BIG.
            self.args[3] = HOW_LEN as u64;
        }
        Ok(Action::Run)
    }

    /// Whether what follows the part of the structure that is known is zero: else the kernel says `E2BIG`, or
    /// `EFAULT`.
    fn rest_is_zero(&self) -> bool {
        let size = self.args[3] as usize;
        let most = sys::page_size() as usize;
        let mut rest = vec![0; size.min(most) - HOW_LEN];
        size <= most
            && memory::read(self.task.tid, self.args[2].wrapping_add(HOW_LEN as u64), &mut rest).is_ok()
            && rest.iter().all(|&b| b == 0)
    }

    pub(super) fn open_path(
        &mut self,
        dir: Option<u64>,
        at: usize,
        flags: i32,
        restrict: Restrict,
    ) -> Result<i32, Errno> {
        let creates = flags & libc::O_CREAT != 0;
        let path_only = flags & libc::O_PATH != 0;
        let follow = if flags & libc::O_NOFOLLOW != 0 || (creates && flags & libc::O_EXCL != 0) {
            Follow::No
        } else {
            Follow::Yes
        };
        let writes = !path_only && (flags & libc::O_ACCMODE != libc::O_RDONLY || flags & libc::O_TRUNC != 0);
        let touches = !path_only && (writes || creates || flags & libc::O_TMPFILE == libc::O_TMPFILE);
        // Which binding it is opened by is asked for later too: see `readonly`.
        let exact = touches || self.session.view.table.any_read_only_binding();
        let Some(len) = self.read(self.args[at]) else { return Ok(0) };
        // Nothing is made by a name with a slash behind it: `EISDIR`, whatever is there, once its directory is found.
        let slash = creates && ends_in_slash(&self.session.text[..len]);
        let follow = if slash { Follow::Entry } else { follow };
        // The kernel, starting in an open directory of /proc, would find its own.
        let relative = self.session.text[0] != b'/' && proc::may_be_made_up(&self.session.text[..len]);
        self.compares |= relative && !path_only;
        let named = match self.find_text(dir, len, follow, exact, restrict) {
            Err(e) if restrict == Restrict::default() => {
                self.let_kernel_say(e, at)?;
                return Ok(0);
            }
            named => named?,
        };
        if self.session.identity.is_some()
            && self.open_as_another(&named, dir, at, flags)? == Opens::Elsewhere
        {
            return Ok(0);
        }
        let Named::Found(found) = named else {
            self.session.stats.untouched.add(1);
            return Ok(0);
        };
        if found.void && slash {
            return Err(Errno::EISDIR);
        }
        if found.void {
            return Err(if creates && !path_only { Errno::EROFS } else { Errno::ENOENT });
        }
        if proc::names_affinity(self.session.resolver.host()) {
            self.session.placement.free_all();
        }
        if touches && !slash {
            if self.session.view.table.any_read_only() && self.access(&found, follow) == Access::ReadOnly {
                let placeholder = self.session.view.table.node(found.bind).kind() == Kind::Placeholder;
                if self.refuses_write(flags, follow, placeholder) {
                    return Err(Errno::EROFS);
                }
            }
            self.busy_text(writes)?;
        }
        if !touches
            && !path_only
            && flags & libc::O_DIRECTORY == 0
            && let Some(path) = self.text_instead()
        {
            self.args[at] = self.slot.push(&path)?;
            self.made_up = true;
            return Ok(0);
        }
        let host = self.session.resolver.host();
        let kernel_file = self.session.emulation.kernel_files.instead(&host[..host.len() - 1]);
        // Where openat2(2) has limits they are the kernel's to keep.
        let limits = self.regs.call() == Some(Sysno::openat2)
            && (follow == Follow::No || restrict != Restrict::default());
        if let Some(fd) = kernel_file.filter(|_| !touches && !path_only && !limits)
            && !self.task.home.private
        {
            if follow == Follow::No {
                // The path that replaces it ends in a link.
                self.args[at + 1] &= !(libc::O_NOFOLLOW as u64);
            }
            let path = format!("/proc/{}/fd/{fd}\0", self.session.tracer);
            self.args[at] = self.slot.push(path.as_bytes())?;
            return Ok(0);
        }
        if let Some(path) = self.straight(follow, creates)? {
            self.args[at] = self.slot.push(&path)?;
        } else {
            self.replace(at, &found, follow)?;
        }
        Ok(self.mark(&found, flags))
    }

    /// Whether the kernel would come to say `EROFS`: for writing to what is there, for making what is not
    /// (`path_openat()` of `fs/namei.c`).
    fn refuses_write(&self, flags: i32, follow: Follow, placeholder: bool) -> bool {
        let host = self.session.resolver.host();
        let magic = follow == Follow::Yes && proc::link_at(&host[..host.len() - 1]).is_some();
        let has = |flag: i32| flags & flag == flag;
        let Ok(st) = sys::stat(host, if magic { Last::Followed } else { Last::Kept }) else {
            return has(libc::O_CREAT) && self.can_be_made();
        };
        let kind = st.mode & libc::S_IFMT;
        if placeholder || has(libc::O_CREAT | libc::O_EXCL) {
            return false;
        }
        if has(libc::O_TMPFILE) {
            return kind == libc::S_IFDIR;
        }
        if kind != libc::S_IFREG || has(libc::O_DIRECTORY) {
            // A directory is `EISDIR`, a link `ELOOP`, and writing to a pipe or a socket changes nothing here.
            return false;
        }
        let (reads, writes) = match flags & libc::O_ACCMODE {
            libc::O_RDONLY => (libc::R_OK, false),
            libc::O_WRONLY => (libc::W_OK, true),
            libc::O_RDWR => (libc::R_OK | libc::W_OK, true),
            // Neither reads nor writes, but needs both permissions.
            _ => (libc::R_OK | libc::W_OK, false),
        };
        // Without the permission it is `EACCES`, except that cutting comes first.
        has(libc::O_TRUNC) || (writes && sys::accessible(host, reads).is_ok())
    }

    /// A running program's file cannot be written: the kernel knows of those it executed itself.
    fn busy_text(&self, writes: bool) -> Result<(), Errno> {
        if !writes || !self.session.any_carried() {
            return Ok(());
        }
        match sys::stat(self.session.resolver.host(), Last::Followed) {
            Ok(st) if self.tasks.runs(st.id) => Err(Errno::ETXTBSY),
            _ => Ok(()),
        }
    }
}
