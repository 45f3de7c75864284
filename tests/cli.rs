//! The command line, and the program file itself.

use crate::harness::*;

fn failing(argv: &[&str]) -> (Option<i32>, String) {
    let prun = prun();
    let output = run(Who::User, &[&[prun.as_str()], argv].concat());
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn mistakes_are_named() {
    let (status, message) = failing(&["--rootsf", "/", "true"]);
    assert_eq!(status, Some(125));
    assert!(message.contains("--rootfs"), "the nearest option is named: {message}");
    let (status, message) = failing(&["-r", "/no/such", "true"]);
    assert_eq!(status, Some(125));
    assert!(message.contains("/no/such") && message.contains("directory that exists"), "{message}");
    let (status, message) = failing(&["-b", "/usr:relative", "true"]);
    assert_eq!(status, Some(125));
    assert!(message.contains("GUEST is absolute"), "{message}");
    let (status, message) = failing(&["-b", "/no/such:/x", "true"]);
    assert_eq!(status, Some(0), "a missing HOST is a warning");
    assert!(message.contains("warning") && message.contains("/no/such"), "{message}");
    for (argv, wrong) in [
        (&["-r", "/etc/passwd", "true"][..], "/etc/passwd"),
        (&["-q", "no-such-emulator", "true"], "in PATH"),
        (&["-q", "", "true"], "none is named"),
        (&["-p", "99999:1", "true"], "99999:1"),
        (&["-p", "80", "true"], "no two ports"),
        (&["-k", "", "true"], "no release"),
        (&["-i", "1:2:3", "true"], "1:2:3"),
        (&["--kill-on-exit", "--wait", "true"], "--wait"),
        (&["-v", "--verbose=x", "true"], "'x'"),
        (&["--bind=", "true"], "empty"),
        (&["--trace=/no/such/file", "true"], "/no/such/file"),
        (&["--nix=/proc/x", "true"], "/proc/x"),
        (&["-z", "true"], "'-z'"),
        (&["-b"], "--bind"),
    ] {
        let (status, message) = failing(argv);
        assert_eq!(status, Some(125), "{argv:?}: {message}");
        assert!(message.contains(wrong), "{argv:?}: {message}");
    }
    let (status, message) = failing(&["-b", "/usr:/mnt:r0", "true"]);
    assert_eq!(status, Some(0), "a path may have a colon in it");
    assert!(message.contains("warning: ':r0'") && message.contains(":ro"), "{message}");
    let (_, message) = failing(&["-w", "/no/such", "pwd"]);
    assert!(message.contains("starting in '/'"), "{message}");
}

#[test]
fn both_forms_of_an_option() {
    let dir = folder(Who::User);
    let bind = format!("{}:/nix", dir.path().display());
    assert_eq!(under(Who::User, &["--bind", &bind, "--cwd", "/nix", "pwd"]), "/nix\n");
    assert_eq!(under(Who::User, &[&format!("--bind={bind}"), "--cwd=/nix", "--", "pwd", "-P"]), "/nix\n");
    assert!(under(Who::User, &["--version"]).starts_with("prun "));
    assert!(under(Who::User, &["--help"]).contains("--nix"));
    let prun = prun();
    let output = run(Who::User, &[&prun, "--stats", "true"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("ptrace requests"));
}

#[test]
fn nix_makes_its_folder() {
    let dir = folder(Who::User);
    let store = dir.path().join("new/nix");
    let out = under(
        Who::User,
        &[&format!("--nix={}", store.display()), "sh", "-c", "ls /nix; echo \"$NIX_CONFIG\""],
    );
    assert!(out.starts_with("store\nvar\n") && out.contains("sandbox = false"), "{out}");
    assert!(store.join("var/nix").is_dir());
    // Without a name, where a user's data belong.
    let home = dir.path().display().to_string();
    for (variable, made) in [("HOME", ".local/share/prun/nix/store"), ("XDG_DATA_HOME", "prun/nix/store")] {
        let set = format!("{variable}={home}");
        let shown = good(Who::User, &["env", "-u", "XDG_DATA_HOME", &set, &prun(), "--nix", "ls", "/nix"]);
        assert_eq!(shown, "store\nvar\n");
        assert!(dir.path().join(made).is_dir(), "{made}");
    }
}

#[test]
fn the_program_is_static_and_works_from_anywhere() {
    let bytes = std::fs::read(prun()).expect("there");
    let elf = goblin::elf::Elf::parse(&bytes).expect("ELF");
    assert!(elf.interpreter.is_none() && elf.libraries.is_empty());
    let dir = folder(Who::User);
    let copy = dir.path().join("another name");
    copy_program(prun(), &copy);
    assert_eq!(good(Who::User, &[&copy.display().to_string(), "echo", "hi"]), "hi\n");
    // As a packer starts it: from memory, its file gone.
    let script = "import os, sys\nfd = os.memfd_create('p')\nos.write(fd, open(sys.argv[1], 'rb').read())\nos.execve(fd, ['x', '-b', '/usr:/nix', 'ls', '-d', '/nix/bin'], os.environ)";
    assert_eq!(good(Who::User, &["/usr/bin/python3", "-c", script, &prun()]), "/nix/bin\n");
}
