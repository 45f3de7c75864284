//! **The table**: every system call that takes or returns a path, one line each, and by name every other one.
//!
//! From it come the filter (what stops), the translation at entry and the work at exit. A call that is in neither
//! list, such as one of a newer kernel, answers `ENOSYS`: nothing passes untranslated. A test walks the kernel's
//! own list (Linux 6.18, crate `syscalls`, and the installed headers) and fails for a call that is not here.

use crate::syscall::dirents::merge::Layout;
mod no_path;

pub use no_path::NO_PATH;

use super::process::Deed;
use prun_arch::Sysno as S;
use prun_arch::abi::{Abi, NO_NUMBER};
use prun_arch::narrow;
use syscalls::Errno;

/// Number of slots in the index: numbers of Linux 6.18 end at 469.
pub const LEN: usize = prun_arch::abi::LEN;

/// The role of one argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arg {
    /// Left alone.
    Pass,
    /// Directory of the path that follows.
    At,
    /// A path; a final link is followed.
    Path,
    /// A path; a final link is meant itself.
    Link,
    /// A path that names an entry of its directory.
    Entry,
    /// A path; a final link is followed unless argument N has the flag.
    Unless(u8, u32),
    /// A path; a final link is followed only if argument N has the flag.
    If(u8, u32),
}

/// What the call does to what its paths name, for read-only bindings and mount points.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Touch {
    /// Looks.
    Reads,
    /// Changes what is there.
    Changes,
    /// Makes an entry.
    Makes,
    /// Makes a symbolic link.
    Links,
    /// Removes or renames the entry: a mount point is busy.
    Removes,
    /// Asks for permission; argument N is the mode of access(2).
    Asks(u8),
}

/// Who does the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// The path arguments are all there is to it.
    Paths(Touch),
    /// open(2): flags in argument N.
    Open(u8),
    /// creat(2).
    Creat,
    /// openat2(2).
    Open2,
    /// rename(2) and its kin.
    Rename,
    /// link(2) and linkat(2): both paths on one mount.
    HardLink,
    /// chdir(2).
    Chdir,
    /// fchdir(2).
    Fchdir,
    /// getcwd(2).
    Getcwd,
    /// readlink(2): links of /proc; path, buffer and size in arguments N, N + 1 and N + 2.
    Readlink(u8),
    /// getdents(2) or getdents64(2).
    Getdents(Layout),
    /// execve(2): path in argument N, flags of execveat(2) in argument 4 when N is 1.
    Exec(u8),
    /// unshare(2).
    Unshare,
    /// A clone flag in argument 0 that hides the child from its tracer.
    Clone,
    /// clone3(2).
    Clone3,
    /// A socket address the kernel reads, at argument N with its length behind it.
    AddrIn(u8),
    /// A socket address the kernel writes, at argument N with a pointer to its length behind it.
    AddrOut(u8),
    /// sendmsg(2).
    SendMsg,
    /// sendmmsg(2).
    SendMmsg,
    /// recvmsg(2).
    RecvMsg,
    /// recvmmsg(2).
    RecvMmsg,
    /// sched_getaffinity(2) and sched_setaffinity(2): the task in argument 0 gets its own affinity back first.
    Affinity,
    /// A call on another process, which may be one of prun's.
    Reaches(Deed),
    /// setns(2).
    Setns,
    /// prctl(2) about the dumpable attribute.
    Dumpable,
    /// A change through a descriptor, argument 0.
    FdChange,
    /// uname(2).
    Uname,
    /// Calls without a path, where the kernel does not have them.
    Newer,
    /// socketcall(2) of the 32-bit ABI: one of several calls, its arguments in memory.
    Socketcall,
    /// fstat(2).
    Fstat,
    /// Only what a fake identity has to do with it.
    Identity,
    /// A call that is refused once its path arguments are what the kernel accepts.
    Refuse(Errno),
}

