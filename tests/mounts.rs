//! Bindings as mount points: what may be written through them, and what may not be done to them.

use crate::harness::*;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

/// What the guest program `writes` looks at.
fn prepare(dir: &Path) {
    let d = |name: &str| dir.join(name);
    std::fs::create_dir(d("d")).expect("ours");
    std::fs::create_dir(d("locked")).expect("ours");
    for file in ["f", "d/g", "locked/z"] {
        std::fs::write(d(file), "data").expect("ours");
    }
    symlink("f", d("lf")).expect("ours");
    symlink("d", d("ld")).expect("ours");
    symlink("nowhere", d("dang")).expect("ours");
    for (name, kind) in [("fifo", "p"), ("sock", "s")] {
        let path = d(name).display().to_string();
        if kind == "p" {
            good(Who::Me, &["mkfifo", &path]);
        } else {
            drop(std::os::unix::net::UnixListener::bind(&path).expect("ours"));
        }
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o666)).expect("ours");
    }
    let owner = if nix::unistd::geteuid().is_root() { "65534:65534" } else { "" };
    if !owner.is_empty() {
        good(Who::Me, &["chown", "-R", "-h", owner, &dir.display().to_string()]);
    }
    std::fs::set_permissions(d("locked"), PermissionsExt::from_mode(0o000)).expect("ours");
}

/// A listing of all that must not change.
fn state(dir: &Path) -> String {
    good(Who::Me, &["find", &dir.display().to_string(), "-printf", "%P %y %m %s %T@ %n %l\n"])
}

#[test]
fn a_read_only_binding_is_a_read_only_mount() {
    read_only(&guest());
}

/// The same of a 32-bit program.
#[test]
fn a_read_only_binding_is_one_for_32_bits() {
    read_only(&crate::narrow::suite());
}

fn read_only(guest: &str) {
    let (dir, out) = (folder(Who::User), folder(Who::User));
    prepare(dir.path());
    let (d, o) = (dir.path().display().to_string(), out.path().display().to_string());
    let before = state(dir.path());
    let run = |front: Vec<String>| {
        symlink("/mnt", out.path().join("in")).expect("ours");
        std::fs::write(out.path().join("file"), "").expect("ours");
        give(&out.path().join("file"), Who::User);
        let mut argv: Vec<&str> = front.iter().map(String::as_str).collect();
        argv.extend([guest, "writes", "/mnt", &o]);
        let text = good(Who::User, &argv);
        for entry in std::fs::read_dir(out.path()).expect("ours") {
            std::fs::remove_file(entry.expect("ours").path()).expect("ours");
        }
        (text, state(dir.path()))
    };
    let (native, after) = run(words(&format!("bwrap --dev-bind / / --ro-bind {d} /mnt")));
    assert_eq!(before, after);
    assert!(native.lines().count() > 5000, "{}", native.lines().count());
    for engine in ENGINES {
        let (ours, after) = run(words(&format!("env PRUN_ENGINE={engine} {} -b {d}:/mnt:ro", prun())));
        same(&native, &ours);
        assert_eq!(before, after, "nothing has changed");
    }
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

fn same(native: &str, ours: &str) {
    let wrong: Vec<String> = native
        .lines()
        .zip(ours.lines())
        // A call that this kernel does not have is none that prun must not have.
        .filter(|(a, b)| a != b && !a.ends_with(" -> -ENOSYS"))
        .map(|(a, b)| format!("native: {a}\n prun: {b}"))
        .collect();
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), native.lines().count(), wrong.join("\n"));
    assert_eq!(native.lines().count(), ours.lines().count());
}

#[test]
fn mount_points_are_busy() {
    busy(&guest());
}

/// The same of a 32-bit program.
#[test]
fn mount_points_are_busy_for_32_bits() {
    busy(&crate::narrow::suite());
}

fn busy(guest: &str) {
    let run = |front: &dyn Fn(&str, &str) -> String| {
        let (dir, shown) = (folder(Who::User), folder(Who::User));
        for path in [dir.path(), shown.path()] {
            for name in ["d", "empty", "p", "p/m", "m"] {
                std::fs::create_dir(path.join(name)).expect("ours");
            }
            for name in ["f", "fm", "d/x", "file"] {
                std::fs::write(path.join(name), name).expect("ours");
            }
            if nix::unistd::geteuid().is_root() {
                good(Who::Me, &["chown", "-R", "65534:65534", &path.display().to_string()]);
            }
        }
        let (d, s) = (dir.path().display().to_string(), shown.path().display().to_string());
        let argv = words(&front(&d, &s));
        let mut argv: Vec<&str> = argv.iter().map(String::as_str).collect();
        argv.extend([guest, "points", &d]);
        let out = good(Who::User, &argv);
        let left = good(Who::Me, &["find", &d, &s, "-printf", "%P %y\n"]);
        let mut left: Vec<&str> = left.lines().collect();
        left.sort_unstable();
        format!("{out}{}\n", left.join("\n"))
    };
    let bwrap = run(&|d, s| {
        format!("bwrap --dev-bind / / --bind {s} {d}/m --bind {s}/file {d}/fm --bind {s} {d}/p/m")
    });
    let ours = run(&|d, s| format!("{} -b {s}:{d}/m -b {s}/file:{d}/fm -b {s}:{d}/p/m", prun()));
    same(&bwrap, &ours);
}

