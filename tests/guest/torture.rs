//! Threads under timers whose handlers make path calls themselves: after each call every register is compared.

use crate::raw::{c, old};
use crate::sc;
use libc::*;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

static BAD: AtomicU64 = AtomicU64::new(0);
static CALLS: AtomicU64 = AtomicU64::new(0);
static HANDLED: AtomicU64 = AtomicU64::new(0);
static mut PATH: [u8; 4096] = [0; 4096];

fn path() -> *const u8 {
    (&raw const PATH).cast()
}

/// One call with every register known before and compared after.
fn checked(nr: i64, a: [u64; 6], expected: impl Fn(i64) -> bool) {
    let (nr, a) = old::newer(nr, a);
    let (r, intact) = unsafe { prun_arch::harness::watched(nr, a) };
    CALLS.fetch_add(1, Relaxed);
    if !intact || !expected(r) {
        if BAD.fetch_add(1, Relaxed) < 5 {
            println!("BAD call {nr}: result {r}, registers intact: {intact}");
        }
    }
}

extern "C" fn handler(_: i32) {
    HANDLED.fetch_add(1, Relaxed);
    let mut st = [0u8; 256];
    if sc!(SYS_newfstatat, AT_FDCWD, path(), st.as_mut_ptr(), 0) != 0 {
        BAD.fetch_add(1, Relaxed);
    }
}

fn install(signal: i32, flags: i32) {
    unsafe {
        let mut sa: sigaction = std::mem::zeroed();
        sa.sa_sigaction = handler as extern "C" fn(i32) as usize;
        sa.sa_flags = flags;
        sigaction(signal, &raw const sa, std::ptr::null_mut());
    }
}

/// `dir/f` exists with four bytes; `calls` per thread.
pub fn run(dir: &str, calls: u64) -> i32 {
    let file = format!("{dir}/f\0");
    unsafe { std::ptr::copy_nonoverlapping(file.as_ptr(), (&raw mut PATH).cast(), file.len()) };
    install(SIGALRM, SA_RESTART);
    install(SIGUSR1, SA_RESTART);
    install(SIGUSR2, 0);
    let tick = |micros| {
        let it = crate::raw::alarm_each(micros);
        unsafe { setitimer(ITIMER_REAL, &raw const it, std::ptr::null_mut()) };
    };
    tick(300);
    let missing = c(format!("{dir}/missing").as_bytes());
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let missing = missing.clone();
            std::thread::spawn(move || {
                let mut st = vec![0u8; 512];
                for i in 0..calls {
                    let at = AT_FDCWD as u64;
                    match i % 4 {
                        0 => checked(
                            SYS_newfstatat,
                            [at, path() as u64, st.as_mut_ptr() as u64, 0, 5, 6],
                            |r| r == 0,
                        ),
                        1 => checked(old::stat, [path() as u64, st.as_mut_ptr() as u64, 3, 4, 5, 6], |r| {
                            r == 0
                        }),
                        2 => checked(old::access, [missing.as_ptr() as u64, 0, 3, 4, 5, 6], |r| {
                            r == -i64::from(ENOENT)
                        }),
                        _ => checked(SYS_openat, [at, path() as u64, O_RDONLY as u64, 0, 5, 6], |r| {
                            sc!(SYS_close, r);
                            r >= 0
                        }),
                    }
                }
            })
        })
        .collect();
    for t in threads {
        t.join().expect("the thread ends");
    }
    tick(0);
    fifo(dir);
    let bad = BAD.load(Relaxed);
    println!("calls {} handlers {} bad {bad}", CALLS.load(Relaxed), HANDLED.load(Relaxed) > 0);
    i32::from(bad > 0)
}

/// An open that blocks is interrupted, restarted, stopped and continued.
fn fifo(dir: &str) {
    let p = c(format!("{dir}/fifo").as_bytes());
    sc!(SYS_mknodat, AT_FDCWD, p.as_ptr(), S_IFIFO | 0o600, 0);
    let me = sc!(SYS_getpid);
    let after = |signals: &[i32], opens: bool| {
        let child = sc!(old::fork);
        if child == 0 {
            for &s in signals {
                unsafe { usleep(30_000) };
                sc!(SYS_kill, me, s);
            }
            unsafe { usleep(30_000) };
            let fd = if opens { sc!(old::open, p.as_ptr(), O_RDONLY) } else { 0 };
            sc!(SYS_exit_group, i64::from(fd < 0));
        }
        child
    };
    let reap = |child: i64| while sc!(SYS_wait4, child, 0, 0, 0) == -i64::from(EINTR) {};
    let check = |what: &str, good: bool| {
        if !good {
            BAD.fetch_add(1, Relaxed);
            println!("BAD {what}");
        }
    };
    // Again and again: one that comes before the open must not leave it waiting for ever.
    let child = after(&[SIGUSR2; 1000], false);
    check("EINTR without SA_RESTART", sc!(old::open, p.as_ptr(), O_WRONLY) == -i64::from(EINTR));
    sc!(SYS_kill, child, SIGKILL);
    reap(child);
    for signals in [&[SIGUSR1, SIGUSR1, SIGUSR1][..], &[SIGSTOP, SIGCONT, SIGWINCH], &[SIGCONT]] {
        let child = after(signals, true);
        let r = sc!(old::open, p.as_ptr(), O_WRONLY);
        check("restarted open", r >= 0);
        sc!(SYS_close, r);
        reap(child);
    }
}
