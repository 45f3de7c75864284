//! Listings of directories that show more, or other things, than the host's: getdents(2).
//!
//! A merged directory is read in two parts. First prun's: the names the table has there, in its order. Then the
//! host's, from which those names are left out. The position in the directory is the kernel's own: prun's entries
//! have positions from [`FIRST`] on, which no file system uses for so small a directory, and the guest's lseek(2)
//! goes to them as to any other; so seekdir, rewinddir, dup and fork need nothing. To move the position, the call is
//! made an lseek(2) and its result replaced.

use super::{Action, Again, Call, Exit};
use crate::cost;
use crate::resolve::{Follow, Last, Request, Resolver, Restrict};
use crate::sys;
use crate::tracee::memory;
use crate::view::{Kind, NodeId};
use syscalls::{Errno, Sysno};

/// Position of the first entry of prun's part; the last one's successor means: the host's part, from its start.
///
/// tmpfs, btrfs and xfs count entries or bytes, far below; ext4's are hashes shifted by 32 bits, where hitting these
/// few values is not going to happen. Below 2 GiB, because procfs, on which placeholders stand, takes no more
/// (`MAX_NON_LFS`).
const FIRST: i64 = 0x7052_0000;

/// What the exit stop has to do.
#[derive(Debug)]
pub enum Listing {
    /// The call was an lseek(2): return this instead.
    Moved(i64),
    /// As before, and then the host's part is to be read.
    Rewound {
        /// Descriptor.
        fd: i32,
    },
    /// The host's part was read into the guest's buffer: leave out what the table has.
    Host {
        /// The directory's node.
        node: NodeId,
        /// getdents64(2).
        wide: bool,
    },
}

/// One entry, as far as both layouts have it.
struct Entry<'a> {
    ino: u64,
    kind: u8,
    name: &'a [u8],
}

impl Call<'_> {
    pub(super) fn getdents(&mut self, wide: bool) -> Result<Action, Errno> {
        let fd = self.args[0] as i32;
        let Some(node) = self.merged(fd) else { return Ok(Action::Run) };
        if self.task.listing_host.take() == Some(fd) {
            return Ok(Action::RunThen(Exit::Listing(Listing::Host { node, wide })));
        }
        let position = self.position(fd)?;
        let extras = self.extras(node);
        let end = FIRST + extras.len() as i64;
        let from = match position {
            0 => 0,
            p if (FIRST..end).contains(&p) => (p - FIRST) as usize,
            p if p == end && self.is_made_up(node) => return Ok(Action::Return(0)),
            p if p == end => {
                self.seek(fd, 0);
                return Ok(Action::RunThen(Exit::Listing(Listing::Rewound { fd })));
            }
            _ if self.is_made_up(node) => return Ok(Action::Return(0)),
            _ => return Ok(Action::RunThen(Exit::Listing(Listing::Host { node, wide }))),
        };
        let room = self.args[2] as u32 as usize;
        let mut out = vec![];
        let mut next = from;
        while let Some((name, ino, kind)) = extras.get(next) {
            let record = encode(&Entry { ino: *ino, kind: *kind, name }, FIRST + 1 + next as i64, wide);
            if out.len() + record.len() > room {
                break;
            }
            out.extend(record);
            next += 1;
        }
        if next == from && !extras.is_empty() {
            return Err(Errno::EINVAL);
        }
        memory::write(self.task.tid, self.args[1], &out)?;
        self.seek(fd, FIRST + next as i64);
        Ok(Action::RunThen(Exit::Listing(Listing::Moved(out.len() as i64))))
    }

    /// Makes the call an lseek(2) to `position`.
    fn seek(&mut self, fd: i32, position: i64) {
        self.number = Some(Sysno::lseek);
        self.args = [fd as u64, position as u64, libc::SEEK_SET as u64, 0, 0, 0];
    }

    /// At the exit stop.
    pub(super) fn listed(&mut self, listing: Listing) -> Option<Again> {
        let result = self.regs.result();
        match listing {
            Listing::Moved(bytes) => {
                if result >= 0 {
                    self.regs.set_result(bytes);
                }
                None
            }
            Listing::Rewound { fd } => {
                if result < 0 {
                    return None;
                }
                self.task.listing_host = Some(fd);
                Some(Again)
            }
            Listing::Host { node, wide } => {
                if result <= 0 {
                    return None;
                }
                let mut bytes = vec![0; result as usize];
                let at = self.regs.args()[1];
                if memory::read(self.task.tid, at, &mut bytes).is_err() {
                    return None;
                }
                let kept = self.without_table_names(&bytes, node, wide);
                if kept.is_empty() {
                    // An empty buffer would be the end: read on.
                    self.task.listing_host = Some(self.regs.args()[0] as i32);
                    return Some(Again);
                }
                if kept.len() != bytes.len() && memory::write(self.task.tid, at, &kept).is_ok() {
                    self.regs.set_result(kept.len() as i64);
                }
                None
            }
        }
    }

    /// The node of the directory behind a descriptor, if its listing is not the host's.
    fn merged(&mut self, fd: i32) -> Option<NodeId> {
        let link = format!("/proc/{}/fd/{fd}\0", self.task.tid);
        self.session.stats.host_calls.add(1);
        let here = sys::stat(link.as_bytes(), Last::Followed).ok()?;
        if !self.session.view.is_merged(here.id) {
            return None;
        }
        let super::paths::Base::At(guest) = self.base(Some(fd as u64)) else { return None };
        let table = &self.session.view.table;
        table.find(guest.as_bytes()).filter(|&node| table.has_children(node) || self.is_made_up(node))
    }

    fn is_made_up(&self, node: NodeId) -> bool {
        self.session.view.table.node(node).kind() == Kind::Placeholder
    }

    fn position(&self, fd: i32) -> Result<i64, Errno> {
        // open, statx, read twice, close
        cost::count(cost::Kind::Files, 5);
        let info = std::fs::read_to_string(format!("/proc/{}/fdinfo/{fd}", self.task.tid))
            .map_err(|e| Errno::new(e.raw_os_error().unwrap_or(libc::EIO)))?;
        let line = info.lines().find_map(|l| l.strip_prefix("pos:")).ok_or(Errno::EIO)?;
        line.trim().parse().map_err(|_| Errno::EIO)
    }

    /// Name, inode and type of what the table has in a directory, with what stat(2) says of each.
    fn extras(&mut self, node: NodeId) -> Vec<(Vec<u8>, u64, u8)> {
        let view = &self.session.view;
        let mut out = vec![];
        if self.is_made_up(node) {
            let own = inode(view.table.host(node));
            let up = view.table.parent(node).map_or(b"/".as_slice(), |p| view.table.host(p));
            out.push((b".".to_vec(), own, libc::DT_DIR));
            out.push((b"..".to_vec(), inode(up), libc::DT_DIR));
        }
        let mut resolver = Resolver::new();
        for child in view.table.children(node) {
            let mut guest = crate::path::Buf::<{ crate::path::PATH_MAX }>::new();
            if view.table.guest_path(child, &mut guest).is_err() {
                continue;
            }
            let calls = crate::session::Counter::default();
            let mut host = crate::host::HostTree::bare(&calls);
            let request = Request {
                base: b"/",
                path: guest.as_bytes(),
                follow: Follow::No,
                restrict: Restrict::default(),
            };
            if resolver.resolve(&view.table, &mut host, &request).is_err() {
                continue;
            }
            // What is gone from the host cannot be opened, so it is not listed.
            if let Ok(st) = sys::stat(resolver.host(), Last::Kept) {
                out.push((view.table.name(child).to_vec(), st.id.1, kind_of(st.mode)));
            }
        }
        out
    }

    fn without_table_names(&self, bytes: &[u8], node: NodeId, wide: bool) -> Vec<u8> {
        let table = &self.session.view.table;
        let mut kept = Vec::with_capacity(bytes.len());
        let mut rest = bytes;
        while let Some((record, name, tail)) = split(rest, wide) {
            let parent_of_root = node == NodeId::ROOT && name == b"..";
            if parent_of_root {
                let mut record = record.to_vec();
                record[..8].copy_from_slice(&inode(table.host(NodeId::ROOT)).to_ne_bytes());
                kept.extend(record);
            } else if table.child(node, name).is_none() {
                kept.extend_from_slice(record);
            }
            rest = tail;
        }
        kept
    }
}

