//! Every way to write, tried below a read-only directory; one line each.

use crate::raw::{c, name, ok, old};
use crate::sc;
use libc::*;

const CWD: i64 = AT_FDCWD as i64;
/// Not in libc for every target: `<linux/fs.h>` and the calls of Linux 6.13 and later.
const FS_IOC_GETFLAGS: u64 = 0x8008_6601;
const FS_IOC_SETFLAGS: u64 = 0x4008_6602;
const FS_IOC_FSSETXATTR: u64 = 0x401c_5820;
const SETXATTRAT: i64 = 463;
const REMOVEXATTRAT: i64 = 466;

fn say(place: &str, call: &str, r: i64) {
    println!("{place}: {call} -> {}", if r >= 0 { ok(r) } else { name(r) });
}

/// `dir` cannot be written, `out` can; both have been prepared.
pub fn run(dir: &str, out: &str) -> i32 {
    sc!(SYS_chdir, c(dir.as_bytes()).as_ptr());
    let dirfd = sc!(old::open, c(dir.as_bytes()).as_ptr(), O_RDONLY | O_DIRECTORY);
    for entry in [
        "f", "d", "d/g", "lf", "ld", "ld/g", "dang", "fifo", "sock", "new", "d/new", "no/new", "f/x", "d/",
        "new/", "locked/z", ".", "d/..",
    ] {
        for (place, at, path) in [
            ("absolute", CWD, format!("{dir}/{entry}")),
            ("relative", CWD, entry.to_owned()),
            ("descriptor", dirfd, entry.to_owned()),
            ("link", CWD, format!("{out}/in/{entry}")),
        ] {
            by_path(&format!("{place} {entry}"), at, &path, out);
        }
    }
    by_path("the top itself", CWD, dir, out);
    for (label, flags) in
        [("f", O_RDONLY), ("d", O_RDONLY | O_DIRECTORY), ("f", O_PATH), ("lf", O_PATH | O_NOFOLLOW)]
    {
        let fd = sc!(old::open, c(format!("{dir}/{label}").as_bytes()).as_ptr(), flags);
        by_descriptor(&format!("fd of {label} {flags:#o}"), fd, out);
        sc!(SYS_close, fd);
    }
    0
}

