//! What `--trace` and `--strict` write: a line for each translated call, and each kind of call, once, that is not
//! translated exactly.
//!
//! A line of the trace follows strace's conventions, with the host path behind the guest's:
//!
//! ```text
//! 4242 openat(AT_FDCWD, "/nix/store/x"</home/me/nix/store/x>, 0x80000) = 3
//! 4242 readlink("/proc/self/exe") = -1 EINVAL (Invalid argument)
//! ```
//!
//! Numbers are small ones in decimal and others in hexadecimal; a call whose task ends in it has the result `?`.

use crate::error::Failure;
use crate::path::PATH_MAX;
use crate::sys;
use crate::syscall::table::{Arg, Row, Work};
use crate::tracee::memory::{self, Text};
use prun_arch::abi::Abi;
use std::fmt::Write as _;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use syscalls::Errno;

/// Where the trace goes.
#[derive(Debug)]
pub struct Trace {
    /// Standard error without one.
    file: Option<File>,
    /// That lines are lost has been said.
    lossy: AtomicBool,
}

impl Trace {
    /// To a file, made if new and written over; to standard error without one.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn to(file: Option<&Path>) -> Result<Self, Failure> {
        let to = |file| Self { file, lossy: AtomicBool::new(false) };
        let Some(path) = file else { return Ok(to(None)) };
        let open = File::options().create(true).write(true).truncate(true).open(path);
        open.map(|file| to(Some(file))).map_err(|e| {
            Failure::new("write the trace to", &path.display().to_string(), e)
                .hint("--trace=FILE needs a file that can be made or written")
        })
    }

    /// Writes a line: what [`begin`] has made, and the result.
    pub fn end(&self, mut line: String, result: Option<i64>) {
        match result {
            None => line.push_str(" = ?"),
            Some(e @ -4095..=-1) => {
                let e = Errno::new(-e as i32);
                // The five that never reach the guest: the call is made again, or ends with EINTR.
                let (name, text) = e.name_and_description().unwrap_or(("ERESTARTSYS", "to be restarted"));
                // Writing to a String cannot fail.
                let _ = write!(line, " = -1 {name} ({text})");
            }
            Some(value) => {
                let _ = write!(line, " = {value}");
            }
        }
        line.push('\n');
        // One write(2): lines of several threads do not mix. A full disk loses lines, not the session.
        let written = match &self.file {
            Some(file) => (&mut &*file).write_all(line.as_bytes()),
            None => std::io::stderr().write_all(line.as_bytes()),
        };
        if let Err(e) = written
            && !self.lossy.swap(true, Ordering::Relaxed)
        {
            crate::warning!("the trace loses lines: {e}; make room, or give --trace another file");
        }
    }
}

/// Adds a number as the trace writes it.
fn number(line: &mut String, value: u64) {
    let _ = match value as i64 {
        -4095..=9 => write!(line, "{}", value as i64),
        _ => write!(line, "{value:#x}"),
    };
}

fn quoted(line: &mut String, tid: i32, at: u64) {
    let mut text = [0; PATH_MAX];
    match memory::read_path(tid, at, &mut text) {
        Text::Of(len) => {
            line.push('"');
            line.extend(text[..len].escape_ascii().map(char::from));
            line.push('"');
        }
        Text::TooLong => line.push_str("\"...\""),
        Text::Fault => number(line, at),
    }
}

/// The line of a call up to its closing parenthesis. `args` are the guest's, `given` what the kernel gets instead.
pub fn begin(tid: i32, row: &Row, args: &[u64; 6], given: &[u64; 6]) -> String {
    let last = |n: u8| usize::from(n) + 1;
    let of_flags = |arg: &Arg| match arg {
        Arg::Unless(n, _) | Arg::If(n, _) => last(*n),
        _ => 0,
    };
    let of_work = match row.work {
        Work::Open(n) => last(n),
        Work::AddrIn(n) | Work::AddrOut(n) => last(n),
        Work::Getdents(_) => 1,
        Work::Paths(_) | Work::Rename | Work::HardLink => 0,
        _ => 1,
    };
    let count = row.args.iter().map(of_flags).max().unwrap_or(0).max(row.args.len()).max(of_work);
    let name = if row.work == Work::Socketcall { "socketcall" } else { row.call.name() };
    let mut line = format!("{tid} {name}(");
    for i in 0..count.min(6) {
        if i > 0 {
            line.push_str(", ");
        }
        match row.args.get(i) {
            Some(Arg::At) if args[i] as i32 == libc::AT_FDCWD => line.push_str("AT_FDCWD"),
            Some(Arg::At) => number(&mut line, u64::from(args[i] as u32)),
            Some(Arg::Path | Arg::Link | Arg::Entry | Arg::Unless(..) | Arg::If(..)) => {
                quoted(&mut line, tid, args[i]);
                let mut text = [0; PATH_MAX];
                if args[i] != given[i]
                    && let Text::Of(len) = memory::read_path(tid, given[i], &mut text)
                {
                    line.push('<');
                    line.extend(text[..len].escape_ascii().map(char::from));
                    line.push('>');
                }
            }
            Some(Arg::Pass) | None => number(&mut line, args[i]),
        }
    }
    line.push(')');
    line
}

/// Kinds of calls that are not translated exactly, each named once.
#[derive(Debug, Default)]
pub struct Strict(Mutex<Vec<u32>>);

/// Stands for every call of another ABI.
const FOREIGN: u32 = u32::MAX;

impl Strict {
    /// A call that answers `errno` because prun does not translate it.
    pub fn refused(&self, abi: Abi, call: u32, errno: Errno) {
        if self.is_new(call) {
            let name = abi.call(call).map_or("a call newer than Linux 6.18", |c| c.name());
            crate::report::say(format_args!("strict: {name} ({call}) is not translated: {}", sys::io(errno)));
        }
    }

    /// A call of another ABI.
    pub fn foreign(&self) {
        if self.is_new(FOREIGN) {
            crate::report::say(format_args!(
                "strict: calls of another ABI are not translated: {}",
                sys::io(Errno::ENOSYS)
            ));
        }
    }

    fn is_new(&self, call: u32) -> bool {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let new = !known.contains(&call);
        if new {
            known.push(call);
        }
        new
    }
}
