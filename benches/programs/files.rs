//! The files that the jobs work on: the same for everybody, made anew each time.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

/// How much work there is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    /// Folders in `files/`, of 100 files each.
    pub(crate) folders: usize,
    /// Folders in the git repository, of 40 files each.
    pub(crate) repository: usize,
    /// Times that the loops of python and exec are run.
    pub(crate) loops: usize,
}

/// Native runs take some 0.2 s of CPU.
pub(crate) const FULL: Size = Size { folders: 900, repository: 1000, loops: 300 };
/// To see that everything works.
pub(crate) const QUICK: Size = Size { folders: 90, repository: 100, loops: 30 };

/// C files of the build.
const SOURCES: usize = 26;

/// A folder with the tree and an empty place to show it at.
pub(crate) struct Files {
    dir: tempfile::TempDir,
}

impl Files {
    /// Makes it.
    ///
    /// # Panics
    /// When /tmp is full or git is missing: there is nothing to measure then.
    pub(crate) fn new(size: Size, guest: &str) -> Self {
        let dir = tempfile::Builder::new().prefix("prun-programs").tempdir_in("/tmp").expect("a folder");
        let files = Self { dir };
        fs::create_dir(files.place()).expect("ours");
        let tree = files.tree();
        fill(&tree.join("files"), size.folders, 100);
        fill(&tree.join("repo"), size.repository, 40);
        repository(&tree.join("repo"));
        sources(&tree.join("src"));
        fs::copy(guest, tree.join("guest")).expect("ours");
        files
    }

    /// The tree as the host has it.
    pub(crate) fn tree(&self) -> PathBuf {
        self.dir.path().join("tree")
    }

    /// Where it is shown, for runtimes that translate paths.
    pub(crate) fn place(&self) -> PathBuf {
        self.dir.path().join("at")
    }

    /// Where messages of the jobs go.
    pub(crate) fn messages(&self) -> PathBuf {
        self.dir.path().join("messages")
    }
}

/// `folders` folders of `each` small files, thirty folders to a folder.
fn fill(dir: &Path, folders: usize, each: usize) {
    // Older than anything git writes: it reads a file that is as new as its index again each time.
    let old = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    for i in 0..folders {
        let folder = dir.join(format!("section{:02}/folder{:02}", i / 30, i % 30));
        fs::create_dir_all(&folder).expect("ours");
        for j in 0..each {
            let text = format!("file {j} of folder {i}\n").repeat(1 + (i * 7 + j * 13) % 20);
            let path = folder.join(format!("item{j:03}.txt"));
            fs::write(&path, text).expect("ours");
            let file = fs::File::options().write(true).open(&path).expect("ours");
            file.set_modified(old).expect("ours");
        }
    }
}

/// git without the settings of whoever runs it.
pub(crate) const GIT: [(&str, &str); 4] = [
    ("GIT_CONFIG_GLOBAL", "/dev/null"),
    ("GIT_CONFIG_SYSTEM", "/dev/null"),
    ("GIT_OPTIONAL_LOCKS", "0"),
    ("GIT_TERMINAL_PROMPT", "0"),
];

fn repository(dir: &Path) {
    let git = |words: &[&str]| {
        let status = Command::new("git")
            .args(["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "gc.auto=0", "-C"])
            .arg(dir)
            .args(words)
            .envs(GIT)
            .status()
            .expect("git is installed");
        assert!(status.success(), "git {words:?}: {status}");
    };
    git(&["-c", "init.defaultBranch=main", "init", "-q"]);
    git(&["add", "."]);
    git(&["commit", "-q", "-m", "all"]);
}

/// C files with the headers that programs use, and a Makefile.
fn sources(dir: &Path) {
    fs::create_dir(dir).expect("ours");
    let mut objects = String::new();
    for i in 0..SOURCES {
        let mut text = String::new();
        for header in
            ["errno", "fcntl", "inttypes", "math", "stdio", "stdlib", "string", "sys/stat", "unistd"]
        {
            writeln!(text, "#include <{header}.h>").expect("a string takes it");
        }
        for j in 0..20 {
            writeln!(
                text,
                "int f{i}_{j}(const char *s) {{ struct stat st; int n = 0; while (*s) n += *s++ * {j}; \
                 if (stat(s, &st)) printf(\"%s %d\\n\", strerror(errno), n); return n; }}"
            )
            .expect("a string takes it");
        }
        fs::write(dir.join(format!("part{i:02}.c")), text).expect("ours");
        write!(objects, " part{i:02}.o").expect("a string takes it");
    }
    fs::write(dir.join("Makefile"), format!("all:{objects}\n%.o: %.c\n\tgcc -O1 -c -o $@ $<\n"))
        .expect("ours");
}
