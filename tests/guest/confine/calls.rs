//! Every call with a path, by its host path.

use super::NONE;
use crate::raw::old;
use crate::sc;
use libc::*;
use prun_arch::Sysno as S;
use std::ffi::CStr;

const AT: u64 = AT_FDCWD as u64;

fn buffer() -> Vec<u8> {
    vec![0; 4096]
}

/// A call, what it is about in the folder outside, its name, and how it is made.
type Row = (&'static str, &'static str, S, fn(&CStr) -> i64);

/// `p` is the path, `b` a buffer.
macro_rules! row {
    ($name:literal, $file:literal, |$p:ident, $b:ident| $nr:ident $(, $a:expr)*) => {
        ($name, $file, S::$nr, |$p: &CStr| {
            let mut $b = buffer();
            let _ = &mut $b;
            sc!(old::of(S::$nr) $(, $a)*)
        })
    };
}

const TIMES: [u64; 4] = [1, 0, 1, 0];
/// `struct open_how`.
const HOW: [u64; 3] = [0, 0, 0];
/// `struct xattr_args`, in which the value's address is put.
fn attribute(value: &[u8]) -> [u64; 2] {
    [value.as_ptr() as u64, value.len() as u64]
}

pub const CALLS: &[Row] = &[
    row!("open", "marker", |p, b| open, p.as_ptr(), O_RDONLY, 0),
    row!("open to write", "marker", |p, b| open, p.as_ptr(), O_WRONLY, 0),
    row!("open to make", "new", |p, b| open, p.as_ptr(), O_WRONLY | O_CREAT, 0o600),
    row!("open without a name", "dir", |p, b| open, p.as_ptr(), O_WRONLY | O_TMPFILE, 0o600),
    row!("openat", "marker", |p, b| openat, 9, p.as_ptr(), O_RDONLY, 0),
    row!("openat as a path", "dir", |p, b| openat, AT, p.as_ptr(), O_PATH, 0),
    row!("openat2", "marker", |p, b| openat2, AT, p.as_ptr(), HOW.as_ptr(), 24),
    row!("creat", "new", |p, b| creat, p.as_ptr(), 0o600),
    row!("stat", "marker", |p, b| stat, p.as_ptr(), b.as_mut_ptr()),
    row!("lstat", "marker", |p, b| lstat, p.as_ptr(), b.as_mut_ptr()),
    row!("newfstatat", "marker", |p, b| newfstatat, AT, p.as_ptr(), b.as_mut_ptr(), 0),
    row!("statx", "marker", |p, b| statx, AT, p.as_ptr(), 0, 0xfff, b.as_mut_ptr()),
    row!("access", "marker", |p, b| access, p.as_ptr(), R_OK),
    row!("faccessat", "marker", |p, b| faccessat, AT, p.as_ptr(), R_OK),
    row!("faccessat2", "marker", |p, b| faccessat2, AT, p.as_ptr(), R_OK, AT_SYMLINK_NOFOLLOW),
    row!("statfs", "marker", |p, b| statfs, p.as_ptr(), b.as_mut_ptr()),
    row!("readlink", "link", |p, b| readlink, p.as_ptr(), b.as_mut_ptr(), 4096),
    row!("readlinkat", "link", |p, b| readlinkat, AT, p.as_ptr(), b.as_mut_ptr(), 4096),
    row!(
        "inotify_add_watch",
        "dir",
        |p, b| inotify_add_watch,
        sc!(SYS_inotify_init1, 0),
        p.as_ptr(),
        IN_CREATE
    ),
    row!(
        "name_to_handle_at",
        "marker",
        |p, b| name_to_handle_at,
        AT,
        p.as_ptr(),
        b.as_mut_ptr(),
        b.as_mut_ptr().wrapping_add(8),
        0
    ),
    row!("truncate", "marker", |p, b| truncate, p.as_ptr(), 3),
    row!("chmod", "marker", |p, b| chmod, p.as_ptr(), 0o600),
    row!("fchmodat", "marker", |p, b| fchmodat, AT, p.as_ptr(), 0o600),
    row!("fchmodat2", "marker", |p, b| fchmodat2, AT, p.as_ptr(), 0o600, 0),
    row!("chown", "marker", |p, b| chown, p.as_ptr(), NONE, NONE),
    row!("lchown", "marker", |p, b| lchown, p.as_ptr(), NONE, NONE),
    row!("fchownat", "marker", |p, b| fchownat, AT, p.as_ptr(), NONE, NONE, 0),
    row!("utime", "marker", |p, b| utime, p.as_ptr(), 0),
    row!("utimes", "marker", |p, b| utimes, p.as_ptr(), TIMES.as_ptr()),
    row!("futimesat", "marker", |p, b| futimesat, AT, p.as_ptr(), TIMES.as_ptr()),
    row!("utimensat", "marker", |p, b| utimensat, AT, p.as_ptr(), TIMES.as_ptr(), 0),
    row!("setxattr", "marker", |p, b| setxattr, p.as_ptr(), c"user.probe".as_ptr(), c"x".as_ptr(), 1, 0),
    row!("lsetxattr", "marker", |p, b| lsetxattr, p.as_ptr(), c"user.probe".as_ptr(), c"x".as_ptr(), 1, 0),
    row!("getxattr", "marker", |p, b| getxattr, p.as_ptr(), c"user.mark".as_ptr(), b.as_mut_ptr(), 4096),
    row!("lgetxattr", "marker", |p, b| lgetxattr, p.as_ptr(), c"user.mark".as_ptr(), b.as_mut_ptr(), 4096),
    row!("listxattr", "marker", |p, b| listxattr, p.as_ptr(), b.as_mut_ptr(), 4096),
    row!("llistxattr", "marker", |p, b| llistxattr, p.as_ptr(), b.as_mut_ptr(), 4096),
    row!("removexattr", "marker", |p, b| removexattr, p.as_ptr(), c"user.mark".as_ptr()),
    row!("lremovexattr", "marker", |p, b| lremovexattr, p.as_ptr(), c"user.mark".as_ptr()),
    row!(
        "setxattrat",
        "marker",
        |p, b| setxattrat,
        AT,
        p.as_ptr(),
        0,
        c"user.probe".as_ptr(),
        attribute(b"x").as_ptr(),
        16
    ),
    row!(
        "getxattrat",
        "marker",
        |p, b| getxattrat,
        AT,
        p.as_ptr(),
        0,
        c"user.mark".as_ptr(),
        attribute(&b).as_ptr(),
        16
    ),
    row!("listxattrat", "marker", |p, b| listxattrat, AT, p.as_ptr(), 0, b.as_mut_ptr(), 4096),
    row!("removexattrat", "marker", |p, b| removexattrat, AT, p.as_ptr(), 0, c"user.mark".as_ptr()),
    row!("file_getattr", "marker", |p, b| file_getattr, AT, p.as_ptr(), b.as_mut_ptr(), 24, 0),
    row!("file_setattr", "marker", |p, b| file_setattr, AT, p.as_ptr(), b.as_mut_ptr(), 24, 0),
    row!("mkdir", "new", |p, b| mkdir, p.as_ptr(), 0o700),
    row!("mkdirat", "new", |p, b| mkdirat, AT, p.as_ptr(), 0o700),
    row!("mknod", "new", |p, b| mknod, p.as_ptr(), S_IFIFO | 0o600, 0),
    row!("mknodat", "new", |p, b| mknodat, AT, p.as_ptr(), S_IFIFO | 0o600, 0),
    row!("symlink", "new", |p, b| symlink, c"x".as_ptr(), p.as_ptr()),
    row!("symlinkat", "new", |p, b| symlinkat, c"x".as_ptr(), AT, p.as_ptr()),
    row!("link from outside", "marker", |p, b| link, p.as_ptr(), c"/tmp/stolen".as_ptr()),
    row!("link to outside", "new", |p, b| link, c"/tmp/mine".as_ptr(), p.as_ptr()),
    row!(
        "linkat from outside",
        "marker",
        |p, b| linkat,
        AT,
        p.as_ptr(),
        AT,
        c"/tmp/stolen".as_ptr(),
        AT_SYMLINK_FOLLOW
    ),
    row!("linkat to outside", "new", |p, b| linkat, AT, c"/tmp/mine".as_ptr(), AT, p.as_ptr(), 0),
    row!("unlink", "marker", |p, b| unlink, p.as_ptr()),
    row!("unlinkat", "marker", |p, b| unlinkat, AT, p.as_ptr(), 0),
    row!("unlinkat of a directory", "dir", |p, b| unlinkat, AT, p.as_ptr(), AT_REMOVEDIR),
    row!("rmdir", "dir", |p, b| rmdir, p.as_ptr()),
    row!("rename from outside", "marker", |p, b| rename, p.as_ptr(), c"/tmp/stolen".as_ptr()),
    row!("rename to outside", "new", |p, b| rename, c"/tmp/mine".as_ptr(), p.as_ptr()),
    row!("renameat", "marker", |p, b| renameat, AT, p.as_ptr(), AT, c"/tmp/stolen".as_ptr()),
    row!(
        "renameat2, exchanged",
        "marker",
        |p, b| renameat2,
        AT,
        p.as_ptr(),
        AT,
        c"/tmp/mine".as_ptr(),
        RENAME_EXCHANGE
    ),
    row!("chdir", "dir", |p, b| chdir, p.as_ptr()),
    row!("chroot", "dir", |p, b| chroot, p.as_ptr()),
    row!("uselib", "marker", |p, b| uselib, p.as_ptr()),
    row!("statmount and listmount", "dir", |p, b| statmount, p.as_ptr(), b.as_mut_ptr(), 4096, 0),
    row!("quotactl", "marker", |p, b| quotactl, 0x0080_0007, p.as_ptr(), 0, b.as_mut_ptr()),
    row!("acct", "marker", |p, b| acct, p.as_ptr()),
    row!("swapon", "marker", |p, b| swapon, p.as_ptr(), 0),
    row!("swapoff", "marker", |p, b| swapoff, p.as_ptr()),
    row!("mount of outside", "dir", |p, b| mount, p.as_ptr(), c"/tmp".as_ptr(), 0, MS_BIND, 0),
    row!("mount on outside", "dir", |p, b| mount, c"/tmp".as_ptr(), p.as_ptr(), 0, MS_BIND, 0),
    row!("umount2", "dir", |p, b| umount2, p.as_ptr(), MNT_DETACH),
    row!("pivot_root", "dir", |p, b| pivot_root, p.as_ptr(), p.as_ptr()),
    row!("open_tree", "dir", |p, b| open_tree, AT, p.as_ptr(), 0),
    row!("open_tree, a copy", "dir", |p, b| open_tree, AT, p.as_ptr(), 1),
    row!("open_tree_attr", "dir", |p, b| open_tree_attr, AT, p.as_ptr(), 0, 0, 0),
    row!("move_mount", "dir", |p, b| move_mount, AT, p.as_ptr(), AT, c"/tmp".as_ptr(), 0),
    row!("mount_setattr", "dir", |p, b| mount_setattr, AT, p.as_ptr(), 0, b.as_mut_ptr(), 32),
    row!("fspick", "dir", |p, b| fspick, AT, p.as_ptr(), 0),
    row!("bpf, a pin opened", "marker", |p, b| bpf, 7, bpf(p).as_ptr(), 16),
    row!("bpf, a pin made", "new", |p, b| bpf, 6, bpf(p).as_ptr(), 16),
    row!(
        "fanotify_mark",
        "dir",
        |p, b| fanotify_mark,
        sc!(SYS_fanotify_init, 0x200, 0),
        1,
        0x100,
        AT,
        p.as_ptr()
    ),
    row!("mq_open", "marker", |p, b| mq_open, p.as_ptr(), O_RDONLY, 0, 0),
    row!("lookup_dcookie", "marker", |p, b| lookup_dcookie, p.as_ptr(), b.as_mut_ptr(), 4096),
    row!(
        "init_module by a path",
        "marker",
        |p, b| finit_module,
        sc!(old::open, p.as_ptr(), O_RDONLY),
        c"".as_ptr(),
        0
    ),
];

/// `union bpf_attr` of the commands about pins.
fn bpf(path: &CStr) -> [u64; 2] {
    [path.as_ptr() as u64, 0]
}
