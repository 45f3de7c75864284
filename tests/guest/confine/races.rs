//! A second task changes what a call is about while the call is in flight.

use super::*;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// How long each race is run.
const LONG: Duration = Duration::from_millis(700);

/// Runs `change` over and over in another thread while `try_it` is tried.
fn race(change: impl Fn() + Send + Sync, try_it: impl Fn() -> Verdict) -> Verdict {
    let over = AtomicBool::new(false);
    std::thread::scope(|threads| {
        threads.spawn(|| {
            while !over.load(Relaxed) {
                change();
            }
        });
        let found = tries(try_it);
        over.store(true, Relaxed);
        found
    })
}

fn tries(try_it: impl Fn() -> Verdict) -> Verdict {
    let until = Instant::now() + LONG;
    let mut found = Confined;
    let mut count = 0u32;
    while Instant::now() < until {
        count += 1;
        found = try_it();
        if matches!(found, Escapes(_)) {
            break;
        }
    }
    match found {
        Escapes(what) => Escapes(format!("{what} at try {count}")),
        other => other,
    }
}

/// Memory that other tasks may share.
fn memory(shared: i32) -> *mut u8 {
    let at = sc!(SYS_mmap, 0, 8192, PROT_READ | PROT_WRITE, shared | MAP_ANONYMOUS, NONE, 0);
    at as *mut u8
}

fn put(at: *mut u8, bytes: &[u8]) {
    for (i, byte) in bytes.iter().enumerate() {
        unsafe { at.add(i).write_volatile(*byte) };
    }
}

/// A pointer that goes to another thread.
#[derive(Clone, Copy)]
struct At(*mut u8);
unsafe impl Send for At {}
unsafe impl Sync for At {}

impl At {
    /// Makes the path of the socket address here a relative one for a moment.
    fn flip_path(self) {
        unsafe {
            self.0.add(2).write_volatile(b'x');
            self.0.add(2).write_volatile(b'/');
        }
    }

    fn begin(self, byte: u8) {
        unsafe { self.0.write_volatile(byte) };
    }

    fn cstr(self) -> &'static CStr {
        unsafe { CStr::from_ptr(self.0.cast()) }
    }
}

/// The path's first byte decides whether it is one of the guest's or the marker's: `x//…/marker` below /tmp, or `/…`.
/// `open` is how the path is used.
fn rewritten(world: &World, shared: i32, by_process: bool, open: fn(&CStr) -> Verdict) -> Verdict {
    let at = At(memory(shared));
    let text = world.outside("marker");
    put(at.0, text.to_bytes_with_nul());
    sc!(SYS_chdir, c"/tmp".as_ptr());
    let flip = move || {
        let at = at;
        unsafe { at.0.write_volatile(b'x') };
        for _ in 0..20 {
            std::hint::spin_loop();
        }
        unsafe { at.0.write_volatile(b'/') };
    };
    if !by_process {
        return race(flip, || open(at.cstr()));
    }
    let child = sc!(old::fork);
    if child == 0 {
        sc!(old::alarm, 3);
        loop {
            flip();
        }
    }
    let found = tries(|| open(at.cstr()));
    sc!(SYS_kill, child, SIGKILL);
    ended(child);
    found
}

fn stat_tells(path: &CStr) -> Verdict {
    let mut buffer = [0u8; 256];
    let r = sc!(old::stat, path.as_ptr(), buffer.as_mut_ptr());
    if r == 0 { Escapes("sees the marker".into()) } else { Confined }
}

fn exec_runs(path: &CStr) -> Verdict {
    let child = sc!(old::fork);
    if child == 0 {
        let argv = [c"x".as_ptr(), c"confine-mark".as_ptr(), std::ptr::null()];
        sc!(SYS_execve, path.as_ptr(), argv.as_ptr(), 0);
        sc!(SYS_exit_group, 0);
    }
    if ended(child) == 77 { Escapes("runs the program".into()) } else { Confined }
}

/// One name that is a directory of the guest and a link to the folder outside, by turns.
fn swapped(world: &World, dir: &str, text: &str, path: &str) -> Verdict {
    let p = |name: &str| c(format!("{dir}/{name}").as_bytes());
    sc!(old::mkdir, p("swap").as_ptr(), 0o700);
    sc!(SYS_close, sc!(old::open, p("swap/marker").as_ptr(), O_CREAT | O_WRONLY, 0o600));
    sc!(old::unlink, p("out").as_ptr());
    sc!(old::symlink, c(text.as_bytes()).as_ptr(), p("out").as_ptr());
    let (one, other) = (p("swap"), p("out"));
    let path = p(path);
    let _ = world;
    race(
        || {
            sc!(SYS_renameat2, AT_FDCWD, one.as_ptr(), AT_FDCWD, other.as_ptr(), RENAME_EXCHANGE);
        },
        || reaches(&path),
    )
}

