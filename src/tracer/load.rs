//! From execve(2)'s success to the program's first instruction: the loader runs in between.
//!
//! At the exec stop the task is alone in a new address space, with default signal handlers. The loader's code is
//! written over the page that holds the entry point, its script below the stack pointer; it ends with a call that
//! the filter stops, where the page and the registers are put back. A signal that arrives meanwhile can only end or
//! stop the task, never run code in it, so none has to be held.

use super::ptrace::{self, Resume};
use super::team::Mail;
use super::unlock::{Locked, Stage};
use super::{Code, Engine, Slots, Tracer};
use crate::exec::auxv::{self, Word, at};
use crate::exec::plan::{self, Resident, Script};
use crate::exec::{Distrust, Plan};
use crate::path::GuestPath;
use crate::session::Session;
use crate::tracee::region::{CODE, Home};
use crate::tracee::{Mm, Shared, State, Task, memory};
use goblin::elf::program_header::PF_X;
use prun_arch::{ABI, LOW_WINDOWS, Regs, WINDOW, layout};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use syscalls::Errno;

/// What is needed when the loader is done.
#[derive(Debug)]
pub struct Loading {
    /// Registers with which the program goes on.
    regs: Regs,
    /// What they hold for the result of a call.
    result: i64,
    /// Stack pointer as execve(2) left it.
    sp: u64,
    /// The bytes under the loader.
    saved: Vec<u8>,
    /// Where its script and its stack are, and how many bytes that is.
    left: (u64, usize),
    plan: Option<Box<Plan>>,
}

/// Bytes below its script in which the loader's stack is: it has one frame.
const STACK: u64 = 512;

/// Where the region of the tracer is opened by a tracee.
fn shared_file(session: &Session) -> Vec<u8> {
    format!("/proc/{}/fd/{}", session.tracer, session.region.fd()).into_bytes()
}

impl Tracer {
    pub(super) fn exec_stop(&mut self, tid: i32) -> Result<(), Errno> {
        let former = ptrace::message(tid)? as i32;
        // A thread that is not the leader takes the leader's id; the leader is gone without a notice.
        let mut task = match self.tasks.remove(&former) {
            Some(task) => task,
            None => self.tasks.remove(&tid).ok_or(Errno::ESRCH)?,
        };
        if former != tid {
            if let Some(pin) = task.pin.take() {
                self.team.placement.free(&pin);
            }
            // The slot goes with the task to its new number.
            self.team.directory.renumber(former);
            if self.tasks.contains_key(&tid) {
                self.forget(tid);
            } else {
                self.team.tell_others(&self.me, || Mail::Forget(tid));
            }
        }
        (task.tid, task.tgid) = (tid, tid);
        if let State::InCall(work) = std::mem::replace(&mut task.state, State::Running) {
            self.session.traced(work.line, Some(0));
        }
        self.session.stats.execs.add(1);
        let plan = task.plan.take();
        let carried = plan.as_ref().and_then(|p| p.carried.as_ref());
        self.session.stats.carried.add(u64::from(carried.is_some()));
        if carried.is_some() {
            self.session.carries.store(true, Ordering::Relaxed);
        }
        task.mm = Shared::new(Mm {
            exe: plan.as_deref().map(|p: &Plan| -> GuestPath { p.exe.clone() }),
            text: carried.map(|c| c.id),
            dumpable: None,
            sites: smallvec::SmallVec::new(),
            low: None,
        });
        self.team.directory.enter(&task);
        task.listing_host = None;
        // Without a filter the end of execve(2) is still to come.
        task.inside &= self.session.tracing.engine == Engine::Plain;
        if let Some(identity) = &self.session.identity {
            if let Some(plan) = &plan
                && let Some((cred, _)) = &plan.becomes
            {
                identity.enter(tid, cred);
                task.cred = Some(Arc::clone(cred));
            }
            if former != tid {
                identity.leave(former);
                // In place of the leader's.
                if let Some(cred) = &task.cred {
                    identity.enter(tid, cred);
                }
            }
        }
        // A program begins with a burst of path calls: its interpreter, its libraries, its settings.
        if self.team.placement.useful() && task.pin.is_none() {
            super::pin(&mut task, &self.team, &self.me);
        }
        let done = ptrace::regs(tid).and_then(|regs| {
            let mut plan = plan;
            let home = home_of(&self.session, tid, &regs, regs.sp(), plan.as_deref());
            match load(&self.session, &mut task, regs, 0, regs.sp(), &mut plan, home) {
                Err(Errno::EFAULT) if memory::read(tid, regs.sp(), &mut [0; 8]).is_err() => {}
                done => return done,
            }
            task.state = State::Locked(Box::new(Locked { sp: regs.sp(), plan, stage: Stage::Exec }));
            ptrace::resume(tid, Resume::ToExit, 0)
        });
        self.tasks.insert(tid, task);
        done
    }

