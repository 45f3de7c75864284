//! Hosts that refuse: each test builds one, and prun runs there, or says what is missing, why, and what to do.

use crate::harness::*;
use std::process::Output;

/// prun with `-v` behind a filter with these rules.
fn behind(rules: &str, args: &[&str]) -> Output {
    run(Who::User, &[&[&guest(), "hostile", rules, &prun(), "-v"], args].concat())
}

/// Behind a filter prun runs, with this engine.
pub(crate) fn runs_behind(rules: &str, engine: &str) {
    let output = behind(rules, &["-b", "/usr:/mnt", "sh", "-c", "cd /mnt && ls -d bin/env /mnt/bin/env"]);
    assert_eq!(text(&output), "/mnt/bin/env\nbin/env\n", "{rules}: {}", error(&output));
    assert!(error(&output).contains(&format!("the engine is {engine}")), "{rules}: {}", error(&output));
}

/// It failed by itself, and said these things.
fn says(output: &Output, words: &[&str]) {
    let error = error(output);
    assert_eq!(output.status.code(), Some(125), "{error}");
    for word in words {
        assert!(error.contains(word), "no {word:?} in: {error}");
    }
}

#[test]
fn ptrace_is_refused() {
    for rule in ["ptrace=1", "ptrace=13", "ptrace=38", "ptrace=kill", "ptrace=trap"] {
        let output = behind(rule, &["true"]);
        says(
            &output,
            &["cannot trace a child", "seccomp filter is around prun", "allow ptrace(2)", "--doctor"],
        );
        let doctor = run(Who::User, &[&guest(), "hostile", rule, &prun(), "--doctor"]);
        assert_eq!(doctor.status.code(), Some(125), "{rule}");
        assert!(text(&doctor).contains("-- attaching to a child"), "{}", text(&doctor));
    }
}

#[test]
fn filters_are_refused() {
    for rule in ["filter=1", "filter=22", "filter=kill", "filter=trap", "prctl=1"] {
        runs_behind(rule, "plain");
    }
    let output =
        run(Who::User, &["env", "PRUN_ENGINE=one-stop", &guest(), "hostile", "filter=1", &prun(), "true"]);
    says(&output, &["cannot use the engine 'one-stop'", "without PRUN_ENGINE"]);
}

#[test]
fn calls_that_prun_can_do_without_are_refused() {
    for rules in [
        "openat2=kill",
        "memfd_create=kill",
        "memfd_create=38,openat2=1",
        "process_vm_readv=kill,process_vm_writev=trap",
        "process_vm_readv=38,process_vm_writev=38",
        "getrandom=1",
        "openat2=trap,memfd_create=kill,getrandom=1,process_vm_readv=1",
        "sched_setaffinity=1,sched_getaffinity=1",
        "seccomp=38",
    ] {
        runs_behind(rules, "one-stop");
    }
}

#[test]
fn a_call_that_is_needed_kills() {
    let output = behind("setsid=kill", &["true"]);
    says(&output, &["the tracer was killed", "seccomp filter is around prun"]);
}

#[test]
fn a_traced_prun_says_so() {
    let prun = prun();
    says(&run(Who::User, &[&prun, &prun, "true"]), &["prun itself is traced", "does not run inside prun"]);
}

/// bubblewrap with the host's root and `changes`, and prun in it.
fn inside(changes: &[&str], args: &[&str]) -> Output {
    run(Who::User, &[&["bwrap", "--dev-bind", "/", "/"], changes, &[&prun()], args].concat())
}

const SHOWN: [&str; 5] =
    ["-b", "/usr:/mnt", "sh", "-c", "cd /mnt/bin && ls -d ../bin/env /mnt/bin/env && pwd"];

#[test]
fn in_a_container() {
    for changes in [
        &[][..],
        &["--unshare-pid", "--proc", "/proc"],
        // No /proc, no /dev/shm, no memory for temporary files.
        &["--tmpfs", "/proc"],
        &["--tmpfs", "/dev"],
        &["--ro-bind", "/", "/", "--tmpfs", "/proc"],
    ] {
        for engine in ENGINES {
            let mut all = vec!["--setenv", "PRUN_ENGINE", engine];
            all.extend(changes);
            let output = inside(&all, &SHOWN);
            let expected = "../bin/env\n/mnt/bin/env\n/mnt/bin\n";
            assert_eq!(text(&output), expected, "{engine} {changes:?}: {}", error(&output));
        }
    }
}

