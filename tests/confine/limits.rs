//! Rows where prun is not confined, and why.

/// How far the guest is trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trust {
    /// As prun does by itself.
    Some,
    /// `--confine`.
    None,
}

/// A row that may escape.
pub(super) struct Limit {
    /// The probe.
    pub(super) name: &'static str,
    /// With `--confine` too.
    pub(super) always: bool,
    /// Why.
    pub(super) reason: &'static str,
}

/// The reason of rows that need no other.
pub(super) const AS_IN_A_CHROOT: &str = "a real chroot as the same user lets it through too";
const ROOM: &str = "paths that mean the same to guest and host go to the kernel as they are";
const LINK: &str = "the kernel looks up the translated path once more, microseconds later";
const CODE: &str = "code in the program's memory makes calls that do not stop, and anybody can jump to it";

const fn chroot(name: &'static str) -> Limit {
    Limit { name, always: true, reason: AS_IN_A_CHROOT }
}

const fn fast(name: &'static str, reason: &'static str) -> Limit {
    Limit { name, always: false, reason }
}

pub(super) const LIMITS: &[Limit] = &[
    chroot("descriptor inherited, of a folder outside"),
    chroot("descriptor received, of a folder outside"),
    chroot("proc cmdline of any process"),
    chroot("proc descriptors of any process"),
    chroot("socket /proc/net/unix tells a host path"),
    chroot("socket sock_diag tells a host path"),
    fast("race the path, in memory shared with a process", ROOM),
    fast("race the path, written by another process", ROOM),
    fast("race a directory and a link: absolute", LINK),
    fast("race a directory and a link: relative", LINK),
    fast("race a directory and a link, the last component", LINK),
    fast("race a directory and a link, by a descriptor", LINK),
    fast("race a file and a link, by another process", LINK),
    fast("code jumped to: openat", CODE),
    fast("code jumped to: openat without links", CODE),
    fast("code written over, by /proc/self/mem", CODE),
    fast("code mapped over", CODE),
    fast("code made writable", CODE),
    fast("code moved there", CODE),
];

/// Whether a row may escape.
pub(super) fn allowed(name: &str, trust: Trust) -> bool {
    LIMITS.iter().any(|limit| limit.name == name && (limit.always || trust == Trust::Some))
}
