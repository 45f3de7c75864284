//! The part of a merged listing that is plain computation: what a read at a position gives, and records of
//! getdents(2) put together and taken apart.

use syscalls::Errno;

/// Position of the first entry of prun's part; the last one's successor means: the host's part, from its start.
///
/// tmpfs, btrfs and xfs count entries or bytes, far below; ext4's are hashes shifted by 32 bits, where hitting these
/// few values is not going to happen. Below 2 GiB, because procfs, on which placeholders stand, takes no more
/// (`MAX_NON_LFS`).
pub const FIRST: i64 = 0x7052_0000;

/// How records are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// `struct linux_dirent` of getdents(2).
    Old,
    /// `struct linux_dirent64` of getdents64(2).
    Wide,
    /// `struct compat_linux_dirent`: [`Layout::Old`] of a 32-bit program.
    Narrow,
    /// `struct compat_old_linux_dirent` of readdir(2): one entry a call, whose result is 1.
    Single,
}

impl Layout {
    /// Bytes of an inode number and of a position, which records begin with.
    const fn word(self) -> usize {
        match self {
            Layout::Old | Layout::Wide => 8,
            Layout::Narrow | Layout::Single => 4,
        }
    }

    /// Whether a call gives one entry only, and how many it gave instead of bytes.
    pub const fn counts(self) -> bool {
        matches!(self, Layout::Single)
    }

    /// Bytes that a call with a buffer of `room` bytes may write.
    pub const fn room(self, room: usize) -> usize {
        if self.counts() { usize::MAX } else { room }
    }
}

/// An entry that prun adds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extra {
    /// Its name.
    pub name: Vec<u8>,
    /// Its inode, as stat(2) has it.
    pub ino: u64,
    /// `DT_*`.
    pub kind: u8,
}

/// Where a directory's other entries come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beneath {
    /// The host has a directory there.
    Host,
    /// Nothing: prun's part is all.
    Nothing,
}

/// What a read gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Prun's entries from this one on.
    Own(usize),
    /// The host's, from its start.
    Rewind,
    /// The host's, from where the position is.
    Host,
    /// No more.
    End,
}

/// What a read at `position` gives where prun adds `extras` entries.
pub fn turn(position: i64, extras: usize, beneath: Beneath) -> Turn {
    let end = FIRST + extras as i64;
    match (position, beneath) {
        (0, _) if extras > 0 => Turn::Own(0),
        (p, _) if (FIRST..end).contains(&p) => Turn::Own((p - FIRST) as usize),
        (_, Beneath::Nothing) => Turn::End,
        (p, Beneath::Host) if p == end => Turn::Rewind,
        (_, Beneath::Host) => Turn::Host,
    }
}

/// Records of prun's entries from number `from` on, as many as `room` bytes hold, and the position behind them.
///
/// # Errors
/// `EINVAL` where there is no room for the first, `EOVERFLOW` where its inode does not fit.
pub fn own(extras: &[Extra], from: usize, room: usize, layout: Layout) -> Result<(Vec<u8>, i64), Errno> {
    let mut out = vec![];
    let mut next = from;
    while let Some(extra) = extras.get(next) {
        if layout.word() == 4 && u32::try_from(extra.ino).is_err() {
            if next == from {
                return Err(Errno::EOVERFLOW);
            }
            break;
        }
        let record = encode(extra, FIRST + 1 + next as i64, layout);
        if out.len() + record.len() > room {
            break;
        }
        out.extend(record);
        next += 1;
        if layout.counts() {
            break;
        }
    }
    if next == from && from < extras.len() {
        return Err(Errno::EINVAL);
    }
    Ok((out, FIRST + next as i64))
}

/// What becomes of one of the host's records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It stays.
    Stays,
    /// It is left out.
    Goes,
    /// It stays with another inode.
    Becomes(u64),
}

/// The host's records without those that `judge` leaves out.
pub fn without(bytes: &[u8], layout: Layout, mut judge: impl FnMut(&[u8]) -> Fate) -> Vec<u8> {
    let mut kept = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((record, name, tail)) = split(rest, layout) {
        let start = kept.len();
        match judge(name) {
            Fate::Stays => kept.extend_from_slice(record),
            Fate::Goes => {}
            Fate::Becomes(ino) => {
                kept.extend_from_slice(record);
                let len = layout.word();
                kept[start..start + len].copy_from_slice(&ino.to_le_bytes()[..len]);
            }
        }
        rest = tail;
    }
    kept
}

/// Bytes of the longest record of [`Layout::Single`]: no file system has longer names than 255 bytes.
pub const SINGLE_MAX: usize = 10 + 255 + 1;

/// Offset of the name in a record.
const fn name_at(layout: Layout) -> usize {
    match layout {
        Layout::Wide => 19,
        Layout::Old => 18,
        Layout::Narrow | Layout::Single => 10,
    }
}

/// A record: inode, position of the next, length, then type and name (64) or name, padding and type; the oldest has the
/// name's length, and no type.
pub fn encode(entry: &Extra, next: i64, layout: Layout) -> Vec<u8> {
    let behind = if matches!(layout, Layout::Wide | Layout::Single) { 1 } else { 2 };
    let word = layout.word();
    let mut len = name_at(layout) + entry.name.len() + behind;
    if !layout.counts() {
        len = len.next_multiple_of(word);
    }
    let mut out = vec![0; len];
    out[..word].copy_from_slice(&entry.ino.to_le_bytes()[..word]);
    out[word..2 * word].copy_from_slice(&next.to_le_bytes()[..word]);
    let size = if layout.counts() { entry.name.len() } else { len };
    out[2 * word..2 * word + 2].copy_from_slice(&(size as u16).to_ne_bytes());
    out[name_at(layout)..][..entry.name.len()].copy_from_slice(&entry.name);
    match layout {
        Layout::Wide => out[18] = entry.kind,
        Layout::Old | Layout::Narrow => out[len - 1] = entry.kind,
        Layout::Single => {}
    }
    out
}

/// The first record, its name, and the rest.
pub fn split(bytes: &[u8], layout: Layout) -> Option<(&[u8], &[u8], &[u8])> {
    let at = 2 * layout.word();
    let size = usize::from(u16::from_ne_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]));
    let len = if layout.counts() { name_at(layout) + size + 1 } else { size };
    if len <= name_at(layout) || len > bytes.len() {
        return None;
    }
    let (record, rest) = bytes.split_at(len);
    let name = &record[name_at(layout)..];
    let name = &name[..memchr::memchr(0, name).unwrap_or(name.len())];
    Some((record, name, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_back_as_they_went() {
        for layout in [Layout::Old, Layout::Wide, Layout::Narrow, Layout::Single] {
            for name in [&b"nix"[..], b"a", &[b'x'; 255]] {
                let entry = Extra { ino: 7, kind: libc::DT_DIR, name: name.to_vec() };
                let bytes = encode(&entry, FIRST, layout);
                let (record, got, rest) = split(&bytes, layout).unwrap();
                assert_eq!((got, rest.len()), (name, 0));
                if layout == Layout::Single {
                    assert_eq!(record.len(), 10 + name.len() + 1);
                    continue;
                }
                assert_eq!(record.len() % layout.word(), 0);
                assert_eq!(record[if layout == Layout::Wide { 18 } else { record.len() - 1 }], libc::DT_DIR);
            }
        }
        assert!(split(&[0; 24], Layout::Wide).is_none());
        assert!(split(&[255; 24], Layout::Wide).is_none());
    }
}
