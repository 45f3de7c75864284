//! A traced task and what it shares with others, as the kernel models it: [`Fs`] (cwd) by `CLONE_FS`, [`Mm`]
//! (program, injected memory) by `CLONE_VM`.

pub mod memory;
pub mod region;
pub mod rights;

use crate::emulate::identity::Cred;
use crate::exec::Plan;
use crate::path::GuestPath;
use crate::syscall::Exit;
use crate::tracer::placement::Pin;
use prun_arch::abi::Abi;
use region::Home;
use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

/// A directory that tasks stand in.
#[derive(Debug)]
pub struct Cwd {
    /// Its guest path when it was entered.
    pub guest: GuestPath,
    /// The directory itself, opened when first needed, so that a check relative to it survives renames.
    pub dir: OnceLock<Option<OwnedFd>>,
}

/// Something that several tasks share, perhaps of several tracer threads.
#[derive(Debug, Default)]
pub struct Shared<T>(Arc<Mutex<T>>);

impl<T> Clone for Shared<T> {
    /// Another owner of the same thing.
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Shared<T> {
    /// Something with one owner so far.
    pub fn new(value: T) -> Self {
        Self(Arc::new(Mutex::new(value)))
    }

    /// How many owners it has.
    pub fn owners(&self) -> usize {
        Arc::strong_count(&self.0)
    }

    /// To look at or change it. Never held across a stop, nor while another is taken.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        // A panic ends the process, so a lock is never poisoned.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The directory that is `/` for tasks that called chroot(2).
#[derive(Debug)]
pub struct Root {
    /// Its guest path when it became that.
    pub guest: GuestPath,
    /// The directory itself, so that it is found again where it is renamed; `None` where the host refused.
    pub dir: Option<OwnedFd>,
}

/// What `CLONE_FS` shares.
#[derive(Clone, Debug)]
pub struct Fs {
    /// The current directory.
    pub cwd: Arc<Cwd>,
    /// The root, where it is not that of the view.
    pub root: Option<Arc<Root>>,
}

impl Fs {
    /// In the directory `cwd`, with the view's root.
    pub fn new(cwd: GuestPath) -> Self {
        Self { cwd: Arc::new(Cwd { guest: cwd, dir: OnceLock::new() }), root: None }
    }
}

/// A place in a program from which calls stop that need not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Site {
    /// The address behind it.
    pub ret: u64,
    /// Number of the call.
    pub number: u32,
    /// Stops so far.
    pub calls: u32,
    /// The stub of [`prun_arch::resident`] that serves it.
    pub stub: Option<usize>,
}

/// What `CLONE_VM` shares.
#[derive(Clone, Debug, Default)]
pub struct Mm {
    /// Guest path of the program, for `/proc/PID/exe`; `None` before the first exec.
    pub exe: Option<GuestPath>,
    /// What the guest has set with `PR_SET_DUMPABLE`; prun keeps the kernel's value, or it could not read the guest.
    pub dumpable: Option<i32>,
    /// Places of the program that have called for nothing.
    pub sites: smallvec::SmallVec<[Site; 4]>,
    /// prun's memory for calls of the 32-bit ABI in a 64-bit program, once it has made one ([`crate::tracer::low`]).
    pub low: Option<Home>,
    /// Device and inode of a program that the kernel does not know is running, because its interpreter was executed.
    pub text: Option<(u64, u64)>,
}

/// What a stopped task is in the middle of.
#[derive(Debug)]
pub enum State {
    /// Nothing of prun's.
    Running,
    /// The calls up to its first execve(2) are prun's own, and there is no filter that lets them pass.
    Starting,
    /// Between seccomp stop and exit stop.
    InCall(Box<InCall>),
    /// Its memory cannot be read yet.
    Locked(Box<crate::tracer::Locked>),
    /// The loader runs.
    Loading(Box<crate::tracer::Loading>),
}

/// What has to be done at the exit stop.
#[derive(Debug)]
pub struct InCall {
    /// Argument registers as the guest set them.
    pub args: [u64; 6],
    /// Arguments as the kernel was given them: where a result comes in the register of the first, it is seen no more.
    pub given: [u64; 6],
    /// The call as the guest made it.
    pub number: u32,
    /// Of which ABI it is.
    pub abi: Abi,
    /// The work.
    pub exit: Exit,
    /// What `--trace` writes of it, up to its result.
    pub line: Option<String>,
}

/// One traced thread.
#[derive(Debug)]
pub struct Task {
    /// Thread id.
    pub tid: i32,
    /// Thread group id.
    pub tgid: i32,
    /// Current directory.
    pub fs: Shared<Fs>,
    /// Memory.
    pub mm: Shared<Mm>,
    /// Index of its slot.
    pub slot: u32,
    /// Where it has prun's memory.
    pub home: Home,
    /// It has been seen at the beginning of a call whose end is to be seen too. Kept where stops alternate.
    pub inside: bool,
    /// Number and arguments of the call that was last sent through the trampoline.
    pub in_flight: Option<(u32, [u64; 6])>,
    /// What it is in the middle of.
    pub state: State,
    /// The execve(2) it has begun.
    pub plan: Option<Box<Plan>>,
    /// The next getdents(2) reads the host's part, whatever the position says.
    pub listing_host: Option<crate::syscall::dirents::Unfinished>,
    /// The sendmmsg(2) that it is making in pieces, between two of them.
    pub sending: Option<crate::syscall::socket::Sending>,
    /// The close_range(2) that it is making in pieces, between two of them.
    pub closing: Option<Box<crate::syscall::Closing>>,
    /// It is narrowed to its tracer's CPU.
    pub pin: Option<Arc<Pin>>,
    /// Calls in a row that came shortly after each other.
    pub heat: u32,
    /// When it last made a call that stopped, and how many events its tracer thread had handled by then.
    pub called: Option<(Instant, u64)>,
    /// Its credentials, under a fake identity.
    pub cred: Option<Arc<Cred>>,
    /// What its last call reached through descriptors of the tracer, which is over when it makes another.
    pub held: smallvec::SmallVec<[std::os::fd::OwnedFd; 2]>,
}

impl Task {
    /// Whether a 32-bit call could have a slot.
    pub fn has_low_slot(&self) -> bool {
        u64::from(self.slot) < prun_arch::layout::LOW_SLOT_COUNT
    }

