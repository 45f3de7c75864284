//! The event loop: what the kernel says of each tracee, and how it goes on.
//!
//! * [`ptrace`]: the requests, raw. * [`launch`]: front, tracer and command are three processes; see there.
//! * [`command`]: what the command does before it is executed.
//! * [`load`]: the stops around execve(2). * [`low`]: 32-bit calls of 64-bit programs. * [`unlock`]: programs that cannot be read. * [`newborn`]: new tasks.
//! * [`plain`]: the engine without a filter. * [`resident`]: calls that need not stop again.
//! * [`team`]: the tracer's threads. * [`handoff`]: a task goes from one to another. * [`placement`]: on which CPU
//!   tasks run. * [`turns`]: whom to wait for, and which of many is next.
//!
//! # Engines
//!
//! A handler says what should happen ([`Action`]); there are two ways to put the guest's argument registers back:
//! *one stop*, where the call returns into the trampoline, which does it in the tracee, and *two stops*, where the
//! tracer does it at the exit stop. Calls whose result is looked at always take the second. Where the host refuses
//! filters, the *plain* engine stops at the beginning and the end of every call.
//!
//! # Signals
//!
//! A tracee that is about to get a signal may be anywhere in the trampoline. [`prun_arch::Regs::fix_up`] then gives back what it
//! would have had: if the call was interrupted, the kernel restarts the *original* instruction with the original
//! arguments, and it is translated again; a handler sees no trace of prun. A restart without a handler runs the
//! trampoline's own instruction again, which the filter stops like any other: there only the slot's address, which
//! the instruction has overwritten, is given back.

pub mod handoff;
pub mod launch;
pub mod placement;
pub mod ptrace;
pub mod team;

mod command;
mod load;
pub mod low;
mod newborn;
mod plain;
pub mod resident;
mod turns;
mod unlock;

pub use load::Loading;
pub use unlock::Locked;

use crate::config::Leftovers;
use crate::session::{Session, Stats};
use crate::sys;
use crate::syscall::filter::{self, Needs};
use crate::syscall::table;
use crate::syscall::{Action, Call, Exit};
use crate::trace;
use crate::tracee::region::Slot;
use crate::tracee::{IdMap, InCall, State, Task};
use placement::{HOT, Pace};
use prun_arch::layout::SlotHead;
use ptrace::{Resume, Status, Waited};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;
use syscalls::Errno;
use team::{Mail, Member, Team};
use turns::Turns;

/// How rewritten arguments are put back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// By the trampoline.
    OneStop,
    /// By the tracer.
    TwoStop,
    /// By the tracer, and there is no filter: every call stops.
    Plain,
}

impl Engine {
    /// All of them, the best first.
    pub const ALL: [Self; 3] = [Self::OneStop, Self::TwoStop, Self::Plain];

    /// Its name in `PRUN_ENGINE` and in messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::OneStop => "one-stop",
            Self::TwoStop => "two-stop",
            Self::Plain => "plain",
        }
    }

    /// How a task goes on to its next call that has to be looked at.
    fn onward(self) -> Resume {
        if self == Self::Plain { Resume::ToExit } else { Resume::Run }
    }
}

/// What a session's tasks are traced with; settled before the first of them runs.
#[derive(Clone, Copy, Debug)]
pub struct Tracing {
    /// The engine.
    pub engine: Engine,
    /// What the filter was made from; without a filter, what stands in for it.
    pub needs: Needs,
    /// Where a call's seccomp stop is.
    pub order: Order,
    /// Where tracees have their slots.
    pub slots: Slots,
    /// Whether tracees map the code page, which the trampoline and the parking place are in.
    pub code: Code,
}

/// The order of the stops at a call's beginning when it is both filtered and traced. It changed in Linux 4.8, and the
/// change was carried back to kernels of distributions, so it is found by doing ([`crate::doctor`]).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// The seccomp stop is the last before the call runs.
    #[default]
    SeccompLast,
    /// The stop at the call's beginning comes after it, where it is asked for.
    SeccompFirst,
}

/// Where a tracee has the memory for translated paths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Slots {
    /// In the region that it shares with the tracer.
    #[default]
    Shared,
    /// In memory of its own: without /proc it cannot open the region.
    Own,
}

