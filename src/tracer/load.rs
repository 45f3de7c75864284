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
use crate::exec::auxv::{self, at};
use crate::exec::plan::{MARK, MARKER, Resident, Script};
use crate::exec::{Distrust, Plan};
use crate::path::GuestPath;
use crate::session::Session;
use crate::tracee::{Mm, Shared, State, Task, memory};
use goblin::elf::program_header::PF_X;
use prun_arch::loader::IMAGE;
use prun_arch::{Regs, TRAMPOLINE, WINDOW, layout};
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
    plan: Option<Box<Plan>>,
}

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
        });
        self.team.directory.enter(tid, task.slot, &task.mm);
        task.listing_host = None;
        // Without a filter the end of execve(2) is still to come.
        task.inside &= self.session.tracing.engine == Engine::Plain;
        if let Some(identity) = &self.session.identity {
            if former != tid {
                identity.leave(former);
            }
            if let Some(plan) = &plan
                && let Some((cred, _)) = &plan.becomes
            {
                identity.enter(tid, cred);
                task.cred = Some(Arc::clone(cred));
            }
        }
        // A program begins with a burst of path calls: its interpreter, its libraries, its settings.
        if self.team.placement.useful() && task.pin.is_none() {
            super::pin(&mut task, &self.team, &self.me);
        }
        let done = ptrace::regs(tid).and_then(|regs| {
            let mut plan = plan;
            let own = self.session.tracing.slots == Slots::Own;
            match load(&self.session, &mut task, regs, 0, regs.sp(), &mut plan, own) {
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
        let [status, step, mark, ..] = regs.args();
        if regs.number() != MARKER as u32 || mark != MARK {
            return ptrace::resume(tid, self.session.tracing.engine.onward(), 0);
        }
        let State::Loading(loading) = std::mem::replace(&mut task.state, State::Running) else {
            return Err(Errno::EINVAL);
        };
        let Loading { regs: mut first, result, sp, saved, mut plan } = *loading;
        memory::poke(tid, first.ip() & !(layout::PAGE - 1), &saved)?;
        let private = task.private;
        if status != 0 {
            let error = Errno::new((status as i64).unsigned_abs() as i32);
            // The first steps map the region; without /proc, or as another user, it is out of reach.
            if !private && step < 4 {
                crate::note!(1, "task {tid} gets slots of its own: {}", crate::sys::io(error));
                // The call it is stopped at is not run, whatever number comes with the registers.
                first.skip(result);
                return load(&self.session, task, first, result, sp, &mut plan, true);
            }
            crate::note!(
                0,
                "task {tid} is killed: its program could not be mapped: {}",
                crate::sys::io(error)
            );
            ptrace::kill(tid);
            return Ok(());
        }
        if private && self.session.tracing.code == Code::Shared {
            memory::poke(tid, WINDOW, &TRAMPOLINE)?;
        }
        first.skip(result);
        ptrace::set_regs(tid, &first)?;
        ptrace::resume(tid, self.session.tracing.engine.onward(), 0)
    }
}

/// Starts the loader in a task that goes on with `regs` and `result` afterwards; `sp` is where execve(2) left the
/// program's arguments, `private` is set where the shared region cannot be mapped.
pub(super) fn load(
    session: &Session,
    task: &mut Task,
    regs: Regs,
    result: i64,
    sp: u64,
    plan: &mut Option<Box<Plan>>,
    private: bool,
) -> Result<(), Errno> {
    let tid = task.tid;
    let secret = session.secret;
    let mut script = Script::new();
    if private {
        script.own(session.tracing.code);
    } else {
        let resident = if session.patches.is_some() { Resident::Wanted } else { Resident::Unwanted };
        script.share(&shared_file(session), secret, session.tracing.code, resident);
    }
    if let Some(plan) = &*plan {
        let hwcap = session.emulation.kernel.as_ref().and_then(|k| k.hwcap);
        correct(tid, sp, plan, &mut script, secret, hwcap)?;
    }
    let (address, bytes) = script.finish(regs.sp() - 256);
    memory::write(tid, address, &bytes)?;
    let page = regs.ip() & !(layout::PAGE - 1);
    let mut saved = vec![0; IMAGE.len()];
    memory::read(tid, page, &mut saved)?;
    memory::poke(tid, page, IMAGE)?;
    let mut start = regs;
    start.start(page, address, address - 64);
    ptrace::set_regs(tid, &start)?;
    task.private = private;
    task.in_flight = None;
    task.state = State::Loading(Box::new(Loading { regs, result, sp, saved, plan: plan.take() }));
    ptrace::resume(tid, session.tracing.engine.onward(), 0)
}

/// Corrects what the kernel has told the program about itself, and maps the program where it is carried.
fn correct(
    tid: i32,
    sp: u64,
    plan: &Plan,
    script: &mut Script,
    secret: u64,
    hwcap: Option<u64>,
) -> Result<(), Errno> {
    let mut size = 8192;
    let (mut stack, layout) = loop {
        let mut bytes = vec![0; size];
        let n = memory::read_some(tid, sp, &mut bytes);
        bytes.truncate(n);
        if let Some(layout) = auxv::layout(&bytes) {
            break (bytes, layout);
        }
        if n < size || size > 32 << 20 {
            return Err(Errno::EFAULT);
        }
        size *= 4;
    };
    let vector = &mut stack[layout.auxv..layout.end];
    let execfn = auxv::get(vector, at::EXECFN);
    if let Some(address) = execfn {
        memory::write(tid, address, &[&plan.execfn, b"\0".as_slice()].concat())?;
    }
    if let Some(hwcap) = hwcap {
        auxv::set(vector, at::HWCAP, hwcap);
    }
    if let Some((cred, distrust)) = &plan.becomes {
        auxv::set(vector, at::UID, cred.uid.real.into());
        auxv::set(vector, at::EUID, cred.uid.effective.into());
        auxv::set(vector, at::GID, cred.gid.real.into());
        auxv::set(vector, at::EGID, cred.gid.effective.into());
        auxv::set(vector, at::SECURE, u64::from(*distrust == Distrust::Yes));
    }
    if let Some(carried) = &plan.carried {
        let elf = &carried.elf;
        let base = auxv::get(vector, at::PHDR).unwrap_or(0) & !(prun_arch::layout::PAGE - 1);
        let mapped = script.program(elf, &carried.host, secret, crate::sys::random());
        auxv::set(vector, at::PHDR, mapped.phdr);
        auxv::set(vector, at::PHNUM, elf.phnum);
        auxv::set(vector, at::ENTRY, mapped.entry);
        auxv::set(vector, at::BASE, base);
        if elf.stack.is_some_and(|flags| flags & PF_X != 0) {
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
