//! What all tasks of a session share, and what it counts.
//!
//! Each tracer thread has a [`Session`] of its own: buffers and counters that nobody else writes, and handles on
//! what all threads share.

use crate::emulate::Emulation;
use crate::emulate::identity::Identity;
use crate::emulate::identity::searchable::Searchable;
use crate::path::PATH_MAX;
use crate::resolve::Resolver;
use crate::syscall::table;
use crate::trace::{Strict, Trace};
use crate::tracee::IdMap;
use crate::tracee::region::Region;
use crate::tracer::Tracing;
use crate::tracer::placement::Placement;
use crate::view::View;
use std::collections::VecDeque;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// A number that one thread adds to and any may read.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`; only the thread that owns the counter may.
    pub fn add(&self, n: u64) {
        // Load and store instead of a locked addition: there is one writer.
        self.0.store(self.get().wrapping_add(n), Ordering::Relaxed);
    }

    /// What it has counted so far.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Counters of one tracer thread, for `--stats`.
#[derive(Debug)]
pub struct Stats {
    /// Stops at a system call that the filter chose.
    pub stops: Counter,
    /// Stops at the end of one.
    pub exits: Counter,
    /// Stops for signals, new tasks and exec.
    pub events: Counter,
    /// Paths translated.
    pub paths: Counter,
    /// Of these, paths that the kernel was given as they were.
    pub untouched: Counter,
    /// Questions to the host's file tree.
    pub host_calls: Counter,
    /// Programs started.
    pub execs: Counter,
    /// Of these, through their interpreter because the host does not have it at that path.
    pub carried: Counter,
    /// Tasks seen.
    pub tasks: Counter,
    /// Tasks taken over from another tracer thread.
    pub adopted: Counter,
    /// Tasks put on the tracer's CPU.
    pub pinned: Counter,
    /// Calls by number.
    pub calls: [Counter; table::LEN],
}

impl Default for Stats {
    fn default() -> Self {
        Self {
            stops: Counter::default(),
            exits: Counter::default(),
            events: Counter::default(),
            paths: Counter::default(),
            untouched: Counter::default(),
            host_calls: Counter::default(),
            execs: Counter::default(),
            carried: Counter::default(),
            tasks: Counter::default(),
            adopted: Counter::default(),
            pinned: Counter::default(),
            calls: [const { Counter(AtomicU64::new(0)) }; table::LEN],
        }
    }
}

/// Socket addresses as the kernel knows them → as the guest bound them.
#[derive(Debug, Default)]
pub struct Sockets(Mutex<IdMap<Vec<u8>, Vec<u8>>>);

impl Sockets {
    /// Notes that the guest bound `guest`, which the kernel knows as `host`.
    pub fn bound(&self, host: &[u8], guest: Vec<u8>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(host.to_vec(), guest);
    }

    /// The address as the guest bound it.
    pub fn guest(&self, host: &[u8]) -> Option<Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(host).cloned()
    }
}

/// One tracer thread's part of the session.
pub struct Session {
    /// What the guest sees.
    pub view: Arc<View>,
    /// Buffers for resolving.
    pub resolver: Box<Resolver>,
    /// Memory shared with the tracees.
    pub region: Arc<Region>,
    /// Lets the loader's openat(2) pass the filter.
    pub secret: u64,
    /// The guest is not trusted.
    pub confine: bool,
    /// Process id of the tracer.
    pub tracer: u32,
    /// Process id of the front, which the user started.
    pub front: u32,
    /// Counters.
    pub stats: Arc<Stats>,
    /// Addresses of sockets.
    pub sockets: Arc<Sockets>,
    /// Some program has been started through its interpreter, unknown to the kernel.
    pub carries: Arc<AtomicBool>,
    /// Call sites that stop for nothing may be changed; which names need a look ([`crate::tracer::resident`]).
    pub patches: Option<prun_arch::resident::Complex>,
    /// On which CPU tasks run.
    pub placement: Arc<Placement>,
    /// How tasks are traced.
    pub tracing: Tracing,
    /// What options change in what the guest is told.
    pub emulation: Arc<Emulation>,
    /// Where each call is written to, with `--trace`.
    pub trace: Option<Arc<Trace>>,
    /// What has been said of calls that are not exact, with `--strict`.
    pub strict: Option<Arc<Strict>>,
    /// Who the guest believes to be, if anybody else.
    pub identity: Option<Arc<Identity>>,
    /// Directories that a task which has given up root may search.
    pub searchable: Searchable,
    /// Directories held open while a call reaches through them.
    held: VecDeque<OwnedFd>,
    /// Scratch for a path as the guest passed it.
    pub text: Box<[u8; PATH_MAX]>,
}

