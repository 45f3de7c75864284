//! ptrace(2) and wait4(2), raw: nix refuses real-time signals in both.
//!
//! Every function answers `ESRCH` when the tracee is no longer stopped, which SIGKILL can make true at any moment;
//! callers take it for "died", and wait for the notice.
#![allow(unsafe_code)]

#[cfg(debug_assertions)]
mod old_order;

use crate::cost::{self, Kind};
use prun_arch::{NarrowFrame, Regs};
use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::atomic::{Ordering, compiler_fence};
use syscalls::Errno;

/// `op` is a word, as its type is another in each C library.
fn request(op: u64, tid: i32, addr: u64, data: u64) -> Result<i64, Errno> {
    cost::count(Kind::Ptrace, 1);
    // SAFETY: each caller passes what its request takes; pointers are to live objects of the right type.
    let got = unsafe { libc::syscall(libc::SYS_ptrace, op, i64::from(tid), addr, data) };
    if got == -1 { Err(crate::sys::errno()) } else { Ok(got) }
}

/// Options of every tracee, inherited by its children.
const OPTIONS: i32 = libc::PTRACE_O_TRACESECCOMP
    | libc::PTRACE_O_TRACECLONE
    | libc::PTRACE_O_TRACEFORK
    | libc::PTRACE_O_TRACEVFORK
    | libc::PTRACE_O_TRACEEXEC
    | libc::PTRACE_O_TRACESYSGOOD
    | libc::PTRACE_O_EXITKILL;

/// Attaches without stopping.
///
/// # Errors
/// `EPERM` where the host refuses ptrace.
pub fn seize(tid: i32) -> Result<(), Errno> {
    request(libc::PTRACE_SEIZE as u64, tid, 0, OPTIONS as u64).map(drop)
}

thread_local! {
    /// Where [`seize_from_living`] wants events noted that come meanwhile; null at all other times.
    static MEANWHILE: Cell<*mut VecDeque<(i32, i32)>> = const { Cell::new(std::ptr::null_mut()) };
}

/// [`seize`] for a task of a process of which this thread may trace other tasks already.
///
/// PTRACE_SEIZE waits while a thread of the process is in execve(2) (`cred_guard_mutex`), and that waits until the tracers of the
/// other threads have heard of their ends (`de_thread()` of `fs/exec.c`): if that is this thread, both wait for ever. A
/// signal makes the request begin anew, after its handler, which is to call [`hear`]: what it hears is added to `news`, a
/// tracee and its status each, which gets room for so many, as nothing may be allocated there. wait4(2) tells of stops whether
/// it is asked for them or not (`wait_task_stopped()` of `kernel/exit.c`).
///
/// # Errors
/// As [`seize`].
pub fn seize_from_living(tid: i32, news: &mut VecDeque<(i32, i32)>, room: usize) -> Result<(), Errno> {
    news.reserve(room);
    MEANWHILE.set(news);
    compiler_fence(Ordering::SeqCst);
    let result = seize(tid);
    compiler_fence(Ordering::SeqCst);
    MEANWHILE.set(std::ptr::null_mut());
    result
}

/// In a signal handler: where the signal has interrupted [`seize_from_living`], its thread hears of all events there are.
pub fn hear() {
    let news = MEANWHILE.get();
    if news.is_null() {
        return;
    }
    let flags = libc::WNOHANG | libc::__WALL | libc::__WNOTHREAD;
    let errno = nix::errno::Errno::last_raw();
    // SAFETY: the list lives until the pointer to it is taken back, by this thread, which does nothing with it before
    // that; nothing is allocated, and waitpid(2) may be called in a handler. `raw` is writable.
    unsafe {
        while (*news).len() < (*news).capacity() {
            let mut raw = 0;
            let tid = libc::waitpid(-1, &raw mut raw, flags);
            if tid <= 0 {
                break;
            }
            (*news).push_back((tid, raw));
        }
    }
    nix::errno::Errno::set_raw(errno);
}

/// The event that [`hear`] noted.
pub fn heard((tid, raw): (i32, i32)) -> Waited {
    let waited = Waited::Event(tid, decode(raw));
    #[cfg(debug_assertions)]
    let waited = old_order::seen(waited);
    waited
}

/// `NT_PRSTATUS` of `<linux/elf.h>`.
const NT_PRSTATUS: u64 = 1;

