//! The tracer's threads: what they share, how they reach each other, and the keeper that watches over them.
//!
//! A tracee belongs to the thread that attached to it, and so do its children: only that thread may make ptrace(2)
//! requests for it. A session begins with one thread, the first *member*. When the keeper finds that a member has
//! two busy tracees while a CPU has none ([`placement`](super::placement)), another member takes one over
//! ([`handoff`](super::handoff)); the thread for it is started when it is first needed.
//!
//! The keeper sleeps while there is nothing to watch: nobody pinned, no mail under way, nobody waiting for one
//! tracee only ([`Tracer`](super::Tracer)'s focus), nobody attaching to a task.
//!
//! # Memory that threads share
//!
//! No weak memory order can be seen, because every datum that is more than one word is behind a lock, and every word
//! that is read without one stands alone:
//!
//! * **Locks.** [`Shared`](crate::tracee::Shared) (cwd, memory of tasks), the [`Directory`], inboxes, the list of
//!   members, [`Placement`]'s list, sockets, records of owners. No lock is taken while another is held, but for
//!   [`Team::grow`] (members, then recruit) and [`Team::ended`] (members, then an inbox), whose order nobody turns
//!   round: so none waits for itself in a circle. None is held over a stop.
//! * **A task** is owned: its `Box<Task>` is in one member's map, or in one piece of mail. [`Mail::Adopt`] moves it
//!   through the inbox's lock, which orders all that the old member did before all that the new one does.
//! * **A slot** is written by the member that has its task, while the task is stopped; the task reads it when it goes
//!   on, ordered by the kernel's own locks in ptrace(2). A slot is given to a new task only after [`Directory::leave`],
//!   under the directory's lock. **The scratch ring** gives each taker its own piece by compare-and-exchange.
//! * **Words alone**: counters (one writer each, or added to atomically), `focused` and `attaching`, a pin's beats and wish, what the host
//!   lacks. Each is a hint that is looked at again: read late, it costs a millisecond, no more. A pin's state is
//!   written under the list's lock, or by its own member while its task is stopped.
//! * **The end**: [`Team::ended`] stores `over` and then takes each inbox's lock before it notifies; [`Team::idle`] looks at
//!   `over` under that lock. So whoever waits has looked before the store, and is notified, or sees it. The keeper's
//!   flag is cleared before its last look, and set under the same lock by who has something to be watched.
//!
//! `tests/scale.rs` lets tasks change hands on every engine, `tests/faults.rs` while calls fail and members are killed.
#![allow(unsafe_code)]

use super::handoff::Parked;
use super::placement::Placement;
use super::ptrace;
use crate::session::{Session, Stats};
use crate::sys::thread;
use crate::tracee::Directory;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, Once, PoisonError};
use std::time::{Duration, Instant};

/// Threads that trace, at most. More would wait for each other: a busy tracee keeps its thread busy, and both one CPU.
pub const MOST: usize = 8;
/// Looks without anything to see after which the keeper sleeps: waking it costs a busy member more than a look.
const LINGER: u32 = 16;
/// Bytes of stack of a thread.
const STACK: usize = 2 << 20;
/// Interrupts a member's wait. Its handler does nothing, except where a member is attaching to a task.
const NUDGE: i32 = libc::SIGUSR1;

/// What one member tells another.
#[derive(Debug)]
pub enum Mail {
    /// A tracee to take over.
    Adopt(Box<Parked>),
    /// This task has become another member's, by an execve(2) of one of its threads.
    Forget(i32),
}

/// One tracer thread, as the others see it.
#[derive(Debug)]
pub struct Member {
    /// Its place in the team.
    pub index: usize,
    thread: AtomicI32,
    inbox: Mutex<VecDeque<Mail>>,
    arrived: Condvar,
    /// It waits for one tracee only, and must be interrupted for the others.
    pub focused: AtomicBool,
    /// It attaches to a task, and must hear of the others while that takes long: [`ptrace::seize_from_living`].
    pub attaching: AtomicBool,
    /// Its counters.
    pub stats: Arc<Stats>,
}

impl Member {
    fn inbox(&self) -> MutexGuard<'_, VecDeque<Mail>> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What has arrived first.
    pub fn mail(&self) -> Option<Mail> {
        self.inbox().pop_front()
    }

