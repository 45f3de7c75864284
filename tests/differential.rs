//! The same program, the same output: natively (or in bubblewrap, where the root differs) and under prun.

use crate::harness::*;

/// One kind of line that may differ: how to tell it, and why.
type Exception = (fn(&str, &str) -> bool, &'static str);

const ALLOWED: [Exception; 5] = [
    (
        |native, _| native.contains("openat2") && native.ends_with("-EAGAIN"),
        "a rename anywhere on the machine makes the kernel give up a confined walk with `..`",
    ),
    (
        |native, ours| ours.ends_with("-EBUSY") && native.contains("-> -E"),
        "EBUSY for a mount point comes before the kernel's errors for flags and for the other path",
    ),
    (
        |native, _| native.contains(": link") || native.contains(": rename-noreplace"),
        "across bindings the host renames where it can, and EXDEV for a link comes before EEXIST",
    ),
    (
        |native, ours| {
            native.contains("openat2 1 ") && native.ends_with("-EXDEV") && ours.ends_with("-ELOOP")
        },
        "links in a circle are found before the host's mount on the way to them",
    ),
    (
        |native, _| native.contains("c39: ") && native.ends_with("-ELOOP"),
        "forty links are allowed, but a walk that the kernel begins anew, because of a rename or a mount anywhere on \
         the machine, counts on (total_link_count of fs/namei.c)",
    ),
];

pub(crate) fn may_differ(native: &str, ours: &str) -> bool {
    ALLOWED.iter().any(|(is, _)| is(native, ours))
}

fn same(native: &str, ours: &str) {
    assert!(native.lines().count() * share() > 10_000, "the suite has run: {} lines", native.lines().count());
    let wrong: Vec<String> = native
        .lines()
        .zip(ours.lines())
        .filter(|(a, b)| a != b && !may_differ(a, b))
        .map(|(a, b)| format!("native: {a}\n prun: {b}"))
        .take(20)
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(native.lines().count(), ours.lines().count());
}

/// Which paths are tried: one of so many, of each kind of test (`what`) from another on.
pub(crate) fn sample(what: &str) -> [String; 2] {
    [share(), drawn(what) as usize % share()].map(|number| number.to_string())
}

/// Runs `paths` in a folder of the same name, made anew each time.
fn paths(
    engine: &str,
    prefix: impl Fn(&str) -> Vec<String>,
    reference: impl Fn(&str) -> Vec<String>,
    at: Option<&str>,
) {
    paths_in(&guest(), &folder(Who::User), engine, prefix, reference, at);
}

/// The same of a guest program, in `dir`.
pub(crate) fn paths_in(
    guest: &str,
    dir: &tempfile::TempDir,
    engine: &str,
    prefix: impl Fn(&str) -> Vec<String>,
    reference: impl Fn(&str) -> Vec<String>,
    at: Option<&str>,
) {
    let work = dir.path().join("w");
    let work_text = work.display().to_string();
    let front = prefix("");
    let words: Vec<&str> = front.iter().map(String::as_str).filter(|word| !word.contains('/')).collect();
    let sample = sample(&format!("{engine} {} {}", words.join(" "), at.unwrap_or_default()));
    let once = |front: Vec<String>, engine: Option<&str>| {
        std::fs::create_dir(&work).expect("new");
        give(&work, Who::User);
        let mut argv: Vec<&str> = front.iter().map(String::as_str).collect();
        argv.extend([guest, "paths", at.unwrap_or(&work_text)]);
        argv.extend(sample.iter().map(String::as_str));
        let mut command = command(Who::User, &argv);
        if let Some(engine) = engine {
            command.env("PRUN_ENGINE", engine);
        }
        let output = command.output().expect("it starts");
        assert!(
            output.status.success(),
            "{argv:?} {:?} {}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        good(Who::Me, &["chmod", "-R", "u+rwx", &work_text]);
        std::fs::remove_dir_all(&work).expect("ours");
        text(&output)
    };
    let native = once(reference(&work_text), None);
    let ours = once(prefix(&work_text), Some(engine));
    same(&native, &ours);
}

#[test]
fn identity_root() {
    for engine in ENGINES {
        paths(engine, |_| vec![prun(), "--".into()], |_| vec![], None);
    }
}

/// In a folder that is not on the root's mount: `RESOLVE_NO_XDEV` counts from where a path starts.
#[test]
fn on_another_mount() {
    let dir = tempfile::Builder::new().prefix("prun-work").tempdir_in("/dev/shm").expect("memory");
    good(Who::Me, &["chmod", "755", &dir.path().display().to_string()]);
    give(dir.path(), Who::User);
    for engine in ENGINES {
        paths_in(&guest(), &dir, engine, |_| vec![prun(), "--".into()], |_| vec![], None);
    }
}

/// With `--confine` every argument is copied, and every path leads through a descriptor of the tracer.
#[test]
fn a_guest_that_is_not_trusted() {
    for engine in ENGINES {
        paths(engine, |_| words(&format!("{} --confine --", prun())), |_| vec![], None);
        paths(
            engine,
            |w| words(&format!("{} --confine -b {w}:/mnt", prun())),
            |w| words(&format!("bwrap --dev-bind / / --bind {w} /mnt")),
            Some("/mnt"),
        );
    }
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn through_a_binding() {
    for engine in ENGINES {
        paths(
            engine,
            |w| [vec![prun()], words(&format!("-b {w}:/mnt"))].concat(),
            |w| words(&format!("bwrap --dev-bind / / --bind {w} /mnt")),
            Some("/mnt"),
        );
    }
}

#[test]
fn synthetic_root() {
    let roots = [folder(Who::User), folder(Who::User)];
    let root = |i: usize| roots[i].path().display().to_string();
    let bin = guest();
    let bin = bin.strip_suffix("/guest").expect("a folder");
    for engine in ENGINES {
        paths(
            engine,
            |w| {
                let (prun, r) = (prun(), root(0));
                words(&format!("{prun} -r {r} -b /dev -b /proc -b {bin} -b {w}:/w -w /"))
            },
            |w| {
                let r = root(1);
                words(&format!(
                    "bwrap --bind {r} / --dev-bind /dev /dev --bind /proc /proc --bind {bin} {bin} --bind {w} /w --chdir /"
                ))
            },
            Some("/w"),
        );
    }
    assert_eq!(std::fs::read_dir(roots[0].path()).expect("there").count(), 0, "nothing is made in the root");
}

#[test]
fn torture() {
    for engine in ENGINES {
        let dir = folder(Who::User);
        let file = dir.path().join("f");
        std::fs::write(&file, "data").expect("ours");
        let (bind, calls) = (format!("{}:/mnt", dir.path().display()), times(50_000));
        let output =
            command(Who::User, &[&prun(), "-b", &bind, &guest(), "torture", "/mnt", &calls.to_string()])
                .env("PRUN_ENGINE", engine)
                .output()
                .expect("it starts");
        assert!(output.status.success(), "{engine}: {}", text(&output));
        assert!(
            text(&output).contains(&format!("calls {} handlers true bad 0", 4 * calls)),
            "{engine}: {}",
            text(&output)
        );
    }
}
