//! Bindings as they are typed, and the sets of them that `-R` and `-S` stand for.

use crate::error::Failure;
use crate::path::{GuestPath, HostPath};
use crate::resolve::Follow;
use crate::sys::unseen::is_want_of;
use crate::view::{Access, Binding};
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::Error;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// What `-R` shows besides its root: both forks of PRoot agree on it.
pub(super) const OF_A_HOST: &[&str] = &[
    "/etc/host.conf",
    "/etc/hosts",
    "/etc/hosts.equiv",
    "/etc/mtab",
    "/etc/netgroup",
    "/etc/networks",
    "/etc/passwd",
    "/etc/group",
    "/etc/nsswitch.conf",
    "/etc/resolv.conf",
    "/etc/localtime",
    "/dev",
    "/sys",
    "/proc",
    "/tmp",
    "/run",
    "/var/run/dbus/system_bus_socket",
    "$HOME",
];

/// What `-S` shows.
pub(super) const TO_INSTALL: &[&str] = &[
    "/etc/host.conf",
    "/etc/hosts",
    "/etc/nsswitch.conf",
    "/etc/resolv.conf",
    "/dev",
    "/sys",
    "/proc",
    "/tmp",
    "/run/shm",
    "$HOME",
];

/// The bindings of a set; those the host does not have are left out.
///
/// # Errors
/// As for [`if_there`].
pub(super) fn set(paths: &[&str]) -> Result<Vec<Binding>, Failure> {
    paths.iter().filter_map(|path| if_there(OsStr::new(path)).transpose()).collect()
}

/// The host's file or directory at its own path, if it is there; its root is no such thing, also as a home.
///
/// # Errors
/// When the host cannot say whether it is.
pub(super) fn if_there(path: &OsStr) -> Result<Option<Binding>, Failure> {
    let path = PathBuf::from(expand(path));
    let real = match std::fs::canonicalize(&path) {
        Err(e) if is_want_of(&e) => return Err(not_looked_at(&path, e)),
        real => real.ok(),
    };
    let Some((real, guest)) = real.zip(std::path::absolute(&path).ok()) else { return Ok(None) };
    if crate::path::components(guest.as_os_str().as_bytes()).next().is_none() {
        return Ok(None);
    }
    Ok(Some(Binding {
        host: HostPath::new(real.as_os_str().as_bytes()),
        guest: GuestPath::new(guest.as_os_str().as_bytes()),
        access: Access::ReadWrite,
        follow: Follow::Yes,
    }))
}

/// A binding that is left out is another view: only where the host says that there is nothing to bind.
fn not_looked_at(path: &Path, e: Error) -> Failure {
    Failure::new("look at what is to be bound,", &path.to_string_lossy(), e)
        .hint("the host has no memory or no descriptor left ('ulimit -n'), or its disk fails: see dmesg")
}

/// A leading `~` or `$NAME` as a shell would read it; the shell itself leaves it in `--bind=~/x`. What exists under
/// the name as it stands is meant itself.
pub(super) fn expand(path: &OsStr) -> OsString {
    let bytes = path.as_bytes();
    let end = memchr::memchr(b'/', bytes).unwrap_or(bytes.len());
    let (first, rest) = bytes.split_at(end);
    let name: &OsStr = match first {
        b"~" => OsStr::new("HOME"),
        [b'$', name @ ..] if !name.is_empty() => OsStr::from_bytes(name),
        _ => return path.to_owned(),
    };
    match std::env::var_os(name).filter(|value| !value.is_empty()) {
        Some(mut value) if Path::new(path).symlink_metadata().is_err() => {
            value.push(OsStr::from_bytes(rest));
            value
        }
        _ => path.to_owned(),
    }
}

/// Canonical host paths, each folder looked at once: a container made of one store closure binds ten thousand neighbours.
#[derive(Debug, Default)]
pub(super) struct Canonical(BTreeMap<PathBuf, PathBuf>);

impl Canonical {
    /// As `std::fs::canonicalize`.
    fn of(&mut self, path: &Path) -> Result<PathBuf, Error> {
        let bytes = path.as_os_str().as_bytes();
        let (Some(parent), Some(name), true) = (path.parent(), path.file_name(), bytes.starts_with(b"/"))
        else {
            return std::fs::canonicalize(path);
        };
        // `name/` and `name/.` must be directories; `file_name` does not say.
        if !bytes.ends_with(name.as_bytes()) {
            return std::fs::canonicalize(path);
        }
        let real = match self.0.get(parent) {
            Some(known) => known.join(name),
            None => {
                let known = std::fs::canonicalize(parent)?;
                let real = known.join(name);
                self.0.insert(parent.to_owned(), known);
                real
            }
        };
        match std::fs::read_link(&real) {
            Ok(_) => std::fs::canonicalize(path),
            // readlink(2) of what is there and no link.
            Err(e) if e.raw_os_error() == Some(libc::EINVAL) => Ok(real),
            Err(e) => Err(e),
        }
    }
}

