//! What is listed is what can be opened: as root and as an ordinary user.

use crate::harness::*;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

const BOTH: [Who; 2] = [Who::Me, Who::User];

fn snapshot() -> Vec<std::ffi::OsString> {
    let mut all: Vec<_> =
        std::fs::read_dir("/").expect("a root").map(|e| e.expect("an entry").file_name()).collect();
    all.sort();
    all
}

#[test]
fn nix_is_listed_once_by_everybody() {
    let before = snapshot();
    for who in BOTH {
        let store = folder(who);
        let bind = format!("{}:/nix", store.path().display());
        let count = |argv: &[&str]| {
            under(who, &[&["-b", bind.as_str()], argv].concat())
                .lines()
                .filter(|l| l.trim() == "nix" || l.trim() == "/nix")
                .count()
        };
        assert_eq!(count(&["ls", "/"]), 1);
        assert_eq!(count(&["find", "/", "-maxdepth", "1"]), 1);
        assert_eq!(count(&["sh", "-c", "for f in /n*; do echo $f; done"]), 1);
        let scan = "import os\nfor e in os.scandir('/'):\n  if e.name == 'nix': print('nix'); s = os.stat('/nix'); assert e.inode() == s.st_ino and e.is_dir()";
        assert_eq!(count(&["/usr/bin/python3", "-c", scan]), 1);
        for size in ["32", "280", "65536"] {
            let argv = ["-b", bind.as_str(), "--", &guest(), "listing", "/", size].map(str::to_owned);
            let prun = prun();
            let argv: Vec<&str> =
                std::iter::once(prun.as_str()).chain(argv.iter().map(String::as_str)).collect();
            let mut command = command(who, &argv);
            let output = command.env("STRICT", "nix").output().expect("it starts");
            // A buffer that holds one short name is too small for long ones: EINVAL, as natively.
            if size != "32" {
                assert!(output.status.success(), "{}", text(&output));
                assert!(text(&output).split_whitespace().any(|n| n == "nix"));
            }
        }
    }
    assert_eq!(before, snapshot(), "nothing is made on the host");
}

/// In tmpfs, where a directory's first entry is at position 0, as prun's own part is.
#[test]
fn a_buffer_that_is_too_small_changes_nothing() {
    let memory = tempfile::Builder::new().prefix("prun-work").tempdir_in("/dev/shm").expect("tmpfs");
    std::fs::write(memory.path().join("f"), "").expect("ours");
    let d = memory.path().display().to_string();
    let out = under(Who::Me, &["-b", &format!("/usr:{d}/nix"), &guest(), "listing", &d, "280"]);
    assert_eq!(out, ". .. f nix\n");
}

#[test]
fn placeholders_are_directories_of_their_own() {
    for who in BOTH {
        let store = folder(who);
        let s = store.path().display();
        let (b1, b2) = (format!("{s}:/pa/pb/pc"), format!("{s}:/qa/qb/qc"));
        let see = |argv: &[&str]| under(who, &[&["-b", b1.as_str(), "-b", b2.as_str()], argv].concat());
        assert_eq!(see(&["find", "/pa", "-maxdepth", "2"]), "/pa\n/pa/pb\n/pa/pb/pc\n");
        let inodes = see(&["stat", "-c", "%i", "/pa", "/pa/pb", "/qa", "/qa/qb"]);
        let mut all: Vec<&str> = inodes.lines().collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 4, "{inodes}");
        see(&[
            "sh",
            "-c",
            "! mkdir /pa/new 2>/dev/null && ! touch /pa/new 2>/dev/null && ! rmdir /pa/pb 2>/dev/null",
        ]);
        see(&[&guest(), "listing", "/pa", "64"]);
    }
}

#[test]
fn a_read_only_empty_root_will_do() {
    for who in BOTH {
        let root = folder(who);
        std::fs::set_permissions(root.path(), PermissionsExt::from_mode(0o555)).expect("ours");
        let r = root.path().display().to_string();
        let mut args = vec!["-r", &r];
        args.extend(bound(&system()));
        args.extend(["-b", "/proc", "ls", "/"]);
        assert_eq!(under(who, &args), listed(&["proc"]).join("\n") + "\n");
    }
}