/// Whether the host lets tracees execute memory that they share with the tracer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Code {
    /// It does.
    #[default]
    Shared,
    /// It does not.
    None,
}

/// One thread of the tracer.
pub struct Tracer {
    /// What all tasks share.
    pub session: Session,
    team: Arc<Team>,
    me: Arc<Member>,
    /// The tasks this thread traces.
    tasks: IdMap<i32, Box<Task>>,
    /// Tasks whose first stop came before their creator's event: they wait for it.
    unborn: IdMap<i32, ()>,
    /// The end of a task was heard of that nobody had told of; its creator's event may still come.
    strangers: bool,
    /// The task that the session is about.
    command: i32,
    /// The command is stopped by job control, and so, by its own doing, is the front.
    command_stopped: bool,
    /// The tracee of the last event, and how many in a row were its.
    last: (i32, u32),
    /// Events handled so far.
    handled: u64,
    /// How long that takes.
    pace: Pace,
    turns: Turns,
    /// What was heard while attaching: the next events.
    meanwhile: VecDeque<(i32, i32)>,
}

impl Tracer {
    /// The first thread of a new team; `command` is the task that it is going to trace.
    pub fn new(session: Session, command: i32) -> Self {
        let placement = Arc::clone(&session.placement);
        let (team, me) = Team::new(&session, placement, start);
        me.begin();
        Self::member(team, me, session, command)
    }

    fn member(team: Arc<Team>, me: Arc<Member>, session: Session, command: i32) -> Self {
        Self {
            session,
            team,
            me,
            tasks: IdMap::default(),
            unborn: IdMap::default(),
            strangers: false,
            command,
            command_stopped: false,
            last: (0, 0),
            handled: 0,
            pace: Pace::default(),
            turns: Turns::default(),
            meanwhile: VecDeque::new(),
        }
    }

    /// Enters the task that everything begins with.
    pub fn begin(&mut self, task: Task) {
        self.team.directory.enter(&task);
        if let (Some(identity), Some(cred)) = (&self.session.identity, &task.cred) {
            identity.enter(task.tid, cred);
        }
        self.session.stats.tasks.add(1);
        self.tasks.insert(task.tid, Box::new(task));
    }

    /// A slot for a new task.
    pub fn new_slot(&self) -> Option<u32> {
        let slot = self.team.directory.new_slot()?;
        if self.session.region.reserve_slot(slot) {
            return Some(slot);
        }
        self.team.directory.give_back(slot);
        None
    }

    /// Handles events until the session is over; `ended` is called when the command has ended, and with it, but for
    /// [`Leftovers::GoOn`], all that it left.
    ///
    /// The process `front` stops itself when the command is stopped; whoever continues the command, the front goes
    /// on with it.
    pub fn run(&mut self, front: i32, leftovers: Leftovers, mut ended: impl FnMut(&[Arc<Stats>])) {
        loop {
            while let Some(mail) = self.me.mail() {
                match mail {
                    Mail::Adopt(parked) => self.adopt(*parked),
                    Mail::Forget(tid) => self.forget(tid),
                }
            }
            match self.wait() {
                Waited::Event(tid, status) => {
                    self.handle(tid, status);
                    if tid == self.command {
                        let stopped = job_control(status);
                        if (self.command_stopped && !stopped) || status == Status::Ended {
                            ptrace::wake(front);
                        }
                        self.command_stopped = stopped;
                        if status == Status::Ended {
                            match leftovers {
                                Leftovers::GoOn => ended(&self.team.stats()),
                                Leftovers::Killed => self.team.kill(),
                                Leftovers::Awaited => {}
                            }
                        }
                    }
                }
                Waited::Interrupted => {}
                Waited::Nobody => {
                    if !self.team.idle(&self.me) {
                        break;
                    }
                }
            }
        }
        if leftovers != Leftovers::GoOn {
            ended(&self.team.stats());
        }
    }

