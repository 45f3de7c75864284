//! The nix build: 30 derivations in a root that has a `/nix` of its own, called as nix-portable calls its runtime.
//!
//! No program can run in that root natively, so the ratios are to bubblewrap.

use crate::runtime::{Runtime, prun};
use std::path::PathBuf;
use std::process::Command;

/// The world that `tests/nixlab/setup` has made.
pub(crate) struct World {
    dir: String,
    root: bool,
}

const SCRIPT: &str = include_str!("nix.sh");
/// Where root's build of prun is found by the world's user.
const COPY: &str = "prun-bench";

impl World {
    /// The world, where there is one, or why the build is left out.
    ///
    /// # Errors
    /// What is missing.
    pub(crate) fn find() -> Result<Self, String> {
        let dir = std::env::var("NIXLAB_WORLD").unwrap_or_else(|_| "/var/tmp/nixlab".into());
        let path = PathBuf::from(&dir);
        if !path.join("seed/done").exists() || !path.join("lab/rt").exists() {
            return Err(format!("no package set in {dir}: tests/nixlab/setup makes it"));
        }
        let copied = std::fs::copy(prun(), path.join(COPY));
        copied.map_err(|e| format!("{dir} cannot be written: {e}"))?;
        Ok(Self { dir, root: nix::unistd::geteuid().is_root() })
    }

    fn script(&self, words: &[&str]) -> Command {
        let user = ["setpriv", "--reuid", "nixlab", "--regid", "nixlab", "--init-groups"];
        let mut all = if self.root { user.to_vec() } else { vec![] };
        let world = format!("W={}", self.dir);
        // PRUN_ENGINE is not passed on: it is the default engine that is measured.
        all.extend(["env", "-i", "PATH=/usr/local/bin:/usr/bin:/bin", "USER=nixlab", &world]);
        all.extend(["bash", "-c", SCRIPT, "nix.sh"]);
        all.extend(words);
        let mut command = Command::new(all[0]);
        command.args(&all[1..]).current_dir("/");
        command
    }

    /// Makes a fresh store.
    ///
    /// # Panics
    /// When the disk is full.
    pub(crate) fn prepare(&self) {
        let status = self.script(&["prepare"]).status().expect("bash runs");
        assert!(status.success(), "the store is copied: {status}");
    }

    /// The build under a runtime; `None` where there is no way.
    pub(crate) fn build(&self, runtime: &Runtime, options: &[&str]) -> Option<Command> {
        let program = match runtime {
            Runtime::Bwrap => "bwrap".into(),
            Runtime::Prun(_) => format!("{}/{COPY}", self.dir),
            Runtime::Proot(program) => program.display().to_string(),
            Runtime::Native => return None,
        };
        Some(self.script(&[&["build", program.as_str()], options].concat()))
    }
}