fn by_path(label: &str, at: i64, path: &str, out: &str) {
    let p = c(path.as_bytes());
    let p = p.as_ptr();
    let t = |call: &str, r: i64| say(label, call, r);
    let flags = [
        ("rdonly", O_RDONLY),
        ("wronly", O_WRONLY),
        ("rdwr", O_RDWR),
        ("trunc", O_RDONLY | O_TRUNC),
        ("wtrunc", O_WRONLY | O_TRUNC),
        ("creat", O_CREAT | O_RDONLY),
        ("wcreat", O_CREAT | O_WRONLY),
        ("excl", O_CREAT | O_EXCL | O_WRONLY),
        ("append", O_WRONLY | O_APPEND),
        ("path", O_PATH),
        ("nofollow", O_RDWR | O_NOFOLLOW),
        ("directory", O_RDONLY | O_DIRECTORY),
        ("tmpfile", O_RDWR | O_TMPFILE),
        ("mode3", 3),
    ];
    for (what, flags) in flags {
        let flags = flags | O_NONBLOCK;
        for (call, r) in [
            ("openat", sc!(SYS_openat, at, p, flags, 0o600)),
            ("openat2", {
                let creates = flags & O_CREAT != 0 || flags & O_TMPFILE == O_TMPFILE;
                let how = [
                    (flags & !if flags & O_PATH != 0 { O_NONBLOCK } else { 0 }) as u64,
                    if creates { 0o600 } else { 0 },
                    0,
                ];
                sc!(SYS_openat2, at, p, how.as_ptr(), 24)
            }),
        ] {
            t(&format!("{call} {what}"), r);
            if r >= 0 {
                sc!(SYS_close, r);
            }
        }
    }
    for (what, mode) in [("F", F_OK), ("R", R_OK), ("W", W_OK), ("RW", R_OK | W_OK), ("WX", W_OK | X_OK)] {
        t(&format!("faccessat {what}"), sc!(SYS_faccessat, at, p, mode));
        t(
            &format!("faccessat2 {what} nofollow"),
            sc!(SYS_faccessat2, at, p, mode, AT_SYMLINK_NOFOLLOW | AT_EACCESS),
        );
    }
    t("fchmodat", sc!(SYS_fchmodat, at, p, 0o777));
    t("fchmodat2", sc!(old::fchmodat2, at, p, 0o777, 0));
    t("fchmodat2 nofollow", sc!(old::fchmodat2, at, p, 0o777, AT_SYMLINK_NOFOLLOW));
    t("fchownat", sc!(SYS_fchownat, at, p, -1i64, -1i64, 0));
    t("fchownat nofollow", sc!(SYS_fchownat, at, p, 0, 0, AT_SYMLINK_NOFOLLOW));
    t("utimensat now", sc!(SYS_utimensat, at, p, 0, 0));
    let times = [1i64, 1, 1, 1];
    t("utimensat", sc!(SYS_utimensat, at, p, times.as_ptr(), AT_SYMLINK_NOFOLLOW));
    let omit = [0, UTIME_OMIT, 0, UTIME_OMIT];
    t("utimensat omit", sc!(SYS_utimensat, at, p, omit.as_ptr(), 0));
    let bad = [0i64, 1 << 60, 0, 0];
    t("utimensat bad", sc!(SYS_utimensat, at, p, bad.as_ptr(), 0));
    t("futimesat", sc!(old::futimesat, at, p, 0));
    let value = [c"v".as_ptr() as u64, 1];
    t("setxattrat", sc!(SETXATTRAT, at, p, 0, c"user.x".as_ptr(), value.as_ptr(), 16));
    t("removexattrat", sc!(REMOVEXATTRAT, at, p, AT_SYMLINK_NOFOLLOW, c"user.x".as_ptr()));
    t("mkdirat", sc!(SYS_mkdirat, at, p, 0o755));
    t("mknodat", sc!(SYS_mknodat, at, p, S_IFREG | 0o644, 0));
    t("mknodat fifo", sc!(SYS_mknodat, at, p, S_IFIFO | 0o644, 0));
    t("symlinkat", sc!(SYS_symlinkat, c"x".as_ptr(), at, p));
    t("unlinkat", sc!(SYS_unlinkat, at, p, 0));
    t("unlinkat dir", sc!(SYS_unlinkat, at, p, AT_REMOVEDIR));
    let outer = c(format!("{out}/file").as_bytes());
    let fresh = c(format!("{out}/fresh").as_bytes());
    t("link out", sc!(SYS_linkat, at, p, CWD, fresh.as_ptr(), 0));
    t("link out follow", sc!(SYS_linkat, at, p, CWD, fresh.as_ptr(), AT_SYMLINK_FOLLOW));
    t("link in", sc!(SYS_linkat, CWD, outer.as_ptr(), at, p, 0));
    t("rename out", sc!(SYS_renameat, at, p, CWD, fresh.as_ptr()));
    t("rename in", sc!(SYS_renameat, CWD, outer.as_ptr(), at, p));
    t("rename in noreplace", sc!(SYS_renameat2, CWD, outer.as_ptr(), at, p, RENAME_NOREPLACE));
    let beside = c(format!("{path}-b").as_bytes());
    t("rename beside", sc!(SYS_renameat, at, p, at, beside.as_ptr()));
    t("link beside", sc!(SYS_linkat, at, p, at, beside.as_ptr(), 0));
    t("rename to itself", sc!(SYS_renameat, at, p, at, p));
    t("exchange", sc!(SYS_renameat2, at, p, CWD, outer.as_ptr(), RENAME_EXCHANGE));
    if at == CWD {
        if !path.ends_with("fifo") {
            t("creat", sc!(old::creat, p, 0o600));
        }
        t("truncate", sc!(SYS_truncate, p, 0));
        t("chmod", sc!(old::chmod, p, 0o777));
        t("chown", sc!(old::chown, p, -1i64, -1i64));
        t("lchown", sc!(old::lchown, p, -1i64, -1i64));
        t("utime", sc!(old::utime, p, 0));
        t("utimes", sc!(old::utimes, p, 0));
        t("setxattr", sc!(SYS_setxattr, p, c"user.x".as_ptr(), c"v".as_ptr(), 1, 0));
        t("lsetxattr", sc!(SYS_lsetxattr, p, c"user.x".as_ptr(), c"v".as_ptr(), 1, 0));
        t("removexattr", sc!(SYS_removexattr, p, c"user.x".as_ptr()));
        t("lremovexattr", sc!(SYS_lremovexattr, p, c"user.x".as_ptr()));
        t("getxattr", sc!(SYS_getxattr, p, c"user.x".as_ptr(), 0, 0));
        t("mkdir", sc!(old::mkdir, p, 0o755));
        t("rmdir", sc!(old::rmdir, p));
        t("unlink", sc!(old::unlink, p));
        t("symlink", sc!(old::symlink, c"x".as_ptr(), p));
        sockets(label, path);
    }
}

