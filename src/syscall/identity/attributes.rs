//! Extended attributes that only a privileged user may set: `security.capability` and `trusted.*` (xattr(7)).

use super::super::table::{Row, Touch};
use super::super::{Action, Call};
use crate::config::identity::Memory;
use crate::emulate::identity::owner::Record;
use crate::emulate::identity::{Cap, FileCaps, Identity, resource};
use crate::path::PATH_MAX;
use crate::sys::file::{Attr, Place};
use crate::tracee::memory::{self, Text};
use prun_arch::Sysno;
use syscalls::Errno;

const CAPABILITY: &[u8] = b"security.capability";
/// `XATTR_CAPS_SZ_2`: the first revision is read, but not taken.
const CAPABILITY_MIN: usize = 20;
/// `XATTR_SIZE_MAX`.
const SIZE_MAX: usize = 65536;
/// `XATTR_ARGS_SIZE_VER0` of `<linux/xattr.h>`: the value's address, its size, flags.
const ARGS: usize = 16;

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

/// Where a call of the family has what it is asked: the older ones in their arguments, the newer ones
/// (setxattrat(2) and its kin) behind a descriptor, a path and flags, and in a structure.
struct Asked {
    /// Address of the attribute's name.
    name: u64,
    /// Address of the value, or of the list.
    value: u64,
    size: usize,
    flags: i32,
}

impl Call<'_> {
    /// `None` where the kernel finds that the arguments are none.
    fn asked(&self, row: &Row) -> Option<Asked> {
        let [_, a, b, c, d, e] = self.args;
        let plain = |name, value, size: u64, flags: u64| Asked {
            name,
            value,
            size: size as usize,
            flags: flags as i32,
        };
        let known = (libc::AT_SYMLINK_NOFOLLOW | libc::AT_EMPTY_PATH) as u32;
        let newer = matches!(
            row.call,
            Sysno::setxattrat | Sysno::getxattrat | Sysno::listxattrat | Sysno::removexattrat
        );
        if newer && b as u32 & !known != 0 {
            return None;
        }
        Some(match row.call {
            Sysno::listxattrat => plain(0, c, d, 0),
            Sysno::removexattrat => plain(c, 0, 0, 0),
            Sysno::setxattrat | Sysno::getxattrat => {
                // A longer structure is one of a later kernel.
                let mut args = [0; ARGS];
                if e as usize != ARGS || memory::read(self.task.tid, d, &mut args).is_err() {
                    return None;
                }
                let (value, rest) = args.split_at(8);
                let value = value.try_into().map_or(0, u64::from_ne_bytes);
                let rest = rest.try_into().map_or(0, u64::from_ne_bytes);
                plain(c, value, rest & 0xffff_ffff, rest >> 32)
            }
            Sysno::listxattr | Sysno::llistxattr | Sysno::flistxattr => plain(0, a, b, 0),
            _ => plain(a, b, c, d),
        })
    }

    /// The address of the attribute's name.
    pub(super) fn attribute_at(&self, row: &Row) -> Option<u64> {
        self.asked(row).map(|asked| asked.name)
    }

    /// The attribute whose name is at this address, if it is one of these.
    fn attribute_name(&self, identity: &Identity, at: u64) -> Option<Name> {
        let mut text = [0; PATH_MAX];
        let Text::Of(len) = memory::read_path(self.task.tid, at, &mut text) else { return None };
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
        let attr = place.attr()?;
        Ok(Some((place, attr)))
    }

    pub(super) fn set_attribute(&mut self, identity: &Identity, row: &Row) -> Result<Option<Action>, Errno> {
        self.through_read_only(row)?;
        let Some(Asked { name, value, size, flags }) = self.asked(row) else { return Ok(None) };
        let Some(name) = self.attribute_name(identity, name) else { return Ok(None) };
        if flags & !(libc::XATTR_CREATE | libc::XATTR_REPLACE) != 0 || size > SIZE_MAX {
            return Ok(None);
        }
        let (at, mut value) = (value, vec![0; size]);
        memory::read(self.task.tid, at, &mut value)?;
        let Some((place, attr)) = self.file(row, Touch::Changes)? else { return Ok(None) };
        // `cap_convert_nscap()`: what it is, then who asks.
        if matches!(name, Name::Capability) && (size < CAPABILITY_MIN || FileCaps::parse(&value).is_none()) {
            return Err(Errno::EINVAL);
        }
        let ours = attr.uid == identity.host.0 || identity.host.0 == 0;
        if !self.cred(identity).can(name.cap()) || !ours || matches!(name, Name::Own) {
            return Err(Errno::EPERM);
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
        let Some(asked) = self.asked(row) else { return Ok(None) };
        let Some(name) = self.attribute_name(identity, asked.name) else { return Ok(None) };
        if asked.flags != 0 && row.call == Sysno::getxattrat {
            return Ok(None);
        }
        let Some((place, attr)) = self.file(row, Touch::Reads)? else { return Ok(None) };
        if matches!(name, Name::Own) {
            return Err(Errno::ENODATA);
        }
        let record = identity.records.of(&place, &attr);
        let Some(value) = record.as_ref().and_then(|r| name.of(r)) else { return Ok(None) };
        if matches!(name, Name::Trusted(_)) && !self.cred(identity).can(Cap::SysAdmin) {
            return Err(Errno::ENODATA);
        }
        self.give(asked.value, asked.size, value).map(Some)
    }

    pub(super) fn list_attributes(
        &mut self,
        identity: &Identity,
        row: &Row,
    ) -> Result<Option<Action>, Errno> {
        if !identity.records.any() {
            return Ok(None);
        }
        let Some(asked) = self.asked(row) else { return Ok(None) };
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
        self.give(asked.value, asked.size, &all).map(Some)
    }

    pub(super) fn remove_attribute(
        &mut self,
        identity: &Identity,
        row: &Row,
    ) -> Result<Option<Action>, Errno> {
        self.through_read_only(row)?;
        let Some(asked) = self.asked(row) else { return Ok(None) };
        let Some(name) = self.attribute_name(identity, asked.name) else { return Ok(None) };
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
