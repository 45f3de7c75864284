//! Running programs natively, under prun and under bubblewrap, as an ordinary user where the tests run as root.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

/// The id of an ordinary user that every system has.
const NOBODY: u32 = 65534;
/// Seconds after which a program hangs, on a machine that has other things to do.
const LIMIT: u32 = 300;

/// How many times slower than others this machine is, where it is emulated: what is only repeated is so less often, and
/// limits of time are longer.
pub(crate) fn slow() -> u32 {
    std::env::var("PRUN_TEST_SLOW").map_or(1, |times| times.parse().expect("PRUN_TEST_SLOW is a number"))
}

/// So many times, or fewer on a slow machine.
pub(crate) fn times(usual: u32) -> u32 {
    usual.div_ceil(slow())
}

/// One of so many cases is tried where they are thousands: odd, so that what every other case has comes up, too.
pub(crate) fn share() -> usize {
    ((slow() * 3 / 4) | 1) as usize
}

/// A number that is another for other things, and for the same always the same.
pub(crate) fn drawn(of: impl std::hash::Hash) -> u64 {
    use std::hash::{DefaultHasher, Hasher};
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish()
}

/// Who runs a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    /// Whoever runs the tests.
    Me,
    /// An ordinary user.
    User,
}

/// The folders of the host that programs need, those of them that this host has: the last is not everywhere.
pub(crate) fn system() -> Vec<&'static str> {
    ["/usr", "/bin", "/lib", "/lib64"].into_iter().filter(|dir| Path::new(dir).exists()).collect()
}

/// `dirs` as bindings.
pub(crate) fn bound<'a>(dirs: &[&'a str]) -> Vec<&'a str> {
    dirs.iter().flat_map(|&dir| ["-b", dir]).collect()
}

/// The names that a listing of a root shows which consists of [`system`]'s folders and of `others`.
pub(crate) fn listed(others: &[&str]) -> Vec<String> {
    let mut all: Vec<String> = system().iter().map(|dir| dir[1..].to_owned()).collect();
    all.extend(others.iter().map(|&name| name.to_owned()));
    all.sort();
    all
}

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// The engines; the suite runs on each.
pub(crate) const ENGINES: [&str; 3] = ["one-stop", "two-stop", "plain"];

/// A folder where every user finds prun and the guest program; the two come from the folder `PRUN_TEST_PROGRAMS`, on
/// another machine than where they were built.
fn bin() -> &'static Path {
    static BIN: OnceLock<tempfile::TempDir> = OnceLock::new();
    let dir = BIN.get_or_init(|| {
        let dir = tempfile::Builder::new().prefix("prun-test").tempdir().expect("a temporary folder");
        let built = PathBuf::from(env!("CARGO_BIN_EXE_prun"));
        let (prun, guest) = match std::env::var_os("PRUN_TEST_PROGRAMS").map(PathBuf::from) {
            Some(dir) => (dir.join("prun"), dir.join("guest")),
            None => (built.clone(), built.with_file_name("examples").join("guest")),
        };
        for (from, name) in [(prun, "prun"), (guest, "guest")] {
            copy_program(from, dir.path().join(name));
        }
        std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).expect("ours");
        remove_at_exit();
        dir
    });
    dir.path()
}

/// What is static is never dropped, and the folder is large.
#[allow(unsafe_code)]
fn remove_at_exit() {
    extern "C" fn remove() {
        // Whoever still runs from there is one of the tests' own processes, on its way out.
        let _ = std::fs::remove_dir_all(bin());
    }
    // SAFETY: the handler runs in this program, after its threads have been waited for, and unwinds nowhere.
    unsafe { libc::atexit(remove) };
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

/// Copies a program to where it is going to be executed, with its mode.
///
/// By a process of its own: while this one had the file open for writing, another test might start a program, which has all
/// that is open here until it executes, and a program that somebody has open for writing cannot be executed (`ETXTBSY`).
/// With three threads that start programs all the time 44 of 3000 such copies could not.
pub(crate) fn copy_program(from: impl AsRef<Path>, to: impl AsRef<Path>) {
    let copied = Command::new("cp").arg("-p").args([from.as_ref(), to.as_ref()]).status().expect("it starts");
    assert!(copied.success(), "cp {} {}", from.as_ref().display(), to.as_ref().display());
}

/// Makes a program, as [`copy_program`] does.
pub(crate) fn write_program(path: &Path, bytes: impl AsRef<[u8]>, mode: u32) {
    let draft = path.with_file_name(".draft");
    std::fs::write(&draft, bytes).expect("ours");
    // What is written anew may be in use by that name.
    let _ = std::fs::remove_file(path);
    copy_program(&draft, path);
    std::fs::remove_file(draft).expect("ours");
    std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).expect("ours");
}

/// `argv`, with a time limit.
pub(crate) fn command(who: Who, argv: &[&str]) -> Command {
    let limit = (LIMIT * slow().min(5)).to_string();
    let mut all = vec!["timeout", "-k", "5", &limit];
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

/// What it said on standard error.
pub(crate) fn error(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
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

/// prun's own source, up to its unit tests: file below `src`, text.
pub(crate) fn sources() -> Vec<(String, String)> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (mut found, mut look) = (vec![], vec![src.clone()]);
    while let Some(path) = look.pop() {
        if path.is_dir() {
            look.extend(std::fs::read_dir(&path).expect("ours").map(|e| e.expect("ours").path()));
            continue;
        }
        let Ok(source) = std::fs::read_to_string(&path) else { continue };
        let name = path.strip_prefix(&src).expect("below").display().to_string();
        found.push((name, source.split("#[cfg(test)]").next().expect("something").to_owned()));
    }
    found
}
