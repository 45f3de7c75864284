//! What the user wants, checked and complete: made once from the command line and the environment.

use crate::cli::Cli;
use crate::error::Failure;
use crate::path::{GuestPath, HostPath};
use crate::report;
use crate::tracer::{Engine, launch};
use crate::view::{Access, Binding};
use std::ffi::{CString, OsStr, OsString};
use std::io::Error;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

mod nix_conf;

/// One session's settings.
#[derive(Clone, Debug)]
pub struct Config {
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
    /// Print counters at the end.
    pub stats: bool,
    /// How arguments are put back.
    pub engine: Engine,
}

impl Config {
    /// Settles what was typed.
    ///
    /// # Errors
    /// When a folder that must exist does not, or a value makes no sense.
    pub fn new(cli: Cli) -> Result<Self, Failure> {
        report::set_level(cli.verbose);
        let root = cli.rootfs.as_deref().unwrap_or(Path::new("/"));
        let mut root = canonical("use the root", root)?;
        let mut bindings = vec![];
        for text in &cli.bind {
            match binding(text)? {
                // `-b X:/` is `-r X`.
                Some(b) if crate::path::components(b.guest.as_bytes()).next().is_none() => root = b.host,
                Some(b) => bindings.push(b),
                None => {}
            }
        }
        let mut environment: Vec<(OsString, OsString)> = std::env::vars_os().collect();
        if let Some(dir) = &cli.nix {
            let dir = nix_conf::prepare(dir.as_deref())?;
            bindings.push(Binding {
                host: HostPath::new(dir.as_os_str().as_bytes()),
                guest: GuestPath::new(b"/nix"),
                access: Access::ReadWrite,
            });
            nix_conf::environment(&mut environment);
        }
        if let Some(cwd) = &cli.cwd {
            environment.retain(|(name, _)| name != "PWD");
            environment.push(("PWD".into(), cwd.as_os_str().to_owned()));
        }
        let default_shell = cli.command.is_empty();
        let command = if default_shell {
            vec![std::env::var_os("SHELL").filter(|s| !s.is_empty()).unwrap_or_else(|| "/bin/sh".into())]
        } else {
            cli.command
        };
        let engine = launch::engine(&std::env::var("PRUN_ENGINE").unwrap_or_default())?;
        let c = |text: Vec<u8>| {
            CString::new(text).map_err(|e| Failure::new("pass on an argument", "", Error::other(e)))
        };
        Ok(Self {
            root,
            bindings,
            cwd: cli.cwd.map(|p| p.into_os_string().into_vec()),
            command: command.into_iter().map(|w| c(w.into_vec())).collect::<Result<_, _>>()?,
            default_shell,
            environment: environment
                .into_iter()
                .map(|(name, value)| c([name.as_bytes(), b"=", value.as_bytes()].concat()))
                .collect::<Result<_, _>>()?,
            stats: cli.stats,
            engine,
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

fn canonical(doing: &'static str, path: &Path) -> Result<HostPath, Failure> {
    std::fs::canonicalize(path).map(|p| HostPath::new(p.as_os_str().as_bytes())).map_err(|e| {
        Failure::new(doing, &path.display().to_string(), e).hint("it must be a directory that exists")
    })
}

/// `HOST[:GUEST][:ro]`; `None` where HOST is missing, which is a warning, as front-ends rely on.
fn binding(text: &OsStr) -> Result<Option<Binding>, Failure> {
    let bytes = text.as_bytes();
    let (bytes, access) = if let Some(rest) = bytes.strip_suffix(b":ro") {
        (rest, Access::ReadOnly)
    } else {
        (bytes.strip_suffix(b":rw").unwrap_or(bytes), Access::ReadWrite)
    };
    let (host, guest) = match memchr::memchr(b':', bytes) {
        Some(at) => (&bytes[..at], &bytes[at + 1..]),
        None => (bytes, bytes),
    };
    let bad = |why: &'static str| {
        Err(Failure::new("use the binding", &text.to_string_lossy(), Error::other(why))
            .hint("a binding is HOST[:GUEST][:ro], and GUEST is absolute"))
    };
    if host.is_empty() || guest.is_empty() {
        return bad("a part of it is empty");
    }
    let path = Path::new(OsStr::from_bytes(host));
    let real = match std::fs::canonicalize(path) {
        Ok(real) => real,
        Err(e) => {
            report::say(format_args!("warning: cannot bind '{}': {e}; it is left out", path.display()));
            return Ok(None);
        }
    };
    let guest: PathBuf = if guest[0] == b'/' {
        OsStr::from_bytes(guest).into()
    } else if guest == host {
        // `-b DIR` with a relative DIR is shown where it is.
        std::path::absolute(path).unwrap_or_else(|_| real.clone())
    } else {
        return bad("GUEST is not absolute");
    };
    Ok(Some(Binding {
        host: HostPath::new(real.as_os_str().as_bytes()),
        guest: GuestPath::new(guest.as_os_str().as_bytes()),
        access,
    }))
}
