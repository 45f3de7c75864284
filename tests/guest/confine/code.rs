//! What a runtime has put into the program's memory: code that may make calls, slots, secrets.

use super::*;

/// Memory that is mapped here and is none of the program's: `(from, to, permissions)`.
fn foreign() -> Vec<(u64, u64, String)> {
    let maps = text_of(c"/proc/self/maps").unwrap_or_default();
    let text = String::from_utf8_lossy(&maps).into_owned();
    text.lines()
        .filter(|l| {
            l.contains("prun")
                || l.contains("proot")
                || l.split_once('-').is_some_and(|(from, _)| from.len() < 6)
        })
        .filter_map(|l| {
            let mut words = l.split_whitespace();
            let (from, to) = words.next()?.split_once('-')?;
            let number = |t| u64::from_str_radix(t, 16).ok();
            Some((number(from)?, number(to)?, words.next()?.to_owned()))
        })
        .collect()
}

fn bytes(from: u64, to: u64) -> &'static [u8] {
    unsafe { std::slice::from_raw_parts(from as *const u8, (to - from) as usize) }
}

/// Addresses of `syscall` instructions in such memory.
fn calls() -> Vec<u64> {
    foreign()
        .iter()
        .filter(|(.., flags)| flags.starts_with("r-x"))
        .flat_map(|&(from, to, _)| {
            bytes(from, to)
                .windows(prun_arch::NATIVE_CALL.len())
                .enumerate()
                .filter(|(_, w)| *w == prun_arch::NATIVE_CALL)
                .map(move |(i, _)| from + i as u64)
                .collect::<Vec<_>>()
        })
        .collect()
}

/// Makes a call by the instruction at `at`; whatever follows there is left by a fault, whose handler ends the child
/// with what the call has done.
fn jump(at: u64, nr: i64, args: [u64; 4], then: extern "C" fn(i32, *mut siginfo_t, *mut c_void)) -> i32 {
    in_child(|| unsafe {
        let mut action: sigaction = std::mem::zeroed();
        action.sa_sigaction = then as extern "C" fn(i32, *mut siginfo_t, *mut c_void) as usize;
        action.sa_flags = SA_SIGINFO | SA_ONSTACK;
        for signal in [SIGSEGV, SIGBUS, SIGILL, SIGTRAP, SIGALRM] {
            libc::sigaction(signal, &raw const action, std::ptr::null_mut());
        }
        let mut timer = [0u64, 0, 0, 100_000];
        sc!(SYS_setitimer, 0, timer.as_mut_ptr(), 0);
        prun_arch::harness::jump(at, nr, args)
    })
}

extern "C" fn look(_: i32, _: *mut siginfo_t, _: *mut c_void) {
    // Whatever descriptor the call has opened.
    let found = (3..40).any(|fd| {
        let mut text = [0u8; 16];
        let n = sc!(SYS_pread64, fd, text.as_mut_ptr(), 16, 0);
        n > 0 && text.starts_with(MARKER)
    });
    sc!(SYS_exit_group, if found { 77 } else { 0 });
}

fn by_jumping(world: &World, nr: i64, args: impl Fn(u64) -> [u64; 4]) -> Verdict {
    if nr < 0 {
        return Skip("this CPU has no such call".into());
    }
    let path = world.outside("marker");
    let sites = calls();
    if sites.is_empty() {
        return Confined;
    }
    first(sites.into_iter().take(40).map(|at| match jump(at, nr, args(path.as_ptr() as u64), look) {
        77 => Escapes(format!("reads the marker by the code at {at:#x}")),
        _ => Confined,
    }))
}

/// Puts code of one's own where the runtime's is, a call and a return, by `write`.
fn replaced(world: &World, write: impl Fn(u64, &[u8]) -> bool) -> Verdict {
    let path = world.outside("marker");
    let all: Vec<u64> =
        foreign().iter().filter(|f| f.2.contains('x')).map(|f| f.0).chain([0x2_0000]).collect();
    first(all.into_iter().map(|at| {
        let status = in_child(|| {
            if !write(at, &prun_arch::harness::CALL_AND_RETURN) {
                return 0;
            }
            let r = unsafe {
                prun_arch::harness::call_at(at, SYS_openat, [AT_FDCWD as u64, path.as_ptr() as u64, 0])
            };
            if reads_marker(r) { 77 } else { 0 }
        });
        if status == 77 {
            Escapes(format!("reads the marker by code of its own at {at:#x}"))
        } else {
            Confined
        }
    }))
}

