//! Where paths lead on a real tree: prun, bubblewrap with the same bindings, and the reference model must agree.

use crate::harness::*;
use crate::model::case;
use crate::model::tree::{Last, Limits, Place, Reached, Shown, What, text};
use crate::model::world::{Ask, Case, World};
use proptest::prelude::*;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// Where a place of the model's host is.
fn real(top: &Path, place: &[Vec<u8>]) -> PathBuf {
    place.iter().fold(top.to_owned(), |at, name| at.join(std::ffi::OsStr::from_bytes(name)))
}

/// Makes the host's tree; every node's inode.
fn build(world: &World, top: &Path) -> Vec<u64> {
    let mut inodes = vec![0; world.host.nodes.len()];
    let mut todo: Vec<Place> = vec![vec![]];
    let mut locked = vec![];
    while let Some(place) = todo.pop() {
        let path = real(top, &place);
        let mut node = 0;
        for name in &place {
            let What::Dir { entries, .. } = &world.host.nodes[node] else { unreachable!("on the way") };
            node = entries[name];
        }
        match &world.host.nodes[node] {
            What::Dir { entries, open } => {
                if !place.is_empty() {
                    std::fs::create_dir(&path).expect("new");
                }
                if !open {
                    locked.push(path.clone());
                }
                todo.extend(entries.keys().map(|name| place.iter().cloned().chain([name.clone()]).collect()));
            }
            What::File => std::fs::write(&path, "").expect("new"),
            What::Link(text) => symlink(std::ffi::OsStr::from_bytes(text), &path).expect("new"),
        }
        let meta = path.symlink_metadata().expect("made");
        inodes[node] = meta.ino();
        if !meta.is_symlink() {
            give(&path, Who::User);
        }
    }
    for path in locked {
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o0)).expect("ours");
    }
    inodes
}

fn resolve_flags(limits: Limits) -> u64 {
    [limits.no_xdev, false, limits.no_symlinks, limits.beneath, limits.in_root]
        .iter()
        .enumerate()
        .map(|(bit, on)| u64::from(*on) << bit)
        .sum()
}

/// What the guest program says under `argv`.
fn answers(argv: &[String], list: &[u8]) -> Vec<String> {
    let argv: Vec<&str> = argv.iter().map(String::as_str).collect();
    let mut child = command(Who::User, &argv)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut input = child.stdin.take().expect("piped");
    let list = list.to_vec();
    let writer = std::thread::spawn(move || input.write_all(&list));
    let output = child.wait_with_output().expect("it ends");
    writer.join().expect("no panic").expect("it reads");
    assert!(output.status.success(), "{argv:?}: {}", String::from_utf8_lossy(&output.stderr));
    text_of(&output).lines().map(str::to_owned).collect()
}

fn text_of(output: &std::process::Output) -> String {
    crate::harness::text(output)
}

fn check(case: &Case) -> Result<(), TestCaseError> {
    let world = World::new(case);
    let dir = folder(Who::User);
    let top = dir.path().join("top");
    std::fs::create_dir(&top).expect("new");
    let inodes = build(&world, &top);
    let root = top.join(std::ffi::OsStr::from_bytes(&world.root.as_bytes()[1..]));
    let show = |path: &[u8]| {
        top.join(std::ffi::OsStr::from_bytes(&path[1..]))
            .display()
            .to_string()
            .trim_end_matches('/')
            .to_owned()
    };
    // Where the program itself is; no path of a case leads there.
    std::fs::create_dir(root.join("guest")).expect("new");
    let bin = guest();
    let bin = bin.strip_suffix("/guest").expect("a folder");
    let mut ours =
        vec![prun(), "-r".into(), root.display().to_string(), "-b".into(), format!("{bin}:/guest")];
    let mut theirs: Vec<String> =
        ["bwrap", "--bind", &root.display().to_string(), "/", "--bind", bin, "/guest"]
            .map(str::to_owned)
            .into();
    for b in &world.bindings {
        let (host, at) = (show(b.host.as_bytes()), String::from_utf8_lossy(b.guest.as_bytes()).into_owned());
        ours.extend(["-b".into(), format!("{host}:{at}")]);
        theirs.extend(["--bind".into(), host, at]);
    }
    ours.extend(["-w", "/", "/guest/guest", "reach"].map(str::to_owned));
    theirs.extend(["--chdir", "/", "/guest/guest", "reach"].map(str::to_owned));
    let asks: Vec<&Ask> = case.asks.iter().filter(|ask| ask.last() != Last::Entry).collect();
    let mut list = vec![];
    for ask in &asks {
        list.extend(text(world.base(ask)));
        list.push(0);
        list.extend(ask.path.bytes());
        list.extend(if ask.last() == Last::Kept { b"\0k\0" } else { b"\0f\0" });
        list.extend(resolve_flags(ask.limits()).to_string().into_bytes());
        list.push(b'\n');
    }
    let (ours, theirs) = (answers(&ours, &list), answers(&theirs, &list));
    prop_assert_eq!(ours.len(), asks.len());
    for (i, ask) in asks.iter().enumerate() {
        let base = world.base(ask);
        let model = match world.answer(ask) {
            _ if !world.guest.is_open_dir(base) => "no base: -EACCES".to_owned(),
            Err(e) => format!("-{e:?}"),
            Ok(Reached::Thing(place)) => {
                let made_up = world.guest.shown.get(&place) == Some(&Shown::MadeUp);
                prop_assert!(!made_up, "mountable bindings need none");
                inodes[world.guest.node(&place).expect("reached")].to_string()
            }
            Ok(other) => format!("{other:?}"),
        };
        prop_assert!(
            ours[i] == theirs[i] && theirs[i] == model,
            "'{}' from '{}' {:?} {:?}\nprun {}, bubblewrap {}, model {}\n{:?}",
            ask.path.bytes().escape_ascii(),
            text(base).escape_ascii(),
            ask.last(),
            ask.limits(),
            ours[i],
            theirs[i],
            model,
            world.guest.shown
        );
    }
    good(Who::Me, &["chmod", "-R", "u+rwx", &top.display().to_string()]);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: times(200), max_shrink_iters: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// Each case is one tree, and one run of each over some eighty paths.
    #[test]
    fn paths_lead_where_the_kernel_says(case in case(100..140).prop_map(|case| case.mountable())) {
        let mut case = case;
        case.asks.iter_mut().for_each(|ask| ask.change = None);
        check(&case)?;
    }
}
