//! The guest of the tests: one static program with many small commands, each of which does with raw system calls what
//! some program somewhere does, and prints what it saw. It is never installed.
//!
//! The tests run it natively, in a mount namespace (bubblewrap) and under prun, and compare.

// Raw system calls with wrong pointers, forks that share memory, and signal handlers are the subject here, so unsafe
// code is the rule rather than something to argue block by block.
#![allow(unsafe_code, unsafe_op_in_unsafe_fn, clippy::undocumented_unsafe_blocks)]
#![allow(missing_docs, unreachable_pub)]

mod gaps;
mod listing;
mod paths;
mod process;
mod raw;
mod show;
mod torture;

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut words = std::env::args_os().map(OsString::into_vec);
    let name = words.next().unwrap_or_default();
    let command = words.next().unwrap_or_default();
    let rest: Vec<Vec<u8>> = words.collect();
    let status = match &command[..] {
        b"paths" => paths::run(&name, &rest),
        b"listing" => listing::run(&rest),
        b"torture" => torture::run(&rest),
        other => process::run(other, &rest).or_else(|| gaps::run(other, &rest)),
    };
    match status {
        Some(status) => ExitCode::from(status),
        None => {
            eprintln!("guest: no command {:?}", String::from_utf8_lossy(&command));
            ExitCode::from(99)
        }
    }
}
