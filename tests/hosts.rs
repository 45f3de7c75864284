//! Hosts that refuse: each test builds one, and prun runs there, or says what is missing, why, and what to do.

use crate::harness::*;
use std::os::unix::fs::PermissionsExt;
use std::process::Output;

fn error(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// prun with `-v` behind a filter with these rules.
fn behind(rules: &str, args: &[&str]) -> Output {
    run(Who::User, &[&[&guest(), "hostile", rules, &prun(), "-v"], args].concat())
}

/// Behind a filter prun runs, with this engine.
fn runs_behind(rules: &str, engine: &str) {
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

/// A guest with newer calls on a kernel without them.
#[test]
fn an_old_kernel() {
    runs_behind("old-kernel", "one-stop");
    let script = "stat -c %s /mnt/f && mv /mnt/f /mnt/g && cat /mnt/g && test -r /mnt/g && chmod 600 /mnt/g && \
                  cp /mnt/g /mnt/h && ls -l /mnt >/dev/null && tar cf - -C / mnt 2>/dev/null | tar tf - | sort";
    for engine in ENGINES {
        let dir = folder(Who::User);
        std::fs::write(dir.path().join("f"), "text\n").expect("ours");
        give(&dir.path().join("f"), Who::User);
        let bind = format!("{}:/mnt", dir.path().display());
        let output = command(
            Who::User,
            &[&guest(), "hostile", "old-kernel", &prun(), "-b", &bind, "sh", "-c", script],
        )
        .env("PRUN_ENGINE", engine)
        .output()
        .expect("it starts");
        assert_eq!(text(&output), "5\ntext\nmnt/\nmnt/g\nmnt/h\n", "{engine}: {}", error(&output));
    }
}

/// The newer calls, each by an older one, give the same answers. On the plain engine the kernel itself says that they
/// are missing; the others see a call only where no outer filter has answered it, so there prun is told.
#[test]
fn newer_calls_by_older_ones() {
    const ALL: &str = "openat2,statx,faccessat2,fchmodat2,renameat2,execveat,getrandom";
    let rules: Vec<String> = ALL.split(',').map(|call| format!("{call}=38")).collect();
    let dir = folder(Who::User);
    let work = dir.path().join("w");
    let w = work.display().to_string();
    let once = |argv: &[&str], environment: &[(&str, &str)]| {
        std::fs::create_dir(&work).expect("new");
        give(&work, Who::User);
        let output = command(Who::User, argv).envs(environment.iter().copied()).output().expect("it starts");
        assert!(output.status.success(), "{argv:?}: {}", error(&output));
        good(Who::Me, &["chmod", "-R", "u+rwx", &w]);
        std::fs::remove_dir_all(&work).expect("ours");
        text(&output)
    };
    let (guest, prun, rules) = (guest(), prun(), rules.join(","));
    let native = once(&[&guest, "paths", &w], &[]);
    for engine in ENGINES {
        let mut variables = vec![("PRUN_ENGINE", engine)];
        let mut argv: Vec<&str> = vec![];
        if engine == "plain" {
            argv.extend([guest.as_str(), "hostile", &rules]);
        } else {
            variables.push(("PRUN_MISSING", ALL));
        }
        argv.extend([prun.as_str(), "--", &guest, "paths", &w]);
        let ours = once(&argv, &variables);
        assert_eq!(native.lines().count(), ours.lines().count());
        let mut stayed = 0;
        for (a, b) in native.lines().zip(ours.lines()) {
            // Not exact by an older call: permissions of a link itself, where mounts begin, renaming with flags.
            let limits = ["faccessat2", "openat2 1 ", "rename-noreplace", "exchange"];
            let unknown = limits.iter().any(|l| b.contains(l)) && b.ends_with("-> -ENOSYS");
            stayed += usize::from(unknown);
            assert!(
                a == b || unknown || crate::differential::may_differ(a, b),
                "{engine}\nnative: {a}\n prun: {b}"
            );
        }
        assert!(stayed > 100 && stayed * 5 < native.lines().count(), "{engine}: {stayed}");
    }
    let fexec =
        run(Who::User, &["env", &format!("PRUN_MISSING={ALL}"), &prun, "--", &guest, "fexec", &guest]);
    assert!(text(&fexec).contains("args [\"guest\", \"self\"]"), "{} {}", text(&fexec), error(&fexec));
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

#[test]
fn the_doctor_s_report() {
    let prun = prun();
    let text = good(Who::User, &[&prun, "--doctor"]);
    assert!(text.contains("prun runs here, with the engine one-stop"), "{text}");
    let json: serde_json::Value =
        serde_json::from_str(&good(Who::User, &[&prun, "--doctor=json"])).expect("JSON");
    assert_eq!(json["runs"], true);
    assert_eq!(json["engine"], "one-stop");
    assert_eq!(json["probes"].as_array().expect("a list").len(), 20);
    let refused = run(Who::User, &[&guest(), "hostile", "ptrace=1,openat2=kill", &prun, "--doctor=json"]);
    assert_eq!(refused.status.code(), Some(125));
    let json: serde_json::Value = serde_json::from_slice(&refused.stdout).expect("JSON");
    assert_eq!(json["runs"], false);
    assert_eq!(json["engine"], serde_json::Value::Null);
    let probes = json["probes"].as_array().expect("a list");
    let find = |name: &str| probes.iter().find(|p| p["name"] == name).expect("listed").clone();
    assert_eq!(find("seize")["errno"], 1);
    assert!(find("seize")["advice"].as_str().expect("text").contains("ptrace"));
    assert_eq!(find("openat2")["answer"], "fatal");
    assert_eq!(find("memfd")["answer"], "works");
}

/// Which of the file, its `#!` interpreter, its ELF interpreter and its machine keeps a program from running.
#[test]
fn why_a_program_cannot_be_executed() {
    let dir = folder(Who::User);
    let make = |name: &str, bytes: &[u8], mode| {
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).expect("ours");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).expect("ours");
        path.display().to_string()
    };
    let program = std::fs::read(guest()).expect("there");
    let mut foreign = program[..4096].to_vec();
    foreign[18..20].copy_from_slice(&183u16.to_le_bytes());
    let dynamic = std::fs::read("/bin/true").expect("there");
    let at = memchr::memmem::find(&dynamic, b"/lib64/ld-linux").expect("dynamic");
    let mut orphan = dynamic;
    orphan[at..at + 6].copy_from_slice(b"/nope4");
    let cases = [
        (make("script", b"#!/no/such/sh -e\n", 0o755), 127, &["'#!' interpreter '/no/such/sh'"][..]),
        (make("foreign", &foreign, 0o755), 126, &["another machine: aarch64", "neither a program"]),
        (make("orphan", &orphan, 0o755), 127, &["ELF interpreter '/nope4/ld-linux"]),
        (make("plain", b"text", 0o644), 126, &["no file that this user may execute"]),
        (make("text", b"text", 0o755), 126, &["neither a program for this machine nor a script"]),
        ("/no/such/program".into(), 127, &["not in the guest"]),
        (dir.path().display().to_string(), 126, &["no file that this user may execute"]),
    ];
    for (path, status, words) in &cases {
        let output = run(Who::User, &[&prun(), path]);
        assert_eq!(output.status.code(), Some(*status), "{path}: {}", error(&output));
        for word in *words {
            assert!(error(&output).contains(word), "{path}: no {word:?} in {}", error(&output));
        }
    }
}

#[test]
fn a_trace_has_a_line_for_each_call() {
    let dir = folder(Who::User);
    let (d, trace) = (dir.path().display().to_string(), dir.path().join("trace"));
    std::fs::write(dir.path().join("f"), "text").expect("ours");
    for engine in ENGINES {
        let output = command(
            Who::User,
            &[
                &prun(),
                &format!("--trace={}", trace.display()),
                "-b",
                &format!("{d}:/mnt"),
                "sh",
                "-c",
                "cat /mnt/f /mnt/none; cd /mnt; kill -KILL $$",
            ],
        )
        .env("PRUN_ENGINE", engine)
        .output()
        .expect("it starts");
        assert_eq!((text(&output).as_str(), output.status.code()), ("text", Some(137)), "{}", error(&output));
        let lines = std::fs::read_to_string(&trace).expect("written");
        let line =
            |words: &[&str]| lines.lines().any(|l| words.iter().all(|w| l.contains(w)) && l.contains(" = "));
        let open = format!("openat(AT_FDCWD, \"/mnt/f\"<{d}/f>, 0) = 3");
        assert!(line(&[&open]), "{engine}: {lines}");
        assert!(line(&["\"/mnt/none\"", "= -1 ENOENT (No such file or directory)"]), "{engine}: {lines}");
        assert!(line(&["chdir(\"/mnt\"", ") = 0"]), "{engine}: {lines}");
        assert!(line(&["execve(\"/", "cat\"", " = 0"]), "{engine}: {lines}");
        assert!(lines.lines().all(|l| l.split(' ').next().is_some_and(|n| n.parse::<i32>().is_ok())));
    }
}

#[test]
fn strict_names_what_is_not_exact_once() {
    for engine in ENGINES {
        let output = command(
            Who::User,
            &[&prun(), "--strict", "sh", "-c", "for i in 1 2; do \"$0\" foreign; done", &guest()],
        )
        .env("PRUN_ENGINE", engine)
        .output()
        .expect("it starts");
        let error = error(&output);
        for word in ["io_uring_setup (425)", "int 0x80", "newer than Linux"] {
            assert_eq!(error.matches(word).count(), 1, "{engine} {word}: {error}");
        }
        assert_eq!(text(&output).matches("int 0x80 -> -ENOSYS").count(), 2, "{engine}: {}", text(&output));
        assert!(text(&output).contains("x32 -> -ENOSYS"));
    }
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

/// What keeps prun from starting is said with what to do about it, at every place.
#[test]
fn every_failure_names_a_cure() {
    let mut places = 0;
    let mut look = vec![std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(path) = look.pop() {
        if path.is_dir() {
            look.extend(std::fs::read_dir(&path).expect("ours").map(|e| e.expect("ours").path()));
            continue;
        }
        let Ok(source) = std::fs::read_to_string(&path) else { continue };
        let source = source.split("#[cfg(test)]").next().expect("something");
        for after in source.split("Failure::new(").skip(1) {
            places += 1;
            let near: String = after.chars().take(700).collect();
            assert!(
                near.contains(".hint("),
                "{}: Failure::new({}",
                path.display(),
                &near[..near.len().min(200)]
            );
        }
    }
    assert!(places > 20, "{places}");
}