fn sockets(label: &str, path: &str) {
    let mut address = [0u8; 110];
    address[0] = AF_UNIX as u8;
    if path.len() >= 108 {
        return;
    }
    address[2..2 + path.len()].copy_from_slice(path.as_bytes());
    for (call, nr) in [("bind", SYS_bind), ("connect", SYS_connect)] {
        let fd = sc!(SYS_socket, AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
        say(label, call, sc!(nr, fd, address.as_ptr(), 3 + path.len()));
        sc!(SYS_close, fd);
    }
}

fn by_descriptor(label: &str, fd: i64, out: &str) {
    let t = |call: &str, r: i64| say(label, call, r);
    let empty = c"".as_ptr();
    t("opened", fd);
    t("fchmod", sc!(SYS_fchmod, fd, 0o777));
    t("fchown", sc!(SYS_fchown, fd, -1i64, -1i64));
    t("ftruncate", sc!(SYS_ftruncate, fd, 0));
    t("fallocate", sc!(SYS_fallocate, fd, 0, 0, 100));
    t("write", sc!(SYS_write, fd, empty, 1));
    t("futimens", sc!(SYS_utimensat, fd, 0, 0, 0));
    let omit = [0, UTIME_OMIT, 0, UTIME_OMIT];
    t("futimens omit", sc!(SYS_utimensat, fd, 0, omit.as_ptr(), 0));
    t("utimensat bad flag", sc!(SYS_utimensat, fd, 0, 0, 0x40));
    t("futimesat", sc!(old::futimesat, fd, 0, 0));
    t("utimensat empty", sc!(SYS_utimensat, fd, empty, 0, AT_EMPTY_PATH));
    t("fchmodat2 empty", sc!(old::fchmodat2, fd, empty, 0o777, AT_EMPTY_PATH));
    t("fchmodat2 empty unflagged", sc!(old::fchmodat2, fd, empty, 0o777, 0));
    t("fchownat empty", sc!(SYS_fchownat, fd, empty, -1i64, -1i64, AT_EMPTY_PATH));
    t("fsetxattr", sc!(SYS_fsetxattr, fd, c"user.x".as_ptr(), c"v".as_ptr(), 1, 0));
    t("fremovexattr", sc!(SYS_fremovexattr, fd, c"user.x".as_ptr()));
    let value = [c"v".as_ptr() as u64, 1];
    t("setxattrat empty", sc!(SETXATTRAT, fd, empty, AT_EMPTY_PATH, c"user.x".as_ptr(), value.as_ptr(), 16));
    t("removexattrat empty", sc!(REMOVEXATTRAT, fd, empty, AT_EMPTY_PATH, c"user.x".as_ptr()));
    t("setxattrat null", sc!(SETXATTRAT, fd, 0, AT_EMPTY_PATH, c"user.x".as_ptr(), value.as_ptr(), 16));
    t("faccessat2 empty W", sc!(SYS_faccessat2, fd, empty, W_OK, AT_EMPTY_PATH));
    let mut flags = 0u64;
    t("getflags", sc!(SYS_ioctl, fd, FS_IOC_GETFLAGS, &raw mut flags));
    t("setflags", sc!(SYS_ioctl, fd, FS_IOC_SETFLAGS, &raw mut flags));
    let attributes = [0u32; 7];
    t("fssetxattr", sc!(SYS_ioctl, fd, FS_IOC_FSSETXATTR, attributes.as_ptr()));
    t("mmap shared", sc!(SYS_mmap, 0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
    t("mmap private", sc!(SYS_mmap, 0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0));
    for (place, path) in [("proc", format!("/proc/self/fd/{fd}")), ("dev", format!("/dev/fd/{fd}"))] {
        let p = c(path.as_bytes());
        let p = p.as_ptr();
        for (what, flags) in [
            ("rdonly", O_RDONLY),
            ("wronly", O_WRONLY),
            ("rdwr", O_RDWR),
            ("trunc", O_TRUNC),
            ("nofollow", O_RDWR | O_NOFOLLOW),
            ("creat", O_CREAT | O_RDWR),
        ] {
            t(&format!("{place} open {what}"), sc!(old::open, p, flags, 0o600));
        }
        t(&format!("{place} chmod"), sc!(old::chmod, p, 0o777));
        t(&format!("{place} lchown"), sc!(old::lchown, p, -1i64, -1i64));
        t(&format!("{place} chown"), sc!(old::chown, p, -1i64, -1i64));
        t(&format!("{place} truncate"), sc!(SYS_truncate, p, 0));
        t(&format!("{place} utimensat"), sc!(SYS_utimensat, CWD, p, 0, 0));
        t(&format!("{place} setxattr"), sc!(SYS_setxattr, p, c"user.x".as_ptr(), c"v".as_ptr(), 1, 0));
        t(&format!("{place} access W"), sc!(old::access, p, W_OK));
        let fresh = c(format!("{out}/fresh").as_bytes());
        t(&format!("{place} link"), sc!(SYS_linkat, CWD, p, CWD, fresh.as_ptr(), AT_SYMLINK_FOLLOW));
        let below = c(format!("{path}/new").as_bytes());
        t(&format!("{place} mkdir below"), sc!(old::mkdir, below.as_ptr(), 0o755));
        t(&format!("{place} creat below"), sc!(old::open, below.as_ptr(), O_CREAT | O_WRONLY, 0o600));
    }
    t("mkdirat", sc!(SYS_mkdirat, fd, c"new".as_ptr(), 0o755));
    t("unlinkat", sc!(SYS_unlinkat, fd, c"g".as_ptr(), 0));
    t("openat", sc!(SYS_openat, fd, c"g".as_ptr(), O_RDWR));
    t("openat dot", sc!(SYS_openat, fd, c".".as_ptr(), O_RDWR | O_TMPFILE, 0o600));
}

/// The same to and from another mount of the host, where `far` is a directory with `m` a mount point; below
/// `ro` in `dir` all of the host is shown, read-only.
pub fn far(dir: &str, far: &str) -> i32 {
    let p = |name: &str| {
        let path = match name.split_once(':') {
            Some(("far", name)) => format!("{far}/{name}"),
            Some(("ro", name)) => format!("{dir}/ro{dir}/{name}"),
            Some((_, name)) => format!("{dir}/ro{far}/{name}"),
            None => format!("{dir}/{name}"),
        };
        c(path.as_bytes()).into_raw()
    };
    // Between bindings the host decides about renames: not what lies in one.
    let near = ["m", "fm", "m/", "fm/", "p/m", "p", "f", "d", "new", "new/", "no/x", "f/x"];
    let other = ["far:new", "far:f", "far:d", "far:d/", "far:empty", "far:m", "far:no/x", "far:f/x"];
    let read_only =
        ["ro:f", "ro:d", "ro:new", "ro:no/x", "rofar:f", "rofar:d", "rofar:new", "rofar:m", "rofar:no/x"];
    for a in near.iter().chain(&other).chain(&read_only) {
        for b in near.iter().chain(&other).chain(&read_only) {
            if !a.contains(':') && !b.contains(':') || a == b {
                continue;
            }
            let t = |call: &str, r: i64| say(a, &format!("{call} {b}"), r);
            // What is moved comes back; what would be lost is not tried.
            let back = |r: i64| {
                let lost = r == 0 && sc!(old::rename, p(b), p(a)) != 0;
                if lost { -i64::from(EINPROGRESS) } else { r }
            };
            let exists = |name: &str| sc!(old::access, p(name), F_OK) == 0;
            let both = exists(a) && exists(b);
            t("rename", if both { 0 } else { back(sc!(old::rename, p(a), p(b))) });
            t("noreplace", back(sc!(SYS_renameat2, CWD, p(a), CWD, p(b), RENAME_NOREPLACE)));
            t("exchange", back(sc!(SYS_renameat2, CWD, p(a), CWD, p(b), RENAME_EXCHANGE)));
            let r = sc!(old::link, p(a), p(b));
            t("link", r);
            if r == 0 {
                sc!(old::unlink, p(b));
            }
        }
    }
    0
}

/// What is done to mount points: in `dir` a directory `m`, a file `fm`, and `p/m` are mount points; `d` and `f` are not.
pub fn points(dir: &str) -> i32 {
    let path = |name: &str| c(format!("{dir}/{name}").as_bytes());
    let p = |name: &str| path(name).into_raw();
    for m in ["m", "fm", "m/", "fm/", "p/m", "./m"] {
        let t = |call: &str, r: i64| say(m, call, r);
        t("rmdir", sc!(old::rmdir, p(m)));
        t("unlink", sc!(old::unlink, p(m)));
        t("unlinkat dir", sc!(SYS_unlinkat, CWD, p(m), AT_REMOVEDIR));
        for other in ["new", "d", "f", "empty", "m", "fm", "p", "m/f"] {
            t(&format!("rename to {other}"), sc!(old::rename, p(m), p(other)));
            t(&format!("rename from {other}"), sc!(old::rename, p(other), p(m)));
            t(&format!("noreplace {other}"), sc!(SYS_renameat2, CWD, p(m), CWD, p(other), RENAME_NOREPLACE));
            t(
                &format!("noreplace from {other}"),
                sc!(SYS_renameat2, CWD, p(other), CWD, p(m), RENAME_NOREPLACE),
            );
            t(&format!("exchange {other}"), sc!(SYS_renameat2, CWD, p(m), CWD, p(other), RENAME_EXCHANGE));
        }
        for other in ["new", "f", "m/new", "m/f", "fm"] {
            t(&format!("link to {other}"), sc!(old::link, p(m), p(other)));
            t(&format!("link from {other}"), sc!(old::link, p(other), p(m)));
        }
        t("mkdir", sc!(old::mkdir, p(m), 0o755));
        t("mknod", sc!(old::mknod, p(m), S_IFREG | 0o644, 0));
        t("symlink", sc!(old::symlink, c"x".as_ptr(), p(m)));
    }
    // Across: a link never, whatever file system is beneath.
    say("f", "link into m", sc!(old::link, p("f"), p("m/linked")));
    say("m/f", "link out of m", sc!(old::link, p("m/f"), p("linked")));
    say("m/f", "link inside", sc!(old::link, p("m/f"), p("m/linked")));
    say("p", "rmdir of what holds one", sc!(old::rmdir, p("p")));
    0
}
