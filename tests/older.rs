//! Kernels that are older than the guest: newer calls made by older ones, and stops in another order.

use crate::harness::*;
use crate::hosts::runs_behind;
use std::os::unix::fs::PermissionsExt;

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
    newer_calls(&guest(), &ENGINES);
}

/// The same of a 32-bit program, whose statx(2) the tracer answers by itself.
#[test]
fn newer_calls_of_32_bits_by_older_ones() {
    newer_calls(&crate::narrow::suite(), &["one-stop", "two-stop"]);
}

fn newer_calls(suite: &str, engines: &[&str]) {
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
    let sample = crate::differential::sample(&format!("newer {suite}"));
    let which = [&["paths", &w][..], &sample.each_ref().map(String::as_str)].concat();
    let native = once(&[&[suite][..], &which].concat(), &[]);
    for &engine in engines {
        let mut variables = vec![("PRUN_ENGINE", engine)];
        let mut argv: Vec<&str> = vec![];
        if engine == "plain" {
            argv.extend([guest.as_str(), "hostile", &rules]);
        } else {
            variables.push(("PRUN_MISSING", ALL));
        }
        argv.extend([prun.as_str(), "--", suite]);
        argv.extend(&which);
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
        assert!(stayed * share() > 100 && stayed * 5 < native.lines().count(), "{engine}: {stayed}");
    }
    let fexec =
        run(Who::User, &["env", &format!("PRUN_MISSING={ALL}"), &prun, "--", &guest, "fexec", &guest]);
    assert!(text(&fexec).contains("args [\"guest\", \"self\"]"), "{} {}", text(&fexec), error(&fexec));
}

/// close_range(2) and copy_file_range(2) by older calls: the same answers and effects, unless it stays unknown.
#[test]
fn descriptors_by_older_calls() {
    const ALL: &str = "close_range,copy_file_range";
    let (guest, prun) = (guest(), prun());
    let dir = folder(Who::User);
    let other = tempfile::Builder::new().prefix("prun-work").tempdir_in("/dev/shm").expect("memory");
    give(other.path(), Who::User);
    let (d, o) = (dir.path().display().to_string(), other.path().display().to_string());
    let part = share().to_string();
    let native = good(Who::User, &[&guest, "newer", &d, &o, &part]);
    assert!(native.contains("torn 0 mask 0\n"));
    for engine in ENGINES {
        let variable = format!("PRUN_ENGINE={engine}");
        let missing = format!("PRUN_MISSING={ALL}");
        let ours =
            good(Who::User, &["env", &variable, &missing, &prun, "--", &guest, "newer", &d, &o, &part]);
        assert_eq!(native.lines().count(), ours.lines().count());
        let (mut unknown, mut copied) = (0, 0);
        for (a, b) in native.lines().zip(ours.lines()) {
            let is = |line: &str, answer: &str| line.contains(&format!("-> {answer} "));
            // At a position that is given, and within one file, no older call copies.
            let stays = is(b, "-ENOSYS")
                && (b.contains(" 2 ") || b.contains(" same ") || b.contains(" empty empty "));
            // Newer kernels copy from one file system to another; that they need not is old.
            let across = is(b, "-EXDEV") && b.contains("other");
            unknown += usize::from(stays);
            copied += usize::from(a == b && is(b, "5"));
            assert!(a == b || stays || across, "{engine}\nnative: {a}\n prun: {b}");
        }
        assert!(
            copied > if share() == 1 { 5 } else { 2 }
                && unknown * share() > 40
                && unknown * 4 < native.lines().count(),
            "{engine}: {copied} {unknown}"
        );
    }
}

/// The order of stops of kernels before 4.8, made up in debug builds: the doctor finds it, and each engine lives with it.
#[test]
fn the_old_order_of_stops() {
    if !cfg!(debug_assertions) {
        eprintln!("only debug builds can make up the old order: left out");
        return;
    }
    let (guest, prun) = (guest(), prun());
    let old = ["env", "PRUN_OLD_ORDER=1"];
    let doctor = good(Who::User, &[&old[..], &[&prun, "--doctor=json"]].concat());
    let report: serde_json::Value = serde_json::from_str(&doctor).expect("JSON");
    assert_eq!((&report["seccomp_stop"], &report["engine"]), (&"first".into(), &"one-stop".into()));
    let dir = folder(Who::User);
    let work = dir.path().join("w");
    let w = work.display().to_string();
    let once = |argv: &[&str]| {
        std::fs::create_dir(&work).expect("new");
        give(&work, Who::User);
        let out = good(Who::User, argv);
        good(Who::Me, &["chmod", "-R", "u+rwx", &w]);
        std::fs::remove_dir_all(&work).expect("ours");
        out
    };
    let locked = dir.path().join("locked");
    copy_program(&guest, &locked);
    std::fs::set_permissions(&locked, PermissionsExt::from_mode(0o711)).expect("ours");
    let locked = locked.display().to_string();
    let native = once(&[&guest, "paths", &w]);
    for engine in ENGINES {
        let engine = format!("PRUN_ENGINE={engine}");
        let front = [&old[..], &[&engine, &prun]].concat();
        let ours = once(&[&front[..], &["--", &guest, "paths", &w]].concat());
        assert_eq!(native.lines().count(), ours.lines().count(), "{engine}");
        for (a, b) in native.lines().zip(ours.lines()) {
            assert!(a == b || crate::differential::may_differ(a, b), "{engine}\nnative: {a}\n prun: {b}");
        }
        // Threads under timers; a program that cannot be read; children, listings, signals; credentials.
        std::fs::create_dir(&work).expect("new");
        std::fs::write(work.join("f"), "").expect("ours");
        give(&work, Who::User);
        let bind = format!("{w}:/mnt");
        let out = good(Who::User, &[&front[..], &["-b", &bind, &guest, "torture", "/mnt", "300"]].concat());
        assert!(out.contains("bad 0"), "{engine}: {out}");
        assert_eq!(
            run(Who::User, &[&front[..], &["-b", &bind, &locked, "exit", "7"]].concat()).status.code(),
            Some(7),
            "{engine}"
        );
        let script = "cd /mnt; ls f; (ls -a / | grep -c .) >/dev/null; id -u; pwd; kill -TERM $$";
        let killed = run(Who::User, &[&front[..], &["-0", "-b", &bind, "sh", "-c", script]].concat());
        assert_eq!(
            (text(&killed).as_str(), killed.status.code()),
            ("f\n0\n/mnt\n", Some(143)),
            "{engine}: {}",
            error(&killed)
        );
        std::fs::remove_dir_all(&work).expect("ours");
    }
}
