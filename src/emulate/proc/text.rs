//! Texts of /proc that name host paths or the tracer (proc(5)), put into the guest's terms.
//!
//! Pure functions over the kernel's text. What the guest has no path for stays as it is, which is what a chroot shows
//! of files outside of it.

use super::pid_and_name;
use crate::path::{Buf, PATH_MAX};
use std::borrow::Cow;

/// A file of /proc whose text names host paths, or the tracer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Text {
    /// `maps` and `smaps`.
    Maps,
    /// `numa_maps`.
    NumaMaps,
    /// `mountinfo`.
    MountInfo,
    /// `mounts`.
    Mounts,
    /// `mountstats`.
    MountStats,
    /// `status`, which names the tracer.
    Status,
    /// `net/unix`.
    Sockets,
}

/// Which of these files a host path, without its NUL, names, and the process it is about.
pub fn text_at(host: &[u8]) -> Option<(Text, i32)> {
    let (pid, name) = pid_and_name(host)?;
    let text = match name {
        b"maps" | b"smaps" => Text::Maps,
        b"numa_maps" => Text::NumaMaps,
        b"mountinfo" => Text::MountInfo,
        b"mounts" => Text::Mounts,
        b"mountstats" => Text::MountStats,
        b"status" => Text::Status,
        b"net/unix" => Text::Sockets,
        _ => return None,
    };
    Some((text, pid))
}

/// Whether a last component may be one of these files', so that where it lies has to be known.
pub fn may_be_text(name: &[u8]) -> bool {
    matches!(
        name,
        b"maps" | b"smaps" | b"numa_maps" | b"mountinfo" | b"mounts" | b"mountstats" | b"status" | b"unix"
    )
}

/// Host path → guest path, where the guest has one.
pub type Names<'a> = dyn Fn(&[u8], &mut Buf<PATH_MAX>) -> bool + 'a;

/// A path in the guest's terms, with what `d_path()` appends to one that is gone.
fn renamed(path: &[u8], names: &Names<'_>) -> Option<Vec<u8>> {
    let (path, suffix): (&[u8], &[u8]) = match path.strip_suffix(b" (deleted)") {
        Some(path) => (path, b" (deleted)"),
        None => (path, b""),
    };
    let mut guest = Buf::<PATH_MAX>::new();
    (path.starts_with(b"/") && names(path, &mut guest) && guest.as_bytes() != path)
        .then(|| [guest.as_bytes(), suffix].concat())
}

/// `maps`, and `smaps`, whose other lines begin with a name: the path is the sixth field, in which only a newline is
/// written in octal (`show_map_vma()` of `fs/proc/task_mmu.c`).
pub fn maps(text: &[u8], names: &Names<'_>) -> Vec<u8> {
    each_line(text, |line| {
        let slash = memchr::memchr(b'/', line)?;
        // A header: an address range; no line of smaps begins so.
        let dash = memchr::memchr(b'-', line)?;
        if dash == 0 || !line[..dash].iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        let path = unescaped(&line[slash..], b"\n");
        let guest = renamed(&path, names)?;
        Some([&line[..slash], &escaped(&guest, b"\n")].concat())
    })
}

/// `numa_maps`: `file=PATH`, with white space and `=` in octal (`show_numa_map()`).
pub fn numa_maps(text: &[u8], names: &Names<'_>) -> Vec<u8> {
    const ODD: &[u8] = b"\n\t= ";
    each_line(text, |line| {
        let at = memchr::memmem::find(line, b" file=/")? + 6;
        let end = memchr::memchr(b' ', &line[at..]).map_or(line.len(), |n| at + n);
        let guest = renamed(&unescaped(&line[at..end], ODD), names)?;
        Some([&line[..at], &escaped(&guest, ODD), &line[end..]].concat())
    })
}

/// `status` without the tracer: nobody traces a task for all that the guest knows. `is_ours` says of a number whether
/// it is one of prun's own processes'.
pub fn status(text: &[u8], is_ours: impl Fn(i32) -> bool) -> Vec<u8> {
    each_line(text, |line| {
        let pid = line.strip_prefix(b"TracerPid:\t")?;
        let pid = std::str::from_utf8(pid).ok()?.parse().ok()?;
        is_ours(pid).then(|| b"TracerPid:\t0".to_vec())
    })
}

/// `net/unix`: the path, as it was bound, is the eighth field (`unix_seq_show()`). `bound` knows addresses by what the
/// guest bound.
pub fn sockets(text: &[u8], names: &Names<'_>, bound: impl Fn(&[u8]) -> Option<Vec<u8>>) -> Vec<u8> {
    each_line(text, |line| {
        let at = memchr::memmem::find(line, b" /")? + 1;
        let path = &line[at..];
        let guest = bound(path).or_else(|| renamed(path, names))?;
        (guest != path).then(|| [&line[..at], &guest].concat())
    })
}

/// The addresses in `net/unix`: paths, and abstract names with `@` for their first byte.
pub fn bound(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|&b| b == b'\n').skip(1).filter_map(|line| {
        let mut rest = line;
        for _ in 0..7 {
            rest = rest.trim_ascii_start();
            rest = &rest[memchr::memchr(b' ', rest)?..];
        }
        rest.strip_prefix(b" ")
    })
}

