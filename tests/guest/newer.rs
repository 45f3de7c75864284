//! close_range(2) and copy_file_range(2) in many ways, each in a process of its own.

use crate::raw::{c, name};
use crate::sc;
use libc::*;
use std::io::Write;

/// `newer DIR OTHER SHARE`: OTHER is a folder on another file system; one of SHARE cases is tried, and each copy
/// that is nothing special.
pub fn run(dir: &str, other: &str, share: u64) -> i32 {
    let mut number = 0;
    let edges = [3u64, 9, 10, 12, 21, 41, 63, u32::MAX as u64, 1 << 32];
    for first in edges {
        for last in edges {
            for flags in [0u64, 2, 4, 6, 9] {
                // What would close the standard descriptors is done from 3 on.
                if (first as u32) < 3 && (last as u32) >= first as u32 {
                    continue;
                }
                number += 1;
                if number % share != 0 {
                    continue;
                }
                apart(|| {
                    let line = format!("close_range {first} {last} {flags} -> ");
                    let r = sc!(SYS_close_range, first, last, flags);
                    println!("{line}{} {}", name(r), open_ones());
                });
            }
        }
    }
    for flags in [0u64, 2, 4, 6] {
        apart(|| shared(flags));
    }
    apart(|| torn(20_u64.div_ceil(share)));
    copies(dir, other, share);
    0
}

/// In a child with descriptors 10 to 12, 20, 40 and 63 open, the latter to be closed at exec.
fn apart(case: impl FnOnce()) {
    std::io::stdout().flush().expect("open");
    unsafe {
        let child = fork();
        if child == 0 {
            let null = sc!(SYS_openat, AT_FDCWD, c"/dev/null".as_ptr(), O_RDWR | O_CLOEXEC) as i32;
            for fd in [10, 11, 12, 20, 40] {
                dup2(null, fd);
            }
            dup3(null, 63, O_CLOEXEC);
            case();
            std::io::stdout().flush().expect("open");
            _exit(0);
        }
        let mut status = 0;
        waitpid(child, &raw mut status, 0);
        if status != 0 {
            println!("status {status:x}");
        }
    }
}

fn open_ones() -> String {
    let one = |fd: i32| match sc!(SYS_fcntl, fd, F_GETFD) {
        r if r < 0 => None,
        flags => Some(format!("{fd}{}", if flags & 1 != 0 { "c" } else { "" })),
    };
    (3..100).filter_map(one).collect::<Vec<_>>().join(" ")
}

/// Two threads with one table: UNSHARE leaves the other's alone.
fn shared(flags: u64) {
    let r = std::thread::spawn(move || {
        let r = sc!(SYS_close_range, 10, 30, flags);
        (r, open_ones())
    });
    let (r, theirs) = r.join().expect("it ends");
    println!("close_range in a thread {flags} -> {} {theirs}; the other has {}", name(r), open_ones());
}

static TORN: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);

/// Signals of one round, at most: where they come faster than they are handled, nothing else would happen any more.
const ROUND: u32 = 50;
static LOOKS: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);

extern "C" fn look(_: i32) {
    if LOOKS.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == ROUND {
        let never: itimerval = unsafe { std::mem::zeroed() };
        sc!(SYS_setitimer, ITIMER_REAL, &raw const never, 0);
    }
    let is = |fd: i32| sc!(SYS_fcntl, fd, F_GETFD) >= 0;
    if is(110) != is(190) {
        TORN.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }
}

/// A handler finds all descriptors of a range open, or none; the guest's own mask is back afterwards.
fn torn(rounds: u64) {
    unsafe {
        let mut action: sigaction = std::mem::zeroed();
        action.sa_sigaction = look as extern "C" fn(i32) as usize;
        action.sa_flags = SA_RESTART;
        for _ in 0..rounds {
            signal(SIGALRM, SIG_IGN);
            for fd in 110..=190 {
                dup2(10, fd);
            }
            sigaction(SIGALRM, &raw const action, std::ptr::null_mut());
            LOOKS.store(0, std::sync::atomic::Ordering::Relaxed);
            let timer = crate::raw::alarm_each(300);
            sc!(SYS_setitimer, ITIMER_REAL, &raw const timer, 0);
            sc!(SYS_close_range, 110, 190, 0);
        }
        let mut mask = 0u64;
        sc!(SYS_rt_sigprocmask, SIG_BLOCK, 0, &raw mut mask, 8);
        println!("torn {} mask {mask:x}", TORN.load(std::sync::atomic::Ordering::Relaxed));
    }
}