/// The first `len` bytes of the registers; how many there were.
fn get(tid: i32, regs: &mut Regs, len: usize) -> Result<usize, Errno> {
    let mut part = libc::iovec { iov_base: (&raw mut regs.0).cast(), iov_len: len };
    request(libc::PTRACE_GETREGSET as u64, tid, NT_PRSTATUS, &raw mut part as u64)?;
    Ok(part.iov_len)
}

fn set(tid: i32, regs: &Regs, len: usize) -> Result<(), Errno> {
    let put = |note, base: *const libc::c_void, len| {
        let part = libc::iovec { iov_base: base.cast_mut(), iov_len: len };
        request(libc::PTRACE_SETREGSET as u64, tid, note, &raw const part as u64).map(drop)
    };
    let mut room = [0; size_of::<NarrowFrame>() / 4];
    let (base, len) = regs.given(&mut room, len);
    put(NT_PRSTATUS, base, len)?;
    match regs.apart() {
        Some((note, value)) => put(note, (&raw const value).cast(), size_of_val(&value)),
        None => Ok(()),
    }
}

/// Registers of a stopped tracee.
///
/// # Errors
/// `ESRCH`.
pub fn regs(tid: i32) -> Result<Regs, Errno> {
    let mut regs = Regs::zeroed();
    match prun_arch::WHOLE {
        Some([get, _]) => drop(request(get, tid, 0, (&raw mut regs.0) as u64)?),
        None => {
            let len = get(tid, &mut regs, prun_arch::CALL_REGS_READ)?;
            regs.took(len);
        }
    }
    regs.set_abi(regs.apparent_abi().unwrap_or(prun_arch::ABI));
    Ok(regs)
}

/// Sets them.
///
/// # Errors
/// `ESRCH`.
pub fn set_regs(tid: i32, regs: &Regs) -> Result<(), Errno> {
    match prun_arch::WHOLE {
        Some([_, set]) => request(set, tid, 0, (&raw const regs.0) as u64).map(drop),
        None => set(tid, regs, size_of_val(&regs.0)),
    }
}

/// The registers that a system call is made of, up to the instruction pointer and what tells its ABI; the others read as
/// zero.
///
/// On x86 a third of the price of all: segment bases are left alone (`genregs_get()` of `arch/x86/kernel/ptrace.c`). A tracee
/// in 32-bit code has another set there (`task_user_regset_view()`), which is shorter: then all are read.
///
/// # Errors
/// `ESRCH`.
pub fn call_regs(tid: i32) -> Result<Regs, Errno> {
    let mut regs = Regs::zeroed();
    let len = get(tid, &mut regs, prun_arch::CALL_REGS_READ)?;
    if !regs.took(len) {
        let mut all = self::regs(tid)?;
        all.set_whole();
        return Ok(all);
    }
    regs.set_abi(regs.apparent_abi().unwrap_or(prun_arch::ABI));
    Ok(regs)
}

/// Sets the registers that [`call_regs`] reads, and no others; `before` are those that the tracee has.
///
/// # Errors
/// `ESRCH`.
pub fn set_call_regs(tid: i32, before: &Regs, regs: &Regs) -> Result<(), Errno> {
    if before.is_whole() {
        return set_regs(tid, regs);
    }
    set(tid, regs, prun_arch::CALL_REGS)
}

/// `PTRACE_GET_SYSCALL_INFO` and the bytes of its answer (Linux 6.18), which libc has for some targets only.
const GET_SYSCALL_INFO: u64 = 0x420e;
const SYSCALL_INFO_LEN: usize = 88;

/// The ABI of the call that a tracee is stopped at: an `AUDIT_ARCH_…` number.
///
/// # Errors
/// `EIO` before Linux 5.3; `ESRCH`.
pub fn call_arch(tid: i32) -> Result<u32, Errno> {
    let mut info = [0u32; SYSCALL_INFO_LEN / 4];
    // One byte for the kind of stop, three of padding, then the number.
    request(GET_SYSCALL_INFO, tid, SYSCALL_INFO_LEN as u64, info.as_mut_ptr() as u64)?;
    Ok(info[1])
}

/// How a stopped tracee goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resume {
    /// To the next event.
    Run,
    /// To the next event or the end of its system call.
    ToExit,
    /// It stays stopped, as job control wants, but its SIGCONT is seen.
    Listen,
}

