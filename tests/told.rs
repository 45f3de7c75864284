//! What prun tells: the doctor's report, why a program cannot be executed, traces, what is not exact.

use crate::harness::*;

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
    assert!(find("seize")["cure"].as_str().expect("text").contains("ptrace"));
    assert_eq!(find("openat2")["answer"], "fatal");
    assert_eq!(find("memfd")["answer"], "works");
}

/// All that is tried takes less than 3 ms, on a machine of usual speed: the fastest of some runs counts, since others are
/// at work here too.
#[test]
fn the_probes_are_quick() {
    let prun = prun();
    let micros = |_| {
        let report: serde_json::Value =
            serde_json::from_str(&good(Who::User, &[&prun, "--doctor=json"])).expect("JSON");
        report["microseconds"].as_u64().expect("a number")
    };
    let mut all = vec![];
    let limit = 3000 * u64::from(slow());
    let quick = (0..300).map(micros).any(|time| {
        all.push(time);
        time < limit
    });
    assert!(quick, "{:?} µs", all.iter().min());
}

/// Which of the file, its `#!` interpreter, its ELF interpreter and its machine keeps a program from running.
#[test]
fn why_a_program_cannot_be_executed() {
    let dir = folder(Who::User);
    let make = |name: &str, bytes: &[u8], mode| {
        let path = dir.path().join(name);
        write_program(&path, bytes, mode);
        path.display().to_string()
    };
    let program = std::fs::read(guest()).expect("there");
    let mut foreign = program[..4096].to_vec();
    // The other of the two CPUs, and what has this one's number and other addresses.
    let (number, name) = if prun_arch::ELF_MACHINE == 62 { (183u16, "aarch64") } else { (62, "x86-64") };
    foreign[18..20].copy_from_slice(&number.to_le_bytes());
    let foreign_name = format!("another machine: {name} (");
    let mut short = program[..4096].to_vec();
    short[4] = 1;
    let mut orphan = std::fs::read("/bin/true").expect("there");
    let linker = crate::exec::interpreter("/bin/true");
    let at = memchr::memmem::find(&orphan, linker.as_bytes()).expect("dynamic");
    let missing = linker.replacen("/lib", "/nop", 1);
    orphan[at..at + missing.len()].copy_from_slice(missing.as_bytes());
    let missing = format!("ELF interpreter '{missing}'");
    let cases = [
        (make("script", b"#!/no/such/sh -e\n", 0o755), 127, &["'#!' interpreter '/no/such/sh'"][..]),
        (make("foreign", &foreign, 0o755), 126, &[&foreign_name, "neither a program"]),
        (make("short", &short, 0o755), 126, &[", with 32-bit addresses (", "neither a program"]),
        (make("orphan", &orphan, 0o755), 127, &[&missing]),
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
            &[&prun(), "--strict", "sh", "-c", "for i in 1 2; do \"$0\" foreign /; done", &guest()],
        )
        .env("PRUN_ENGINE", engine)
        .output()
        .expect("it starts");
        let error = error(&output);
        for word in ["io_uring_setup (425)", "newer than Linux"] {
            assert_eq!(error.matches(word).count(), 1, "{engine} {word}: {error}");
        }
        let narrow = if prun_arch::ABIS.contains(&prun_arch::abi::Abi::I386) { 2 } else { 0 };
        assert_eq!(text(&output).matches("int 0x80 -> 0").count(), narrow, "{engine}: {}", text(&output));
        assert!(text(&output).contains("x32 -> -ENOSYS"));
    }
}

/// A root that cannot be looked at is not taken for one that is no directory.
#[test]
fn a_root_that_cannot_be_looked_at() {
    let rules = "statx=12,newfstatat=12";
    let output = run(Who::User, &[&guest(), "hostile", rules, &prun(), "-r", "/", "true"]);
    assert_eq!(output.status.code(), Some(125));
    let why = std::io::Error::from_raw_os_error(libc::ENOMEM).to_string();
    assert!(
        error(&output).starts_with(&format!("prun: cannot use the root '/': {why}")),
        "{}",
        error(&output)
    );
}

/// What keeps prun from starting is said with what to do about it, at every place.
#[test]
fn every_failure_names_a_cure() {
    let mut places = 0;
    for (name, source) in sources() {
        for after in source.split("Failure::new(").skip(1) {
            places += 1;
            let near: String = after.chars().take(700).collect();
            assert!(near.contains(".hint("), "{name}: Failure::new({}", &near[..near.len().min(200)]);
        }
    }
    assert!(places > 20, "{places}");
}
