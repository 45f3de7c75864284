//! On which CPU tracees run: a stop is two context switches, and costs four to eight times as much when it wakes the
//! tracer on another CPU.
//!
//! The scheduler, asked to wake a task whose CPU is busy with the one that wakes it, prefers an idle CPU
//! (`select_idle_sibling()`), so tracer and tracee chase each other over the machine. A tracee that makes many path
//! calls in a row ("hot") is therefore *pinned*: its affinity is narrowed to the CPU of its tracer thread, which is
//! narrowed to the same one; so is a program that has just been started, which begins with such a burst. The keeper
//! thread ([`super::team`]) looks at every pinned task once a millisecond, more slowly on a slow computer, and gives those their affinity back that
//! have not called since: a task that computes or sleeps is free again. Where several are busy and all have been silent, their
//! CPU has been another program's, and they are given a few milliseconds more.
//!
//! The guest never sees it: sched_getaffinity(2) and sched_setaffinity(2) stop, and first the task they are about
//! gets its own affinity back; opening `/proc/PID/status`, which names it too, frees everybody and keeps everybody
//! free for a while.
#![allow(unsafe_code)]

use crate::cost::{self, Kind};
use std::sync::atomic::{AtomicI32, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A set of CPUs.
pub type CpuSet = libc::cpu_set_t;

/// What is told by the time between calls, or by calls in a time, is told by it on every computer: times are as many times as
/// long as those given here as a stop takes longer than usual. A build without optimisation takes five times as long; for
/// the rest see [`Pace`].
const SLOWNESS: u32 = if cfg!(debug_assertions) { 5 } else { 1 };
/// As slow as is believed of any: an emulated one with several CPUs, on a loaded machine.
const SLOWEST: u32 = 100;
/// What a stop takes the tracer on a usual computer, at most.
const USUAL: Duration = Duration::from_micros(8);
/// The keeper's rhythm, and as slow as it becomes.
const TICK: Duration = Duration::from_millis(1);
const SLOWEST_TICK: u32 = 20;
/// Calls in a row, see [`in_a_row`], that make a task hot.
pub const HOT: u32 = 16;
/// The time within which the next call comes, and what each event of the tracer in between may add: who waits for its turn
/// is not slow for that.
const GAP: Duration = Duration::from_micros(200);
const TURN: Duration = Duration::from_micros(10);
/// How long nobody is pinned after somebody may have looked.
const QUIET: Duration = Duration::from_millis(100);
/// Calls between two looks that show a task is busy, and looks after which two of them are too many for one CPU.
const BUSY_CALLS: u32 = 20;
const BUSY_LOOKS: u32 = 3;
/// Looks for which busy tasks of one CPU may all be silent at once: then something else has their CPU, and they go on after.
const SILENT_LOOKS: u32 = 8;

/// Whether a call that comes `gap` after the one before, while its tracer thread handled `events`, follows upon it on a
/// computer that is `slow` times as slow as usual.
fn in_a_row(gap: Duration, events: u64, slow: u32) -> bool {
    gap < (GAP + TURN * u32::try_from(events).unwrap_or(u32::MAX).min(1000)) * slow
}

/// How long a tracer thread takes for a stop, measured now and then. Where that is long, calls that are made one after the other
/// come late, and all the later if tracee and tracer are on two CPUs: nobody would ever be pinned where it is needed most.
#[derive(Debug, Default)]
pub struct Pace {
    /// Stops until the next one is measured.
    pause: u32,
    /// How many of a sample have been, and the shortest: the others have been interrupted, or found much to do.
    count: u32,
    shortest: Duration,
}

/// Stops from one that is measured to the next, and how many of these make a sample.
const MEASURED: u32 = 32;
const SAMPLE: u32 = 4;

impl Pace {
    /// The time now, if the stop that begins is to be measured.
    pub fn begin(&mut self) -> Option<Instant> {
        self.pause = self.pause.checked_sub(1).unwrap_or(MEASURED - 1);
        (self.pause == 0).then(Instant::now)
    }

    /// It took so long; how slow this computer is, once enough have been measured.
    pub fn took(&mut self, time: Duration) -> Option<u32> {
        self.shortest = if self.count == 0 { time } else { self.shortest.min(time) };
        self.count = (self.count + 1) % SAMPLE;
        let slow = self.shortest.as_nanos() / USUAL.as_nanos();
        (self.count == 0).then(|| u32::try_from(slow).unwrap_or(u32::MAX).clamp(SLOWNESS, SLOWEST))
    }
}

/// Where a pinned task stands.
const PINNED: u8 = 0;
/// It has its own affinity back.
const FREED: u8 = 1;
/// It has its own affinity back, and the guest may have changed it since.
const HANDED_BACK: u8 = 2;

/// A pinned task, as its tracer thread and the keeper share it.
#[derive(Debug)]
pub struct Pin {
    tid: i32,
    member: usize,
    /// The affinity the guest knows of.
    own: CpuSet,
    beats: AtomicU32,
    state: AtomicU8,
    move_to: AtomicI32,
}

impl Pin {
    /// Notes a call; false when the task is not pinned any more.
    pub fn beat(&self) -> bool {
        // Only the tracer thread writes.
        self.beats.store(self.beats.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        self.state.load(Ordering::Relaxed) == PINNED
    }

    /// The member of the team that the keeper wants to trace this task from now on.
    pub fn takes_over(&self) -> Option<usize> {
        usize::try_from(self.move_to.load(Ordering::Relaxed)).ok()
    }

    fn free(&self, state: u8) {
        // It fails only when the task is gone.
        set_affinity(self.tid, &self.own);
        self.state.store(state, Ordering::Relaxed);
    }
}

#[derive(Debug)]
struct Watched {
    pin: Arc<Pin>,
    seen: u32,
    /// Looks at which it was busy, less those since then at which it was not.
    busy: u32,
    /// Looks in a row without a call.
    silent: u32,
}

impl Watched {
    fn new_calls(&self) -> u32 {
        self.pin.beats.load(Ordering::Relaxed).wrapping_sub(self.seen)
    }

    fn is_busy(&self) -> bool {
        self.busy >= BUSY_LOOKS
    }
}

/// What one member's pinned tasks have done since the last look.
#[derive(Clone, Copy, Debug, Default)]
struct Work {
    calls: u32,
    callers: u32,
    /// Tasks that were busy before.
    busy: usize,
    /// Their tracer had a good part of a CPU for them.
    loaded: bool,
}

impl Work {
    /// Calls that make one of them busy. Where many share a tracer, nobody makes as many as a busy one does alone; but all
    /// together do, and who has a good part of them is busy. Where a call takes long, as without a filter, which makes it
    /// two stops and each other call as well, not even all together do: there the tracer's own time tells.
    fn enough(self) -> u32 {
        if self.loaded || self.calls >= 2 * BUSY_CALLS {
            // A first call may come between the two passes of a look.
            BUSY_CALLS.min(self.calls / (2 * self.callers.max(1))).max(1)
        } else {
            BUSY_CALLS
        }
    }
}

/// Who is pinned.
#[derive(Debug)]
pub struct Placement {
    /// CPUs prun was started on, in order.
    cpus: Vec<usize>,
    watched: Mutex<Vec<Watched>>,
    /// Homes of the team's members; -1: none.
    homes: [AtomicI32; super::team::MOST],
    /// Microseconds since `start` before which nobody is pinned.
    quiet: AtomicU64,
    start: Instant,
    /// How many times as slow as usual this computer is.
    slow: AtomicU32,
}

/// What the keeper found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// Tasks that are still pinned.
    pub pinned: usize,
    /// A member that has nothing to do while another has more than one CPU's worth.
    pub wants: Option<usize>,
}

impl Placement {
    /// Finds out which CPUs there are. On one CPU, or where the host refuses, nothing is ever pinned.
    pub fn new() -> Self {
        let cpus = affinity(0).map_or_else(Vec::new, |set| members(&set));
        Self {
            cpus,
            watched: Mutex::default(),
            homes: [const { AtomicI32::new(-1) }; super::team::MOST],
            quiet: AtomicU64::new(0),
            start: Instant::now(),
            slow: AtomicU32::new(SLOWNESS),
        }
    }

    /// Notes how many times as slow as usual this computer is.
    pub fn set_slow(&self, slow: u32) {
        self.slow.store(slow, Ordering::Relaxed);
    }

    /// Whether a call that comes `gap` after the one before, while its tracer thread handled `events`, follows upon it.
    pub fn in_a_row(&self, gap: Duration, events: u64) -> bool {
        in_a_row(gap, events, self.slow.load(Ordering::Relaxed))
    }

    /// How long the keeper sleeps between two looks.
    pub fn tick(&self) -> Duration {
        TICK * self.slow.load(Ordering::Relaxed).min(SLOWEST_TICK)
    }

    /// Whether there is anything to choose.
    pub fn useful(&self) -> bool {
        self.cpus.len() > 1
    }

    fn watched(&self) -> MutexGuard<'_, Vec<Watched>> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn watch(&self, tid: i32, member: usize, own: CpuSet) -> Arc<Pin> {
        let pin = Arc::new(Pin {
            tid,
            member,
            own,
            beats: AtomicU32::new(0),
            state: AtomicU8::new(PINNED),
            move_to: AtomicI32::new(-1),
        });
        self.watched().push(Watched { pin: Arc::clone(&pin), seen: 0, busy: 0, silent: 0 });
        pin
    }

    /// Puts the stopped task `tid` on the CPU of the calling thread, which is the team's member `member`; `None`
    /// where that cannot or should not be.
    pub fn pin(&self, tid: i32, member: usize) -> Option<Arc<Pin>> {
        if (self.start.elapsed().as_micros() as u64) < self.quiet.load(Ordering::Relaxed) {
            return None;
        }
        let own = affinity(tid)?;
        let home = self.home(member)?;
        // A task that chose CPUs without this one keeps them.
        if !members(&own).contains(&home) || !set_affinity(tid, &only(home)) {
            return None;
        }
        Some(self.watch(tid, member, own))
    }

    /// A child has been made with the affinity of its pinned parent: it is pinned too, or gets the parent's own.
    pub fn inherit(&self, child: i32, parent: &Pin) -> Option<Arc<Pin>> {
        match parent.state.load(Ordering::Relaxed) {
            PINNED => Some(self.watch(child, parent.member, parent.own)),
            FREED => {
                // The parent may have been pinned still when it made the child.
                set_affinity(child, &parent.own);
                None
            }
            _ => None,
        }
    }

    /// The CPU of a member, chosen when its first task is pinned: where it runs, unless another member is there.
    fn home(&self, member: usize) -> Option<usize> {
        let slot = &self.homes[member];
        if let Ok(cpu) = usize::try_from(slot.load(Ordering::Relaxed)) {
            return Some(cpu);
        }
        let taken = |cpu: usize| self.homes.iter().any(|h| h.load(Ordering::Relaxed) == cpu as i32);
        // SAFETY: no arguments.
        let here = usize::try_from(unsafe { libc::sched_getcpu() }).ok()?;
        let cpu = if self.cpus.contains(&here) && !taken(here) {
            here
        } else {
            self.cpus.iter().copied().find(|&c| !taken(c))?
        };
        if !set_affinity(0, &only(cpu)) {
            return None;
        }
        slot.store(cpu as i32, Ordering::Relaxed);
        Some(cpu)
    }

    /// The guest is about to read or set the affinity of `tid`: it gets its own back.
    pub fn hand_back(&self, tid: i32) {
        self.watched().retain(|w| {
            if w.pin.tid == tid {
                w.pin.free(HANDED_BACK);
            }
            w.pin.tid != tid
        });
    }

    /// Gives every task its own affinity back, and keeps it so for a while: somebody may look.
    pub fn free_all(&self) {
        let until = (self.start.elapsed() + QUIET).as_micros() as u64;
        self.quiet.store(until, Ordering::Relaxed);
        self.watched().drain(..).for_each(|w| w.pin.free(FREED));
    }

    /// Gives a task its own affinity back because it changes hands.
    pub fn free(&self, pin: &Arc<Pin>) {
        pin.free(FREED);
        self.forget(pin);
    }

    /// Forgets a task that has ended.
    pub fn forget(&self, pin: &Arc<Pin>) {
        self.watched().retain(|w| !Arc::ptr_eq(&w.pin, pin));
    }

    /// The keeper's look, once a tick: frees who has not called, and finds who should change hands. `threads` are the
    /// members' thread ids, `loaded` is which of them had a good part of a CPU since the last look.
    pub fn look(&self, threads: &[i32], loaded: [bool; super::team::MOST]) -> Look {
        let mut watched = self.watched();
        let mut work = loaded.map(|loaded| Work { loaded, ..Work::default() });
        for w in watched.iter() {
            let (calls, of) = (w.new_calls(), &mut work[w.pin.member]);
            of.calls = of.calls.saturating_add(calls);
            of.callers += u32::from(calls > 0);
            of.busy += usize::from(w.is_busy());
        }
        let mut load = [0usize; super::team::MOST];
        let mut held = [false; super::team::MOST];
        watched.retain_mut(|w| {
            let (calls, of) = (w.new_calls(), work[w.pin.member]);
            w.seen = w.seen.wrapping_add(calls);
            if calls > 0 {
                w.silent = 0;
                let busy = calls >= of.enough();
                w.busy = if busy { (w.busy + 1).min(2 * BUSY_LOOKS) } else { w.busy.saturating_sub(1) };
            } else {
                w.silent += 1;
                if of.calls > 0 || of.busy < 2 || w.silent > SILENT_LOOKS {
                    w.pin.free(FREED);
                    return false;
                }
            }
            load[w.pin.member] += usize::from(w.is_busy());
            held[w.pin.member] = true;
            true
        });
        // A member without pinned tasks may run anywhere.
        for (member, &thread) in threads.iter().enumerate() {
            if !held[member] && self.homes[member].swap(-1, Ordering::Relaxed) >= 0 {
                let mut all = only(self.cpus[0]);
                self.cpus.iter().for_each(|&cpu| add(&mut all, cpu));
                set_affinity(thread, &all);
            }
        }
        let limit = self.cpus.len().min(super::team::MOST);
        let idle = (0..limit).find(|&m| load[m] == 0);
        let most = (0..limit).max_by_key(|&m| load[m]).filter(|&m| load[m] > 1 && work[m].calls > 0);
        let wants = most.and(idle);
        if let (Some(from), Some(to)) = (most, wants)
            && let Some(w) = watched.iter_mut().rev().find(|w| w.pin.member == from && w.is_busy())
        {
            w.pin.move_to.store(to as i32, Ordering::Relaxed);
            w.busy = 0;
        }
        Look { pinned: watched.len(), wants }
    }
}

