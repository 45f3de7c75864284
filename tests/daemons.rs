//! What the command leaves behind when it ends.

use crate::harness::*;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

/// Runs a script under prun with `dir` at /shown; its status, and how long prun took.
fn leave(options: &[&str], dir: &Path, script: &str) -> (Option<i32>, Duration) {
    let (prun, bind) = (prun(), format!("{}:/shown", dir.display()));
    let argv = [&[prun.as_str(), "-b", &bind], options, &["bash", "-c", script]].concat();
    let start = Instant::now();
    // Not through a pipe: whoever reads one waits for the last that has it open, as with any shell.
    let status = command(Who::User, &argv).stdout(Stdio::null()).status().expect("it starts");
    (status.code(), start.elapsed())
}

fn within(seconds: u64, mut done: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + Duration::from_secs(seconds) * slow();
    while Instant::now() < end {
        if done() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    done()
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

fn alive(pid: &str) -> bool {
    let state = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    // A zombie, or one that is being taken away as we look.
    state.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with(['Z', 'X']))
}

fn tracer(pid: &str) -> String {
    let status = std::fs::read_to_string(format!("/proc/{}/status", pid.trim())).unwrap_or_default();
    status.lines().find_map(|l| l.strip_prefix("TracerPid:")).unwrap_or("0").trim().to_owned()
}

#[test]
fn they_go_on_with_their_view() {
    let dir = folder(Who::User);
    std::fs::write(dir.path().join("f"), "from the binding\n").expect("ours");
    // In a session of its own, it starts programs after prun has gone: by path, by PATH, through a script.
    let script = "printf '#!/bin/sh\\ncat /shown/f\\n' > /shown/s; chmod +x /shown/s; cd /shown; \
        (setsid bash -c 'echo $$ > pid; until [ -e go ]; do sleep 0.05; done; { /shown/s; pwd; ls -d /shown; cat < f; readlink /proc/self/cwd; } > out.new; mv out.new out; sleep 0.3' >/dev/null 2>&1 &); exit 3";
    let (status, took) = leave(&[], dir.path(), script);
    assert_eq!(status, Some(3));
    assert!(took < Duration::from_secs(60) * slow(), "{took:?}");
    let out = dir.path().join("out");
    assert!(!out.exists(), "the daemon is not through yet");
    let pid = dir.path().join("pid");
    assert!(within(60, || read(&pid).ends_with('\n')));
    let pid = read(&pid);
    let tracer = tracer(&pid);
    assert!(alive(&pid) && tracer != "0");
    std::fs::write(dir.path().join("go"), "").expect("ours");
    assert!(within(60, || out.exists()));
    assert_eq!(read(&out), "from the binding\n/shown\n/shown\nfrom the binding\n/shown\n");
    assert!(within(60, || !alive(&pid) && !alive(&tracer)), "the tracer ends with the last daemon");
}

#[test]
fn they_die_rather_than_lose_their_view() {
    let dir = folder(Who::User);
    let (status, _) = leave(&[], dir.path(), "sleep 300.75 & echo $! > /shown/pid; exit 0");
    assert_eq!(status, Some(0));
    let pid = read(&dir.path().join("pid"));
    let tracer = tracer(&pid);
    assert!(alive(&pid) && tracer != "0", "{pid} traced by {tracer}");
    good(Who::Me, &["kill", "-KILL", &tracer]);
    assert!(within(60, || !alive(&pid)), "a daemon outlived its tracer");
}

#[test]
fn they_are_killed_if_that_was_asked_for() {
    let dir = folder(Who::User);
    // One that ignores signals, one that is stopped, one in a session of its own, and one that makes others all the time.
    let script = "cd /shown; trap '' TERM HUP INT; sleep 300.5 & echo $! > a; \
        sleep 300.5 & kill -STOP $!; echo $! > b; setsid sleep 300.5 & echo $! > c; \
        (while :; do (sleep 300.5 & echo $! >> e) ; sleep 0.001; done) & echo $! > d; \
        until [ -s e ] && [ $(wc -l < e) -gt 10 ]; do sleep 0.05; done; exit 4";
    let (status, took) = leave(&["--kill-on-exit"], dir.path(), script);
    assert_eq!(status, Some(4));
    assert!(took < Duration::from_secs(100), "{took:?}");
    let pids: String = ["a", "b", "c", "d", "e"].iter().map(|f| read(&dir.path().join(f))).collect();
    assert!(pids.lines().count() > 10, "{pids}");
    let left: Vec<&str> = pids.lines().filter(|pid| alive(pid)).collect();
    assert!(left.is_empty(), "alive when prun had ended: {left:?}");
}

#[test]
fn they_are_awaited_if_that_was_asked_for() {
    let dir = folder(Who::User);
    let script = "(setsid bash -c 'sleep 0.7; echo late > /shown/late; exit 9' &); exit 5";
    let (status, took) = leave(&["--wait"], dir.path(), script);
    assert_eq!(status, Some(5), "the command's status, not the last one's");
    assert!(took > Duration::from_millis(600), "{took:?}");
    assert_eq!(read(&dir.path().join("late")), "late\n");
    // Waiting, prun ends by a signal, and what it waits for with it.
    let prun = prun();
    let bind = format!("{}:/shown", dir.path().display());
    let script = "sleep 300.25 & echo $! > /shown/pid; exit 0";
    let mut child = command(Who::Me, &[&prun, "-b", &bind, "--wait", "bash", "-c", script])
        .stdout(Stdio::null())
        .spawn()
        .expect("it starts");
    let pid = dir.path().join("pid");
    assert!(within(60, || read(&pid).ends_with('\n')));
    std::thread::sleep(Duration::from_millis(300));
    assert!(child.try_wait().expect("ours").is_none(), "it waits");
    // `timeout` passes the signal on.
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(child.id() as i32), nix::sys::signal::SIGTERM)
        .expect("ours");
    assert!(within(60, || child.try_wait().expect("ours").is_some()));
    assert!(within(60, || !alive(&read(&pid))));
}

