//! What all tasks of a session share, and what it counts.

use crate::path::PATH_MAX;
use crate::resolve::Resolver;
use crate::tracee::IdMap;
use crate::tracee::region::Region;
use crate::view::View;
use std::collections::VecDeque;
use std::os::fd::{AsRawFd, OwnedFd};

/// Counters for `--stats`.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    /// Stops at a system call that the filter chose.
    pub stops: u64,
    /// Stops at the end of one.
    pub exits: u64,
    /// Stops for signals, new tasks and exec.
    pub events: u64,
    /// Paths translated.
    pub paths: u64,
    /// Of these, paths that the kernel was given as they were.
    pub untouched: u64,
    /// Questions to the host's file tree.
    pub host_calls: u64,
    /// Programs started.
    pub execs: u64,
    /// Of these, through their interpreter because the host does not have it at that path.
    pub carried: u64,
    /// Tasks seen.
    pub tasks: u64,
    /// Calls by number, for the table of `--stats`.
    pub calls: IdMap<u32, u64>,
}

/// The session.
pub struct Session {
    /// What the guest sees.
    pub view: View,
    /// Buffers for resolving.
    pub resolver: Box<Resolver>,
    /// Memory shared with the tracees.
    pub region: Region,
    /// Lets the loader's openat(2) pass the filter.
    pub secret: u64,
    /// Process id of the tracer.
    pub tracer: u32,
    /// Counters.
    pub stats: Stats,
    /// Socket addresses as the kernel knows them → as the guest bound them.
    pub sockets: IdMap<Vec<u8>, Vec<u8>>,
    /// Directories held open while a call reaches through them.
    held: VecDeque<OwnedFd>,
    /// Scratch for a path as the guest passed it.
    pub text: Box<[u8; PATH_MAX]>,
}

/// Directories held at a time: more than calls can be in flight between two that need one.
const HELD: usize = 64;

impl Session {
    /// A session without tasks.
    pub fn new(view: View, region: Region, secret: u64) -> Self {
        Self {
            view,
            resolver: Box::new(Resolver::new()),
            region,
            secret,
            tracer: std::process::id(),
            stats: Stats::default(),
            sockets: IdMap::default(),
            held: VecDeque::new(),
            text: Box::new([0; PATH_MAX]),
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

    /// Whether some program has been started through its interpreter, unknown to the kernel.
    pub fn any_carried(&self) -> bool {
        self.stats.carried > 0
    }

    /// Whether refusals are worth a message.
    pub fn names_refusals(&self) -> bool {
        crate::report::wants(1)
    }
}