/// When the filter stops the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Always.
    Always,
    /// If argument N is no null pointer.
    NotNull(u8),
    /// If argument N has one of these bits (in its low word).
    Flag(u8, u32),
    /// If some directory lists more or less than the host's.
    Merged,
    /// If some binding is read-only.
    ReadOnly,
    /// If the guest has a fake identity.
    Identity,
    /// If the guest has one, or its hard links may be symbolic ones.
    Looks,
    /// If the low word of argument N is one of the first, or of the second and the guest has a fake identity.
    OneOf(u8, &'static [u32], &'static [u32]),
    /// If some binding is read-only or the guest has a fake identity.
    Changes,
    /// If argument N is the number of one of prun's processes, or the guest has a fake identity.
    Prun(u8),
    /// If tasks are put on the tracer's CPU.
    Placed,
    /// If argument 1 is a request of ioctl(2) that changes a file, and some binding is read-only.
    SetsAttributes,
    /// If the kernel has another name for the guest.
    Renamed,
    /// If the kernel does not have the call.
    Missing,
}

/// One system call.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Which.
    pub call: S,
    /// What its arguments are.
    pub args: &'static [Arg],
    /// What is done about it.
    pub work: Work,
    /// Whether it stops at all.
    pub when: When,
}

const fn r(call: S, args: &'static [Arg], work: Work) -> Row {
    Row { call, args, work, when: When::Always }
}
const fn w(call: S, args: &'static [Arg], work: Work, when: When) -> Row {
    Row { call, args, work, when }
}

use Arg::{At, Entry, If, Link, Pass, Path, Unless};
use Deed::{Alters, Compares, Opens, Signals};
use Touch::{Asks, Changes, Links, Makes, Reads, Removes};
use Work::{AddrIn, AddrOut, Exec, FdChange, Open, Paths, Reaches, Readlink, Refuse};

const NOFOLLOW: u32 = libc::AT_SYMLINK_NOFOLLOW as u32;
const FOLLOW: u32 = libc::AT_SYMLINK_FOLLOW as u32;
/// `IN_DONT_FOLLOW` of inotify(7).
const IN_DONT_FOLLOW: u32 = 0x0200_0000;
/// `FAN_MARK_DONT_FOLLOW` of fanotify_mark(2).
const FAN_DONT_FOLLOW: u32 = 4;
const CLONE_UNTRACED: u32 = libc::CLONE_UNTRACED as u32;
/// Flags of unshare(2) that part from the directories others share: the two kinds of namespaces imply it
/// (`ksys_unshare()`).
const UNSHARES_FS: u32 = (libc::CLONE_FS | libc::CLONE_NEWNS | libc::CLONE_NEWUSER) as u32;
const DUMPABLE: &[u32] = &[libc::PR_GET_DUMPABLE as u32, libc::PR_SET_DUMPABLE as u32];
/// Options of prctl(2) that are about credentials.
const CRED_OPTIONS: &[u32] = &[
    libc::PR_GET_KEEPCAPS as u32,
    libc::PR_SET_KEEPCAPS as u32,
    libc::PR_CAPBSET_READ as u32,
    libc::PR_CAPBSET_DROP as u32,
    libc::PR_GET_SECUREBITS as u32,
    libc::PR_SET_SECUREBITS as u32,
    libc::PR_SET_NO_NEW_PRIVS as u32,
    libc::PR_GET_NO_NEW_PRIVS as u32,
    libc::PR_CAP_AMBIENT as u32,
];
/// Options of getsockopt(2) about a peer: `SO_PEERCRED` and `SO_PEERGROUPS`.
const PEER_OPTIONS: &[u32] = &[libc::SO_PEERCRED as u32, 59];
/// Families of socket(2), of which one protocol is the host's audit.
const NETLINK: &[u32] = &[libc::AF_NETLINK as u32];
/// `SECCOMP_FILTER_FLAG_NEW_LISTENER`: a listener may let calls continue that prun has not translated.
const NEW_LISTENER: u32 = 8;

/// `PTRACE_ATTACH` and `PTRACE_SEIZE`: whoever is not attached can do nothing else.
const ATTACHES: &[u32] = &[16, 0x4206];

