//! A traced task and what it shares with others, as the kernel models it: [`Fs`] (cwd) by `CLONE_FS`, [`Mm`]
//! (program, injected memory) by `CLONE_VM`.

pub mod memory;
pub mod region;

use crate::exec::Plan;
use crate::path::GuestPath;
use crate::syscall::Exit;
use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher};
use std::os::fd::OwnedFd;
use std::rc::Rc;

/// A directory that tasks stand in.
#[derive(Debug)]
pub struct Cwd {
    /// Its guest path when it was entered.
    pub guest: GuestPath,
    /// The directory itself, opened when first needed, so that a check relative to it survives renames.
    pub dir: OnceCell<Option<OwnedFd>>,
}

/// What `CLONE_FS` shares.
#[derive(Debug)]
pub struct Fs {
    /// The current directory.
    pub cwd: Rc<Cwd>,
}

/// What `CLONE_VM` shares.
#[derive(Clone, Debug, Default)]
pub struct Mm {
    /// Guest path of the program, for `/proc/PID/exe`; `None` before the first exec.
    pub exe: Option<GuestPath>,
    /// Device and inode of a program that the kernel does not know is running, because its interpreter was executed.
    pub text: Option<(u64, u64)>,
    /// The slots are the tracee's own memory instead of shared with the tracer.
    pub private: bool,
}

/// What a stopped task is in the middle of.
#[derive(Debug)]
pub enum State {
    /// Nothing of prun's.
    Running,
    /// A new task that has not been told apart yet: its creator's event is still to come.
    Unborn,
    /// Between seccomp stop and exit stop.
    InCall(Box<InCall>),
    /// The loader runs.
    Loading(Box<crate::tracer::Loading>),
}

/// What has to be done at the exit stop.
#[derive(Debug)]
pub struct InCall {
    /// Argument registers as the guest set them.
    pub args: [u64; 6],
    /// The call as the guest made it.
    pub number: u32,
    /// The work.
    pub exit: Exit,
}

/// One traced thread.
#[derive(Debug)]
pub struct Task {
    /// Thread id.
    pub tid: i32,
    /// Thread group id.
    pub tgid: i32,
    /// Current directory.
    pub fs: Rc<RefCell<Fs>>,
    /// Memory.
    pub mm: Rc<RefCell<Mm>>,
    /// Index of its slot.
    pub slot: u32,
    /// What it is in the middle of.
    pub state: State,
    /// The execve(2) it has begun.
    pub plan: Option<Box<Plan>>,
    /// The next getdents(2) reads the host's part, whatever the position says.
    pub listing_host: Option<i32>,
}

/// Hashes process ids and short byte strings: FNV-1a. std's default needs a random seed, which hosts without
/// getrandom(2) and /dev cannot give.
#[derive(Clone, Copy)]
pub struct IdHasher(u64);

impl Default for IdHasher {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &b in bytes {
            self.0 = (self.0 ^ u64::from(b)).wrapping_mul(0x100_0000_01b3);
        }
    }
}

/// Map with [`IdHasher`].
pub type IdMap<K, V> = HashMap<K, V, BuildHasherDefault<IdHasher>>;

/// All tasks of the session.
#[derive(Debug, Default)]
pub struct Registry {
    tasks: IdMap<i32, Task>,
    free: Vec<u32>,
    next: u32,
}

impl Registry {
    /// The task `tid`.
    pub fn get_mut(&mut self, tid: i32) -> Option<&mut Task> {
        self.tasks.get_mut(&tid)
    }

    /// The task `tid`.
    pub fn get(&self, tid: i32) -> Option<&Task> {
        self.tasks.get(&tid)
    }

    /// Takes the task out while it is worked on.
    pub fn take(&mut self, tid: i32) -> Option<Task> {
        self.tasks.remove(&tid)
    }

    /// Puts a task in, or back.
    pub fn put(&mut self, task: Task) {
        self.tasks.insert(task.tid, task);
    }

    /// Number of tasks.
    pub fn len(&self) -> usize {
        self.tasks.len()
    }

    /// Whether all have ended.
    pub fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// Every task.
    pub fn iter(&self) -> impl Iterator<Item = &Task> {
        self.tasks.values()
    }

    /// A slot that no living task has; `None` when all are taken.
    pub fn new_slot(&mut self) -> Option<u32> {
        if let Some(slot) = self.free.pop() {
            return Some(slot);
        }
        if u64::from(self.next) >= prun_arch::layout::SLOT_COUNT {
            return None;
        }
        self.next += 1;
        Some(self.next - 1)
    }

    /// Forgets a task that has ended.
    pub fn remove(&mut self, tid: i32) -> Option<Task> {
        let task = self.tasks.remove(&tid)?;
        self.free.push(task.slot);
        Some(task)
    }

    /// Gives a slot back.
    pub fn free_slot(&mut self, slot: u32) {
        self.free.push(slot);
    }

    /// Whether some running program's file is this one, unknown to the kernel.
    pub fn runs(&self, id: (u64, u64)) -> bool {
        self.tasks.values().any(|t| t.mm.borrow().text == Some(id))
    }
}

/// Compile-time proof that the hasher can be built without a seed.
const _: fn() = || {
    fn seedless<B: BuildHasher + Default>() {}
    seedless::<BuildHasherDefault<IdHasher>>();
};