/// Whether a number is that of the tracer, of one of its threads or of the front.
pub fn is_prun(own: [u32; 2], pid: i32) -> bool {
    let Some(id) = u32::try_from(pid).ok().filter(|&id| id != 0) else { return false };
    own.contains(&id)
        || crate::sys::stat(format!("/proc/self/task/{id}\0").as_bytes(), crate::resolve::Last::Kept).is_ok()
}

/// Directories held at a time: more than calls can be in flight between two that need one.
const HELD: usize = 64;

impl Session {
    /// A session without tasks.
    pub fn new(view: View, region: Region, tracing: Tracing, placement: Arc<Placement>) -> Self {
        Self {
            view: Arc::new(view),
            resolver: Box::new(Resolver::new()),
            region: Arc::new(region),
            // Where there is none, the loader's call stops like any other, and is let go.
            secret: tracing.needs.secret.unwrap_or(0),
            confine: false,
            tracing,
            tracer: std::process::id(),
            front: std::os::unix::process::parent_id(),
            stats: Arc::default(),
            sockets: Arc::default(),
            carries: Arc::default(),
            placement,
            patches: None,
            emulation: Arc::default(),
            trace: None,
            strict: None,
            identity: None,
            searchable: Searchable::default(),
            held: VecDeque::new(),
            text: Box::new([0; PATH_MAX]),
        }
    }

    /// The same session for one more thread.
    #[must_use]
    pub fn another(&self) -> Self {
        Self {
            view: Arc::clone(&self.view),
            resolver: Box::new(Resolver::new()),
            region: Arc::clone(&self.region),
            secret: self.secret,
            confine: self.confine,
            tracing: self.tracing,
            tracer: self.tracer,
            front: self.front,
            stats: Arc::default(),
            sockets: Arc::clone(&self.sockets),
            carries: Arc::clone(&self.carries),
            placement: Arc::clone(&self.placement),
            patches: self.patches,
            emulation: Arc::clone(&self.emulation),
            trace: self.trace.clone(),
            strict: self.strict.clone(),
            identity: self.identity.clone(),
            searchable: Searchable::default(),
            held: VecDeque::new(),
            text: Box::new([0; PATH_MAX]),
        }
    }

    /// Writes a call to the trace, if there is one: what has been made of it so far, and its result.
    pub fn traced(&self, line: Option<String>, result: Option<i64>) {
        if let (Some(trace), Some(line)) = (&self.trace, line) {
            trace.end(line, result);
        }
    }

    /// Keeps `fd` open and returns the path by which a tracee reaches it, without a NUL.
    pub fn hold(&mut self, fd: OwnedFd) -> Vec<u8> {
        let path = format!("/proc/{}/fd/{}", self.tracer, fd.as_raw_fd()).into_bytes();
        self.held.push_back(fd);
        if self.held.len() > HELD {
            self.held.pop_front();
        }
        path
    }

    /// Whether a number is that of one of prun's own processes, or of a thread of the tracer.
    pub fn is_prun(&self, pid: i32) -> bool {
        is_prun([self.tracer, self.front], pid)
    }

    /// Whether some program has been started through its interpreter, unknown to the kernel.
    pub fn any_carried(&self) -> bool {
        self.carries.load(Ordering::Relaxed)
    }

    /// Whether refusals are worth a message.
    pub fn names_refusals(&self) -> bool {
        crate::report::wants(1)
    }
}
