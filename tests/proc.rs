//! What /proc tells a guest, and what a guest may do to processes that are not its own.

use crate::harness::*;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::FileExt;
use std::process::Stdio;

fn sh(args: &[&str], script: &str) -> String {
    under(Who::User, &[args, &["sh", "-c", script]].concat())
}

#[test]
fn maps_name_what_the_guest_can_open() {
    let dir = folder(Who::User);
    let at = dir.path().display();
    copy_program("/bin/cat", dir.path().join("my cat"));
    let binding = format!("{at}:/opt/shown");
    for file in ["self/maps", "self/smaps", "thread-self/maps"] {
        let text = sh(&["-b", &binding], &format!("'/opt/shown/my cat' /proc/{file}"));
        assert!(text.contains("/opt/shown/my cat\n"), "{text}");
        assert!(!text.contains(&at.to_string()), "{text}");
        // Lines end and begin as the kernel's do.
        let native = good(Who::User, &["cat", "/proc/self/maps"]);
        let columns = |text: &str| {
            let line = text
                .lines()
                .find(|l| l.contains(" r-xp ") && l.contains("/libc"))
                .unwrap_or_default()
                .to_owned();
            line.find("/usr").or_else(|| line.find("/lib"))
        };
        assert_eq!(columns(&text), columns(&native), "{text}\n{native}");
    }
}

#[test]
fn mounts_are_the_guest_s() {
    let dir = folder(Who::User);
    let at = dir.path().display().to_string();
    let args = ["-b", &format!("{at}:/opt/a b"), "-b", &format!("{at}:/opt/ro:ro")];
    for (file, line) in [
        ("mountinfo", " / /opt/a\\040b rw"),
        ("mounts", " /opt/a\\040b "),
        ("mountstats", " mounted on /opt/a\\040b with fstype "),
    ] {
        let text = sh(&args, &format!("cat /proc/self/{file}"));
        assert!(text.contains(line) && !text.contains(&at), "{file}: {text}");
        // Whatever the host has mounted is there as well, and no number is given twice.
        assert!(text.lines().count() >= good(Who::User, &["cat", "/proc/self/mounts"]).lines().count());
    }
    let info = sh(&args, "cat /proc/self/mountinfo");
    let mut ids: Vec<&str> = info.lines().filter_map(|l| l.split(' ').next()).collect();
    let all = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), all, "{info}");
    assert!(sh(&args, "grep ' /opt/ro ' /proc/mounts").contains(" ro,"));
    // Programs that read it find the guest's paths.
    assert!(sh(&args, "df --output=target '/opt/a b' | tail -1").contains("/opt/a b"));
    assert!(sh(&args, "findmnt -n -o TARGET -T '/opt/a b'").contains("/opt/a b"));
}

#[test]
fn a_file_of_proc_can_be_read_in_pieces() {
    let dir = folder(Who::User);
    let binding = format!("{}:/opt/shown", dir.path().display());
    copy_program("/bin/dd", dir.path().join("dd"));
    let whole = sh(&["-b", &binding], "exec 3</proc/self/maps; /opt/shown/dd bs=7 <&3 2>/dev/null");
    assert!(whole.contains("/proc") || whole.lines().count() > 5, "{whole}");
    let twice = sh(
        &["-b", &binding],
        "/opt/shown/dd if=/proc/self/mounts bs=1M of=/dev/null 2>&1 | tail -1; exec 3</proc/self/mountinfo; \
         head -c 100 <&3 >/dev/null; cat /proc/self/fd/3 | head -1 | wc -l",
    );
    assert!(twice.ends_with("1\n"), "{twice}");
}

