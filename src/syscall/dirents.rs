//! Listings of directories that show more, or other things, than the host's: getdents(2).
//!
//! A merged directory is read in two parts. First prun's: the names the table has there, in its order. Then the
//! host's, from which those names are left out. The position in the directory is the kernel's own: prun's entries
//! have positions from [`merge::FIRST`] on, which no file system uses for so small a directory, and the guest's lseek(2)
//! goes to them as to any other; so seekdir, rewinddir, dup and fork need nothing. To move the position, the call is
//! made an lseek(2) and its result replaced.

pub mod merge;

use super::{Action, Again, Call, Exit};
use crate::cost;
use crate::resolve::{Follow, Last, Request, Resolver, Restrict};
use crate::sys;
use crate::tracee::memory;
use crate::view::{Kind, NodeId};
use merge::{Beneath, Extra, Fate, Layout, Turn};
use prun_arch::Sysno;
use std::fs::File;
use std::os::unix::fs::FileExt;
use syscalls::Errno;

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
        /// How its records are laid out.
        layout: Layout,
        /// Where it was read from.
        from: From,
    },
}

/// Where a read of the host's part began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// At its start, to which the position had been moved for it.
    Start,
    /// At a position of the host's own.
    Within,
}

/// What the call does when it is made once more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Reads the host's part.
    Host(From),
    /// Moves the position back to where prun's part ends, because the host's could not be read, and returns this.
    Back(i64),
}

/// One descriptor's listing, between two runs of one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unfinished {
    fd: i32,
    next: Next,
}

impl Call<'_> {
    pub(super) fn getdents(&mut self, layout: Layout) -> Result<Action, Errno> {
        let fd = self.args[0] as i32;
        let Some(node) = self.merged(fd) else { return Ok(Action::Run) };
        // Between the two runs a signal handler may have listed another directory.
        let next = self.task.listing_host.take_if(|l| l.fd == fd).map(|l| l.next);
        if let Some(Next::Host(from)) = next {
            return Ok(Action::RunThen(Exit::Listing(Listing::Host { node, layout, from })));
        }
        let extras = self.extras(node);
        if let Some(Next::Back(result)) = next {
            self.seek(fd, merge::FIRST + extras.len() as i64);
            return Ok(Action::RunThen(Exit::Listing(Listing::Moved(result))));
        }
        let beneath = if self.is_made_up(node) { Beneath::Nothing } else { Beneath::Host };
        match merge::turn(self.position(fd)?, extras.len(), beneath) {
            Turn::Own(first) => {
                let room = layout.room(self.args[2] as u32 as usize);
                let (bytes, behind) = merge::own(&extras, first, room, layout)?;
                memory::write(self.task.tid, self.args[1], &bytes)?;
                self.seek(fd, behind);
                let result = if layout.counts() { 1 } else { bytes.len() as i64 };
                Ok(Action::RunThen(Exit::Listing(Listing::Moved(result))))
            }
            Turn::Rewind => {
                self.seek(fd, 0);
                Ok(Action::RunThen(Exit::Listing(Listing::Rewound { fd })))
            }
            Turn::Host => {
                Ok(Action::RunThen(Exit::Listing(Listing::Host { node, layout, from: From::Within })))
            }
            Turn::End => Ok(Action::Return(0)),
        }
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
                Some(self.once_more(fd, Next::Host(From::Start)))
            }
            Listing::Host { node, layout, from } => {
                let fd = self.args[0] as i32;
                if result <= 0 {
                    // The start of the host's part is the start of prun's: left there, it would be listed again.
                    return (from == From::Start).then(|| self.once_more(fd, Next::Back(result)));
                }
                let at = self.args[1];
                let mut bytes = vec![0; if layout.counts() { merge::SINGLE_MAX } else { result as usize }];
                // The one entry's length is in it.
                let got = memory::read_some(self.task.tid, at, &mut bytes);
                if got < bytes.len() && !layout.counts() {
                    return None;
                }
                bytes.truncate(got);
                if layout.counts() {
                    bytes.truncate(merge::split(&bytes, layout).map_or(0, |(record, ..)| record.len()));
                }
                let kept = self.without_table_names(&bytes, node, layout);
                if kept.is_empty() {
                    // An empty buffer would be the end: read on.
                    return Some(self.once_more(fd, Next::Host(From::Within)));
                }
                if kept != bytes && memory::write(self.task.tid, at, &kept).is_ok() && !layout.counts() {
                    self.regs.set_result(kept.len() as i64);
                }
                None
            }
        }
    }

    fn once_more(&mut self, fd: i32, next: Next) -> Again {
        self.task.listing_host = Some(Unfinished { fd, next });
        Again
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
        let info = sys::open(format!("/proc/{}/fdinfo/{fd}\0", self.task.tid).as_bytes(), libc::O_RDONLY)?;
        // The position is the first line: `pos:\t0\n`.
        let mut text = [0; 64];
        cost::count(cost::Kind::Files, 1);
        let n = File::from(info).read_at(&mut text, 0).map_err(|_| Errno::EIO)?;
        let text = std::str::from_utf8(&text[..n]).map_err(|_| Errno::EIO)?;
        let line = text.lines().find_map(|l| l.strip_prefix("pos:")).ok_or(Errno::EIO)?;
        line.trim().parse().map_err(|_| Errno::EIO)
    }

    /// What the table has in a directory, with what stat(2) says of each.
    fn extras(&mut self, node: NodeId) -> Vec<Extra> {
        let view = &self.session.view;
        let mut out = vec![];
        if self.is_made_up(node) {
            let own = inode(view.table.host(node));
            let up = view.table.parent(node).map_or(b"/".as_slice(), |p| view.table.host(p));
            out.push(Extra { name: b".".to_vec(), ino: own, kind: libc::DT_DIR });
            out.push(Extra { name: b"..".to_vec(), ino: inode(up), kind: libc::DT_DIR });
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
                root: b"/",
            };
            if resolver.resolve(&view.table, &mut host, &request).is_err() {
                continue;
            }
            // What is gone from the host cannot be opened, so it is not listed.
            if let Ok(st) = sys::stat(resolver.host(), Last::Kept) {
                let name = view.table.name(child).to_vec();
                out.push(Extra { name, ino: st.id.1, kind: kind_of(st.mode) });
            }
        }
        out
    }

    fn without_table_names(&self, bytes: &[u8], node: NodeId, layout: Layout) -> Vec<u8> {
        let table = &self.session.view.table;
        merge::without(bytes, layout, |name| {
            if node == NodeId::ROOT && name == b".." {
                Fate::Becomes(inode(table.host(NodeId::ROOT)))
            } else if table.child(node, name).is_some() {
                Fate::Goes
            } else {
                Fate::Stays
            }
        })
    }
}

fn inode(host: &[u8]) -> u64 {
    sys::stat(&[host, b"\0"].concat(), Last::Followed).map_or(1, |st| st.id.1)
}

/// `DT_*` of a mode: `S_DT()` of `<linux/fs_types.h>`.
fn kind_of(mode: u32) -> u8 {
    ((mode & libc::S_IFMT) >> 12) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_those_of_readdir() {
        assert_eq!(kind_of(libc::S_IFDIR | 0o755), libc::DT_DIR);
        assert_eq!(kind_of(libc::S_IFLNK), libc::DT_LNK);
        assert_eq!(kind_of(libc::S_IFSOCK), libc::DT_SOCK);
    }
}
