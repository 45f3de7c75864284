//! Threads under timers whose handlers make path calls themselves: after each call every register is compared.

use crate::raw::c;
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

/// One call with every register known before and compared after; also the 128 bytes below the stack pointer.
fn checked(nr: i64, a: [u64; 6], expected: impl Fn(i64) -> bool) {
    // rdi rsi rdx r10 r8 r9 rbx? (reserved) rbp? (reserved) r12 r13 r14 r15 rax rcx-ok
    let mut after = [0u64; 12];
    let before = [a[0], a[1], a[2], a[3], a[4], a[5], 0x1212, 0x1313, 0x1414, 0x1515];
    let r: i64;
    unsafe {
        std::arch::asm!(
            "sub rsp, 256",
            "mov qword ptr [rsp + 248], r11",
            "mov r11, 0x5a5a5a5a",
            "mov qword ptr [rsp - 8], r11",
            "mov qword ptr [rsp - 64], r11",
            "mov qword ptr [rsp - 128], r11",
            "syscall",
            "2:",
            "mov qword ptr [rsp + 240], rcx",
            "lea rcx, [rip + 2b]",
            "cmp rcx, qword ptr [rsp + 240]",
            "mov rcx, qword ptr [rsp + 248]",
            "mov qword ptr [rcx + 80], 0",
            "je 3f",
            "mov qword ptr [rcx + 80], 1",
            "3:",
            "mov qword ptr [rcx], rdi", "mov qword ptr [rcx + 8], rsi", "mov qword ptr [rcx + 16], rdx",
            "mov qword ptr [rcx + 24], r10", "mov qword ptr [rcx + 32], r8", "mov qword ptr [rcx + 40], r9",
            "mov qword ptr [rcx + 48], r12", "mov qword ptr [rcx + 56], r13", "mov qword ptr [rcx + 64], r14",
            "mov qword ptr [rcx + 72], r15",
            "mov r11, 0x5a5a5a5a",
            "mov qword ptr [rcx + 88], 0",
            "cmp qword ptr [rsp - 8], r11", "jne 4f",
            "cmp qword ptr [rsp - 64], r11", "jne 4f",
            "cmp qword ptr [rsp - 128], r11", "je 5f",
            "4:", "mov qword ptr [rcx + 88], 1",
            "5:",
            "add rsp, 256",
            inlateout("rax") nr => r,
            inlateout("rdi") a[0] => _, inlateout("rsi") a[1] => _, inlateout("rdx") a[2] => _,
            inlateout("r10") a[3] => _, inlateout("r8") a[4] => _, inlateout("r9") a[5] => _,
            inlateout("r12") 0x1212u64 => _, inlateout("r13") 0x1313u64 => _, inlateout("r14") 0x1414u64 => _,
            inlateout("r15") 0x1515u64 => _,
            inlateout("r11") after.as_mut_ptr() => _, lateout("rcx") _,
        );
    }
    CALLS.fetch_add(1, Relaxed);
    if after[..10] != before || after[10] != 0 || after[11] != 0 || !expected(r) {
        if BAD.fetch_add(1, Relaxed) < 5 {
            println!("BAD call {nr}: result {r} after {after:x?} before {before:x?}");
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
    let tick = |micros| unsafe {
        let t = timeval { tv_sec: 0, tv_usec: micros };
        let it = itimerval { it_interval: t, it_value: t };
        setitimer(ITIMER_REAL, &raw const it, std::ptr::null_mut());
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
                        1 => {
                            checked(SYS_stat, [path() as u64, st.as_mut_ptr() as u64, 3, 4, 5, 6], |r| r == 0)
                        }
                        2 => checked(SYS_access, [missing.as_ptr() as u64, 0, 3, 4, 5, 6], |r| {
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
        let child = sc!(SYS_fork);
        if child == 0 {
            for &s in signals {
                unsafe { usleep(30_000) };
                sc!(SYS_kill, me, s);
            }
            unsafe { usleep(30_000) };
            let fd = if opens { sc!(SYS_open, p.as_ptr(), O_RDONLY) } else { 0 };
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
    let child = after(&[SIGUSR2], false);
    check("EINTR without SA_RESTART", sc!(SYS_open, p.as_ptr(), O_WRONLY) == -i64::from(EINTR));
    reap(child);
    for signals in [&[SIGUSR1, SIGUSR1, SIGUSR1][..], &[SIGSTOP, SIGCONT, SIGWINCH], &[SIGCONT]] {
        let child = after(signals, true);
        let r = sc!(SYS_open, p.as_ptr(), O_WRONLY);
        check("restarted open", r >= 0);
        sc!(SYS_close, r);
        reap(child);
    }
}