    fn handle(&mut self, tid: i32, status: Status) {
        self.handled += 1;
        self.last = if self.last.0 == tid { (tid, self.last.1.saturating_add(1)) } else { (tid, 0) };
        let began = if matches!(status, Status::Seccomp | Status::Call) { self.pace.begin() } else { None };
        let done = self.event(tid, status);
        if let Some(began) = began
            && let Some(slow) = self.pace.took(began.elapsed())
        {
            self.team.placement.set_slow(slow);
        }
        match done {
            // ESRCH: killed while it was stopped; wait(2) will say so.
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(e) => self.give_up(tid, e),
        }
    }

    /// A task that can neither go on as it should nor be left stopped.
    fn give_up(&self, tid: i32, why: Errno) {
        crate::note!(
            0,
            "task {tid} is killed: its stop could not be handled: {}; if it unmaps memory that it has not mapped itself, it \
             cannot run here, else try PRUN_ENGINE=two-stop",
            sys::io(why)
        );
        ptrace::kill(tid);
    }

    fn event(&mut self, tid: i32, status: Status) -> Result<(), Errno> {
        let stats = &self.session.stats;
        match status {
            Status::Ended => {
                self.unborn.remove(&tid);
                self.strangers |= !self.tasks.contains_key(&tid);
                self.forget(tid);
                return Ok(());
            }
            _ if self.team.killing() => {
                // Made just before its creator was killed.
                ptrace::kill(tid);
                return Ok(());
            }
            Status::Seccomp => stats.stops.add(1),
            Status::Call if self.session.tracing.engine == Engine::Plain => {}
            Status::Call => stats.exits.add(1),
            _ => stats.events.add(1),
        }
        match status {
            Status::Exec => return self.exec_stop(tid),
            Status::NewTask(event) => return self.new_task(tid, event),
            _ => {}
        }
        let Some(task) = self.tasks.get_mut(&tid) else {
            // A new task whose creator has not been heard of yet stays stopped until then.
            self.unborn.insert(tid, ());
            return Ok(());
        };
        match status {
            Status::Call if self.session.tracing.engine == Engine::Plain => self.call_stop(tid),
            Status::Seccomp | Status::Call if matches!(task.state, State::Locked(_)) => {
                // Where its call is one that the filter stops, that stop is not the one that counts.
                if status == Status::Call { self.unlock(tid) } else { ptrace::resume(tid, Resume::ToExit, 0) }
            }
            Status::Seccomp => self.seccomp_stop(tid),
            Status::Call if self.session.tracing.order == Order::SeccompFirst && !task.inside => {
                task.inside = true;
                ptrace::resume(tid, Resume::ToExit, 0)
            }
            Status::Call => {
                task.inside = false;
                self.exit_stop(tid)
            }
            status if job_control(status) => ptrace::resume(tid, Resume::Listen, 0),
            Status::Signal(signal) => signal_stop(&self.session, task, signal),
            _ => ptrace::resume(tid, onward(&self.session, task), 0),
        }
    }

    /// A task of this thread has ended, or is another's.
    fn forget(&mut self, tid: i32) {
        let Some(mut task) = self.tasks.remove(&tid) else { return };
        if let State::InCall(work) = std::mem::replace(&mut task.state, State::Running) {
            self.session.traced(work.line, None);
        }
        if let Some(pin) = &task.pin {
            self.team.placement.forget(pin);
        }
        self.leave(&task);
    }

    /// Nothing is kept of a task; what is known by its number stays if that is another's by now.
    fn leave(&self, task: &Task) {
        if self.team.directory.leave(task.tid, task.slot)
            && let Some(identity) = &self.session.identity
        {
            identity.leave(task.tid);
        }
        self.team.ended();
    }

    /// A stop at a call. Everything a common call needs is borrowed once: this is the hot path.
    fn seccomp_stop(&mut self, tid: i32) -> Result<(), Errno> {
        let mut original = ptrace::call_regs(tid)?;
        if original.apparent_abi().is_none() {
            // What the filter has said of it.
            original.set_abi(filter::abi_of(ptrace::message(tid)?));
        }
        if self.session.strict.is_some() && self.settled(tid, &mut original).is_none() {
            let unknown = -i64::from(Errno::ENOSYS.into_raw());
            return finish(tid, self.session.tracing.engine, original, unknown);
        }
        self.entry_stop(tid, original)
    }

