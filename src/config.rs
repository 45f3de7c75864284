//! What the user wants, checked and complete: made once from the command line and the environment.
//!
//! * [`binding`]: `-b` and the sets of bindings of `-R` and `-S`. * [`identity`]: `-0` and `-i`.
//! * [`kernel`]: `-k`. * [`ports`]: `-p` and `-n`. * [`qemu`]: `-q`.
//! * [`variables`]: `PROOT_*` and `PRUN_*`.

pub mod binding;
pub mod identity;
pub mod kernel;
mod nix_conf;
pub mod ports;
pub mod qemu;
mod variables;

pub use identity::Identity;
pub use kernel::KernelNames;
pub use ports::Ports;
pub use qemu::Qemu;

use crate::cli::{Cli, Dialect};
use crate::error::Failure;
use crate::path::{GuestPath, HostPath};
use crate::report;
use crate::resolve::Follow;
use crate::tracer::Engine;
use crate::view::{Access, Binding};
use std::ffi::{CString, OsString};
use std::io::Error;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// What becomes of processes that the command leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leftovers {
    /// They go on, with their view intact; prun does not wait for them.
    GoOn,
    /// They are killed before prun ends.
    Killed,
    /// prun ends when the last of them has.
    Awaited,
}

/// How hard links are made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HardLinks {
    /// By the host, or not.
    #[default]
    Hosts,
    /// As symbolic ones where the host makes none.
    Symlinked,
}

/// One session's settings.
#[derive(Clone, Debug)]
pub struct Config {
    /// Whose habits prun has.
    pub dialect: Dialect,
    /// Host directory shown at `/`.
    pub root: HostPath,
    /// In the order given.
    pub bindings: Vec<Binding>,
    /// Guest path to start in, if one was asked for.
    pub cwd: Option<Vec<u8>>,
    /// The command and its arguments; never empty.
    pub command: Vec<CString>,
    /// No command was given: /bin/sh will do where the user's shell is missing.
    pub default_shell: bool,
    /// `NAME=value` each.
    pub environment: Vec<CString>,
    /// Whom the guest takes itself for.
    pub identity: Identity,
    /// What uname(2) says, where that was asked for.
    pub kernel: Option<KernelNames>,
    /// What becomes of hard links that the host refuses.
    pub hard_links: HardLinks,
    /// How ports are mapped, where that was asked for.
    pub ports: Option<Ports>,
    /// What runs programs of another machine.
    pub qemu: Option<Qemu>,
    /// What becomes of processes that the command leaves.
    pub leftovers: Leftovers,
    /// Print counters at the end.
    pub stats: bool,
    /// Write each translated call to this file, or to standard error.
    pub trace: Option<Option<PathBuf>>,
    /// Name each call that is not translated exactly.
    pub strict: bool,
    /// The command is not trusted: nothing that speed alone is the reason for may be a way out.
    pub confine: bool,
    /// How arguments are put back, where `PRUN_ENGINE` says; else what the host allows does.
    pub engine: Option<Engine>,
    /// Call sites that stop for nothing may be changed in the tracee: `PRUN_PATCH`.
    pub patches: bool,
}

impl Config {
    /// Settles what was typed.
    ///
    /// # Errors
    /// When a folder that must exist does not, or a value makes no sense.
    pub fn new(cli: Cli) -> Result<Self, Failure> {
        report::speak(cli.dialect);
        report::set_level(variables::level(&cli.verbose)?);
        variables::comment();
        let identity = identity::of(&cli)?;
        let (root, bindings) = files(&cli)?;
        let mut bindings = bindings;
        let mut environment: Vec<(OsString, OsString)> = std::env::vars_os().collect();
        if let Some(dir) = &cli.nix {
            let dir = nix_conf::prepare(dir.as_deref())?;
            bindings.push(Binding {
                host: HostPath::new(dir.as_os_str().as_bytes()),
                guest: GuestPath::new(b"/nix"),
                access: Access::ReadWrite,
                follow: Follow::Yes,
            });
            nix_conf::environment(&mut environment);
        }
        let qemu = cli.qemu.as_deref().map(qemu::find).transpose()?;
        bindings.extend(qemu.iter().flat_map(Qemu::bindings));
        comment(&cli);
        let default_shell = cli.command.is_empty();
        let command = if default_shell {
            vec![std::env::var_os("SHELL").filter(|s| !s.is_empty()).unwrap_or_else(|| "/bin/sh".into())]
        } else {
            cli.command
        };
        let c = |text: Vec<u8>| {
            CString::new(text)
                .expect("arguments and variables come to a program as strings that end in a NUL")
        };
        Ok(Self {
            dialect: cli.dialect,
            root,
            bindings,
            cwd: cli.cwd.map(|p| p.into_os_string().into_vec()),
            command: command.into_iter().map(|w| c(w.into_vec())).collect(),
            default_shell,
            environment: environment
                .into_iter()
                .map(|(name, value)| c([name.as_bytes(), b"=", value.as_bytes()].concat()))
                .collect(),
            identity,
            kernel: cli.kernel_release.as_deref().map(kernel::parse).transpose()?,
            hard_links: if cli.link2symlink { HardLinks::Symlinked } else { HardLinks::Hosts },
            ports: ports::of(&cli.port, cli.netcoop)?,
            qemu,
            leftovers: match (cli.kill_on_exit, cli.wait) {
                (true, _) => Leftovers::Killed,
                (false, true) => Leftovers::Awaited,
                (false, false) => Leftovers::GoOn,
            },
            stats: cli.stats,
            trace: cli.trace.map(|file| file.filter(|f| !f.as_os_str().is_empty())),
            strict: cli.strict,
            confine: cli.confine,
            patches: std::env::var_os("PRUN_PATCH").is_none_or(|v| v != "0"),
            engine: wanted_engine()?,
        })
    }

