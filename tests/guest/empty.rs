//! Calls that prun answers in the program after a while: fstat(3) as glibc 2.33 to 2.38 makes it, newfstatat(2) with an
//! empty path, and lookups of one name in an open directory. Everything must stay as the kernel does it, registers and
//! flags included, also for signal handlers.

use crate::raw::{c, name, old};
use crate::sc;
use libc::*;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

static STRANGE: AtomicU64 = AtomicU64::new(0);
static HANDLED: AtomicU64 = AtomicU64::new(0);

fn call(fd: u64, path: u64, buffer: u64, flags: u64, extra: u64, state: u64) -> (i64, bool) {
    said(unsafe { prun_arch::harness::stat_site([fd, path, buffer, flags, extra, 0], state) })
}

fn open(fd: u64, path: u64, flags: u64, mode: u64, extra: u64, state: u64) -> (i64, bool) {
    said(unsafe { prun_arch::harness::open_site([fd, path, flags, mode, extra, 0], state) })
}

fn said(done: (i64, bool)) -> (i64, bool) {
    if !done.1 {
        println!("BAD registers");
    }
    done
}

extern "C" fn handler(_: i32, _: *mut siginfo_t, context: *mut c_void) {
    let at = unsafe { prun_arch::harness::interrupted(context) };
    HANDLED.fetch_add(1, Relaxed);
    if at < 0x4_0000 || (prun_arch::WINDOW..prun_arch::WINDOW + 0x1000).contains(&at) {
        STRANGE.fetch_add(1, Relaxed);
    }
}

pub fn run(dir: &str, rounds: u64) -> i32 {
    unsafe {
        let mut sa: sigaction = std::mem::zeroed();
        sa.sa_sigaction = handler as extern "C" fn(i32, *mut siginfo_t, *mut c_void) as usize;
        sa.sa_flags = SA_SIGINFO | SA_RESTART;
        sigaction(SIGALRM, &raw const sa, std::ptr::null_mut());
        let it = crate::raw::alarm_each(250);
        setitimer(ITIMER_REAL, &raw const it, std::ptr::null_mut());
    }
    let file = sc!(old::open, c(format!("{dir}/f").as_bytes()).as_ptr(), O_RDONLY) as u64;
    let folder = sc!(old::open, c(dir.as_bytes()).as_ptr(), O_RDONLY) as u64;
    let (empty, f, missing) = (c"".as_ptr() as u64, c"f".as_ptr() as u64, c"missing".as_ptr() as u64);
    let absolute = c(format!("{dir}/f").as_bytes());
    let here = AT_FDCWD as u64;
    let dash = AT_EMPTY_PATH as u64;
    let nofollow = AT_SYMLINK_NOFOLLOW as u64;
    let (long, tail) = (c(&[b'n'; 300]), c(b"f/"));
    let (long, tail, tied) = (long.as_ptr() as u64, tail.as_ptr() as u64, c"tied".as_ptr() as u64);
    let (dot, dots) = (c".".as_ptr() as u64, c"..".as_ptr() as u64);
    let cases: [(&str, u64, u64, u64); 25] = [
        ("file", file, empty, dash),
        ("folder", folder, empty, dash),
        ("garbage above the descriptor", file | 0xdead << 32, empty, dash),
        ("garbage above the flags", file, empty, dash | 7 << 40),
        ("no such descriptor", 77, empty, dash),
        ("negative descriptor", -1i64 as u64, empty, dash),
        ("large descriptor", 0x0100_0000, empty, dash),
        ("current directory", here, empty, dash),
        ("name below", folder, f, dash),
        ("missing name below", folder, missing, dash),
        ("absolute", folder, absolute.as_ptr() as u64, dash),
        ("no flag", folder, empty, 0),
        ("two flags", folder, empty, dash | AT_SYMLINK_NOFOLLOW as u64),
        ("bad pointer", file, 8, dash),
        ("name, not followed", folder, f, nofollow),
        ("link, not followed", folder, tied, nofollow),
        ("link, followed", folder, tied, 0),
        ("missing name, not followed", folder, missing, nofollow),
        ("name in a file", file, f, nofollow),
        ("long name", folder, long, nofollow),
        ("name with a slash", folder, tail, nofollow),
        ("dot", folder, dot, nofollow),
        ("dots", folder, dots, nofollow),
        ("name nowhere", 77, f, nofollow),
        ("bad pointer, not followed", folder, 8, nofollow),
    ];
    let mut bad = 0;
    for (label, fd, path, flags) in cases {
        let mut seen: Vec<(i64, u64, u32)> = vec![];
        for round in 0..rounds {
            let mut st: stat = unsafe { std::mem::zeroed() };
            let rflags = if round % 2 == 0 { 0x246 } else { 0x8d7 };
            let (result, good) = call(fd, path, &raw mut st as u64, flags, round, rflags);
            bad += i32::from(!good);
            let new =
                (result, st.st_size as u64 * u64::from(st.st_mode & S_IFMT == S_IFREG), st.st_mode & S_IFMT);
            if !seen.contains(&new) {
                seen.push(new);
            }
        }
        let texts: Vec<String> =
            seen.iter().map(|(r, size, mode)| format!("{} {size} {mode:o}", name(*r))).collect();
        println!("{label}: {}", texts.join(", "));
    }
    for (label, path, flags) in [
        ("open", f, O_NOFOLLOW),
        ("open a link", tied, O_NOFOLLOW),
        ("open a link's entry", tied, O_NOFOLLOW | O_PATH),
        ("open a link, followed", tied, 0),
        ("open a missing name", missing, O_NOFOLLOW),
        ("open to write", f, O_NOFOLLOW | O_WRONLY),
        ("open to write what is missing", missing, O_NOFOLLOW | O_WRONLY),
        ("open as a directory", f, O_NOFOLLOW | O_DIRECTORY),
        ("open a long name", long, O_NOFOLLOW),
        ("open a bad pointer", 8, O_NOFOLLOW),
    ] {
        let mut seen: Vec<String> = vec![];
        for round in 0..rounds {
            let (result, good) =
                open(folder, path, flags as u64, 0, round, if round % 2 == 0 { 0x246 } else { 0x8d7 });
            bad += i32::from(!good);
            let text = if result < 0 { name(result) } else { "opened".into() };
            if !seen.contains(&text) {
                seen.push(text);
            }
            sc!(SYS_close, result);
        }
        println!("{label}: {seen:?}");
    }
    // Bad memory for the answer.
    println!("bad buffer: {}", name(call(file, empty, 16, dash, 0, 0x246).0));
    // Natively all this may be over before the timer's first signal.
    let begin = std::time::Instant::now();
    while HANDLED.load(Relaxed) == 0 && begin.elapsed().as_secs() < 10 {
        std::hint::spin_loop();
    }
    println!("handled {} strange {} bad {bad}", HANDLED.load(Relaxed) > 0, STRANGE.load(Relaxed));
    0
}
