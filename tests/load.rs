//! Load: thousands of tasks at once, and one after the other. The tracer's memory and descriptors are watched from
//! outside.

use crate::harness::*;
use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{Child, ChildStdout, Stdio};

/// What the tracer has of the machine.
#[derive(Clone, Copy, Debug)]
struct Use {
    /// KiB of its own memory, and of what it shares with its tracees.
    own: u64,
    /// KiB of all memory that it has had at most.
    peak: u64,
    descriptors: usize,
    threads: u64,
}

fn field(status: &str, name: &str) -> u64 {
    let line =
        status.lines().find_map(|l| l.strip_prefix(name)).unwrap_or_else(|| panic!("no {name} in {status}"));
    line.trim().trim_end_matches(" kB").trim().parse().expect("a number")
}

fn status_of(pid: u64) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it is there")
}

/// `None` when it has ended.
fn used(tracer: u64) -> Option<Use> {
    let status = std::fs::read_to_string(format!("/proc/{tracer}/status")).ok()?;
    if !status.contains("VmHWM:") {
        return None;
    }
    let descriptors = std::fs::read_dir(format!("/proc/{tracer}/fd")).map_or(0, Iterator::count);
    let own = field(&status, "RssAnon:") + field(&status, "RssShmem:");
    Some(Use { own, peak: field(&status, "VmHWM:"), descriptors, threads: field(&status, "Threads:") })
}

/// A session whose guest has said its number, and so the tracer's.
fn start(engine: &str, argv: &[&str]) -> (Child, Lines<BufReader<ChildStdout>>, u64) {
    // Without the limit of the harness: a soak may be long.
    let mut child = std::process::Command::new(prun())
        .args(argv)
        .env("PRUN_ENGINE", engine)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let first = lines.next().expect("a line").expect("text");
    let pid: u64 = first.strip_prefix("pid ").and_then(|n| n.parse().ok()).expect("a number");
    let tracer = field(&status_of(pid), "TracerPid:");
    assert!(tracer > 0, "it is traced");
    (child, lines, tracer)
}

#[test]
fn a_thousand_processes_and_two_thousand_threads_at_once() {
    let dir = folder(Who::User);
    let bind = format!("{}:/mnt", dir.path().display());
    let guest = guest();
    let (processes, threads) = (times(1000), times(2000).next_multiple_of(100));
    let tasks = u64::from(processes + threads);
    let (processes, threads) = (processes.to_string(), threads.to_string());
    for engine in ENGINES {
        let (mut child, mut lines, tracer) =
            start(engine, &["-b", &bind, &guest, "load", "crowd", "/mnt/.", &processes, &threads]);
        assert_eq!(lines.next().expect("a line").expect("text"), format!("ready {tasks}"), "{engine}");
        let full = used(tracer).expect("it waits");
        child.stdin.take().expect("piped").write_all(b"x").expect("it listens");
        assert_eq!(lines.next().expect("a line").expect("text"), "done bad 0", "{engine}");
        assert!(child.wait().expect("ours").success());
        // 10 MiB and a page for each of the tasks; processes are started by twenty more.
        let limit = 10 * 1024 + 4 * (tasks + 21);
        println!("{engine}: {full:?}, {limit} KiB allowed");
        assert!(full.peak < limit, "{engine}: {full:?}, {limit} KiB allowed");
        assert!(full.descriptors < 200, "{engine}: {full:?}");
    }
}

/// KiB of a thread of the tracer: the stack that it has used, a heap of its own, slots of its tasks. In a build without
/// optimisation 270 were seen, in the second in which it started.
const THREAD: u64 = 512;

/// Nothing is kept of a task that has ended. `PRUN_SOAK` is the number of seconds: half an hour by hand.
#[test]
fn a_soak_keeps_nothing() {
    let seconds = std::env::var("PRUN_SOAK").unwrap_or_else(|_| "20".into());
    let dir = folder(Who::Me);
    std::fs::write(dir.path().join("f"), "data").expect("new");
    copy_program(guest(), dir.path().join("e"));
    let bind = format!("{}:/mnt", dir.path().display());
    let guest = guest();
    let argv = ["-b", &bind, "-b", "/usr:/made/up", &guest, "load", "soak", "/mnt", &seconds];
    let (mut child, lines, tracer) = start("one-stop", &argv);
    let mut seen: Vec<(u64, Use)> = vec![];
    let mut last = String::new();
    for line in lines {
        last = line.expect("text");
        if let (Some(ended), Some(now)) = (last.strip_prefix("tick "), used(tracer)) {
            seen.push((ended.parse().expect("a number"), now));
        }
        if last.starts_with("BAD") {
            println!("{last}");
        }
    }
    // After a third everything that grows to a size has it.
    let (early, late) = (seen[seen.len() / 3], *seen.last().expect("it ticked"));
    let (dead, grown) = (late.0 - early.0, late.1.own.saturating_sub(early.1.own));
    println!("{seconds} s: {} tasks ended; {early:?} and {late:?}: {grown} KiB more", late.0);
    assert_eq!(last, "done bad 0");
    assert!(child.wait().expect("ours").success());
    assert!(dead > u64::from(times(200)), "too few tasks: {dead}");
    // A thread may start late, when two tasks happen to be busy at once, and use its stack later still; tasks are many.
    let allowed = 64 + THREAD * (late.1.threads - 1);
    assert!(grown <= allowed, "{grown} KiB kept of {dead} tasks, {allowed} allowed: {early:?} {late:?}");
    assert!(late.1.peak < 10 * 1024 + 4 * 20, "{late:?}");
    let most = seen.iter().map(|(_, u)| u.descriptors).max();
    assert!(most < Some(100) && late.1.descriptors <= early.1.descriptors + 70, "{early:?} {late:?}");
}
