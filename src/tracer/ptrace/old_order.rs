//! The order of stops of Linux before 4.8 (and of distributions' kernels without the change), on a kernel that has the new
//! one: for tests, in debug builds, with `PRUN_OLD_ORDER` set.
//!
//! There a filtered call's seccomp stop comes first, and the stop at the call's beginning follows where the tracer then asks
//! for the call's end. Here that second stop is made up: the tracee stays where it is, and the next wait(2) says that it
//! has come to the beginning. So does the experiment of [`crate::doctor`] find the old order, and the engines have to
//! deal with what follows.

use super::{Resume, Status, Waited, Whom};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::OnceLock;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// It runs, and this is what it was told.
    Running(Resume),
    /// At a seccomp stop that no stop at the beginning came before.
    First,
    /// The beginning is to be reported.
    Owed,
    /// At another stop.
    Elsewhere,
}

thread_local! {
    static TASKS: RefCell<BTreeMap<i32, At>> = const { RefCell::new(BTreeMap::new()) };
}

fn wanted() -> bool {
    static WANTED: OnceLock<bool> = OnceLock::new();
    *WANTED.get_or_init(|| std::env::var_os("PRUN_OLD_ORDER").is_some())
}

/// The tracee is to go on; whether it stays where it is.
pub(super) fn resumed(tid: i32, how: Resume) -> bool {
    wanted()
        && TASKS.with_borrow_mut(|tasks| {
            let stays = how == Resume::ToExit && tasks.get(&tid) == Some(&At::First);
            tasks.insert(tid, if stays { At::Owed } else { At::Running(how) });
            stays
        })
}

/// What is to be reported before the kernel is asked.
pub(super) fn owed(whom: Whom) -> Option<Waited> {
    if !wanted() {
        return None;
    }
    TASKS.with_borrow_mut(|tasks| {
        let asked = |tid| !matches!(whom, Whom::One(one) | Whom::OneNow(one) if one != tid);
        let (tid, at) = tasks.iter_mut().find(|(tid, at)| **at == At::Owed && asked(**tid))?;
        *at = At::Elsewhere;
        Some(Waited::Event(*tid, Status::Call))
    })
}

/// What the kernel has said.
pub(super) fn seen(waited: Waited) -> Waited {
    if let (true, Waited::Event(tid, status)) = (wanted(), waited) {
        TASKS.with_borrow_mut(|tasks| match (status, tasks.get(&tid)) {
            (Status::Ended, _) => drop(tasks.remove(&tid)),
            // Told to go to the end, it has been at the beginning already.
            (Status::Seccomp, Some(At::Running(Resume::ToExit))) => drop(tasks.insert(tid, At::Elsewhere)),
            (Status::Seccomp, _) => drop(tasks.insert(tid, At::First)),
            _ => drop(tasks.insert(tid, At::Elsewhere)),
        });
    }
    waited
}
