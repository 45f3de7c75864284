//! stat, chown, chmod and access under a fake identity.

use super::super::table::{Row, Touch};
use super::super::{Action, Call, symlinked};
use crate::emulate::identity::owner::{PERMISSIONS, Record};
use crate::emulate::identity::{Cap, Cred, Identity};
use crate::sys;
use crate::sys::file::{Attr, Place, Statx};
use crate::tracee::memory;
use crate::tracee::rights::AsGuest;
use prun_arch::Sysno;
use syscalls::Errno;

const TYPE: u32 = libc::S_IFMT;
/// `AT_STATX_SYNC_TYPE`.
const SYNC: i32 = 0x6000;
/// No change, in chown(2).
const SAME: u32 = u32::MAX;

impl Call<'_> {
    /// stat(2) and its kin.
    pub(super) fn stat(&mut self, identity: &Identity, row: &Row) -> Result<Option<Action>, Errno> {
        let known = libc::AT_SYMLINK_NOFOLLOW | libc::AT_NO_AUTOMOUNT | libc::AT_EMPTY_PATH;
        let (flags, mask, buffer, allowed) = match row.call {
            Sysno::newfstatat => (self.args[3] as i32, 0, self.args[2], known),
            Sysno::statx => (self.args[2] as i32, self.args[3] as u32, self.args[4], known | SYNC),
            _ => (0, 0, self.args[1], 0),
        };
        if flags & !allowed != 0 {
            return Ok(None);
        }
        // How the last component is followed is the place's own business.
        let flags = flags & (libc::AT_NO_AUTOMOUNT | SYNC);
        let Some((place, mut x)) = self.look(row, flags, mask)? else { return Ok(None) };
        let seen = identity.seen(&place, &x.attr());
        (x.uid, x.gid, x.mode) = (seen.uid, seen.gid, seen.mode as u16);
        (x.rdev_major, x.rdev_minor) = seen.rdev;
        if row.call == Sysno::statx {
            memory::write(self.task.tid, buffer, x.asked(mask).bytes())?;
        } else if self.regs.abi().word() == 4 {
            let pieces = x.narrow().pieces(self.regs.abi(), self.form()).map_err(|_| Errno::EOVERFLOW)?;
            for (offset, bytes) in pieces {
                memory::write(self.task.tid, buffer.wrapping_add(offset), &bytes)?;
            }
        } else {
            memory::write(self.task.tid, buffer, &x.stat_bytes())?;
        }
        Ok(Some(Action::Return(0)))
    }

    /// What the tracer sees of the file that the row's path names, with the guest's rights; `None` where the kernel finds
    /// that it names none.
    pub(in crate::syscall) fn look(
        &mut self,
        row: &Row,
        flags: i32,
        mask: u32,
    ) -> Result<Option<(Place, Statx)>, Errno> {
        let Some(place) = self.place(row, Touch::Reads)? else { return Ok(None) };
        self.session.stats.host_calls.add(1);
        let mut x = {
            let _rights = AsGuest::of(self.task.tid);
            place.statx(flags, mask)?
        };
        if self.session.emulation.symlinks() {
            let names = place.path().and_then(|path| match path.starts_with(b"/proc/") {
                true => symlinked::names_of_open(&[path, b"\0"].concat()),
                false => symlinked::names_of(path),
            });
            x.nlink = names.unwrap_or(x.nlink);
        }
        Ok(Some((place, x)))
    }

    /// Whether the caller's host user may change a file's attributes at all.
    pub(super) fn is_ours(identity: &Identity, attr: &Attr) -> bool {
        attr.uid == identity.host.0 || identity.host.0 == 0
    }

    /// chown(2) and its kin.
    pub(super) fn chown(&mut self, identity: &Identity, row: &Row) -> Result<Option<Action>, Errno> {
        if self.through_read_only(row)? {
            return Ok(None);
        }
        let (uid, gid) = match row.call {
            Sysno::fchownat => (self.args[2] as u32, self.args[3] as u32),
            _ => (self.id(self.args[1]), self.id(self.args[2])),
        };
        let Some(place) = self.place(row, Touch::Changes)? else { return Ok(None) };
        let attr = place.attr()?;
        let seen = identity.seen(&place, &attr);
        let cred = self.cred(identity);
        if !cred.can(Cap::Chown) {
            let owns = cred.uid.fs == seen.uid;
            let group = gid == SAME || (owns && (gid == seen.gid || cred.in_group(gid)));
            if !(group && (uid == SAME || (owns && uid == seen.uid))) {
                return Err(Errno::EPERM);
            }
        }
        let directory = attr.mode & TYPE == libc::S_IFDIR;
        let taken = if directory { 0 } else { cred.takes_set_ids(&seen) };
        if taken != 0 && !cred.can(Cap::Fowner) && cred.uid.fs != seen.uid {
            // That is a change of the mode, `setattr_prepare()`, whatever else is asked for.
            return Err(Errno::EPERM);
        }
        if !Self::is_ours(identity, &attr) {
            // Somebody else's on the host: as for root in a container, it stays what it is.
            let same = (uid == SAME || uid == seen.uid) && (gid == SAME || gid == seen.gid);
            return if same { Ok(Some(Action::Return(0))) } else { Err(Errno::EPERM) };
        }
        place.touch_owner()?;
        Self::remember(identity, &place, &attr, |record, after| {
            if uid != SAME {
                record.uid = Some(uid);
            }
            if gid != SAME {
                record.gid = Some(gid);
            }
            if !directory {
                // A new owner ends what the old one granted: `chown_common()`.
                record.mode = Some((seen.mode & PERMISSIONS & !taken, after.mode & PERMISSIONS));
                record.capability = None;
            }
        })?;
        Ok(Some(Action::Return(0)))
    }

    /// chmod(2) and its kin.
    pub(super) fn chmod(&mut self, identity: &Identity, row: &Row) -> Result<Option<Action>, Errno> {
        if self.through_read_only(row)? {
            return Ok(None);
        }
        let mode = match row.call {
            Sysno::fchmodat | Sysno::fchmodat2 => self.args[2],
            _ => self.args[1],
        } as u32
            & PERMISSIONS;
        let Some(place) = self.place(row, Touch::Changes)? else { return Ok(None) };
        let attr = place.attr()?;
        if !Self::is_ours(identity, &attr) || attr.mode & TYPE == libc::S_IFLNK {
            return Ok(None);
        }
        let seen = identity.seen(&place, &attr);
        let cred = self.cred(identity);
        if !cred.can(Cap::Fowner) && cred.uid.fs != seen.uid {
            return Err(Errno::EPERM);
        }
        let keeps = cred.can(Cap::Fsetid) || cred.in_group(seen.gid);
        let mode = if keeps { mode } else { mode & !libc::S_ISGID };
        let place = place.followed();
        let shown = open_to_owner(attr.mode & TYPE, mode);
        place.set_mode(shown)?;
        Self::remember(identity, &place, &attr, |record, after| {
            record.mode = Some((mode, after.mode & PERMISSIONS));
        })?;
        Ok(Some(Action::Return(0)))
    }

    /// Remembers what goes with a change of the host's file that is done; where that fails, the file has its mode of
    /// `before` again, as the guest is told that nothing was changed.
    pub(super) fn remember(
        identity: &Identity,
        place: &Place,
        before: &Attr,
        change: impl FnOnce(&mut Record, &Attr),
    ) -> Result<(), Errno> {
        let remembered = place
            .attr()
            .and_then(|after| identity.records.change(place, &after, |record| change(record, &after)));
        if remembered.is_err()
            && before.mode & TYPE != libc::S_IFLNK
            && let Err(e) = place.set_mode(before.mode & PERMISSIONS)
        {
            crate::note!(
                0,
                "a file's mode is changed, though its owner could not be recorded: {}",
                sys::io(e)
            );
        }
        remembered
    }

    /// access(2) and its kin: the guest's modes decide first, then the host's.
    pub(super) fn asks(&mut self, identity: &Identity, row: &Row) -> Result<Option<Action>, Errno> {
        let (want, flags) = match row.call {
            Sysno::access => (self.args[1] as u32, 0),
            Sysno::faccessat => (self.args[2] as u32, 0),
            _ => (self.args[2] as u32, self.args[3] as i32),
        };
        let mut cred = Cred::clone(&self.cred(identity));
        if flags & libc::AT_EACCESS == 0 {
            // The real ids are asked for: `access_override_creds()`.
            (cred.uid.fs, cred.gid.fs) = (cred.uid.real, cred.gid.real);
            cred.caps.effective = if cred.uid.real == 0 { cred.caps.permitted } else { 0 };
        }
        if want > 7 || want == 0 || cred.can(Cap::DacOverride) {
            return Ok(None);
        }
        let Some(place) = self.place(row, Touch::Reads)? else { return Ok(None) };
        let Ok(attr) = place.attr() else { return Ok(None) };
        if cred.may(&identity.seen(&place, &attr), want) { Ok(None) } else { Err(Errno::EACCES) }
    }

    /// Whether a change through a descriptor is one that [`Call::fd_change`] refuses, as it then does.
    pub(super) fn through_read_only(&mut self, row: &Row) -> Result<bool, Errno> {
        if row.args.is_empty() && self.session.view.table.any_read_only() {
            self.fd_change()?;
        }
        Ok(false)
    }
}

/// The mode that the host's file gets: its owner, prun's user, keeps access.
pub(super) fn open_to_owner(format: u32, mode: u32) -> u32 {
    // What somebody may execute, the host's kernel has to execute for this user.
    let executes = if mode & 0o111 != 0 { 0o100 } else { 0 };
    mode | if format == libc::S_IFDIR { 0o700 } else { 0o600 | executes }
}