    /// Whether it has been told, by mail that has not been read yet, that the number `tid` is another member's task's.
    pub fn has_lost(&self, tid: i32) -> bool {
        self.inbox().iter().any(|mail| matches!(mail, Mail::Forget(lost) if *lost == tid))
    }

    /// The calling thread is this member from now on.
    pub fn begin(&self) {
        self.thread.store(nix::unistd::gettid().as_raw(), Ordering::Relaxed);
    }

    fn nudge(&self) {
        let thread = self.thread.load(Ordering::Relaxed);
        if thread > 0 {
            // SAFETY: integers only; the thread is one of this process, or gone.
            unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), thread, NUDGE) };
        }
    }
}

/// The team.
pub struct Team {
    /// All tasks.
    pub directory: Directory,
    /// On which CPU they run.
    pub placement: Arc<Placement>,
    members: Mutex<Vec<Arc<Member>>>,
    /// What a new member begins with: a session, and the function that traces with it.
    recruit: Mutex<Recruit>,
    over: AtomicBool,
    /// The command has ended, and what it left is being killed.
    killing: AtomicBool,
    keeper: Once,
    /// There is something to watch.
    watching: Mutex<bool>,
    watch: Condvar,
}

/// Starts a member's thread.
type Start = fn(Arc<Team>, Arc<Member>, Session);

struct Recruit {
    session: Session,
    start: Start,
}

impl Team {
    /// A team of one; `start` is what the threads of later members run.
    pub fn new(session: &Session, placement: Arc<Placement>, start: Start) -> (Arc<Self>, Arc<Member>) {
        quiet_nudges();
        let first = Arc::new(member(0, Arc::clone(&session.stats)));
        let team = Arc::new(Self {
            directory: Directory::default(),
            placement,
            members: Mutex::new(vec![Arc::clone(&first)]),
            recruit: Mutex::new(Recruit { session: session.another(), start }),
            over: AtomicBool::new(false),
            killing: AtomicBool::new(false),
            keeper: Once::new(),
            watching: Mutex::new(false),
            watch: Condvar::new(),
        });
        (team, first)
    }

    fn members(&self) -> MutexGuard<'_, Vec<Arc<Member>>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every member's counters.
    pub fn stats(&self) -> Vec<Arc<Stats>> {
        self.members().iter().map(|m| Arc::clone(&m.stats)).collect()
    }

    /// Sends mail to the member at `index`; false if there is none.
    pub fn send(self: &Arc<Self>, index: usize, mail: Mail) -> bool {
        let Some(member) = self.members().get(index).cloned() else { return false };
        member.inbox().push_back(mail);
        member.arrived.notify_one();
        member.nudge();
        // The nudge may come just before the member begins to wait: the keeper repeats it.
        self.watch();
        true
    }

    /// Tells every member but `me`.
    pub fn tell_others(self: &Arc<Self>, me: &Member, mail: impl Fn() -> Mail) {
        let count = self.members().len();
        for index in (0..count).filter(|&i| i != me.index) {
            self.send(index, mail());
        }
    }

    /// A task has ended; with the last one the session is over.
    pub fn ended(&self) {
        if self.directory.is_empty() {
            self.over.store(true, Ordering::Release);
            for member in self.members().iter() {
                let held = member.inbox();
                member.arrived.notify_one();
                drop(held);
            }
        }
    }

    /// Kills all tasks, and those that are being made.
    pub fn kill(&self) {
        self.killing.store(true, Ordering::Release);
        self.directory.ids().into_iter().for_each(ptrace::kill);
    }

    /// Whether every task is to be killed.
    pub fn killing(&self) -> bool {
        self.killing.load(Ordering::Acquire)
    }

    /// A member that traces nobody waits for mail; false when the session is over.
    pub fn idle(&self, me: &Member) -> bool {
        let mut inbox = me.inbox();
        while inbox.is_empty() && !self.over.load(Ordering::Acquire) {
            inbox = me.arrived.wait(inbox).unwrap_or_else(PoisonError::into_inner);
        }
        !inbox.is_empty()
    }

    /// There is something to watch: wakes the keeper.
    pub fn watch(self: &Arc<Self>) {
        self.keeper.call_once(|| {
            let team = Arc::clone(self);
            // Without a keeper tasks stay pinned while they sleep, and moves are slower: bad, but no failure.
            if let Err(e) = thread::spawn(STACK, move || team.keep()) {
                crate::note!(1, "no thread for the keeper: {e}");
            }
        });
        let mut watching = self.watching.lock().unwrap_or_else(PoisonError::into_inner);
        if !*watching {
            *watching = true;
            self.watch.notify_one();
        }
    }