    /// The beginning of a call that has to be looked at.
    fn entry_stop(&mut self, tid: i32, original: prun_arch::Regs) -> Result<(), Errno> {
        let Self { session, team, me, tasks, handled, .. } = self;
        let Some(task) = tasks.get_mut(&tid) else { return Err(Errno::ESRCH) };
        if let State::Loading(_) = task.state {
            return self.loader_stop(tid, &original);
        }
        let engine = session.tracing.engine;
        let (abi, number) = (original.abi(), original.number());
        let Some(home) = task.home_for(abi) else {
            if !task.has_low_slot() {
                return finish(tid, engine, original, -i64::from(Errno::ENOMEM.into_raw()));
            }
            return self.make_low(tid, &original);
        };
        let window = task.home.window;
        if original.at_trampoline_return(window) && task.in_flight == Some((number, original.args())) {
            let mut regs = original;
            regs.through(Slot::new(tid, task.slot, home).address(), window);
            ptrace::set_call_regs(tid, &original, &regs)?;
            return ptrace::resume(tid, Resume::Run, 0);
        }
        let Some(row) = table::row(abi, number) else {
            // The filter stops it for `--strict` only.
            self.unknown(abi, number);
            return finish(tid, engine, original, -i64::from(Errno::ENOSYS.into_raw()));
        };
        if let Some(counter) = session.stats.calls.get(row.call as usize) {
            counter.add(1);
        }
        if team.placement.useful()
            && let Some(to) = settle(task, team, me, *handled)
            && self.hand_on(tid, &original, to)?
        {
            return Ok(());
        }
        let Self { session, team, tasks, .. } = self;
        let Some(task) = tasks.get_mut(&tid) else { return Err(Errno::ESRCH) };
        let mut regs = original;
        let mut call = Call::new(session, &team.directory, task, &mut regs);
        sys::unseen::take();
        let mut action = call.enter(row);
        let (args, changed, slot) = (call.args, call.number, call.slot);
        if let Some(e) = sys::unseen::take()
            && task.sending.is_none()
        {
            // An error too may come of what was not seen: `ENOENT` where only a look has failed.
            action = Err(e);
        }
        let line = session.trace.is_some().then(|| {
            let given = if changed.is_none() { args } else { original.args() };
            trace::begin(tid, row, &original.args(), &given)
        });
        let exit = match action {
            Ok(Action::Return(value)) => {
                session.traced(line, Some(value));
                return finish(tid, engine, original, value);
            }
            Err(e) => {
                let value = -i64::from(e.into_raw());
                session.traced(line, Some(value));
                return finish(tid, engine, original, value);
            }
            Ok(Action::Run) if line.is_none() && args == original.args() && changed.is_none() => {
                resident::consider(session, task, &original);
                return ptrace::resume(tid, engine.onward(), 0);
            }
            Ok(Action::Run)
                if line.is_none()
                    && engine == Engine::OneStop
                    && changed.is_none()
                    && original.has_trampoline()
                    && stops_once(&original.args(), &args) =>
            {
                slot.set_head(&SlotHead { args: original.args(), ret: original.return_point(), pad: 0 })?;
                regs = original;
                regs.set_args(args);
                regs.through(slot.address(), window);
                task.in_flight = Some((number, args));
                ptrace::set_call_regs(tid, &original, &regs)?;
                return ptrace::resume(tid, Resume::Run, 0);
            }
            Ok(Action::Run) => Exit::Restore,
            Ok(Action::RunThen(exit)) => exit,
        };
        regs = original;
        regs.set_args(args);
        if let Some(changed) = changed {
            regs.set_number(abi.number(changed));
        }
        ptrace::set_call_regs(tid, &original, &regs)?;
        task.state =
            State::InCall(Box::new(InCall { args: original.args(), given: args, number, abi, exit, line }));
        ptrace::resume(tid, Resume::ToExit, 0)
    }

