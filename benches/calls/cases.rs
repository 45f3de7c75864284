//! What is measured: one row of the table each.

use crate::runtime::Binding;
use crate::server::Loop;
use std::path::{Path, PathBuf};

/// Bindings of the three views. The last makes the cost of a look-up visible, if it grows.
pub(crate) const VIEWS: [usize; 3] = [1, 100, 10_000];

/// Sleeping processes beside the one that is measured.
const CROWD: u64 = 1000;

/// One row.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    /// What the table calls it.
    pub(crate) name: String,
    /// Bindings in the view.
    pub(crate) bindings: usize,
    /// Processes that sleep in the same session.
    pub(crate) idle: u64,
    kind: &'static str,
    threads: usize,
    file: &'static str,
}

/// A folder with the files that the loops use.
pub(crate) struct Files {
    dir: tempfile::TempDir,
}

/// A file at the tenth component, where the folder itself is the third.
const DEEP: &str = "4/5/6/7/8/9/f";

impl Files {
    /// Makes it, three components below the root, so that a file in it has a path of four.
    ///
    /// # Panics
    /// When /tmp cannot be written.
    pub(crate) fn new(guest: &str) -> Self {
        let dir = tempfile::Builder::new().prefix("prun-calls").tempdir_in("/tmp").expect("a folder");
        let tree = dir.path().join("tree");
        let deep = tree.join(DEEP);
        std::fs::create_dir_all(deep.parent().expect("it has folders")).expect("ours");
        std::fs::create_dir(dir.path().join("at")).expect("ours");
        for file in [tree.join("f"), deep] {
            std::fs::write(file, "text").expect("ours");
        }
        std::os::unix::fs::symlink("f", tree.join("link")).expect("ours");
        std::fs::copy(guest, tree.join("guest")).expect("ours");
        for i in 1..VIEWS[VIEWS.len() - 1] {
            std::fs::create_dir_all(dir.path().join(format!("more/{i}"))).expect("ours");
        }
        Self { dir }
    }

    /// The folder as the host has it: what is measured natively.
    pub(crate) fn tree(&self) -> PathBuf {
        self.dir.path().join("tree")
    }

    /// `count` bindings; the first shows the folder at another place.
    pub(crate) fn bindings(&self, count: usize) -> Vec<Binding> {
        let place = |name: &str| self.dir.path().join(name);
        let mut all = vec![(self.tree(), place("at"))];
        all.extend((1..count).map(|i| (self.tree(), place(&format!("more/{i}")))));
        all
    }

    fn shown_at(&self) -> PathBuf {
        self.dir.path().join("at")
    }

    /// The loop of `case`, natively or through the binding.
    pub(crate) fn request(&self, case: &Case, native: bool) -> Loop {
        let dir: &Path = &if native { self.tree() } else { self.shown_at() };
        Loop { kind: case.kind, threads: case.threads, path: dir.join(case.file).display().to_string() }
    }
}

/// All rows.
pub(crate) fn all() -> Vec<Case> {
    let case = |name: &str, kind, file| Case {
        name: name.into(),
        bindings: VIEWS[0],
        idle: 0,
        kind,
        threads: 1,
        file,
    };
    let mut all = vec![
        case("getppid (needs no stop)", "getppid", "f"),
        case("stat, 4 components", "stat", "f"),
        case("stat, 10 components", "stat", DEEP),
        case("lstat of a name in an open folder", "name", "f"),
        case("fstat by an empty path, not in glibc", "empty", "f"),
        case("open+close, 4 components", "open", "f"),
        case("open+close, 10 components", "open", DEEP),
        case("readlink, 4 components", "readlink", "link"),
        case("a folder of 4 entries listed", "list", "."),
        case("getcwd", "getcwd", "f"),
        case("fork+exec+wait, static program", "exec", "guest"),
    ];
    for threads in [4, 16, 64] {
        all.push(Case { threads, ..case(&format!("stat, {threads} threads"), "stat", "f") });
    }
    all.push(Case { idle: CROWD, ..case(&format!("stat, {CROWD} idle processes"), "stat", "f") });
    for bindings in &VIEWS[1..] {
        all.push(Case {
            bindings: *bindings,
            ..case(&format!("stat, 4 components, {bindings} bindings"), "stat", "f")
        });
    }
    all
}