/// The text with the lines that `change` has another for.
fn each_line(text: &[u8], change: impl Fn(&[u8]) -> Option<Vec<u8>>) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for line in text.split_inclusive(|&b| b == b'\n') {
        let (body, end) = match line.strip_suffix(b"\n") {
            Some(body) => (body, &b"\n"[..]),
            None => (line, &b""[..]),
        };
        match change(body) {
            Some(other) => out.extend(other),
            None => out.extend_from_slice(body),
        }
        out.extend_from_slice(end);
    }
    out
}

/// Undoes [`escaped`] (`seq_path()`, `mangle_path()`): three octal digits behind a backslash.
pub(super) fn unescaped<'a>(text: &'a [u8], odd: &[u8]) -> Cow<'a, [u8]> {
    if !text.contains(&b'\\') {
        return Cow::Borrowed(text);
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, tail)) = rest.split_first() {
        let octal = |d: &u8| (b'0'..=b'7').contains(d);
        match tail.first_chunk::<3>() {
            Some(digits) if byte == b'\\' && digits.iter().all(octal) => {
                let value = digits.iter().fold(0u32, |sum, d| sum * 8 + u32::from(d - b'0')) as u8;
                if odd.contains(&value) {
                    out.push(value);
                    rest = &tail[3..];
                    continue;
                }
            }
            _ => {}
        }
        out.push(byte);
        rest = tail;
    }
    Cow::Owned(out)
}

/// A path with these bytes in octal, as the kernel writes it.
pub(super) fn escaped(path: &[u8], odd: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.len());
    for &byte in path {
        if odd.contains(&byte) {
            out.extend(format!("\\{byte:03o}").bytes());
        } else {
            out.push(byte);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// /h is /g, and all else is not shown.
    fn names(host: &[u8], out: &mut Buf<PATH_MAX>) -> bool {
        let rest = host.strip_prefix(b"/h").filter(|rest| rest.is_empty() || rest[0] == b'/');
        rest.is_some_and(|rest| out.set(&[b"/g", rest].concat()).is_ok())
    }

    #[test]
    fn addresses_of_sockets() {
        let text = b"Num       RefCount Protocol Flags    Type St Inode Path\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 18473 /run/a b\n\
            0000000000000000: 00000003 00000000 00000000 0001 03    42\n\
            0000000000000000: 00000003 00000000 00000000 0001 03    42 @x\n\
            0000000000000000: 00000003 00000000 00000000 0001 03    42 near\n";
        assert_eq!(bound(text).collect::<Vec<_>>(), [&b"/run/a b"[..], b"@x", b"near"]);
        assert_eq!(bound(b"").count() + bound(b"a\nb c\n\n").count(), 0);
    }

    #[test]
    fn files_are_told_apart() {
        assert_eq!(text_at(b"/proc/12/maps"), Some((Text::Maps, 12)));
        assert_eq!(text_at(b"/proc/12/task/13/net/unix"), Some((Text::Sockets, 13)));
        assert_eq!(text_at(b"/proc/12/mounts"), Some((Text::Mounts, 12)));
        for other in [
            "/proc/mounts",
            "/proc/12/map_files",
            "/proc/12/net/tcp",
            "/x/12/maps",
            "/proc/12/root/proc/1/maps",
        ] {
            assert_eq!(text_at(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn maps_keep_all_but_the_path() {
        let text = b"7f00-7f01 r-xp 00000000 fe:00 12                         /h/a b\\012c\n\
            7f01-7f02 r-xp 00000000 fe:00 12                         /h/x (deleted)\n\
            7f02-7f03 rw-p 00000000 00:00 0                          [heap]\n\
            Size:                  4 kB\n\
            VmFlags: rd /h\n\
            7f03-7f04 rw-p 00000000 00:00 0 \n\
            7f04-7f05 rw-p 00000000 00:01 7                          /memfd:h (deleted)\n\
            7f05-7f06 r--p 00000000 00:00 0                          /hidden/file";
        let expected = String::from_utf8_lossy(text).replace("/h/a", "/g/a").replace("/h/x", "/g/x");
        assert_eq!(String::from_utf8_lossy(&maps(text, &names)), expected);
    }

    #[test]
    fn numa_maps_and_sockets_and_status() {
        let text = b"7f00 default file=/h/a\\040b mapped=1 N0=1\n7f01 default heap\n";
        assert_eq!(
            numa_maps(text, &names),
            b"7f00 default file=/g/a\\040b mapped=1 N0=1\n7f01 default heap\n"
        );
        let text = b"Num       RefCount\n0: 00000002 00000000 00010000 0001 01 45 /h/s\n0: 2 0 1 1 1 4 @/h/s\n0: 2 0 1 1 1 4 /x\n";
        let bound = |path: &[u8]| (path == b"/x").then(|| b"rel".to_vec());
        assert_eq!(
            String::from_utf8_lossy(&sockets(text, &names, bound)),
            String::from_utf8_lossy(text).replace(" /h/s", " /g/s").replace(" /x", " rel")
        );
        assert_eq!(
            status(b"Name:\tx\nTracerPid:\t7\nUid:\t0", |p| p == 7),
            b"Name:\tx\nTracerPid:\t0\nUid:\t0"
        );
        assert_eq!(status(b"TracerPid:\t8\n", |p| p == 7), b"TracerPid:\t8\n");
    }

    #[test]
    fn octal_is_undone_only_where_the_kernel_wrote_it() {
        assert_eq!(&*unescaped(b"a\\040b\\0", b" "), b"a b\\0");
        assert_eq!(&*unescaped(b"a\\101", b" "), b"a\\101");
        assert_eq!(escaped(b"a b\\c", b" \\"), b"a\\040b\\134c");
    }
}
