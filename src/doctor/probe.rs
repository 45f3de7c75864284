//! The experiments: in a child that is thrown away, with the requests and the code that a session uses.
//!
//! Two children at most. Where a filter is already around prun, a call may kill who makes it, so a first child makes
//! those that prun can do without ([`Optional`]) before prun itself does. The second is traced like a command: stopped,
//! read, written to, and sent through the trampoline; it makes each call that a tracee needs to be able to make.
//!
//! The children write what they find to a page that they share with prun, and end of themselves after some seconds,
//! should prun be stopped meanwhile.
#![allow(unsafe_code)]

use super::{Answer, Capabilities, Probe};
use crate::emulate::newer::CALLS;
use crate::sys::{self, Optional};
use crate::tracee::region::{Home, Region, Slot};
use crate::tracer::ptrace::{self, Resume, Status};
use crate::tracer::{Code, Order};
use libc::{c_long, sock_filter};
use prun_arch::Sysno;
use prun_arch::layout::{self, SLOT_COUNT, SlotHead};
use prun_arch::probe::call;
use prun_arch::{AUDIT_ARCH, Regs, WINDOW};
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::Instant;
use syscalls::Errno;

/// Seconds after which a child gives up.
const PATIENCE: u32 = 10;
/// Steps that a child can have.
const RESULTS: usize = 16;
/// Result of a step that a child has not come to.
const NOT_REACHED: i64 = i64::MIN;
/// First argument of the calls that the child's filter stops.
const MAGIC: u32 = 0x7072_756e;
/// What a skipped call returns.
const SKIPPED: i64 = 42;

/// What a child tells.
struct Board {
    results: [AtomicI64; RESULTS],
    /// The step it is at.
    at: AtomicUsize,
}

impl Board {
    /// A page that children of fork(2) share; `None` without memory.
    fn new() -> Option<&'static Self> {
        // SAFETY: a new anonymous mapping, as large as the structure, which is valid when all zero.
        let page = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                size_of::<Self>(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if page == libc::MAP_FAILED {
            return None;
        }
        // SAFETY: it is mapped for good, and all its fields are atomic.
        let board: &Self = unsafe { &*page.cast() };
        board.results.iter().for_each(|r| r.store(NOT_REACHED, Ordering::Relaxed));
        Some(board)
    }

    fn step(&self, at: usize, result: i64) {
        self.results[at].store(result, Ordering::SeqCst);
        self.at.store(at + 1, Ordering::SeqCst);
    }

    fn result(&self, at: usize) -> i64 {
        self.results[at].load(Ordering::SeqCst)
    }

    /// What a step has come to.
    fn answer(&self, at: usize) -> Answer {
        match self.result(at) {
            NOT_REACHED if self.at.load(Ordering::SeqCst) == at => Answer::Fatal,
            NOT_REACHED => Answer::Untried,
            result if result < 0 => Answer::Refused(Errno::new(-result as i32)),
            _ => Answer::Works,
        }
    }

    fn discard(&'static self) {
        // SAFETY: nobody uses the page after this: the reference goes out of scope in the caller.
        unsafe { libc::munmap(std::ptr::from_ref(self).cast_mut().cast(), size_of::<Self>()) };
    }
}

/// A system call's result, or its negative errno.
fn raw(result: c_long) -> i64 {
    if result < 0 { -i64::from(sys::errno().into_raw()) } else { result }
}

/// Ends a child that is not waited for by anybody but us.
fn limit_life() {
    // SAFETY: integers only.
    unsafe {
        libc::signal(libc::SIGALRM, libc::SIG_DFL);
        let mut all: libc::sigset_t = std::mem::zeroed();
        libc::sigaddset(&raw mut all, libc::SIGALRM);
        libc::sigprocmask(libc::SIG_UNBLOCK, &raw const all, std::ptr::null_mut());
        libc::alarm(PATIENCE);
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        // A killed child must leave no core file.
        let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        libc::setrlimit(libc::RLIMIT_CORE, &raw const none);
    }
}

// ---- Calls that prun can do without ----

