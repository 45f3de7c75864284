//! What was typed. What it means is [`crate::config`]'s business.
//!
//! One set of definitions serves every dialect, and help, manual page and completions come from it: the options of
//! PRoot (both forks) are prun's own. What a dialect reads differently from clap is in its file: [`proot`].

pub mod proot;

use clap::{ArgAction, CommandFactory, FromArgMatches, Parser, ValueHint};
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

/// Run a program in a root that does not exist, without privilege.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "prun",
    version,
    max_term_width = 100,
    after_help = AFTER,
    args_override_self = true,
    disable_help_flag = true,
    disable_version_flag = true,
    override_usage = "prun [OPTIONS] [--] [COMMAND [ARGUMENT]...]"
)]
pub struct Cli {
    /// Show HOST at GUEST (default: where it is)
    ///
    /// HOST is a file or directory of the host. Of nested bindings the deepest wins, of two at one place the last.
    /// `!` after GUEST: a symbolic link there is replaced, not followed. `:ro`: writes answer "read-only file system".
    /// A missing HOST is a warning.
    #[arg(short, long, visible_short_alias = 'm', visible_alias = "mount", value_name = "HOST[:GUEST[!]][:ro]", value_hint = ValueHint::AnyPath,
          action = ArgAction::Append, help_heading = "The guest's files")]
    pub bind: Vec<OsString>,

    /// Use DIR as the guest's root [default: /]
    #[arg(short, long, value_name = "DIR", value_hint = ValueHint::DirPath, help_heading = "The guest's files")]
    pub rootfs: Option<PathBuf>,

    /// As -r, with the host's /dev, /proc, /sys, /tmp, /run, $HOME and network set-up
    ///
    /// Of /etc: host.conf, hosts, hosts.equiv, mtab, netgroup, networks, passwd, group, nsswitch.conf, resolv.conf
    /// and localtime; and DIR at its own path. What the host does not have is left out.
    #[arg(short = 'R', value_name = "DIR", value_hint = ValueHint::DirPath, help_heading = "The guest's files")]
    pub host_rootfs: Option<PathBuf>,

    /// As -0 -r, with the host's /dev, /proc, /sys, /tmp, $HOME and network set-up
    ///
    /// Of /etc: host.conf, hosts, nsswitch.conf and resolv.conf: to install packages without touching the host's files.
    #[arg(short = 'S', value_name = "DIR", value_hint = ValueHint::DirPath, help_heading = "The guest's files")]
    pub install_rootfs: Option<PathBuf>,

    /// Start in this directory of the guest [default: the current one, where it is shown]
    #[arg(short = 'w', long, visible_alias = "pwd", value_name = "DIR", value_hint = ValueHint::DirPath, help_heading = "The guest's files")]
    pub cwd: Option<PathBuf>,

    /// Show DIR at /nix, made if new, with nix's settings [default: $XDG_DATA_HOME/prun/nix]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, num_args = 0..=1, require_equals = true,
          help_heading = "The guest's files")]
    pub nix: Option<Option<PathBuf>>,

    /// Appear as root, and fake what only root may do
    #[arg(short = '0', long, help_heading = "What the guest is told")]
    pub root_id: bool,

    /// Appear as this user and group
    #[arg(short = 'i', long, value_name = "UID[:GID]", help_heading = "What the guest is told")]
    pub change_id: Option<String>,

    /// Keep faked owners and modes in the files' attributes
    #[arg(long, help_heading = "What the guest is told")]
    pub persist: bool,

    /// What uname(2) says
    ///
    /// A release such as 6.1.0, or \system\node\release\version\machine\domain\hwcap\ with the parts that are not to be
    /// changed left empty.
    #[arg(short = 'k', long, value_name = "RELEASE", help_heading = "What the guest is told")]
    pub kernel_release: Option<OsString>,

    /// Run programs of another machine through CMD, such as qemu-aarch64-static
    ///
    /// CMD is a program of the host and its options. The host's root is shown at /host-rootfs.
    #[arg(short, long, value_name = "CMD", help_heading = "What the guest is told")]
    pub qemu: Option<OsString>,

    /// Use the host's port OUT for the guest's port IN; alone: N + 2000 for N below 1024
    #[arg(short, long, value_name = "IN:OUT", num_args = 0..=1, require_equals = true, default_missing_value = "",
          action = ArgAction::Append, help_heading = "What the guest is told")]
    pub port: Vec<String>,

    /// Let servers have any free port, and their clients in this session find it
    #[arg(short, long, help_heading = "What the guest is told")]
    pub netcoop: bool,

    /// Make symbolic links where the host refuses hard ones
    ///
    /// The file moves to a hidden name, .prun-link.* beside its old one, and its names lead there. The guest sees files.
    #[arg(short, long, help_heading = "The guest's files")]
    pub link2symlink: bool,

    /// Kill what is left when the command ends
    #[arg(long, conflicts_with = "wait", help_heading = "The session")]
    pub kill_on_exit: bool,

    /// Wait for what is left when the command ends
    #[arg(long, help_heading = "The session")]
    pub wait: bool,

    /// Say what prun decides; twice, or 2: more; -1: not even warnings
    ///
    /// -1: errors only. 0: warnings too, such as a binding whose HOST is missing. 1: what prun decides: the engine, options
    /// that have no effect, calls that are refused, why a program of the guest cannot be executed. 2: more of that.
    #[arg(short, long, value_name = "N", num_args = 0..=1, require_equals = true, default_missing_value = "",
          action = ArgAction::Append, help_heading = "The session")]
    pub verbose: Vec<String>,

    /// Print what the session cost when the command ends
    #[arg(long, help_heading = "The session")]
    pub stats: bool,

    /// Write each call that prun translates, with both paths and its result, to FILE [default: standard error]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, num_args = 0..=1, require_equals = true,
          help_heading = "The session")]
    pub trace: Option<Option<PathBuf>>,

    /// Name, once each, the calls of the command that prun does not translate exactly
    #[arg(long, help_heading = "The session")]
    pub strict: bool,

    /// The command is not trusted: close what only speed keeps open; a path costs two to three times as much
    ///
    /// No code in the command's memory makes calls for it, the kernel gets no path that another task could still
    /// change, and what a path leads to is held while the call runs, so that no link can come in between.
    #[arg(long, help_heading = "The session")]
    pub confine: bool,

    /// Try what this host allows, print it and end; =json: for programs
    ///
    /// Each experiment with what came of it, the engine that a session would have and what it costs; for what is
    /// missing the cause and the cure. The exit status is 0 when prun can run here.
    #[arg(long, value_name = "FORMAT", num_args = 0..=1, require_equals = true, default_missing_value = "text",
          value_parser = ["text", "json"], help_heading = "The session")]
    pub doctor: Option<String>,

    /// Print help (-h: a line for each option)
    #[arg(short, long, visible_alias = "usage", action = ArgAction::Help, help_heading = "The session")]
    help: Option<bool>,

    /// Print the version
    #[arg(short = 'V', long, visible_alias = "about", action = ArgAction::Version, help_heading = "The session")]
    version: Option<bool>,

    /// SysV IPC: accepted; the kernel's own is used
    #[arg(long, help_heading = "Accepted for scripts written for PRoot")]
    pub sysvipc: bool,

    /// Hide PRoot's own files: accepted; prun makes none
    #[arg(short = 'H', help_heading = "Accepted for scripts written for PRoot")]
    pub hide: bool,

    /// Correct the size of symbolic links: accepted; it is never wrong
    #[arg(short = 'L', help_heading = "Accepted for scripts written for PRoot")]
    pub lstat: bool,

    /// Accepted with a warning; it does nothing here
    #[arg(long, value_name = "B", help_heading = "Accepted for scripts written for PRoot")]
    pub mixed_mode: Option<OsString>,

    /// Accepted with a warning; it does nothing here
    #[arg(short = 'P', value_name = "FILE", help_heading = "Accepted for scripts written for PRoot")]
    pub profile: Option<OsString>,

    /// The command and its arguments [default: $SHELL, else /bin/sh]
    #[arg(trailing_var_arg = true, value_name = "COMMAND", value_hint = ValueHint::CommandWithArguments)]
    pub command: Vec<OsString>,

    /// Whose habits prun has; from the name it was started by
    #[arg(skip)]
    pub dialect: Dialect,
}

