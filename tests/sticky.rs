//! Links in folders where everybody may make some: the kernel lets a path end in one only if its owner asks, or if the
//! folder is the owner's too, where `fs.protected_symlinks` is 1 (`may_follow_link()`). prun follows links by itself, and
//! has to ask the same.

use crate::harness::*;

#[test]
fn a_link_is_followed_by_whom_the_kernel_lets() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("not run: only root can make links of several owners");
        return;
    }
    let level = std::fs::read_to_string("/proc/sys/fs/protected_symlinks").unwrap_or_default();
    let (prun, guest) = (prun(), guest());
    // The folder above is nobody's to change, and sticky as /tmp is.
    let (native, faked) = (folder(Who::Me), folder(Who::User));
    let at = |dir: &tempfile::TempDir| dir.path().display().to_string();
    let (dir, own) = (at(&native), at(&faked));
    good(Who::Me, &[&guest, "sticky-make", &dir]);
    let look = |who, front: &[&str], dir: &str, users: &[&str]| {
        good(who, &[front, &[guest.as_str(), "sticky-look", dir], users].concat())
    };
    let users = ["0", "7", "8"];
    let seen = look(Who::Me, &[], &dir, &users);
    assert!(seen.lines().count() > 900, "{seen}");
    assert_eq!(
        seen.contains("0 7-1777/65534-file: -EACCES"),
        level.trim() == "1",
        "protected_symlinks is {level}"
    );
    let bind = format!("{dir}:/shown");
    for engine in ENGINES {
        let engine = format!("PRUN_ENGINE={engine}");
        let front = ["env", &engine, &prun, "--"];
        compare(&look(Who::Me, &[], &dir, &["7"]), &look(Who::Me, &front, &dir, &["7"]), &engine);
    }
    compare(&seen, &look(Who::Me, &[&prun, "-b", &bind], "/shown", &users), "binding");
    let alone = look(Who::User, &[], &dir, &["65534"]);
    compare(&alone, &look(Who::User, &[&prun], &dir, &["65534"]), "an ordinary user");
    // One session, whose root has made them.
    let script = format!("{guest} sticky-make {own}; {guest} sticky-look {own} {}", users.join(" "));
    compare(&seen, &good(Who::User, &[&prun, "-0", "sh", "-c", &script]), "a fake identity");
}

fn compare(native: &str, ours: &str, what: &str) {
    let lines = native.lines().zip(ours.lines()).filter(|(n, o)| n != o);
    let differ: Vec<String> = lines.map(|(n, o)| format!("native {n}\n prun  {o}")).collect();
    assert!(
        differ.is_empty(),
        "{what}: {} differ\n{}",
        differ.len(),
        differ[..differ.len().min(9)].join("\n")
    );
    assert_eq!(native.lines().count(), ours.lines().count(), "{what}");
}