const OPTIONAL: [(Optional, Probe); 5] = [
    (Optional::Openat2, Probe::Openat2),
    (Optional::Memfd, Probe::Memfd),
    (Optional::ReadMemory, Probe::ReadMemory),
    (Optional::WriteMemory, Probe::WriteMemory),
    (Optional::Random, Probe::Random),
];

/// What the first child makes: [`OPTIONAL`], then the newer ones.
const STEPS: usize = OPTIONAL.len() + CALLS.len() + 1;

const _: () = assert!(STEPS <= RESULTS);

fn make(step: usize) -> i64 {
    match OPTIONAL.get(step) {
        Some(&(call, _)) => attempt(call),
        None => match CALLS.get(step - OPTIONAL.len()) {
            Some(&call) => newer(call),
            // The last: ptrace(2) on a process that there is not.
            // SAFETY: integers only.
            None => raw(unsafe { libc::syscall(libc::SYS_ptrace, libc::PTRACE_CONT, -1, 0, 0) }),
        },
    }
}

/// Makes one of them, harmlessly.
fn attempt(call: Optional) -> i64 {
    let mut word = 0u64;
    let from = 1u64;
    let local = libc::iovec { iov_base: (&raw mut word).cast(), iov_len: 8 };
    let remote = libc::iovec { iov_base: (&raw const from).cast_mut().cast(), iov_len: 8 };
    // SAFETY: pointers to live objects of the sizes given; new descriptors are closed at once.
    unsafe {
        let me = libc::getpid();
        let result = match call {
            Optional::Openat2 => {
                let how = [(libc::O_PATH | libc::O_CLOEXEC) as u64, 0, libc::RESOLVE_NO_SYMLINKS];
                libc::syscall(libc::SYS_openat2, libc::AT_FDCWD, c"/".as_ptr(), how.as_ptr(), 24)
            }
            Optional::Memfd => libc::syscall(libc::SYS_memfd_create, c"prun".as_ptr(), libc::MFD_CLOEXEC),
            Optional::ReadMemory => {
                libc::process_vm_readv(me, &raw const local, 1, &raw const remote, 1, 0) as i64
            }
            Optional::WriteMemory => {
                libc::process_vm_writev(me, &raw const remote, 1, &raw const local, 1, 0) as i64
            }
            Optional::Random => libc::syscall(libc::SYS_getrandom, &raw mut word, 8, 0),
        };
        let result = raw(result);
        if result >= 0 && matches!(call, Optional::Openat2 | Optional::Memfd) {
            libc::close(result as i32);
        }
        result
    }
}

/// Newer calls, made so that a kernel that has them refuses them without a look at any file.
fn newer(call: Sysno) -> i64 {
    let none = u64::MAX;
    // SAFETY: no descriptor, no flag and no pointer is valid.
    raw(unsafe { libc::syscall(prun_arch::abi::number(call).into(), none, 0, 0, 0, none, none) })
}

/// Finds out which of the calls that prun can do without it has to do without, before any of them is made.
pub fn calls(found: &mut Capabilities) {
    // SAFETY: integers only. 0: no filter is around this process, so no call can kill it.
    let filtered = unsafe { libc::prctl(libc::PR_GET_SECCOMP) } != 0;
    let board = if filtered { Board::new() } else { None };
    let mut from = 0;
    while let Some(board) = board
        && from < STEPS
    {
        // SAFETY: the child makes system calls only and ends by _exit(2).
        let child = unsafe { libc::fork() };
        if child == 0 {
            limit_life();
            for i in from..STEPS {
                board.step(i, make(i));
            }
            // SAFETY: ends the child without running what its parent registered.
            unsafe { libc::_exit(0) };
        }
        if child < 0 {
            break;
        }
        ptrace::wait_for(child);
        // Over the one that it died of.
        let reached = board.at.load(Ordering::SeqCst);
        if reached < STEPS {
            board.at.store(reached + 1, Ordering::SeqCst);
        }
        from = reached + 1;
    }
    let mut avoided = sys::Avoided::default();
    for i in 0..STEPS {
        let answer = match board.map(|b| b.answer(i)) {
            Some(answer @ (Answer::Works | Answer::Refused(_))) => answer,
            Some(_) => Answer::Fatal,
            None => match make(i) {
                e if e < 0 => Answer::Refused(Errno::new(-e as i32)),
                _ => Answer::Works,
            },
        };
        match OPTIONAL.get(i) {
            Some(&(call, probe)) => {
                found.set(probe, answer);
                if answer != Answer::Works {
                    avoided.add(call);
                }
            }
            None if i == STEPS - 1 && answer == Answer::Fatal => found.set(Probe::Seize, Answer::Fatal),
            None if answer == Answer::Refused(Errno::ENOSYS) => {
                CALLS.get(i - OPTIONAL.len()).into_iter().for_each(|&call| found.missing.add(call));
            }
            None => {}
        }
    }
    sys::avoid(avoided);
    for name in std::env::var("PRUN_MISSING").unwrap_or_default().split(',') {
        CALLS.into_iter().filter(|c| c.name() == name).for_each(|c| found.missing.add(c));
    }
    if let Some(board) = board {
        board.discard();
    }
}

