//! openat2(2): each RESOLVE flag with each path, and the structure's own rules.

use super::readers::paths;
use super::tree::Place;
use crate::raw::Edge;
use crate::show::{bytes, c, descriptor, join};
use crate::sys;
use libc::AT_FDCWD;

/// `RESOLVE_NO_XDEV`, `NO_MAGICLINKS`, `NO_SYMLINKS`, `BENEATH`, `IN_ROOT`, `CACHED` of `<linux/openat2.h>`.
const RESOLVE: &[(&str, u64)] = &[
    ("NO_XDEV", 1),
    ("NO_MAGICLINKS", 2),
    ("NO_SYMLINKS", 4),
    ("BENEATH", 8),
    ("IN_ROOT", 16),
    ("BENEATH|NO_SYMLINKS", 12),
    ("IN_ROOT|NO_MAGICLINKS", 18),
    ("BENEATH|IN_ROOT", 24),
    ("unknown", 64),
];

pub fn run(place: &Place) {
    let dir = sys!(open, c".", libc::O_PATH | libc::O_DIRECTORY, 0) as i32;
    let sub = sys!(open, c"dir", libc::O_PATH | libc::O_DIRECTORY, 0) as i32;
    let base = &place.base;
    let mut all = paths();
    for more in [
        "/", "/..", "/file", "/dir/../file", "/dir/sub/deep", "rootlink", "rootlink/file", "rootlink/dir/file", "rooted",
        "rooted/file", "over/file", "over/x/file", "/proc/self/exe", "/proc/self/cwd", "/proc/self/cwd/file",
        "/proc/self/fd/0", "/proc/self/root", "/dev/null", "/proc", "../../../etc/passwd",
    ] {
        all.push(more.as_bytes().to_vec());
    }
    all.push(join(base, b"file"));
    all.push(join(base, b"dlink/file"));
    for path in &all {
        for (name, resolve) in RESOLVE {
            for (at, fd) in [("cwd", AT_FDCWD), ("dir", dir), ("sub", sub)] {
                let how = [(libc::O_PATH | libc::O_CLOEXEC) as u64, 0, *resolve];
                let seen = descriptor(sys!(openat2, fd, &*c(path), how.as_ptr(), 24));
                println!("openat2 {name} at {at} {} = {seen}", bytes(path));
            }
        }
    }
    making(place, dir);
    structure(dir);
    sys!(close, dir);
    sys!(close, sub);
}

/// Files made under a restriction.
fn making(place: &Place, dir: i32) {
    for (name, resolve) in RESOLVE {
        for path in ["new", "dir/new", "dlink/new", "../new", "/new", "dangling", "adangling", "up/x/new", "rootlink/new"] {
            let outside = path.starts_with('/') || path.starts_with("rootlink");
            // Without a restriction these would write to the machine's own root.
            if outside && resolve & (8 | 16) == 0 {
                continue;
            }
            let how = [(libc::O_CREAT | libc::O_WRONLY) as u64, 0o640, *resolve];
            let seen = descriptor(sys!(openat2, dir, &*c(path), how.as_ptr(), 24));
            println!("openat2 CREAT {name} {path} = {seen}");
            sys!(unlinkat, dir, c"new", 0);
            sys!(unlinkat, dir, c"dir/new", 0);
            sys!(unlinkat, dir, c"../new", 0);
            sys!(unlinkat, dir, c"nowhere", 0);
            sys!(unlinkat, dir, c"nothing", 0);
        }
    }
    for n in 38..=super::tree::HOPS {
        place.hops();
        let how = [libc::O_PATH as u64, 0, 16];
        let path = c(format!("hop{n}/file"));
        println!("openat2 IN_ROOT hop{n}/file = {}", descriptor(sys!(openat2, dir, &*path, how.as_ptr(), 24)));
    }
}

/// The structure: sizes, unknown bits, modes without creation, pointers.
fn structure(dir: i32) {
    let edge = Edge::new(2);
    let how = [0u64; 3];
    for size in [0usize, 8, 16, 23, 24, 25, 32, 4096, 4097, 1 << 20] {
        let mut long = vec![0u8; 5000];
        let r = if size <= 5000 { sys!(openat2, dir, c"file", long.as_mut_ptr(), size) } else { sys!(openat2, dir, c"file", how.as_ptr(), size) };
        println!("openat2 size {size} = {}", descriptor(r));
    }
    let mut future = [0u64; 4];
    println!("openat2 longer, zero = {}", descriptor(sys!(openat2, dir, c"file", future.as_ptr(), 32)));
    future[3] = 1;
    println!("openat2 longer, set = {}", descriptor(sys!(openat2, dir, c"file", future.as_ptr(), 32)));
    println!("openat2 longer, set, missing = {}", descriptor(sys!(openat2, dir, c"missing", future.as_ptr(), 32)));
    for (what, how) in [
        ("mode without CREAT", [0, 0o600, 0]),
        ("mode too large", [libc::O_CREAT as u64, 0o17777, 0]),
        ("unknown flag", [1 << 40, 0, 0]),
        ("unknown low flag", [1 << 30, 0, 0]),
        ("PATH and CREAT", [(libc::O_PATH | libc::O_CREAT) as u64, 0o600, 0]),
        ("PATH and DIRECTORY", [(libc::O_PATH | libc::O_DIRECTORY) as u64, 0, 0]),
        ("TMPFILE read only", [libc::O_TMPFILE as u64, 0o600, 0]),
        ("CREAT DIRECTORY", [(libc::O_CREAT | libc::O_DIRECTORY) as u64, 0o600, 0]),
        ("resolve high bits", [0, 0, 1 << 33]),
        ("CACHED", [0, 0, 32]),
        ("CACHED and TRUNC", [(libc::O_TRUNC | libc::O_WRONLY) as u64, 0, 32]),
    ] {
        for path in [c"file", c"missing", c"dir"] {
            // Whether RESOLVE_CACHED finds the path in the cache is luck; only what it refuses is the same each time.
            let r = sys!(openat2, dir, path, how.as_ptr(), 24);
            let seen = if what == "CACHED" { "any".to_owned() } else { descriptor(r) };
            println!("openat2 {what} {} = {seen}", bytes(path.to_bytes()));
            if what == "CACHED" && r >= 0 {
                sys!(close, r);
            }
        }
    }
    println!("openat2 null how = {}", descriptor(sys!(openat2, dir, c"file", 0usize, 24)));
    println!("openat2 how beyond = {}", descriptor(sys!(openat2, dir, c"file", edge.beyond(), 24)));
    let bytes24 = [0u8; 24];
    println!("openat2 how at edge = {}", descriptor(sys!(openat2, dir, c"file", edge.put(&bytes24), 24)));
    println!("openat2 how over edge = {}", descriptor(sys!(openat2, dir, c"file", edge.put(&bytes24), 32)));
    println!("openat2 null path = {}", descriptor(sys!(openat2, dir, 0usize, how.as_ptr(), 24)));
    println!("openat2 null path, bad size = {}", descriptor(sys!(openat2, dir, 0usize, how.as_ptr(), 3)));
    println!("openat2 bad descriptor = {}", descriptor(sys!(openat2, 99, c"file", how.as_ptr(), 24)));
}
