//! Every option and variable that PRoot's users and front-ends rely on.

use crate::harness::*;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

/// A root with busybox in it, and nothing else but `/etc/passwd` and a link `/l` to `/real`.
fn little_root() -> tempfile::TempDir {
    let root = folder(Who::User);
    let r = root.path();
    for dir in ["bin", "etc", "real", "home"] {
        std::fs::create_dir(r.join(dir)).expect("ours");
    }
    copy_program("/bin/busybox", r.join("bin/busybox"));
    for applet in ["sh", "ls", "cat", "pwd", "readlink", "true"] {
        symlink("busybox", r.join("bin").join(applet)).expect("ours");
    }
    std::fs::write(r.join("etc/passwd"), "little:x:0:0::/:/bin/sh\n").expect("ours");
    symlink("/real", r.join("l")).expect("ours");
    root
}

fn path(dir: &Path) -> String {
    dir.display().to_string()
}

/// Standard output and error of `argv` under prun as an ordinary user with these variables.
fn with(envs: &[(&str, &str)], argv: &[&str]) -> (Option<i32>, String, String) {
    let prun = prun();
    let mut command = command(Who::User, &[&[prun.as_str()], argv].concat());
    let output = command.envs(envs.iter().copied()).output().expect("it starts");
    (output.status.code(), text(&output), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn a_root_with_the_hosts_set_up() {
    let root = little_root();
    let r = path(root.path());
    let host_passwd = std::fs::read_to_string("/etc/passwd").expect("there");
    assert_eq!(under(Who::User, &["-R", &r, "/bin/cat", "/etc/passwd"]), host_passwd);
    assert_eq!(
        under(Who::User, &["-r", &r, "-w", "/", "/bin/cat", "/etc/passwd"]),
        "little:x:0:0::/:/bin/sh\n"
    );
    assert_eq!(
        under(Who::User, &["-S", &r, "-w", "/", "/bin/cat", "/etc/passwd"]),
        "little:x:0:0::/:/bin/sh\n",
        "-S leaves the users alone"
    );
    // Both show the devices, /proc, and the root at its own path; a binding of the user's wins over the set's.
    for set in ["-R", "-S"] {
        let script = format!("cat {r}/etc/passwd && test -c /dev/null && test -d /proc/self && ls -d /tmp");
        let out = under(Who::User, &[set, &r, "-w", "/", "/bin/sh", "-c", &script]);
        assert_eq!(out, "little:x:0:0::/:/bin/sh\n/tmp\n", "{set}");
        let bind = format!("{r}/etc/passwd:/etc/hosts");
        let out = under(Who::User, &["-b", &bind, set, &r, "-w", "/", "/bin/cat", "/etc/hosts"]);
        assert_eq!(out, "little:x:0:0::/:/bin/sh\n", "{set}");
    }
    // The home directory of who starts it.
    let (_, out, _) = with(&[("HOME", "/usr/share/doc")], &["-R", &r, "/bin/ls", "/usr/share"]);
    assert_eq!(out, "doc\n");
    let (_, out, _) = with(&[("HOME", "/")], &["-R", &r, "-w", "/", "/bin/ls", "/real"]);
    assert_eq!(out, "", "a home that is the root does not take the place of the guest's");
    assert_eq!(std::fs::read_dir(root.path()).expect("ours").count(), 5, "nothing is made in the root");
}

#[test]
fn a_binding_follows_a_link_unless_told_not_to() {
    let root = little_root();
    let shown = folder(Who::User);
    std::fs::write(shown.path().join("f"), "").expect("ours");
    let (r, s) = (path(root.path()), path(shown.path()));
    let see = |bind: &str| {
        let script = "ls /real /l/; readlink /l || echo none";
        under(Who::User, &["-r", &r, "-b", bind, "-w", "/", "/bin/sh", "-c", script])
    };
    assert_eq!(see(&format!("{s}:/l")), "/l/:\nf\n\n/real:\nf\n/real\n");
    assert_eq!(see(&format!("{s}:/l!")), "/l/:\nf\n\n/real:\nnone\n");
    assert_eq!(see(&format!("{s}:/l!:rw")), "/l/:\nf\n\n/real:\nnone\n");
    let (_, _, error) =
        with(&[], &["-r", &r, "-b", &format!("{s}:/l!:ro"), "-w", "/", "/bin/sh", "-c", ": > /l/new"]);
    assert!(error.contains("Read-only file system"), "{error}");
}

#[test]
fn of_two_bindings_the_last_wins_and_what_is_missing_is_left_out() {
    let out =
        under(Who::User, &["-m", "/usr:/x", "--mount=/etc:/x", "sh", "-c", "test -f /x/passwd && echo etc"]);
    assert_eq!(out, "etc\n");
    let (status, out, error) = with(&[], &["--bind=/no/such:/x", "echo", "hi"]);
    assert_eq!((status, out.as_str()), (Some(0), "hi\n"));
    assert!(error.contains("/no/such") && error.contains("left out"), "{error}");
    for name in ["PROOT_IGNORE_MISSING_BINDINGS", "PRUN_IGNORE_MISSING_BINDINGS"] {
        assert_eq!(
            with(&[(name, "1")], &["-b", "/no/such", "true"]),
            (Some(0), String::new(), String::new())
        );
    }
    assert_eq!(with(&[], &["-v", "-1", "-b", "/no/such", "true"]), (Some(0), String::new(), String::new()));
    // As a shell leaves them.
    let (_, out, _) = with(
        &[("HOME", "/usr/share")],
        &["--bind=~/doc:/x", "-b", "$HOME/zoneinfo:/y", "ls", "-d", "/x", "/y"],
    );
    assert_eq!(out, "/x\n/y\n");
}

#[test]
fn the_directory_to_start_in() {
    let dir = folder(Who::User);
    std::fs::create_dir(dir.path().join("sub")).expect("ours");
    let bind = format!("{}:/x", path(dir.path()));
    let start = |options: &[&str]| {
        let front = ["sh", "-c", "cd \"$1\" && shift && exec \"$@\"", "-", &path(dir.path()), &prun()]
            .map(str::to_owned);
        let mut all: Vec<&str> = front.iter().map(String::as_str).collect();
        all.extend(options);
        all.extend(["sh", "-c", "echo $PWD; env | grep ^PWD=; pwd -P"]);
        good(Who::User, &all)
    };
    let three = |p: &str| format!("{p}\nPWD={p}\n{p}\n");
    assert_eq!(start(&[]), three(&path(dir.path())));
    assert_eq!(start(&["-b", &bind]), three(&path(dir.path())), "the path it was entered by");
    assert_eq!(start(&["-b", &bind, "-w", "/x"]), three("/x"));
    assert_eq!(start(&["-w", "."]), three(&path(dir.path())));
    assert_eq!(start(&["--pwd=sub"]), three(&path(&dir.path().join("sub"))));
    assert_eq!(start(&["--cwd", "/usr/../usr/bin"]), three("/usr/bin"));
    // Not shown: the root, and PWD says so.
    let root = little_root();
    let (_, out, _) =
        with(&[("PWD", "/nowhere")], &["-r", &path(root.path()), "/bin/sh", "-c", "echo $PWD; pwd"]);
    assert_eq!(out, "/\n/\n");
}

#[test]
fn the_default_command_is_the_users_shell_or_sh() {
    let root = little_root();
    let r = path(root.path());
    let feed = |shell: &str| {
        let script = format!("echo 'echo $0' | SHELL={shell} {} -r {r} -w /", prun());
        good(Who::User, &["sh", "-c", &script])
    };
    assert_eq!(feed("/bin/sh"), "/bin/sh\n");
    assert_eq!(feed("/bin/no-such-shell"), "/bin/sh\n");
}

#[test]
fn the_kernels_name() {
    let name = |k: &str, format: &str| under(Who::User, &["-k", k, "uname", format]);
    assert_eq!(name("4.4.0-fake", "-r"), "4.4.0-fake\n");
    assert_eq!(name("4.4.0-fake", "-m"), good(Who::User, &["uname", "-m"]), "the rest is the kernel's");
    let full = r"\Sys\node\1.2.3\#4 version\machine\domain\0x5\";
    assert_eq!(name(full, "-snrvm"), "Sys node 1.2.3 #4 version machine\n");
    let show = ["--kernel-release", full, "env", "LD_SHOW_AUXV=1", "true"];
    assert!(under(Who::User, &show).lines().any(|l| l.starts_with("AT_HWCAP:") && l.ends_with(" 5")));
    let kept = name(r"\\\1.2.3\\\\", "-rs");
    assert_eq!(kept, format!("{} 1.2.3\n", good(Who::User, &["uname", "-s"]).trim()));
    let (status, out, error) = with(&[], &["-k", &"9".repeat(65), "uname", "-r"]);
    assert_eq!((status, out.trim().len()), (Some(0), 64));
    assert!(error.contains("64 bytes"), "{error}");
    // The files that say the same; they cannot be written, and stat is the kernel's.
    let files = "cd /proc/sys/kernel; cat $PWD/osrelease $PWD/hostname $PWD/version /proc/version; echo x 2>/dev/null > $PWD/osrelease || echo no; stat -c %F osrelease";
    let out = under(Who::User, &["-k", full, "sh", "-c", files]);
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines[..3], ["1.2.3", "node", "#4 version"]);
    assert!(lines[3].starts_with("Sys version 1.2.3 (") && lines[3].ends_with(") #4 version"), "{out}");
    assert_eq!(lines[4..], ["no", "regular empty file"]);
    // From an open directory, time and again, by whatever way it is asked for.
    let beside = r#"
import os
d = os.open('/proc/sys/kernel', os.O_RDONLY); p = os.open('/proc', os.O_RDONLY); os.chdir('/proc/sys')
def read(path, flags=0, **at):
    fd = os.open(path, os.O_RDONLY | flags, **at); text = os.read(fd, 100).decode().strip(); os.close(fd); return text
for i in range(40):
    seen = read('osrelease', dir_fd=d), read('hostname', os.O_NOFOLLOW, dir_fd=d), read('sys/kernel/version', dir_fd=p), read('kernel/osrelease'), read('/proc/sys/kernel/osrelease', os.O_NOFOLLOW), read('version', dir_fd=p)[:17]
    assert seen == ('1.2.3', 'node', '#4 version', '1.2.3', '1.2.3', 'Sys version 1.2.3'), (i, seen)
print('same', os.stat('osrelease', dir_fd=d).st_size)
"#;
    assert_eq!(under(Who::User, &["-k", full, "/usr/bin/python3", "-c", beside]), "same 0\n");
    // A thread that has nowhere to put it gets the kernel's error.
    let script = "import ctypes; l = ctypes.CDLL(None, use_errno=True); print(l.uname(ctypes.c_void_p(8)), ctypes.get_errno())";
    assert_eq!(under(Who::User, &["-k", "1.2.3", "/usr/bin/python3", "-c", script]), "-1 14\n");
}

#[test]
fn options_that_do_nothing_here_are_accepted_and_say_so() {
    let front_end =
        ["--sysvipc", "-L", "-H", "--kill-on-exit", "--mixed-mode", "true", "-P", "file", "echo", "hi"];
    let (status, out, error) = with(&[], &front_end);
    assert_eq!((status, out.as_str()), (Some(0), "hi\n"));
    assert_eq!(error.lines().count(), 2, "{error}");
    assert!(error.contains("--mixed-mode") && error.contains("-P"), "{error}");
    let (_, _, error) = with(&[], &[&["-v", "1"], &front_end[..]].concat());
    for name in ["--sysvipc", "-H", "-L"] {
        assert!(error.contains(name), "{name}: {error}");
    }
}

/// A host that refuses hard links: `fs.protected_hardlinks`, for files of another user in one's own folder.
#[test]
fn links_where_the_host_makes_none() {
    if !nix::unistd::geteuid().is_root()
        || std::fs::read_to_string("/proc/sys/fs/protected_hardlinks").is_ok_and(|v| v.trim() == "0")
    {
        return;
    }
    let dir = folder(Who::User);
    let files = |names: &[&str]| {
        for name in names {
            std::fs::write(dir.path().join(name), format!("text of {name}\n")).expect("ours");
        }
    };
    files(&["a", "z"]);
    let at = path(dir.path());
    let call = |options: &[&str], script: &str| {
        let prun = prun();
        let argv = [&[prun.as_str()], options, &["-w", &at, "bash", "-c", script]].concat();
        let output = run(Who::User, &argv);
        text(&output) + &String::from_utf8_lossy(&output.stderr)
    };
    assert!(call(&[], "ln a b").contains("not permitted"));
    // Where the host makes them, they are what they were.
    assert_eq!(
        call(&["-l"], "echo x >own; ln own two; stat -c '%F %h' two; rm own two; ls"),
        "regular file 2\na\nz\n"
    );
    for engine in ENGINES {
        files(&["a"]);
        let script = "mkdir d; ln a b; ln b d/c; ln d/c d/e; cat a b d/c d/e; [ a -ef d/c ] && [ b -ef d/e ] && echo one
            stat -c '%F %n %h' a b; python3 -c 'import os; print(os.fstat(os.open(\"b\", 0)).st_nlink)'
            printf 'open\\0003\\0000\\0000\\000d/c\\000' | $GUEST script $PWD | grep -o ' 100644 [0-9]* [0-9]*'; readlink a || echo no link; rm a; cat b; mv b f; cat f; mv f d/g; cat d/g
            python3 -c 'import os; fd = os.open(\"d/g\", os.O_RDONLY | os.O_NOFOLLOW); print(os.read(fd, 4))'
            rm d/c; ln -f z d/g; cat d/g d/e z; mv d/e d/h; rm d/h; cat d/g; cp -a z y; ln -T z d/w; mv -f d/w d/v; rm d/v; cat z d/g; tar c z d/g | tar tv | cut -c1
            ln z d/g || echo there; ln d e 2>/dev/null || echo not a directory; rm d/g z y; ls -A . d; rmdir d";
        let output = command(Who::User, &[&prun(), "-l", "-w", &at, "bash", "-c", script])
            .env("PRUN_ENGINE", engine)
            .env("GUEST", guest())
            .output();
        let output = output.expect("it starts");
        let text = text(&output) + &String::from_utf8_lossy(&output.stderr);
        let a = "text of a\n";
        let z = "text of z\n";
        let expected = [
            a,
            a,
            a,
            a,
            "one\nregular file a 4\nregular file b 4\n4\n 100644 10 4\nno link\n",
            a,
            a,
            a,
            "b'text'\n",
            z,
            a,
            z,
            z,
            z,
            z,
            "-\nh\n",
            "there\nnot a directory\n.:\nd\n\nd:\nln: failed to create hard link 'd/g': File exists\n",
        ];
        assert_eq!(text, expected.concat(), "{engine}");
        files(&["z"]);
    }
    // A fake root's files are its own, and it sees one file all the same.
    files(&["a"]);
    let seen = call(
        &["-l", "-0"],
        "chown 0 a 2>/dev/null; ln a b; stat -c '%F %h' b; stat -c %h - <b; rm a; cat b; rm b; ls -A",
    );
    assert_eq!(seen, "regular file 2\n2\ntext of a\nz\n");
}

#[test]
fn variables() {
    // A front-end exports this for PRoot's sake; nothing changes and nothing is said, but for -v.
    assert_eq!(with(&[("PROOT_NO_SECCOMP", "1")], &["true"]), (Some(0), String::new(), String::new()));
    for (name, word) in [
        ("PROOT_NO_SECCOMP", "accelerator"),
        ("PRUN_NO_SECCOMP", "accelerator"),
        ("PROOT_TMP_DIR", "no file"),
        ("PROOT_LOADER", "loader"),
        ("PROOT_LOADER_32", "loader"),
        ("PROOT_FORCE_KOMPAT", "-k"),
        ("PROOT_DONT_POLLUTE_ROOTFS", "nothing is ever made"),
        ("PROOT_NO_MOUNTINFO", "mountinfo"),
    ] {
        let (status, _, error) = with(&[(name, "1")], &["-v", "1", "true"]);
        assert_eq!(status, Some(0));
        assert!(error.lines().any(|l| l.contains(word)), "{name}: {error}");
        // The same through the variable for the level; the twin wins.
        let (_, _, error) = with(&[(name, "1"), ("PROOT_VERBOSE", "1")], &["true"]);
        assert!(error.contains(word), "{name}: {error}");
        let (_, _, error) = with(&[(name, "1"), ("PROOT_VERBOSE", "1"), ("PRUN_VERBOSE", "0")], &["true"]);
        assert_eq!(error, "", "{name}");
    }
}

#[test]
fn under_the_name_proot() {
    let dir = folder(Who::User);
    let proot = dir.path().join("proot");
    copy_program(prun(), &proot);
    std::fs::set_permissions(&proot, PermissionsExt::from_mode(0o755)).expect("ours");
    let proot = path(&proot);
    let call = |argv: &[&str]| {
        let output = run(Who::User, &[&[proot.as_str()], argv].concat());
        (output.status.code(), text(&output), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    // Its own failures are 1, whichever they are; a command's status is the command's.
    for argv in [
        &["--no-such"][..],
        &["-r", "/no/such", "true"],
        &["/no/such"],
        &["no-such-command"],
        &["/etc/passwd"],
    ] {
        let (status, _, error) = call(argv);
        assert_eq!(status, Some(1), "{argv:?}: {error}");
    }
    assert!(call(&["/no/such"]).2.starts_with("proot: "));
    // What nix-portable exports does not make it slow.
    let argv = ["env", "PROOT_NO_SECCOMP=1", proot.as_str(), "-v", "1", "true"];
    let error = String::from_utf8_lossy(&run(Who::User, &argv).stderr).into_owned();
    let fast = error.contains("the engine is one-stop") && error.contains("PRUN_ENGINE=plain");
    assert!(fast, "{error}");
    for status in [0, 7, 125, 126, 127] {
        assert_eq!(call(&["sh", "-c", &format!("exit {status}")]).0, Some(status));
    }
    assert_eq!(call(&["-v", "0", "-r", "/", "-b", "/usr:/x", "-w", "/x", "pwd"]).1, "/x\n");
    for option in ["-h", "--help", "--usage", "-V", "--version", "--about"] {
        let (status, out, _) = call(&[option]);
        assert_eq!(status, Some(0), "{option}");
        assert!(out.contains("proot"), "{option}: {out}");
    }
    // What front-ends look for.
    let help = call(&["--help"]).1;
    for option in [
        "--rootfs",
        "--bind",
        "--mount",
        "--qemu",
        "--pwd",
        "--cwd",
        "--verbose",
        "--version",
        "--help",
        "--kernel-release",
        "--root-id",
        "--change-id",
        "--kill-on-exit",
        "--link2symlink",
        "--sysvipc",
        "--port",
        "--netcoop",
        "--mixed-mode",
    ] {
        assert!(help.contains(option), "{option}");
    }
}

#[test]
fn an_unknown_option_names_the_nearest() {
    for (typed, meant) in [
        ("--bnid", "--bind"),
        ("--kill-on-exti", "--kill-on-exit"),
        ("--mout=/x", "--mount"),
        ("--root-di", "--root-id"),
    ] {
        let (status, _, error) = with(&[], &[typed, "true"]);
        assert_eq!(status, Some(125));
        assert!(error.contains(meant), "{typed}: {error}");
    }
}

#[test]
fn help_fits_eighty_columns() {
    for option in ["-h", "--help"] {
        let (_, out, _) = with(&[("COLUMNS", "80")], &[option]);
        assert!(out.lines().all(|l| l.chars().count() <= 80), "{out}");
        assert!(out.contains("The guest's files:") && out.contains("The session:"));
    }
}

/// The calls that other front-ends make, word for word but for the folders.
#[test]
fn calls_of_front_ends() {
    let root = little_root();
    let r = path(root.path());
    symlink("busybox", root.path().join("bin/env")).expect("ours");
    symlink("busybox", root.path().join("bin/uname")).expect("ours");
    let see = "/bin/uname -srm; ls -d /dev/random /dev/fd; pwd";
    // udocker, with the space that it leaves behind the ports.
    let udocker = [
        "-v",
        "0",
        "--kill-on-exit",
        "-b",
        "/usr:/host-usr",
        "-i",
        "65534:65534",
        "-k",
        "6.1.0",
        "-p",
        "1017:3017 ",
        "-n",
        "-b",
        "/dev:/dev",
        "-b",
        "/proc:/proc",
        "-r",
        &r,
        "-w",
        "/home",
        "/bin/sh",
        "-c",
        see,
    ];
    let machine = good(Who::User, &["uname", "-m"]);
    assert_eq!(under(Who::User, &udocker), format!("Linux 6.1.0 {machine}/dev/fd\n/dev/random\n/home\n"));
    // proot-distro, with a kernel that has its own name, and the descriptors of the terminal.
    let (rootfs, cwd) = (format!("--rootfs={r}"), "--cwd=/home");
    let release = r"--kernel-release=\Linux\localhost\6.17.0-PRoot-Distro\#1 SMP PREEMPT_DYNAMIC Fri, 10 Oct 2025 00:00:00 +0000\aarch64\localdomain\-1\";
    let distro = [
        "--link2symlink",
        "--sysvipc",
        release,
        "-L",
        "--change-id=65534:65534",
        &rootfs,
        cwd,
        "--bind=/dev",
        "--bind=/dev/urandom:/dev/random",
        "--bind=/proc",
        "--bind=/proc/self/fd:/dev/fd",
        "--bind=/proc/self/fd/0:/dev/stdin",
        "--bind=/proc/self/fd/1:/dev/stdout",
        "--bind=/proc/self/fd/2:/dev/stderr",
        "--bind=/sys",
        "--kill-on-exit",
        "/bin/env",
        "-i",
        "PATH=/bin",
        "/bin/sh",
        "-c",
        see,
    ];
    let (status, out, error) = with(&[("PROOT_NO_SECCOMP", "1")], &distro);
    assert_eq!(status, Some(0), "{error}");
    assert_eq!(out, "Linux 6.17.0-PRoot-Distro aarch64\n/dev/fd\n/dev/random\n/home\n");
    assert_eq!(error, "", "nothing is worth a warning");
    // The classic recipe.
    let classic = ["--cwd=/", "--root-id", &rootfs, "/bin/env", "-", "/bin/sh", "-euc", "ls /real && pwd"];
    assert_eq!(under(Who::User, &classic), "/\n");
}
