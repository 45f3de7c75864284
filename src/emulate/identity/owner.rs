//! What is remembered of files, and how a file looks to the guest.

use super::resource;
use crate::config::identity::Memory;
use crate::sys;
use crate::sys::file::{Attr, Place};
use crate::tracee::IdMap;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use syscalls::Errno;

/// Permission bits, with set-user-ID, set-group-ID and sticky.
pub const PERMISSIONS: u32 = 0o7777;
/// Set-user-ID and set-group-ID.
pub const SET_IDS: u32 = libc::S_ISUID | libc::S_ISGID;
/// `S_IFMT`, for shorter lines.
const TYPE: u32 = libc::S_IFMT;

/// A device that an empty file stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Device {
    /// `S_IFCHR` or `S_IFBLK`.
    pub format: u32,
    /// Major and minor number.
    pub number: (u32, u32),
}

/// What the host's inode does not say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Permission bits, and those of the host's file when they were set: where these have changed since, by the
    /// kernel or from outside, the record's are void.
    pub mode: Option<(u32, u32)>,
    /// The device that the file stands for.
    pub device: Option<Device>,
    /// `security.capability`.
    pub capability: Option<Vec<u8>>,
    /// `trusted.*` attributes, by their whole names.
    pub trusted: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Record {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// How a file looks to the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Type and permissions.
    pub mode: u32,
    /// Major and minor number, of a device.
    pub rdev: (u32, u32),
}

/// Whose files are shown as whose, where nothing is remembered.
#[derive(Clone, Copy, Debug)]
pub struct Shows {
    /// Ids of prun's user on the host.
    pub host: (u32, u32),
    /// Ids that the guest started with.
    pub fake: (u32, u32),
    /// Ids that the host cannot map, where it is itself in a user namespace.
    pub unmapped: Option<(u32, u32)>,
}

impl Shows {
    /// The guest's ids for the host's.
    pub fn ids(&self, (uid, gid): (u32, u32)) -> (u32, u32) {
        let unmapped = self.unmapped.unwrap_or(self.host);
        (
            if uid == self.host.0 || uid == unmapped.0 { self.fake.0 } else { uid },
            if gid == self.host.1 || gid == unmapped.1 { self.fake.1 } else { gid },
        )
    }
}

/// How long what is remembered of a file will be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lasts {
    /// As long as the session, in memory.
    Session,
    /// It is in an attribute of the file.
    Longer,
}

/// A record and the birth of the inode it belongs to.
#[derive(Debug)]
struct Kept {
    record: Record,
    born: (i64, u32),
}

/// All records of a session.
#[derive(Debug)]
pub struct Records {
    /// Whose files are shown as whose.
    pub shows: Shows,
    memory: Memory,
    all: Mutex<IdMap<(u64, u64), Kept>>,
    len: AtomicUsize,
    changes: AtomicU32,
    devices: AtomicBool,
}

impl Records {
    /// No records.
    pub fn new(shows: Shows, memory: Memory) -> Self {
        let devices = AtomicBool::new(memory == Memory::Attributes);
        Self {
            shows,
            memory,
            all: Mutex::default(),
            len: AtomicUsize::new(0),
            changes: AtomicU32::new(0),
            devices,
        }
    }

    fn lock(&self) -> MutexGuard<'_, IdMap<(u64, u64), Kept>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there may be a record at all.
    pub fn any(&self) -> bool {
        self.memory == Memory::Attributes || self.len.load(Ordering::Relaxed) > 0
    }

    /// The guest changes an owner or a mode, or makes a directory.
    pub fn changed(&self) {
        self.changes.fetch_add(1, Ordering::Relaxed);
    }

    /// How often that has happened.
    pub fn changes(&self) -> u32 {
        self.changes.load(Ordering::Relaxed)
    }

    /// Whether some file may stand for a device.
    pub fn any_device(&self) -> bool {
        self.devices.load(Ordering::Relaxed)
    }

    /// Where ownership is kept.
    pub fn memory(&self) -> Memory {
        self.memory
    }

    /// What is remembered of the file at `place`, whose host attributes are `attr`.
    pub fn of(&self, place: &Place, attr: &Attr) -> Option<Record> {
        if !self.any() {
            return None;
        }
        let kept = self.kept(&mut self.lock(), attr);
        kept.or_else(|| self.written(place, attr))
    }