/// Lets it go on, with a signal delivered if `signal` is not 0.
///
/// # Errors
/// `ESRCH`.
pub fn resume(tid: i32, how: Resume, signal: i32) -> Result<(), Errno> {
    #[cfg(debug_assertions)]
    if old_order::resumed(tid, how) {
        return Ok(());
    }
    let op = match how {
        Resume::Run => libc::PTRACE_CONT,
        Resume::ToExit => libc::PTRACE_SYSCALL,
        Resume::Listen => libc::PTRACE_LISTEN,
    };
    request(op as u64, tid, 0, signal as u64).map(drop)
}

/// Lets a stopped tracee go on untraced.
///
/// # Errors
/// `ESRCH`.
pub fn detach(tid: i32) -> Result<(), Errno> {
    request(libc::PTRACE_DETACH as u64, tid, 0, 0).map(drop)
}

/// Stops a running tracee, wherever it is.
///
/// # Errors
/// `ESRCH`.
pub fn interrupt(tid: i32) -> Result<(), Errno> {
    request(libc::PTRACE_INTERRUPT as u64, tid, 0, 0).map(drop)
}

/// `PTRACE_GETSIGMASK` and `PTRACE_SETSIGMASK` (Linux 3.11), which libc lacks on some targets.
const GETSIGMASK: u64 = 0x420a;
const SETSIGMASK: u64 = 0x420b;

/// Signals that a stopped tracee has blocked.
///
/// # Errors
/// `ESRCH`, and `EIO` before Linux 3.11.
pub fn signal_mask(tid: i32) -> Result<u64, Errno> {
    let mut mask = 0u64;
    request(GETSIGMASK, tid, size_of::<u64>() as u64, &raw mut mask as u64)?;
    Ok(mask)
}

/// Sets them.
///
/// # Errors
/// As for [`signal_mask`].
pub fn set_signal_mask(tid: i32, mask: u64) -> Result<(), Errno> {
    request(SETSIGMASK, tid, size_of::<u64>() as u64, &raw const mask as u64).map(drop)
}

/// The number that comes with an event: a new task's id, an exec's former thread id.
///
/// # Errors
/// `ESRCH`.
pub fn message(tid: i32) -> Result<u64, Errno> {
    let mut message = 0u64;
    request(libc::PTRACE_GETEVENTMSG as u64, tid, 0, &raw mut message as u64)?;
    Ok(message)
}

/// Reads any mapped memory, a word at a time; as many bytes as there are in a row.
pub fn peek(tid: i32, at: u64, out: &mut [u8]) -> usize {
    let mut got = 0;
    while got < out.len() {
        let from = at.wrapping_add(got as u64);
        let inside = (from % 8) as usize;
        let mut word = 0u64;
        // The system call itself stores the word; the C library's wrapper would return it, and errors with it.
        cost::count(Kind::Ptrace, 1);
        // SAFETY: `word` is writable.
        let result = unsafe {
            libc::syscall(libc::SYS_ptrace, libc::PTRACE_PEEKDATA, tid, from - inside as u64, &raw mut word)
        };
        if result < 0 {
            break;
        }
        let n = (8 - inside).min(out.len() - got);
        out[got..got + n].copy_from_slice(&word.to_ne_bytes()[inside..inside + n]);
        got += n;
    }
    got
}

/// Writes over any mapped memory, a word at a time.
///
/// # Errors
/// `EFAULT` where nothing is mapped.
pub fn poke(tid: i32, at: u64, bytes: &[u8]) -> Result<(), Errno> {
    for (i, chunk) in bytes.chunks(8).enumerate() {
        let at = at + 8 * i as u64;
        let mut word = [0; 8];
        if chunk.len() < 8 {
            super::super::tracee::memory::read(tid, at, &mut word)?;
        }
        word[..chunk.len()].copy_from_slice(chunk);
        request(libc::PTRACE_POKEDATA as u64, tid, at, u64::from_ne_bytes(word))
            .map_err(|_| Errno::EFAULT)?;
    }
    Ok(())
}

/// What wait4(2) says of a tracee.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It ended.
    Ended,
    /// A system call's end, or, where the kernel has the old order, its beginning.
    Call,
    /// The filter stopped a call.
    Seccomp,
    /// A child or thread was made.
    NewTask(i32),
    /// execve(2) succeeded.
    Exec,
    /// Job control stopped it, or a new task has its first stop (`SIGTRAP`).
    Stop(i32),
    /// A signal is about to be delivered.
    Signal(i32),
}