#[test]
fn prun_does_not_hang_on_any() {
    let dir = folder(Who::User);
    // Blocked in a fifo that nobody opens, stopped, a zombie's parent, a hundred of them, a shell's helpers.
    // None of them ends by itself within the time that the harness gives prun; each writes down one that is left.
    for script in [
        "mkfifo /shown/p; cat /shown/p & echo $! > /shown/pid; sleep 0.1; exit 0",
        // The kernel sends SIGHUP to a group with a stopped member that is left alone (`kill_orphaned_pgrp()`).
        "trap '' HUP; sleep 3000 & kill -STOP $!; echo $! > /shown/pid; (sleep 3000; kill -CONT $!) & exit 0",
        "python3 -c 'import os, time; os.fork() or os._exit(0); time.sleep(3000)' & echo $! > /shown/pid; exit 0",
        "for i in $(seq 100); do sleep 3000 & done; echo $! > /shown/pid; exit 0",
        "exec 3< <(sleep 3000); echo $! > /shown/pid; exit 0",
        "coproc sleep 3000; echo $! > /shown/pid; exit 0",
    ] {
        let (status, took) = leave(&[], dir.path(), script);
        assert_eq!(status, Some(0), "{script}: {took:?}");
        let pid = read(&dir.path().join("pid"));
        // With their tracer all of them die.
        let tracer = tracer(&pid);
        assert!(alive(&pid) && tracer != "0", "{script}: {pid} traced by {tracer}");
        good(Who::Me, &["kill", "-KILL", &tracer]);
        assert!(within(60, || !alive(&pid)), "{script}");
        std::fs::remove_file(dir.path().join("pid")).expect("written");
    }
}

/// The command gets what prun is sent; who ignores the first TERM is killed by the second.
#[test]
fn signals_and_the_second_term() {
    use nix::sys::signal::{Signal, kill};
    let start = |trap: &str| {
        let script = format!("trap '{trap}' INT TERM HUP QUIT; echo up; while :; do sleep 0.02; done");
        // Whoever started the tests in the background or by nohup(1) has had signals ignored, and a shell keeps to that.
        let mut child = std::process::Command::new("env")
            .args(["--default-signal=INT,QUIT,HUP,TERM", &prun(), "bash", "-c", &script])
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut out = BufReader::new(child.stdout.take().expect("piped")).lines();
        assert_eq!(out.next().expect("a line").expect("text"), "up");
        (child, out)
    };
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT] {
        let (mut child, _out) = start("exit 3");
        kill(nix::unistd::Pid::from_raw(child.id() as i32), signal).expect("ours");
        assert_eq!(child.wait().expect("ours").code(), Some(3), "{signal}");
    }
    let (mut child, mut out) = start("echo ignored");
    let pid = nix::unistd::Pid::from_raw(child.id() as i32);
    kill(pid, Signal::SIGTERM).expect("ours");
    // The second may be sent when the first has been handled: of one signal twice the kernel keeps one.
    assert_eq!(out.next().expect("a line").expect("text"), "ignored");
    assert!(child.try_wait().expect("ours").is_none(), "it ignored the first");
    kill(pid, Signal::SIGTERM).expect("ours");
    assert_eq!(child.wait().expect("ours").code(), Some(128 + 9));
}
