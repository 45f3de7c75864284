//! Children that nobody traces, name spaces, and what can be done to the tracer.

use super::*;

/// Children of clone(2) and clone3(2) that try to be traced by nobody.
fn untraced(world: &World, three: bool) -> Verdict {
    let path = world.outside("marker");
    let child = if three {
        let mut args = [0u64; 11];
        (args[0], args[4]) = (CLONE_UNTRACED as u64, SIGCHLD as u64);
        sc!(SYS_clone3, args.as_mut_ptr(), 88)
    } else {
        sc!(SYS_clone, CLONE_UNTRACED | SIGCHLD, 0, 0, 0, 0)
    };
    if child == 0 {
        sc!(old::alarm, 5);
        let status = if matches!(reaches(&path), Escapes(_)) { 77 } else { 0 };
        sc!(SYS_exit_group, status);
    }
    if ended(child) == 77 { Escapes("a child reads the marker".into()) } else { Confined }
}

/// In a child, after unshare(2); with the folder of a name space entered, where that is asked for.
fn unshared(world: &World, flags: i32, then: impl FnOnce() -> i64) -> Verdict {
    let path = world.outside("marker");
    let local = c(&path.to_bytes()[1..]);
    let status = in_child(|| {
        let r = sc!(SYS_unshare, flags);
        if r < 0 {
            return 1;
        }
        then();
        let absolute = reaches(&path);
        if matches!(first([absolute, reaches(&local)]), Escapes(_)) { 77 } else { 0 }
    });
    match status {
        77 => Escapes("reads the marker".into()),
        1 => Skip("no such name space".into()),
        _ => Confined,
    }
}

fn enter(path: &CStr, kind: i32) -> i64 {
    let fd = sc!(old::open, path.as_ptr(), O_RDONLY);
    sc!(SYS_setns, fd, kind)
}

pub const PROBES: &[Probe] = &[
    Probe { name: "clone, untraced", run: |w| untraced(w, false) },
    Probe { name: "clone3, untraced", run: |w| untraced(w, true) },
    Probe {
        name: "a child that outlives its parent",
        run: |w| {
            let path = w.outside("marker");
            let out = c(b"/tmp/orphan");
            sc!(old::unlink, out.as_ptr());
            let status = in_child(|| {
                if sc!(old::fork) == 0 {
                    sc!(SYS_setsid);
                    std::thread::sleep(std::time::Duration::from_millis(100));
                    if matches!(reaches(&path), Escapes(_)) {
                        sc!(SYS_close, sc!(old::open, out.as_ptr(), O_CREAT | O_WRONLY, 0o600));
                    }
                    sc!(SYS_exit_group, 0);
                }
                0
            });
            std::thread::sleep(std::time::Duration::from_millis(300));
            if status == 0 && sc!(old::access, out.as_ptr(), F_OK) == 0 {
                Escapes("an orphan reads the marker".into())
            } else {
                Confined
            }
        },
    },
    Probe {
        name: "a child traced by the guest",
        run: |w| {
            let path = w.outside("marker");
            let child = sc!(old::fork);
            if child == 0 {
                sc!(old::alarm, 5);
                sc!(SYS_ptrace, PTRACE_TRACEME, 0, 0, 0);
                let status = if matches!(reaches(&path), Escapes(_)) { 77 } else { 0 };
                sc!(SYS_exit_group, status);
            }
            // Seized and let go: whoever detaches leaves nobody behind.
            sc!(SYS_ptrace, 0x4206, child, 0, 0);
            sc!(SYS_ptrace, 17, child, 0, 0);
            if ended(child) == 77 { Escapes("a child reads the marker".into()) } else { Confined }
        },
    },
    Probe { name: "a new user name space", run: |w| unshared(w, CLONE_NEWUSER, || 0) },
    Probe { name: "a new mount name space", run: |w| unshared(w, CLONE_NEWUSER | CLONE_NEWNS, || 0) },
    Probe {
        name: "mount in a name space of its own",
        run: |w| {
            unshared(w, CLONE_NEWUSER | CLONE_NEWNS, || {
                sc!(SYS_mount, c(w.out.as_bytes()).as_ptr(), c"/tmp".as_ptr(), 0, MS_BIND, 0);
                sc!(SYS_chdir, c"/tmp".as_ptr())
            })
        },
    },
    Probe {
        name: "chroot in a name space of its own",
        run: |w| {
            unshared(w, CLONE_NEWUSER, || {
                let dir = sc!(old::open, c"/".as_ptr(), O_RDONLY);
                sc!(SYS_chroot, c"/tmp".as_ptr());
                sc!(SYS_fchdir, dir);
                (0..40).for_each(|_| {
                    sc!(SYS_chdir, c"..".as_ptr());
                });
                0
            })
        },
    },
    Probe {
        name: "setns to its own mount name space",
        run: |w| unshared(w, CLONE_NEWUSER | CLONE_NEWNS, || enter(c"/proc/self/ns/mnt", CLONE_NEWNS)),
    },
    Probe {
        name: "setns without saying what",
        run: |w| unshared(w, CLONE_NEWUSER | CLONE_NEWNS, || enter(c"/proc/self/ns/mnt", 0)),
    },
    Probe {
        name: "setns by a pidfd",
        run: |w| {
            unshared(w, CLONE_NEWUSER | CLONE_NEWNS, || {
                let fd = sc!(SYS_pidfd_open, sc!(SYS_getpid), 0);
                sc!(SYS_setns, fd, CLONE_NEWNS)
            })
        },
    },
    Probe {
        name: "setns to the name space of process 1",
        run: |w| unshared(w, CLONE_NEWUSER, || enter(c"/proc/1/ns/mnt", CLONE_NEWNS)),
    },
    Probe {
        name: "a new mount name space by clone3",
        run: |w| {
            let path = w.outside("marker");
            let mut args = [0u64; 11];
            (args[0], args[4]) = ((CLONE_NEWUSER | CLONE_NEWNS) as u64, SIGCHLD as u64);
            let child = sc!(SYS_clone3, args.as_mut_ptr(), 88);
            if child == 0 {
                enter(c"/proc/self/ns/mnt", CLONE_NEWNS);
                let found = first([reaches(&path), reaches(&c(&path.to_bytes()[1..]))]);
                sc!(SYS_exit_group, if matches!(found, Escapes(_)) { 77 } else { 0 });
            }
            if child < 0 {
                return Skip(name(child));
            }
            if ended(child) == 77 { Escapes("reads the marker".into()) } else { Confined }
        },
    },
    Probe {
        name: "unshared root and cwd",
        run: |w| unshared(w, CLONE_FS, || sc!(SYS_chdir, c"/sub/deep".as_ptr())),
    },
];

