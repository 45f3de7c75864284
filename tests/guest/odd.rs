//! Odd input: memory that cannot be read, stacks that are none, arguments that change while the call runs, signals by
//! the hundred, threads by the dozen. What is printed must be the same natively and under prun.

use crate::raw::{c, name, ok, old};
use crate::sc;
use libc::*;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// `dir` holds `f` and `g` with four bytes each; so many times less is done where it is done many times.
pub fn run(job: &str, dir: &str, less: u64) -> i32 {
    match job {
        "memory" => memory(dir),
        "stacks" => stacks(dir),
        "changing" => changing(dir),
        "signals" => signals(dir, (600 / less).max(150)),
        "exec" => exec(dir),
        "turns" => turns(dir, (1000 / less).max(20)),
        "leaders" => leaders(dir, true),
        "leaders-killed" => leaders(dir, false),
        "addresses" => addresses(dir),
        "forks" => forks(dir),
        "descriptors" => descriptors(dir),
        "cwds" => cwds(dir, (500 / less).max(50)),
        _ => 2,
    }
}

fn map(len: usize, prot: i32) -> u64 {
    sc!(SYS_mmap, 0, len, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1i64, 0) as u64
}

/// Paths, and what is written back, at the edges of what can be read and written.
fn memory(dir: &str) -> i32 {
    let path = format!("{dir}/f\0");
    let put = |at: u64, text: &[u8]| unsafe {
        std::ptr::copy_nonoverlapping(text.as_ptr(), at as *mut u8, text.len());
    };
    let both = PROT_READ | PROT_WRITE;
    let protections = [
        ("none", PROT_NONE),
        ("read", PROT_READ),
        ("write", PROT_WRITE),
        ("both", both),
        ("execute", PROT_READ | PROT_EXEC),
    ];
    for (label, prot) in protections {
        let page = map(4096, both);
        put(page, path.as_bytes());
        sc!(SYS_mprotect, page, 4096, prot);
        println!("path in {label} -> {}", ok(sc!(old::open, page, O_RDONLY)));
        println!(
            "readlink into {label} -> {}",
            ok(sc!(old::readlink, c"/proc/self/exe".as_ptr(), page, 4096))
        );
        println!("getcwd into {label} -> {}", ok(sc!(SYS_getcwd, page, 4096)));
        println!("stat into {label} -> {}", ok(sc!(old::stat, c(dir.as_bytes()).as_ptr(), page)));
        let argv = [page, 0];
        println!("exec of {label} -> {}", name(sc!(SYS_execve, page, argv.as_ptr(), 0)));
        println!("argv in {label} -> {}", name(sc!(SYS_execve, c"/nonexistent".as_ptr(), page, 0)));
    }
    // Each split of the path over two pages, the second of each kind; and no NUL up to the end.
    for (label, prot) in protections {
        let pages = map(3 * 4096, both);
        let edge = pages + 4096;
        let last = path.len() as u64;
        for (which, before) in [1, 2, last - 1, last, last + 1].into_iter().enumerate() {
            let at = edge - before;
            sc!(SYS_mprotect, edge, 4096, both);
            put(at, path.as_bytes());
            sc!(SYS_mprotect, edge, 4096, prot);
            println!("split {which} before {label} -> {}", ok(sc!(old::access, at, F_OK)));
        }
        sc!(SYS_mprotect, edge, 4096, both);
        put(pages, &[b'a'; 4096]);
        put(edge, &[b'b'; 4096]);
        sc!(SYS_mprotect, edge, 4096, prot);
        println!("unterminated before {label} -> {}", name(sc!(old::access, pages + 4000, F_OK)));
        println!("a page unterminated before {label} -> {}", name(sc!(old::access, pages, F_OK)));
    }
    // A hole behind, the end of the address space, and a file that is shorter than its mapping.
    let pages = map(8192, both);
    put(pages + 4096 - 3, b"abc");
    sc!(SYS_munmap, pages + 4096, 4096);
    println!("before a hole -> {}", name(sc!(old::access, pages + 4096 - 3, F_OK)));
    for at in [0x7fff_ffff_effdu64, u64::MAX, u64::MAX - 4095, 0x8000_0000_0000_0000, 1] {
        println!("at the end -> {}", name(sc!(old::access, at, F_OK)));
        println!("two of them -> {}", name(sc!(old::rename, at, at)));
    }
    let fd = sc!(old::open, path.as_ptr(), O_RDONLY);
    let file = sc!(SYS_mmap, 0, 8192, PROT_READ, MAP_PRIVATE, fd, 0) as u64;
    println!("behind a file's end -> {}", name(sc!(old::access, file + 4096, F_OK)));
    println!("a file as a path -> {}", name(sc!(old::access, file, F_OK)));
    // Structures at an edge: they are read with their size.
    let pages = map(8192, both);
    sc!(SYS_mprotect, pages + 4096, 4096, PROT_NONE);
    for short in [0, 1, 8, 23] {
        let how = pages + 4096 - 24 + short;
        println!("open_how {short} over -> {}", ok(sc!(SYS_openat2, AT_FDCWD, path.as_ptr(), how, 24)));
    }
    let s = sc!(SYS_socket, AF_UNIX, SOCK_STREAM, 0);
    put(pages + 4096 - 8, b"\x01\0/none\0");
    for len in [2, 7, 8, 9, 110, 111, 0, -1] {
        println!("address of {len} -> {}", name(sc!(SYS_connect, s, pages + 4096 - 8, len)));
    }
    0
}