#[test]
fn the_host_root_is_ordinary_and_bindings_hide() {
    let dir = folder(Who::User);
    std::fs::create_dir(dir.path().join("in")).expect("new");
    for argv in [&["-r", "/", "ls", "/etc/passwd"][..], &["-b", "/:/", "ls", "/etc/passwd"]] {
        assert_eq!(under(Who::User, argv), "/etc/passwd\n");
    }
    let d = dir.path().display();
    let b = format!("{d}/in:{d}");
    assert_eq!(under(Who::User, &["-b", &b, "ls", &d.to_string()]), "", "what is beneath is hidden");
    // The host gains an entry while the guest looks.
    let root = folder(Who::User);
    let (r, bind) = (root.path().display().to_string(), format!("{d}:/shown"));
    let script = format!("ls /; : > {r}-x; while ! [ -e /late ]; do sleep 0.05; done; ls /");
    let late = root.path().join("late");
    let waiter = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(500));
        std::fs::write(late, "").expect("ours");
    });
    let script = script.replace(&format!(": > {r}-x; "), "");
    let front = [vec!["-r", &r, "-b", &bind], bound(&system())].concat();
    let seen = under(Who::Me, &[&front[..], &["-w", "/", "sh", "-c", &script]].concat());
    waiter.join().expect("it wrote");
    assert!(seen.ends_with(&(listed(&["late", "shown"]).join("\n") + "\n")), "{seen}");
}

#[test]
fn nothing_is_left_after_sigkill() {
    let before = snapshot();
    let dir = folder(Who::Me);
    let bind = format!("{}:/ka/kb", dir.path().display());
    let mut child = std::process::Command::new(prun())
        .args(["-b", &bind, "sh", "-c", "echo $$; exec sleep 1000"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.take().expect("piped")), &mut line)
        .expect("a line");
    child.kill().expect("ours");
    child.wait().expect("ours");
    let gone = (0..1000).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(50));
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", line.trim())).unwrap_or_default();
        stat.rsplit(") ").next().is_none_or(|rest| rest.is_empty() || rest.starts_with(['Z', 'X']))
    });
    assert!(gone, "a tracee outlived the tracer");
    assert_eq!(before, snapshot());
}

#[test]
fn read_only_bindings_refuse_every_write() {
    let dir = folder(Who::User);
    std::fs::write(dir.path().join("f"), "data").expect("ours");
    give(&dir.path().join("f"), Who::User);
    let bind = format!("{}:/mnt:ro", dir.path().display());
    let script = "import os, errno\ndef ro(f, *a, **k):\n  try: f(*a, **k)\n  except OSError as e: assert e.errno == errno.EROFS, (f, e); return\n  raise SystemExit(str(f))\n\
        ro(os.mkdir, '/mnt/d'); ro(os.open, '/mnt/f', os.O_WRONLY); ro(os.open, '/mnt/n', os.O_CREAT | os.O_WRONLY); ro(os.unlink, '/mnt/f')\n\
        ro(os.chmod, '/mnt/f', 0o600); ro(os.utime, '/mnt/f'); ro(os.rename, '/mnt/f', '/mnt/g'); ro(os.symlink, 'x', '/mnt/l'); ro(os.truncate, '/mnt/f', 0)\n\
        fd = os.open('/mnt/f', os.O_RDONLY); ro(os.fchmod, fd, 0o600)\nassert open('/mnt/f').read() == 'data'; assert not os.access('/mnt/f', os.W_OK)";
    under(Who::User, &["-b", &bind, "/usr/bin/python3", "-c", script]);
    for script in ["! mv /mnt /tmp/x", "! rmdir /mnt", "! rm -rf /mnt 2>/dev/null; test -e /mnt/f"] {
        under(Who::User, &["-b", &bind, "sh", "-c", script]);
    }
}