fn poke(at: u64, code: &[u8]) -> bool {
    let fd = sc!(old::open, c"/proc/self/mem".as_ptr(), O_RDWR);
    sc!(SYS_pwrite64, fd, code.as_ptr(), code.len(), at) == code.len() as i64
}

fn mapped(at: u64, code: &[u8]) -> bool {
    let flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
    let got = sc!(SYS_mmap, at, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, flags, NONE, 0);
    if got != at as i64 {
        return false;
    }
    unsafe { std::ptr::copy_nonoverlapping(code.as_ptr(), at as *mut u8, code.len()) };
    true
}

fn protected(at: u64, code: &[u8]) -> bool {
    if sc!(SYS_mprotect, at, 4096, PROT_READ | PROT_WRITE | PROT_EXEC) != 0 {
        return false;
    }
    unsafe { std::ptr::copy_nonoverlapping(code.as_ptr(), at as *mut u8, code.len()) };
    true
}

fn moved(at: u64, code: &[u8]) -> bool {
    let from =
        sc!(SYS_mmap, 0, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, NONE, 0);
    unsafe { std::ptr::copy_nonoverlapping(code.as_ptr(), from as *mut u8, code.len()) };
    sc!(SYS_mremap, from, 4096, 4096, MREMAP_MAYMOVE | MREMAP_FIXED, at) == at as i64
}

/// Every word that the runtime may have left below and above the stack pointer, as the sixth argument of openat(2).
fn secret(world: &World) -> Verdict {
    let path = world.outside("marker");
    let mut here = 0u64;
    let top = &raw mut here as u64;
    let mut resident = [0u8; 8];
    let mut readable = |at: u64| sc!(SYS_mincore, at & !4095, 4096, resident.as_mut_ptr()) == 0;
    let mut words: Vec<u64> = vec![];
    let mut at = (top & !4095) - 16 * 4096;
    while at < top + 64 * 4096 {
        if readable(at) {
            words.extend(unsafe { std::slice::from_raw_parts(at as *const u64, 512) });
        }
        at += 4096;
    }
    words.sort_unstable();
    words.dedup();
    for word in words {
        let fd = sc!(SYS_openat, AT_FDCWD, path.as_ptr(), O_RDONLY | O_CLOEXEC, 0, 0, word);
        if fd >= 0 {
            return match opened(fd) {
                Escapes(what) => Escapes(format!("{what} by a word of the stack")),
                other => other,
            };
        }
    }
    Confined
}

/// The memory that the runtime shares with the guest, made writable.
fn slots(_: &World) -> Verdict {
    let all = foreign();
    let mut written = Confined;
    for (from, to, flags) in all.iter().filter(|f| f.2.ends_with('s')) {
        let _ = (to, flags);
        if sc!(SYS_mprotect, *from, 4096, PROT_READ | PROT_WRITE) == 0 {
            written = Escapes(format!("makes the shared memory at {from:#x} writable"));
        }
    }
    written
}

pub const PROBES: &[Probe] = &[
    Probe { name: "jumped to: open", run: |w| by_jumping(w, old::open, |path| [path, 0, 0, 0]) },
    Probe {
        name: "jumped to: openat",
        run: |w| by_jumping(w, SYS_openat, |path| [AT_FDCWD as u64, path, 0, 0]),
    },
    Probe {
        name: "jumped to: openat without links",
        run: |w| by_jumping(w, SYS_openat, |path| [AT_FDCWD as u64, path, O_NOFOLLOW as u64, 0]),
    },
    Probe { name: "jumped to: mkdir", run: |w| by_jumping(w, old::mkdir, |path| [path, 0o700, 0, 0]) },
    Probe {
        name: "jumped to: execve",
        run: |w| {
            let (path, mark) = (w.outside("prog"), c(b"confine-mark"));
            let argv = [path.as_ptr(), mark.as_ptr(), std::ptr::null()];
            first(calls().into_iter().take(40).map(|at| {
                match jump(at, SYS_execve, [path.as_ptr() as u64, argv.as_ptr() as u64, 0, 0], look) {
                    77 => Escapes(format!("runs the program by the code at {at:#x}")),
                    _ => Confined,
                }
            }))
        },
    },
    Probe { name: "written over, by /proc/self/mem", run: |w| replaced(w, poke) },
    Probe { name: "mapped over", run: |w| replaced(w, mapped) },
    Probe { name: "made writable", run: |w| replaced(w, protected) },
    Probe { name: "moved there", run: |w| replaced(w, moved) },
    Probe { name: "a secret on the stack", run: secret },
    Probe { name: "the slots made writable", run: slots },
];
