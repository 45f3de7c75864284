//! Listings with a buffer of any size, and what lseek(2) does to them.

use crate::raw::{c, old};
use crate::sc;
use libc::*;

struct Entry {
    name: String,
    kind: u8,
    ino: u64,
    next: i64,
}

fn read(fd: i64, size: usize) -> Vec<Entry> {
    try_read(fd, size).unwrap_or_else(|n| panic!("getdents64: {n}"))
}

fn try_read(fd: i64, size: usize) -> Result<Vec<Entry>, i64> {
    let mut buf = vec![0u8; size];
    let n = sc!(SYS_getdents64, fd, buf.as_mut_ptr(), size);
    if n < 0 {
        return Err(n);
    }
    let mut at = 0;
    let mut out = vec![];
    while at < n as usize {
        let b = &buf[at..];
        let len = u16::from_ne_bytes([b[16], b[17]]) as usize;
        let name = &b[19..len];
        let name = &name[..name.iter().position(|&x| x == 0).expect("a NUL")];
        out.push(Entry {
            name: String::from_utf8_lossy(name).into(),
            kind: b[18],
            ino: u64::from_ne_bytes(b[..8].try_into().expect("8")),
            next: i64::from_ne_bytes(b[8..16].try_into().expect("8")),
        });
        at += len;
    }
    Ok(out)
}

/// As [`all`], with a buffer that is always too small at first.
fn grudging(fd: i64) -> Vec<Entry> {
    let mut out = vec![];
    let mut size = 16;
    loop {
        match try_read(fd, size) {
            Ok(more) if more.is_empty() || out.len() > 10_000 => return out,
            Ok(more) => {
                out.extend(more);
                size = 16;
            }
            Err(n) if n == -i64::from(EINVAL) && size < 400 => size += 8,
            Err(n) => panic!("getdents64 with {size} bytes: {n}"),
        }
    }
}

fn all(fd: i64, size: usize) -> Vec<Entry> {
    let mut out = vec![];
    loop {
        let more = read(fd, size);
        if more.is_empty() {
            return out;
        }
        out.extend(more);
    }
}

/// Prints each name once with what stat says of it; exits 1 where anything disagrees.
pub fn run(dir: &str, size: usize) -> i32 {
    let fd = sc!(old::open, c(dir.as_bytes()).as_ptr(), O_RDONLY | O_DIRECTORY);
    assert!(fd >= 0, "open: {fd}");
    let first = all(fd, size);
    let mut bad = 0;
    let mut names: Vec<&str> = first.iter().map(|e| e.name.as_str()).collect();
    names.sort_unstable();
    println!("{}", names.join(" "));
    if names.windows(2).any(|w| w[0] == w[1]) {
        println!("BAD: a name twice");
        bad += 1;
    }
    for e in &first {
        let mut st: stat = unsafe { std::mem::zeroed() };
        let r = sc!(SYS_newfstatat, fd, c(e.name.as_bytes()).as_ptr(), &raw mut st, AT_SYMLINK_NOFOLLOW);
        let kind = ((st.st_mode & S_IFMT) >> 12) as u8;
        // What is mounted has another inode than its mount point: only what prun shows is held to stat's.
        let foreign = e.ino != st.st_ino && std::env::var_os("STRICT").is_some_and(|s| s == *e.name);
        if r < 0 || kind != e.kind || foreign {
            println!("BAD: {} r={r} type {} for {kind}, inode {} for {}", e.name, e.kind, e.ino, st.st_ino);
            bad += 1;
        }
    }
    let list = |v: &[Entry]| v.iter().map(|e| e.name.clone()).collect::<Vec<_>>();
    sc!(SYS_lseek, fd, 0, SEEK_SET);
    if list(&all(fd, size)) != list(&first) {
        println!("BAD: rewound, it lists something else");
        bad += 1;
    }
    sc!(SYS_lseek, fd, 0, SEEK_SET);
    if list(&grudging(fd)) != list(&first) {
        println!("BAD: with buffers that are too small, it lists something else");
        bad += 1;
    }
    for (i, e) in first.iter().enumerate() {
        sc!(SYS_lseek, fd, e.next, SEEK_SET);
        if list(&all(fd, size)) != list(&first[i + 1..]) {
            println!("BAD: after {} at {} come other names", e.name, e.next);
            bad += 1;
        }
    }
    i32::from(bad > 0)
}
