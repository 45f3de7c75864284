//! A fake identity: who a guest believes to be, and whom it believes its files to belong to.
//!
//! Asked for with `-0` or `-i UID:GID`. Without it nothing here runs: the filter does not stop a single call more
//! ([`crate::syscall::table::When::Identity`]).
//!
//! # Tasks
//!
//! Every task has [`Cred`], credentials(7) as the kernel keeps them: real, effective, saved and file system ids,
//! groups, capability sets, securebits. A new task gets its creator's; execve(2) changes them by the rules of
//! capabilities(7), set-user-ID bits and file capabilities included. The kernel's own credentials of every task stay
//! those of the user who started prun, so no call about ids ever reaches the kernel.
//!
//! # Files
//!
//! A file of that user is shown as the fake identity's, every other as it is. What a guest changes and the host
//! cannot keep is a [`Record`]: owner, permission bits, device number, file capabilities, `trusted.*` attributes.
//! Records belong to inodes: a record knows when its inode was born (`stx_btime`), so a new file that gets an old
//! one's number does not get its record; where a file system does not tell, and to save memory, a record is dropped
//! when the last name of its file goes.
//!
//! Owner bits (`0600`, `0700` of directories) stay on the host whatever the guest sets, because root may read and
//! write what they forbid; the guest sees the bits it has set. Set-user-ID bits are put on the host's file, as tar(1)
//! would, until somebody writes to it who may keep them. A device is an empty file on the host; opening it gives the host's device where that is one that everybody
//! may open (`/dev/null` and its kin), and `ENXIO` otherwise.
//!
//! With `--persist` a record is in the file's extended attribute `user.rootlesscontainers` ([`resource`]) instead, where
//! the file may have one (regular files and directories), and read from there each time: other sessions change it too.
//!
//! # What is not faked
//!
//! What needs a privilege towards the host fails as for root in a container: mount(2), a higher priority or limit,
//! another user's file. chroot(2) is none of that: [`crate::emulate::root`]. Permission is the host's to give,
//! for root; a task that has given up root is also held to the owners and modes that the guest sees, of files and of
//! the directories on the way, and may signal whom it might. Access control lists count for nothing in that.
//! Peer credentials are those that the peer has when they are asked for.

mod cred;
pub mod owner;
pub mod resource;
pub mod searchable;
pub mod status;

pub use cred::{Cap, Cred, FileCaps, Ids, LAST_CAP, Privileges, Secure};
pub use owner::{Device, Record, Seen};

use crate::config;
use crate::config::identity::Memory;
use crate::sys;
use crate::sys::file::{Attr, Place};
use crate::tracee::IdMap;
use owner::Records;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// User id that the command starts with.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Where ownership is kept.
    pub memory: Memory,
}

/// The identity of a session, shared by all tracer threads.
#[derive(Debug)]
pub struct Identity {
    /// What was asked for.
    pub wanted: Wanted,
    /// User and group id on the host.
    pub host: (u32, u32),
    /// What is remembered of files.
    pub records: Records,
    tasks: Mutex<IdMap<i32, Arc<Cred>>>,
}

impl Identity {
    /// The identity of a session that is to begin, where one is asked for.
    pub fn new(config: config::Identity) -> Option<Self> {
        let config::Identity::Faked { uid, gid, memory } = config else { return None };
        let wanted = Wanted { uid, gid, memory };
        let host = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
        let shows =
            owner::Shows { host, fake: (wanted.uid, wanted.gid), unmapped: sys::file::unmapped_ids() };
        Some(Self { wanted, host, records: Records::new(shows, memory), tasks: Mutex::default() })
    }

    /// What the first task starts with.
    pub fn first(&self) -> Arc<Cred> {
        Arc::new(Cred::new(self.wanted.uid, self.wanted.gid))
    }

    fn lock(&self) -> MutexGuard<'_, IdMap<i32, Arc<Cred>>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes the credentials of a task, for others to ask about.
    pub fn enter(&self, tid: i32, cred: &Arc<Cred>) {
        self.lock().insert(tid, Arc::clone(cred));
    }

    /// The task has ended, or has another number.
    pub fn leave(&self, tid: i32) {
        self.lock().remove(&tid);
    }

    /// The credentials of a task of this session.
    pub fn of(&self, tid: i32) -> Option<Arc<Cred>> {
        self.lock().get(&tid).cloned()
    }

    /// Whether a task with these credentials may do less than the kernel would let it, which takes all tasks for one
    /// user: it has no right over permissions, and is another user or there is something remembered.
    pub fn holds(&self, cred: &Cred) -> bool {
        let first = (cred.uid.fs, cred.gid.fs) == (self.wanted.uid, self.wanted.gid);
        !cred.can(Cap::DacOverride) && (!first || self.records.any())
    }

    /// How a file looks to the guest. What /proc has of a task belongs to whom that task is (proc(5)).
    pub fn seen(&self, place: &Place, attr: &Attr) -> Seen {
        let mut seen = self.records.seen(place, attr);
        if let Some(cred) = place.path().and_then(status::task_of).and_then(|pid| self.of(pid))
            && (attr.uid, attr.gid) == self.host
        {
            (seen.uid, seen.gid) = (cred.uid.effective, cred.gid.effective);
        }
        seen
    }

    /// User and group id of a process as the guest sees it, where the host's are `ids`.
    pub fn peer(&self, pid: i32, ids: (u32, u32)) -> (u32, u32) {
        match self.of(pid) {
            Some(cred) => (cred.uid.effective, cred.gid.effective),
            None => self.records.shows.ids(ids),
        }
    }
}