    /// The paths at which the command is looked for, as execvp(3) does.
    pub fn candidates(&self) -> Vec<CString> {
        let name = &self.command[0];
        let mut all = vec![];
        if name.as_bytes().contains(&b'/') {
            all.push(name.clone());
        } else if !name.is_empty() {
            let path = self.environment.iter().find_map(|v| v.as_bytes().strip_prefix(b"PATH="));
            for dir in path.unwrap_or(b"/usr/local/bin:/usr/bin:/bin").split(|&b| b == b':') {
                let dir = if dir.is_empty() { b"." } else { dir };
                all.extend(CString::new([dir, b"/", name.as_bytes()].concat()));
            }
        }
        if self.default_shell {
            all.push(c"/bin/sh".to_owned());
        }
        all
    }
}

/// The engine that `PRUN_ENGINE` asks for; `None`: the best that the host allows.
///
/// # Errors
/// For a name that is none.
pub fn wanted_engine() -> Result<Option<Engine>, Failure> {
    let name = std::env::var_os("PRUN_ENGINE").unwrap_or_default();
    if name.is_empty() {
        return Ok(None);
    }
    let name = name.to_string_lossy();
    Engine::ALL.into_iter().find(|e| e.name() == name).map(Some).ok_or_else(|| {
        Failure::new("use the engine", &name, Error::other("there is none of that name"))
            .hint("PRUN_ENGINE is one-stop, two-stop or plain; without it prun takes the best that runs here")
    })
}

/// The root and the bindings: those of a set first, so that one the user names wins.
fn files(cli: &Cli) -> Result<(HostPath, Vec<Binding>), Failure> {
    let (rootfs, set): (Option<&PathBuf>, &[&str]) =
        match (&cli.rootfs, &cli.host_rootfs, &cli.install_rootfs) {
            (_, Some(dir), _) => (Some(dir), binding::OF_A_HOST),
            (_, None, Some(dir)) => (Some(dir), binding::TO_INSTALL),
            (dir, None, None) => (dir.as_ref(), &[]),
        };
    let mut root = canonical("use the root", rootfs.map_or(Path::new("/"), PathBuf::as_path))?;
    let mut all = binding::set(set)?;
    if let (false, Some(dir)) = (set.is_empty(), rootfs) {
        all.extend(binding::if_there(dir.as_os_str())?);
    }
    let mut canonical = binding::Canonical::default();
    for text in &cli.bind {
        match binding::parse(text, &mut canonical)? {
            // `-b X:/` is `-r X`.
            Some(b) if crate::path::components(b.guest.as_bytes()).next().is_none() => root = b.host,
            Some(b) => all.push(b),
            None => {}
        }
    }
    Ok((root, all))
}

fn canonical(doing: &'static str, path: &Path) -> Result<HostPath, Failure> {
    let path = binding::expand(path.as_os_str());
    let path = Path::new(&path);
    let found = std::fs::canonicalize(path)
        .and_then(|real| Ok((std::fs::metadata(&real)?.is_dir(), real)))
        .and_then(|(dir, real)| if dir { Ok(real) } else { Err(Error::from_raw_os_error(libc::ENOTDIR)) });
    found.map(|p| HostPath::new(p.as_os_str().as_bytes())).map_err(|e| {
        Failure::new(doing, &path.display().to_string(), e).hint("it must be a directory that exists")
    })
}

/// Says of options that change nothing here why they do not.
fn comment(cli: &Cli) {
    if cli.mixed_mode.is_some() {
        crate::warning!(
            "--mixed-mode does nothing here: programs of the host and of the guest run side by side anyway"
        );
    }
    if cli.profile.is_some() {
        crate::warning!("-P does nothing here");
    }
    if cli.sysvipc {
        crate::note!(1, "--sysvipc: the kernel's own SysV IPC is used");
    }
    if cli.hide {
        crate::note!(1, "-H: there is nothing to hide, because nothing is made in the guest's root");
    }
    if cli.lstat {
        crate::note!(1, "-L: the sizes of symbolic links are never changed");
    }
}
