//! Files of /proc that tell a task's credentials (proc_pid_status(5), user_namespaces(7)).

use super::{Cred, Identity};
use std::fmt::Write as _;

/// A file that has to be made up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum File {
    /// `/proc/PID/status`, and those of threads.
    Status(i32),
    /// `/proc/PID/uid_map`.
    UidMap,
    /// `/proc/PID/gid_map`.
    GidMap,
}

/// The task whose files of /proc a host path leads to, by its text; not what a link there leads to.
pub fn task_of(host: &[u8]) -> Option<i32> {
    let rest = host.strip_prefix(b"/proc/")?;
    let mut parts = rest.split(|&b| b == b'/');
    let number = |text: &[u8]| std::str::from_utf8(text).ok()?.parse().ok();
    let pid = number(parts.next()?)?;
    match parts.next() {
        Some(b"task") => parts.next().and_then(number).or(Some(pid)),
        Some(b"cwd" | b"root" | b"exe") => None,
        Some(b"fd" | b"map_files" | b"ns") if parts.next().is_some() => None,
        _ => Some(pid),
    }
}

/// Which file a host path, without its NUL, names.
pub fn file_at(host: &[u8]) -> Option<File> {
    let rest = std::str::from_utf8(host.strip_prefix(b"/proc/")?).ok()?;
    let (pid, rest) = rest.split_once('/')?;
    let (pid, name) = match rest.strip_prefix("task/") {
        Some(rest) => rest.split_once('/')?,
        None => (pid, rest),
    };
    let pid = pid.bytes().all(|b| b.is_ascii_digit()).then(|| pid.parse().ok())??;
    match name {
        "status" => Some(File::Status(pid)),
        "uid_map" => Some(File::UidMap),
        "gid_map" => Some(File::GidMap),
        _ => None,
    }
}

/// A status file with the credentials that the task has for the guest.
pub fn status(kernel: &str, cred: &Cred) -> String {
    let mut out = String::with_capacity(kernel.len() + 64);
    for line in kernel.lines() {
        let name = line.split(':').next().unwrap_or("");
        let ids = |i: &super::Ids| format!("{}\t{}\t{}\t{}", i.real, i.effective, i.saved, i.fs);
        let caps = match name {
            "CapInh" => Some(cred.caps.inheritable),
            "CapPrm" => Some(cred.caps.permitted),
            "CapEff" => Some(cred.caps.effective),
            "CapBnd" => Some(cred.caps.bounding),
            "CapAmb" => Some(cred.caps.ambient),
            _ => None,
        };
        // Writing to a string cannot fail.
        let _ = match (name, caps) {
            (_, Some(set)) => writeln!(out, "{name}:\t{set:016x}"),
            ("Uid", _) => writeln!(out, "Uid:\t{}", ids(&cred.uid)),
            ("Gid", _) => writeln!(out, "Gid:\t{}", ids(&cred.gid)),
            ("Groups", _) => {
                let groups: String = cred.groups.iter().map(|g| format!("{g} ")).collect();
                writeln!(out, "Groups:\t{groups}")
            }
            ("NoNewPrivs", _) => writeln!(out, "NoNewPrivs:\t{}", u8::from(cred.no_new_privs)),
            _ => writeln!(out, "{line}"),
        };
    }
    out
}

/// Id maps as of a container whose root is prun's user: programs that ask learn that they are in one, and leave
/// alone what only the host's root may do.
pub fn map(identity: &Identity, file: File) -> String {
    let (inside, outside) = match file {
        File::GidMap => (identity.wanted.gid, identity.host.1),
        _ => (identity.wanted.uid, identity.host.0),
    };
    format!("{inside:>10} {outside:>10} {:>10}\n", 65536)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_told_apart() {
        assert_eq!(file_at(b"/proc/12/status"), Some(File::Status(12)));
        assert_eq!(file_at(b"/proc/12/task/13/status"), Some(File::Status(13)));
        assert_eq!(file_at(b"/proc/12/gid_map"), Some(File::GidMap));
        for other in ["/proc/12/stat", "/proc/self/status", "/proc/12/root/proc/1/status", "/proc/uid_map"] {
            assert_eq!(file_at(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn only_credentials_change() {
        let kernel = "Name:\tx\nUid:\t5\t5\t5\t5\nGroups:\t5 \nCapEff:\t0000000000000000\nSeccomp:\t2\n";
        let seen = status(kernel, &Cred::new(0, 0));
        assert_eq!(seen, "Name:\tx\nUid:\t0\t0\t0\t0\nGroups:\t0 \nCapEff:\t000001ffffffffff\nSeccomp:\t2\n");
    }
}
