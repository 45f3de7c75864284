//! Many tasks at once, and many one after the other: who runs it watches the tracer meanwhile.

use crate::raw::{c, old};
use crate::sc;
use libc::*;
use std::io::{Read, Write};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

pub fn run(rest: &[&str]) -> i32 {
    println!("pid {}", sc!(SYS_getpid));
    let number = |i: usize| rest[i].parse().expect("a number");
    match rest[0] {
        "crowd" => crowd(rest[1], number(2), number(3)),
        _ => soak(rest[1], number(2) as u64),
    }
}

fn busy(path: &std::ffi::CStr, calls: usize) -> bool {
    (0..calls).all(|_| sc!(old::access, path.as_ptr(), F_OK) == 0)
}

/// Threads of one process, for some of the tasks.
const THREADS: usize = 100;

/// `processes` with one thread each and `threads` in others: all make calls, are there at once until standard input
/// has something to say, and make calls again.
fn crowd(path: &str, processes: usize, threads: usize) -> i32 {
    let path = c(path.as_bytes());
    let (mut ready, mut go) = ([0i32; 2], [0i32; 2]);
    sc!(SYS_pipe2, ready.as_mut_ptr(), 0);
    sc!(SYS_pipe2, go.as_mut_ptr(), 0);
    let work = |path: &std::ffi::CStr| {
        let mut byte = [0u8; 1];
        let mut good = busy(path, 20);
        sc!(SYS_write, ready[1], b"x".as_ptr(), 1);
        // The end comes when the writer has closed it.
        sc!(SYS_read, go[0], byte.as_mut_ptr(), 1);
        good &= busy(path, 20);
        good
    };
    let mut children = vec![];
    for i in 0..processes + threads / THREADS {
        let child = sc!(old::fork);
        if child == 0 {
            sc!(SYS_close, go[1]);
            let mut good = true;
            if i >= processes {
                std::thread::scope(|all| {
                    let others: Vec<_> = (1..THREADS).map(|_| all.spawn(|| work(&path))).collect();
                    good &= work(&path);
                    good &= others.into_iter().all(|t| t.join().expect("it does not panic"));
                });
            } else {
                good = work(&path);
            }
            sc!(SYS_exit_group, i64::from(!good));
        }
        children.push(child);
    }
    let expected = processes + threads / THREADS * THREADS;
    let mut heard = 0usize;
    let mut bytes = [0u8; 4096];
    while heard < expected {
        let n = sc!(SYS_read, ready[0], bytes.as_mut_ptr(), 4096);
        if n <= 0 {
            break;
        }
        heard += n as usize;
    }
    println!("ready {heard}");
    std::io::stdout().flush().expect("somebody reads");
    std::io::stdin().read_exact(&mut [0]).expect("a word");
    sc!(SYS_close, go[1]);
    let mut bad = 0;
    for child in children {
        let mut status = 1i32;
        sc!(SYS_wait4, child, &raw mut status, 0, 0);
        bad += i32::from(status != 0);
    }
    println!("done bad {bad}");
    bad
}

static SEEN: AtomicU64 = AtomicU64::new(0);

extern "C" fn handler(_: i32) {
    SEEN.fetch_add(1, Relaxed);
    sc!(old::access, c"/usr".as_ptr(), F_OK);
}

/// For so many seconds: children that execute, are killed and have threads, signals, sockets, directories entered and
/// left, files made and removed. Each second it says how many tasks have ended so far.
fn soak(dir: &str, seconds: u64) -> i32 {
    let p = |name: &str| c(format!("{dir}/{name}").as_bytes());
    unsafe { signal(SIGUSR1, handler as extern "C" fn(i32) as usize) };
    let (start, mut told) = (Instant::now(), 0);
    let (mut ended, mut bad, mut round) = (0u64, 0u64, 0u64);
    while start.elapsed() < Duration::from_secs(seconds) {
        round += 1;
        let child = sc!(old::fork);
        if child == 0 {
            sc!(SYS_chdir, c(dir.as_bytes()).as_ptr());
            match round % 4 {
                0 => {
                    let (program, job, status) = (p("e"), c"exit", c"0");
                    let argv = [program.as_ptr(), job.as_ptr(), status.as_ptr(), std::ptr::null()];
                    sc!(SYS_execve, program.as_ptr(), argv.as_ptr(), 0);
                    sc!(SYS_exit_group, 9);
                }
                1 => {
                    let path = p("f");
                    let threads: Vec<_> = (0..3)
                        .map(|_| {
                            let path = path.clone();
                            std::thread::spawn(move || busy(&path, 10))
                        })
                        .collect();
                    threads.into_iter().for_each(|t| drop(t.join()));
                }
                2 => loop {
                    // Until it is killed.
                    sc!(old::access, p("f").as_ptr(), F_OK);
                },
                _ => {
                    let me = sc!(SYS_getpid);
                    for _ in 0..5 {
                        sc!(SYS_kill, me, SIGUSR1);
                        sc!(old::access, p("f").as_ptr(), F_OK);
                    }
                }
            }
            sc!(SYS_exit_group, 0);
        }
        ended += if round % 4 == 1 { 4 } else { 1 };
        let name = p(&format!("new{}", round % 7));
        let fd = sc!(old::open, name.as_ptr(), O_CREAT | O_WRONLY, 0o600);
        sc!(SYS_close, fd);
        let mut check = |what: &str, good: bool, r: i64| {
            if !good {
                bad += 1;
                println!("BAD {what} in round {round}: {r}");
            }
        };
        check("open", fd >= 0, fd);
        let r = sc!(old::unlink, name.as_ptr());
        check("unlink", r == 0, r);
        let sub = p(&format!("sub{}", round % 7));
        let r = sc!(old::mkdir, sub.as_ptr(), 0o755);
        check("mkdir", r == 0, r);
        sc!(SYS_chdir, sub.as_ptr());
        let r = sc!(old::access, c"../f".as_ptr(), F_OK);
        check("access", r == 0, r);
        sc!(SYS_chdir, c(dir.as_bytes()).as_ptr());
        sc!(old::rmdir, sub.as_ptr());
        if round % 4 == 2 {
            sc!(SYS_kill, child, SIGKILL);
        }
        let mut status = 0i32;
        while sc!(SYS_wait4, child, &raw mut status, 0, 0) == -i64::from(EINTR) {}
        check("child", status == if round % 4 == 2 { SIGKILL } else { 0 }, status.into());
        let second = start.elapsed().as_secs();
        if second > told {
            told = second;
            println!("tick {ended}");
            std::io::stdout().flush().expect("somebody reads");
        }
    }
    println!("done bad {bad}");
    i32::from(bad > 0)
}
