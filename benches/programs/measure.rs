//! CPU and wall time of a command and of all it leaves running.
//!
//! getrusage(2) counts a child for who waits for it. prun's front ends before its tracer and does not wait for it, so
//! this process declares itself the reaper of its descendants (PR_SET_CHILD_SUBREAPER): the tracer becomes its child
//! when the front is gone, and is waited for before the clock is read. A tracer that waits for its tracees takes
//! nothing away: the kernel adds a task's time to its real parent only (kernel/exit.c, `wait_task_zombie`).

use nix::errno::Errno;
use nix::sys::resource::{Usage, UsageWho, getrusage};
use nix::sys::time::TimeVal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use std::process::Command;
use std::time::{Duration, Instant};

/// How long what a command leaves behind may take to end.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a command cost, in seconds.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub(crate) struct Cost {
    /// User and system time of all processes.
    pub(crate) cpu: f64,
    /// From its start to its end.
    pub(crate) wall: f64,
}

/// Makes this process the one that waits for orphans.
///
/// # Panics
/// Before Linux 3.4.
pub(crate) fn adopt_orphans() {
    nix::sys::prctl::set_child_subreaper(true).expect("Linux has it since 3.4");
}

fn cpu() -> f64 {
    let usage: Usage = getrusage(UsageWho::RUSAGE_CHILDREN).expect("it only copies numbers");
    let seconds = |t: TimeVal| t.tv_sec() as f64 + t.tv_usec() as f64 / 1e6;
    seconds(usage.user_time()) + seconds(usage.system_time())
}

/// Runs `command` to its end and waits for all it leaves.
///
/// # Errors
/// What it ended with, if not with success.
pub(crate) fn run(command: &mut Command) -> Result<Cost, String> {
    let before = cpu();
    let began = Instant::now();
    let status = command.status().map_err(|e| format!("{command:?}: {e}"))?;
    let wall = began.elapsed().as_secs_f64();
    reap()?;
    let cost = Cost { cpu: cpu() - before, wall };
    if status.success() { Ok(cost) } else { Err(format!("{command:?}: {status}")) }
}

fn reap() -> Result<(), String> {
    let last = Instant::now() + PATIENCE;
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Err(Errno::ECHILD) => return Ok(()),
            Ok(WaitStatus::StillAlive) if Instant::now() > last => {
                return Err("a process that the command left does not end".into());
            }
            Ok(WaitStatus::StillAlive) => std::thread::sleep(Duration::from_millis(1)),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(e) => return Err(format!("wait: {e}")),
        }
    }
}
