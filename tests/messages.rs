//! Every message that says why prun does not start, or what it does without: each has a case here that brings it
//! about, and names what is refused, why, and what to do. A message without a case is found in the source.

use crate::harness::*;
use std::collections::BTreeMap;

/// How a message is brought about.
#[derive(Clone, Copy)]
enum How {
    /// prun with these words, which come with a `$GUEST` or `$PRUN` or `$DIR` (a new folder) where there is one.
    Shell(&'static str),
    /// In a virtual machine: these words are in its suite.
    Machine(&'static str),
    /// Not at will: another task has to do something between two calls of prun. Why, and what it says.
    Race(&'static str),
}
use How::{Machine, Race, Shell};

/// File, the beginning of the message as the source has it, how, exit status, and words that it has to say.
type Case = (&'static str, &'static str, How, i32, &'static [&'static str]);

/// Failures: a status of prun's own, "cannot", and a second line with the cure.
const FAILURES: &[Case] = &[
    (
        "doctor/advice.rs",
        "trace a child",
        Shell("$PRUN $PRUN true"),
        125,
        &["prun itself is traced", "add the bindings to the outer prun"],
    ),
    (
        "doctor/advice.rs",
        "trace a child",
        Shell("$GUEST hostile ptrace=1 $PRUN true"),
        125,
        &["'ptrace': Operation not permitted", "a seccomp filter is around prun", "allow ptrace(2)"],
    ),
    (
        "doctor/advice.rs",
        "trace a child",
        Shell("$GUEST hostile filter=1,ptrace.24=1 $PRUN true"),
        125,
        &["stops at every call", "a seccomp filter is around prun", "allow ptrace(2)"],
    ),
    (
        "doctor/advice.rs",
        "map memory to share with the guest",
        Shell("ulimit -v 100000; $PRUN true"),
        125,
        &["Cannot allocate memory", "RLIMIT_AS"],
    ),
    (
        "doctor/advice.rs",
        "use the engine",
        Shell("PRUN_ENGINE=two-stop $GUEST hostile filter=1 $PRUN true"),
        125,
        &["'two-stop': Operation not permitted", "allow prctl(PR_SET_SECCOMP)", "without PRUN_ENGINE"],
    ),
    (
        "trace.rs",
        "write the trace to",
        Shell("$PRUN --trace=$DIR/no/such true"),
        125,
        &["/no/such': No such file", "a file that can be made"],
    ),
    (
        "config/variables.rs",
        "be as verbose as",
        Shell("$PRUN --verbose=much true"),
        125,
        &["'much'", "-1, 0, 1, 2"],
    ),
    (
        "config/binding.rs",
        "use the binding",
        Shell("$PRUN -b :/x true"),
        125,
        &["':/x': a part of it is empty", "HOST[:GUEST"],
    ),
    (
        "config/binding.rs",
        "use the binding",
        Shell("mkdir $DIR/d; cd $DIR/d; rmdir ../d; $PRUN -b x true"),
        125,
        &["the current directory is gone", "name HOST from /"],
    ),
    ("config/ports.rs", "map the ports", Shell("$PRUN --port=80:x true"), 125, &["'80:x'", "IN:OUT"]),
    (
        "config/nix_conf.rs",
        "make the nix store's folder",
        Shell("$PRUN --nix=/proc/x true"),
        125,
        &["/proc/x", "--nix=DIR"],
    ),
    (
        "config/nix_conf.rs",
        "find a folder for the nix store",
        Shell("unset HOME XDG_DATA_HOME; $PRUN --nix true"),
        125,
        &["HOME is not set", "--nix=DIR"],
    ),
    ("config/identity.rs", "appear as", Shell("$PRUN -i root true"), 125, &["'root'", "UID:GID"]),
    (
        "config/qemu.rs",
        "run programs of another machine through",
        Shell("$PRUN -q no-such-qemu true"),
        125,
        &["'no-such-qemu'", "install one"],
    ),
    (
        "config/kernel.rs",
        "appear as the kernel",
        Shell("$PRUN -k '\\a\\b\\c\\d\\e\\f\\g' true"),
        125,
        &["hwcap, is a number", "-k takes"],
    ),
    (
        "config.rs",
        "use the engine",
        Shell("PRUN_ENGINE=steam $PRUN true"),
        125,
        &["'steam'", "one-stop, two-stop or plain"],
    ),
    (
        "config.rs",
        "doing",
        Shell("$PRUN -r /no/such true"),
        125,
        &["use the root '/no/such'", "a directory that exists"],
    ),
    (
        "view/synthetic.rs",
        "make up the directory",
        Shell("bwrap --dev-bind / / --tmpfs /proc $PRUN -b /usr:/no/such true"),
        125,
        &["'/no'", "there is no /proc", "bind a directory there"],
    ),
    (
        "tracer/command.rs",
        "install the system call filter",
        Shell("$GUEST hostile crowd=3 $PRUN true"),
        125,
        &["Cannot allocate memory", "the filters around prun leave no room", "PRUN_ENGINE=plain"],
    ),
    (
        "tracer/command.rs",
        "change to",
        Shell("$GUEST hostile chdir=13 $PRUN -w /usr true"),
        125,
        &["'/usr': Permission denied", "-w"],
    ),
    (
        "tracer/command.rs",
        "execute",
        Shell("$PRUN /no/such"),
        127,
        &["'/no/such': No such file", "--bind, --rootfs and PATH"],
    ),
    (
        "tracer/launch.rs",
        "make a pipe",
        Shell("ulimit -n 3; $PRUN true"),
        125,
        &["Too many open files", "RLIMIT_NOFILE"],
    ),
    (
        "tracer/launch.rs",
        "fork",
        Shell("$GUEST hostile clone=11,fork=11,clone3=11 $PRUN true"),
        125,
        &["Resource temporarily unavailable", "RLIMIT_NPROC"],
    ),
    (
        "tracer/launch.rs",
        "go on",
        Shell("$GUEST hostile setsid=kill $PRUN true"),
        125,
        &["the tracer was killed", "a seccomp filter is around prun"],
    ),
    (
        "tracer/launch.rs",
        "start the command",
        Shell("$GUEST hostile prctl.1499557217=kill $PRUN true"),
        125,
        &["was killed meanwhile", "start it again"],
    ),
    (
        "tracer/launch.rs",
        "look at what is to be shown",
        Shell("$GUEST hostile newfstatat=12 $PRUN -b /usr:/mnt true"),
        125,
        &["Cannot allocate memory", "no memory left"],
    ),
    (
        "config/binding.rs",
        "look at what is to be bound,",
        Shell("$GUEST hostile readlink=12,readlinkat=12 $PRUN -b /usr:/mnt true"),
        125,
        &["'/usr': Cannot allocate memory", "ulimit -n"],
    ),
    ("tracer/launch.rs", "trace the command", Machine("prctl.1499557217=1"), 125, &[]),
];

/// Warnings: the session goes on, and what is left out is named.
const WARNINGS: &[Case] = &[
    (
        "config/binding.rs",
        "cannot bind",
        Shell("$PRUN -b /no/such true"),
        0,
        &["'/no/such'", "it is left out"],
    ),
    (
        "config/binding.rs",
        "'{}' is taken for a part",
        Shell("mkdir $DIR/x:rx; $PRUN -b /usr:/mnt:rx true"),
        0,
        &["':rx'", "only :ro and :rw"],
    ),
    ("config/identity.rs", "--persist does", Shell("$PRUN --persist true"), 0, &["without -0 or -i"]),
    (
        "config/kernel.rs",
        "-k: '{}' is cut",
        Shell("$PRUN -k $(printf '%0100d' 0) true"),
        0,
        &["is cut to 64 bytes"],
    ),
    ("config.rs", "--mixed-mode does", Shell("$PRUN --mixed-mode true true"), 0, &["side by side anyway"]),
    ("config.rs", "-P does nothing", Shell("$PRUN -P x true"), 0, &["-P does nothing here"]),
    (
        "tracer/launch.rs",
        "cannot start in",
        Shell("$PRUN -w /no/such true"),
        0,
        &["'/no/such'", "starting in '/'"],
    ),
    (
        "trace.rs",
        "the trace loses lines",
        Shell("$PRUN --trace=/dev/full sh -c 'ls /; ls /'"),
        0,
        &["No space left", "another file"],
    ),
    (
        "tracer.rs",
        "task {tid} is killed: its stop could not",
        Race("the memory that prun has put into a task must go between two of its calls"),
        0,
        &["PRUN_ENGINE"],
    ),
    (
        "tracer/handoff.rs",
        "task {tid} is killed: it could not",
        Race("a filter must be put around a task while it is handed on"),
        0,
        &[],
    ),
    (
        "tracer/newborn.rs",
        "task {tid} is killed: a session has",
        Shell(
            // All of them wait for a word, however long it takes until the last is there.
            "mkfifo $DIR/f; TMPDIR=/dev/shm $GUEST hostile memfd_create=38 bwrap --dev-bind / / --size 1700000 --tmpfs /dev/shm $PRUN sh -c 'exec 3<>$DIR/f; all=$(seq 90); for i in $all; do sh -c \"read x <&3\" & done; for i in $all; do echo >&3; done; wait'",
        ),
        0,
        &["at most 8192 tasks", "free room there"],
    ),
    (
        "tracer/load.rs",
        "task {tid} is killed: its program could",
        Shell("$PRUN sh -c 'ulimit -v 4000; exec $GUEST exit 3'"),
        139,
        &["Cannot allocate memory"],
    ),
    (
        "tracer/load.rs",
        "task {tid} is killed: at most {} tasks",
        Race("as many tasks must run 32-bit programs as there are slots below 4 GiB"),
        0,
        &[],
    ),
    (
        "syscall/symlinked.rs",
        "a name that stands for a hard link",
        Race("the host must refuse one of several steps that follow each other"),
        0,
        &[],
    ),
    (
        "syscall/identity/files.rs",
        "a file's mode is changed, though its owner",
        Race(
            "the file system must refuse two changes in a row after it took one, as under an injector (faults)",
        ),
        0,
        &[],
    ),
    (
        "syscall/identity/make.rs",
        "the owner of a new file is forgotten",
        Race("the file system must fill up between the making of a file and its attribute"),
        0,
        &[],
    ),
];

/// File below `src` → what follows `mark` up to the end of the first argument, at every place.
fn places(mark: &str) -> Vec<(String, String)> {
    let mut found = vec![];
    for (name, source) in sources() {
        for after in source.split(mark).skip(1) {
            // Of notes only those that are said in any case.
            let after = match (mark, after.trim_start()) {
                ("note!(", after) => match after.strip_prefix("0,") {
                    Some(after) => after.trim_start(),
                    None => continue,
                },
                (_, after) => after,
            };
            let first = match after.strip_prefix('"') {
                Some(text) => text.split('"').next(),
                None => after.split([',', ')']).next(),
            };
            found.push((name.clone(), first.expect("an argument").to_owned()));
        }
    }
    found
}

/// Each place has as many cases as it occurs, and each case a place.
fn covered(places: &[(String, String)], cases: &[Case]) {
    let mut count: BTreeMap<String, i32> = BTreeMap::new();
    for (file, text) in places {
        let case = cases.iter().find(|c| c.0 == file && text.starts_with(c.1));
        let case =
            case.unwrap_or_else(|| panic!("src/{file} says {text:?}, and no case here brings it about"));
        *count.entry(format!("{file}: {}", case.1)).or_default() += 1;
    }
    for case in cases {
        *count.entry(format!("{}: {}", case.0, case.1)).or_default() -= 1;
    }
    let wrong: Vec<_> = count.iter().filter(|&(_, &n)| n != 0).collect();
    assert!(wrong.is_empty(), "places without a case (more than 0) and cases without a place: {wrong:?}");
}

fn brought_about(case: &Case, check: impl Fn(&str)) {
    let (file, text, how, status, words) = case;
    let script = match how {
        Shell(script) => script,
        Machine(words) => {
            let suite = include_str!("kernels/suite");
            assert!(suite.contains(words), "{file}: {text}: {words:?} is not in tests/kernels/suite");
            return;
        }
        Race(why) => return assert!(!why.is_empty()),
    };
    let dir = folder(Who::User);
    let d = dir.path().display().to_string();
    let script = format!("PRUN='{}' GUEST='{}' DIR='{d}'; export PRUN GUEST DIR; {script}", prun(), guest());
    let output = run(Who::User, &["bash", "-c", &script]);
    let said = error(&output);
    assert_eq!(output.status.code(), Some(*status), "{file}: {text}: {script}\n{said}");
    for word in *words {
        let word = in_this_library(word);
        assert!(said.contains(&word), "{file}: {text}: no {word:?} in {said}");
    }
    check(&said);
}

/// glibc's words for an errno in those of the C library that the tests and prun are built with.
fn in_this_library(words: &str) -> String {
    let mut words = words.to_owned();
    for (errno, glibc) in [(libc::ENOMEM, "Cannot allocate memory"), (libc::EMFILE, "Too many open files")] {
        let own = std::io::Error::from_raw_os_error(errno).to_string();
        words = words.replace(glibc, own.split(" (os error").next().expect("a text"));
    }
    words
}

#[test]
fn every_failure_has_a_case_and_names_a_cure() {
    covered(&places("Failure::new("), FAILURES);
    for case in FAILURES {
        // musl's library looks at the root by the call that is refused here.
        let early = cfg!(not(target_env = "gnu")) && case.1 == "look at what is to be shown";
        let words = &["'/'", "Cannot allocate memory"];
        let case = if early { (case.0, "use the root", case.2, case.3, &words[..]) } else { *case };
        brought_about(&case, |said| {
            let doing = if case.1 == "doing" { "use the root" } else { case.1 };
            let (first, cure) = said.split_once('\n').unwrap_or((said, ""));
            assert!(first.starts_with(&format!("prun: cannot {doing}")), "{said}");
            assert!(first.contains(": "), "no cause: {said}");
            assert!(cure.starts_with("      ") && cure.trim().len() > 10, "no cure: {said}");
        });
    }
}

#[test]
fn every_warning_has_a_case() {
    let mut all = places("warning!(");
    all.extend(places("note!("));
    // The macro itself.
    all.retain(|(file, _)| file != "report.rs");
    covered(&all, WARNINGS);
    for case in WARNINGS {
        brought_about(case, |said| assert!(said.starts_with("prun: "), "{said}"));
    }
}

/// What the command line itself refuses.
#[test]
fn the_command_line_names_what_is_near() {
    for (args, words) in [
        (&["--bnid", "x"][..], &["unexpected argument '--bnid'", "--bind"][..]),
        (&["--doctor=xml"], &["xml", "json"]),
        (&["-b"], &["a value is required", "--bind"]),
    ] {
        let prun = prun();
        let output = run(Who::User, &[&[prun.as_str()], args].concat());
        assert_eq!(output.status.code(), Some(125), "{args:?}");
        for word in words {
            assert!(error(&output).contains(word), "{args:?}: {}", error(&output));
        }
    }
}
