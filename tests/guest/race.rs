//! Readers while links and directories are swapped beneath them, by other threads and from outside; and what a task
//! can tell about the CPUs it may use.

use crate::raw::{c, old};
use crate::sc;
use libc::*;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// `dir` holds `a/x`, `b/x`, `c/x` with one letter each; `cur` is at every moment one of the directories or a link to
/// one, and `deep/p/q` leads to one by way of two. Each read must give one of the letters.
pub fn run(dir: &str, millis: u64) -> i32 {
    let p = |name: &str| c(format!("{dir}/{name}").as_bytes());
    for name in ["a", "b", "c"] {
        sc!(old::mkdir, p(name).as_ptr(), 0o755);
        std::fs::write(format!("{dir}/{name}/x"), name.to_uppercase()).expect("ours");
    }
    sc!(old::mkdir, p("deep").as_ptr(), 0o755);
    sc!(old::symlink, c"a".as_ptr(), p("cur").as_ptr());
    sc!(old::symlink, c"../cur".as_ptr(), p("deep/p").as_ptr());
    let over = AtomicBool::new(false);
    let (reads, bad, swaps) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|threads| {
        threads.spawn(|| {
            let mut i = 0u64;
            while !over.load(Relaxed) {
                let to = [c"a", c"b", c"c"][i as usize % 3];
                sc!(old::symlink, to.as_ptr(), p("new").as_ptr());
                sc!(old::rename, p("new").as_ptr(), p("cur").as_ptr());
                // The link and the directory b change places, and back.
                sc!(old::symlink, c"c".as_ptr(), p("swap").as_ptr());
                for _ in 0..2 {
                    sc!(
                        SYS_renameat2,
                        AT_FDCWD,
                        p("b").as_ptr(),
                        AT_FDCWD,
                        p("swap").as_ptr(),
                        RENAME_EXCHANGE
                    );
                    std::thread::yield_now();
                }
                sc!(old::unlink, p("swap").as_ptr());
                swaps.fetch_add(1, Relaxed);
                i += 1;
            }
        });
        for path in ["cur/x", "deep/p/x", "b/x", "deep/../b/./x"] {
            let (over, reads, bad) = (&over, &reads, &bad);
            threads.spawn(move || {
                let path = c(format!("{dir}/{path}").as_bytes());
                while !over.load(Relaxed) {
                    let fd = sc!(old::open, path.as_ptr(), O_RDONLY);
                    let mut letter = [0u8; 2];
                    let n = sc!(SYS_read, fd, letter.as_mut_ptr(), 2);
                    sc!(SYS_close, fd);
                    let found = sc!(old::access, path.as_ptr(), R_OK);
                    if !(n == 1 && matches!(letter[0], b'A'..=b'C') && found == 0)
                        && bad.fetch_add(1, Relaxed) < 5
                    {
                        println!("BAD {path:?}: open {fd} read {n} letter {letter:?} access {found}");
                    }
                    reads.fetch_add(1, Relaxed);
                }
            });
        }
        // So long, and longer where the machine has other things to do: who started it waits for minutes.
        let start = std::time::Instant::now();
        let pause = std::time::Duration::from_millis(20);
        while start.elapsed().as_millis() < millis.into()
            || reads.load(Relaxed) <= 100
            || swaps.load(Relaxed) <= 2
        {
            std::thread::sleep(pause);
        }
        over.store(true, Relaxed);
    });
    println!(
        "reads {} swaps {} bad {}",
        reads.load(Relaxed) > 100,
        swaps.load(Relaxed) > 2,
        bad.load(Relaxed)
    );
    i32::from(bad.load(Relaxed) > 0)
}

fn cpus() -> String {
    let mut set = [0u64; 16];
    let n = sc!(SYS_sched_getaffinity, 0, 128, set.as_mut_ptr());
    format!("{n} {:x?}", &set[..2])
}

/// The CPUs this task and its child may use, while it makes so many path calls between two looks.
pub fn affinity(calls: u32) -> i32 {
    let busy = || {
        for _ in 0..calls {
            sc!(old::access, c"/nonexistent".as_ptr(), F_OK);
        }
    };
    let allowed = || {
        let status = std::fs::read_to_string("/proc/self/status").expect("a status");
        status.lines().find(|l| l.starts_with("Cpus_allowed:")).map(str::to_owned)
    };
    busy();
    println!("hot: {}", cpus());
    busy();
    println!("in /proc: {:?}", allowed());
    busy();
    let child = sc!(old::fork);
    if child == 0 {
        println!("child: {}", cpus());
        busy();
        println!("child in /proc: {:?}", allowed());
        sc!(SYS_exit_group, 0);
    }
    sc!(SYS_wait4, child, 0, 0, 0);
    // What the task asks for is what it and its children have.
    let one = [1u64];
    println!("set: {}", sc!(SYS_sched_setaffinity, 0, 8, one.as_ptr()));
    busy();
    println!("after: {}", cpus());
    let child = sc!(old::fork);
    if child == 0 {
        busy();
        println!("child after: {}", cpus());
        sc!(SYS_exit_group, 0);
    }
    sc!(SYS_wait4, child, 0, 0, 0);
    0
}

/// `tasks` processes that each make `calls` path calls.
pub fn crowd(path: &str, tasks: usize, calls: u64) -> i32 {
    let path = c(path.as_bytes());
    let mut bad = 0;
    let children: Vec<i64> = (0..tasks)
        .map(|_| {
            let child = sc!(old::fork);
            if child == 0 {
                let mut st = [0u8; 256];
                let wrong =
                    (0..calls).filter(|_| sc!(old::stat, path.as_ptr(), st.as_mut_ptr()) != 0).count();
                sc!(SYS_exit_group, i64::from(wrong > 0));
            }
            child
        })
        .collect();
    for child in children {
        let mut status = 0i32;
        sc!(SYS_wait4, child, &raw mut status, 0, 0);
        bad += i32::from(status != 0);
    }
    println!("tasks {tasks} bad {bad}");
    bad
}

/// As [`crowd`] with one busy task among `idle` that sleep.
pub fn idle(path: &str, idle: usize, calls: u64) -> i32 {
    let children: Vec<i64> = (0..idle)
        .map(|_| {
            let child = sc!(old::fork);
            if child == 0 {
                loop {
                    sc!(old::pause);
                }
            }
            child
        })
        .collect();
    let bad = crowd(path, 1, calls);
    // They are heard too: each dies when it is told to.
    for child in children {
        sc!(SYS_kill, child, SIGTERM);
        sc!(SYS_wait4, child, 0, 0, 0);
    }
    bad
}
