//! Loops over one system call, timed in the guest itself, so that no start-up is in the figures; and a file walk.
//!
//! `bench KIND COUNT THREADS PATH` makes one measurement; `bench` alone reads such requests from standard input, one
//! a line. The answer to each is one line: the nanoseconds it took, or what failed.

use crate::raw::{c, name, old};
use crate::sc;
use libc::*;
use std::ffi::CString;
use std::io::{BufRead, Write};
use std::sync::Barrier;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::time::Instant;

/// A call to repeat; the result of each is looked at, so that no figure is that of a failure.
type Once = fn(&CString) -> i64;

pub fn run(rest: &[&str]) -> i32 {
    if !rest.is_empty() {
        return match answer(rest) {
            Ok(ns) => {
                println!("{ns}");
                0
            }
            Err(why) => {
                eprintln!("{why}");
                1
            }
        };
    }
    for line in std::io::stdin().lock().lines() {
        let line = line.expect("requests are text");
        let words: Vec<&str> = line.split(' ').collect();
        match answer(&words) {
            Ok(ns) => println!("{ns}"),
            Err(why) => println!("{why}"),
        }
        std::io::stdout().flush().expect("somebody listens");
    }
    0
}

fn answer(words: &[&str]) -> Result<u128, String> {
    let [kind, count, threads, path] = words else { return Err(format!("what is {words:?}")) };
    let number = |text: &str| text.parse::<usize>().map_err(|e| format!("{text}: {e}"));
    let (count, threads) = (number(count)?, number(threads)?);
    if *kind == "idle" {
        return idle(count);
    }
    let once: Once = match *kind {
        "stat" => stat,
        "open" => open,
        "readlink" => readlink,
        "getcwd" => getcwd,
        "getppid" => |_| sc!(SYS_getppid),
        "exec" => exec,
        "name" => name_in_directory,
        "empty" => empty_path,
        "list" => list,
        _ => return Err(format!("no loop {kind}")),
    };
    if *kind == "name" {
        // What tar, find and du do all the time: the folder is open, the path is a name in it.
        let parent = c(path.rsplit_once('/').map_or("", |(parent, _)| parent).as_bytes());
        let fd = sc!(SYS_openat, AT_FDCWD, parent.as_ptr(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if fd < 0 {
            return Err(format!("open {parent:?}: {}", name(fd)));
        }
        DIRECTORY.store(fd, Relaxed);
    }
    let path = c(path.as_bytes());
    let start = Barrier::new(threads);
    let repeat = || {
        start.wait();
        let began = Instant::now();
        for _ in 0..count {
            let r = once(&path);
            if r < 0 {
                return Err(format!("{kind} {path:?}: {}", name(r)));
            }
        }
        Ok((began, Instant::now()))
    };
    let times: Vec<(Instant, Instant)> = if threads == 1 {
        // On the main thread: a second one would change what the kernel and the tracer do.
        vec![repeat()?]
    } else {
        std::thread::scope(|scope| {
            let all: Vec<_> = (0..threads).map(|_| scope.spawn(repeat)).collect();
            all.into_iter().map(|thread| thread.join().expect("no loop panics")).collect::<Result<_, _>>()
        })?
    };
    // The first may be done before the last begins: from the earliest beginning to the latest end.
    let began = times.iter().map(|t| t.0).min().ok_or("no thread")?;
    let ended = times.iter().map(|t| t.1).max().ok_or("no thread")?;
    Ok((ended - began).as_nanos())
}

fn stat(path: &CString) -> i64 {
    let mut st = [0u64; 18];
    sc!(SYS_newfstatat, AT_FDCWD, path.as_ptr(), st.as_mut_ptr(), 0)
}

/// The folder of the loop `name`.
static DIRECTORY: AtomicI64 = AtomicI64::new(-1);

fn name_in_directory(path: &CString) -> i64 {
    let mut st = [0u64; 18];
    let bytes = path.as_bytes_with_nul();
    let name = &bytes[bytes.iter().rposition(|&b| b == b'/').map_or(0, |at| at + 1)..];
    sc!(SYS_newfstatat, DIRECTORY.load(Relaxed), name.as_ptr(), st.as_mut_ptr(), AT_SYMLINK_NOFOLLOW)
}

/// fstat(3) of glibc 2.33 to 2.38.
fn empty_path(_: &CString) -> i64 {
    let mut st = [0u64; 18];
    sc!(SYS_newfstatat, 0, c"".as_ptr(), st.as_mut_ptr(), AT_EMPTY_PATH)
}

/// All entries of a folder.
fn list(path: &CString) -> i64 {
    let fd = sc!(SYS_openat, AT_FDCWD, path.as_ptr(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if fd < 0 {
        return fd;
    }
    let mut out = [0u64; 4096];
    loop {
        let n = sc!(SYS_getdents64, fd, out.as_mut_ptr(), 8 * out.len());
        if n <= 0 {
            sc!(SYS_close, fd);
            return n;
        }
    }
}

fn open(path: &CString) -> i64 {
    let fd = sc!(SYS_openat, AT_FDCWD, path.as_ptr(), O_RDONLY | O_CLOEXEC);
    if fd < 0 { fd } else { sc!(SYS_close, fd) }
}

fn readlink(path: &CString) -> i64 {
    let mut out = [0u8; 4096];
    sc!(SYS_readlinkat, AT_FDCWD, path.as_ptr(), out.as_mut_ptr(), out.len())
}

fn getcwd(_: &CString) -> i64 {
    let mut out = [0u8; 4096];
    sc!(SYS_getcwd, out.as_mut_ptr(), out.len())
}

/// Starts the program at `path` as `PROGRAM exit 0` and waits for it.
fn exec(path: &CString) -> i64 {
    let argv = [path.as_ptr(), c"exit".as_ptr(), c"0".as_ptr(), std::ptr::null()];
    let mut pid = 0;
    let failed = unsafe {
        let envp = [std::ptr::null_mut()];
        posix_spawn(
            &raw mut pid,
            path.as_ptr(),
            std::ptr::null(),
            std::ptr::null(),
            argv.as_ptr().cast(),
            envp.as_ptr(),
        )
    };
    if failed != 0 {
        return -i64::from(failed);
    }
    let mut status = 0i32;
    let got = sc!(SYS_wait4, pid, &raw mut status, 0, 0);
    if got < 0 || status == 0 { got } else { -i64::from(ECHILD) }
}

/// `count` children that do nothing until this process ends.
fn idle(count: usize) -> Result<u128, String> {
    let began = Instant::now();
    for _ in 0..count {
        match sc!(old::fork) {
            0 => {
                sc!(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL);
                loop {
                    sc!(old::pause);
                }
            }
            r if r < 0 => return Err(format!("fork: {}", name(r))),
            _ => {}
        }
    }
    Ok(began.elapsed().as_nanos())
}

/// A walk over everything below a folder, each entry looked at: what a static program without a C library does.
pub fn walk(dir: &str) -> i32 {
    let mut waiting = vec![std::path::PathBuf::from(dir)];
    let (mut entries, mut bytes) = (0u64, 0u64);
    while let Some(dir) = waiting.pop() {
        for entry in std::fs::read_dir(&dir).expect("a folder") {
            let path = entry.expect("an entry").path();
            let text = c(path.as_os_str().as_encoded_bytes());
            // The standard library would ask with statx(2), which Debian's proot does not know.
            let mut st = unsafe { std::mem::zeroed::<libc::stat>() };
            let r = sc!(SYS_newfstatat, AT_FDCWD, text.as_ptr(), &raw mut st, AT_SYMLINK_NOFOLLOW);
            assert!(r == 0, "{text:?}: {}", name(r));
            entries += 1;
            bytes += st.st_size as u64;
            if st.st_mode & S_IFMT == S_IFDIR {
                waiting.push(path);
            }
        }
    }
    println!("{entries} entries, {bytes} bytes");
    0
}