/// Every call prun has work with.
pub static ROWS: &[Row] = &[
    // Looking and opening.
    r(S::open, &[Path], Open(1)),
    r(S::creat, &[Path], Work::Creat),
    r(S::openat, &[At, Path], Open(2)),
    r(S::openat2, &[At, Path], Work::Open2),
    r(S::stat, &[Path], Paths(Reads)),
    r(S::lstat, &[Link], Paths(Reads)),
    r(S::newfstatat, &[At, Unless(3, NOFOLLOW)], Paths(Reads)),
    r(S::statx, &[At, Unless(2, NOFOLLOW)], Paths(Reads)),
    r(S::access, &[Path], Paths(Asks(1))),
    r(S::faccessat, &[At, Path], Paths(Asks(2))),
    r(S::faccessat2, &[At, Unless(3, NOFOLLOW)], Paths(Asks(2))),
    r(S::statfs, &[Path], Paths(Reads)),
    r(S::readlink, &[Link], Readlink(0)),
    r(S::readlinkat, &[At, Link], Readlink(1)),
    r(S::name_to_handle_at, &[At, If(4, FOLLOW)], Paths(Reads)),
    r(S::inotify_add_watch, &[Pass, Unless(2, IN_DONT_FOLLOW)], Paths(Reads)),
    r(S::fanotify_mark, &[Pass, Pass, Pass, At, Unless(1, FAN_DONT_FOLLOW)], Paths(Reads)),
    r(S::uselib, &[Path], Paths(Reads)),
    w(S::getdents, &[], Work::Getdents(Layout::Old), When::Merged),
    w(S::getdents64, &[], Work::Getdents(Layout::Wide), When::Merged),
    // Changing what is there.
    r(S::truncate, &[Path], Paths(Changes)),
    r(S::chmod, &[Path], Paths(Changes)),
    r(S::fchmodat, &[At, Path], Paths(Changes)),
    r(S::fchmodat2, &[At, Unless(3, NOFOLLOW)], Paths(Changes)),
    r(S::chown, &[Path], Paths(Changes)),
    r(S::lchown, &[Link], Paths(Changes)),
    r(S::fchownat, &[At, Unless(4, NOFOLLOW)], Paths(Changes)),
    r(S::utime, &[Path], Paths(Changes)),
    r(S::utimes, &[Path], Paths(Changes)),
    r(S::futimesat, &[At, Path], Paths(Changes)),
    r(S::utimensat, &[At, Unless(3, NOFOLLOW)], Paths(Changes)),
    r(S::setxattr, &[Path], Paths(Changes)),
    r(S::lsetxattr, &[Link], Paths(Changes)),
    r(S::getxattr, &[Path], Paths(Reads)),
    r(S::lgetxattr, &[Link], Paths(Reads)),
    r(S::listxattr, &[Path], Paths(Reads)),
    r(S::llistxattr, &[Link], Paths(Reads)),
    r(S::removexattr, &[Path], Paths(Changes)),
    r(S::lremovexattr, &[Link], Paths(Changes)),
    r(S::setxattrat, &[At, Unless(2, NOFOLLOW)], Paths(Changes)),
    r(S::getxattrat, &[At, Unless(2, NOFOLLOW)], Paths(Reads)),
    r(S::listxattrat, &[At, Unless(2, NOFOLLOW)], Paths(Reads)),
    r(S::removexattrat, &[At, Unless(2, NOFOLLOW)], Paths(Changes)),
    r(S::file_getattr, &[At, Unless(4, NOFOLLOW)], Paths(Reads)),
    r(S::file_setattr, &[At, Unless(4, NOFOLLOW)], Paths(Changes)),
    w(S::fchmod, &[], FdChange, When::Changes),
    w(S::fchown, &[], FdChange, When::Changes),
    w(S::fsetxattr, &[], FdChange, When::Changes),
    w(S::fremovexattr, &[], FdChange, When::Changes),
    w(S::ioctl, &[], FdChange, When::SetsAttributes),
    // Who owns what, and who one is.
    w(S::fstat, &[], Work::Fstat, When::Looks),
    w(S::fgetxattr, &[], Work::Identity, When::Identity),
    w(S::flistxattr, &[], Work::Identity, When::Identity),
    w(S::getuid, &[], Work::Identity, When::Identity),
    w(S::getgid, &[], Work::Identity, When::Identity),
    w(S::geteuid, &[], Work::Identity, When::Identity),
    w(S::getegid, &[], Work::Identity, When::Identity),
    w(S::setuid, &[], Work::Identity, When::Identity),
    w(S::setgid, &[], Work::Identity, When::Identity),
    w(S::setreuid, &[], Work::Identity, When::Identity),
    w(S::setregid, &[], Work::Identity, When::Identity),
    w(S::getgroups, &[], Work::Identity, When::Identity),
    w(S::setgroups, &[], Work::Identity, When::Identity),
    w(S::setresuid, &[], Work::Identity, When::Identity),
    w(S::getresuid, &[], Work::Identity, When::Identity),
    w(S::setresgid, &[], Work::Identity, When::Identity),
    w(S::getresgid, &[], Work::Identity, When::Identity),
    w(S::setfsuid, &[], Work::Identity, When::Identity),
    w(S::setfsgid, &[], Work::Identity, When::Identity),
    w(S::capget, &[], Work::Identity, When::Identity),
    w(S::capset, &[], Work::Identity, When::Identity),
    w(S::socket, &[], Work::Identity, When::OneOf(0, &[], NETLINK)),
    w(S::getsockopt, &[], Work::Identity, When::OneOf(2, &[], PEER_OPTIONS)),
    // Entries of directories.
    r(S::mkdir, &[Entry], Paths(Makes)),
    r(S::mkdirat, &[At, Entry], Paths(Makes)),
    r(S::mknod, &[Entry], Paths(Makes)),
    r(S::mknodat, &[At, Entry], Paths(Makes)),
    r(S::symlink, &[Pass, Entry], Paths(Links)),
    r(S::symlinkat, &[Pass, At, Entry], Paths(Links)),
    r(S::link, &[Link, Entry], Work::HardLink),
    r(S::linkat, &[At, If(4, FOLLOW), At, Entry], Work::HardLink),
    r(S::unlink, &[Entry], Paths(Removes)),
    r(S::unlinkat, &[At, Entry], Paths(Removes)),
    r(S::rmdir, &[Entry], Paths(Removes)),
    r(S::rename, &[Entry, Entry], Work::Rename),
    r(S::renameat, &[At, Entry, At, Entry], Work::Rename),
    r(S::renameat2, &[At, Entry, At, Entry], Work::Rename),
    // The task's own directories, programs and children.
    r(S::chdir, &[Path], Work::Chdir),
    r(S::fchdir, &[], Work::Fchdir),
    r(S::getcwd, &[], Work::Getcwd),
    r(S::execve, &[Path], Exec(0)),
    r(S::execveat, &[At, Unless(4, NOFOLLOW)], Exec(1)),
    w(S::unshare, &[], Work::Unshare, When::Flag(0, UNSHARES_FS)),
    w(S::clone, &[], Work::Clone, When::Flag(0, CLONE_UNTRACED | libc::CLONE_NEWUSER as u32)),
    r(S::clone3, &[], Work::Clone3),
    w(S::prctl, &[], Work::Dumpable, When::OneOf(0, DUMPABLE, CRED_OPTIONS)),
    w(S::sched_getaffinity, &[], Work::Affinity, When::Placed),
    r(S::sched_setaffinity, &[], Work::Affinity),
    // Other processes, of which some are prun's.
    r(S::kill, &[], Reaches(Signals)),
    r(S::tkill, &[], Reaches(Signals)),
    w(S::tgkill, &[], Reaches(Signals), When::Prun(0)),
    r(S::rt_sigqueueinfo, &[], Reaches(Signals)),
    w(S::rt_tgsigqueueinfo, &[], Reaches(Signals), When::Prun(0)),
    r(S::pidfd_open, &[], Reaches(Opens)),
    w(S::pidfd_send_signal, &[], Work::Identity, When::Identity),
    w(S::ptrace, &[], Reaches(Alters(1)), When::OneOf(0, ATTACHES, &[])),
    r(S::process_vm_readv, &[], Reaches(Alters(0))),
    r(S::process_vm_writev, &[], Reaches(Alters(0))),
    w(S::prlimit64, &[], Reaches(Alters(0)), When::NotNull(0)),
    w(S::sched_setscheduler, &[], Reaches(Alters(0)), When::NotNull(0)),
    w(S::sched_setparam, &[], Reaches(Alters(0)), When::NotNull(0)),
    w(S::sched_setattr, &[], Reaches(Alters(0)), When::NotNull(0)),
    w(S::setpriority, &[], Reaches(Alters(1)), When::NotNull(1)),
    w(S::ioprio_set, &[], Reaches(Alters(1)), When::NotNull(1)),
    w(S::migrate_pages, &[], Reaches(Alters(0)), When::NotNull(0)),
    w(S::move_pages, &[], Reaches(Alters(0)), When::NotNull(0)),
    w(S::get_robust_list, &[], Reaches(Alters(0)), When::NotNull(0)),
    r(S::perf_event_open, &[], Reaches(Alters(1))),
    r(S::kcmp, &[], Reaches(Compares)),
    r(S::setns, &[], Work::Setns),
    // Sockets with a path for an address.
    r(S::bind, &[], AddrIn(1)),
    r(S::connect, &[], AddrIn(1)),
    w(S::sendto, &[], AddrIn(4), When::NotNull(4)),
    r(S::sendmsg, &[], Work::SendMsg),
    r(S::sendmmsg, &[], Work::SendMmsg),
    r(S::getsockname, &[], AddrOut(1)),
    r(S::getpeername, &[], AddrOut(1)),
    w(S::accept, &[], AddrOut(1), When::NotNull(1)),
    w(S::accept4, &[], AddrOut(1), When::NotNull(1)),
    w(S::recvfrom, &[], AddrOut(4), When::NotNull(4)),
    r(S::recvmsg, &[], Work::RecvMsg),
    r(S::recvmmsg, &[], Work::RecvMmsg),
    w(S::uname, &[], Work::Uname, When::Renamed),
    w(S::getrandom, &[], Work::Newer, When::Missing),
    w(S::close_range, &[], Work::Newer, When::Missing),
    w(S::copy_file_range, &[], Work::Newer, When::Missing),
    // Mounts and what else only the administrator may: as for an ordinary user, after the paths were looked up.
    r(S::chroot, &[Path], Refuse(Errno::EPERM)),
    r(S::mount, &[], Refuse(Errno::EPERM)),
    r(S::umount2, &[Path], Refuse(Errno::EPERM)),
    r(S::pivot_root, &[], Refuse(Errno::EPERM)),
    r(S::open_tree, &[At, Unless(2, NOFOLLOW)], Paths(Reads)),
    r(S::open_tree_attr, &[], Refuse(Errno::EPERM)),
    r(S::move_mount, &[], Refuse(Errno::EPERM)),
    r(S::mount_setattr, &[], Refuse(Errno::EPERM)),
    r(S::fsopen, &[], Refuse(Errno::EPERM)),
    r(S::fspick, &[], Refuse(Errno::EPERM)),
    r(S::fsmount, &[], Refuse(Errno::EPERM)),
    r(S::fsconfig, &[], Refuse(Errno::EPERM)),
    r(S::quotactl, &[Pass, Path], Paths(Reads)),
    r(S::acct, &[Path], Paths(Changes)),
    r(S::swapon, &[Path], Paths(Reads)),
    r(S::swapoff, &[Path], Paths(Reads)),
    r(S::open_by_handle_at, &[], Refuse(Errno::EPERM)),
    // They answer with the host's mount points; callers fall back to /proc.
    r(S::statmount, &[], Refuse(Errno::ENOSYS)),
    r(S::listmount, &[], Refuse(Errno::ENOSYS)),
    r(S::lookup_dcookie, &[], Refuse(Errno::ENOSYS)),
    // Paths inside structures that prun does not translate.
    w(S::bpf, &[], Refuse(Errno::EPERM), When::Always),
    r(S::io_uring_setup, &[], Refuse(Errno::ENOSYS)),
    r(S::io_uring_enter, &[], Refuse(Errno::ENOSYS)),
    r(S::io_uring_register, &[], Refuse(Errno::ENOSYS)),
    w(S::seccomp, &[], Refuse(Errno::EINVAL), When::Flag(1, NEW_LISTENER)),
];

