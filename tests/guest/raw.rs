//! Raw system calls.

#[path = "shown.rs"]
mod shown;
pub use shown::{c, name, ok, openat2, pad};

/// A system call; the result as the kernel gives it: negative errno on failure.
pub fn sys(nr: i64, a: [u64; 6]) -> i64 {
    let (nr, a) = old::newer(nr, a);
    unsafe { prun_arch::harness::call(nr, a) }
}

/// A signal each so many microseconds, or, where `PRUN_TEST_SLOW` says that the machine is slow, less often: where handlers
/// take all the time, nothing else would happen any more.
pub fn alarm_each(micros: u16) -> libc::itimerval {
    let slow = std::env::var("PRUN_TEST_SLOW").map_or(1u64, |times| times.parse().expect("a number"));
    let each = libc::timeval { tv_sec: 0, tv_usec: (u64::from(micros) * (slow / 2).max(1)) as _ };
    libc::itimerval { it_interval: each, it_value: each }
}

/// Calls that newer CPUs do not have, by name; there the newer call that does the same is made.
#[allow(non_upper_case_globals)]
pub mod old {
    use libc::*;
    use prun_arch::Sysno;
    use prun_arch::abi::{NO_NUMBER, number};

    /// Names without a number stand above this, negated.
    const NAMES: i64 = 1000;

    /// The number of a call, or what stands for its name.
    pub const fn of(call: Sysno) -> i64 {
        let number = number(call);
        if number == NO_NUMBER { -NAMES - call as i64 } else { number as i64 }
    }

    macro_rules! names {
        ($($name:ident)*) => { $(pub const $name: i64 = of(Sysno::$name);)* };
    }
    names!(open stat lstat access mkdir rmdir unlink rename link symlink readlink chmod chown lchown utime utimes futimesat creat mknod fork pause alarm poll dup2 getpgrp fchmodat2);

    pub fn newer(nr: i64, a: [u64; 6]) -> (i64, [u64; 6]) {
        let Some(call) = (-nr).checked_sub(NAMES).and_then(|n| Sysno::new(n as usize)) else {
            return (nr, a);
        };
        let here = i64::from(AT_FDCWD) as u64;
        let nofollow = AT_SYMLINK_NOFOLLOW as u64;
        let [p, q, r, s, ..] = a;
        match call {
            Sysno::open => (SYS_openat, [here, p, q, r, 0, 0]),
            Sysno::creat => (SYS_openat, [here, p, (O_CREAT | O_WRONLY | O_TRUNC) as u64, q, 0, 0]),
            Sysno::stat => (SYS_newfstatat, [here, p, q, 0, 0, 0]),
            Sysno::lstat => (SYS_newfstatat, [here, p, q, nofollow, 0, 0]),
            Sysno::access => (SYS_faccessat, [here, p, q, 0, 0, 0]),
            Sysno::mkdir => (SYS_mkdirat, [here, p, q, 0, 0, 0]),
            Sysno::mknod => (SYS_mknodat, [here, p, q, r, 0, 0]),
            Sysno::rmdir => (SYS_unlinkat, [here, p, AT_REMOVEDIR as u64, 0, 0, 0]),
            Sysno::unlink => (SYS_unlinkat, [here, p, 0, 0, 0, 0]),
            Sysno::rename => (SYS_renameat2, [here, p, here, q, 0, 0]),
            Sysno::link => (SYS_linkat, [here, p, here, q, 0, 0]),
            Sysno::symlink => (SYS_symlinkat, [p, here, q, 0, 0, 0]),
            Sysno::readlink => (SYS_readlinkat, [here, p, q, r, 0, 0]),
            Sysno::chmod => (SYS_fchmodat, [here, p, q, 0, 0, 0]),
            Sysno::chown => (SYS_fchownat, [here, p, q, r, 0, 0]),
            Sysno::lchown => (SYS_fchownat, [here, p, q, r, nofollow, 0]),
            // Only the time that is now is asked for.
            Sysno::utime | Sysno::utimes => (SYS_utimensat, [here, p, 0, 0, 0, 0]),
            Sysno::futimesat => (SYS_utimensat, [p, q, 0, 0, 0, 0]),
            Sysno::fork => (SYS_clone, [SIGCHLD as u64, 0, 0, 0, 0, 0]),
            Sysno::pause => (SYS_ppoll, [0; 6]),
            // For ever, or not at all.
            Sysno::poll if r as i32 == -1 => (SYS_ppoll, [p, q, 0, 0, 0, 0]),
            Sysno::poll if r == 0 => (SYS_ppoll, [p, q, [0u64; 2].as_ptr() as u64, 0, 0, 0]),
            Sysno::alarm => {
                let timer = Box::leak(Box::new([0, 0, p, 0]));
                (SYS_setitimer, [0, timer.as_ptr() as u64, 0, 0, 0, 0])
            }
            Sysno::dup2 => (SYS_dup3, [p, q, 0, 0, 0, 0]),
            Sysno::getpgrp => (SYS_getpgid, [0; 6]),
            call => panic!("{} has no newer call ({s})", call.name()),
        }
    }
}
