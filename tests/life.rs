//! How sessions begin and end, and job control.

use crate::harness::*;
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant};

#[test]
fn exit_statuses() {
    let prun = prun();
    let status = |argv: &[&str]| run(Who::User, &[&[prun.as_str()], argv].concat()).status.code();
    assert_eq!(status(&["sh", "-c", "exit 7"]), Some(7));
    for signal in [1, 6, 9, 15, 34, 40] {
        assert_eq!(status(&[&guest(), "kill", &signal.to_string()]), Some(128 + signal), "signal {signal}");
    }
    assert_eq!(status(&["/nonexistent"]), Some(127));
    assert_eq!(status(&["no-such-command"]), Some(127));
    assert_eq!(status(&["/etc/passwd"]), Some(126));
    assert_eq!(status(&["/tmp"]), Some(126));
    assert_eq!(status(&["-r", "/nonexistent", "true"]), Some(125));
}

#[test]
fn a_daemon_does_not_keep_the_session() {
    let start = Instant::now();
    assert_eq!(under(Who::User, &["sh", "-c", "sleep 20.5 >/dev/null 2>&1 & echo done"]), "done\n");
    assert!(start.elapsed() < Duration::from_secs(10));
}

#[test]
fn signals_reach_the_command() {
    let mut child = std::process::Command::new(prun())
        .args(["sh", "-c", "trap 'echo got; exit 3' TERM; echo up; while :; do sleep 0.05; done"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut out = BufReader::new(child.stdout.take().expect("piped"));
    let mut line = String::new();
    out.read_line(&mut line).expect("a line");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(child.id() as i32), nix::sys::signal::SIGTERM)
        .expect("ours");
    line.clear();
    out.read_line(&mut line).expect("a line");
    assert_eq!(line, "got\n");
    assert_eq!(child.wait().expect("ours").code(), Some(3));
}

/// Ctrl-Z and fg in an interactive shell that runs in prun, and prun stopped by the shell around it.
#[test]
fn job_control_in_a_terminal() {
    let script = format!(
        "set timeout 20\nset env(PS1) {{p> }}\nspawn {0} bash --norc -i\nexpect {{p> }}\nsend \"sleep 100\\r\"\nsleep 1\nsend \"\\032\"\n\
         expect {{Stopped}} {{}} timeout {{exit 2}}\nsend \"fg\\r\"\nsleep 1\nsend \"\\003\"\nexpect {{p> }} {{}} timeout {{exit 3}}\n\
         send \"exit 5\\r\"\nexpect eof\nlassign [wait] pid id err status\nif {{$status != 5}} {{exit 4}}\n\
         spawn bash --norc -i\nexpect {{p> }}\nsend \"{0} sleep 100\\r\"\nsleep 1\nsend \"\\032\"\nexpect {{Stopped}} {{}} timeout {{exit 6}}\n\
         send \"fg\\r\"\nsleep 1\nsend \"\\003\"\nexpect {{p> }} {{}} timeout {{exit 7}}\nexit 0\n",
        prun()
    );
    let dir = folder(Who::Me);
    let file = dir.path().join("x");
    std::fs::write(&file, script).expect("ours");
    good(Who::Me, &["expect", &file.display().to_string()]);
}

#[test]
fn exec_storms_and_stops_do_not_hang() {
    let script = "for i in $(seq 60); do (exec sh -c 'exec sh -c :') & done; wait; \
                  sleep 30 & p=$!; kill -STOP $p; kill -CONT $p; kill -STOP $p; kill -KILL $p; wait $p; echo $?";
    assert_eq!(under(Who::User, &["bash", "-c", script]), "137\n");
}
