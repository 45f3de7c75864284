//! Random sequences of path calls, natively and under prun: every line of output must be the same.

use crate::harness::*;
use crate::model::{part, world};
use proptest::prelude::*;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use world::Part;

/// One call.
#[derive(Clone)]
struct Step {
    call: &'static str,
    slots: (u8, u8),
    flags: u8,
    paths: (world::Path, world::Path),
}

impl Step {
    fn line(&self) -> Vec<u8> {
        let path = |path: &world::Path| {
            let mut text = path.bytes();
            if path.absolute {
                text.insert(0, b'@');
            }
            text
        };
        let (a, b) = self.slots;
        let head = format!("{}\0{a}\0{b}\0{}\0", self.call, self.flags).into_bytes();
        [head, path(&self.paths.0), b"\0".to_vec(), path(&self.paths.1)].concat()
    }
}

impl std::fmt::Debug for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", String::from_utf8_lossy(&self.line()).replace('\0', " "))
    }
}

/// Calls, and how often they come.
const CALLS: [(u32, &str); 20] = [
    (8, "open"),
    (3, "openat2"),
    (8, "mkdir"),
    (1, "mknod"),
    (7, "symlink"),
    (4, "link"),
    (8, "rename"),
    (3, "unlink"),
    (3, "rmdir"),
    (5, "chdir"),
    (2, "fchdir"),
    (2, "getcwd"),
    (5, "stat"),
    (2, "readlink"),
    (1, "chmod"),
    (1, "truncate"),
    (1, "access"),
    (3, "list"),
    (1, "proc"),
    (2, "open"),
];

fn path() -> impl Strategy<Value = world::Path> {
    let ups = |parts: &Vec<Part>| parts.iter().filter(|p| **p == Part::Up).count() < 3;
    let parts = prop::collection::vec(part(), 1..4).prop_filter("no further up than the tree is deep", ups);
    (prop::bool::weighted(0.25), parts).prop_map(|(absolute, parts)| world::Path { absolute, parts })
}

fn step() -> impl Strategy<Value = Step> {
    let call = prop::strategy::Union::new_weighted(CALLS.map(|(weight, call)| (weight, Just(call))).to_vec());
    let slot = || prop_oneof![3 => Just(3u8), 1 => 0..3u8];
    (call, (slot(), slot()), 0..104u8, (path(), path())).prop_map(|(call, slots, flags, paths)| Step {
        call,
        slots,
        flags,
        paths,
    })
}

/// Deep enough that nothing climbs out of it, with directories on the way that the guest cannot write.
fn deep(top: &Path) -> PathBuf {
    let mut at = top.to_owned();
    for _ in 0..16 {
        at.push("up");
    }
    std::fs::create_dir_all(&at).expect("new");
    at.push("w");
    std::fs::create_dir(&at).expect("new");
    give(&at, Who::User);
    at
}

fn play(argv: &[&str], script: &[u8]) -> Vec<String> {
    let mut child = command(Who::User, argv)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    child.stdin.take().expect("piped").write_all(script).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{argv:?}: {}", String::from_utf8_lossy(&output.stderr));
    text(&output).lines().map(str::to_owned).collect()
}

/// The script of `steps`.
fn script(steps: &[Step]) -> Vec<u8> {
    steps.iter().map(Step::line).collect::<Vec<_>>().join(&b'\n')
}

/// Runs both in a folder of the same name, made anew.
fn both(
    guest: &str,
    script: &[u8],
    native: impl Fn(&str) -> Vec<String>,
    ours: impl Fn(&str) -> Vec<String>,
    at: Option<&str>,
) -> (Vec<String>, Vec<String>) {
    let top = folder(Who::Me);
    let once = |front: &dyn Fn(&str) -> Vec<String>| {
        let place = top.path().join("t");
        let work = deep(&place);
        let work_text = work.display().to_string();
        let front = front(&work_text);
        let mut argv: Vec<&str> = front.iter().map(String::as_str).collect();
        argv.extend([guest, "script", at.unwrap_or(&work_text)]);
        let lines = play(&argv, script);
        good(Who::Me, &["chmod", "-R", "u+rwx", &place.display().to_string()]);
        std::fs::remove_dir_all(&place).expect("ours");
        lines
    };
    (once(&native), once(&ours))
}

/// What two lines that differ mean.
#[derive(PartialEq, Eq)]
enum Verdict {
    Wrong,
    /// Both refuse, for another of several reasons.
    OtherReason,
    /// The one has done something, the other not: from here on the trees differ.
    Ends,
}

/// prun renames across bindings where the host can, and else says what the host says; a mount never does.
fn at_mounts(native: &str, ours: &str) -> Verdict {
    match native.split(' ').nth(1) {
        Some("rename") if native.ends_with("-EXDEV") && ours.contains("-> -E") => Verdict::OtherReason,
        Some("rename") if native.ends_with("-EXDEV") => Verdict::Ends,
        _ => Verdict::Wrong,
    }
}