    /// A stopped call of a task whose loader runs.
    pub(super) fn loader_stop(&mut self, tid: i32, regs: &Regs) -> Result<(), Errno> {
        let Some(task) = self.tasks.get_mut(&tid) else { return Err(Errno::ESRCH) };
        let Some((status, step)) = plan::status(regs) else {
            return ptrace::resume(tid, self.session.tracing.engine.onward(), 0);
        };
        let State::Loading(loading) = std::mem::replace(&mut task.state, State::Running) else {
            return Err(Errno::EINVAL);
        };
        let Loading { regs: mut first, result, sp, saved, left, mut plan } = *loading;
        memory::poke(tid, first.ip() & !(layout::PAGE - 1), &saved)?;
        let home = task.home;
        if self.session.tracing.needs.secret.is_some() {
            // The secret is for the loader only.
            memory::write(tid, left.0, &vec![0; left.1])?;
        }
        if status != 0 {
            let error = Errno::new(status.unsigned_abs() as i32);
            // The first steps map the region; without /proc, or as another user, it is out of reach.
            if step < 4
                && let Some(next) = other_home(home, error)
            {
                if next.private {
                    crate::note!(1, "task {tid} gets slots of its own: {}", crate::sys::io(error));
                }
                // The call it is stopped at is not run, whatever number comes with the registers.
                first.skip(result);
                return load(&self.session, task, first, result, sp, &mut plan, next);
            }
            crate::note!(
                0,
                "task {tid} is killed: its program could not be mapped: {}",
                crate::sys::io(error)
            );
            // As from execve(2) where the kernel cannot map it (`bprm_execve()`): nothing is at address 0.
            first.skip(result);
            first.start(0, 0, sp);
            ptrace::set_regs(tid, &first)?;
            return ptrace::resume(tid, self.session.tracing.engine.onward(), 0);
        }
        if home.private && self.session.tracing.code == Code::Shared {
            for (at, code) in CODE {
                memory::poke(tid, home.window + at, code)?;
            }
        }
        first.skip(result);
        first.take_hidden(regs);
        ptrace::set_regs(tid, &first)?;
        ptrace::resume(tid, self.session.tracing.engine.onward(), 0)
    }
}

/// Starts the loader in a task that goes on with `regs` and `result` afterwards; `sp` is where execve(2) left the
/// program's arguments, `home` is where prun's memory shall be.
pub(super) fn load(
    session: &Session,
    task: &mut Task,
    regs: Regs,
    result: i64,
    sp: u64,
    plan: &mut Option<Box<Plan>>,
    home: Home,
) -> Result<(), Errno> {
    let tid = task.tid;
    if !home.has_slot(task.slot) {
        crate::note!(
            0,
            "task {tid} is killed: at most {} tasks can run 32-bit programs; start others in a session of their own",
            layout::LOW_SLOT_COUNT
        );
        ptrace::kill(tid);
        return Ok(());
    }
    let loader = regs.loader();
    // It opens the native ABI's door only: another loader's openat(2) stops.
    let secret = if loader.abi == ABI { session.secret } else { 0 };
    let mut script = Script::new(loader.abi);
    if home.private {
        script.own(home.window, session.tracing.code);
    } else {
        let resident = if session.patches.is_some() { Resident::Wanted } else { Resident::Unwanted };
        script.share(&shared_file(session), secret, home.window, session.tracing.code, resident);
    }
    if let Some(plan) = &*plan {
        let hwcap = session.emulation.kernel.as_ref().and_then(|k| k.hwcap);
        correct(tid, sp, word_of(&regs), plan, &mut script, secret, hwcap)?;
    }
    let (address, bytes) = script.finish(regs.sp() - 256);
    memory::write(tid, address, &bytes)?;
    let page = regs.ip() & !(layout::PAGE - 1);
    let mut saved = vec![0; loader.image.len()];
    memory::read_code(tid, page, &mut saved)?;
    memory::poke(tid, page, loader.image)?;
    let mut start = regs;
    start.start(page, address, address - 64);
    ptrace::set_regs(tid, &start)?;
    task.home = home;
    task.in_flight = None;
    let left = (address - STACK, bytes.len() + STACK as usize);
    task.state = State::Loading(Box::new(Loading { regs, result, sp, saved, left, plan: plan.take() }));
    ptrace::resume(tid, session.tracing.engine.onward(), 0)
}

/// The width of a program's words.
fn word_of(regs: &Regs) -> Word {
    if regs.is_32bit() { Word::Narrow } else { Word::Wide }
}