// ---- What a tracee has to be able to do ----

/// Steps of the traced child.
mod step {
    pub(super) const SHARED_FILE: usize = 0;
    pub(super) const SHARED_CODE: usize = 1;
    pub(super) const FILTER: usize = 2;
    pub(super) const THROUGH: usize = 3;
    pub(super) const INTACT: usize = 4;
    pub(super) const TWICE: usize = 5;
    pub(super) const SKIP: usize = 6;
}

/// Memory that is read and written in the child, where it is the same as here.
static WORD: AtomicI64 = AtomicI64::new(0x1122_3344_5566_7788);

/// Traces a child and notes what works. `region` is the session's, already mapped.
pub fn tracing(region: &Region, found: &mut Capabilities) {
    let start = Instant::now();
    if found.answer(Probe::Seize) == Answer::Fatal {
        return;
    }
    let (Some(board), Ok((hear, go))) = (Board::new(), std::io::pipe()) else { return };
    let path = format!("/proc/{}/fd/{}\0", std::process::id(), region.fd());
    // SAFETY: the child makes system calls only and ends by _exit(2).
    let child = unsafe { libc::fork() };
    if child == 0 {
        limit_life();
        drop(go);
        let mut byte = [0u8; 1];
        // SAFETY: the buffer is writable.
        unsafe { libc::read(std::os::fd::AsRawFd::as_raw_fd(&hear), byte.as_mut_ptr().cast(), 1) };
        if byte[0] == 1 {
            traced(board, path.as_bytes());
        }
        // SAFETY: as above.
        unsafe { libc::_exit(0) };
    }
    drop(hear);
    if child > 0 {
        match ptrace::seize(child) {
            Ok(()) => {
                found.set(Probe::Seize, Answer::Works);
                let mut first = Probed { child, found, order: None, stops: 0, end: None };
                // ESRCH and the like: it is gone, and what it has not come to is not known to work.
                let gone = first.stopped().is_err()
                    || std::io::Write::write_all(&mut &go, &[1]).is_err()
                    || first.follow(region).is_err();
                let (order, end, stops) = (first.order, first.end, first.stops);
                found.note(board, order, stops);
                found.lost = gone.then_some(end).flatten();
            }
            Err(e) => found.set(Probe::Seize, Answer::Refused(e)),
        }
        drop(go);
        ptrace::kill(child);
        while !matches!(ptrace::wait_for(child), None | Some(Status::Ended)) {}
    } else {
        found.set(Probe::Seize, Answer::Refused(sys::errno()));
    }
    board.discard();
    found.spent += start.elapsed();
}

/// The child, traced.
struct Probed<'a> {
    child: i32,
    found: &'a mut Capabilities,
    order: Option<Order>,
    stops: u32,
    /// The signal it died of.
    end: Option<i32>,
}

fn answer<T>(result: Result<T, Errno>) -> Answer {
    match result {
        Ok(_) => Answer::Works,
        Err(e) => Answer::Refused(e),
    }
}

