//! prun: unmodified programs in a root that does not exist, without privilege.
//!
//! # The life of a call
//!
//! A *tracee* makes a system call with a *guest path*. The filter ([`syscall::filter`]) stops it, the event loop
//! ([`tracer`]) hears of it, its row of the table ([`syscall::table`]) says which arguments are paths; each is read
//! ([`tracee::memory`]), resolved in the *view* ([`resolve`], [`view`]) to a *host path*, written where the kernel
//! finds it ([`tracee::region`]), and the call runs. It returns into the trampoline (crate `prun_arch`), which puts
//! the guest's registers back.
//!
//! # Words
//!
//! * **guest path**, **host path**: what the tracee names, what the kernel is given ([`path`]).
//! * **binding**: a host file or directory shown at a guest path. **Placeholder**: a directory that only the guest
//!   has, because a binding lies below it.
//! * **stop**: a tracee waits for the tracer. **Exit stop**: the second of a call, where its result is known.
//! * **slot**: memory of one tracee thread, shared with the tracer, that holds translated paths.
//! * **carried program**: one whose interpreter the kernel executes, because the host has none at the path the
//!   program names ([`exec`]).

#![cfg_attr(test, allow(clippy::undocumented_unsafe_blocks))]

pub mod cli;
pub mod config;
pub mod cost;
pub mod doctor;
pub mod emulate;
pub mod error;
pub mod exec;
pub mod host;
pub mod path;
pub mod report;
pub mod resolve;
pub mod session;
pub mod sys;
pub mod syscall;
pub mod trace;
pub mod tracee;
pub mod tracer;
pub mod view;