/// Rows of the 32-bit ABI whose arguments or work are others than those of the call of that name.
static NARROW_ROWS: &[(u32, Row)] = &[
    // The mask takes two arguments.
    (
        narrow::FANOTIFY_MARK,
        r(S::fanotify_mark, &[Pass, Pass, Pass, Pass, At, Unless(1, FAN_DONT_FOLLOW)], Paths(Reads)),
    ),
    (narrow::GETDENTS, w(S::getdents, &[], Work::Getdents(Layout::Narrow), When::Merged)),
    (narrow::READDIR, w(S::getdents, &[], Work::Getdents(Layout::Single), When::Merged)),
    (narrow::SOCKETCALL, w(S::socket, &[], Work::Socketcall, When::OneOf(0, SOCKET_CALLS, PEER_CALLS))),
];
/// First arguments of socketcall(2) that have to do with addresses: bind, connect, accept, getsockname, getpeername,
/// sendto, recvfrom, sendmsg, recvmsg, accept4, recvmmsg, sendmmsg; and, under a fake identity, socket and getsockopt.
const SOCKET_CALLS: &[u32] = &[2, 3, 5, 6, 7, 11, 12, 16, 17, 18, 19, 20];
const PEER_CALLS: &[u32] = &[1, 15];

const NONE: u16 = u16::MAX;