impl Probed<'_> {
    /// Requests that any stopped tracee must answer.
    fn stopped(&mut self) -> Result<(), Errno> {
        let child = self.child;
        ptrace::interrupt(child)?;
        self.next()?;
        self.found.set(Probe::Registers, answer(ptrace::call_regs(child)));
        let mask = ptrace::signal_mask(child).and_then(|mask| ptrace::set_signal_mask(child, mask));
        self.found.set(Probe::SignalMask, answer(mask));
        self.found.set(Probe::CallInfo, answer(ptrace::call_arch(child)));
        let at = WORD.as_ptr() as u64;
        let here = WORD.load(Ordering::Relaxed).to_ne_bytes();
        let mut there = [0; 8];
        let same = |ok: bool, there: [u8; 8]| if ok && there == here { Answer::Works } else { Answer::Wrong };
        let peeked = ptrace::peek(child, at, &mut there);
        self.found.set(Probe::Peek, same(peeked == 8, there));
        let open =
            |write| std::fs::File::options().read(true).write(write).open(format!("/proc/{child}/mem"));
        use std::os::unix::fs::FileExt;
        let io = |e: std::io::Error| Answer::Refused(Errno::new(e.raw_os_error().unwrap_or(libc::EIO)));
        let read = open(false).and_then(|file| file.read_exact_at(&mut there, at));
        self.found.set(Probe::MemFile, read.map_or_else(io, |()| same(true, there)));
        // Text: the very bytes that are there, over themselves.
        let text = traced as fn(&'static Board, &[u8]) as usize as u64;
        let mut code = [0; 8];
        ptrace::peek(child, text, &mut code);
        let written = open(true).and_then(|file| file.write_all_at(&code, text));
        self.found.set(Probe::MemFileText, written.map_or_else(io, |()| Answer::Works));
        self.found.set(Probe::PokeText, answer(ptrace::poke(child, text, &code)));
        // The read(2) that it is in begins again, and is seen.
        if let Err(e) = ptrace::resume(child, Resume::ToExit, 0) {
            self.found.set(Probe::CallStops, Answer::Refused(e));
            return ptrace::resume(child, Resume::Run, 0);
        }
        let seen = self.next()? == Status::Call;
        self.found.set(Probe::CallStops, if seen { Answer::Works } else { Answer::Wrong });
        ptrace::resume(child, Resume::Run, 0)
    }

    fn next(&mut self) -> Result<Status, Errno> {
        match ptrace::wait_for(self.child) {
            None | Some(Status::Ended) => Err(Errno::ESRCH),
            Some(Status::Signal(signal)) => {
                self.end = Some(signal);
                Ok(Status::Signal(signal))
            }
            Some(status) => Ok(status),
        }
    }

    /// The calls that its filter stops, to its end.
    fn follow(&mut self, region: &Region) -> Result<(), Errno> {
        let child = self.child;
        loop {
            let status = match self.next() {
                Err(Errno::ESRCH) if self.end.is_none() => return Ok(()),
                status => status?,
            };
            let mut how = Resume::Run;
            let mut signal = 0;
            match status {
                Status::Signal(of) => signal = of,
                Status::Seccomp => {
                    self.stops += 1;
                    let before = ptrace::call_regs(child)?;
                    let mut regs = before;
                    match self.stops {
                        1 if region.code() == Code::Shared => {
                            through(child, &mut regs)?;
                            ptrace::set_call_regs(child, &before, &regs)?;
                        }
                        2 => how = Resume::ToExit,
                        3 => {
                            regs.skip(SKIPPED);
                            ptrace::set_call_regs(child, &before, &regs)?;
                        }
                        _ => {}
                    }
                }
                Status::Call => {
                    let regs = ptrace::call_regs(child)?;
                    let begins = regs.begins();
                    self.order.get_or_insert(if begins { Order::SeccompFirst } else { Order::SeccompLast });
                }
                _ => {}
            }
            ptrace::resume(child, how, signal)?;
        }
    }
}

