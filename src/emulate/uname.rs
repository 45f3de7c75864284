//! The kernel's names with `-k`: uname(2), where the kernel fills the structure and the fields that were asked for are
//! written over it, and the files of /proc that say the same, which are opened as files in memory.

use crate::config::KernelNames;
use crate::config::kernel::{FIELD, RELEASE};
use crate::sys;
use prun_arch::abi::Form;
use std::os::fd::{AsRawFd, OwnedFd};

/// Bytes of each field of `struct oldold_utsname`.
const OLDEST_FIELD: usize = 9;

/// Offset in `struct new_utsname`, or in one of the two before it, and bytes, for each field that is changed; the rest
/// of a field is zero, as the kernel leaves it.
pub fn changes(names: &KernelNames, form: Form) -> impl Iterator<Item = (u64, Vec<u8>)> + '_ {
    let (fields, len) = match form {
        Form::Plain | Form::Wide => (6, FIELD),
        Form::Old => (5, FIELD),
        Form::Oldest => (5, OLDEST_FIELD),
    };
    names.fields.iter().take(fields).enumerate().filter_map(move |(i, text)| {
        let mut field = text.clone()?;
        field.truncate(len - 1);
        field.resize(len, 0);
        Some(((i * len) as u64, field))
    })
}

/// Files below /proc/sys/kernel and the field each holds (proc_sys_kernel(5)).
const FILES: [(&str, usize); 5] = [
    ("/proc/sys/kernel/ostype", 0),
    ("/proc/sys/kernel/hostname", 1),
    ("/proc/sys/kernel/osrelease", RELEASE),
    ("/proc/sys/kernel/version", 3),
    ("/proc/sys/kernel/domainname", 5),
];

/// What stands in for files of /proc that name the kernel.
#[derive(Debug, Default)]
pub struct KernelFiles(Vec<(&'static str, OwnedFd)>);

impl KernelFiles {
    /// Files in memory for every name that is changed; one that cannot be made stays the kernel's.
    pub fn new(names: &KernelNames) -> Self {
        let field = |i: usize| names.fields.get(i).and_then(Option::as_ref);
        let mut all = vec![];
        let mut add = |path: &'static str, text: Vec<u8>| match sys::memory_file(&text) {
            Ok(file) => all.push((path, file)),
            Err(e) => crate::note!(1, "'{path}' stays the kernel's: {}", sys::io(e)),
        };
        for (path, i) in FILES {
            if let Some(text) = field(i) {
                add(path, [text, b"\n".as_slice()].concat());
            }
        }
        if let Ok(text) = std::fs::read_to_string("/proc/version") {
            let changed = banner(&text, [field(0), field(RELEASE), field(3)]);
            if changed != text.as_bytes() {
                add("/proc/version", changed);
            }
        }
        Self(all)
    }

    /// The first byte of each file's name: such names are looked at in the tracer.
    pub fn initials(&self) -> impl Iterator<Item = u8> + '_ {
        self.0.iter().filter_map(|(path, _)| path.rsplit('/').next()?.bytes().next())
    }

    /// The descriptor, in the tracer, of what stands in for a host path.
    pub fn instead(&self, host: &[u8]) -> Option<i32> {
        self.0.iter().find(|(path, _)| path.as_bytes() == host).map(|(_, file)| file.as_raw_fd())
    }
}

/// `linux_proc_banner` of the kernel's `init/version.c`: system, release, who compiled it, version.
fn banner(text: &str, [system, release, version]: [Option<&Vec<u8>>; 3]) -> Vec<u8> {
    let text = text.trim_end();
    let mut words = text.splitn(4, ' ');
    let (Some(old), Some("version"), Some(old_release), Some(rest)) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return text.as_bytes().to_vec();
    };
    let rest = match (version, rest.rfind(") #")) {
        (Some(version), Some(at)) => [&rest.as_bytes()[..at + 2], version].concat(),
        _ => rest.as_bytes().to_vec(),
    };
    let (system, release) =
        (system.map_or(old.as_bytes(), Vec::as_slice), release.map_or(old_release.as_bytes(), Vec::as_slice));
    [system, b" version ", release, b" ", &rest, b"\n"].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_banner_keeps_what_is_not_changed() {
        let text = "Linux version 6.1.0-x (a@b) (gcc (Debian 12) 12.2, GNU ld) #1 SMP Tue\n";
        let (release, version) = (b"9.9".to_vec(), b"#2 v".to_vec());
        let changed = |r, v| String::from_utf8(banner(text, [None, r, v])).unwrap();
        assert_eq!(changed(None, None), text);
        assert_eq!(changed(Some(&release), None), text.replace("6.1.0-x", "9.9"));
        assert_eq!(
            changed(Some(&release), Some(&version)),
            text.replace("6.1.0-x", "9.9").replace("#1 SMP Tue", "#2 v")
        );
        assert_eq!(banner("odd", [None, Some(&release), None]), b"odd");
    }
}