#[test]
fn the_tracer_is_not_there() {
    let script = "p=$PPID; ls /proc/$p 2>&1; cat /proc/$p/environ 2>&1; cd /proc && cat $p/maps 2>&1; \
        grep TracerPid /proc/self/status; kill -KILL $p 2>&1; kill -STOP $p 2>&1; echo alive";
    let said = sh(&[], script);
    assert!(said.ends_with("alive\n") && said.contains("TracerPid:\t0\n"), "{said}");
    assert_eq!(said.matches("No such file or directory").count(), 3, "{said}");
    assert_eq!(said.matches("not permitted").count(), 2, "{said}");
}

#[test]
fn a_signal_to_the_front_reaches_the_command() {
    let script = "trap 'echo got it; exit 5' TERM; kill -TERM $PPID; while :; do sleep 0.05; done";
    let output = run(Who::User, &[&prun(), "sh", "-c", script]);
    assert_eq!((text(&output).as_str(), output.status.code()), ("got it\n", Some(5)));
}

/// In a name space of its own, where everybody is the session and who started it.
#[test]
fn a_signal_to_everybody_means_the_session() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let script = "sleep 200 & sleep 200 & kill -9 -1; wait; kill -0 $PPID 2>&1; echo alive; \
        for i in $(jobs -p); do kill -0 $i; done 2>&1";
    let inner =
        format!("{} sh -c '{script}' & sleep 100 & s=$!; wait %1; kill $s && echo and so is this", prun());
    let output = run(
        Who::Me,
        &[
            "unshare",
            "-pf",
            "--mount-proc",
            "setpriv",
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            "bash",
            "-c",
            &inner,
        ],
    );
    let said = text(&output);
    assert!(said.contains("alive\n") && said.ends_with("and so is this\n"), "{said} {output:?}");
}

#[test]
fn nobody_else_can_write_to_the_shared_memory() {
    let mut child = command(Who::Me, &[&prun(), "sh", "-c", "echo up; read line"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("a line");
    let mut found = 0;
    for task in descendants(child.id()) {
        for fd in std::fs::read_dir(format!("/proc/{task}/fd")).into_iter().flatten().flatten() {
            let memory =
                std::fs::read_link(fd.path()).is_ok_and(|to| to.starts_with("/memfd:prun (deleted)"));
            // Files with a text are no larger than that.
            let large = std::fs::metadata(fd.path()).is_ok_and(|m| m.len() > 1 << 20);
            if !memory || !large {
                continue;
            }
            found += 1;
            let file =
                std::fs::File::options().read(true).write(true).open(fd.path()).expect("root and owner may");
            let error = file.write_at(b"x", 0x10_0000).expect_err("sealed");
            assert_eq!(error.raw_os_error(), Some(1), "{error}");
        }
    }
    assert!(found > 0, "the tracer has it open");
    drop(child.stdin.take().expect("piped").write_all(b"\n"));
    assert!(child.wait().expect("it ends").success());
}

fn descendants(pid: u32) -> Vec<u32> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let own: Vec<u32> = text.split_whitespace().filter_map(|w| w.parse().ok()).collect();
    own.iter().flat_map(|&child| [vec![child], descendants(child)].concat()).collect()
}

#[test]
fn the_loader_leaves_no_secret() {
    // A static program of a few instructions, which uses no stack: it writes what is below its stack pointer.
    let dir = folder(Who::User);
    let source = dir.path().join("s.s");
    std::fs::write(&source, prun_arch::harness::BELOW_THE_STACK).expect("ours");
    let program = dir.path().join("s").display().to_string();
    good(Who::Me, &["gcc", "-nostdlib", "-static", "-o", &program, &source.display().to_string()]);
    let output = run(Who::User, &[&prun(), &program]);
    assert!(output.status.success() && output.stdout.len() == 8192);
    let left: Vec<usize> = (0..8192).filter(|&i| output.stdout[i] != 0).collect();
    // The guest's own open call may be at the stack pointer; the loader's script was 256 bytes below it.
    assert!(
        left.iter().all(|&i| i >= 8192 - 256),
        "{} bytes are left, the first at {:?}",
        left.len(),
        left.first()
    );
}