    fn keep(self: Arc<Self>) {
        let mut quiet = 0;
        let mut clocks = Clocks::default();
        loop {
            let mut watching = self.watching.lock().unwrap_or_else(PoisonError::into_inner);
            while !*watching {
                watching = self.watch.wait(watching).unwrap_or_else(PoisonError::into_inner);
            }
            drop(watching);
            std::thread::sleep(self.placement.tick());
            quiet = if self.look(&mut clocks) { 0 } else { quiet + 1 };
            if quiet >= LINGER {
                quiet = 0;
                *self.watching.lock().unwrap_or_else(PoisonError::into_inner) = false;
                // Somebody may have asked in between; a second look makes sure.
                if self.look(&mut clocks) {
                    *self.watching.lock().unwrap_or_else(PoisonError::into_inner) = true;
                }
            }
        }
    }

    /// One look at everybody; false when there was nothing to see.
    fn look(self: &Arc<Self>, clocks: &mut Clocks) -> bool {
        let members = self.members().clone();
        let threads: Vec<i32> = members.iter().map(|m| m.thread.load(Ordering::Relaxed)).collect();
        let mut active = false;
        for member in &members {
            let attaching = member.attaching.load(Ordering::Relaxed);
            if attaching || member.focused.load(Ordering::Relaxed) || !member.inbox().is_empty() {
                member.nudge();
                active = true;
            }
        }
        let look = self.placement.look(&threads, clocks.loaded(&threads));
        if look.wants.is_some_and(|index| index >= members.len()) {
            self.grow();
        }
        active || look.pinned > 0
    }

    /// One more member. Where no thread can be had, those there are go on.
    fn grow(self: &Arc<Self>) {
        let mut members = self.members();
        if members.len() >= MOST {
            return;
        }
        let recruit = self.recruit.lock().unwrap_or_else(PoisonError::into_inner);
        let session = recruit.session.another();
        let new = Arc::new(member(members.len(), Arc::clone(&session.stats)));
        let (team, me, start) = (Arc::clone(self), Arc::clone(&new), recruit.start);
        match thread::spawn(STACK, move || start(team, me, session)) {
            Ok(()) => members.push(new),
            Err(e) => crate::note!(1, "no more threads for tracing: {e}"),
        }
    }
}

/// CPU time of the members, as the keeper has seen it last.
#[derive(Default)]
struct Clocks {
    seen: Option<Instant>,
    spent: [Duration; MOST],
}

/// The part of the time for which a member had a CPU that makes it loaded: tracees that do nothing but calls have the rest.
const LOADED: u32 = 4;

impl Clocks {
    /// Which members were loaded since the last look.
    fn loaded(&mut self, threads: &[i32]) -> [bool; MOST] {
        let now = Instant::now();
        let since = self.seen.replace(now).map(|seen| now - seen);
        let mut loaded = [false; MOST];
        for ((&thread, spent), loaded) in threads.iter().zip(&mut self.spent).zip(&mut loaded) {
            let Some(by_now) = thread::cpu_time(thread) else { continue };
            let used = by_now.saturating_sub(std::mem::replace(spent, by_now));
            *loaded = since.is_some_and(|since| used * LOADED >= since);
        }
        loaded
    }
}

fn member(index: usize, stats: Arc<Stats>) -> Member {
    Member {
        index,
        thread: AtomicI32::new(0),
        inbox: Mutex::default(),
        arrived: Condvar::new(),
        focused: AtomicBool::new(false),
        attaching: AtomicBool::new(false),
        stats,
    }
}

/// Nudges interrupt waits and do nothing else, but for who attaches.
fn quiet_nudges() {
    extern "C" fn nudged(_: i32) {
        ptrace::hear();
    }
    // SAFETY: the handler does what a handler may. No SA_RESTART: waits must return.
    unsafe {
        let mut new: libc::sigaction = std::mem::zeroed();
        new.sa_sigaction = nudged as extern "C" fn(i32) as usize;
        libc::sigaction(NUDGE, &raw const new, std::ptr::null_mut());
    }
}
