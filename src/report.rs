//! Messages for the user: one write(2) a line, so that lines of several processes do not mix.

use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicI8, Ordering};

static LEVEL: AtomicI8 = AtomicI8::new(0);
static AS_PROOT: AtomicBool = AtomicBool::new(false);

/// Sets how much is said: -1 errors only, 0 warnings too, 1 what prun decides, 2 every call it translates.
pub fn set_level(level: i8) {
    LEVEL.store(level, Ordering::Relaxed);
}

/// Messages begin with this dialect's name from now on.
pub fn speak(dialect: crate::cli::Dialect) {
    AS_PROOT.store(dialect == crate::cli::Dialect::Proot, Ordering::Relaxed);
}

/// Whether messages of this level are wanted: ask before formatting one.
pub fn wants(level: u8) -> bool {
    i16::from(LEVEL.load(Ordering::Relaxed)) >= i16::from(level)
}

/// Writes one message to standard error.
pub fn say(message: std::fmt::Arguments<'_>) {
    let name = if AS_PROOT.load(Ordering::Relaxed) { "proot" } else { "prun" };
    let line = format!("{name}: {message}\n");
    // Nobody is left to tell when standard error is closed.
    drop(std::io::stderr().write_all(line.as_bytes()));
}

/// Says that there is no memory, without any.
pub fn out_of_memory() {
    let line: &[u8] = if AS_PROOT.load(Ordering::Relaxed) {
        b"proot: out of memory\n       free some of it, or raise the limit (ulimit -v)\n"
    } else {
        b"prun: out of memory\n      free some of it, or raise the limit (ulimit -v)\n"
    };
    // As above.
    drop(std::io::stderr().write_all(line));
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

/// Says a warning, unless warnings are unwanted.
#[macro_export]
macro_rules! warning {
    ($($arg:tt)*) => {
        $crate::note!(0, "warning: {}", format_args!($($arg)*))
    };
}
