//! The path arguments of a call: read, resolved, written to the slot.

use super::nameless::Way;
use super::readonly::Leave;
use super::table::{Arg, Row, Touch};
use super::{Action, Call, kept, symlinked};
use crate::config::qemu::HOST_ROOT;
use crate::emulate::proc;
use crate::host::HostTree;
use crate::path::{Buf, GuestPath, PATH_MAX};
use crate::resolve::{Follow, Found, Last, Plain, Request, Restrict};
use crate::sys;
use crate::tracee::memory::{self, Text};
use crate::tracee::region::Region;
use crate::tracee::rights::AsGuest;
use crate::tracee::{Cwd, Task};
use crate::view::Kind;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use syscalls::Errno;

/// Bytes that most paths have room in.
const SHORT: usize = 256;

/// A path argument after translation.
#[derive(Debug)]
pub(crate) enum Named {
    /// The kernel gets what the guest passed, because it is refused anyway or because it means the same.
    Untouched,
    /// It was resolved: the paths are in the session's resolver.
    Found(Found),
}

/// `AT_FDCWD` as it arrives in a register: the kernel looks at the low 32 bits.
pub(super) fn is_cwd(fd: u64) -> bool {
    fd as i32 == libc::AT_FDCWD
}

impl Call<'_> {
    /// Translates every path argument of a row.
    pub(super) fn translate(&mut self, row: &Row, touch: Touch) -> Result<Action, Errno> {
        let touch = if touch == Touch::Links {
            self.tasks.link_made();
            Touch::Makes
        } else {
            touch
        };
        let mut dir = None;
        let mut action = Action::Run;
        for (i, arg) in row.args.iter().enumerate() {
            if *arg == Arg::At {
                dir = Some(self.args[i]);
                continue;
            }
            let Some(follow) = self.follow(*arg) else { continue };
            let named = self.path(dir, i, follow, touch != Touch::Reads, Restrict::default())?;
            let leave = match named {
                Named::Found(_) => self.permit(&named, touch, follow)?,
                Named::Untouched => self.permit_descriptor(row, touch, dir, i)?,
            };
            if leave != Leave::Given {
                action = leave.action();
            }
            dir = None;
        }
        Ok(action)
    }

    pub(super) fn follow(&self, arg: Arg) -> Option<Follow> {
        let flag = |n: u8, bit: u32| self.args[n as usize] as u32 & bit != 0;
        match arg {
            Arg::Pass | Arg::At => None,
            Arg::Path => Some(Follow::Yes),
            Arg::Link => Some(Follow::No),
            Arg::Entry => Some(Follow::Entry),
            Arg::Unless(n, bit) => Some(if flag(n, bit) { Follow::No } else { Follow::Yes }),
            Arg::If(n, bit) => Some(if flag(n, bit) { Follow::Yes } else { Follow::No }),
        }
    }

    /// Translates the path in argument `at`, relative to descriptor `dir` (the current directory where `None`).
    ///
    /// `exact`: the binding that covers it must be known, because the call changes something.
    pub(super) fn path(
        &mut self,
        dir: Option<u64>,
        at: usize,
        follow: Follow,
        exact: bool,
        restrict: Restrict,
    ) -> Result<Named, Errno> {
        let named = match self.find(dir, self.args[at], follow, exact, restrict) {
            Err(e) if restrict == Restrict::default() => self.let_kernel_say(e, at)?,
            named => named?,
        };
        if let Named::Found(found) = named {
            self.replace(at, &found, follow)?;
        } else {
            self.session.stats.untouched.add(1);
        }
        Ok(named)
    }

    /// Too many links in the guest are none on the host, and what the guest may not follow or search the host's user may.
    /// So that the error comes in the kernel's own order, after those of flags and of other arguments, argument `at`
    /// becomes a path on which it meets the same itself.
    pub(super) fn let_kernel_say(&mut self, e: Errno, at: usize) -> Result<Named, Errno> {
        let said = {
            let _rights = AsGuest::of(self.task.tid);
            matches!(e, Errno::ELOOP | Errno::EACCES).then(|| kept::failing(e)).flatten()
        };
        self.args[at] = self.slot.push(&said.ok_or(e)?)?;
        Ok(Named::Untouched)
    }

    /// Resolves the path at address `at` without rewriting anything.
    pub(super) fn find(
        &mut self,
        dir: Option<u64>,
        at: u64,
        follow: Follow,
        exact: bool,
        restrict: Restrict,
    ) -> Result<Named, Errno> {
        match self.read(at) {
            Some(len) => self.find_text(dir, len, follow, exact, restrict),
            None => Ok(Named::Untouched),
        }
    }

    /// Reads a path into the session's text buffer; `None` where the kernel, which reads the same bytes, says
    /// `EFAULT`, `ENAMETOOLONG` or `ENOENT`, or takes the descriptor itself (`AT_EMPTY_PATH`).
    pub(super) fn read(&mut self, at: u64) -> Option<usize> {
        self.session.stats.paths.add(1);
        match text_at(self.task, at, &mut self.session.text) {
            Text::Fault | Text::TooLong | Text::Of(0) => None,
            Text::Of(len) => Some(len),
        }
    }

    /// Resolves the first `len` bytes of the session's text buffer, which a NUL follows.
    pub(crate) fn find_text(
        &mut self,
        dir: Option<u64>,
        len: usize,
        follow: Follow,
        exact: bool,
        restrict: Restrict,
    ) -> Result<Named, Errno> {
        let dir = dir.filter(|&fd| !is_cwd(fd));
        let absolute = self.session.text[0] == b'/';
        let root = self.root_for(len);
        let root = root.as_ref().map_or(b"/".as_slice(), GuestPath::as_bytes);
        if follow == Follow::Entry && self.session.text[..len].iter().all(|&b| b == b'/') {
            // The root has no entry, whichever directory it is, and that comes before all else: `LAST_ROOT` of
            // `fs/namei.c`.
            return Ok(Named::Untouched);
        }
        let table = &self.session.view.table;
        // Where it is has to be known, whatever the kernel finds by itself.
        let placed = table.any_placeholder() || self.compares || (exact && table.any_read_only());
        let local = !absolute
            && !self.session.confine
            && restrict == Restrict::default()
            && !self.searches()
            && (!placed || self.compares)
            && self.is_local(dir, len, follow, root);
        if local && !placed {
            return Ok(Named::Untouched);
        }
        // Limits apply to an absolute path wherever it is said to start; only one of them changes what `/` is.
        let (start, rest);
        let mut named = false;
        let (base, path) = if absolute && !restrict.sets_root() {
            (b"/".as_slice(), None)
        } else {
            match self.base(dir) {
                Base::At(guest) if dir.is_none_or(|fd| self.starts_in_a_directory(fd)) => {
                    start = guest;
                    named = true;
                    (start.as_bytes(), None)
                }
                // `EBADF` and `ENOTDIR` are the kernel's to say, in its own order.
                Base::At(_) | Base::Closed => return Ok(Named::Untouched),
                // The kernel keeps inside by itself.
                Base::Unknown if restrict.confines() => return Ok(Named::Untouched),
                Base::Unknown => match self.nameless(dir, len, follow, None)? {
                    Way::Kernel => return Ok(Named::Untouched),
                    Way::From(guest, path) => {
                        (start, rest) = (guest, path);
                        (start.as_bytes(), Some(rest.as_slice()))
                    }
                },
            }
        };
        let (mut found, denied) = self.walk(base, (path, len), follow, restrict, root)?;
        let needs_place = self.compares || self.session.emulation.symlinks();
        let denied = denied || restrict != Restrict::default();
        if named
            && denied
            && !needs_place
            && let Some(way) = self.around(dir, len, (follow, restrict), exact, base, root)?
        {
            let Way::From(guest, path) = way else { return Ok(Named::Untouched) };
            (found, _) = self.walk(guest.as_bytes(), (Some(&path), len), follow, restrict, root)?;
        }
        let session = &mut *self.session;
        let prun = [session.tracer, session.front];
        if let Some(pid) = proc::pid_of(session.resolver.host())
            && !proc::traced(self.tasks, self.task, pid)
            && crate::session::is_prun(prun, pid)
            // These stand on folders of the tracer's.
            && session.view.table.node(found.bind).kind() != Kind::Placeholder
        {
            // As if it were in another container.
            return Err(Errno::ENOENT);
        }
        if follow == Follow::No
            && session.emulation.symlinks()
            && symlinked::stands_for_a_file(&session.resolver)
        {
            let (found, _) = self.walk(base, (path, len), Follow::Yes, restrict, root)?;
            return Ok(Named::Found(found));
        }
        // The directory may be one that is reached from here only.
        Ok(Named::Found(Found { same: found.same || (local && !found.void), ..found }))
    }

    /// Resolves a path, or the first `len` bytes of the session's text, from directory `base`; and whether a directory was
    /// met that may not be searched.
    fn walk(
        &mut self,
        base: &[u8],
        (path, len): (Option<&[u8]>, usize),
        follow: Follow,
        restrict: Restrict,
        root: &[u8],
    ) -> Result<(Found, bool), Errno> {
        let session = &mut *self.session;
        let path = path.unwrap_or(&session.text[..len]);
        let prun = [session.tracer, session.front];
        let mut host = HostTree::new(&session.stats.host_calls, &session.view, self.tasks, self.task, prun)
            .as_another(session.identity.as_deref(), &mut session.searchable);
        let request = Request { base, path, follow, restrict, root };
        let found = session.resolver.resolve(&session.view.table, &mut host, &request)?;
        Ok((found, host.denied()))
    }

    /// The caller's root for the path in the first `len` bytes of the session's text, where it is not the view's: an
    /// emulator (`-q`) finds its own libraries wherever the guest's root is.
    fn root_for(&self, len: usize) -> Option<GuestPath> {
        let own = |rest: &[u8]| rest.is_empty() || rest[0] == b'/';
        let emulator = self.session.emulation.qemu.is_some()
            && self.session.text[..len].strip_prefix(HOST_ROOT).is_some_and(own);
        if emulator { None } else { self.root() }
    }

    /// Whether directories have to be asked for whether the caller may search them.
    fn searches(&self) -> bool {
        let identity = self.session.identity.as_ref();
        identity.zip(self.task.cred.as_ref()).is_some_and(|(identity, cred)| identity.holds(cred))
    }

    /// Whether a relative path leads, without a link, to a place below its directory that no binding is at: then the
    /// kernel, starting in that directory, finds the right thing by itself.
    fn is_local(&mut self, dir: Option<u64>, len: usize, follow: Follow, root: &[u8]) -> bool {
        let table = &self.session.view.table;
        let text = &self.session.text[..=len];
        let path = &text[..len];
        let (mut names, mut depth) = (0, 0);
        for name in crate::path::components(path) {
            if name == b".." {
                // Up again, but not above where it starts: that the way there is no link is asked below. A root of the
                // caller's own may be on the way.
                if depth == 0 || root != b"/" {
                    return false;
                }
                depth -= 1;
            } else if table.may_name(name) || self.is_hidden(name) {
                return false;
            } else {
                depth += 1;
            }
            names += 1;
        }
        if crate::path::components(path).last().is_some_and(proc::text::may_be_text) {
            // It may be a file of /proc with another text.
            return false;
        }
        let ends_plain = !path.ends_with(b"/") && !path.ends_with(b"/.") && path != b".";
        let last = match follow {
            Follow::Entry => Last::Kept,
            Follow::No if ends_plain => Last::Kept,
            _ => Last::Followed,
        };
        if names == 0 || (names == 1 && last == Last::Kept && ends_plain) {
            return true;
        }
        self.session.stats.host_calls.add(1);
        let plain = match dir {
            None => match self.cwd_dir() {
                Some(cwd) => match cwd.dir.get().and_then(Option::as_ref) {
                    Some(fd) => sys::plain(Some(fd.as_fd()), &self.session.text[..=len], last),
                    None => Plain::Unknown,
                },
                None => Plain::Unknown,
            },
            Some(fd) => match self.open_dir(fd) {
                Some(dir) => sys::plain(Some(dir.as_fd()), &self.session.text[..=len], last),
                None => Plain::Unknown,
            },
        };
        matches!(plain, Plain::Yes | Plain::Denied)
    }

    /// Whether a name may be that of one of prun's processes in /proc.
    fn is_hidden(&self, name: &[u8]) -> bool {
        name.first().is_some_and(u8::is_ascii_digit)
            && proc::number(name).is_some_and(|pid| self.session.is_prun(pid))
    }

    /// The current directory with its descriptor opened.
    pub(super) fn cwd_dir(&self) -> Option<Arc<Cwd>> {
        let cwd = Arc::clone(&self.task.fs.lock().cwd);
        let tid = self.task.tid;
        if cwd.dir.get().is_none() {
            match sys::open(format!("/proc/{tid}/cwd\0").as_bytes(), libc::O_PATH) {
                // The next call may have better luck.
                Err(e) if sys::unseen::is_want(e) => {}
                // Of several threads that have opened it, one was the first.
                found => drop(cwd.dir.set(found.ok())),
            }
        }
        Some(cwd)
    }

    pub(super) fn open_dir(&self, fd: u64) -> Option<OwnedFd> {
        sys::open(format!("/proc/{}/fd/{}\0", self.task.tid, fd as i32).as_bytes(), libc::O_PATH).ok()
    }

    /// Guest path of the directory a relative path starts in.
    pub(super) fn base(&mut self, dir: Option<u64>) -> Base {
        let tid = self.task.tid;
        let mut text = [0; PATH_MAX];
        let link = match dir {
            None => format!("/proc/{tid}/cwd\0"),
            Some(fd) => format!("/proc/{tid}/fd/{}\0", fd as i32),
        };
        self.session.stats.host_calls.add(1);
        let n = match sys::readlink(link.as_bytes(), &mut text) {
            Ok(n) => n,
            Err(Errno::ENOENT) if dir.is_some() => return Base::Closed,
            // No /proc: what is remembered is right unless the directory was renamed or left by fchdir(2).
            Err(Errno::ENOENT) => return Base::At(self.task.fs.lock().cwd.guest.clone()),
            Err(_) => return Base::Unknown,
        };
        let host = &text[..n];
        if dir.is_none() {
            // Of several guest paths of one directory, the one it was entered by.
            let cwd = Arc::clone(&self.task.fs.lock().cwd);
            if self.session.view.shows(cwd.guest.as_bytes(), host) {
                return Base::At(cwd.guest.clone());
            }
        }
        let mut out = Buf::<PATH_MAX>::new();
        if !host.starts_with(b"/") || proc::is_deleted(host) {
            return Base::Unknown;
        }
        let access = dir.and_then(|fd| self.opened_by(fd as i32, host));
        if self.session.view.guest_by(host, access, &mut out) {
            return Base::At(GuestPath::new(out.as_bytes()));
        }
        Base::Unknown
    }

    /// Puts the resolved path in argument `at`, unless the guest's own string does as well.
    pub(super) fn replace(&mut self, at: usize, found: &Found, follow: Follow) -> Result<(), Errno> {
        if !found.void
            && let Some(path) = self.straight(follow, false)?
        {
            self.args[at] = self.slot.push(&path)?;
            return Ok(());
        }
        if found.same {
            self.session.stats.untouched.add(1);
            return Ok(());
        }
        if found.void {
            return Ok(());
        }
        self.args[at] = self.store_host()?;
        Ok(())
    }

    /// Writes the resolver's host path to the slot; one that is too long for the kernel is reached through a
    /// directory the tracer holds open.
    pub(super) fn store_host(&mut self) -> Result<u64, Errno> {
        let host = self.session.resolver.host();
        if host.len() <= PATH_MAX {
            return self.slot.push(host);
        }
        let short = self.shorten(PATH_MAX)?;
        self.slot.push(&short)
    }

    /// The resolver's host path in at most `limit` bytes, its NUL included, by way of a directory held open.
    pub(super) fn shorten(&mut self, limit: usize) -> Result<Vec<u8>, Errno> {
        let host = self.session.resolver.host().to_vec();
        let path = &host[..host.len() - 1];
        let room = limit.checked_sub(40).ok_or(Errno::ENAMETOOLONG)?;
        // The tail that stays: as many whole components as fit.
        let mut cut = path.len();
        while let Some(slash) = path[..cut].iter().rposition(|&b| b == b'/') {
            if path.len() - slash > room || slash == 0 {
                break;
            }
            cut = slash;
        }
        if cut == path.len() {
            return Err(Errno::ENAMETOOLONG);
        }
        let mut dir = sys::open(b"/\0", libc::O_PATH)?;
        for piece in pieces(&path[..cut]) {
            dir = sys::open_at(dir.as_fd(), &piece, libc::O_PATH | libc::O_DIRECTORY)?;
        }
        let mut short = self.session.hold(dir);
        short.extend_from_slice(&path[cut..]);
        short.push(0);
        Ok(short)
    }

    /// The error that looking up the first path of a refused call ends with.
    pub(super) fn lookup_error(&mut self, row: &Row) -> Option<Errno> {
        let at = row.args.iter().position(|a| *a == Arg::Path)?;
        let len = match memory::read_path(self.task.tid, self.args[at], &mut self.session.text) {
            Text::Fault => return Some(Errno::EFAULT),
            Text::TooLong => return Some(Errno::ENAMETOOLONG),
            Text::Of(0) => return Some(Errno::ENOENT),
            Text::Of(len) => len,
        };
        let root = self.root_for(len);
        let root = root.as_ref().map_or(b"/".as_slice(), GuestPath::as_bytes);
        let base = if self.session.text[0] == b'/' {
            GuestPath::new(root)
        } else if let Base::At(guest) = self.base(None) {
            guest
        } else {
            return Some(Errno::ENOENT);
        };
        match self.walk(base.as_bytes(), (None, len), Follow::Yes, Restrict::default(), root) {
            Err(e) => return Some(e),
            Ok((found, _)) if found.void => return Some(Errno::ENOENT),
            Ok(_) => {}
        }
        let mut host = self.session.resolver.host().to_vec();
        if row.call == prun_arch::Sysno::chroot {
            // It has to be a directory that may be searched.
            host.pop();
            host.extend_from_slice(b"/.\0");
        }
        sys::stat(&host, Last::Followed).err()
    }
}

/// A path of a task; a copy that was made of it lies in memory that the tracer has too.
pub(crate) fn text_at(task: &Task, at: u64, out: &mut [u8; PATH_MAX]) -> Text {
    if !task.home.private
        && Region::get(at, &mut out[..SHORT])
        && let Some(len) = memchr::memchr(0, &out[..SHORT])
    {
        return Text::Of(len);
    }
    memory::read_path(task.tid, at, out)
}

/// The directory of a relative path.
#[derive(Debug)]
pub(super) enum Base {
    At(GuestPath),
    /// The guest has no path for it, or it is longer than a path may be.
    Unknown,
    /// No such descriptor.
    Closed,
}

/// Splits a long absolute path into relative ones that the kernel takes, each ending in a NUL.
fn pieces(path: &[u8]) -> Vec<Vec<u8>> {
    let mut out: Vec<Vec<u8>> = vec![];
    for name in crate::path::components(path) {
        match out.last_mut() {
            Some(piece) if piece.len() + name.len() + 2 < PATH_MAX => {
                piece.pop();
                piece.push(b'/');
                piece.extend_from_slice(name);
                piece.push(0);
            }
            _ => out.push([name, b"\0"].concat()),
        }
    }
    out
}
