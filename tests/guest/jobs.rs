//! Small jobs for exec and signal tests.

use crate::raw::{c, name, old};
use crate::sc;
use libc::*;

pub fn run(job: &str, rest: &[&str]) -> i32 {
    match job {
        "exit" => rest[0].parse().expect("a status"),
        "kill" => {
            sc!(SYS_kill, sc!(SYS_getpid), rest[0].parse::<i32>().expect("a signal"));
            std::thread::sleep(std::time::Duration::from_secs(60));
            99
        }
        "self" => own(),
        "thread-exec" => {
            let path = c(rest[0].as_bytes());
            let arg = c(b"exit");
            let status = c(rest[1].as_bytes());
            std::thread::spawn(move || {
                let argv = [path.as_ptr(), arg.as_ptr(), status.as_ptr(), std::ptr::null()];
                sc!(SYS_execve, path.as_ptr(), argv.as_ptr(), 0)
            });
            std::thread::sleep(std::time::Duration::from_secs(100));
            98
        }
        "fexec" => {
            let fd = sc!(old::open, c(rest[0].as_bytes()).as_ptr(), O_RDONLY);
            let (arg0, arg1) = (c(b"guest"), c(b"self"));
            let argv = [arg0.as_ptr(), arg1.as_ptr(), std::ptr::null()];
            println!("{}", name(sc!(SYS_execveat, fd, c"".as_ptr(), argv.as_ptr(), 0, AT_EMPTY_PATH)));
            97
        }
        "execs" => {
            // Each in a child; what was started prints its arguments.
            for i in 0..rest[1].parse().expect("a number") {
                let path = format!("{}/s{i}", rest[0]);
                let status = std::process::Command::new(&path).status();
                match status {
                    Ok(status) => println!("s{i} -> {status}"),
                    Err(e) => println!("s{i} -> {e}"),
                }
            }
            0
        }
        "busy" => {
            println!("write own program -> {}", name(sc!(old::open, c"/proc/self/exe".as_ptr(), O_WRONLY)));
            0
        }
        "dumpable" => {
            // Programs that hold secrets ask not to be looked at; prun has to look at them all the same.
            let get = || sc!(SYS_prctl, PR_GET_DUMPABLE);
            let set = |value: u64| name(sc!(SYS_prctl, PR_SET_DUMPABLE, value));
            println!("{} {} {} {} {}", get(), set(1), get(), set(0), get());
            println!("{} {}", set(2), set(7));
            println!("{}", name(sc!(old::access, c"/usr/.".as_ptr(), F_OK)));
            0
        }
        "openat2" => {
            for resolve in [0, RESOLVE_NO_XDEV, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS] {
                let how = [O_RDONLY as u64, 0, resolve];
                let r = sc!(SYS_openat2, AT_FDCWD, c(rest[0].as_bytes()).as_ptr(), how.as_ptr(), 24);
                println!("{resolve} {}", crate::raw::ok(r));
            }
            0
        }
        "cat" => {
            print!("{}", std::fs::read_to_string(rest[0]).expect("a file"));
            0
        }
        "foreign" => foreign(rest[0]),
        "clone3" => {
            // CLONE_UNTRACED hides a child from its tracer, if it can.
            let mut args = [0u64; 11];
            args[0] = CLONE_UNTRACED as u64;
            args[4] = SIGCHLD as u64;
            let child = sc!(SYS_clone3, args.as_mut_ptr(), 88);
            if child == 0 {
                let r = sc!(old::access, c"/".as_ptr(), F_OK);
                sc!(SYS_exit_group, i64::from(r != 0));
            }
            let mut status = 0i32;
            sc!(SYS_wait4, child, &raw mut status, 0, 0);
            println!("clone3 child -> {status}");
            0
        }
        _ => {
            eprintln!("no job {job}");
            2
        }
    }
}

/// What a program can tell about how it was started.
fn own() -> i32 {
    let aux = |key| unsafe { getauxval(key) };
    let execfn = unsafe { std::ffi::CStr::from_ptr(aux(AT_EXECFN) as *const c_char) };
    println!("execfn {}", execfn.to_string_lossy());
    println!("args {:?}", std::env::args().collect::<Vec<_>>());
    println!("exe {}", std::fs::read_link("/proc/self/exe").expect("a link").display());
    println!("comm {}", std::fs::read_to_string("/proc/self/comm").expect("a name").trim());
    let phdr = aux(AT_PHDR);
    println!("phnum {} phdr {}", aux(AT_PHNUM), phdr % 4096);
    let maps = std::fs::read_to_string("/proc/self/maps").expect("maps");
    let entry = aux(AT_ENTRY);
    let inside = maps.lines().any(|l| {
        let (a, b) = l.split(' ').next().and_then(|r| r.split_once('-')).expect("a range");
        let p = |t| u64::from_str_radix(t, 16).expect("an address");
        (p(a)..p(b)).contains(&entry) && l.contains('x')
    });
    println!("entry executable {inside}");
    let brk = sc!(SYS_brk, 0);
    println!("brk grows {}", sc!(SYS_brk, brk + 4096) == brk + 4096);
    let own = std::fs::read("/proc/self/auxv").expect("auxv");
    let word = |i: usize| u64::from_ne_bytes(own[8 * i..8 * i + 8].try_into().expect("8"));
    let kernel_entry = (0..own.len() / 16).find(|i| word(2 * i) == AT_ENTRY).map(|i| word(2 * i + 1));
    println!("auxv agrees {}", kernel_entry == Some(entry));
    println!("dumpable {}", sc!(SYS_prctl, PR_GET_DUMPABLE));
    0
}

/// Calls of other ABIs are translated or refused: none reaches the host's files as it is.
fn foreign(path: &str) -> i32 {
    let path = std::ffi::CString::new(path).expect("no NUL");
    // A CPU without such a mode says nothing of it.
    if let Some((r32, none)) = by_another_abi(&path) {
        println!("int 0x80 -> {}", name(r32));
        println!(
            "it looks native -> {}",
            if matches!(none as i32, -22 | -38) { "refused" } else { "allowed" }
        );
    }
    let garbage = 0x5555_0000_0000_0000u64 as i64 | SYS_faccessat;
    let high = sc!(garbage, AT_FDCWD, c"/nix".as_ptr(), F_OK).min(0);
    println!("garbage in the high half -> {}", name(high));
    println!("x32 -> {}", name(sc!(0x4000_0000 | SYS_faccessat, AT_FDCWD, path.as_ptr(), F_OK)));
    println!("io_uring_setup -> {}", name(sc!(SYS_io_uring_setup, 4, 0)));
    0
}

/// The answers to access(2) by the CPU's 32-bit ABI, the second from a call that looks native: refused, or no such mode.
fn by_another_abi(path: &std::ffi::CStr) -> Option<(i64, i64)> {
    unsafe {
        // access(2) of i386 with a pointer that fits: a page below 4 GiB.
        let low = sc!(
            SYS_mmap,
            0x1000_0000u64,
            4096,
            PROT_READ | PROT_WRITE,
            MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
            -1i64,
            0
        );
        std::ptr::copy_nonoverlapping(path.as_ptr(), low as *mut c_char, path.to_bytes_with_nul().len());
        // Only the low halves count.
        let address = low | 0x5555 << 32;
        let (result, intact) = prun_arch::harness::foreign_access(address as u64)?;
        assert!(intact, "rbx is as it was");
        // With the second argument as the address behind the instruction it would look native.
        let disguised = prun_arch::harness::disguised_access(low as u64)?;
        Some((result, disguised))
    }
}
