//! The links of /proc (proc(5)): those that name the reader, which is the tracee and not the tracer, and those that
//! lead somewhere without a text, whose text is a host path.

use crate::path::GuestPath;
use crate::tracee::{Directory, Task};

/// A link of /proc that is not simply followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProcLink {
    /// `/proc/self`.
    Own,
    /// `/proc/thread-self`.
    OwnThread,
    /// `/proc/PID/exe`.
    Exe(i32),
    /// `/proc/PID/cwd`.
    Cwd(i32),
    /// `/proc/PID/root`.
    Root(i32),
    /// `/proc/PID/fd/N`, `map_files/…`, `ns/…`.
    Other,
}

/// Whether a host path is one of these links.
pub fn link_at(host: &[u8]) -> Option<ProcLink> {
    let rest = host.strip_prefix(b"/proc/")?;
    let mut parts = rest.split(|&b| b == b'/');
    let first = parts.next()?;
    let Some(pid) = number(first) else {
        return match (first, parts.next()) {
            (b"self", None) => Some(ProcLink::Own),
            (b"thread-self", None) => Some(ProcLink::OwnThread),
            _ => None,
        };
    };
    let mut pid = pid;
    let mut name = parts.next()?;
    if name == b"task" {
        pid = number(parts.next()?)?;
        name = parts.next()?;
    }
    match (name, parts.next(), parts.next()) {
        (b"exe", None, _) => Some(ProcLink::Exe(pid)),
        (b"cwd", None, _) => Some(ProcLink::Cwd(pid)),
        (b"root", None, _) => Some(ProcLink::Root(pid)),
        (b"fd" | b"map_files" | b"ns", Some(_), None) => Some(ProcLink::Other),
        _ => None,
    }
}

fn number(text: &[u8]) -> Option<i32> {
    std::str::from_utf8(text).ok().filter(|t| t.bytes().all(|b| b.is_ascii_digit()))?.parse().ok()
}

/// Whether the file at a host path, with its NUL, tells on which CPUs a task may run: `/proc/PID/status` and those of
/// threads.
pub fn names_affinity(host: &[u8]) -> bool {
    host.starts_with(b"/proc/") && host.ends_with(b"/status\0")
}

/// What `d_path()` appends to the path of something that has been removed.
pub fn is_deleted(host: &[u8]) -> bool {
    host.ends_with(b" (deleted)")
}

/// Whether `pid` is a task of this session.
pub fn traced(tasks: &Directory, me: &Task, pid: i32) -> bool {
    pid == me.tid || pid == me.tgid || tasks.memory(pid).is_some()
}

/// Guest path of the program that `pid` runs, where prun started it.
pub fn exe_of(tasks: &Directory, me: &Task, pid: i32) -> Option<GuestPath> {
    let other;
    let mm = if pid == me.tid || pid == me.tgid {
        &me.mm
    } else {
        other = tasks.memory(pid)?;
        &other
    };
    mm.lock().exe.clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_told_from_what_only_looks_like_one() {
        let all = [
            ("/proc/self", Some(ProcLink::Own)),
            ("/proc/thread-self", Some(ProcLink::OwnThread)),
            ("/proc/12/exe", Some(ProcLink::Exe(12))),
            ("/proc/12/task/13/cwd", Some(ProcLink::Cwd(13))),
            ("/proc/12/root", Some(ProcLink::Root(12))),
            ("/proc/12/fd/3", Some(ProcLink::Other)),
            ("/proc/12/fd", None),
            ("/proc/12/fdinfo/3", None),
            ("/proc/12/root/etc", None),
            ("/proc/x/exe", None),
            ("/process/1/exe", None),
            ("/proc/99999999999/exe", None),
        ];
        for (path, expected) in all {
            assert_eq!(link_at(path.as_bytes()), expected, "{path}");
        }
    }
}
