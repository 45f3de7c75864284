//! Directories known to hold no symbolic link on the way to them, so that a walk need not look at each component.
//!
//! An entry says: the host path with this hash was walked, no component of it was a link, and it led to the directory
//! with this identity. It is used only after one lstat(2) of that path has shown the same directory still there,
//! which sees whatever has been changed from outside; and a guest that makes a link or renames something starts a
//! new *epoch*, in which no older entry counts.
//!
//! With openat2(2) a path without links never gets here; the cache serves paths with links, where it skips what lies
//! before the link, and hosts before Linux 5.6, where it makes two host calls of one per component. The layout is
//! fixed: entries can be shared at any address.

/// Entries: a power of two.
const ENTRIES: usize = 512;

/// Device and inode.
pub type Identity = [u64; 2];

#[derive(Clone, Copy, Debug)]
#[repr(C)]
struct Entry {
    key: u64,
    id: Identity,
    epoch: u32,
    used: u32,
}

/// See the module.
#[derive(Clone, Debug)]
#[repr(C)]
pub struct Cache {
    entries: [Entry; ENTRIES],
}

/// Hash of a host path that grows by components.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key(u64);

impl Key {
    /// The key of `path`; slashes count as written, so paths must be normal.
    pub fn of(path: &[u8]) -> Self {
        Self(0xcbf2_9ce4_8422_2325).and(path)
    }

    /// The key of the path with `/name` behind it.
    pub fn join(self, name: &[u8]) -> Self {
        self.and(b"/").and(name)
    }

    /// The key of `/name`, from that of `/`.
    pub fn below_root(self, name: &[u8]) -> Self {
        self.and(name)
    }

    /// FNV-1a. Two paths with one key do no harm: the identity would have to be the same too.
    fn and(self, bytes: &[u8]) -> Self {
        Self(bytes.iter().fold(self.0, |h, &b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3)))
    }

    fn slot(self) -> usize {
        (self.0 ^ (self.0 >> 32)) as usize % ENTRIES
    }
}

impl Cache {
    /// Knows nothing.
    pub const fn new() -> Self {
        Self { entries: [Entry { key: 0, id: [0; 2], epoch: 0, used: 0 }; ENTRIES] }
    }

    /// The directory that a path led to, if it is known in this epoch.
    pub fn get(&self, key: Key, epoch: u32) -> Option<Identity> {
        let entry = &self.entries[key.slot()];
        (entry.used != 0 && entry.key == key.0 && entry.epoch == epoch).then_some(entry.id)
    }

    /// Notes that a path without links leads to the directory `id`.
    pub fn put(&mut self, key: Key, epoch: u32, id: Identity) {
        self.entries[key.slot()] = Entry { key: key.0, id, epoch, used: 1 };
    }

    /// Forgets a path.
    pub fn remove(&mut self, key: Key) {
        let entry = &mut self.entries[key.slot()];
        if entry.key == key.0 {
            entry.used = 0;
        }
    }
}

impl Default for Cache {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_lasts_for_its_epoch() {
        let mut cache = Cache::new();
        let key = Key::of(b"/usr").join(b"lib");
        assert_eq!(key, Key::of(b"/usr/lib"));
        cache.put(key, 3, [1, 2]);
        assert_eq!((cache.get(key, 3), cache.get(key, 4)), (Some([1, 2]), None));
        assert_eq!(cache.get(Key::of(b"/usr/lib2"), 3), None);
        cache.remove(key);
        assert_eq!(cache.get(key, 3), None);
    }
}