/// What a binding shows may lie on several mounts of the host.
#[test]
fn nothing_is_renamed_to_another_mount_of_the_host() {
    let device = |path: &Path| path.metadata().map(|m| std::os::unix::fs::MetadataExt::dev(&m)).ok();
    if [device(&std::env::temp_dir()), None].contains(&device(Path::new("/dev/shm"))) {
        eprintln!("not run: /dev/shm is no mount of its own");
        return;
    }
    let shm = tempfile::Builder::new().prefix("prun-work").tempdir_in("/dev/shm").expect("a folder");
    let run = |front: &dyn Fn(&str, &str, &str) -> String| {
        let (dir, shown) = (folder(Who::User), folder(Who::User));
        for path in [dir.path(), shown.path(), shm.path()] {
            for name in ["d", "empty", "p", "p/m", "m", "ro"] {
                std::fs::create_dir(path.join(name)).expect("ours");
            }
            for name in ["f", "fm", "d/x", "file"] {
                std::fs::write(path.join(name), name).expect("ours");
            }
            if nix::unistd::geteuid().is_root() {
                good(Who::Me, &["chown", "-R", "65534:65534", &path.display().to_string()]);
            }
        }
        let [d, s, far] = [dir.path(), shown.path(), shm.path()].map(|p| p.display().to_string());
        let argv = words(&front(&d, &s, &far));
        let mut argv: Vec<&str> = argv.iter().map(String::as_str).collect();
        let guest = guest();
        argv.extend([guest.as_str(), "far", &d, &far]);
        let out = good(Who::User, &argv);
        let left = good(Who::Me, &["find", &d, &s, &far, "-printf", "%P %y\n"]);
        let mut left: Vec<&str> = left.lines().collect();
        left.sort_unstable();
        for entry in shm.path().read_dir().expect("ours") {
            let path = entry.expect("ours").path();
            let _ = std::fs::remove_file(&path).or_else(|_| std::fs::remove_dir_all(&path));
        }
        format!("{out}{}\n", left.join("\n"))
    };
    let bwrap = run(&|d, s, far| {
        format!(
            "bwrap --dev-bind / / --bind {s} {d}/m --bind {s}/file {d}/fm --bind {s} {d}/p/m --bind {s} {far}/m --ro-bind / {d}/ro"
        )
    });
    let ours = run(&|d, s, far| {
        format!("{} -b {s}:{d}/m -b {s}/file:{d}/fm -b {s}:{d}/p/m -b {s}:{far}/m -b /:{d}/ro:ro", prun())
    });
    assert!(bwrap.lines().count() > 1000, "{bwrap}");
    same(&bwrap, &ours);
}

#[test]
fn a_file_is_as_writable_as_the_path_it_was_opened_by() {
    let dir = folder(Who::User);
    std::fs::write(dir.path().join("f"), "data").expect("ours");
    give(&dir.path().join("f"), Who::User);
    let d = dir.path().display().to_string();
    // One file, shown twice: its own path can be written, /mnt cannot; and what dup and fork make of a descriptor.
    let script = "import os, errno, sys\n\
        def ro(f, *a, **k):\n  try: f(*a, **k)\n  except OSError as e: assert e.errno == errno.EROFS, (f, e); return\n  raise SystemExit('written: %s' % (a,))\n\
        own, mnt = (os.open(p + '/f', os.O_RDONLY) for p in (sys.argv[1], '/mnt'))\n\
        os.fchmod(own, 0o640); os.utime(own); os.chmod('/proc/self/fd/%d' % own, 0o644)\n\
        for fd in (mnt, os.dup(mnt)):\n  ro(os.fchmod, fd, 0o600); ro(os.utime, fd); ro(os.fchown, fd, -1, -1); ro(os.chmod, '/proc/self/fd/%d' % fd, 0o600); ro(os.open, '/dev/fd/%d' % fd, os.O_RDWR)\n\
        pid = os.fork()\n\
        if pid == 0: ro(os.fchmod, mnt, 0o600); os._exit(0)\n\
        assert os.waitpid(pid, 0)[1] == 0\n\
        os.chdir('/mnt'); rel = os.open('f', os.O_RDONLY); ro(os.fchmod, rel, 0o600)\n\
        top = os.open('/mnt', os.O_RDONLY | os.O_DIRECTORY); ro(os.mkdir, 'x', dir_fd=top); ro(os.fchmod, top, 0o700)\n\
        d = os.open(sys.argv[1], os.O_RDONLY); os.fchmod(d, 0o755); os.mkdir('x', dir_fd=d)";
    under(Who::User, &["-b", &format!("{d}:/mnt:ro"), "/usr/bin/python3", "-c", script, &d]);
    assert!(dir.path().join("x").is_dir());
}