/// access(2) of `path` with `sp` as the stack pointer.
fn on_stack(sp: u64, path: *const c_char) -> i64 {
    let (number, args) = old::newer(old::access, [path as u64, 0, 0, 0, 0, 0]);
    unsafe { prun_arch::harness::call_on(sp, number, args) }
}

fn stacks(dir: &str) -> i32 {
    let (there, missing) = (c(format!("{dir}/f").as_bytes()), c(format!("{dir}/none").as_bytes()));
    let small = map(8192, PROT_READ | PROT_WRITE);
    sc!(SYS_mprotect, small, 4096, PROT_NONE);
    let read_only = map(4096, PROT_READ);
    let stacks = [
        ("none", 0),
        ("one", 1),
        ("kernel", 0xffff_8000_0000_0000),
        ("no address", 0x8000_0000_0000),
        ("64 bytes", small + 4096 + 64),
        ("a page's first byte", small + 4096),
        ("closed", small + 64),
        ("read-only", read_only + 2048),
        ("odd", small + 8192 - 3),
    ];
    for (label, sp) in stacks {
        let all: Vec<i64> =
            (0..50).map(|i| on_stack(sp, if i % 2 == 0 { &there } else { &missing }.as_ptr())).collect();
        let right = all.iter().enumerate().all(|(i, &r)| r == [0, -i64::from(ENOENT)][i % 2]);
        println!("stack {label} -> {} {} {right}", name(all[0]), name(all[1]));
    }
    0
}

/// Another thread changes the path while it is read: one of the names it ever was, or none, never a third.
fn changing(dir: &str) -> i32 {
    let other = format!("{dir}/../{}/./g", dir.rsplit('/').next().unwrap_or(dir));
    let size = other.len() + 1;
    let page = map(size.next_multiple_of(4096), PROT_READ | PROT_WRITE);
    let over = AtomicBool::new(false);
    let flips = AtomicU64::new(0);
    let put = |text: &str| {
        for (i, b) in text.bytes().chain([0]).enumerate() {
            unsafe { std::ptr::write_volatile((page + i as u64) as *mut u8, b) };
        }
    };
    let short = format!("{dir}/f");
    put(&short);
    let (mut odd, mut found, mut missing) = (vec![], 0u32, 0u32);
    std::thread::scope(|threads| {
        threads.spawn(|| {
            while !over.load(Relaxed) {
                put(&other);
                put(&short);
                flips.fetch_add(1, Relaxed);
            }
        });
        let start = std::time::Instant::now();
        let passed = |millis| start.elapsed() > std::time::Duration::from_millis(millis);
        // Where the two take turns on one CPU, it takes a while until one is amid its work when the other runs.
        let seen_all = |found, missing| found > 0 && missing > 0 && flips.load(Relaxed) > 10;
        while !passed(700) || !(seen_all(found, missing) || passed(40_000)) {
            let fd = sc!(old::open, page, O_RDONLY);
            if fd >= 0 {
                let mut text = [0u8; 16];
                let n = sc!(SYS_read, fd, text.as_mut_ptr(), 16);
                sc!(SYS_close, fd);
                found += 1;
                // A mixture may well name a directory.
                if n == -i64::from(EISDIR) {
                    continue;
                }
                if n != 4 || (&text[..4] != b"data" && &text[..4] != b"more") {
                    odd.push(format!("read {n} {text:?}"));
                }
            } else if fd == -i64::from(ENOENT) || fd == -i64::from(ENOTDIR) || fd == -i64::from(EACCES) {
                missing += 1;
            } else {
                odd.push(name(fd));
            }
        }
        over.store(true, Relaxed);
    });
    odd.truncate(3);
    println!("found {} missing {} flips {} odd {odd:?}", found > 0, missing > 0, flips.load(Relaxed) > 10);
    i32::from(!odd.is_empty())
}