/// `HOST[:GUEST[!]][:ro]`; `None` where HOST is missing, which is a warning, as front-ends rely on.
///
/// # Errors
/// When a part is empty or GUEST is relative.
pub(super) fn parse(text: &OsStr, canonical: &mut Canonical) -> Result<Option<Binding>, Failure> {
    let bytes = text.as_bytes();
    let (bytes, access) = if let Some(rest) = bytes.strip_suffix(b":ro") {
        (rest, Access::ReadOnly)
    } else {
        (bytes.strip_suffix(b":rw").unwrap_or(bytes), Access::ReadWrite)
    };
    let (host, guest) = match memchr::memchr(b':', bytes) {
        Some(at) => (&bytes[..at], Some(&bytes[at + 1..])),
        None => (bytes, None),
    };
    let (guest, follow) = match guest.map(|g| (g, g.strip_suffix(b"!"))) {
        Some((_, Some(kept))) => (Some(kept), Follow::No),
        Some((guest, None)) => (Some(guest), Follow::Yes),
        None => (None, Follow::Yes),
    };
    let bad = |why: &'static str| {
        Err(Failure::new("use the binding", &text.to_string_lossy(), Error::other(why))
            .hint("a binding is HOST[:GUEST[!]][:ro], and GUEST is absolute"))
    };
    if host.is_empty() || guest.is_some_and(<[u8]>::is_empty) {
        return bad("a part of it is empty");
    }
    if let Some(flag) = guest.and_then(|g| memchr::memrchr(b':', g).map(|at| &g[at..]))
        && !flag.contains(&b'/')
    {
        crate::warning!(
            "'{}' is taken for a part of the path in '{}': only :ro and :rw may follow GUEST",
            String::from_utf8_lossy(flag),
            text.to_string_lossy()
        );
    }
    let host = expand(OsStr::from_bytes(host));
    let path = Path::new(&host);
    let guest: PathBuf = match guest.map(|g| expand(OsStr::from_bytes(g))) {
        Some(guest) if guest.as_bytes()[0] == b'/' => guest.into(),
        Some(_) => return bad("GUEST is not absolute"),
        // `-b DIR` with a relative DIR is shown where it is.
        None => std::path::absolute(path).map_err(|e| {
            Failure::new("use the binding", &path.to_string_lossy(), e).hint(
                "the current directory is gone or closed to this user: start elsewhere, or name HOST from /",
            )
        })?,
    };
    let real = match canonical.of(path) {
        Ok(real) => real,
        Err(e) if is_want_of(&e) => return Err(not_looked_at(path, e)),
        Err(e) => {
            // What a descriptor is open for may have no path; front-ends bind all three to /dev/std… all the same.
            let descriptor = path.starts_with("/proc/self/fd");
            if !descriptor && super::variables::get("IGNORE_MISSING_BINDINGS").is_none() {
                crate::warning!("cannot bind '{}': {e}; it is left out", path.display());
            }
            return Ok(None);
        }
    };
    Ok(Some(Binding {
        host: HostPath::new(real.as_os_str().as_bytes()),
        guest: GuestPath::new(guest.as_os_str().as_bytes()),
        access,
        follow,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_a_binding() {
        let parse = |text: &str| parse(OsStr::new(text), &mut Canonical::default()).ok().flatten();
        let all = parse("/usr/bin:/x!:ro").unwrap();
        assert_eq!(
            (all.guest.as_bytes(), all.access, all.follow),
            (&b"/x"[..], Access::ReadOnly, Follow::No)
        );
        let plain = parse("/usr").unwrap();
        assert_eq!(
            (plain.guest.as_bytes(), plain.access, plain.follow),
            (&b"/usr"[..], Access::ReadWrite, Follow::Yes)
        );
        assert_eq!(parse("/usr:/x:rw").unwrap().access, Access::ReadWrite);
        assert!(parse("/usr:").is_none() && parse(":/x").is_none() && parse("/usr:x").is_none());
        assert!(parse("/no/such:/x").is_none());
    }

    #[test]
    fn canonical_paths_are_those_of_the_library() {
        let mut canonical = Canonical::default();
        for path in [
            "/bin",
            "/usr/bin",
            "/usr/bin/",
            "/usr/bin/.",
            "/usr/../usr/lib",
            "/",
            "/etc/passwd",
            "/etc/passwd/",
            "/no/such",
            "/etc/passwd/x",
            "/proc/self/exe",
            ".",
        ] {
            let (ours, theirs) = (canonical.of(Path::new(path)), std::fs::canonicalize(path));
            let kind = |r: &Result<PathBuf, Error>| r.as_ref().map_err(Error::raw_os_error).cloned();
            assert_eq!(kind(&ours), kind(&theirs), "{path}");
        }
    }

    #[test]
    fn what_the_shell_leaves_is_expanded_in_front_only() {
        let home = std::env::var_os("HOME").unwrap();
        assert_eq!(expand(OsStr::new("~/a")), Path::new(&home).join("a"));
        assert_eq!(expand(OsStr::new("$HOME")), home);
        for same in ["/~", "a/$HOME", "$", "$NO_SUCH_NAME/x", "~root"] {
            assert_eq!(expand(OsStr::new(same)), same);
        }
    }
}
