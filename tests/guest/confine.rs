//! Ways out of the guest's root: one probe per technique. Each tries to read, change, run, reach or learn something that
//! the root does not show, and says what came of it in one line: `confined`, `escapes` with what it got, or `skip`
//! with what the kernel or the runtime does not have.
//!
//! What lies outside is made by `tests/confine.rs`: a folder that belongs to the same user, so that nothing but the
//! root's confines stands between it and the probe.

mod abi;
mod calls;
mod code;
mod descriptors;
mod exec;
mod filters;
mod proc;
mod process;
mod races;
mod ring;
mod sockets;
mod walk;

use crate::raw::{c, name, old};
use crate::sc;
use libc::*;
use prun_arch::abi::{NO_NUMBER, number};
use std::ffi::{CStr, CString};

/// What came of a probe.
#[derive(Debug)]
pub enum Verdict {
    Confined,
    Escapes(String),
    Skip(String),
}

use Verdict::{Confined, Escapes, Skip};

/// Where things are on the host.
pub struct World {
    /// The folder outside of the root.
    pub out: String,
    /// The guest's root.
    pub root: String,
    /// What the guest sees at /data.
    pub data: String,
}

impl World {
    /// A name in the folder outside.
    pub fn outside(&self, name: &str) -> CString {
        c(format!("{}/{name}", self.out).as_bytes())
    }

    /// The same name in a folder that is nowhere.
    pub fn nowhere(&self, name: &str) -> CString {
        c(format!("{}-not/{name}", self.out).as_bytes())
    }

    /// Whether a text names a host path that the guest cannot know.
    pub fn is_told_by(&self, text: &[u8]) -> bool {
        [&self.root, &self.data, &self.out].iter().any(|s| memchr_str(text, s.as_bytes()))
    }

    /// The verdict on a text that the kernel has given: whether it names a host path.
    pub fn text(&self, text: &[u8]) -> Verdict {
        match String::from_utf8_lossy(text).split('\n').find(|l| self.is_told_by(l.as_bytes())) {
            Some(line) => Escapes(format!("tells {}", shown(line.as_bytes()))),
            None => Confined,
        }
    }
}

pub fn memchr_str(text: &[u8], what: &[u8]) -> bool {
    text.windows(what.len()).any(|w| w == what)
}

fn shown(text: &[u8]) -> String {
    let text: Vec<u8> = text.iter().map(|b| if b.is_ascii_graphic() { *b } else { b' ' }).take(200).collect();
    String::from_utf8_lossy(&text).trim().to_owned()
}

/// No descriptor, no CPU, everybody.
pub const NONE: i64 = -1;

/// What the marker outside holds.
pub const MARKER: &[u8] = b"MARKER";

/// Whether a descriptor reads the marker; it is closed.
pub fn reads_marker(fd: i64) -> bool {
    let mut text = [0u8; 16];
    let n = if fd < 0 { fd } else { sc!(SYS_read, fd, text.as_mut_ptr(), text.len()) };
    if fd >= 0 {
        sc!(SYS_close, fd);
    }
    n > 0 && text.starts_with(MARKER)
}

/// The verdict on a descriptor that was opened by some way to the marker.
pub fn opened(fd: i64) -> Verdict {
    if reads_marker(fd) { Escapes("reads the marker".into()) } else { Confined }
}

/// The verdict on opening the marker by this path.
pub fn reaches(path: &CStr) -> Verdict {
    opened(sc!(SYS_openat, AT_FDCWD, path.as_ptr(), O_RDONLY))
}

/// The first verdict that is not `Confined`.
pub fn first(all: impl IntoIterator<Item = Verdict>) -> Verdict {
    let mut skipped = None;
    for verdict in all {
        match verdict {
            Confined => {}
            Escapes(_) => return verdict,
            Skip(_) => skipped = Some(verdict),
        }
    }
    skipped.unwrap_or(Confined)
}

/// A call with a path outside against the same call with a path that is nowhere: where the answers differ, what is
/// outside was reached, or at least told to be there.
pub fn differs(world: &World, file: &str, call: impl Fn(&CStr) -> i64) -> Verdict {
    let (there, not) = (call(&world.outside(file)), call(&world.nowhere(file)));
    // Descriptors and the like: only whether it worked counts.
    if there.min(0) == not.min(0) {
        Confined
    } else {
        Escapes(format!("answers {}, where nothing is {}", name(there), name(not)))
    }
}