impl Default for Placement {
    fn default() -> Self {
        Self::new()
    }
}

/// Runs `work`, and the children that it makes, on one CPU: they take turns, and a switch to another CPU costs more.
pub fn on_one_cpu(work: impl FnOnce()) {
    // SAFETY: no arguments.
    let here = usize::try_from(unsafe { libc::sched_getcpu() });
    let own = affinity(0);
    let moved = match (here, own) {
        (Ok(cpu), Some(_)) => set_affinity(0, &only(cpu)),
        _ => false,
    };
    work();
    if let (true, Some(own)) = (moved, own) {
        set_affinity(0, &own);
    }
}

fn affinity(tid: i32) -> Option<CpuSet> {
    cost::count(Kind::Cpu, 1);
    // SAFETY: all-zero bytes are an empty set, which is writable.
    unsafe {
        let mut set: CpuSet = std::mem::zeroed();
        (libc::sched_getaffinity(tid, size_of::<CpuSet>(), &raw mut set) == 0).then_some(set)
    }
}

fn set_affinity(tid: i32, set: &CpuSet) -> bool {
    cost::count(Kind::Cpu, 1);
    // SAFETY: the set is as long as said.
    unsafe { libc::sched_setaffinity(tid, size_of::<CpuSet>(), set) == 0 }
}