    /// What is in memory: nothing of what could be written to the file, which other sessions may change as well.
    fn kept(&self, all: &mut IdMap<(u64, u64), Kept>, attr: &Attr) -> Option<Record> {
        match all.get(&attr.id) {
            Some(kept) if kept.born == attr.born => return Some(kept.record.clone()),
            Some(_) => {
                all.remove(&attr.id);
                self.len.store(all.len(), Ordering::Relaxed);
            }
            None => {}
        }
        None
    }

    /// What is in the file's attribute.
    fn written(&self, place: &Place, attr: &Attr) -> Option<Record> {
        if self.memory != Memory::Attributes || !takes_attribute(attr) {
            return None;
        }
        let bytes = place.attribute(resource::NAME).ok()?;
        resource::decode(&bytes, attr.mode & PERMISSIONS)
    }

    /// How the file at `place` looks to the guest.
    pub fn seen(&self, place: &Place, attr: &Attr) -> Seen {
        self.look(self.of(place, attr).as_ref(), attr)
    }

    /// How a file with this record looks.
    pub fn look(&self, record: Option<&Record>, attr: &Attr) -> Seen {
        let (uid, gid) = self.shows.ids((attr.uid, attr.gid));
        let mut seen = Seen { uid, gid, mode: attr.mode, rdev: attr.rdev };
        let Some(record) = record else { return seen };
        seen.uid = record.uid.unwrap_or(uid);
        seen.gid = record.gid.unwrap_or(gid);
        if let Some((mode, host)) = record.mode {
            let now = attr.mode & PERMISSIONS;
            // What the kernel takes away when a file is written to is taken from both.
            let gone = host & !now;
            if gone & !SET_IDS == 0 && now & !host == 0 {
                seen.mode = attr.mode & !PERMISSIONS | (mode & !gone);
            }
        }
        if let Some(device) = record.device {
            seen.mode = seen.mode & !TYPE | device.format;
            seen.rdev = device.number;
        }
        seen
    }

    /// Changes what is remembered of a file. What says no more than the host's inode is not kept.
    ///
    /// # Errors
    /// Those of writing the attribute, with `--persist`; where the file's mode or its file system forbids that, the
    /// record lasts as long as the session.
    pub fn change(&self, place: &Place, attr: &Attr, change: impl FnOnce(&mut Record)) -> Result<(), Errno> {
        self.changed();
        // Nobody else of this session changes it in between.
        let mut all = self.lock();
        let kept = self.kept(&mut all, attr);
        let mut record = kept.or_else(|| self.written(place, attr)).unwrap_or_default();
        change(&mut record);
        let own = self.shows.ids((attr.uid, attr.gid));
        record.uid = record.uid.filter(|&uid| uid != own.0);
        record.gid = record.gid.filter(|&gid| gid != own.1);
        record.mode = record.mode.filter(|&(guest, host)| guest != host);
        if record.device.is_some() {
            self.devices.store(true, Ordering::Relaxed);
        }
        let lasts = if self.memory == Memory::Attributes && takes_attribute(attr) {
            self.write(place, &record, own)?
        } else {
            Lasts::Session
        };
        if record.is_empty() || lasts == Lasts::Longer {
            all.remove(&attr.id);
        } else {
            all.insert(attr.id, Kept { record, born: attr.born });
        }
        self.len.store(all.len(), Ordering::Relaxed);
        Ok(())
    }

    fn write(&self, place: &Place, record: &Record, own: (u32, u32)) -> Result<Lasts, Errno> {
        let done = if record.is_empty() {
            place.remove_attribute(resource::NAME)
        } else {
            place.set_attribute(resource::NAME, &resource::encode(record, own), 0)
        };
        match done {
            Ok(()) | Err(Errno::ENODATA) => Ok(Lasts::Longer),
            Err(e @ (Errno::EACCES | Errno::EPERM | Errno::EOPNOTSUPP | Errno::EROFS)) => {
                crate::note!(1, "an owner is only remembered until the session ends: {}", sys::io(e));
                Ok(Lasts::Session)
            }
            Err(e) => Err(e),
        }
    }

