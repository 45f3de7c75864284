//! open(2) and its kin: the flags say how the last component is followed and whether something is written or made.

use super::paths::Named;
use super::table::{Arg, Row};
use super::{Action, Call};
use crate::emulate::proc;
use crate::resolve::{Follow, Last, Restrict};
use crate::sys;
use crate::tracee::memory;
use crate::view::{Access, Kind};
use syscalls::Errno;

/// Bytes of the first `struct open_how`: flags, mode, resolve.
const HOW_LEN: usize = 24;

impl Call<'_> {
    pub(super) fn open(&mut self, row: &Row, flags: u8) -> Result<Action, Errno> {
        let at = usize::from(row.args[0] == Arg::At);
        let dir = (at == 1).then(|| self.args[0]);
        let flags = self.args[flags as usize] as i32;
        self.open_path(dir, at, flags, Restrict::default())
    }

    pub(super) fn creat(&mut self, _row: &Row) -> Result<Action, Errno> {
        self.open_path(None, 0, libc::O_CREAT | libc::O_WRONLY | libc::O_TRUNC, Restrict::default())
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
        const KNOWN: u64 = Restrict::NO_XDEV
            | Restrict::NO_MAGIC
            | Restrict::NO_SYMLINKS
            | Restrict::BENEATH
            | Restrict::IN_ROOT
            | libc::RESOLVE_CACHED;
        let both = Restrict::BENEATH | Restrict::IN_ROOT;
        if resolve & !KNOWN != 0 || resolve & both == both || flags >> 32 != 0 {
            // `EINVAL`, before any path is looked at.
            return Ok(Action::Run);
        }
        let before = self.args[1];
        let action =
            self.open_path(Some(self.args[0]), 1, flags as i32, Restrict(resolve & !libc::RESOLVE_CACHED))?;
        if self.args[1] != before {
            // In the host's own root its mounts are the guest's; elsewhere the way to a binding may cross some.
            let host_mounts = if self.session.view.table.node(crate::view::NodeId::ROOT).is_identity()
                && self.session.resolver.guest()
                    == &self.session.resolver.host()[..self.session.resolver.guest().len()]
            {
                Restrict::NO_XDEV
            } else {
                0
            };
            let keep = resolve & (!(Restrict::NO_XDEV | Restrict::BENEATH | Restrict::IN_ROOT) | host_mounts);
            how[16..24].copy_from_slice(&keep.to_ne_bytes());
            self.args[2] = self.slot.push(&how)?;
            // What follows the part that is known must be zero, or the kernel says E2BIG.
            self.args[3] = HOW_LEN as u64;
        }
        Ok(action)
    }

    fn open_path(
        &mut self,
        dir: Option<u64>,
        at: usize,
        flags: i32,
        restrict: Restrict,
    ) -> Result<Action, Errno> {
        let creates = flags & libc::O_CREAT != 0;
        let path_only = flags & libc::O_PATH != 0;
        let follow = if flags & libc::O_NOFOLLOW != 0 || (creates && flags & libc::O_EXCL != 0) {
            Follow::No
        } else {
            Follow::Yes
        };
        let temporary = flags & libc::O_TMPFILE == libc::O_TMPFILE;
        let writes = !path_only && (flags & libc::O_ACCMODE != libc::O_RDONLY || flags & libc::O_TRUNC != 0);
        let touches = !path_only && (writes || creates || temporary);
        let named = self.find(dir, self.args[at], follow, touches, restrict)?;
        let Named::Found(found) = named else {
            self.session.stats.untouched.add(1);
            return Ok(Action::Run);
        };
        if found.void {
            return Err(if creates && !path_only { Errno::EROFS } else { Errno::ENOENT });
        }
        if proc::names_affinity(self.session.resolver.host()) {
            self.session.placement.free_all();
        }
        if touches {
            let table = &self.session.view.table;
            if table.node(found.bind).access() == Access::ReadOnly {
                let placeholder = table.node(found.bind).kind() == Kind::Placeholder;
                self.read_only(writes || temporary, creates, flags, placeholder)?;
            }
            self.busy_text(writes)?;
        }
        self.replace(at, &found)?;
        Ok(Action::Run)
    }

    /// `EROFS` when the kernel would say it: for writing to what is there, for making what is not.
    fn read_only(&self, writes: bool, creates: bool, flags: i32, placeholder: bool) -> Result<(), Errno> {
        let exists = sys::stat(self.session.resolver.host(), Last::Followed);
        let refused = match exists {
            Ok(_) if placeholder => false,
            Ok(_) if creates && flags & libc::O_EXCL != 0 => false,
            Ok(st) => {
                writes && matches!(st.mode & libc::S_IFMT, libc::S_IFREG | libc::S_IFDIR | libc::S_IFLNK)
            }
            Err(_) => creates && self.parent_exists(),
        };
        if refused { Err(Errno::EROFS) } else { Ok(()) }
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
