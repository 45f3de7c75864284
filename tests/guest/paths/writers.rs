//! Calls that change: every one with every interesting path, and what changed in the tree.

use super::readers::paths;
use super::tree::{Place, changes};
use crate::show::{STAMP, bytes, c, descriptor, errno, join, ok};
use crate::sys;
use libc::AT_FDCWD;
use std::ffi::CStr;

type Writer = (&'static str, fn(i32, &CStr) -> String);

const PLAIN: &[Writer] = &[
    ("mkdir", |_, p| ok(sys!(mkdir, p, 0o751))),
    ("rmdir", |_, p| ok(sys!(rmdir, p))),
    ("unlink", |_, p| ok(sys!(unlink, p))),
    ("creat", |_, p| descriptor(sys!(creat, p, 0o640))),
    ("open CREAT", |_, p| {
        descriptor(sys!(open, p, libc::O_CREAT | libc::O_RDWR | libc::O_NONBLOCK, 0o604))
    }),
    ("open CREAT EXCL", |_, p| descriptor(sys!(open, p, libc::O_CREAT | libc::O_EXCL | libc::O_WRONLY, 0o604))),
    ("open TRUNC", |_, p| descriptor(sys!(open, p, libc::O_TRUNC | libc::O_WRONLY | libc::O_NONBLOCK, 0))),
    ("rename from", |_, p| ok(sys!(rename, p, c"empty/new"))),
    ("rename file to", |_, p| ok(sys!(rename, c"file", p))),
    ("rename dir to", |_, p| ok(sys!(rename, c"empty", p))),
    ("link from", |_, p| ok(sys!(link, p, c"empty/new"))),
    ("link to", |_, p| ok(sys!(link, c"file", p))),
    ("symlink", |_, p| ok(sys!(symlink, c"to/../where", p))),
    ("truncate", |_, p| ok(sys!(truncate, p, 2))),
    ("chmod", |_, p| ok(sys!(chmod, p, 0o700))),
    ("chown", |_, p| ok(sys!(chown, p, -1, -1))),
    ("lchown", |_, p| ok(sys!(lchown, p, -1, -1))),
    ("mknod fifo", |_, p| ok(sys!(mknod, p, libc::S_IFIFO | 0o600, 0))),
    ("mknod reg", |_, p| ok(sys!(mknod, p, libc::S_IFREG | 0o600, 0))),
    ("utime", |_, p| {
        let times = [STAMP; 2];
        ok(sys!(utime, p, times.as_ptr()))
    }),
    ("utimes", |_, p| {
        let times = [STAMP, 0, STAMP, 0];
        ok(sys!(utimes, p, times.as_ptr()))
    }),
    ("setxattr", |_, p| ok(sys!(setxattr, p, c"user.t", c"v", 1, 0))),
    ("lsetxattr", |_, p| ok(sys!(lsetxattr, p, c"user.t", c"v", 1, 0))),
    ("removexattr", |_, p| ok(sys!(removexattr, p, c"user.none"))),
    ("bind", |_, p| super::socket::bind_once(p)),
];

const AT: &[Writer] = &[
    ("mkdirat", |d, p| ok(sys!(mkdirat, d, p, 0o751))),
    ("unlinkat", |d, p| ok(sys!(unlinkat, d, p, 0))),
    ("unlinkat REMOVEDIR", |d, p| ok(sys!(unlinkat, d, p, libc::AT_REMOVEDIR))),
    ("openat CREAT", |d, p| {
        descriptor(sys!(openat, d, p, libc::O_CREAT | libc::O_WRONLY | libc::O_NONBLOCK, 0o604))
    }),
    ("openat CREAT NOFOLLOW", |d, p| {
        descriptor(sys!(openat, d, p, libc::O_CREAT | libc::O_NOFOLLOW | libc::O_WRONLY | libc::O_NONBLOCK, 0o604))
    }),
    ("openat CREAT DIRECTORY", |d, p| descriptor(sys!(openat, d, p, libc::O_CREAT | libc::O_DIRECTORY, 0o604))),
    ("openat TMPFILE", |d, p| temporary(d, p)),
    ("openat2 CREAT EXCL", |d, p| {
        let how = [(libc::O_CREAT | libc::O_EXCL | libc::O_WRONLY) as u64, 0o604, 0];
        descriptor(sys!(openat2, d, p, how.as_ptr(), 24))
    }),
    ("renameat from", |d, p| ok(sys!(renameat, d, p, d, c"empty/new"))),
    ("renameat to", |d, p| ok(sys!(renameat, d, c"link", d, p))),
    ("renameat2 from", |d, p| ok(sys!(renameat2, d, p, d, c"dir/new", 0))),
    ("renameat2 NOREPLACE", |d, p| ok(sys!(renameat2, d, c"file", d, p, libc::RENAME_NOREPLACE))),
    ("renameat2 EXCHANGE", |d, p| ok(sys!(renameat2, d, c"dir/sub", d, p, libc::RENAME_EXCHANGE))),
    ("linkat", |d, p| ok(sys!(linkat, d, p, d, c"empty/new", 0))),
    ("linkat FOLLOW", |d, p| ok(sys!(linkat, d, p, d, c"empty/new", libc::AT_SYMLINK_FOLLOW))),
    ("linkat to", |d, p| ok(sys!(linkat, d, c"dir/file", d, p, 0))),
    ("symlinkat", |d, p| ok(sys!(symlinkat, c"/absolute/target", d, p))),
    ("mknodat", |d, p| ok(sys!(mknodat, d, p, libc::S_IFIFO | 0o600, 0))),
    ("fchmodat", |d, p| ok(sys!(fchmodat, d, p, 0o705))),
    ("fchmodat2 NOFOLLOW", |d, p| ok(sys!(fchmodat2, d, p, 0o705, libc::AT_SYMLINK_NOFOLLOW))),
    ("fchmodat2 EMPTY", |d, p| ok(sys!(fchmodat2, d, p, 0o705, libc::AT_EMPTY_PATH))),
    ("fchownat", |d, p| ok(sys!(fchownat, d, p, -1, -1, 0))),
    ("fchownat NOFOLLOW", |d, p| ok(sys!(fchownat, d, p, -1, -1, libc::AT_SYMLINK_NOFOLLOW))),
    ("fchownat foreign", |d, p| ok(sys!(fchownat, d, p, 12345, 12345, 0))),
    ("utimensat", |d, p| stamp(d, p, 0)),
    ("utimensat NOFOLLOW", |d, p| stamp(d, p, libc::AT_SYMLINK_NOFOLLOW)),
    ("utimensat EMPTY", |d, p| stamp(d, p, libc::AT_EMPTY_PATH)),
    ("futimesat", |d, p| {
        let times = [STAMP, 0, STAMP, 0];
        ok(sys!(futimesat, d, p, times.as_ptr()))
    }),
    ("setxattrat", |d, p| {
        let value = b"at";
        let args = [value.as_ptr() as u64, 2];
        ok(sys!(setxattrat, d, p, 0, c"user.t", args.as_ptr(), 16))
    }),
    ("removexattrat", |d, p| ok(sys!(removexattrat, d, p, 0, c"user.none"))),
];

/// The paths for changing calls: none outside the tree, and those whose names fill the screen once are enough.
fn targets() -> Vec<Vec<u8>> {
    let mut all = paths();
    for more in ["new", "new/", "new/.", "dir/new", "dir/new/", "dir/sub/../new", "dlink/new", "adlink/new", "up/x/new", "empty/new", "locked/new", "noexec/new"] {
        all.push(more.as_bytes().to_vec());
    }
    all
}

pub fn run(place: &Place) {
    place.rebuild();
    let mut before = place.snapshot();
    for (n, path) in targets().iter().enumerate() {
        let absolute = n % 3 == 1;
        let spelled = if absolute { c(join(&place.base, path)) } else { c(path) };
        for (name, call) in PLAIN {
            let seen = call(AT_FDCWD, &spelled);
            say(place, name, &spelled, &seen, &mut before);
        }
        for (name, call) in AT {
            let dir = if n % 3 == 2 {
                let dir = sys!(open, c".", libc::O_PATH | libc::O_DIRECTORY, 0) as i32;
                sys!(chdir, &*c(&place.other));
                dir
            } else {
                AT_FDCWD
            };
            let seen = call(dir, &spelled);
            if dir != AT_FDCWD {
                sys!(fchdir, dir);
                sys!(close, dir);
            }
            say(place, name, &spelled, &seen, &mut before);
        }
        println!("failures at {} = {}", bytes(path), changes(&before, &place.snapshot()));
    }
    same_twice(place, &mut before);
}

/// Prints the line, and makes the tree anew if the call changed it.
fn say(
    place: &Place,
    name: &str,
    path: &CStr,
    seen: &str,
    before: &mut std::collections::BTreeMap<String, String>,
) {
    // A failed call changes nothing: `run` looks once for each path.
    if seen.starts_with('E') {
        println!("{name} {} = {seen}", bytes(path.to_bytes()));
        return;
    }
    // The directory above the tree is not in the snapshot.
    sys!(chmod, &*c(join(&place.top, b"base")), 0o755);
    let after = place.snapshot();
    let changed = changes(before, &after);
    println!("{name} {} = {seen}: {changed}", bytes(path.to_bytes()));
    if changed != "unchanged" {
        place.rebuild();
        *before = place.snapshot();
    }
}

/// Both arguments the same string, or names of the same file.
fn same_twice(place: &Place, before: &mut std::collections::BTreeMap<String, String>) {
    let cases: &[(&str, fn(&CStr) -> i64)] = &[
        ("rename to itself", |p| sys!(rename, p, p)),
        ("link to itself", |p| sys!(link, p, p)),
        ("exchange with itself", |p| sys!(renameat2, AT_FDCWD, p, AT_FDCWD, p, libc::RENAME_EXCHANGE)),
        ("symlink to itself", |p| sys!(symlink, p, p)),
        ("rename hard to", |p| sys!(rename, c"hard", p)),
        ("rename into own child", |p| sys!(rename, c"dir", p)),
        ("whiteout flag", |p| sys!(renameat2, AT_FDCWD, p, AT_FDCWD, c"nn", 4 | 2)),
        ("unknown flag", |p| sys!(renameat2, AT_FDCWD, p, AT_FDCWD, c"nn", 64)),
        ("exchange and noreplace", |p| sys!(renameat2, AT_FDCWD, p, AT_FDCWD, c"nn", 3)),
    ];
    for (name, call) in cases {
        for path in [c"file", c"dir", c"dir/sub", c"dir/sub/new", c"link", c"dlink", c"missing", c"", c"fresh"] {
            let seen = ok(call(path));
            say(place, name, path, &seen, before);
        }
    }
}

fn stamp(dir: i32, path: &CStr, flags: i32) -> String {
    let times = [STAMP, 0, STAMP, 0];
    ok(sys!(utimensat, dir, path, times.as_ptr(), flags))
}

/// A file without a name, which gets one from its descriptor's link in /proc (open(2), O_TMPFILE).
fn temporary(dir: i32, path: &CStr) -> String {
    let fd = sys!(openat, dir, path, libc::O_TMPFILE | libc::O_RDWR, 0o606);
    if fd < 0 {
        return errno(-fd);
    }
    sys!(write, fd, c"tmp", 3);
    let named = sys!(
        linkat,
        AT_FDCWD,
        &*c(format!("/proc/self/fd/{fd}")),
        dir,
        &*c([path.to_bytes(), b"/given"].concat()),
        libc::AT_SYMLINK_FOLLOW
    );
    let empty = sys!(linkat, fd, c"", dir, c"given2", libc::AT_EMPTY_PATH);
    sys!(close, fd);
    format!("opened, named {}, by empty path {}", ok(named), ok(empty))
}
