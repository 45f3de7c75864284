//! A session whose tracer meets bad luck: `inject WHO N WHAT COMMAND…` runs prun, watches the system calls of one of
//! its processes with ptrace(2) from outside, and at the N-th lets WHAT happen. The program under test is the very one
//! that is released: there is nothing in it that a fault could be ordered from.
//!
//! WHO is `front` or `tracer` (all its threads), or `changes`: of the tracer's calls only those that change files, and
//! the three that follow each. WHAT is the number of an errno, which the call then returns without
//! having run; `kill`: the process is killed; `kill-tracee`: the task that the call is about is. With an N that no
//! call has, the calls are counted.
//!
//! When the session is over nothing of it may be left: whatever still runs then is reported, and killed. The last line
//! of standard error is `inject: …`: the calls counted, the call that was hit, and what was found at the end.

use crate::raw::c;
use libc::*;
use prun::tracer::ptrace::{message, regs, set_regs};
use prun_arch::Sysno;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// How long a session may take, and what is left of it after its end.
const LIMIT: Duration = Duration::from_secs(100);
/// A task that changes hands when its tracer is killed ends of itself after ten seconds.
const AFTER: Duration = Duration::from_secs(40);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Front,
    /// A child of the front that has not shown yet what it is.
    Child,
    Tracer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Fail(i32),
    Kill,
    KillTracee,
}

struct Watch {
    who: Role,
    /// Only calls about changes are counted: so many more after the last.
    changes: Option<u8>,
    when: u64,
    what: What,
    roles: HashMap<i32, Role>,
    /// Front: `main` has begun.
    begun: bool,
    count: u64,
    hit: Option<String>,
    /// The task that the tracer has last heard of.
    heard: i32,
    /// Result of the call that a thread is in and that is not run.
    failing: HashMap<i32, i64>,
    /// The front, stopped until it is known what its new child is: nobody is traced by two.
    held: Option<i32>,
    /// New ones whose first stop came before their creator's event; they wait for it. Who went on could be a tracer, be
    /// let go or have ended by then, and the event would make an unknown child of it again, for which the front is held
    /// for ever.
    early: Vec<i32>,
}

/// `op` is a word, as its type is another in each C library.
fn request(op: i64, tid: i32, addr: u64, data: u64) -> i64 {
    unsafe { syscall(SYS_ptrace, op, i64::from(tid), addr, data) }
}

const FRONT: i32 = PTRACE_O_TRACESYSGOOD
    | PTRACE_O_EXITKILL
    | PTRACE_O_TRACEFORK
    | PTRACE_O_TRACEVFORK
    | PTRACE_O_TRACECLONE
    | PTRACE_O_TRACEEXEC;
/// The tracer's own children, the probes, are traced by the tracer.
const TRACER: i32 = PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL | PTRACE_O_TRACECLONE;

/// 1: a call begins, 2: it ends.
fn stop_kind(tid: i32) -> u8 {
    let mut info = [0u64; 11];
    request(0x420e, tid, 88, info.as_mut_ptr() as u64);
    info[0] as u8
}

/// Whether a number is a traced task's still: it could be a stranger's by now.
fn is_traced(tid: i32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{tid}/status")).unwrap_or_default();
    let tracer = |line: &str| line.strip_prefix("TracerPid:").map(|t| t.trim() != "0");
    status.lines().find_map(tracer).unwrap_or(false) && descendants().iter().any(|&(pid, _)| pid == tid)
}

fn changes_files(call: Option<Sysno>, args: &[u64; 6]) -> bool {
    use Sysno as S;
    match call {
        Some(S::openat) => args[2] as i32 & O_CREAT != 0,
        Some(
            S::fchmodat
            | S::fchmodat2
            | S::fchownat
            | S::setxattr
            | S::lsetxattr
            | S::removexattr
            | S::lremovexattr
            | S::mknodat
            | S::mkdirat
            | S::symlinkat
            | S::linkat
            | S::unlinkat
            | S::renameat
            | S::renameat2,
        ) => true,
        _ => false,
    }
}