pub const PROBES: &[Probe] = &[
    Probe { name: "the path, by a thread", run: |w| rewritten(w, MAP_PRIVATE, false, reaches) },
    Probe { name: "the path, by a thread, in stat", run: |w| rewritten(w, MAP_PRIVATE, false, stat_tells) },
    Probe {
        name: "the path, in memory shared with a process",
        run: |w| rewritten(w, MAP_SHARED, true, reaches),
    },
    Probe {
        name: "the path, written by another process",
        run: |w| {
            let at = At(memory(MAP_PRIVATE));
            let text = w.outside("marker");
            put(at.0, text.to_bytes_with_nul());
            sc!(SYS_chdir, c"/tmp".as_ptr());
            let parent = sc!(SYS_getpid);
            let child = sc!(old::fork);
            if child == 0 {
                sc!(old::alarm, 3);
                loop {
                    for byte in [b'x', b'/'] {
                        let (from, to) = ([&raw const byte as u64, 1], [at.0 as u64, 1]);
                        sc!(SYS_process_vm_writev, parent, from.as_ptr(), 1, to.as_ptr(), 1, 0);
                    }
                }
            }
            let found = tries(|| reaches(at.cstr()));
            sc!(SYS_kill, child, SIGKILL);
            ended(child);
            found
        },
    },
    Probe {
        name: "the whole path: absolute in the guest",
        run: |w| {
            // One that means the same to guest and host, if any does, and the marker's.
            let at = At(memory(MAP_PRIVATE));
            let text = w.outside("marker");
            let bytes = text.to_bytes_with_nul().to_vec();
            race(
                move || {
                    let at = at;
                    put(at.0, &bytes);
                    put(at.0, b"/proc/uptime\0");
                },
                || reaches(at.cstr()),
            )
        },
    },
    Probe {
        name: "the path of a program",
        run: |w| {
            let at = At(memory(MAP_PRIVATE));
            let text = w.outside("prog");
            put(at.0, text.to_bytes_with_nul());
            sc!(SYS_chdir, c"/tmp".as_ptr());
            race(
                move || {
                    let at = at;
                    unsafe {
                        at.0.write_volatile(b'x');
                        at.0.write_volatile(b'/');
                    }
                },
                || exec_runs(at.cstr()),
            )
        },
    },
    Probe {
        name: "the path of openat2, and its limits",
        run: |w| {
            let at = At(memory(MAP_PRIVATE));
            put(at.0, w.outside("marker").to_bytes_with_nul());
            let how = At(unsafe { at.0.add(4096) });
            let root = sc!(old::open, c"/".as_ptr(), O_PATH);
            race(
                move || {
                    let how = how;
                    for resolve in [RESOLVE_IN_ROOT, 0] {
                        unsafe { how.0.cast::<u64>().add(2).write_volatile(resolve) };
                    }
                },
                || opened(sc!(SYS_openat2, root, at.0, how.0, 24)),
            )
        },
    },
    Probe {
        name: "a link's path, both of rename",
        run: |w| {
            let at = At(memory(MAP_PRIVATE));
            put(at.0, w.outside("new").to_bytes_with_nul());
            sc!(SYS_chdir, c"/tmp".as_ptr());
            race(
                move || {
                    let at = at;
                    unsafe {
                        at.0.write_volatile(b'x');
                        at.0.write_volatile(b'/');
                    }
                },
                || {
                    let r = sc!(old::mkdir, at.0, 0o700);
                    if r == 0 { Escapes("makes a folder outside".into()) } else { Confined }
                },
            )
        },
    },
    Probe {
        name: "the address of a socket",
        run: |w| {
            let (to, len) = super::sockets::address(w.outside("sock").to_bytes());
            let at = At(memory(MAP_PRIVATE));
            unsafe { at.0.cast::<sockaddr_un>().write(to) };
            sc!(SYS_chdir, c"/tmp".as_ptr());
            race(
                move || at.flip_path(),
                || {
                    let fd = sc!(SYS_socket, AF_UNIX, SOCK_STREAM, 0);
                    let r = sc!(SYS_connect, fd, at.0, len);
                    sc!(SYS_close, fd);
                    if r >= 0 { Escapes("reaches the socket".into()) } else { Confined }
                },
            )
        },
    },
    Probe {
        name: "the name in a message",
        run: |w| {
            let (to, len) = super::sockets::address(w.outside("dsock").to_bytes());
            let at = At(memory(MAP_PRIVATE));
            unsafe { at.0.cast::<sockaddr_un>().write(to) };
            sc!(SYS_chdir, c"/tmp".as_ptr());
            race(
                move || at.flip_path(),
                || {
                    let fd = sc!(SYS_socket, AF_UNIX, SOCK_DGRAM, 0);
                    let part = [c"x".as_ptr() as u64, 1];
                    let mut message: msghdr = unsafe { std::mem::zeroed() };
                    (message.msg_name, message.msg_namelen) = (at.0.cast(), len as u32);
                    (message.msg_iov, message.msg_iovlen) = (part.as_ptr() as *mut iovec, 1);
                    let r = sc!(SYS_sendmsg, fd, &raw const message, MSG_DONTWAIT);
                    sc!(SYS_close, fd);
                    if r >= 0 { Escapes("reaches the socket".into()) } else { Confined }
                },
            )
        },
    },
    Probe {
        name: "the current directory, shared",
        run: |_| {
            let path = c"../outside/marker";
            race(
                || {
                    sc!(SYS_chdir, c"/sub/deep".as_ptr());
                    sc!(SYS_chdir, c"/data".as_ptr());
                },
                || reaches(path),
            )
        },
    },
    Probe {
        name: "the directory's descriptor",
        run: |_| {
            let (deep, data) =
                (sc!(old::open, c"/sub/deep".as_ptr(), O_PATH), sc!(old::open, c"/data".as_ptr(), O_PATH));
            let fd = sc!(SYS_dup, deep);
            race(
                || {
                    sc!(old::dup2, data, fd);
                    sc!(old::dup2, deep, fd);
                },
                || opened(sc!(SYS_openat, fd, c"../outside/marker".as_ptr(), O_RDONLY)),
            )
        },
    },
    Probe { name: "a directory and a link: absolute", run: |w| swapped(w, "/tmp", &w.out, "swap/marker") },
    Probe {
        name: "a directory and a link: relative",
        run: |w| swapped(w, "/data", "../outside", "swap/marker"),
    },
    Probe {
        name: "a directory and a link, the last component",
        run: |w| swapped(w, "/tmp", &format!("{}/marker", w.out), "swap"),
    },
    Probe {
        name: "a directory and a link, by a descriptor",
        run: |w| {
            sc!(old::mkdir, c"/tmp/by".as_ptr(), 0o700);
            sc!(old::mkdir, c"/tmp/by/swap".as_ptr(), 0o700);
            sc!(old::symlink, c(w.out.as_bytes()).as_ptr(), c"/tmp/by/out".as_ptr());
            let dir = sc!(old::open, c"/tmp/by".as_ptr(), O_PATH);
            race(
                || {
                    sc!(SYS_renameat2, dir, c"swap".as_ptr(), dir, c"out".as_ptr(), RENAME_EXCHANGE);
                },
                || opened(sc!(SYS_openat, dir, c"swap/marker".as_ptr(), O_RDONLY)),
            )
        },
    },
    Probe {
        name: "a file and a link, by another process",
        run: |w| {
            sc!(SYS_close, sc!(old::open, c"/tmp/file".as_ptr(), O_CREAT | O_WRONLY, 0o600));
            sc!(old::unlink, c"/tmp/file-out".as_ptr());
            sc!(old::symlink, w.outside("marker").as_ptr(), c"/tmp/file-out".as_ptr());
            let child = sc!(old::fork);
            if child == 0 {
                sc!(old::alarm, 3);
                loop {
                    sc!(
                        SYS_renameat2,
                        AT_FDCWD,
                        c"/tmp/file".as_ptr(),
                        AT_FDCWD,
                        c"/tmp/file-out".as_ptr(),
                        RENAME_EXCHANGE
                    );
                }
            }
            let found = tries(|| reaches(c"/tmp/file"));
            sc!(SYS_kill, child, SIGKILL);
            ended(child);
            found
        },
    },
    Probe {
        name: "a directory that moves up while it is walked",
        run: |_| {
            for dir in [c"/data/m", c"/data/m/n", c"/data/m/n/o"] {
                sc!(old::mkdir, dir.as_ptr(), 0o700);
            }
            race(
                || {
                    sc!(old::rename, c"/data/m/n/o".as_ptr(), c"/data/o".as_ptr());
                    sc!(old::rename, c"/data/o".as_ptr(), c"/data/m/n/o".as_ptr());
                },
                || reaches(c"/data/m/n/o/../../../../outside/marker"),
            )
        },
    },
    Probe {
        name: "many threads that open, the path put back",
        run: |w| {
            let text = w.outside("marker");
            let at = At(memory(MAP_PRIVATE));
            put(at.0, text.to_bytes_with_nul());
            sc!(SYS_chdir, c"/tmp".as_ptr());
            let found = AtomicU32::new(0);
            let until = Instant::now() + LONG;
            std::thread::scope(|threads| {
                for _ in 0..4 {
                    threads.spawn(|| {
                        while Instant::now() < until {
                            at.begin(b'x');
                            if matches!(reaches(at.cstr()), Escapes(_)) {
                                found.fetch_add(1, Relaxed);
                            }
                            at.begin(b'/');
                        }
                    });
                }
            });
            if found.load(Relaxed) > 0 { Escapes("reads the marker".into()) } else { Confined }
        },
    },
];