/// Rewrites the call that `child` is stopped at, as the one-stop engine does.
fn through(child: i32, regs: &mut Regs) -> Result<(), Errno> {
    let slot = Slot::new(child, SLOT_COUNT as u32 - 1, Home::default());
    slot.set_head(&SlotHead { args: regs.args(), ret: regs.return_point(), pad: 0 })?;
    let mut args = regs.args();
    for (arg, _) in args.iter_mut().zip(prun_arch::ONE_STOP).filter(|(_, free)| *free) {
        *arg ^= 0xff;
    }
    regs.set_args(args);
    regs.through(slot.address(), WINDOW);
    Ok(())
}

impl Capabilities {
    fn note(&mut self, board: &Board, order: Option<Order>, stops: u32) {
        use step::{FILTER, INTACT, SHARED_CODE, SHARED_FILE, SKIP, TWICE};
        let works = |yes: bool| if yes { Answer::Works } else { Answer::Wrong };
        self.set(Probe::SharedFile, board.answer(SHARED_FILE));
        self.set(Probe::SharedCode, board.answer(SHARED_CODE));
        self.set(Probe::Filter, board.answer(FILTER));
        if board.answer(FILTER) != Answer::Works {
            return;
        }
        self.set(Probe::Trace, works(stops > 0));
        if stops == 0 {
            return;
        }
        self.set(Probe::Trampoline, works(board.result(INTACT) == 1));
        self.set(Probe::Skip, works(board.result(SKIP) == SKIPPED && board.result(TWICE) > 0));
        self.order = order.unwrap_or_default();
    }
}

const fn ins(code: u32, jt: u8, jf: u8, k: u32) -> sock_filter {
    sock_filter { code: code as u16, jt, jf, k }
}

/// getppid(2) with [`MAGIC`] stops, nothing else does.
fn filter() -> [sock_filter; 9] {
    let (load, equal) = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, libc::BPF_JMP | libc::BPF_JEQ);
    [
        ins(load, 0, 0, 4),
        ins(equal, 0, 5, AUDIT_ARCH),
        ins(load, 0, 0, 0),
        ins(equal, 0, 3, libc::SYS_getppid as u32),
        ins(load, 0, 0, 16),
        ins(equal, 0, 1, MAGIC),
        ins(libc::BPF_RET, 0, 0, libc::SECCOMP_RET_TRACE),
        ins(libc::BPF_RET, 0, 0, libc::SECCOMP_RET_ALLOW),
        ins(libc::BPF_RET, 0, 0, libc::SECCOMP_RET_ALLOW),
    ]
}

/// What the traced child does.
fn traced(board: &'static Board, shared: &[u8]) {
    // SAFETY: pointers to live objects of the sizes given; a new mapping where the kernel likes; the filter lives
    // through the call.
    unsafe {
        let fd = raw(libc::syscall(
            libc::SYS_openat,
            libc::AT_FDCWD,
            shared.as_ptr(),
            libc::O_RDONLY | libc::O_CLOEXEC,
        ));
        board.step(step::SHARED_FILE, fd);
        let (r, x) = (libc::PROT_READ, libc::PROT_EXEC);
        let len = layout::CODE_LEN;
        if fd >= 0 {
            let code = raw(libc::syscall(libc::SYS_mmap, 0, len, r | x, libc::MAP_SHARED, fd, 0i64)).min(1);
            board.step(step::SHARED_CODE, code);
        }
        let mut program = filter();
        let prog = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
        let installed = match raw(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0).into()) {
            0 => raw(libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const prog).into()),
            refused => refused,
        };
        board.step(step::FILTER, installed);
        if installed < 0 {
            return;
        }
        let number = libc::SYS_getppid as u64;
        let args = [u64::from(MAGIC), 2, 3, 4, 5, 6];
        let parent = i64::from(libc::getppid());
        let first = call(number, args);
        board.step(step::THROUGH, first.result);
        board.step(step::INTACT, i64::from(first.intact && first.result == parent));
        board.step(step::TWICE, call(number, args).result);
        board.step(step::SKIP, call(number, args).result);
    }
}