impl Watch {
    /// A stop at a call's beginning or end.
    fn call(&mut self, tid: i32) {
        let Some(&role) = self.roles.get(&tid) else { return };
        let Ok(mut regs) = regs(tid) else { return };
        let call = regs.call();
        if stop_kind(tid) == 2 {
            if let Some(result) = self.failing.remove(&tid) {
                regs.set_result(result);
                let _gone = set_regs(tid, &regs);
            } else if call == Some(Sysno::wait4) && regs.result() > 0 && role == Role::Tracer {
                self.heard = regs.result() as i32;
            }
            return;
        }
        let [a, b, ..] = regs.args();
        match (role, call) {
            (Role::Child, Some(Sysno::setsid)) => {
                self.roles.insert(tid, Role::Tracer);
                request(PTRACE_SETOPTIONS.into(), tid, 0, TRACER as u64);
            }
            // A probe, or the command, which the tracer must be able to attach to.
            (Role::Child, Some(Sysno::alarm | Sysno::setitimer)) => return self.leave(tid),
            (Role::Child, Some(Sysno::prctl)) if a == PR_SET_PTRACER as u64 => return self.leave(tid),
            // The last call of the standard library before `main`; what comes before it is not prun's.
            (Role::Front, Some(Sysno::sigaltstack)) if !self.begun && a != 0 => {
                self.begun = true;
                return;
            }
            _ => {}
        }
        if self.roles.get(&tid) != Some(&self.who) || (self.who == Role::Front && !self.begun) {
            return;
        }
        if let Some(left) = &mut self.changes {
            *left = if changes_files(call, &regs.args()) { 4 } else { left.saturating_sub(1) };
            if *left == 0 {
                return;
            }
        }
        self.count += 1;
        if self.count != self.when {
            return;
        }
        let name = call.map_or("?", |s| s.name());
        let about = match call {
            Some(Sysno::ptrace) => b as i32,
            Some(Sysno::process_vm_readv | Sysno::process_vm_writev) => a as i32,
            _ => self.heard,
        };
        self.hit = Some(format!("{name} {:x?}", &regs.args()[..3]));
        match self.what {
            // These cannot fail, or their failing is not heard of.
            What::Fail(_)
                if matches!(
                    call,
                    Some(
                        Sysno::exit
                            | Sysno::exit_group
                            | Sysno::rt_sigreturn
                            | Sysno::futex
                            | Sysno::getpid
                            | Sysno::gettid
                            | Sysno::getppid
                            | Sysno::getuid
                            | Sysno::geteuid
                            | Sysno::getgid
                            | Sysno::getegid
                            | Sysno::rt_sigprocmask
                            | Sysno::rt_sigaction
                            | Sysno::sigaltstack
                            | Sysno::clock_gettime
                            | Sysno::sched_yield
                            | Sysno::restart_syscall
                            | Sysno::nanosleep
                            | Sysno::clock_nanosleep
                    )
                ) =>
            {
                self.hit = Some(format!("{name}: spared"));
            }
            What::Fail(errno) => {
                let result = -i64::from(errno);
                self.failing.insert(tid, result);
                // close(2) closes, whatever it says.
                if call != Some(Sysno::close) {
                    regs.skip(result);
                    let _gone = set_regs(tid, &regs);
                }
            }
            What::Kill => unsafe {
                syscall(SYS_kill, tid, SIGKILL);
            },
            What::KillTracee if about > 0 && is_traced(about) => unsafe {
                syscall(SYS_kill, about, SIGKILL);
            },
            What::KillTracee => {}
        }
    }

    fn leave(&mut self, tid: i32) {
        self.roles.remove(&tid);
        request(PTRACE_DETACH.into(), tid, 0, 0);
    }

    /// What wait(2) says of one of them; it goes on.
    fn event(&mut self, tid: i32, raw: i32) {
        if WIFEXITED(raw) || WIFSIGNALED(raw) {
            self.roles.remove(&tid);
            self.early.retain(|&new| new != tid);
            // Whoever was killed while making a child has no event any more.
            for new in std::mem::take(&mut self.early) {
                self.begins(new);
            }
        }
        if WIFSTOPPED(raw) {
            self.stopped(tid, raw);
        }
        if !self.roles.values().any(|&role| role == Role::Child)
            && let Some(front) = self.held.take()
        {
            request(PTRACE_SYSCALL.into(), front, 0, 0);
        }
    }

    /// A new one without an event of its creator's.
    fn begins(&mut self, tid: i32) {
        self.roles.insert(tid, Role::Child);
        request(PTRACE_SYSCALL.into(), tid, 0, 0);
    }

    /// The creator's event has come: if the new one waits for it, it goes on.
    fn known(&mut self, tid: i32) {
        if let Some(at) = self.early.iter().position(|&new| new == tid) {
            self.early.swap_remove(at);
            request(PTRACE_SYSCALL.into(), tid, 0, 0);
        }
    }

    fn stopped(&mut self, tid: i32, raw: i32) {
        let signal = WSTOPSIG(raw);
        let mut deliver = 0;
        match raw >> 16 {
            0 if signal == SIGTRAP | 0x80 => self.call(tid),
            0 if !self.roles.contains_key(&tid) => {
                // A new one before its creator's event; of a front that has been killed none comes.
                if self.roles.values().any(|&role| role == Role::Front) {
                    self.early.push(tid);
                } else {
                    self.begins(tid);
                }
                return;
            }
            0 if signal == SIGSTOP && self.roles.get(&tid) == Some(&Role::Child) => {}
            0 => deliver = signal,
            PTRACE_EVENT_FORK | PTRACE_EVENT_VFORK => {
                let child = message(tid).unwrap_or(0) as i32;
                self.roles.insert(child, Role::Child);
                self.held = Some(tid);
                self.known(child);
                return;
            }
            PTRACE_EVENT_CLONE => {
                let thread = message(tid).unwrap_or(0) as i32;
                let role = self.roles.get(&tid).copied().unwrap_or(Role::Child);
                self.roles.insert(thread, role);
                self.known(thread);
            }
            _ => {}
        }
        if self.roles.contains_key(&tid) {
            // A new thread begins with a SIGSTOP of ptrace(2)'s making.
            let deliver = if deliver == SIGSTOP && self.who == Role::Tracer { 0 } else { deliver };
            request(PTRACE_SYSCALL.into(), tid, 0, deliver as u64);
        }
    }
}

