//! Waiting for news, and whose turn it is: no tracee waits for ever while others are busy.
//!
//! wait4(2) for any tracee looks for news in the order of the kernel's list, the newest tracee first (`do_wait_thread()` of
//! `kernel/exit.c`; `__ptrace_link()` adds at the head). While a few new ones stop as fast as they are served, the older ones
//! are never come to: of 32 busy threads two had all calls answered, and an execve(2) among them did not begin for a minute.
//! So now and then one tracee is asked for by name, everybody in turn. While those asked for have news, that goes on, as
//! many are waiting then; the more of them have none, the fewer are, and the kernel's order will do for a while. One that has
//! none says little: of four busy threads whose process waits for them, the newest made all its calls before the others.

use super::Tracer;
use super::ptrace::{self, Waited, Whom};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Events of one tracee in a row after which only that one is waited for, where there are many.
const FOCUS: u32 = 32;
/// Tracees from which on that is worth it: wait4(2) for any looks at each of them, 10 ns a piece.
const MANY: usize = 64;

/// Looks for the event that belongs to an unborn task: the later half with a pause in between.
const PATIENCE: u32 = 40;
/// That pause.
const PAUSE: Duration = Duration::from_micros(100);
/// Events between two questions while nobody is found waiting: a question costs 0.3 µs, a stop ten times as much.
const REST: u32 = 32;

/// One tracer thread's order of service.
#[derive(Debug)]
pub(super) struct Turns {
    /// Who has not been asked for in this round.
    round: Vec<i32>,
    /// Events until the next question.
    pause: u32,
    /// And after the next question in vain: twice as many after each, half as many after one that was not.
    rest: u32,
}

impl Default for Turns {
    fn default() -> Self {
        Self { round: Vec::new(), pause: 0, rest: REST }
    }
}

impl Turns {
    /// The tracee to ask for now; `None` when any will do. At a round's end `all` tells who is in the next, and any will do
    /// once: somebody may be there who is in no round yet.
    fn next(&mut self, all: impl Iterator<Item = i32>) -> Option<i32> {
        if self.pause > 0 {
            self.pause -= 1;
            return None;
        }
        let next = self.round.pop();
        if next.is_none() {
            self.round.extend(all);
        }
        next
    }

    /// The one asked for had no news.
    fn in_vain(&mut self) {
        self.pause = self.rest;
        self.rest = (self.rest * 2).clamp(1, REST);
    }

    /// The one asked for had some.
    fn not_in_vain(&mut self) {
        self.rest /= 2;
    }
}

impl Tracer {
    /// The next event. With many tracees, and one of them active, it waits for that one only: then the keeper
    /// interrupts it once a millisecond to look at the others.
    pub(super) fn wait(&mut self) -> Waited {
        if let Some(heard) = self.meanwhile.pop_front() {
            return ptrace::heard(heard);
        }
        let focused = self.last.1 >= FOCUS && self.tasks.len() >= MANY;
        if focused != self.me.focused.load(Ordering::Relaxed) {
            self.me.focused.store(focused, Ordering::Relaxed);
            if focused {
                self.team.watch();
            }
        }
        let unborn = !self.unborn.is_empty();
        // The creator, too, may be one who is never come to.
        if (unborn || !focused)
            && self.tasks.len() > 1
            && let Some(tid) = self.turns.next(self.tasks.keys().copied())
        {
            match ptrace::wait(Whom::OneNow(tid)) {
                Waited::Nobody | Waited::Interrupted => self.turns.in_vain(),
                waited @ Waited::Event(..) => {
                    self.turns.not_in_vain();
                    return waited;
                }
            }
        }
        if unborn {
            // The creator's event is due in a moment, unless the creator has been killed.
            for attempt in 0..PATIENCE {
                match ptrace::wait(Whom::AnyNow) {
                    Waited::Nobody if attempt < PATIENCE / 2 => std::thread::yield_now(),
                    Waited::Nobody => std::thread::sleep(PAUSE),
                    waited => return waited,
                }
            }
            self.take_in_orphans();
        }
        if !focused {
            return ptrace::wait(Whom::Any);
        }
        match ptrace::wait(Whom::One(self.last.0)) {
            Waited::Interrupted => match ptrace::wait(Whom::AnyNow) {
                Waited::Nobody => Waited::Interrupted,
                waited => waited,
            },
            // It has ended, seen by way of another event.
            Waited::Nobody => {
                self.last = (0, 0);
                Waited::Interrupted
            }
            waited => waited,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Who is served, of `tracees` who always have news, when the kernel prefers the first.
    #[test]
    fn all_who_wait_are_served_alike() {
        let (mut turns, mut served) = (Turns::default(), [0; 40]);
        for _ in 0..4100 {
            let tid = turns.next(0..40).unwrap_or(0);
            served[tid as usize] += 1;
        }
        assert_eq!(served[1..], [100; 39]);
    }

    /// Where some have never news, as threads that wait for the others, those who have are served alike all the same, but
    /// for the first.
    #[test]
    fn who_sleeps_keeps_nobody_waiting() {
        let (mut turns, mut served) = (Turns::default(), [0; 40]);
        for _ in 0..8000 {
            let news = match turns.next(0..40) {
                Some(asked) if asked % 5 == 4 => {
                    turns.in_vain();
                    0
                }
                Some(asked) => {
                    turns.not_in_vain();
                    asked
                }
                None => 0,
            };
            served[news as usize] += 1;
        }
        let busy = served.iter().enumerate().filter(|(i, _)| i % 5 != 4).map(|(_, times)| *times);
        let (least, most) = (busy.clone().min(), busy.skip(1).max());
        assert!(most > Some(150) && least > Some(150) && served[0] < 2000, "{served:?}");
    }

    #[test]
    fn questions_are_rare_while_nobody_waits() {
        let mut turns = Turns::default();
        let mut questions = 0;
        for _ in 0..33 * 1000 {
            if turns.next(0..1000).is_some() {
                questions += 1;
                turns.in_vain();
            }
        }
        assert!((990..=1000).contains(&questions), "{questions}");
    }
}