/// /tmp cannot be written, or nothing in it be executed, or is not there; and there is no memfd_create(2) either.
#[test]
fn without_a_place_for_files() {
    let (guest, prun) = (guest(), prun());
    for changes in [
        &["--ro-bind", "/", "/"][..],
        &["--tmpfs", "/dev", "--ro-bind", "/usr", "/dev/shm"],
        &["--tmpfs", "/dev"],
    ] {
        let front = [&["bwrap", "--dev-bind", "/", "/"], changes].concat();
        let behind = [guest.as_str(), "hostile", "memfd_create=38", &prun];
        let output = run(Who::User, &[&front[..], &behind, &SHOWN].concat());
        assert_eq!(text(&output), "../bin/env\n/mnt/bin/env\n/mnt/bin\n", "{changes:?}: {}", error(&output));
    }
}

/// A root without /tmp, /dev, /home and /etc, with and without memory files.
#[test]
fn no_tmp_at_all() {
    let programs = prun().strip_suffix("/prun").expect("a folder").to_owned();
    for engine in ENGINES {
        for proc in [&["--proc", "/proc"][..], &[]] {
            for rules in ["memfd_create=38", "acct=1"] {
                let root =
                    ["bwrap", "--unshare-pid", "--ro-bind", "/usr", "/usr", "--symlink", "usr/bin", "/bin"];
                let links = ["--symlink", "usr/lib", "/lib", "--symlink", "usr/lib64", "/lib64", "--ro-bind"];
                let bin = [&programs, "/bin2", "--setenv", "PRUN_ENGINE", engine];
                let command = ["--remount-ro", "/", "/bin2/guest", "hostile", rules, "/bin2/prun"];
                let shown =
                    ["-b", "/usr:/mnt", "sh", "-c", "cd /mnt/bin && ls -d ../bin/env && pwd; ls /tmp"];
                let output = run(Who::User, &[&root[..], &links, &bin, proc, &command, &shown].concat());
                let what = format!("{engine} {proc:?} {rules}: {}", error(&output));
                assert_eq!(text(&output), "../bin/env\n/mnt/bin\n", "{what}");
                assert!(what.contains("/tmp': No such file"), "{what}");
            }
        }
    }
}

#[test]
fn no_new_privs_and_closed_descriptors() {
    let prun = prun();
    let out =
        good(Who::User, &["setpriv", "--no-new-privs", &prun, "-b", "/usr:/mnt", "ls", "-d", "/mnt/bin"]);
    assert_eq!(out, "/mnt/bin\n");
    let script = |redirect: &str| {
        format!("'{prun}' -b /usr:/mnt sh -c 'test -d /mnt/bin; exit $(($? + 7))' {redirect}")
    };
    for redirect in ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"] {
        let output = run(Who::User, &["sh", "-c", &script(redirect)]);
        assert_eq!(output.status.code(), Some(7), "{redirect}: {}", error(&output));
    }
}

#[test]
fn limits() {
    let prun = prun();
    let limited = |limits: &str, who| {
        let script =
            format!("{limits} && exec '{prun}' -b /usr:/mnt sh -c 'ls -d /mnt/bin/env | cat; exit 5'");
        run(who, &["sh", "-c", &script])
    };
    for limits in [
        "ulimit -n 64",
        "ulimit -n 24",
        "ulimit -s unlimited",
        "ulimit -s 64",
        "ulimit -v 1000000",
        "ulimit -f 0",
    ] {
        let output = limited(limits, Who::User);
        assert_eq!(
            (text(&output).as_str(), output.status.code()),
            ("/mnt/bin/env\n", Some(5)),
            "{limits}: {}",
            error(&output)
        );
    }
    says(&limited("ulimit -v 100000", Who::User), &["cannot map memory", "RLIMIT_AS"]);
    says(&limited("ulimit -n 3", Who::User), &["cannot make a pipe", "RLIMIT_NOFILE"]);
    if nix::unistd::geteuid().is_root() {
        // Nobody else may run as this user meanwhile.
        let script = format!("ulimit -u 1; exec '{prun}' true");
        let output = run(
            Who::Me,
            &["setpriv", "--reuid=64999", "--regid=64999", "--clear-groups", "bash", "-c", &script],
        );
        says(&output, &["cannot fork", "RLIMIT_NPROC"]);
    }
}

#[test]
fn a_full_disk_and_a_stray_preload() {
    let prun = prun();
    let output =
        run(Who::User, &["sh", "-c", &format!("'{prun}' --trace -b /usr:/mnt true 2>/dev/full; echo $?")]);
    assert_eq!(text(&output), "0\n");
    let output =
        run(Who::User, &["env", "LD_PRELOAD=/no/such.so", &prun, "-b", "/usr:/mnt", "ls", "-d", "/mnt/bin"]);
    assert_eq!(text(&output), "/mnt/bin\n", "{}", error(&output));
}

