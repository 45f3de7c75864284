//! Extended attributes that only a privileged user may set: `security.capability` and `trusted.*` (xattr(7)).

use super::super::table::{Row, Touch};
use super::super::{Action, Call};
use super::no_descriptor;
use crate::config::identity::Memory;
use crate::emulate::identity::owner::Record;
use crate::emulate::identity::{Cap, FileCaps, Identity, resource};
use crate::path::PATH_MAX;
use crate::sys::file::{Attr, Place};
use crate::tracee::memory::{self, Text};
use syscalls::Errno;

const CAPABILITY: &[u8] = b"security.capability";
/// `XATTR_SIZE_MAX`.
const SIZE_MAX: usize = 65536;

/// An attribute that the host does not keep.
enum Name {
    Capability,
    Trusted(Vec<u8>),
    /// The one in which `--persist` keeps records: not the guest's.
    Own,
}

impl Name {
    fn of<'a>(&self, record: &'a Record) -> Option<&'a Vec<u8>> {
        match self {
            Name::Capability => record.capability.as_ref(),
            Name::Trusted(name) => record.trusted.get(name),
            Name::Own => None,
        }
    }

    fn cap(&self) -> Cap {
        if matches!(self, Name::Capability) { Cap::SetFcap } else { Cap::SysAdmin }
    }

    fn set(&self, record: &mut Record, value: Option<Vec<u8>>) {
        match (self, value) {
            (Name::Capability, value) => record.capability = value,
            (Name::Trusted(name), Some(value)) => drop(record.trusted.insert(name.clone(), value)),
            (Name::Trusted(name), None) => drop(record.trusted.remove(name)),
            (Name::Own, _) => {}
        }
    }
}

impl Call<'_> {
    /// The attribute named in argument 1, if it is one of these.
    fn attribute_name(&self, identity: &Identity) -> Option<Name> {
        let mut text = [0; PATH_MAX];
        let Text::Of(len) = memory::read_path(self.task.tid, self.args[1], &mut text) else { return None };
        let name = &text[..len];
        if name == CAPABILITY {
            return Some(Name::Capability);
        }
        let own = identity.records.memory() == Memory::Attributes && text[..=len] == *resource::NAME;
        if own {
            return Some(Name::Own);
        }
        // `XATTR_NAME_MAX`
        (len <= 255 && len > 8 && name.starts_with(b"trusted.")).then(|| Name::Trusted(name.to_vec()))
    }

    fn file(&mut self, row: &Row, touch: Touch) -> Result<Option<(Place, Attr)>, Errno> {
        let Some(place) = self.place(row, touch)? else { return Ok(None) };
        let attr = place.attr().map_err(no_descriptor(row))?;
        Ok(Some((place, attr)))
    }

    pub(super) fn set_attribute(&mut self, identity: &Identity, row: &Row) -> Result<Option<Action>, Errno> {
        self.through_read_only(row)?;
        let Some(name) = self.attribute_name(identity) else { return Ok(None) };
        let (size, flags) = (self.args[3] as usize, self.args[4] as i32);
        if flags & !(libc::XATTR_CREATE | libc::XATTR_REPLACE) != 0 || size > SIZE_MAX {
            return Ok(None);
        }
        let mut value = vec![0; size];
        memory::read(self.task.tid, self.args[2], &mut value)?;
        let Some((place, attr)) = self.file(row, Touch::Changes)? else { return Ok(None) };
        let ours = attr.uid == identity.host.0 || identity.host.0 == 0;
        if !self.cred(identity).can(name.cap()) || !ours || matches!(name, Name::Own) {
            return Err(Errno::EPERM);
        }
        if matches!(name, Name::Capability) && FileCaps::parse(&value).is_none() {
            return Err(Errno::EINVAL);
        }
        let exists = identity.records.of(&place, &attr).is_some_and(|r| name.of(&r).is_some());
        if exists && flags & libc::XATTR_CREATE != 0 {
            return Err(Errno::EEXIST);
        }
        if !exists && flags & libc::XATTR_REPLACE != 0 {
            return Err(Errno::ENODATA);
        }
        identity.records.change(&place, &attr, |record| name.set(record, Some(value)))?;
        Ok(Some(Action::Return(0)))
    }

    pub(super) fn get_attribute(&mut self, identity: &Identity, row: &Row) -> Result<Option<Action>, Errno> {
        if !identity.records.any() {
            return Ok(None);
        }
        let Some(name) = self.attribute_name(identity) else { return Ok(None) };
        let Some((place, attr)) = self.file(row, Touch::Reads)? else { return Ok(None) };
        if matches!(name, Name::Own) {
            return Err(Errno::ENODATA);
        }
        let record = identity.records.of(&place, &attr);
        let Some(value) = record.as_ref().and_then(|r| name.of(r)) else { return Ok(None) };
        if matches!(name, Name::Trusted(_)) && !self.cred(identity).can(Cap::SysAdmin) {
            return Err(Errno::ENODATA);
        }
        self.give(self.args[2], self.args[3] as usize, value).map(Some)
    }

    pub(super) fn list_attributes(
        &mut self,
        identity: &Identity,
        row: &Row,
    ) -> Result<Option<Action>, Errno> {
        if !identity.records.any() {
            return Ok(None);
        }
        let Some((place, attr)) = self.file(row, Touch::Reads)? else { return Ok(None) };
        let record = identity.records.of(&place, &attr).unwrap_or_default();
        let own = identity.records.memory() == Memory::Attributes;
        if record.capability.is_none() && record.trusted.is_empty() && !own {
            return Ok(None);
        }
        let mut all = vec![];
        for name in place.attributes()?.split_inclusive(|&b| b == 0) {
            if !(own && name == resource::NAME) {
                all.extend_from_slice(name);
            }
        }
        let trusted = self.cred(identity).can(Cap::SysAdmin);
        let kept = record.trusted.keys().map(Vec::as_slice).filter(|_| trusted);
        for name in record.capability.as_ref().map(|_| CAPABILITY).into_iter().chain(kept) {
            all.extend_from_slice(name);
            all.push(0);
        }
        self.give(self.args[1], self.args[2] as usize, &all).map(Some)
    }

    pub(super) fn remove_attribute(
        &mut self,
        identity: &Identity,
        row: &Row,
    ) -> Result<Option<Action>, Errno> {
        self.through_read_only(row)?;
        let Some(name) = self.attribute_name(identity) else { return Ok(None) };
        let Some((place, attr)) = self.file(row, Touch::Changes)? else { return Ok(None) };
        if !self.cred(identity).can(name.cap()) || matches!(name, Name::Own) {
            return Err(Errno::EPERM);
        }
        let record = identity.records.of(&place, &attr);
        if record.as_ref().and_then(|r| name.of(r)).is_none() {
            return Err(Errno::ENODATA);
        }
        identity.records.change(&place, &attr, |record| name.set(record, None))?;
        Ok(Some(Action::Return(0)))
    }

    /// Writes a value whose length is asked for with a size of 0.
    fn give(&self, at: u64, room: usize, value: &[u8]) -> Result<Action, Errno> {
        if room != 0 {
            if room < value.len() {
                return Err(Errno::ERANGE);
            }
            memory::write(self.task.tid, at, value)?;
        }
        Ok(Action::Return(value.len() as i64))
    }
}