fn only(cpu: usize) -> CpuSet {
    // SAFETY: all-zero bytes are an empty set.
    let mut set: CpuSet = unsafe { std::mem::zeroed() };
    add(&mut set, cpu);
    set
}

fn add(set: &mut CpuSet, cpu: usize) {
    // SAFETY: the caller's CPU comes from a set of this size, so it is inside.
    unsafe { libc::CPU_SET(cpu, set) }
}

fn members(set: &CpuSet) -> Vec<usize> {
    // SAFETY: every index is inside the set.
    (0..8 * size_of::<CpuSet>()).filter(|&cpu| unsafe { libc::CPU_ISSET(cpu, set) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// No task has this number, so that nothing is pinned in earnest.
    const NOBODY: i32 = i32::MAX;

    fn two_cpus(tasks: usize) -> (Placement, Vec<Arc<Pin>>) {
        let placement = Placement { cpus: vec![0, 1], ..Placement::new() };
        let pins = (0..tasks).map(|_| placement.watch(NOBODY, 0, only(0))).collect();
        (placement, pins)
    }

    fn call(pin: &Pin, times: u32) {
        (0..times).for_each(|_| assert!(pin.beat()));
    }

    const IDLE: [bool; super::super::team::MOST] = [false; super::super::team::MOST];
    const LOADED: [bool; super::super::team::MOST] = [true; super::super::team::MOST];

    /// Looks after each of which every task has made `calls`; the look at which one is to change hands.
    fn until_spread(placement: &Placement, pins: &[Arc<Pin>], calls: u32, looks: usize) -> Option<usize> {
        until_spread_by(placement, pins, calls, looks, IDLE)
    }

    fn until_spread_by(
        placement: &Placement,
        pins: &[Arc<Pin>],
        calls: u32,
        looks: usize,
        loaded: [bool; super::super::team::MOST],
    ) -> Option<usize> {
        (1..=looks).find(|_| {
            pins.iter().for_each(|pin| call(pin, calls));
            placement.look(&[0], loaded).wants.is_some()
        })
    }

    #[test]
    fn calls_that_take_long_are_spread_too() {
        let (placement, pins) = two_cpus(2);
        assert_eq!(until_spread_by(&placement, &pins, 3, 10, LOADED), Some(3));
        let (placement, pins) = two_cpus(1);
        assert_eq!(until_spread_by(&placement, &pins, 3, 100, LOADED), None);
        // Nobody had called when they were counted.
        assert_eq!(Work { loaded: true, ..Work::default() }.enough(), 1);
        // Who has a small part of the tracer's time is not busy.
        let (placement, pins) = two_cpus(2);
        for _ in 0..100 {
            call(&pins[0], 15);
            call(&pins[1], 2);
            assert_eq!(placement.look(&[0], LOADED).wants, None);
        }
    }

    #[test]
    fn times_are_measured_by_the_computer() {
        let (mut pace, placement) = (Pace::default(), Placement::new());
        let measured = (0..4 * MEASURED).filter(|_| pace.begin().is_some()).count();
        assert_eq!(measured, 4);
        let mut sample = |micros: [u64; SAMPLE as usize]| {
            let mut said = micros.map(|micros| pace.took(Duration::from_micros(micros))).into_iter();
            assert!(said.by_ref().take(SAMPLE as usize - 1).all(|none| none.is_none()));
            said.next().flatten().expect("a sample")
        };
        assert_eq!(sample([9, 5000, 15, 12]), SLOWNESS);
        assert_eq!(sample([900, 5000, 250, 300]), 31);
        assert_eq!(sample([9000, 5000, 2500, 3000]), SLOWEST);
        let late = GAP * 31 - TURN;
        assert!(!placement.in_a_row(late, 0));
        placement.set_slow(31);
        assert!(placement.in_a_row(late, 0) && !placement.in_a_row(GAP * 31, 0));
        assert_eq!(placement.tick(), TICK * 20);
    }

    #[test]
    fn busy_tasks_of_one_member_are_spread() {
        let (placement, pins) = two_cpus(2);
        assert_eq!(until_spread(&placement, &pins, 20, 10), Some(3));
        assert_eq!(pins.iter().filter(|pin| pin.takes_over() == Some(1)).count(), 1);
        // Many share what one tracer can do.
        let (placement, pins) = two_cpus(32);
        assert_eq!(until_spread(&placement, &pins, 4, 10), Some(3));
    }

    #[test]
    fn few_calls_are_not_spread() {
        let (placement, pins) = two_cpus(2);
        assert_eq!(until_spread(&placement, &pins, 19, 100), None);
        let (placement, pins) = two_cpus(1);
        assert_eq!(until_spread(&placement, &pins, 1000, 100), None);
        // One busy, one that has a call now and then.
        let (placement, pins) = two_cpus(2);
        for _ in 0..100 {
            call(&pins[0], 200);
            call(&pins[1], 2);
            assert_eq!(placement.look(&[0], IDLE).wants, None);
        }
    }

    #[test]
    fn pauses_that_all_have_in_common_do_not_count() {
        // Not known as busy yet, they are free after the first look in vain.
        let (placement, pins) = two_cpus(2);
        assert_eq!(until_spread(&placement, &pins, 20, 2), None);
        assert_eq!(placement.look(&[0], IDLE), Look { pinned: 0, wants: None });
        let (placement, pins) = two_cpus(3);
        assert_eq!(until_spread(&placement, &pins, 20, 3), Some(3));
        for _ in 0..SILENT_LOOKS {
            assert_eq!(placement.look(&[0], IDLE).pinned, 3);
        }
        assert_eq!(placement.look(&[0], IDLE).pinned, 0);
        // One alone, or one of several that go on, is free at once.
        let (placement, pins) = two_cpus(3);
        assert_eq!(until_spread(&placement, &pins, 20, 3), Some(3));
        call(&pins[0], 5);
        assert_eq!(placement.look(&[0], IDLE).pinned, 1);
    }

    #[test]
    fn who_waits_for_its_turn_still_calls_in_a_row() {
        assert!(in_a_row(GAP - TURN, 0, 1) && !in_a_row(GAP, 0, 1));
        assert!(in_a_row(GAP + TURN * 40, 50, 1) && !in_a_row(GAP + TURN * 60, 50, 1));
        assert!(!in_a_row(Duration::from_secs(1), u64::MAX, 1));
    }
}