fn copies(dir: &str, other: &str, share: u64) {
    let mut number = 0;
    let path = |d: &str, n: &str| c(format!("{d}/{n}").as_bytes());
    let open = |d: &str, n: &str, flags: i32| sc!(SYS_openat, AT_FDCWD, path(d, n).as_ptr(), flags, 0o644);
    let kinds =
        ["read", "write", "both", "append", "path", "dir", "pipe", "other", "same", "closed", "end", "empty"];
    let fd_of = |kind: &str, n: &str| -> i64 {
        match kind {
            "read" => open(dir, n, O_RDONLY),
            "write" => open(dir, n, O_WRONLY),
            "both" => open(dir, n, O_RDWR),
            "append" => open(dir, n, O_RDWR | O_APPEND),
            "path" => open(dir, n, O_PATH),
            "dir" => open(dir, ".", O_RDONLY),
            "pipe" => {
                let mut ends = [0i32; 2];
                sc!(SYS_pipe2, ends.as_mut_ptr(), 0);
                i64::from(ends[if n == "from" { 0 } else { 1 }])
            }
            "other" => open(other, n, O_RDWR),
            "same" => open(dir, "from", O_RDWR),
            "end" => {
                let fd = open(dir, n, O_RDWR);
                sc!(SYS_lseek, fd, 0, SEEK_END);
                fd
            }
            "empty" => open(dir, "empty", O_RDWR),
            _ => 999,
        }
    };
    let reset = || {
        for d in [dir, other] {
            for (n, text) in [("from", "0123456789abcdef"), ("to", "ABCDEFGHIJ"), ("empty", "")] {
                let fd = open(d, n, O_CREAT | O_TRUNC | O_WRONLY);
                sc!(SYS_write, fd, text.as_ptr(), text.len());
                sc!(SYS_close, fd);
            }
        }
    };
    for from in kinds {
        for to in ["write", "append", "path", "dir", "other", "same", "read"] {
            for (at_in, at_out) in
                [("-", "-"), ("3", "-"), ("-", "2"), ("far", "-"), ("below", "-"), ("bad", "-")]
            {
                for (len, flags) in [(5u64, 0u64), (1 << 40, 0), (u64::MAX, 0), (5, 1)] {
                    number += 1;
                    let plain = (to, at_in, at_out, len, flags) == ("write", "-", "-", 5, 0);
                    if number % share != 0 && !plain {
                        continue;
                    }
                    reset();
                    let (source, target) = (fd_of(from, "from"), fd_of(to, "to"));
                    let mut at = [0i64, 2];
                    let offset = |what: &str, place: *mut i64| -> u64 {
                        match what {
                            "-" => return 0,
                            "bad" => return 8,
                            "far" => unsafe { *place = 1000 },
                            "below" => unsafe { *place = -1 },
                            n => unsafe { *place = n.parse().expect("a number") },
                        }
                        place as u64
                    };
                    let (p, q) = (offset(at_in, &raw mut at[0]), offset(at_out, &raw mut at[1]));
                    let r = sc!(SYS_copy_file_range, source, p, target, q, len, flags);
                    let seek = |fd: i64| name(sc!(SYS_lseek, fd, 0, SEEK_CUR));
                    let file = std::fs::read(format!("{dir}/to")).unwrap_or_default();
                    println!(
                        "copy_file_range {from} {to} {at_in} {at_out} {len} {flags} -> {} {at:?} {} {} {}",
                        name(r),
                        seek(source),
                        seek(target),
                        file.escape_ascii()
                    );
                    for fd in [source, target] {
                        if fd > 2 && fd < 900 {
                            sc!(SYS_close, fd);
                        }
                    }
                }
            }
        }
    }
}
