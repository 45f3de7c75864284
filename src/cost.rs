//! System calls that the tracer makes itself, for `--stats`: the price of a stop besides its two context switches.
//!
//! Counted where they are made, so that a change that adds one shows in the cost test (`tests/cost.rs`). A descriptor's
//! close(2) is counted with what opened it. Not counted: what happens once a session, messages, and locks, which enter
//! the kernel only when threads meet.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// What a call is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// wait4(2).
    Wait,
    /// ptrace(2).
    Ptrace,
    /// Reading and writing memory of a tracee.
    Memory,
    /// Looking at files.
    Files,
    /// On which CPU tasks run.
    Cpu,
}

const KINDS: usize = 5;

/// One thread's counters, on cache lines that no other thread writes.
#[repr(align(128))]
struct Line([AtomicU64; KINDS]);

/// More threads than these share lines, which is slower and as right.
const LINES: usize = 16;

static ALL: [Line; LINES] = [const { Line([const { AtomicU64::new(0) }; KINDS]) }; LINES];
static THREADS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static MINE: Cell<Option<usize>> = const { Cell::new(None) };
}

/// Notes `calls` system calls of a kind.
pub fn count(kind: Kind, calls: u64) {
    let line = MINE.get().unwrap_or_else(|| {
        let line = THREADS.fetch_add(1, Ordering::Relaxed) % LINES;
        MINE.set(Some(line));
        line
    });
    ALL[line].0[kind as usize].fetch_add(calls, Ordering::Relaxed);
}

/// All threads' calls of a kind so far.
pub fn total(kind: Kind) -> u64 {
    ALL.iter().map(|line| line.0[kind as usize].load(Ordering::Relaxed)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_add_up() {
        let before = total(Kind::Cpu);
        std::thread::scope(|scope| {
            for _ in 0..2 * LINES {
                scope.spawn(|| (0..100).for_each(|_| count(Kind::Cpu, 2)));
            }
        });
        // Other tests may pin something at the same time, but not this often.
        let counted = total(Kind::Cpu) - before;
        assert!((6400..6464).contains(&counted), "{counted}");
    }
}