extern "C" fn tick(_: i32) {}

/// Processes of which this one is an ancestor.
fn descendants() -> Vec<(i32, String)> {
    let parent = |pid: i32| -> Option<i32> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit_once(')')?.1.split(' ').nth(2)?.parse().ok()
    };
    let me = std::process::id() as i32;
    let all = std::fs::read_dir("/proc").expect("there is a /proc").flatten();
    let pids: Vec<i32> = all.filter_map(|e| e.file_name().to_str()?.parse().ok()).collect();
    let parents: HashMap<i32, i32> = pids.iter().filter_map(|&p| Some((p, parent(p)?))).collect();
    let below = |mut pid: i32| {
        while let Some(&up) = parents.get(&pid) {
            if up == me {
                return true;
            }
            pid = up;
        }
        false
    };
    let words = |pid: i32| std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    pids.iter().filter(|&&p| below(p)).map(|&p| (p, words(p).replace('\0', " "))).collect()
}

pub fn run(rest: &[&str]) -> i32 {
    let (who, changes) = match rest[0] {
        "front" => (Role::Front, None),
        "changes" => (Role::Tracer, Some(0)),
        _ => (Role::Tracer, None),
    };
    let when = rest[1].parse().expect("a number");
    let what = match rest[2] {
        "kill" => What::Kill,
        "kill-tracee" => What::KillTracee,
        errno => What::Fail(errno.parse().expect("an errno")),
    };
    let words: Vec<_> = rest[3..].iter().map(|w| c(w.as_bytes())).collect();
    let argv: Vec<*const c_char> = words.iter().map(|w| w.as_ptr()).chain([std::ptr::null()]).collect();
    let front = unsafe {
        prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
        let mut sa: sigaction = std::mem::zeroed();
        sa.sa_sigaction = tick as extern "C" fn(i32) as usize;
        sigaction(SIGALRM, &raw const sa, std::ptr::null_mut());
        let t = timeval { tv_sec: 0, tv_usec: 100_000 };
        let it = itimerval { it_interval: t, it_value: t };
        let front = fork();
        if front == 0 {
            ptrace(PTRACE_TRACEME, 0, 0, 0);
            raise(SIGSTOP);
            execvp(argv[0], argv.as_ptr());
            _exit(126);
        }
        setitimer(ITIMER_REAL, &raw const it, std::ptr::null_mut());
        while waitpid(front, std::ptr::null_mut(), 0) < 0 {}
        front
    };
    request(PTRACE_SETOPTIONS.into(), front, 0, FRONT as u64);
    let roles = HashMap::from([(front, Role::Front)]);
    let (begun, count, hit, heard) = (false, 0, None, 0);
    let mut watch = Watch {
        who,
        changes,
        when,
        what,
        roles,
        begun,
        count,
        hit,
        heard,
        failing: HashMap::new(),
        held: None,
        early: vec![],
    };
    request(PTRACE_SYSCALL.into(), front, 0, 0);
    let start = Instant::now();
    let mut ended: Option<(Instant, i32)> = None;
    let (mut hang, mut left) = (false, vec![]);
    loop {
        let mut raw = 0;
        let tid = unsafe { waitpid(-1, &raw mut raw, __WALL) };
        if tid > 0 {
            watch.event(tid, raw);
            if tid == front && (WIFEXITED(raw) || WIFSIGNALED(raw)) {
                let status = if WIFEXITED(raw) { WEXITSTATUS(raw) } else { 128 + WTERMSIG(raw) };
                ended = Some((Instant::now(), status));
            }
        } else if std::io::Error::last_os_error().raw_os_error() == Some(ECHILD) {
            break;
        }
        match ended {
            None if start.elapsed() > LIMIT => hang = true,
            Some((at, _)) if at.elapsed() > AFTER && left.is_empty() => left = descendants(),
            _ => {}
        }
        if hang || !left.is_empty() {
            let all = descendants();
            if hang {
                for (pid, words) in &all {
                    let wchan = std::fs::read_to_string(format!("/proc/{pid}/syscall")).unwrap_or_default();
                    eprintln!("inject: hangs: {pid} {words} in {}", wchan.trim());
                }
            }
            all.iter().for_each(|&(pid, _)| unsafe {
                kill(pid, SIGKILL);
            });
            if hang {
                break;
            }
        }
    }
    let took = ended.map_or(0, |(at, _)| at.elapsed().as_millis());
    let end = if hang { "hang".to_owned() } else { format!("left {left:?}") };
    let hit = watch.hit.as_deref().unwrap_or("nothing");
    eprintln!("inject: calls {} hit {hit} late {} {end}", watch.count, took > 3000);
    ended.map_or(99, |(_, status)| status)
}