#[test]
fn programs_that_move_and_remove_leave_the_hosts_files_alone() {
    let (dir, shown) = (folder(Who::User), folder(Who::User));
    for folder in ["m", "w"] {
        std::fs::create_dir(dir.path().join(folder)).expect("ours");
        give(&dir.path().join(folder), Who::User);
    }
    std::fs::write(shown.path().join("f"), "data").expect("ours");
    give(&shown.path().join("f"), Who::User);
    let (d, s) = (dir.path().display(), shown.path().display());
    let bind = format!("{s}:{d}/m");
    let script = format!(
        "cd {d}; mv m other 2>&1; mv -T w m 2>&1; rmdir m 2>&1; ln m/f w/f 2>&1; ls m; rm -rf m 2>&1; ls; ls m"
    );
    let out = under(Who::User, &["-b", &bind, "sh", "-c", &script]);
    let lines: Vec<&str> = out.lines().collect();
    assert!(lines[0].contains("busy"), "mv of a mount point: {out}");
    assert!(out.contains("failed to remove 'm': Device or resource busy"), "{out}");
    assert!(out.contains("Invalid cross-device link"), "{out}");
    // rm -rf empties what it may, as it does in a real mount, and the mount point stays, here and on the host.
    assert!(out.contains("cannot remove 'm': Device or resource busy"), "{out}");
    assert!(dir.path().join("m").is_dir() && shown.path().is_dir() && !dir.path().join("other").exists());
}

/// The host's path is shorter than the guest's.
/// A directory that is shown twice, with a binding below one of the two places.
#[test]
fn what_a_binding_hides_is_not_removed_by_way_of_another_name() {
    let dir = folder(Who::User);
    let at = dir.path().display().to_string();
    for name in ["a", "a/b", "x"] {
        std::fs::create_dir(dir.path().join(name)).expect("new");
    }
    std::fs::write(dir.path().join("a/b/kept"), "").expect("ours");
    good(Who::Me, &["chown", "-R", "--reference", &at, &at]);
    let script = format!("cd {at}; rm -rf a; rmdir a/b; ls a; ls a/b; ls -d /other/a");
    let options = [format!("{at}/x:{at}/a/b"), format!("{at}:/other")];
    let prun = prun();
    let output = run(Who::User, &[&prun, "-b", &options[0], "-b", &options[1], "sh", "-c", &script]);
    assert_eq!(text(&output), "b\n/other/a\n", "{}", String::from_utf8_lossy(&output.stderr));
    assert!(dir.path().join("a/b/kept").exists());
}

#[test]
fn openat2_through_a_binding_with_a_long_name() {
    for engine in ENGINES {
        let output = command(
            Who::User,
            &[
                &prun(),
                "-b",
                "/usr:/mnt/a/very/long/place/for",
                &guest(),
                "openat2",
                "/mnt/a/very/long/place/for/bin/env",
            ],
        )
        .env("PRUN_ENGINE", engine)
        .output()
        .expect("it starts");
        assert_eq!(text(&output), "0 ok\n1 -EXDEV\n2 ok\n4 ok\n", "{engine}");
    }
}

#[test]
fn the_root_is_no_entry() {
    // That comes before all that is wrong with the other name.
    let script = "import errno, os, sys
def show(f):
    try: f(); return 'ok'
    except OSError as e: return errno.errorcode[e.errno]
os.chdir(sys.argv[1]); open('a', 'w').close(); r, l = os.rename, os.link
calls = [(r, 'none', '/'), (r, 'a', '/'), (r, '/', 'x'), (r, '/', '//'), (r, 'a/', '/'), (r, 'none/a', '/'), (l, 'a', '/'), (l, 'none', '/'),
    (os.mkdir, '//'), (os.rmdir, '/'), (os.unlink, '/'), (os.symlink, 'x', '/'), (os.mkfifo, '/')]
print([show(lambda: f(*a)) for f, *a in calls])";
    let dir = folder(Who::User);
    let at = dir.path().display().to_string();
    let prun = prun();
    let native = good(Who::User, &["/usr/bin/python3", "-c", script, &at]);
    assert!(native.starts_with("['EBUSY', 'EBUSY'"), "{native}");
    let empty = folder(Who::User);
    let root = empty.path().display().to_string();
    let made_up = [bound(&system()), bound(&["/tmp"])].concat();
    for options in [vec![], vec!["-b", "/usr:/somewhere/else"], [vec!["-r", root.as_str()], made_up].concat()]
    {
        let seen = good(
            Who::User,
            &[&[prun.as_str()], &options[..], &["/usr/bin/python3", "-c", script, &at]].concat(),
        );
        assert_eq!(seen, native, "{options:?}");
    }
}
