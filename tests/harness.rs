//! Running programs natively, under prun and under bubblewrap, as an ordinary user where the tests run as root.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

/// The id of an ordinary user that every system has.
const NOBODY: u32 = 65534;
/// Seconds after which a program hangs.
const LIMIT: &str = "120";

/// Who runs a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    /// Whoever runs the tests.
    Me,
    /// An ordinary user.
    User,
}

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// The engines; the suite runs on each.
pub(crate) const ENGINES: [&str; 3] = ["one-stop", "two-stop", "plain"];

/// A folder where every user finds prun and the guest program.
fn bin() -> &'static Path {
    static BIN: OnceLock<tempfile::TempDir> = OnceLock::new();
    let dir = BIN.get_or_init(|| {
        let dir = tempfile::Builder::new().prefix("prun-test").tempdir().expect("a temporary folder");
        let prun = PathBuf::from(env!("CARGO_BIN_EXE_prun"));
        let guest = prun.with_file_name("examples").join("guest");
        for (from, name) in [(prun, "prun"), (guest, "guest")] {
            std::fs::copy(&from, dir.path().join(name))
                .unwrap_or_else(|e| panic!("copy {}: {e}", from.display()));
        }
        std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).expect("ours");
        dir
    });
    dir.path()
}

pub(crate) fn prun() -> String {
    bin().join("prun").display().to_string()
}

pub(crate) fn guest() -> String {
    bin().join("guest").display().to_string()
}

/// A new folder that belongs to who runs the program.
pub(crate) fn folder(who: Who) -> tempfile::TempDir {
    let dir = tempfile::Builder::new().prefix("prun-work").tempdir().expect("a temporary folder");
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).expect("ours");
    give(dir.path(), who);
    dir
}

pub(crate) fn give(path: &Path, who: Who) {
    if who == Who::User && is_root() {
        std::os::unix::fs::chown(path, Some(NOBODY), Some(NOBODY)).expect("root may");
    }
}

/// `argv`, with a time limit.
pub(crate) fn command(who: Who, argv: &[&str]) -> Command {
    let mut all = vec!["timeout", "-k", "5", LIMIT];
    if who == Who::User && is_root() {
        all.extend(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]);
    }
    all.extend(argv);
    let mut command = Command::new(all[0]);
    command.args(&all[1..]).current_dir("/").env_remove("PRUN_ENGINE");
    command
}

pub(crate) fn run(who: Who, argv: &[&str]) -> Output {
    command(who, argv).output().expect("the program starts")
}

pub(crate) fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Standard output of a program that must succeed.
pub(crate) fn good(who: Who, argv: &[&str]) -> String {
    let output = run(who, argv);
    assert!(
        output.status.success(),
        "{argv:?}: {}\n{}{}",
        output.status,
        text(&output),
        String::from_utf8_lossy(&output.stderr)
    );
    text(&output)
}

/// prun with `args`.
pub(crate) fn under(who: Who, args: &[&str]) -> String {
    let prun = prun();
    good(who, &[&[prun.as_str()], args].concat())
}
