//! Messages for the user: one write(2) a line, so that lines of several processes do not mix.

use std::io::Write;
use std::sync::atomic::{AtomicU8, Ordering};

static LEVEL: AtomicU8 = AtomicU8::new(0);

/// Sets how much is said: 0 errors and warnings, 1 what prun decides, 2 every call it translates.
pub fn set_level(level: u8) {
    LEVEL.store(level, Ordering::Relaxed);
}

/// Whether messages of this level are wanted: ask before formatting one.
pub fn wants(level: u8) -> bool {
    LEVEL.load(Ordering::Relaxed) >= level
}

/// Writes one message to standard error.
pub fn say(message: std::fmt::Arguments<'_>) {
    let line = format!("prun: {message}\n");
    // Nobody is left to tell when standard error is closed.
    drop(std::io::stderr().write_all(line.as_bytes()));
}

/// Says `message` at or above a level; the arguments are formatted only then.
#[macro_export]
macro_rules! note {
    ($level:expr, $($arg:tt)*) => {
        if $crate::report::wants($level) {
            $crate::report::say(format_args!($($arg)*));
        }
    };
}
