//! What could not be looked at, because the host had no memory, no descriptor or a bad disk just then.
//!
//! Many a look at the host's files has an answer that stands for "nothing there": no link, no name, not read-only. A
//! look that failed for want of something says nothing of the kind, and whoever took it for that answer might let a
//! call pass that leads out of the view. So each such failure is noted, wherever it is swallowed, and the call that
//! was being looked at is refused: as the kernel would, had it run out of memory itself. A call that has changed
//! something already stands.

use std::cell::Cell;
use syscalls::Errno;

#[derive(Clone, Copy)]
enum Sight {
    Clear,
    Without(Errno),
    Changed,
}

thread_local! {
    static SIGHT: Cell<Sight> = const { Cell::new(Sight::Clear) };
}

/// Whether an error says nothing about the file that was asked for.
pub fn is_want(e: Errno) -> bool {
    matches!(e, Errno::ENOMEM | Errno::EMFILE | Errno::ENFILE | Errno::EAGAIN | Errno::EIO | Errno::ENOBUFS)
}

/// Whether an error of the standard library does.
pub fn is_want_of(e: &std::io::Error) -> bool {
    e.raw_os_error().is_some_and(|e| is_want(Errno::new(e)))
}

/// Notes a failure to look.
pub(super) fn note(e: Errno) -> Errno {
    if is_want(e) && matches!(SIGHT.get(), Sight::Clear) {
        SIGHT.set(Sight::Without(e));
    }
    e
}

/// Something has been changed for the guest.
pub(super) fn changed() {
    SIGHT.set(Sight::Changed);
}

/// What this thread could not look at since it was last asked, as an error that any call may have: the tracer's
/// descriptors are no affair of the guest's.
pub fn take() -> Option<Errno> {
    match SIGHT.replace(Sight::Clear) {
        Sight::Without(Errno::EIO) => Some(Errno::EIO),
        Sight::Without(_) => Some(Errno::ENOMEM),
        Sight::Clear | Sight::Changed => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_that_failed_is_remembered_once() {
        assert_eq!(take(), None);
        note(Errno::ENOENT);
        assert_eq!(take(), None);
        note(Errno::EMFILE);
        note(Errno::EIO);
        assert_eq!(take(), Some(Errno::ENOMEM));
        assert_eq!(take(), None);
        note(Errno::EIO);
        assert_eq!(take(), Some(Errno::EIO));
        note(Errno::EIO);
        changed();
        note(Errno::ENOMEM);
        assert_eq!(take(), None, "what has changed something stands");
    }
}
