//! The links of /proc (proc(5)): those that name the reader, which is the tracee and not the tracer, and those that
//! lead somewhere without a text, whose text is a host path.

pub mod mounts;
pub mod text;

use super::root;
use crate::path::GuestPath;
use crate::tracee::{Directory, Task};
use crate::view::View;

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

/// The flags of a task's open file, from its fdinfo (proc_pid_fdinfo(5)).
pub fn open_flags(tid: i32, fd: i32) -> Option<i32> {
    let text = std::fs::read_to_string(format!("/proc/{tid}/fdinfo/{fd}")).ok()?;
    let flags = text.lines().find_map(|l| l.strip_prefix("flags:"))?;
    i32::from_str_radix(flags.trim(), 8).ok()
}

/// Whether a path may end in one of these links, by its last component alone.
pub fn may_be_link(path: &[u8]) -> bool {
    let name = path.rsplit(|&b| b == b'/').next().unwrap_or(path);
    matches!(name, b"exe" | b"cwd" | b"root") || name.first().is_some_and(u8::is_ascii_hexdigit)
}

/// The process that a host path below /proc is about; a NUL behind it does not matter.
pub fn pid_of(host: &[u8]) -> Option<i32> {
    number(host.strip_prefix(b"/proc/")?.split(|&b| b == b'/' || b == 0).next()?)
}

/// The task that a file of /proc is about, and the file's name in its folder.
pub fn pid_and_name(host: &[u8]) -> Option<(i32, &[u8])> {
    let rest = host.strip_prefix(b"/proc/")?;
    let at = memchr::memchr(b'/', rest)?;
    let (pid, name) = (number(&rest[..at])?, &rest[at + 1..]);
    match name.strip_prefix(b"task/") {
        Some(rest) => {
            let at = memchr::memchr(b'/', rest)?;
            Some((number(&rest[..at])?, &rest[at + 1..]))
        }
        None => Some((pid, name)),
    }
}

/// The number that a name of /proc is.
pub fn number(text: &[u8]) -> Option<i32> {
    std::str::from_utf8(text).ok().filter(|t| t.bytes().all(|b| b.is_ascii_digit()))?.parse().ok()
}

/// Whether a path may name a file of /proc in whose place the guest gets another, by its last component alone: what
/// tells of credentials, of CPUs, and with `-k` of the kernel.
pub fn may_be_made_up(path: &[u8]) -> bool {
    let name = path.rsplit(|&b| b == b'/').next().unwrap_or(path);
    matches!(
        name,
        b"status"
            | b"uid_map"
            | b"gid_map"
            | b"ostype"
            | b"hostname"
            | b"osrelease"
            | b"version"
            | b"domainname"
    )
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

/// Guest path of the root of `pid`, a task of this session.
pub fn root_of(tasks: &Directory, me: &Task, pid: i32, view: &View) -> GuestPath {
    let fs = if pid == me.tid { Some(me.fs.clone()) } else { tasks.directories(pid) };
    fs.and_then(|fs| root::current(&fs, view)).unwrap_or_else(|| GuestPath::new(b"/"))
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