fn same(
    native: &[String],
    ours: &[String],
    steps: usize,
    judge: impl Fn(&str, &str) -> Verdict,
) -> Result<(), TestCaseError> {
    prop_assert_eq!(native.len(), steps);
    for (i, (a, b)) in native.iter().zip(ours).enumerate().filter(|(_, (a, b))| a != b) {
        match judge(a, b) {
            Verdict::OtherReason => {}
            Verdict::Ends => return Ok(()),
            Verdict::Wrong => {
                prop_assert!(false, "native: {}\n prun: {}\nafter:\n{}", a, b, native[..i].join("\n"))
            }
        }
    }
    prop_assert_eq!(ours.len(), steps);
    Ok(())
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

/// `PRUN_CASES=20` tries twenty times as many.
fn config(cases: u32) -> ProptestConfig {
    let times = std::env::var("PRUN_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(1);
    let cases = crate::harness::times(cases * times).max(cases.min(10));
    ProptestConfig { cases, max_shrink_iters: 1500, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config(150))]

    #[test]
    fn calls_in_the_identity_root(steps in prop::collection::vec(step(), 1..60)) {
        let (native, ours) = both(&guest(), &script(&steps), |_| vec![], |_| vec![prun(), "--".into()], None);
        same(&native, &ours, steps.len(), |_, _| Verdict::Wrong)?;
    }

    #[test]
    fn calls_through_a_binding(steps in prop::collection::vec(step(), 1..60)) {
        let (native, ours) = both(
            &guest(),
            &script(&steps),
            |w| words(&format!("bwrap --dev-bind / / --bind {w} /mnt")),
            |w| words(&format!("{} -b {w}:/mnt", prun())),
            Some("/mnt"),
        );
        same(&native, &ours, steps.len(), at_mounts)?;
    }
}

proptest! {
    #![proptest_config(config(120))]

    /// A directory, a file and a read-only directory are bound inside a bound directory, which stays open: what is
    /// bound can be reached although a directory above it is closed later.
    #[test]
    fn calls_among_mounts(steps in prop::collection::vec(step(), 1..60)) {
        let mut steps = steps;
        steps.retain(|step| step.call != "chmod");
        let make = |w: &str| {
            let w = Path::new(w);
            for dir in ["b", "e", "../s", "../t"] {
                std::fs::create_dir(w.join(dir)).expect("new");
                give(&w.join(dir), Who::User);
            }
            for file in ["c", "../f", "../t/a"] {
                std::fs::write(w.join(file), "file").expect("new");
                give(&w.join(file), Who::User);
            }
        };
        let (native, ours) = both(
            &guest(),
            &script(&steps),
            |w| {
                make(w);
                words(&format!(
                    "bwrap --dev-bind / / --bind {w} /mnt --bind {w}/../s /mnt/b --bind {w}/../f /mnt/c \
                     --ro-bind {w}/../t /mnt/e"
                ))
            },
            |w| {
                make(w);
                words(&format!(
                    "{} -b {w}:/mnt -b {w}/../s:/mnt/b -b {w}/../f:/mnt/c -b {w}/../t:/mnt/e:ro",
                    prun()
                ))
            },
            Some("/mnt"),
        );
        same(&native, &ours, steps.len(), at_mounts)?;
    }
}

proptest! {
    #![proptest_config(config(60))]

    /// The same of a 32-bit program.
    #[test]
    fn calls_of_32_bits_through_a_binding(steps in prop::collection::vec(step(), 1..60), engine in 0..3usize) {
        let (native, ours) = both(
            &crate::narrow::suite(),
            &script(&steps),
            |w| words(&format!("bwrap --dev-bind / / --bind {w} /mnt")),
            |w| words(&format!("env PRUN_ENGINE={} {} -b {w}:/mnt", ENGINES[engine], prun())),
            Some("/mnt"),
        );
        same(&native, &ours, steps.len(), at_mounts)?;
    }
}

/// What disagreed once, as a failing test prints it.
#[test]
fn what_disagreed_before_agrees() {
    // In a directory whose name is of no use any more: one above may not be searched.
    let inside = "mkdir 3 3 0 c a\nchdir 3 3 0 c a\nsymlink 3 3 0 b /usr\nsymlink 3 3 0 d e\nmkdir 3 3 0 e a\n\
                  symlink 3 3 0 l e/x\nsymlink 3 3 0 m ../c/e\nopen 3 0 1 . a\nchmod 3 3 26 .. a\n";
    let looks = "stat 3 3 0 a a\nstat 3 3 0 b/bin a\nstat 3 3 0 d/. a\nstat 3 3 0 ./m a\nstat 3 3 0 e/../e a\n\
                 open 3 1 6 l a\nstat 0 3 0 l a\nstat 0 3 1 l a\nunlink 3 3 0 d/x a\nlist 3 3 0 b a\nlist 0 3 0 .. a\n\
                 stat 3 3 0 .. a\nstat 3 3 0 ../ a\nstat 3 3 0 ../. a\nstat 3 3 0 ../../mnt a\nstat 3 3 0 ../c a\n\
                 mkdir 0 3 0 d/n a\naccess 3 3 1 b a\ntruncate 3 3 3 l a\nsymlink 3 3 0 d/s q\nreadlink 3 3 0 m/s a\n\
                 rmdir 0 3 0 m a\nrename 3 3 0 e f\nstat 3 3 0 d a\nchdir 3 3 0 m a\nchdir 3 3 0 f a\nstat 3 3 0 ../f a";
    let limits = (0..104)
        .map(|n| ["a", "d", "b", "e/..", "../c"].map(|path| format!("openat2 3 1 {n} {path} a")).join("\n"));
    let cut_off = [vec![looks.into()], limits.collect()].concat().join("\n");
    let cut_off = format!("{inside}{cut_off}");
    let scripts = [
        &cut_off,
        // Through the kernel's own name for a descriptor of a link: that is no directory, wherever the link leads.
        "symlink 3 3 0 b a\nopen 3 3 94 b a\nproc 0 3 0 a a\nproc 0 3 0 .. a\nproc 0 3 0 . a",
        "symlink 3 3 0 a a\nopen 3 1 94 a a\nproc 1 3 0 a a\nproc 1 3 0 ../a a",
        "mkdir 3 3 0 a a\nsymlink 3 3 0 b a\nopen 3 0 94 b a\nproc 0 3 0 a a\nproc 0 3 0 .. a\nproc 0 3 0 . a",
    ];
    for text in scripts {
        let steps = text.lines().count();
        let script = text.replace(' ', "\0").into_bytes();
        let alone = both(&guest(), &script, |_| vec![], |_| vec![prun(), "--".into()], None);
        let bound = both(
            &guest(),
            &script,
            |w| words(&format!("bwrap --dev-bind / / --bind {w} /mnt")),
            |w| words(&format!("{} -b {w}:/mnt", prun())),
            Some("/mnt"),
        );
        for (native, ours) in [alone, bound] {
            assert_eq!(native.len(), steps);
            assert_eq!(native, ours, "{text}");
        }
    }
}

/// Starting points that are no directory, or that the guest has no name for: an absolute link is the guest's all the
/// same. Each was a way out once.
#[test]
fn odd_places_to_start_from() {
    let root = folder(Who::User);
    let work = root.path().join("w");
    std::fs::create_dir_all(work.join("deep")).expect("new");
    std::fs::create_dir_all(root.path().join("up/in")).expect("new");
    let r = root.path().display().to_string();
    // The host has this, the guest has not.
    let marker = root.path().join("up/secret");
    std::fs::write(&marker, "secret").expect("new");
    let secret = marker.display().to_string();
    std::os::unix::fs::symlink(root.path().join("up"), work.join("out")).expect("new");
    std::os::unix::fs::symlink(&secret, work.join("far")).expect("new");
    for who in [&work, &work.join("deep"), &root.path().join("up/in")] {
        give(who, Who::User);
    }
    let prun = prun();
    let guest = guest();
    let bin = guest.strip_suffix("/guest").expect("a folder");
    let empty = folder(Who::User);
    let e = empty.path().display().to_string();
    // With a placeholder, because then every path is resolved; and without.
    for extra in [&["-b", "/usr:/made/up"][..], &[]] {
        let bin = format!("{bin}:/bin");
        let (w, up) = (format!("{r}/w:/w"), format!("{r}/up/in:/in"));
        let front = [&prun, "-r", &e, "-b", &bin, "-b", "/proc", "-b", &w, "-b", &up];
        let argv = [&front[..], extra, &["-w", "/", "/bin/guest", "outside", &secret]].concat();
        assert_eq!(
            good(Who::User, &argv),
            "link as a directory -> -ENOTDIR\nlink as a directory, up -> -ENOTDIR\n\
             absolute with a bad descriptor -> -ENOENT\nabsolute with a file's descriptor -> -ENOENT\n\
             link in a deep directory -> -ENOENT\nlinked directory in a deep one -> -ENOENT\n\
             leaf by a link -> ok\nup from a deep directory -> -ENOENT\nback to a name -> ok\n\
             exec by a link in a deep directory -> -ENOENT\n",
            "{extra:?}"
        );
        std::fs::remove_dir_all(root.path().join("up/in")).expect("ours");
        std::fs::create_dir(root.path().join("up/in")).expect("ours");
        give(&root.path().join("up/in"), Who::User);
    }
}