/// Whom a thread waits for; always among its own tracees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whom {
    /// Any.
    Any,
    /// Any, without waiting.
    AnyNow,
    /// This one.
    One(i32),
    /// This one, without waiting.
    OneNow(i32),
}

/// What came of waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waited {
    /// News of a tracee.
    Event(i32, Status),
    /// Another thread wants to be heard.
    Interrupted,
    /// There is no such tracee, or, without waiting, no news.
    Nobody,
}

/// wait4(2).
pub fn wait(whom: Whom) -> Waited {
    #[cfg(debug_assertions)]
    if let Some(owed) = old_order::owed(whom) {
        return owed;
    }
    let waited = wait_for_real(whom);
    #[cfg(debug_assertions)]
    let waited = old_order::seen(waited);
    waited
}

fn wait_for_real(whom: Whom) -> Waited {
    let (pid, flags) = match whom {
        Whom::Any => (-1, 0),
        Whom::AnyNow => (-1, libc::WNOHANG),
        Whom::One(tid) => (tid, 0),
        Whom::OneNow(tid) => (tid, libc::WNOHANG),
    };
    cost::count(Kind::Wait, 1);
    for _ in 0..RETRIES {
        let mut raw = 0;
        // SAFETY: `raw` is writable.
        let tid = unsafe { libc::waitpid(pid, &raw mut raw, flags | libc::__WALL | libc::__WNOTHREAD) };
        match tid {
            0 => return Waited::Nobody,
            tid if tid > 0 => return Waited::Event(tid, decode(raw)),
            _ => match crate::sys::errno() {
                Errno::EINTR => return Waited::Interrupted,
                Errno::ECHILD => return Waited::Nobody,
                // Not an answer: nobody who is stopped may be forgotten.
                _ => std::thread::sleep(std::time::Duration::from_millis(1)),
            },
        }
    }
    // Without it there is no tracer; whom it traces ends with it.
    crate::report::say(format_args!("cannot wait for the guest: {}", crate::sys::io(crate::sys::errno())));
    std::process::exit(i32::from(crate::error::CANNOT_START));
}

/// How often wait4(2) may fail in a row for no reason of its own.
pub const RETRIES: u32 = 1000;

/// Whether this thread still has the tracee `tid` or its end to hear of.
pub fn is_ours(tid: i32) -> bool {
    let flags =
        libc::WEXITED | libc::WSTOPPED | libc::WNOHANG | libc::WNOWAIT | libc::__WALL | libc::__WNOTHREAD;
    cost::count(Kind::Wait, 1);
    // SAFETY: all-zero bytes are a valid siginfo, which is writable; WNOWAIT leaves the news where it is.
    let done = unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        libc::waitid(libc::P_PID, tid as libc::id_t, &raw mut info, flags)
    };
    done == 0 || crate::sys::errno() != Errno::ECHILD
}

/// The next event of one tracee; `None` when there is no such tracee.
pub fn wait_for(tid: i32) -> Option<Status> {
    loop {
        match wait(Whom::One(tid)) {
            Waited::Event(_, status) => return Some(status),
            Waited::Interrupted => {}
            Waited::Nobody => return None,
        }
    }
}

fn decode(raw: i32) -> Status {
    if !libc::WIFSTOPPED(raw) {
        return Status::Ended;
    }
    let signal = libc::WSTOPSIG(raw);
    match raw >> 16 {
        0 if signal == libc::SIGTRAP | 0x80 => Status::Call,
        0 => Status::Signal(signal),
        libc::PTRACE_EVENT_SECCOMP => Status::Seccomp,
        libc::PTRACE_EVENT_EXEC => Status::Exec,
        event @ (libc::PTRACE_EVENT_CLONE | libc::PTRACE_EVENT_FORK | libc::PTRACE_EVENT_VFORK) => {
            Status::NewTask(event)
        }
        _ => Status::Stop(signal),
    }
}

/// Continues a stopped process.
pub fn wake(pid: i32) {
    // SAFETY: integers only. It fails only if the process is gone already.
    unsafe { libc::kill(pid, libc::SIGCONT) };
}

/// Kills a thread group.
pub fn kill(pid: i32) {
    // SAFETY: integers only. It fails only if the process is gone already.
    unsafe { libc::kill(pid, libc::SIGKILL) };
}
