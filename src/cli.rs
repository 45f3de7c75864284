//! What was typed. What it means is [`crate::config`]'s business.

use clap::{ArgAction, Parser};
use std::ffi::OsString;
use std::path::PathBuf;

/// Run a program in a root that does not exist, without privilege.
#[derive(Clone, Debug, Parser)]
#[command(name = "prun", version, max_term_width = 100, after_help = AFTER)]
pub struct Cli {
    /// Show the host's file or directory HOST at GUEST (default: where it is); `:ro` makes it read-only
    #[arg(short, long, value_name = "HOST[:GUEST][:ro]", action = ArgAction::Append)]
    pub bind: Vec<OsString>,

    /// Use DIR as the guest's root [default: /]
    #[arg(short, long, value_name = "DIR")]
    pub rootfs: Option<PathBuf>,

    /// Start in this directory of the guest [default: the current one, where the guest shows it]
    #[arg(short = 'w', long, value_name = "DIR")]
    pub cwd: Option<PathBuf>,

    /// Show DIR at /nix, made if new, with the settings nix needs here [default: $XDG_DATA_HOME/prun/nix]
    #[arg(long, value_name = "DIR", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub nix: Option<Option<PathBuf>>,

    /// Say what prun decides; twice: more
    #[arg(short, long, action = ArgAction::Count)]
    pub verbose: u8,

    /// Print what the session cost when the command ends: stops, ptrace requests, host calls
    #[arg(long)]
    pub stats: bool,

    /// The command and its arguments [default: $SHELL, else /bin/sh]
    #[arg(trailing_var_arg = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

const AFTER: &str = "\
Examples:
  prun --bind ~/store:/nix ls /              the root has a nix now
  prun --nix nix-build '<nixpkgs>' -A hello  a store in a folder of yours
  prun -r empty -b /usr -b /bin -b /lib -b /lib64 bash

Exit status: the command's; 128+N when signal N ended it; 125 when prun cannot start,
126 when the command cannot be executed, 127 when it is not found.";