    fn exit_stop(&mut self, tid: i32) -> Result<(), Errno> {
        let onward = self.session.tracing.engine.onward();
        let Some(task) = self.tasks.get_mut(&tid) else { return Err(Errno::ESRCH) };
        if !matches!(task.state, State::InCall(_)) {
            return ptrace::resume(tid, onward, 0);
        }
        let State::InCall(work) = std::mem::replace(&mut task.state, State::Running) else {
            return Err(Errno::EINVAL);
        };
        let before = ptrace::call_regs(tid)?;
        let mut regs = before;
        regs.set_abi(work.abi);
        let mut call = Call::new(&mut self.session, &self.team.directory, task, &mut regs);
        call.args = work.given;
        let again = call.leave(work.exit);
        regs.put_back(work.args, work.number);
        self.session.traced(work.line, Some(regs.result()).filter(|_| again.is_none()));
        if again.is_some() {
            regs.again(work.number, work.args);
        }
        ptrace::set_call_regs(tid, &before, &regs)?;
        ptrace::resume(tid, onward, 0)
    }
}

/// Where a task that makes a call should run from now on: on the CPU of the member that traces it, `me`, if it is
/// hot. The answer is another member that is to take it over. `handled` counts the member's events.
fn settle(task: &mut Task, team: &Arc<Team>, me: &Member, handled: u64) -> Option<usize> {
    if let Some(pin) = &task.pin {
        if pin.beat() {
            return pin.takes_over().filter(|&to| to != me.index);
        }
        (task.pin, task.heat) = (None, 0);
    }
    let now = Instant::now();
    let before = task.called.replace((now, handled));
    let goes_on = before
        .is_some_and(|(at, by_then)| team.placement.in_a_row(now.duration_since(at), handled - by_then));
    task.heat = if goes_on { task.heat + 1 } else { 0 };
    if task.heat >= HOT {
        pin(task, team, me);
    }
    None
}

/// Puts a stopped task on the CPU of its tracer, if that may be.
fn pin(task: &mut Task, team: &Arc<Team>, me: &Member) {
    task.heat = 0;
    task.pin = team.placement.pin(task.tid, me.index);
    if task.pin.is_some() {
        me.stats.pinned.add(1);
        team.watch();
    }
}

/// What the thread of a later member runs.
fn start(team: Arc<Team>, me: Arc<Member>, session: Session) {
    me.begin();
    Tracer::member(team, me, session, 0).run(0, Leftovers::GoOn, |_| {});
}

/// Whether a task is stopped by job control, and stays so until SIGCONT.
fn job_control(status: Status) -> bool {
    matches!(status, Status::Stop(libc::SIGSTOP | libc::SIGTSTP | libc::SIGTTIN | libc::SIGTTOU))
}

/// How a task goes on after an event that has nothing to do with its call.
fn onward(session: &Session, task: &Task) -> Resume {
    match task.state {
        State::InCall(_) | State::Locked(_) => Resume::ToExit,
        State::Starting | State::Running | State::Loading(_) => session.tracing.engine.onward(),
    }
}

/// Whether a call whose arguments are changed so needs no second stop.
fn stops_once(before: &[u64; 6], after: &[u64; 6]) -> bool {
    before.iter().zip(after).zip(prun_arch::ONE_STOP).all(|((before, after), free)| free || before == after)
}

/// The call is not run and returns `value`.
fn finish(tid: i32, engine: Engine, before: prun_arch::Regs, value: i64) -> Result<(), Errno> {
    let mut regs = before;
    regs.skip(value);
    ptrace::set_call_regs(tid, &before, &regs)?;
    ptrace::resume(tid, engine.onward(), 0)
}

/// A signal is about to be delivered: the registers it finds are the guest's own.
fn signal_stop(session: &Session, task: &mut Task, signal: i32) -> Result<(), Errno> {
    // All of them: the code in the tracee keeps the flags in another register meanwhile.
    let mut regs = ptrace::regs(task.tid)?;
    let before = regs.ip();
    let window = task.home.window;
    if let Some(home) = regs.in_trampoline(window).and_then(|abi| task.home_for(abi)) {
        regs.fix_up(&Slot::new(task.tid, task.slot, home).head()?, window);
    }
    let handled = resident::fix_up(task, &mut regs, signal);
    if let Some(sent) = task.sending.take() {
        // Between two pieces of a sendmmsg(2): a signal ends it.
        regs.leave(i64::from(sent.0));
    }
    if regs.ip() != before {
        ptrace::set_regs(task.tid, &regs)?;
    }
    let signal = if handled { 0 } else { signal };
    ptrace::resume(task.tid, onward(session, task), signal)
}