/// Whose habits prun has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dialect {
    /// Its own.
    #[default]
    Prun,
    /// PRoot's: exit status 1 for every failure of its own.
    Proot,
}

impl Dialect {
    /// The dialect of a program started under this name.
    pub fn of(program: &OsStr) -> Self {
        match std::path::Path::new(program).file_name() {
            // Front-ends ship it as proot-x86_64 and, on Android, as a library.
            Some(name) if name == "proot" || name == "libproot.so" => Self::Proot,
            Some(name) if name.as_encoded_bytes().starts_with(b"proot-") => Self::Proot,
            _ => Self::Prun,
        }
    }

    /// The name in messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Prun => "prun",
            Self::Proot => "proot",
        }
    }

    /// What prun ends with where it would itself end with `status`, which is not a command's.
    pub fn own_status(self, status: u8) -> u8 {
        match self {
            Self::Prun => status,
            Self::Proot => u8::from(status != 0),
        }
    }
}

impl Cli {
    /// Reads a command line, its first word the program's name.
    ///
    /// # Errors
    /// clap's, for printing: mistakes, and the texts of `--help` and `--version`.
    pub fn read(words: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let mut words: Vec<OsString> = words.into_iter().collect();
        let dialect = words.first().map_or(Dialect::Prun, |name| Dialect::of(name));
        let mut command = Self::command();
        if dialect == Dialect::Proot {
            command = command
                .override_usage("proot [OPTIONS] [--] [COMMAND [ARGUMENT]...]")
                .version(concat!("(prun ", env!("CARGO_PKG_VERSION"), ")"))
                .name("proot");
        }
        words = proot::rewrite(words, &command);
        let mut cli = Self::from_arg_matches(&command.try_get_matches_from(words)?)?;
        cli.dialect = dialect;
        Ok(cli)
    }
}

const AFTER: &str = "\
Examples:
  prun --bind ~/store:/nix ls /              the root has a nix now
  prun --nix nix-build '<nixpkgs>' -A hello  a store in a folder of yours
  prun -r empty -b /usr -b /bin -b /lib -b /lib64 bash

Exit status: the command's; 128+N when signal N ended it; 125 when prun cannot
start, 126 when the command cannot be executed, 127 when it is not found. Under
the name proot: 1 for each of these three.";