fn inode(host: &[u8]) -> u64 {
    sys::stat(&[host, b"\0"].concat(), Last::Followed).map_or(1, |st| st.id.1)
}

/// `DT_*` of a mode: `S_DT()` of `<linux/fs_types.h>`.
fn kind_of(mode: u32) -> u8 {
    ((mode & libc::S_IFMT) >> 12) as u8
}

/// Offset of the name in `struct linux_dirent64` and `struct linux_dirent`.
const fn name_at(wide: bool) -> usize {
    if wide { 19 } else { 18 }
}

/// A record: inode, position of the next, length, then type and name (64) or name, padding and type.
fn encode(entry: &Entry, next: i64, wide: bool) -> Vec<u8> {
    let len = (name_at(wide) + entry.name.len() + if wide { 1 } else { 2 }).next_multiple_of(8);
    let mut out = vec![0; len];
    out[..8].copy_from_slice(&entry.ino.to_ne_bytes());
    out[8..16].copy_from_slice(&next.to_ne_bytes());
    out[16..18].copy_from_slice(&(len as u16).to_ne_bytes());
    out[name_at(wide)..][..entry.name.len()].copy_from_slice(entry.name);
    out[if wide { 18 } else { len - 1 }] = entry.kind;
    out
}

/// The first record, its name, and the rest.
fn split(bytes: &[u8], wide: bool) -> Option<(&[u8], &[u8], &[u8])> {
    let len = usize::from(u16::from_ne_bytes([*bytes.get(16)?, *bytes.get(17)?]));
    if len <= name_at(wide) || len > bytes.len() {
        return None;
    }
    let (record, rest) = bytes.split_at(len);
    let name = &record[name_at(wide)..];
    let name = &name[..memchr::memchr(0, name).unwrap_or(name.len())];
    Some((record, name, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_back_as_they_went() {
        for wide in [false, true] {
            for name in [&b"nix"[..], b"a", &[b'x'; 255]] {
                let bytes = encode(&Entry { ino: 7, kind: libc::DT_DIR, name }, FIRST, wide);
                let (record, got, rest) = split(&bytes, wide).unwrap();
                assert_eq!((record.len() % 8, got, rest.len()), (0, name, 0));
                assert_eq!(record[if wide { 18 } else { record.len() - 1 }], libc::DT_DIR);
            }
        }
        assert!(split(&[0; 24], true).is_none());
        assert!(split(&[255; 24], true).is_none());
    }

    #[test]
    fn types_are_those_of_readdir() {
        assert_eq!(kind_of(libc::S_IFDIR | 0o755), libc::DT_DIR);
        assert_eq!(kind_of(libc::S_IFLNK), libc::DT_LNK);
        assert_eq!(kind_of(libc::S_IFSOCK), libc::DT_SOCK);
    }
}
