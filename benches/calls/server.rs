//! A guest program that has been started once and measures on request: start-up is in no figure, and the runtimes can
//! take turns every few milliseconds.

use crate::runtime::{Binding, Runtime};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

/// Whether runtime and program share one CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cpus {
    /// One, given by taskset(1).
    One,
    /// As many as there are.
    All,
}

/// The program, waiting for requests.
pub(crate) struct Server {
    child: Child,
    requests: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

/// What to measure.
#[derive(Clone, Debug)]
pub(crate) struct Loop {
    /// A loop of the guest program's job `bench`.
    pub(crate) kind: &'static str,
    /// Threads that run it at the same time.
    pub(crate) threads: usize,
    /// The path that each call gets.
    pub(crate) path: String,
}

/// A command that runs `program` under `runtime`.
pub(crate) fn command(runtime: &Runtime, cpus: Cpus, bindings: &[Binding], program: &[String]) -> Command {
    let mut words = match cpus {
        Cpus::One => ["taskset", "-c", "0"].map(String::from).to_vec(),
        Cpus::All => vec![],
    };
    words.extend(runtime.words(bindings, &[], program));
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).current_dir("/");
    runtime.prepare(&mut command);
    command
}

impl Server {
    /// Starts `guest` under `runtime`.
    ///
    /// # Panics
    /// When it does not start.
    pub(crate) fn start(runtime: &Runtime, cpus: Cpus, bindings: &[Binding], guest: &str) -> Self {
        let mut child = command(runtime, cpus, bindings, &[guest.into(), "bench".into()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the runtime starts");
        let requests = child.stdin.take();
        let answers = BufReader::new(child.stdout.take().expect("piped"));
        Self { child, requests, answers }
    }

    /// Time that `count` calls took, in each of the loop's threads.
    ///
    /// # Panics
    /// When a call failed: there is no figure then.
    pub(crate) fn measure(&mut self, what: &Loop, count: u64) -> Duration {
        let requests = self.requests.as_mut().expect("open until the end");
        writeln!(requests, "{} {count} {} {}", what.kind, what.threads, what.path).expect("it listens");
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("it answers");
        let ns = line.trim().parse().unwrap_or_else(|_| panic!("{what:?}: {line:?}"));
        Duration::from_nanos(ns)
    }

    /// Calls to make so that a measurement takes about `long`.
    pub(crate) fn calls_in(&mut self, what: &Loop, long: Duration) -> u64 {
        let mut count = 2;
        loop {
            let took = self.measure(what, count);
            if took > long / 8 || count > 1 << 24 {
                let per_call = took.as_secs_f64() / count as f64;
                return ((long.as_secs_f64() / per_call) as u64).max(2);
            }
            count *= 4;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The end of its input ends it.
        self.requests = None;
        let status = self.child.wait().expect("ours");
        if !status.success() && !std::thread::panicking() {
            panic!("the guest program ended with {status}");
        }
    }
}
