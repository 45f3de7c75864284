//! A fake root that calls chroot(2), and one that becomes another user: what an ordinary user's guest sees is what real
//! root would see.

use crate::harness::*;
use std::path::Path;

/// Sequences of calls around chroot(2); they print what they find.
const CASES: &str = include_str!("chroot/cases.py");
/// Calls of a user whom root has become.
const DROPPED: &str = include_str!("identity/dropped.py");

/// Whether whoever runs the tests is not root, who has to say what is right.
fn nobody_knows() -> bool {
    let no = !nix::unistd::geteuid().is_root();
    if no {
        eprintln!("only root can do natively what these tests do: nothing is compared");
    }
    no
}

/// What a Python program prints, run by `front`.
fn python(who: Who, front: &[&str], program: &str, arguments: &[&str]) -> String {
    let dir = folder(Who::Me);
    let file = dir.path().join("program.py");
    std::fs::write(&file, program).expect("ours");
    good(who, &[front, &["python3", &file.display().to_string()], arguments].concat())
}

/// What the cases print in the empty folder `at`, run by `front`.
fn cases(who: Who, front: &[&str], at: &str, seed: u32, steps: u32) -> String {
    python(who, front, CASES, &[at, &seed.to_string(), &steps.to_string()])
}

/// The first lines that differ.
fn compare(native: &str, guest: &str, what: &str) {
    let differ: Vec<String> = native
        .lines()
        .zip(guest.lines())
        .filter(|(n, g)| n != g)
        .map(|(n, g)| format!("native {n}\n prun  {g}"))
        .collect();
    assert!(
        differ.is_empty(),
        "{what}: {} lines differ\n{}",
        differ.len(),
        differ[..differ.len().min(20)].join("\n")
    );
    assert_eq!(native.lines().count(), guest.lines().count(), "{what}");
    assert!(native.lines().count() > 100, "{what}: {native}");
}

/// A path in /tmp of the length and depth of that of a folder, so that ways up have the same number of steps.
fn elsewhere(dir: &Path) -> String {
    format!("/tmp/prun-shown-{}", dir.file_name().expect("it has a name").display())
}

#[test]
fn a_root_of_ones_own_is_that_of_the_kernel() {
    if nobody_knows() {
        return;
    }
    let prun = prun();
    for (seed, engine) in ENGINES.iter().enumerate() {
        let (native, guest) = (folder(Who::Me), folder(Who::User));
        let at = |dir: &tempfile::TempDir| dir.path().display().to_string();
        let engine = format!("PRUN_ENGINE={engine}");
        let native = cases(Who::Me, &[], &at(&native), seed as u32, times(2000));
        let guest = cases(Who::User, &["env", &engine, &prun, "-0"], &at(&guest), seed as u32, times(2000));
        compare(&native, &guest, &engine);
    }
}

#[test]
fn so_it_is_within_a_binding() {
    if nobody_knows() {
        return;
    }
    let prun = prun();
    let (native, guest) = (folder(Who::Me), folder(Who::User));
    let at = |dir: &tempfile::TempDir| dir.path().display().to_string();
    let (mount, shown) = (elsewhere(native.path()), elsewhere(guest.path()));
    // bubblewrap makes the mount point, prun does not.
    std::fs::create_dir(&mount).expect("ours");
    let bwrap = ["bwrap", "--cap-add", "ALL", "--dev-bind", "/", "/", "--bind", &at(&native), &mount];
    let native = cases(Who::Me, &bwrap, &mount, 7, times(2000));
    std::fs::remove_dir(&mount).expect("it is empty");
    let bind = format!("{}:{shown}", at(&guest));
    let guest = cases(Who::User, &[&prun, "-0", "-b", &bind], &shown, 7, times(2000));
    compare(&native, &guest, "binding");
}

#[test]
fn who_gave_root_up_may_what_the_kernel_lets_him() {
    if nobody_knows() {
        return;
    }
    let prun = prun();
    let (native, guest) = (folder(Who::Me), folder(Who::User));
    let at = |dir: &tempfile::TempDir| dir.path().display().to_string();
    let one_of = slow().min(8).to_string();
    let native = python(Who::Me, &[], DROPPED, &[&at(&native), &one_of]);
    let guest = python(Who::User, &[&prun, "-0"], DROPPED, &[&at(&guest), &one_of]);
    compare(&native, &guest, "dropped");
}

#[test]
fn a_signal_to_all_is_one_to_the_session() {
    let prun = prun();
    let mut bystander = command(Who::User, &["sleep", "3000"]).spawn().expect("it starts");
    let script = "(trap 'echo got' TERM; echo ready; sleep 3000 & wait) >out & while ! grep -q ready out; do sleep 0.05; done
        trap 'echo main' TERM; python3 -c 'import os; os.kill(-1, 15)'; wait; cat out";
    let dir = folder(Who::User);
    let seen = good(Who::User, &[&prun, "-0", "-w", &dir.path().display().to_string(), "bash", "-c", script]);
    assert_eq!(seen, "main\nready\ngot\n");
    assert!(
        bystander.try_wait().expect("it is ours").is_none(),
        "a process outside of the session was signalled"
    );
    // To timeout(1), which hands it on.
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(bystander.id() as i32), nix::sys::signal::SIGTERM)
        .expect("it is ours");
    bystander.wait().expect("it is ours");
}
