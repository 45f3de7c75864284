//! What a file loses when it is written to: its capabilities, and its set-user-ID and set-group-ID bits unless the writer
//! may keep them (`file_remove_privs()` of the kernel's `fs/inode.c`).
//!
//! No write(2) is looked at. The host's kernel takes the bits for the user that it knows, who may not keep them; so when
//! a file is opened for writing its host's mode has them or not, as the guest's kernel would decide, and the guest's mode
//! is remembered. Capabilities go when the file is opened.

use super::super::table::{Row, Touch};
use super::super::{Action, Call};
use crate::emulate::identity::owner::{PERMISSIONS, Record};
use crate::emulate::identity::{Cap, Cred, Identity, Seen};
use crate::sys::file::{Attr, Place};
use syscalls::Errno;

const REGULAR: u32 = libc::S_IFREG;

impl Call<'_> {
    /// truncate(2).
    pub(super) fn truncates(&mut self, identity: &Identity, row: &Row) -> Result<Option<Action>, Errno> {
        let Some(place) = self.place(row, Touch::Changes)? else { return Ok(None) };
        let Ok(attr) = place.attr() else { return Ok(None) };
        let record = identity.records.of(&place, &attr);
        let seen = identity.records.look(record.as_ref(), &attr);
        let cred = self.cred(identity);
        Self::before_writing(identity, &cred, (&place, &attr), record.as_ref(), &seen)?;
        Ok(None)
    }

    /// The caller may write to a file, and is about to open it.
    pub(super) fn before_writing(
        identity: &Identity,
        cred: &Cred,
        (place, attr): (&Place, &Attr),
        record: Option<&Record>,
        seen: &Seen,
    ) -> Result<(), Errno> {
        if !Self::is_ours(identity, attr) || attr.mode & libc::S_IFMT != REGULAR {
            return Ok(());
        }
        if record.is_some_and(|record| record.capability.is_some()) {
            identity.records.change(place, attr, |record| record.capability = None)?;
        }
        let sets = cred.takes_set_ids(seen);
        // Without group execution the host's kernel, for which everybody is in the group, takes no set-group-ID bit.
        let left = if seen.mode & libc::S_IXGRP == 0 { sets & libc::S_ISGID } else { 0 };
        let now = attr.mode & PERMISSIONS;
        let (host, guest) = if cred.can(Cap::Fsetid) {
            (now & !sets, seen.mode & PERMISSIONS)
        } else {
            ((now | sets) & !left, seen.mode & PERMISSIONS & !left)
        };
        if host == now {
            return Ok(());
        }
        let place = place.clone().followed();
        place.set_mode(host)?;
        Self::remember(identity, &place, attr, |record, after| {
            record.mode = Some((guest, after.mode & PERMISSIONS));
        })
    }
}