/// The whole text of a file; the errno where it cannot be had.
pub fn text_of(path: &CStr) -> Result<Vec<u8>, i64> {
    let fd = sc!(SYS_openat, AT_FDCWD, path.as_ptr(), O_RDONLY | O_CLOEXEC);
    if fd < 0 {
        return Err(fd);
    }
    let mut all = vec![];
    let mut buffer = vec![0u8; 1 << 16];
    loop {
        let n = sc!(SYS_read, fd, buffer.as_mut_ptr(), buffer.len());
        if n <= 0 {
            sc!(SYS_close, fd);
            return if n < 0 { Err(n) } else { Ok(all) };
        }
        all.extend_from_slice(&buffer[..n as usize]);
    }
}

/// The text of a link.
pub fn link_text(path: &CStr) -> Result<Vec<u8>, i64> {
    let mut buffer = vec![0u8; 4096];
    let n = sc!(old::readlink, path.as_ptr(), buffer.as_mut_ptr(), buffer.len());
    if n < 0 { Err(n) } else { Ok(buffer[..n as usize].to_vec()) }
}

/// Runs `child` in a new process; its exit status, or 128 + N for signal N.
pub fn in_child(child: impl FnOnce() -> i32) -> i32 {
    let pid = sc!(old::fork);
    if pid == 0 {
        sc!(old::alarm, 10);
        let status = child();
        sc!(SYS_exit_group, status);
    }
    ended(pid)
}

/// The end of a child.
pub fn ended(pid: i64) -> i32 {
    let mut status = 0;
    while sc!(SYS_wait4, pid, &raw mut status, __WALL, 0) == -i64::from(EINTR) {}
    if WIFEXITED(status) { WEXITSTATUS(status) } else { 128 + WTERMSIG(status) }
}

/// One way out.
pub struct Probe {
    pub name: &'static str,
    pub run: fn(&World) -> Verdict,
}

/// A probe with what it is about.
type Try = Box<dyn Fn(&World) -> Verdict>;

fn all() -> Vec<(String, Try)> {
    let mut all: Vec<(String, Try)> = vec![];
    // A CPU that does not have a call has the newer one that is in the list.
    let here = calls::CALLS.iter().filter(|row| number(row.2) != NO_NUMBER);
    for (name, file, _, call) in here {
        all.push((format!("call {name}"), Box::new(move |w| differs(w, file, call))));
    }
    let groups: [(&str, &'static [Probe]); 12] = [
        ("walk", walk::PROBES),
        ("descriptor", descriptors::PROBES),
        ("proc", proc::PROBES),
        ("abi", abi::PROBES),
        ("abi", abi::NARROW),
        ("socket", sockets::PROBES),
        ("exec", exec::PROBES),
        ("filter", filters::PROBES),
        ("process", process::PROBES),
        ("tracer", process::TRACER),
        ("race", races::PROBES),
        ("code", code::PROBES),
    ];
    for (group, probes) in groups {
        for probe in probes {
            all.push((format!("{group} {}", probe.name), Box::new(probe.run)));
        }
    }
    for op in ring::OPS {
        all.push((format!("io_uring {}", op.name), Box::new(move |w| ring::run(w, op))));
    }
    all
}

/// `confine list`, or `confine NAME OUT ROOT DATA`.
pub fn run(rest: &[&str]) -> i32 {
    let all = all();
    if rest[0] == "list" {
        for (name, _) in all {
            println!("{name}");
        }
        return 0;
    }
    let Some((_, probe)) = all.iter().find(|(name, _)| name == rest[0]) else { return 2 };
    let world = World { out: rest[1].to_owned(), root: rest[2].to_owned(), data: rest[3].to_owned() };
    // A probe that hangs ends by itself.
    sc!(old::alarm, 10);
    match probe(&world) {
        Confined => println!("confined"),
        Escapes(what) => println!("escapes {what}"),
        Skip(why) => println!("skip {why}"),
    }
    0
}

pub use descriptors::help;
pub use proc::{cat, wait};