/// A home whose path is as long as a path may be.
#[test]
fn a_long_home() {
    let dir = folder(Who::User);
    let mut home = dir.path().display().to_string();
    while home.len() + 201 < 4000 {
        home = format!("{home}/{}", "h".repeat(200));
    }
    std::fs::create_dir_all(&home).expect("ours");
    std::fs::write(format!("{home}/f"), "text").expect("ours");
    for engine in ENGINES {
        let output = command(Who::User, &[&prun(), "-b", &format!("{home}:/home/me"), "cat", "/home/me/f"])
            .env("PRUN_ENGINE", engine)
            .env("HOME", &home)
            .output()
            .expect("it starts");
        assert_eq!(text(&output), "text", "{engine}: {}", error(&output));
    }
}

/// Folders for temporary files where nothing may be executed: two stops, and the cure is named and works.
#[test]
fn noexec_folders() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("only root can mount a file system without exec: left out");
        return;
    }
    let (guest, prun) = (guest(), prun());
    let inside = |set: &str| {
        let user = "setpriv --reuid=65534 --regid=65534 --clear-groups";
        let script = format!(
            "mount -t tmpfs -o noexec,mode=1777 tmpfs /dev/shm && mkdir -m 1777 /mnt/exec /mnt/tmp 2>/dev/null; \
             mount -t tmpfs -o mode=1777 tmpfs /mnt && mkdir -m 1777 /mnt/exec /mnt/tmp && \
             mount -t tmpfs -o noexec,mode=1777 tmpfs /mnt/tmp && export TMPDIR=/mnt/tmp {set} && \
             {user} {guest} hostile memfd_create=38 {prun} --doctor; \
             {user} {guest} hostile memfd_create=38 {prun} -v -b /usr:/home/x ls -d /home/x/bin"
        );
        let output = run(Who::Me, &["unshare", "-m", "sh", "-c", &script]);
        assert!(text(&output).ends_with("/home/x/bin\n"), "{} {}", text(&output), error(&output));
        (text(&output), error(&output))
    };
    let (doctor, said) = inside("");
    assert!(said.contains("the engine is two-stop"), "{doctor}{said}");
    assert!(doctor.contains("noexec mount") && doctor.contains("PRUN_TMP_DIR"), "{doctor}");
    let (doctor, said) = inside("PRUN_TMP_DIR=/mnt/exec");
    assert!(said.contains("the engine is one-stop"), "{doctor}{said}");
}

/// What a file system refuses is passed on as it is.
#[test]
fn a_home_without_links_attributes_and_locks() {
    let rules = "link=1,linkat=1,setxattr=95,lsetxattr=95,getxattr=95,lgetxattr=95,flock=37,rename=18,renameat=18,renameat2=18";
    let dir = folder(Who::User);
    std::fs::write(dir.path().join("f"), "").expect("ours");
    let d = dir.path().display().to_string();
    let script = "\
import os, fcntl
def t(f, *a):
    try: print(f.__name__, f(*a))
    except OSError as e: print(f.__name__, e.errno)
t(os.link, 'f', 'g'); t(os.setxattr, 'f', 'user.x', b'y'); t(os.getxattr, 'f', 'user.x'); t(os.rename, 'f', 'g')
t(fcntl.flock, os.open('f', os.O_RDONLY), fcntl.LOCK_EX)
";
    let behind = [&guest(), "hostile", rules];
    let native = good(Who::User, &[&behind[..], &["env", "-C", &d, "python3", "-c", script]].concat());
    assert_eq!(native, "link 1\nsetxattr 95\ngetxattr 95\nrename 18\nflock 37\n");
    for engine in ENGINES {
        let variable = format!("PRUN_ENGINE={engine}");
        let bind = format!("{d}:/home/me");
        let under = ["env", &variable, &prun(), "-b", &bind, "-w", "/home/me", "python3", "-c", script];
        assert_eq!(good(Who::User, &[&behind[..], &under].concat()), native, "{engine}");
    }
}

/// /proc shows a user its own processes only: those are all that prun looks at.
#[test]
fn a_proc_that_hides() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let user = "setpriv --reuid=65534 --regid=65534 --clear-groups";
    let script = format!(
        "mount -t proc -o hidepid=2 proc /proc && {user} '{0}' --doctor && {user} '{0}' -b /usr:/mnt ls -d /mnt/bin",
        prun()
    );
    let out = good(Who::Me, &["unshare", "-m", "sh", "-c", &script]);
    assert!(out.contains("hidepid=") && out.ends_with("/mnt/bin\n"), "{out}");
    assert!(out.contains("the engine one-stop"), "{out}");
}
