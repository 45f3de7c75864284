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
/// `EINVAL` where there is no room for the first.
pub fn own(extras: &[Extra], from: usize, room: usize, layout: Layout) -> Result<(Vec<u8>, i64), Errno> {
    let mut out = vec![];
    let mut next = from;
    while let Some(extra) = extras.get(next) {
        let record = encode(extra, FIRST + 1 + next as i64, layout);
        if out.len() + record.len() > room {
            break;
        }
        out.extend(record);
        next += 1;
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
                kept[start..start + 8].copy_from_slice(&ino.to_ne_bytes());
            }
        }
        rest = tail;
    }
    kept
}

/// Offset of the name in a record.
const fn name_at(layout: Layout) -> usize {
    match layout {
        Layout::Wide => 19,
        Layout::Old => 18,
    }
}

/// A record: inode, position of the next, length, then type and name (64) or name, padding and type.
pub fn encode(entry: &Extra, next: i64, layout: Layout) -> Vec<u8> {
    let nul_and_type = if layout == Layout::Wide { 1 } else { 2 };
    let len = (name_at(layout) + entry.name.len() + nul_and_type).next_multiple_of(8);
    let mut out = vec![0; len];
    out[..8].copy_from_slice(&entry.ino.to_ne_bytes());
    out[8..16].copy_from_slice(&next.to_ne_bytes());
    out[16..18].copy_from_slice(&(len as u16).to_ne_bytes());
    out[name_at(layout)..][..entry.name.len()].copy_from_slice(&entry.name);
    out[if layout == Layout::Wide { 18 } else { len - 1 }] = entry.kind;
    out
}

/// The first record, its name, and the rest.
pub fn split(bytes: &[u8], layout: Layout) -> Option<(&[u8], &[u8], &[u8])> {
    let len = usize::from(u16::from_ne_bytes([*bytes.get(16)?, *bytes.get(17)?]));
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
        for layout in [Layout::Old, Layout::Wide] {
            for name in [&b"nix"[..], b"a", &[b'x'; 255]] {
                let entry = Extra { ino: 7, kind: libc::DT_DIR, name: name.to_vec() };
                let bytes = encode(&entry, FIRST, layout);
                let (record, got, rest) = split(&bytes, layout).unwrap();
                assert_eq!((record.len() % 8, got, rest.len()), (0, name, 0));
                assert_eq!(record[if layout == Layout::Wide { 18 } else { record.len() - 1 }], libc::DT_DIR);
            }
        }
        assert!(split(&[0; 24], Layout::Wide).is_none());
        assert!(split(&[255; 24], Layout::Wide).is_none());
    }
}
