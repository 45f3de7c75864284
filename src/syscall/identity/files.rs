//! stat, chown, chmod and access under a fake identity.

use super::super::table::{Row, Touch};
use super::super::{Action, Call};
use super::no_descriptor;
use crate::emulate::identity::owner::PERMISSIONS;
use crate::emulate::identity::{Cap, Cred, Identity};
use crate::sys::file::{Attr, BTIME};
use crate::tracee::memory;
use syscalls::{Errno, Sysno};

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
        let Some(place) = self.place(row, Touch::Reads)? else { return Ok(None) };
        // How the last component is followed is the place's own business.
        let flags = flags & (libc::AT_NO_AUTOMOUNT | SYNC);
        self.session.stats.host_calls.add(1);
        let mut x = place.statx(flags, mask).map_err(no_descriptor(row))?;
        let seen = identity.records.seen(&place, &x.attr());
        (x.uid, x.gid, x.mode) = (seen.uid, seen.gid, seen.mode as u16);
        (x.rdev_major, x.rdev_minor) = seen.rdev;
        if row.call == Sysno::statx {
            x.mask &= mask | !BTIME;
            memory::write(self.task.tid, buffer, x.bytes())?;
        } else {
            memory::write(self.task.tid, buffer, &x.stat_bytes())?;
        }
        Ok(Some(Action::Return(0)))
    }

    /// Whether the caller's host user may change a file's attributes at all.
    fn is_ours(identity: &Identity, attr: &Attr) -> bool {
        attr.uid == identity.host.0 || identity.host.0 == 0
    }

    /// chown(2) and its kin.
    pub(super) fn chown(&mut self, identity: &Identity, row: &Row) -> Result<Option<Action>, Errno> {
        if self.through_read_only(row)? {
            return Ok(None);
        }
        let (uid, gid) = match row.call {
            Sysno::fchownat => (self.args[2] as u32, self.args[3] as u32),
            _ => (self.args[1] as u32, self.args[2] as u32),
        };
        let Some(place) = self.place(row, Touch::Changes)? else { return Ok(None) };
        let attr = place.attr().map_err(no_descriptor(row))?;
        let seen = identity.records.seen(&place, &attr);
        let cred = self.cred(identity);
        if !cred.can(Cap::Chown) {
            let owns = cred.uid.fs == seen.uid;
            let group = gid == SAME || (owns && (gid == seen.gid || cred.in_group(gid)));
            if !(group && (uid == SAME || (owns && uid == seen.uid))) {
                return Err(Errno::EPERM);
            }
        }
        if !Self::is_ours(identity, &attr) {
            // Somebody else's on the host: as for root in a container, it stays what it is.
            let same = (uid == SAME || uid == seen.uid) && (gid == SAME || gid == seen.gid);
            return if same { Ok(Some(Action::Return(0))) } else { Err(Errno::EPERM) };
        }
        place.touch_owner()?;
        let after = place.attr()?;
        let directory = attr.mode & TYPE == libc::S_IFDIR;
        identity.records.change(&place, &after, |record| {
            if uid != SAME {
                record.uid = Some(uid);
            }
            if gid != SAME {
                record.gid = Some(gid);
            }
            if !directory {
                // A new owner ends what the old one granted: `chown_common()`, `setattr_should_drop_sgid()`.
                let by_group = if seen.mode & libc::S_IXGRP != 0 { libc::S_ISGID } else { 0 };
                let mode = seen.mode & PERMISSIONS & !(libc::S_ISUID | by_group);
                record.mode = Some((mode, after.mode & PERMISSIONS));
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
        let attr = place.attr().map_err(no_descriptor(row))?;
        if !Self::is_ours(identity, &attr) || attr.mode & TYPE == libc::S_IFLNK {
            return Ok(None);
        }
        let seen = identity.records.seen(&place, &attr);
        let cred = self.cred(identity);
        if !cred.can(Cap::Fowner) && cred.uid.fs != seen.uid {
            return Err(Errno::EPERM);
        }
        let keeps = cred.can(Cap::Fsetid) || cred.in_group(seen.gid);
        let mode = if keeps { mode } else { mode & !libc::S_ISGID };
        let place = place.followed();
        place.set_mode(open_to_owner(attr.mode & TYPE, mode))?;
        let after = place.attr()?;
        identity
            .records
            .change(&place, &after, |record| record.mode = Some((mode, after.mode & PERMISSIONS)))?;
        Ok(Some(Action::Return(0)))
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
        if cred.may(&identity.records.seen(&place, &attr), want) { Ok(None) } else { Err(Errno::EACCES) }
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
    mode | if format == libc::S_IFDIR { 0o700 } else { 0o600 }
}
