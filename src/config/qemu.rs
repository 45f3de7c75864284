//! `-q`: the program that runs programs of another machine.

use crate::error::Failure;
use crate::path::{GuestPath, HostPath};
use crate::resolve::Follow;
use crate::view::{Access, Binding};
use std::ffi::{OsStr, OsString};
use std::io::{Error, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Where the host's root is shown to the guest.
pub const HOST_ROOT: &[u8] = b"/host-rootfs";

/// An emulator of another machine's user mode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Qemu {
    /// The program, on the host.
    pub program: HostPath,
    /// `argv[0]` and the options that were typed behind the program.
    pub words: Vec<Vec<u8>>,
    /// Directories of the host where a dynamic emulator finds its libraries; empty for a static one.
    pub libraries: Vec<Vec<u8>>,
}

impl Qemu {
    /// What the guest sees because of it.
    pub(super) fn bindings(&self) -> impl Iterator<Item = Binding> + use<> {
        let show = |host: &[u8], guest: &[u8]| Binding {
            host: HostPath::new(host),
            guest: GuestPath::new(guest),
            access: Access::ReadWrite,
            follow: Follow::Yes,
        };
        // A dynamic emulator must not load what the guest wants loaded into its own programs.
        let preload = (!self.libraries.is_empty()).then(|| show(b"/dev/null", b"/etc/ld.so.preload"));
        [show(b"/", HOST_ROOT)].into_iter().chain(preload)
    }
}

/// Finds the program of a command line, split at spaces as PRoot does.
///
/// # Errors
/// When it is not there, or is no ELF program of this machine.
pub(super) fn find(text: &OsStr) -> Result<Qemu, Failure> {
    let fail = |why: Error| {
        Failure::new("run programs of another machine through", &text.to_string_lossy(), why).hint(
            "-q takes an emulator of the host and its options, such as qemu-aarch64-static; install one",
        )
    };
    let words: Vec<Vec<u8>> =
        text.as_bytes().split(|&b| b == b' ').filter(|w| !w.is_empty()).map(<[u8]>::to_vec).collect();
    let Some(name) = words.first() else { return Err(fail(Error::other("none is named"))) };
    let path = which(OsStr::from_bytes(name))
        .ok_or_else(|| fail(Error::other("no program of that name is in PATH")))?;
    let program = std::fs::canonicalize(&path).map_err(fail)?;
    let mut head = vec![];
    let mut file = std::fs::File::open(&program).map_err(fail)?;
    file.by_ref().take(4096).read_to_end(&mut head).map_err(fail)?;
    let elf = match crate::exec::elf::parse(&head, &file) {
        Ok(crate::exec::elf::Kind::Elf(elf)) => elf,
        _ => return Err(fail(Error::other("it is no program of this machine"))),
    };
    let libraries = if elf.interp.is_some() { library_folders() } else { vec![] };
    Ok(Qemu { program: HostPath::new(program.as_os_str().as_bytes()), words, libraries })
}

fn which(name: &OsStr) -> Option<PathBuf> {
    if name.as_bytes().contains(&b'/') {
        return Some(super::binding::expand(name).into());
    }
    let path: OsString = std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
    std::env::split_paths(&path)
        .map(|dir| dir.join(name))
        .find(|p| nix::unistd::access(p, nix::unistd::AccessFlags::X_OK).is_ok())
}

/// Where the host's dynamic linker looks: its usual folders and those that ld.so.conf(5) names.
fn library_folders() -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> = vec![];
    let mut add = |line: &str| {
        let line = line.split('#').next().unwrap_or("").trim();
        if line.starts_with('/') && Path::new(line).is_dir() {
            all.push(line.as_bytes().to_vec());
        }
    };
    let mut files = vec![PathBuf::from("/etc/ld.so.conf")];
    let mut more: Vec<PathBuf> = std::fs::read_dir("/etc/ld.so.conf.d")
        .map_or_else(|_| vec![], |dir| dir.flatten().map(|e| e.path()).collect());
    more.sort();
    files.extend(more);
    for text in files.iter().filter_map(|f| std::fs::read_to_string(f).ok()) {
        text.lines().for_each(&mut add);
    }
    ["/lib64", "/usr/lib64", "/lib", "/usr/lib"].into_iter().for_each(add);
    all
}