    /// Whether a record would go with the last name of a file.
    pub fn has(&self, id: (u64, u64)) -> bool {
        self.lock().contains_key(&id)
    }

    /// The file is gone.
    pub fn forget(&self, id: (u64, u64)) {
        let mut all = self.lock();
        all.remove(&id);
        self.len.store(all.len(), Ordering::Relaxed);
    }
}

/// Only regular files and directories have `user.*` attributes (xattr(7)).
fn takes_attribute(attr: &Attr) -> bool {
    matches!(attr.mode & TYPE, libc::S_IFREG | libc::S_IFDIR)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(memory: Memory) -> Records {
        let ids = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
        Records::new(Shows { host: ids, fake: (0, 0), unmapped: None }, memory)
    }

    fn at(path: &std::path::Path) -> Place {
        use std::os::unix::ffi::OsStrExt;
        Place::at([path.as_os_str().as_bytes(), b"\0"].concat())
    }

    #[test]
    fn a_new_file_does_not_inherit_an_old_ones_record() {
        let dir = tempfile::tempdir().expect("a folder");
        let records = records(Memory::Session);
        let file = dir.path().join("f");
        let place = at(&file);
        for round in 0..20 {
            std::fs::write(&file, "").expect("ours");
            let attr = place.attr().expect("it is there");
            assert_eq!(records.seen(&place, &attr).uid, 0, "round {round}");
            records.change(&place, &attr, |r| r.uid = Some(7)).expect("kept in memory");
            assert_eq!(records.seen(&place, &attr).uid, 7);
            std::fs::remove_file(&file).expect("ours");
        }
    }

    #[test]
    fn changes_at_one_time_are_all_kept() {
        let dir = tempfile::Builder::new().tempdir_in("/var/tmp").expect("a folder");
        let file = dir.path().join("f");
        std::fs::write(&file, "").expect("ours");
        let (place, attr) = (at(&file), at(&file).attr().expect("it is there"));
        for memory in [Memory::Session, Memory::Attributes] {
            let records = records(memory);
            std::thread::scope(|scope| {
                for thread in 0..4 {
                    let (records, place) = (&records, &place);
                    scope.spawn(move || {
                        for i in 0..20 {
                            let name = format!("trusted.{thread}-{i}").into_bytes();
                            let change = |record: &mut Record| drop(record.trusted.insert(name, vec![1]));
                            records.change(place, &attr, change).expect("kept");
                        }
                    });
                }
            });
            assert_eq!(records.of(&place, &attr).expect("a record").trusted.len(), 80, "{memory:?}");
        }
    }

    #[test]
    fn a_mode_holds_until_the_hosts_is_another() {
        let records = records(Memory::Session);
        let record = Record { mode: Some((0o4070, 0o4670)), ..Record::default() };
        let dir = tempfile::tempdir().expect("a folder");
        let attr = at(dir.path()).attr().expect("it is there");
        let seen = |mode| {
            records.look(Some(&record), &Attr { mode: libc::S_IFREG | mode, ..attr }).mode & PERMISSIONS
        };
        assert_eq!(seen(0o4670), 0o4070);
        assert_eq!(seen(0o670), 0o070, "it has been written to");
        assert_eq!((seen(0o4640), seen(0o6670), seen(0o755)), (0o4640, 0o6670, 0o755));
    }

    #[test]
    fn attributes_outlive_the_session() {
        let dir = tempfile::Builder::new().tempdir_in("/var/tmp").expect("a folder");
        let file = dir.path().join("f");
        std::fs::write(&file, "").expect("ours");
        let place = at(&file);
        let attr = place.attr().expect("it is there");
        records(Memory::Attributes)
            .change(&place, &attr, |r| (r.uid, r.gid) = (Some(3), Some(0)))
            .expect("kept");
        let bytes = place.attribute(resource::NAME).expect("written");
        assert_eq!(bytes, [8, 3]);
        let later = records(Memory::Attributes);
        assert_eq!(later.seen(&place, &attr).uid, 3);
        later.change(&place, &attr, |r| r.uid = Some(0)).expect("kept");
        assert_eq!(place.attribute(resource::NAME), Err(Errno::ENODATA));
    }
}
