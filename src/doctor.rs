//! What this host allows, found by doing: the experiments ([`probe`]), what follows from them, and what to do about
//! what is missing ([`advice`], [`report`]).
//!
//! A session begins with them, and its engine is the best that they allow. Nothing is derived from the kernel's
//! version, and nothing is kept from one session to the next. `prun --doctor` prints them.

pub mod advice;
pub mod probe;
pub mod report;

use crate::emulate::newer::Missing;
use crate::error::Failure;
use crate::sys;
use crate::tracee::region::Region;
use crate::tracer::placement;
use crate::tracer::{Code, Engine, Order, Slots};
use std::fmt;
use std::time::{Duration, Instant};
use syscalls::Errno;

/// What came of an experiment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Answer {
    /// Another had to work first.
    #[default]
    Untried,
    /// It works.
    Works,
    /// The kernel, or what is around prun, answers this.
    Refused(Errno),
    /// Who does it is killed.
    Fatal,
    /// It seems to be done, and its effect is not there.
    Wrong,
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Untried => f.write_str("not tried"),
            Self::Works => f.write_str("works"),
            Self::Refused(e) => write!(f, "refused: {}", sys::io(*e)),
            Self::Fatal => f.write_str("kills who does it"),
            Self::Wrong => f.write_str("has no effect"),
        }
    }
}

/// One experiment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
#[expect(missing_docs, reason = "described by `Probe::title`")]
pub enum Probe {
    Seize,
    CallStops,
    Registers,
    SignalMask,
    CallInfo,
    ReadMemory,
    WriteMemory,
    MemFile,
    MemFileText,
    Peek,
    PokeText,
    Filter,
    Trace,
    Trampoline,
    Skip,
    Memfd,
    SharedFile,
    SharedCode,
    Openat2,
    Random,
}

impl Probe {
    /// All, in the order of the report.
    pub const ALL: [Self; 20] = [
        Self::Seize,
        Self::CallStops,
        Self::Registers,
        Self::SignalMask,
        Self::CallInfo,
        Self::ReadMemory,
        Self::WriteMemory,
        Self::MemFile,
        Self::MemFileText,
        Self::Peek,
        Self::PokeText,
        Self::Filter,
        Self::Trace,
        Self::Trampoline,
        Self::Skip,
        Self::Memfd,
        Self::SharedFile,
        Self::SharedCode,
        Self::Openat2,
        Self::Random,
    ];

    /// Its name in `--doctor=json`, and what it is.
    pub fn title(self) -> (&'static str, &'static str) {
        match self {
            Self::Seize => ("seize", "attaching to a child (PTRACE_SEIZE)"),
            Self::CallStops => ("call-stops", "stops at every call (PTRACE_SYSCALL)"),
            Self::Registers => ("registers", "reading registers (PTRACE_GETREGSET)"),
            Self::SignalMask => ("signal-mask", "holding signals (PTRACE_SETSIGMASK)"),
            Self::CallInfo => ("call-info", "the kind of a call (PTRACE_GET_SYSCALL_INFO)"),
            Self::ReadMemory => ("read-memory", "reading memory (process_vm_readv)"),
            Self::WriteMemory => ("write-memory", "writing memory (process_vm_writev)"),
            Self::MemFile => ("mem-file", "reading memory (/proc/PID/mem)"),
            Self::MemFileText => ("mem-file-text", "writing over code (/proc/PID/mem)"),
            Self::Peek => ("peek", "reading memory (PTRACE_PEEKDATA)"),
            Self::PokeText => ("poke-text", "writing over code (PTRACE_POKEDATA)"),
            Self::Filter => ("filter", "installing a seccomp filter"),
            Self::Trace => ("trace", "stops at the calls a filter chooses (SECCOMP_RET_TRACE)"),
            Self::Trampoline => ("trampoline", "returning through the trampoline"),
            Self::Skip => ("skip", "answering a call without running it"),
            Self::Memfd => ("memfd", "memory to share (memfd_create)"),
            Self::SharedFile => ("shared-file", "opening it from a tracee (/proc/PID/fd)"),
            Self::SharedCode => ("shared-code", "mapping it to be executed"),
            Self::Openat2 => ("openat2", "looking for links in one call (openat2)"),
            Self::Random => ("random", "random numbers (getrandom)"),
        }
    }
}

/// What the host allows.
#[derive(Clone, Debug, Default)]
pub struct Capabilities {
    answers: [Answer; Probe::ALL.len()],
    /// Where the seccomp stop is among the stops of a call.
    pub order: Order,
    /// Newer calls that the kernel does not have, and that older ones can stand in for.
    pub missing: Missing,
    /// The signal that ended the experiments before their end.
    pub lost: Option<i32>,
    /// How long they took.
    pub spent: Duration,
}

impl Capabilities {
    /// Finds out about the calls that prun can do without; first of all, before any of them is made.
    pub fn of_calls() -> Self {
        let start = Instant::now();
        let mut found = Self::default();
        probe::calls(&mut found);
        found.spent = start.elapsed();
        found
    }

    /// Finds out about tracing too.
    pub fn with_tracing(mut self, region: &Region) -> Self {
        placement::on_one_cpu(|| probe::tracing(region, &mut self));
        self
    }

    fn set(&mut self, probe: Probe, answer: Answer) {
        self.answers[probe as usize] = answer;
    }

    /// What came of one experiment.
    pub fn answer(&self, probe: Probe) -> Answer {
        self.answers[probe as usize]
    }

    /// Whether something works.
    pub fn works(&self, probe: Probe) -> bool {
        self.answer(probe) == Answer::Works
    }

    /// Whether tracees can be given the trampoline: in shared memory, or, where they cannot open that, in their own.
    pub fn code(&self) -> Code {
        if self.works(Probe::Trampoline) && (self.works(Probe::SharedCode) || !self.works(Probe::SharedFile))
        {
            Code::Shared
        } else {
            Code::None
        }
    }

    /// Where tracees have their slots.
    pub fn slots(&self) -> Slots {
        if self.works(Probe::SharedFile) { Slots::Shared } else { Slots::Own }
    }

    /// Whether an engine can run here.
    pub fn allows(&self, engine: Engine) -> bool {
        let any = |all: &[Probe]| all.iter().any(|&p| self.works(p));
        let traced = self.works(Probe::Seize)
            && self.works(Probe::Registers)
            && any(&[Probe::ReadMemory, Probe::MemFile, Probe::Peek])
            && any(&[Probe::MemFileText, Probe::PokeText]);
        let filtered = self.works(Probe::Trace) && self.works(Probe::Skip);
        traced
            && match engine {
                Engine::OneStop => filtered && self.code() == Code::Shared,
                Engine::TwoStop => filtered,
                Engine::Plain => self.works(Probe::CallStops),
            }
    }

    /// The engine to use: the one that was asked for, else the best there is.
    ///
    /// # Errors
    /// When none can run, or not the one that was asked for: what is missing, why, and what to do.
    pub fn engine(&self, wanted: Option<Engine>) -> Result<Engine, Failure> {
        let found = match wanted {
            Some(engine) => Some(engine).filter(|&e| self.allows(e)),
            None => Engine::ALL.into_iter().find(|&e| self.allows(e)),
        };
        found.ok_or_else(|| advice::failure(self, wanted))
    }
}

/// All experiments, for `--doctor`.
///
/// # Errors
/// When there is no memory for them.
pub fn examine() -> Result<Capabilities, Failure> {
    let found = Capabilities::of_calls();
    let region = Region::new().map_err(advice::no_region)?;
    Ok(found.with_tracing(&region))
}