    /// Where calls of an ABI find prun's memory; `None` where it has to be made first.
    pub fn home_for(&self, abi: Abi) -> Option<Home> {
        if abi.word() == 8 || prun_arch::layout::is_low(self.home.window) {
            return Some(self.home);
        }
        self.mm.lock().low
    }

    /// A task without a number yet that does nothing.
    pub fn new(fs: Shared<Fs>, mm: Shared<Mm>) -> Self {
        Self {
            tid: 0,
            tgid: 0,
            fs,
            mm,
            slot: 0,
            home: Home::default(),
            inside: false,
            in_flight: None,
            state: State::Running,
            plan: None,
            listing_host: None,
            sending: None,
            closing: None,
            pin: None,
            heat: 0,
            called: None,
            cred: None,
            held: smallvec::SmallVec::new(),
        }
    }
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

/// What every tracer thread may ask about any task of the session, and the slots they have.
#[derive(Debug, Default)]
pub struct Directory {
    entries: Mutex<Entries>,
    links: AtomicU32,
}

/// What others may ask of a task.
#[derive(Debug)]
struct Entry {
    mm: Shared<Mm>,
    fs: Shared<Fs>,
    slot: u32,
    tgid: i32,
}

#[derive(Debug, Default)]
struct Entries {
    tasks: IdMap<i32, Entry>,
    free: Vec<u32>,
    next: u32,
}

impl Directory {
    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A task may be about to put a link where none was: what is known of directories holds no longer.
    pub fn link_made(&self) {
        self.links.fetch_add(1, Ordering::Relaxed);
    }

    /// How often that has happened.
    pub fn links_made(&self) -> u32 {
        self.links.load(Ordering::Relaxed)
    }

    /// Enters a task, or replaces what has become another: its memory after execve(2), its directories after
    /// unshare(2).
    pub fn enter(&self, task: &Task) {
        let entry = Entry { mm: task.mm.clone(), fs: task.fs.clone(), slot: task.slot, tgid: task.tgid };
        self.lock().tasks.insert(task.tid, entry);
    }

    /// Strikes a task out and takes its slot back; false if the number is another task's by now.
    pub fn leave(&self, tid: i32, slot: u32) -> bool {
        let mut all = self.lock();
        let own = all.tasks.get(&tid).is_some_and(|entry| entry.slot == slot);
        if own {
            all.tasks.remove(&tid);
        }
        all.free.push(slot);
        own
    }

    /// Strikes out a number whose task lives on under another.
    pub fn renumber(&self, tid: i32) {
        self.lock().tasks.remove(&tid);
    }

    /// The memory of the task `tid`; `None` if it is none of the session's.
    pub fn memory(&self, tid: i32) -> Option<Shared<Mm>> {
        self.lock().tasks.get(&tid).map(|entry| entry.mm.clone())
    }

    /// The directories of the task `tid`; `None` if it is none of the session's.
    pub fn directories(&self, tid: i32) -> Option<Shared<Fs>> {
        self.lock().tasks.get(&tid).map(|entry| entry.fs.clone())
    }

    /// The process that the task `tid` belongs to.
    pub fn process(&self, tid: i32) -> Option<i32> {
        self.lock().tasks.get(&tid).map(|entry| entry.tgid)
    }

    /// All processes, each once.
    pub fn processes(&self) -> Vec<i32> {
        let mut all: Vec<i32> = self.lock().tasks.values().map(|entry| entry.tgid).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// The ids of all tasks.
    pub fn ids(&self) -> Vec<i32> {
        self.lock().tasks.keys().copied().collect()
    }

    /// Number of tasks.
    pub fn len(&self) -> usize {
        self.lock().tasks.len()
    }

    /// Whether all have ended.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A slot that no living task has; `None` when all are taken.
    pub fn new_slot(&self) -> Option<u32> {
        let mut all = self.lock();
        if let Some(slot) = all.free.pop() {
            return Some(slot);
        }
        if u64::from(all.next) >= prun_arch::layout::SLOT_COUNT {
            return None;
        }
        all.next += 1;
        Some(all.next - 1)
    }

    /// The slot is nobody's after all.
    pub fn give_back(&self, slot: u32) {
        self.lock().free.push(slot);
    }

    /// Whether some running program's file is this one, unknown to the kernel.
    pub fn runs(&self, id: (u64, u64)) -> bool {
        let all: Vec<Shared<Mm>> = self.lock().tasks.values().map(|entry| entry.mm.clone()).collect();
        all.iter().any(|mm| mm.lock().text == Some(id))
    }
}

/// Compile-time proof that the hasher can be built without a seed.
const _: fn() = || {
    fn seedless<B: BuildHasher + Default>() {}
    seedless::<BuildHasherDefault<IdHasher>>();
};