static HANDLED: AtomicU64 = AtomicU64::new(0);
static WRONG: AtomicU64 = AtomicU64::new(0);
static mut PATH: [u8; 4096] = [0; 4096];

extern "C" fn count(_: i32, info: *mut siginfo_t, _: *mut c_void) {
    HANDLED.fetch_add(unsafe { (*info).si_value() }.sival_ptr as u64, Relaxed);
    if sc!(old::access, &raw const PATH, F_OK) != 0 {
        WRONG.fetch_add(1, Relaxed);
    }
}

/// Hundreds of queued signals meet calls in flight; each is delivered once, and each handler makes a path call.
fn signals(dir: &str, all: u64) -> i32 {
    let file = format!("{dir}/f\0");
    unsafe {
        std::ptr::copy_nonoverlapping(file.as_ptr(), (&raw mut PATH).cast(), file.len());
        for signal in [SIGRTMIN(), SIGRTMIN() + 1] {
            let mut sa: sigaction = std::mem::zeroed();
            sa.sa_sigaction = count as extern "C" fn(i32, *mut siginfo_t, *mut c_void) as usize;
            sa.sa_flags = SA_SIGINFO | SA_RESTART;
            sigaction(signal, &raw const sa, std::ptr::null_mut());
        }
    }
    let over = AtomicBool::new(false);
    let wrong = AtomicU64::new(0);
    let mut queued = 0;
    std::thread::scope(|threads| {
        for _ in 0..4 {
            threads.spawn(|| {
                while !over.load(Relaxed) {
                    let mut st = [0u64; 64];
                    if sc!(old::stat, &raw const PATH, st.as_mut_ptr()) != 0 || st[6] != 4 {
                        wrong.fetch_add(1, Relaxed);
                    }
                }
            });
        }
        for i in 1..=all {
            let value = sigval { sival_ptr: i as *mut c_void };
            let signal = SIGRTMIN() + (i % 2) as i32;
            if unsafe { sigqueue(getpid(), signal, value) } == 0 {
                queued += i;
            }
            if i % 150 == 0 {
                std::thread::sleep(std::time::Duration::from_millis(30));
            }
        }
        let end = std::time::Instant::now() + std::time::Duration::from_secs(200);
        while HANDLED.load(Relaxed) < queued && std::time::Instant::now() < end {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        over.store(true, Relaxed);
    });
    let (handled, bad) = (HANDLED.load(Relaxed), WRONG.load(Relaxed) + wrong.load(Relaxed));
    println!("queued {queued} handled {handled} bad {bad}");
    0
}

/// One of 32 busy threads, not the leader, executes another program; the others just vanish.
fn exec(dir: &str) -> i32 {
    for round in 0..8u64 {
        let child = sc!(old::fork);
        if child == 0 {
            let path = format!("{dir}/f");
            let go = std::sync::Arc::new(std::sync::Barrier::new(32));
            for i in 0..31 {
                let (path, go) = (c(path.as_bytes()), std::sync::Arc::clone(&go));
                std::thread::spawn(move || {
                    go.wait();
                    if i == 10 + round {
                        let (program, job, status) = (c"/proc/self/exe", c"exit", c"42");
                        let argv = [program.as_ptr(), job.as_ptr(), status.as_ptr(), std::ptr::null()];
                        sc!(SYS_execve, program.as_ptr(), argv.as_ptr(), 0);
                        sc!(SYS_exit_group, 9);
                    }
                    loop {
                        sc!(old::access, path.as_ptr(), F_OK);
                    }
                });
            }
            go.wait();
            loop {
                sc!(old::access, c(path.as_bytes()).as_ptr(), F_OK);
            }
        }
        let mut status = 0i32;
        sc!(SYS_wait4, child, &raw mut status, 0, 0);
        println!("exec among 32 -> {} {}", WIFEXITED(status), WEXITSTATUS(status));
    }
    0
}

static CALLS: AtomicU64 = AtomicU64::new(0);

/// The leaders of several processes are busy; where one has come to a standstill, another thread of its process executes a
/// program, which gets the leader's number, or kills the process, which nobody asks for yet. `still`: leaders that did,
/// `bad`: programs that did not run.
fn leaders(dir: &str, executes: bool) -> i32 {
    use std::time::{Duration, Instant};
    let (mut still, mut bad) = (0, 0);
    for _ in 0..10 {
        let children = [(); 3].map(|()| {
            let child = sc!(old::fork);
            if child == 0 {
                std::thread::spawn(move || {
                    let start = Instant::now();
                    let mut before = 0;
                    while start.elapsed() < Duration::from_secs(5) {
                        let now = CALLS.load(Relaxed);
                        if now > 0 && now == before && !executes {
                            sc!(SYS_kill, sc!(SYS_getpid), SIGKILL);
                        }
                        if now > 0 && now == before {
                            let (program, job, status) = (c"/proc/self/exe", c"exit", c"42");
                            let argv = [program.as_ptr(), job.as_ptr(), status.as_ptr(), std::ptr::null()];
                            sc!(SYS_execve, program.as_ptr(), argv.as_ptr(), 0);
                            sc!(SYS_exit_group, 9);
                        }
                        before = now;
                        std::thread::sleep(Duration::from_millis(100));
                    }
                    sc!(SYS_exit_group, 7);
                });
                let path = c(format!("{dir}/f").as_bytes());
                loop {
                    sc!(old::access, path.as_ptr(), F_OK);
                    CALLS.fetch_add(1, Relaxed);
                }
            }
            child
        });
        if !executes {
            // Longer than any of them runs.
            std::thread::sleep(Duration::from_secs(6));
        }
        for child in children {
            let mut status = 0i32;
            sc!(SYS_wait4, child, &raw mut status, 0, 0);
            match (WIFEXITED(status), WEXITSTATUS(status)) {
                (true, 42) => still += 1,
                (false, _) if !executes && status == SIGKILL => still += 1,
                (true, 7) => {}
                _ => bad += 1,
            }
        }
        if still >= 2 {
            break;
        }
    }
    println!("still {} bad {bad}", still > 0);
    bad
}

/// Addresses of sockets in buffers of every length that holds their family: what is written, and the length that is told.
fn addresses(dir: &str) -> i32 {
    const PATH_AT: usize = 2;
    sc!(SYS_chdir, c(dir.as_bytes()).as_ptr());
    for path in ["near".to_owned(), format!("{dir}/far"), format!("{dir}/./farther-away")] {
        let address = [&(AF_UNIX as u16).to_ne_bytes(), path.as_bytes(), b"\0"].concat();
        let (server, client) =
            (sc!(SYS_socket, AF_UNIX, SOCK_STREAM, 0), sc!(SYS_socket, AF_UNIX, SOCK_STREAM, 0));
        println!("bind -> {}", name(sc!(SYS_bind, server, address.as_ptr(), address.len())));
        println!("listen -> {}", name(sc!(SYS_listen, server, 4)));
        println!("connect -> {}", name(sc!(SYS_connect, client, address.as_ptr(), address.len())));
        for (call, fd, label) in [(SYS_getsockname, server, "own"), (SYS_getpeername, client, "peer")] {
            // Paths differ in length from place to place, natively and under prun.
            let (mut good, mut bad) = (0, 0);
            for room in PATH_AT..=address.len() {
                let (mut out, mut len) = ([0xeeu8; 128], room as u32);
                let result = sc!(call, fd, out.as_mut_ptr(), &raw mut len);
                let right = result == 0
                    && len as usize == address.len()
                    && out[..room] == address[..room]
                    && out[room..].iter().all(|&b| b == 0xee);
                *(if right { &mut good } else { &mut bad }) += 1;
            }
            println!("{label}: bad {bad}, all {}", good == address.len() + 1 - PATH_AT);
        }
        sc!(SYS_close, server);
        sc!(SYS_close, client);
    }
    // One whose path the guest has not given itself: there may be others of that length that begin so, and none is told.
    let address = [&(AF_UNIX as u16).to_ne_bytes(), format!("{dir}/s").as_bytes(), b"\0"].concat();
    let client = sc!(SYS_socket, AF_UNIX, SOCK_STREAM, 0);
    println!("connect -> {}", name(sc!(SYS_connect, client, address.as_ptr(), address.len())));
    let (mut strange, mut whole) = (0, 0);
    for room in (PATH_AT..=address.len()).chain([128]) {
        let (mut out, mut len) = ([0u8; 128], room as u32);
        sc!(SYS_getpeername, client, out.as_mut_ptr(), &raw mut len);
        let same = out.iter().zip(&address).take_while(|(a, b)| a == b).count();
        strange += usize::from(out[same..].iter().any(|&b| b != 0));
        whole = same;
    }
    println!("strange {strange}, whole {}", whole == address.len());
    // A path with a line in it that could be one of net/unix, without an address at its end; and one of that length.
    let address =
        [&(AF_UNIX as u16).to_ne_bytes(), format!("{dir}/x\na b c d e f g ").as_bytes(), b"\0"].concat();
    let liar = sc!(SYS_socket, AF_UNIX, SOCK_STREAM, 0);
    println!("bind -> {}", name(sc!(SYS_bind, liar, address.as_ptr(), address.len())));
    let nobody = sc!(SYS_socket, AF_UNIX, SOCK_STREAM, 0);
    println!("bind -> {}", name(sc!(SYS_bind, nobody, b"\x01\0\0".as_ptr(), 3)));
    let (mut out, mut len) = ([0u8; 8], PATH_AT as u32);
    let result = name(sc!(SYS_getsockname, nobody, out.as_mut_ptr(), &raw mut len));
    println!("of no name -> {result} {len} {out:?}");
    0
}

/// Threads that call without a pause: none of them waits while the others have thousands of calls answered.
fn turns(dir: &str, each: u64) -> i32 {
    let counts: [AtomicU64; 24] = std::array::from_fn(|_| AtomicU64::new(0));
    let fewest = || counts.iter().map(|count| count.load(Relaxed)).min().unwrap_or(0);
    let (path, over) = (c(format!("{dir}/f").as_bytes()), AtomicBool::new(false));
    std::thread::scope(|threads| {
        for count in &counts {
            threads.spawn(|| {
                while !over.load(Relaxed) {
                    sc!(old::access, path.as_ptr(), F_OK);
                    count.fetch_add(1, Relaxed);
                }
            });
        }
        for _ in 0..10_000 {
            if fewest() >= each {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        over.store(true, Relaxed);
    });
    println!("everybody had a turn {}", fewest() >= each);
    0
}

/// Forks until the user has no more processes; those there are all work, and all end.
fn forks(dir: &str) -> i32 {
    let path = c(format!("{dir}/f").as_bytes());
    let mut children = vec![];
    let refused = loop {
        let child = sc!(old::fork);
        if child == 0 {
            let r = sc!(old::access, path.as_ptr(), F_OK);
            // Its own child may be refused or not; it is waited for.
            let grandchild = sc!(old::fork);
            if grandchild == 0 {
                sc!(SYS_exit_group, i64::from(sc!(old::access, path.as_ptr(), F_OK) != 0));
            }
            let mut status = 0i32;
            if grandchild > 0 {
                sc!(SYS_wait4, grandchild, &raw mut status, 0, 0);
            }
            let refused = grandchild < 0 && grandchild != -i64::from(EAGAIN);
            if r != 0 || status != 0 || refused {
                sc!(SYS_exit_group, 1);
            }
            sc!(old::pause);
        }
        if child < 0 {
            break child;
        }
        children.push(child);
        if children.len() > 5000 {
            break 0;
        }
    };
    let works = sc!(old::access, path.as_ptr(), F_OK);
    std::thread::sleep(std::time::Duration::from_millis(300));
    let mut failed = 0;
    for &child in &children {
        sc!(SYS_kill, child, SIGTERM);
        let mut status = 0i32;
        sc!(SYS_wait4, child, &raw mut status, 0, 0);
        failed += i32::from(status != SIGTERM);
    }
    println!("forks {} refused {} works {} failed {failed}", children.len() > 20, name(refused), ok(works));
    0
}

/// Ten thousand open directories, and a file opened relative to each.
fn descriptors(dir: &str) -> i32 {
    let all = 10_000u64;
    let limit = rlimit { rlim_cur: all + 100, rlim_max: all + 100 };
    unsafe {
        let mut old: rlimit = std::mem::zeroed();
        getrlimit(RLIMIT_NOFILE, &raw mut old);
        if old.rlim_max < limit.rlim_cur || setrlimit(RLIMIT_NOFILE, &raw const limit) != 0 {
            println!("limit {}", old.rlim_max);
            return 0;
        }
    }
    let path = c(dir.as_bytes());
    let open: Vec<i64> = (0..all).map(|_| sc!(old::open, path.as_ptr(), O_RDONLY | O_DIRECTORY)).collect();
    let mut bad = open.iter().filter(|&&fd| fd < 0).count();
    for &fd in &open {
        let file = sc!(SYS_openat, fd, c"./f".as_ptr(), O_RDONLY);
        bad += usize::from(file < 0);
        sc!(SYS_close, file);
    }
    let links = open.iter().step_by(100).filter(|&&fd| {
        let mut text = [0u8; 4096];
        sc!(old::readlink, c(format!("/proc/self/fd/{fd}").as_bytes()).as_ptr(), text.as_mut_ptr(), 4096)
            != dir.len() as i64
    });
    println!("open {} bad {bad} links {}", open.len(), links.count());
    for fd in open {
        sc!(SYS_close, fd);
    }
    0
}

/// Threads that share a working directory and threads that have one of their own, at once; it is renamed and removed
/// beneath them.
fn cwds(dir: &str, reads: u64) -> i32 {
    let p = |name: &str| c(format!("{dir}/{name}").as_bytes());
    for d in ["here", "own0", "own1", "own2", "gone"] {
        sc!(old::mkdir, p(d).as_ptr(), 0o755);
        std::fs::write(format!("{dir}/{d}/name"), d).expect("ours");
    }
    sc!(SYS_chdir, p("here").as_ptr());
    let read = || {
        let fd = sc!(old::open, c"./name".as_ptr(), O_RDONLY);
        let mut text = [0u8; 8];
        let n = sc!(SYS_read, fd, text.as_mut_ptr(), 8);
        sc!(SYS_close, fd);
        String::from_utf8_lossy(&text[..n.max(0) as usize]).into_owned()
    };
    let bad = AtomicU64::new(0);
    std::thread::scope(|threads| {
        for i in 0..6 {
            let (bad, own) = (&bad, p(&format!("own{}", i % 3)));
            threads.spawn(move || {
                let mut expected = "here".to_owned();
                if i < 3 {
                    sc!(SYS_unshare, CLONE_FS);
                    sc!(SYS_chdir, own.as_ptr());
                    expected = format!("own{i}");
                }
                for _ in 0..reads {
                    bad.fetch_add(u64::from(read() != expected), Relaxed);
                }
            });
        }
        threads.spawn(|| {
            for i in 0..reads * 2 / 5 {
                let (from, to) = if i % 2 == 0 { ("here", "there") } else { ("there", "here") };
                sc!(old::rename, p(from).as_ptr(), p(to).as_ptr());
            }
        });
    });
    println!("cwds bad {}", bad.load(Relaxed));
    sc!(SYS_chdir, p("gone").as_ptr());
    sc!(old::unlink, p("gone/name").as_ptr());
    let child = sc!(old::fork);
    if child == 0 {
        sc!(old::rmdir, p("gone").as_ptr());
        sc!(SYS_exit_group, 0);
    }
    sc!(SYS_wait4, child, 0, 0, 0);
    let mut text = [0u8; 4096];
    println!(
        "gone: {} {}",
        ok(sc!(SYS_getcwd, text.as_mut_ptr(), 4096)),
        ok(sc!(old::access, c"../f".as_ptr(), F_OK))
    );
    println!("gone: {}", ok(sc!(old::open, c"new".as_ptr(), O_CREAT | O_WRONLY, 0o600)));
    0
}
