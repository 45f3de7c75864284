//! The command before it is one: a child of the front that waits for the tracer's word, confines itself and executes.
#![allow(unsafe_code)]

use crate::config::Config;
use crate::error::{CANNOT_EXECUTE, CANNOT_START, Failure, NOT_FOUND};
use crate::report;
use std::ffi::CString;
use std::fs::File;
use std::io::{Error, Read, Write};
use std::sync::atomic::{AtomicI32, Ordering};
use syscalls::Errno;

/// Whether this process was started with SIGPIPE ignored; the standard library ignores it before `main`.
static SIGPIPE_WAS: AtomicI32 = AtomicI32::new(0);

#[cfg_attr(miri, allow(dead_code))]
extern "C" fn remember_sigpipe() {
    // SAFETY: all-zero bytes are a valid sigaction; the call only reads the disposition.
    unsafe {
        let mut old: libc::sigaction = std::mem::zeroed();
        libc::sigaction(libc::SIGPIPE, std::ptr::null(), &raw mut old);
        SIGPIPE_WAS.store(i32::from(old.sa_sigaction == libc::SIG_IGN), Ordering::Relaxed);
    }
}

/// Run by the C library before `main`; Miri cannot.
#[cfg(not(miri))]
#[used]
#[unsafe(link_section = ".init_array")]
static REMEMBER: extern "C" fn() = remember_sigpipe;

/// Says that it may be traced, waits for the tracer's word, confines itself and executes; returns only when that failed.
pub(super) fn start(config: &Config, tracer: i32, mut here_i_am: File, mut go: File) -> u8 {
    // SAFETY: integers only. Where Yama restricts ptrace to descendants, this lets a sibling attach; elsewhere it
    // fails, and is not needed.
    unsafe { libc::prctl(libc::PR_SET_PTRACER, tracer as libc::c_ulong, 0, 0, 0) };
    // Not before: the tracer attaches as soon as it knows whom to. Where nobody listens it has said why.
    let told = here_i_am.write_all(&std::process::id().to_ne_bytes());
    drop(here_i_am);
    let mut message = vec![];
    if told.is_err() || go.read_to_end(&mut message).is_err() || message.len() < 4 {
        // The tracer has said why.
        return CANNOT_START;
    }
    drop(go);
    let count = u32::from_ne_bytes([message[0], message[1], message[2], message[3]]) as usize;
    let (program, cwds) = message[4..].split_at(8 * count);
    let (cwd, pwd) = cwds.split_at(memchr::memchr(0, cwds).unwrap_or(cwds.len()));
    let pwd = pwd.get(1..).filter(|p| !p.is_empty()).and_then(|p| CString::new([b"PWD=", p].concat()).ok());
    let mut filter: Vec<libc::sock_filter> = program
        .chunks_exact(8)
        .map(|c| libc::sock_filter {
            code: u16::from_ne_bytes([c[0], c[1]]),
            jt: c[2],
            jf: c[3],
            k: u32::from_ne_bytes([c[4], c[5], c[6], c[7]]),
        })
        .collect();
    if let (false, Ok(cwd)) = (cwd.is_empty(), CString::new(cwd))
        && nix::unistd::chdir(cwd.as_c_str()).is_err()
    {
        let failure = Failure::new("change to", &cwd.to_string_lossy(), Error::last_os_error())
            .hint("it was removed or closed to this user meanwhile, or a filter around prun refuses chdir(2): see -w");
        report::say(format_args!("{failure}"));
        return CANNOT_START;
    }
    let candidates = config.candidates();
    let kept = config.environment.iter().filter(|v| pwd.is_none() || !v.as_bytes().starts_with(b"PWD="));
    let environment: Vec<CString> = kept.chain(&pwd).cloned().collect();
    let (mut argv, envp) = (pointers(&config.command), pointers(&environment));
    if SIGPIPE_WAS.load(Ordering::Relaxed) == 0 {
        // SAFETY: the default disposition has no handler.
        unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    }
    let prog = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: the program is as long as said and lives through the call.
    let installed = unsafe {
        let confined = libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0;
        // Without a filter nothing asks for it, and a kernel before 3.5 does not have it.
        filter.is_empty()
            || confined && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const prog) == 0
    };
    if !installed {
        let why = Error::last_os_error();
        let hint = match why.raw_os_error() {
            Some(libc::ENOMEM) => {
                "the filters around prun leave no room for another: a task has 32768 instructions for all of its filters. \
                 Start prun outside some of them, or with PRUN_ENGINE=plain, which needs none"
            }
            _ => "nothing around prun may forbid it; PRUN_ENGINE=plain needs no filter",
        };
        let failure = Failure::new("install the system call filter", "seccomp", why).hint(hint);
        report::say(format_args!("{failure}"));
        return CANNOT_START;
    }
    let mut error = Errno::ENOENT;
    for path in &candidates {
        if config.default_shell {
            argv[0] = path.as_ptr();
        }
        // SAFETY: NUL-terminated strings in null-terminated arrays, all alive.
        unsafe { libc::execve(path.as_ptr(), argv.as_ptr(), envp.as_ptr()) };
        match crate::sys::errno() {
            Errno::ENOENT | Errno::ENOTDIR => {}
            // A folder of PATH that this user may not search holds nothing for it.
            // SAFETY: a NUL-terminated string.
            Errno::EACCES if unsafe { libc::access(path.as_ptr(), libc::F_OK) } < 0 => {}
            e => {
                error = e;
                if e != Errno::EACCES {
                    break;
                }
            }
        }
    }
    let name = config.command[0].to_string_lossy();
    // Where an interpreter or the machine is to blame, the tracer has said so already.
    let (status, hint) = match error {
        Errno::ENOENT | Errno::ENOTDIR => {
            (NOT_FOUND, "it is not in the guest, or what it is run by is not: see --bind, --rootfs and PATH")
        }
        Errno::EACCES => (
            CANNOT_EXECUTE,
            "it is no file that this user may execute ('chmod +x'), or lies on a noexec mount (prun --doctor)",
        ),
        Errno::ENOEXEC => (CANNOT_EXECUTE, "it is neither a program for this machine nor a script with '#!'"),
        Errno::ENOMEM | Errno::E2BIG => {
            (CANNOT_EXECUTE, "RLIMIT_AS or RLIMIT_STACK is too low for it and its arguments ('ulimit -a')")
        }
        Errno::ETXTBSY => (CANNOT_EXECUTE, "somebody has it open for writing: try again when that is closed"),
        Errno::ELOOP => (CANNOT_EXECUTE, "its symbolic links or '#!' lines lead in a circle: correct them"),
        _ => (CANNOT_EXECUTE, "it must be a program or script that the guest may execute on this machine"),
    };
    report::say(format_args!("{}", Failure::new("execute", &name, crate::sys::io(error)).hint(hint)));
    status
}

fn pointers(all: &[CString]) -> Vec<*const libc::c_char> {
    all.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect()
}