/// Front and tracer, as the tests have written them down; whoever runs without one has none.
fn pids() -> Option<[i64; 2]> {
    for _ in 0..60 {
        if let Ok(text) = text_of(c"/tmp/pids") {
            if text == b"none" {
                return None;
            }
            let text = String::from_utf8_lossy(&text).into_owned();
            let mut all = text.split_whitespace().map(|w| w.parse().unwrap_or(0));
            return Some([all.next()?, all.next()?]);
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    None
}

/// A call on the tracer, and on the front where that is another process; success is an escape.
fn on(call: impl Fn(i64) -> i64) -> Verdict {
    let Some(all) = pids() else { return Skip("no tracer".into()) };
    first(all.into_iter().map(|pid| {
        let r = call(pid);
        if r >= 0 { Escapes(format!("on the tracer: {}", name(r))) } else { Confined }
    }))
}

fn signal_info(signal: i32) -> [u64; 16] {
    let mut info = [0u64; 16];
    // si_signo, then si_code: SI_QUEUE.
    (info[0], info[1]) = (signal as u64, -1i32 as u32 as u64);
    info
}

/// Opening a file of the tracer's folder in /proc.
fn looks(file: &'static str, flags: i32) -> Verdict {
    on(|pid| {
        let fd = sc!(old::open, c(format!("/proc/{pid}/{file}").as_bytes()).as_ptr(), flags);
        let mut text = [0u8; 64];
        // The memory of another has nothing at its beginning.
        if fd < 0 || flags != O_RDONLY || file == "mem" {
            fd
        } else {
            sc!(SYS_read, fd, text.as_mut_ptr(), 64) - 1
        }
    })
}

pub const TRACER: &[Probe] = &[
    Probe { name: "ptrace attach", run: |_| on(|pid| sc!(SYS_ptrace, PTRACE_ATTACH, pid, 0, 0)) },
    Probe { name: "ptrace seize", run: |_| on(|pid| sc!(SYS_ptrace, 0x4206, pid, 0, 0)) },
    Probe {
        name: "process_vm_readv",
        run: |_| {
            on(|pid| {
                let mut word = [0u64; 1];
                // The region that prun shares is at the same address in the tracer.
                let at = pids_mapping(pid);
                let (to, from) = ([word.as_mut_ptr() as u64, 8], [at, 8]);
                sc!(SYS_process_vm_readv, pid, to.as_ptr(), 1, from.as_ptr(), 1, 0)
            })
        },
    },
    Probe {
        name: "process_vm_writev",
        run: |_| {
            on(|pid| {
                let word = [0u64; 1];
                let (from, to) = ([word.as_ptr() as u64, 0], [pids_mapping(pid), 0]);
                // Nothing is written: whether it may be is answered first.
                let allowed = sc!(SYS_process_vm_writev, pid, from.as_ptr(), 1, to.as_ptr(), 1, 0);
                let from = [word.as_ptr() as u64, 8];
                let to = [0x1000, 8];
                let other = sc!(SYS_process_vm_writev, pid, from.as_ptr(), 1, to.as_ptr(), 1, 0);
                if allowed >= 0 && other == -i64::from(EFAULT) { 0 } else { -1 }
            })
        },
    },
    Probe {
        name: "pidfd_getfd",
        run: |_| {
            on(|pid| {
                let fd = sc!(SYS_pidfd_open, pid, 0);
                if fd < 0 {
                    fd
                } else {
                    (0..20).map(|n| sc!(SYS_pidfd_getfd, fd, n, 0)).max().unwrap_or(NONE)
                }
            })
        },
    },
    Probe {
        name: "pidfd_send_signal",
        run: |_| {
            on(|pid| {
                let fd = sc!(SYS_pidfd_open, pid, 0);
                if fd < 0 { fd } else { sc!(SYS_pidfd_send_signal, fd, SIGSTOP, 0, 0) }
            })
        },
    },
    Probe {
        name: "pidfd_send_signal by a folder of /proc",
        run: |_| {
            on(|pid| {
                let fd =
                    sc!(old::open, c(format!("/proc/{pid}").as_bytes()).as_ptr(), O_RDONLY | O_DIRECTORY);
                if fd < 0 { fd } else { sc!(SYS_pidfd_send_signal, fd, SIGKILL, 0, 0) }
            })
        },
    },
    Probe { name: "kill", run: |_| on(|pid| sc!(SYS_kill, pid, SIGKILL)) },
    Probe { name: "kill, stopped", run: |_| on(|pid| sc!(SYS_kill, pid, SIGSTOP)) },
    Probe { name: "tkill", run: |_| on(|pid| sc!(SYS_tkill, pid, SIGKILL)) },
    Probe { name: "tgkill", run: |_| on(|pid| sc!(SYS_tgkill, pid, pid, SIGKILL)) },
    Probe {
        name: "rt_sigqueueinfo",
        run: |_| on(|pid| sc!(SYS_rt_sigqueueinfo, pid, SIGKILL, signal_info(SIGKILL).as_ptr())),
    },
    Probe {
        name: "rt_tgsigqueueinfo",
        run: |_| on(|pid| sc!(SYS_rt_tgsigqueueinfo, pid, pid, SIGKILL, signal_info(SIGKILL).as_ptr())),
    },
    Probe {
        name: "kill of its process group",
        run: |_| {
            on(|pid| {
                let group = sc!(SYS_getpgid, pid);
                // One that the guest is in itself is its own affair.
                if group <= 0 || group == sc!(old::getpgrp) { -1 } else { sc!(SYS_kill, -group, SIGSTOP) }
            })
        },
    },
    Probe {
        name: "other signals",
        run: |_| {
            let Some(all) = pids() else { return Skip("no tracer".into()) };
            for signal in
                (1..=64).filter(|s| ![SIGKILL, SIGSTOP, SIGTERM, SIGINT, SIGHUP, SIGQUIT].contains(s))
            {
                sc!(SYS_kill, all[1], signal);
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
            // Still there, if this is answered.
            reaches(c"/nonexistent")
        },
    },
    Probe {
        name: "prlimit64",
        run: |_| on(|pid| sc!(SYS_prlimit64, pid, RLIMIT_NOFILE, [8u64, 8].as_ptr(), 0)),
    },
    Probe {
        name: "sched_setaffinity",
        run: |_| on(|pid| sc!(SYS_sched_setaffinity, pid, 8, [1u64].as_ptr())),
    },
    Probe {
        name: "sched_setscheduler",
        run: |_| on(|pid| sc!(SYS_sched_setscheduler, pid, SCHED_IDLE, [0u32].as_ptr())),
    },
    Probe { name: "sched_setparam", run: |_| on(|pid| sc!(SYS_sched_setparam, pid, [0u32].as_ptr())) },
    Probe {
        name: "sched_setattr",
        run: |_| on(|pid| sc!(SYS_sched_setattr, pid, [48u64 | 5 << 32, 0, 0, 0, 0, 0].as_ptr(), 0)),
    },
    Probe { name: "setpriority", run: |_| on(|pid| sc!(SYS_setpriority, PRIO_PROCESS, pid, 19)) },
    Probe { name: "ioprio_set", run: |_| on(|pid| sc!(SYS_ioprio_set, 1, pid, 3 << 13)) },
    Probe { name: "setpgid", run: |_| on(|pid| sc!(SYS_setpgid, pid, 0)) },
    Probe {
        name: "migrate_pages and move_pages",
        run: |_| {
            on(|pid| {
                sc!(SYS_migrate_pages, pid, 64, [1u64].as_ptr(), [1u64].as_ptr()).max(sc!(
                    SYS_move_pages,
                    pid,
                    0,
                    0,
                    0,
                    0,
                    0
                ))
            })
        },
    },
    Probe { name: "kcmp", run: |_| on(|pid| sc!(SYS_kcmp, sc!(SYS_getpid), pid, 1, 0, 0)) },
    Probe {
        name: "get_robust_list",
        run: |_| {
            on(|pid| {
                let (mut head, mut len) = (0u64, 0u64);
                sc!(SYS_get_robust_list, pid, &raw mut head, &raw mut len)
            })
        },
    },
    Probe {
        name: "perf_event_open",
        run: |_| {
            on(|pid| {
                // struct perf_event_attr: a software clock, of user space only.
                let mut attr = [0u64; 16];
                (attr[0], attr[5]) = (1 | 128 << 32, 1 << 5 | 1 << 6);
                sc!(SYS_perf_event_open, attr.as_ptr(), pid, NONE, NONE, 0)
            })
        },
    },
    Probe {
        name: "process_madvise",
        run: |_| {
            on(|pid| {
                let fd = sc!(SYS_pidfd_open, pid, 0);
                let part = [0u64, 0];
                if fd < 0 { fd } else { sc!(SYS_process_madvise, fd, part.as_ptr(), 1, 20, 0) }
            })
        },
    },
    Probe { name: "its environment", run: |_| looks("environ", O_RDONLY) },
    Probe { name: "its command line", run: |_| looks("cmdline", O_RDONLY) },
    Probe { name: "its memory map", run: |_| looks("maps", O_RDONLY) },
    Probe { name: "its memory", run: |_| looks("mem", O_RDWR) },
    Probe { name: "its memory, to read", run: |_| looks("mem", O_RDONLY) },
    Probe { name: "its auxiliary vector", run: |_| looks("auxv", O_RDONLY) },
    Probe { name: "its root", run: |_| looks("root", O_PATH) },
    Probe { name: "its working directory", run: |_| looks("cwd", O_PATH) },
    Probe { name: "its program", run: |_| looks("exe", O_RDONLY) },
    Probe {
        name: "its descriptors",
        run: |_| {
            on(|pid| {
                (0..30)
                    .map(|fd| {
                        let path = c(format!("/proc/{pid}/fd/{fd}").as_bytes());
                        sc!(old::open, path.as_ptr(), O_RDONLY | O_NONBLOCK).max(sc!(
                            old::open,
                            path.as_ptr(),
                            O_PATH
                        ))
                    })
                    .max()
                    .unwrap_or(-1)
            })
        },
    },
    Probe {
        name: "the memory that it shares",
        run: |_| {
            on(|pid| {
                (3..30)
                    .map(|fd| c(format!("/proc/{pid}/fd/{fd}").as_bytes()))
                    .filter(|path| link_text(path).is_ok_and(|text| text.starts_with(b"/memfd:")))
                    .map(|path| sc!(old::open, path.as_ptr(), O_RDWR))
                    .max()
                    .unwrap_or(NONE)
            })
        },
    },
    Probe {
        name: "its threads",
        run: |_| {
            on(|pid| sc!(old::open, c(format!("/proc/{pid}/task/{pid}/maps").as_bytes()).as_ptr(), O_RDONLY))
        },
    },
    Probe {
        name: "its folder by way of its thread's number",
        run: |_| {
            on(|pid| sc!(old::open, c(format!("/proc/{pid}/task/{pid}/root").as_bytes()).as_ptr(), O_PATH))
        },
    },
    Probe {
        name: "its settings",
        run: |_| {
            first(
                ["oom_score_adj", "coredump_filter", "timerslack_ns", "comm", "clear_refs"]
                    .map(|f| looks(f, O_WRONLY)),
            )
        },
    },
    Probe { name: "its name spaces", run: |_| looks("ns/mnt", O_RDONLY) },
];

/// An address that is mapped in another process: from its map, where that can be read.
fn pids_mapping(pid: i64) -> u64 {
    let maps = text_of(&c(format!("/proc/{pid}/maps").as_bytes())).unwrap_or_default();
    let text = String::from_utf8_lossy(&maps).into_owned();
    let at = text
        .lines()
        .find(|l| l.contains("rw"))
        .and_then(|l| u64::from_str_radix(l.split('-').next()?, 16).ok());
    // Else where this program finds its own stack, which is as good as any.
    at.unwrap_or(0x1000)
}