/// By the number of an ABI, the row in [`ROWS`], or behind them in [`NARROW_ROWS`].
const fn index(abi: Abi) -> [u16; LEN] {
    let mut by_call = [NONE; LEN];
    let mut i = 0;
    while i < ROWS.len() {
        let at = ROWS[i].call as usize;
        assert!(by_call[at] == NONE, "a call has two rows");
        by_call[at] = i as u16;
        i += 1;
    }
    let mut index = [NONE; LEN];
    let mut number = 0;
    while number < LEN {
        if let Some(call) = abi.call(number as u32) {
            index[number] = by_call[call as usize];
        }
        number += 1;
    }
    if abi.word() == 4 {
        let mut i = 0;
        while i < NARROW_ROWS.len() {
            // Not every such ABI has all of them.
            if NARROW_ROWS[i].0 != NO_NUMBER {
                index[NARROW_ROWS[i].0 as usize] = (ROWS.len() + i) as u16;
            }
            i += 1;
        }
    }
    index
}

static NATIVE: [u16; LEN] = index(prun_arch::ABI);
static NARROW: [u16; LEN] = index(prun_arch::ABIS[1]);

/// The row of a number.
pub fn row(abi: Abi, number: u32) -> Option<&'static Row> {
    let index = if abi == prun_arch::ABI { &NATIVE } else { &NARROW };
    let at = usize::from(*index.get(number as usize)?);
    match at.checked_sub(ROWS.len()) {
        None => ROWS.get(at),
        Some(behind) => NARROW_ROWS.get(behind).map(|(_, row)| row),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_of_the_kernel_is_thought_of() {
        let mut missing = vec![];
        for call in S::iter() {
            let listed = ROWS.iter().filter(|row| row.call == call).count()
                + NO_PATH.iter().filter(|&&n| n == call).count();
            if listed != 1 {
                missing.push((call.name(), listed));
            }
        }
        assert!(missing.is_empty(), "calls listed not once (name, times): {missing:?}");
    }
}