/// Where prun's memory is to be in a program that begins with these registers and this stack. One that is at low
/// addresses itself has the rest of them for its break.
pub(super) fn home_of(session: &Session, tid: i32, regs: &Regs, sp: u64, plan: Option<&Plan>) -> Home {
    let private = session.tracing.slots == Slots::Own;
    if !regs.is_32bit() {
        return Home { window: WINDOW, private };
    }
    let lowest = match plan.and_then(|p| p.carried.as_ref()) {
        Some(carried) if carried.elf.movable => None,
        Some(carried) => carried.elf.loads.iter().map(|l| l.vaddr).min(),
        None => stack_of(tid, sp, Word::Narrow)
            .ok()
            .and_then(|(stack, layout)| auxv::get(&stack[layout.auxv..layout.end], Word::Narrow, at::PHDR)),
    };
    let [first, other] = LOW_WINDOWS;
    let is_low = lowest.is_some_and(|at| at < first + layout::LOW_LEN);
    Home { window: if is_low { other } else { first }, private }
}

/// A new program's stack from `sp` up to the end of the auxiliary vector.
fn stack_of(tid: i32, sp: u64, word: Word) -> Result<(Vec<u8>, auxv::Layout), Errno> {
    let mut size = 8192;
    loop {
        let mut bytes = vec![0; size];
        let n = memory::read_some(tid, sp, &mut bytes);
        bytes.truncate(n);
        if let Some(layout) = auxv::layout(&bytes, word) {
            return Ok((bytes, layout));
        }
        if n < size || size > 32 << 20 {
            return Err(Errno::EFAULT);
        }
        size *= 4;
    }
}

/// Where else it could be, after `error`.
fn other_home(home: Home, error: Errno) -> Option<Home> {
    let occupied = error == Errno::EEXIST && home.window == LOW_WINDOWS[0];
    match (occupied, home.private) {
        (true, _) => Some(Home { window: LOW_WINDOWS[1], ..home }),
        (false, false) => Some(Home { private: true, ..home }),
        (false, true) => None,
    }
}

/// Corrects what the kernel has told the program about itself, and maps the program where it is carried.
fn correct(
    tid: i32,
    sp: u64,
    word: Word,
    plan: &Plan,
    script: &mut Script,
    secret: u64,
    hwcap: Option<u64>,
) -> Result<(), Errno> {
    let (mut stack, layout) = stack_of(tid, sp, word)?;
    let vector = &mut stack[layout.auxv..layout.end];
    let execfn = auxv::get(vector, word, at::EXECFN);
    if let Some(address) = execfn {
        memory::write(tid, address, &[&plan.execfn, b"\0".as_slice()].concat())?;
    }
    if let Some(hwcap) = hwcap {
        auxv::set(vector, word, at::HWCAP, hwcap);
    }
    if let Some((cred, distrust)) = &plan.becomes {
        auxv::set(vector, word, at::UID, cred.uid.real.into());
        auxv::set(vector, word, at::EUID, cred.uid.effective.into());
        auxv::set(vector, word, at::GID, cred.gid.real.into());
        auxv::set(vector, word, at::EGID, cred.gid.effective.into());
        auxv::set(vector, word, at::SECURE, u64::from(*distrust == Distrust::Yes));
    }
    if let Some(carried) = &plan.carried {
        let elf = &carried.elf;
        let base = auxv::get(vector, word, at::PHDR).unwrap_or(0) & !(prun_arch::layout::PAGE - 1);
        if elf.reads_are_executable() {
            // Where /proc does not tell it is the usual one.
            let text = crate::sys::read_text(&format!("/proc/{tid}/personality")).unwrap_or_default();
            script.read_implies_exec(u64::from_str_radix(text.trim(), 16).unwrap_or(0));
        }
        let mapped = script.program(elf, &carried.host, secret, sp, crate::sys::random());
        auxv::set(vector, word, at::PHDR, mapped.phdr);
        auxv::set(vector, word, at::PHNUM, elf.phnum);
        auxv::set(vector, word, at::ENTRY, mapped.entry);
        auxv::set(vector, word, at::BASE, base);
        if elf.stack.map_or(elf.reads_are_executable(), |flags| flags & PF_X != 0) {
            script.stack(sp, true);
        }
        let top = execfn.unwrap_or(0);
        let or = |a: u64, b: u64| if a == 0 { b } else { a };
        let env = or(layout.env_start, top);
        script.describe(elf, &mapped, [or(layout.arg_start, env), env, env, top], sp, vector);
    }
    if hwcap.is_some() || plan.becomes.is_some() || plan.carried.is_some() {
        memory::write(tid, sp + layout.auxv as u64, vector)?;
    }
    if let Some(name) = &plan.comm {
        script.comm(name);
    }
    Ok(())
}
