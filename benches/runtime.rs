//! What programs are run under, and how each is told to show a host directory at another place.
//!
//! All of them get the host's root and the same bindings, at places that exist on the host, so that none has to make
//! a place and none leaves one behind.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A way to run a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Runtime {
    /// As it is.
    Native,
    /// bubblewrap, where user namespaces work.
    Bwrap,
    /// prun, with an engine of [`ENGINES`].
    Prun(&'static str),
    /// A PRoot.
    Proot(PathBuf),
}

/// prun's engines, the default first.
pub(crate) const ENGINES: [&str; 2] = ["one-stop", "two-stop"];

/// A host directory and where it is shown.
pub(crate) type Binding = (PathBuf, PathBuf);

impl Runtime {
    /// Its name in tables.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Native => "native".into(),
            Self::Bwrap => "bubblewrap".into(),
            Self::Prun(engine) if *engine == ENGINES[0] => "prun".into(),
            Self::Prun(engine) => format!("prun {engine}"),
            Self::Proot(program) => match version(program) {
                Some(version) => format!("proot {version}"),
                None => program.display().to_string(),
            },
        }
    }

    /// The words that run `program` with the bindings.
    pub(crate) fn words(&self, bindings: &[Binding], options: &[&str], program: &[String]) -> Vec<String> {
        let text = |path: &Path| path.display().to_string();
        let mut words = match self {
            Self::Native => vec![],
            Self::Bwrap => ["bwrap", "--dev-bind", "/", "/"].map(String::from).to_vec(),
            Self::Prun(_) => vec![prun()],
            Self::Proot(program) => vec![text(program)],
        };
        words.extend(options.iter().map(|&o| o.to_owned()));
        for (host, guest) in bindings {
            match self {
                Self::Native => {}
                Self::Bwrap => words.extend(["--bind".into(), text(host), text(guest)]),
                Self::Prun(_) | Self::Proot(_) => {
                    words.extend(["-b".into(), format!("{}:{}", text(host), text(guest))]);
                }
            }
        }
        words.extend_from_slice(program);
        words
    }

    /// The environment it needs, and nothing that cargo says to its children: with its LD_LIBRARY_PATH every program
    /// would look for its libraries in dozens of folders.
    pub(crate) fn prepare(&self, command: &mut Command) {
        command.env_remove("PRUN_ENGINE").env_remove("LD_LIBRARY_PATH");
        if let Self::Prun(engine) = self {
            command.env("PRUN_ENGINE", engine);
        }
    }
}

/// The prun that was built with this benchmark.
pub(crate) fn prun() -> String {
    env!("CARGO_BIN_EXE_prun").into()
}

/// The guest program of the tests, which cargo does not build for a benchmark.
///
/// # Panics
/// When it does not compile.
pub(crate) fn guest() -> String {
    let release = Path::new(env!("CARGO_BIN_EXE_prun")).parent().expect("a program is in a folder");
    let target = release.parent().expect("cargo makes a folder for each profile");
    let status = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--release", "--example", "guest", "--manifest-path"])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
        .arg("--target-dir")
        .arg(target)
        .status()
        .expect("cargo runs: it has built this program");
    assert!(status.success(), "the guest program is built");
    release.join("examples/guest").display().to_string()
}

/// Every PRoot there is: `more`, and the one on PATH.
pub(crate) fn proots(more: impl IntoIterator<Item = PathBuf>) -> Vec<Runtime> {
    let mut all: Vec<PathBuf> = more.into_iter().filter(|p| !p.as_os_str().is_empty()).collect();
    all.push("proot".into());
    all.retain(|program| {
        let there = version(program).is_some();
        if !there {
            println!("{}: left out, it cannot be run", program.display());
        }
        there
    });
    all.into_iter().map(Runtime::Proot).collect()
}

/// What a PRoot says of itself.
fn version(program: &Path) -> Option<String> {
    let output = Command::new(program).arg("--version").output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let version = text.split_whitespace().find(|w| w.starts_with(|c: char| c.is_ascii_digit() || c == 'v'));
    Some(version.unwrap_or("?").trim_start_matches('v').to_owned())
}

/// The middle value; of an even number the lower.
pub(crate) fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or(f64::NAN)
}

/// Other work on the machine while the figures were taken.
pub(crate) fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').take(3).collect::<Vec<_>>().join(" ")
}
