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
    assert_eq!(under(Who::User, &["sh", "-c", "sleep 60.5 >/dev/null 2>&1 & echo done"]), "done\n");
    assert!(start.elapsed() < Duration::from_secs(50));
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

/// Plays a script of expect(1), in which `PRUN` is prun; `want WORDS STATUS` waits for words of the terminal, and ends with
/// this status if they do not come.
fn play(script: &str) {
    const FRONT: &str = "set timeout 100\nset env(PS1) {p> }\n\
        proc want {words status} { expect $words {} timeout {exit $status} eof {exit [expr $status + 100]} }\n";
    let dir = folder(Who::Me);
    let file = dir.path().join("x");
    std::fs::write(&file, format!("{FRONT}{}", script.replace("PRUN", &prun()))).expect("ours");
    good(Who::Me, &["expect", &file.display().to_string()]);
}

/// Ctrl-Z and fg in an interactive shell that runs in prun, and prun stopped by the shell around it. What is continued says
/// so: before that the terminal may be the shell's still, and Ctrl-C meant for that. It is bash, since dash makes its children
/// by vfork(2), and is not stopped itself when Ctrl-Z comes before the child has executed: natively, too.
#[test]
fn job_control_in_a_terminal() {
    const JOB: &str =
        r#"bash -c 'trap "echo on\$((1+1))" CONT; echo up\$((1+1)); while :; do sleep 0.1; done'"#;
    let job = JOB.replace('"', "\\\"");
    play(&format!(
        r#"spawn PRUN bash --norc -i
want {{p> }} 1
send "{job}\r"
want up2 2
send "\032"
want Stopped 3
want {{p> }} 4
send "fg\r"
want on2 5
send "\003"
want {{p> }} 6
send "exit 5\r"
expect eof
lassign [wait] pid id err status
if {{$status != 5}} {{exit 7}}
spawn bash --norc -i
want {{p> }} 8
send "PRUN {job}\r"
want up2 9
send "\032"
want Stopped 10
want {{p> }} 11
send "fg\r"
want on2 12
send "\003"
want {{p> }} 13
exit 0
"#
    ));
}

/// Ctrl-C ends a loop of the shell around prun, as it does with any command; unless the command makes something of it.
#[test]
fn an_interrupted_command_ends_the_loop_around_it() {
    play(
        r#"spawn bash --norc -i
want {p> } 1
send "for i in 1 2 3; do PRUN sh -c 'echo go\$((i+1)); exec sleep 200'; echo more; done\r"
want go1 2
send "\003"
expect {p> } {} more {exit 3} timeout {exit 4}
send "echo status \$?\r"
want {status 130} 5
want {p> } 6
send "for i in 1 2; do PRUN sh -c 'trap \"exit 7\" INT; echo go\$((i+1)); while :; do sleep 0.1; done'; echo had \$?; done\r"
want go1 7
send "\003"
want {had 7} 8
want go1 9
send "\003"
want {had 7} 10
exit 0
"#,
    );
}

#[test]
fn exec_storms_and_stops_do_not_hang() {
    let script = "for i in $(seq 60); do (exec sh -c 'exec sh -c :') & done; wait; \
                  sleep 30 & p=$!; kill -STOP $p; kill -CONT $p; kill -STOP $p; kill -KILL $p; wait $p; echo $?";
    assert_eq!(under(Who::User, &["bash", "-c", script]), "137\n");
}
