//! `/proc/PID/mountinfo`, `mounts` and `mountstats` (proc_pid_mountinfo(5)): the guest's mounts are its bindings, and the
//! host's mounts as far as they are seen through them.
//!
//! A binding's line is that of the host's mount it lies on, with the guest's path for its mount point and `/` for what is
//! shown of the file system: as for any bind mount, but without the host's path to it.

use super::text::{Text, escaped, unescaped};
use crate::path::{Buf, PATH_MAX, components};
use crate::view::{Access, Kind, NodeId, View};
use std::collections::BTreeSet;

/// What the kernel writes in octal in these files.
const ODD: &[u8] = b" \t\n\\#";

/// A mount of the host, as a line of `mountinfo` has it.
struct Mount<'a> {
    fields: Vec<&'a [u8]>,
    point: Vec<u8>,
}

impl<'a> Mount<'a> {
    fn parse(line: &'a [u8]) -> Option<Self> {
        let fields: Vec<&[u8]> = line.split(|&b| b == b' ').collect();
        let point = unescaped(fields.get(4)?, ODD).into_owned();
        (fields.len() > 6).then_some(Self { fields, point })
    }

    fn number(&self, field: usize) -> u64 {
        std::str::from_utf8(self.fields[field]).ok().and_then(|t| t.parse().ok()).unwrap_or(0)
    }
}

/// One line of the guest's.
struct Shown {
    /// Which of the host's mounts.
    mount: usize,
    /// Where the guest sees it.
    point: Vec<u8>,
    /// The whole mount is seen, not a directory of it.
    whole: bool,
    read_only: bool,
}

/// Whether `path` is `top` or lies below it.
fn within(path: &[u8], top: &[u8]) -> bool {
    top == b"/" || path.strip_prefix(top).is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
}

/// The guest's mounts, those above before those below.
fn shown(view: &View, mounts: &[Mount<'_>]) -> Vec<Shown> {
    let table = &view.table;
    let mut all = vec![];
    let mut points = BTreeSet::new();
    let mut todo = std::collections::VecDeque::from([NodeId::ROOT]);
    while let Some(id) = todo.pop_front() {
        todo.extend(table.children(id));
        let mut point = Buf::<PATH_MAX>::new();
        if table.node(id).kind() != Kind::Binding && id != NodeId::ROOT
            || table.guest_path(id, &mut point).is_err()
        {
            continue;
        }
        let host = table.host(id);
        // Of several the last, which covers the others.
        let best = mounts
            .iter()
            .enumerate()
            .filter(|(_, m)| within(host, &m.point))
            .max_by_key(|(i, m)| (components(&m.point).count(), *i));
        if let Some((mount, m)) = best {
            let point = point.as_bytes().to_vec();
            points.insert(point.clone());
            let read_only = table.node(id).access() == Access::ReadOnly;
            all.push(Shown { mount, point, whole: m.point == host, read_only });
        }
    }
    for (mount, m) in mounts.iter().enumerate() {
        let mut guest = Buf::<PATH_MAX>::new();
        if view.guest(&m.point, &mut guest) && points.insert(guest.as_bytes().to_vec()) {
            all.push(Shown { mount, point: guest.as_bytes().to_vec(), whole: true, read_only: false });
        }
    }
    all.sort_by(|a, b| {
        let key = |s: &Shown| (components(&s.point).count(), s.mount);
        key(a).cmp(&key(b)).then_with(|| a.point.cmp(&b.point))
    });
    all
}

/// Options with `ro` for the first, where it is `rw`.
fn options(given: &[u8], read_only: bool) -> Vec<u8> {
    match given.strip_prefix(b"rw") {
        Some(rest) if read_only => [b"ro", rest].concat(),
        _ => given.to_vec(),
    }
}

/// The file `text` of a process, from the kernel's `own` text of it and from its `mountinfo`; `None` where that is
/// not as it should be, or says the same.
pub fn mounts(text: Text, own: &[u8], info: &[u8], view: &View) -> Option<Vec<u8>> {
    let mounts: Vec<Mount<'_>> =
        info.split(|&b| b == b'\n').filter(|l| !l.is_empty()).map(Mount::parse).collect::<Option<_>>()?;
    let shown = shown(view, &mounts);
    let out = match text {
        Text::MountInfo => info_lines(&shown, &mounts),
        Text::Mounts | Text::MountStats => {
            // A mount's text is its line, with what follows it up to the next.
            let starts = |line: &[u8]| {
                text == Text::Mounts || line.starts_with(b"device ") || line.starts_with(b"no device ")
            };
            let mut parts: Vec<Vec<u8>> = vec![];
            for line in own.split_inclusive(|&b| b == b'\n') {
                match parts.last_mut() {
                    Some(part) if !starts(line) => part.extend_from_slice(line),
                    _ => parts.push(line.to_vec()),
                }
            }
            if parts.len() != mounts.len() {
                return None;
            }
            shown.iter().flat_map(|s| part(text, &parts[s.mount], &mounts[s.mount], s)).collect()
        }
        _ => return None,
    };
    (out != own).then_some(out)
}

/// A mount's part of `mounts` or `mountstats` with another mount point.
fn part(text: Text, part: &[u8], mount: &Mount<'_>, shown: &Shown) -> Vec<u8> {
    let (old, new) = (escaped(&mount.point, ODD), escaped(&shown.point, ODD));
    let (before, after): (&[u8], &[u8]) =
        if text == Text::Mounts { (b" ", b" ") } else { (b" mounted on ", b" with fstype ") };
    let point = [before, &old, after].concat();
    let Some(at) = memchr::memmem::find(part, &point) else { return part.to_vec() };
    let rest = &part[at + point.len()..];
    let rest = match (text, memchr::memchr(b' ', rest)) {
        // Behind the type.
        (Text::Mounts, Some(n)) => [&rest[..=n], &options(&rest[n + 1..], shown.read_only)].concat(),
        _ => rest.to_vec(),
    };
    [&part[..at], before, &new, after, &rest].concat()
}

fn info_lines(shown: &[Shown], mounts: &[Mount<'_>]) -> Vec<u8> {
    let mut next = mounts.iter().map(|m| m.number(0)).max().unwrap_or(0);
    let mut used = BTreeSet::new();
    let mut ids: Vec<u64> = Vec::with_capacity(shown.len());
    let mut out = vec![];
    // A whole mount has its number before directories of it do.
    for s in shown.iter().filter(|s| s.whole) {
        used.insert(mounts[s.mount].number(0));
        debug_assert!(s.point.starts_with(b"/"), "absolute");
    }
    let mut given = BTreeSet::new();
    for s in shown {
        let own = mounts[s.mount].number(0);
        let free = if s.whole { given.insert(own) } else { !used.contains(&own) && given.insert(own) };
        ids.push(if free {
            own
        } else {
            next += 1;
            next
        });
    }
    // The last mount point above each: lines are sorted by depth.
    let mut at = std::collections::BTreeMap::<&[u8], u64>::new();
    for (s, id) in shown.iter().zip(&ids) {
        let m = &mounts[s.mount];
        let mut above = s.point.as_slice();
        let mut parent = None;
        while parent.is_none() && above.len() > 1 {
            let cut = above.iter().rposition(|&b| b == b'/').unwrap_or(0).max(1);
            above = &above[..cut];
            parent = at.get(above).copied();
        }
        let parent = parent.unwrap_or_else(|| m.number(1));
        let root: &[u8] = if s.whole { m.fields[3] } else { b"/" };
        let point = escaped(&s.point, ODD);
        out.extend(format!("{id} {parent} ").bytes());
        out.extend_from_slice(&[m.fields[2], root, &point, &options(m.fields[5], s.read_only)].join(&b' '));
        for field in &m.fields[6..] {
            out.push(b' ');
            out.extend_from_slice(field);
        }
        out.push(b'\n');
        at.insert(&s.point, *id);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::HostTree;
    use crate::path::{GuestPath, HostPath};
    use crate::resolve::Follow;
    use crate::session::Counter;
    use crate::view::{Binding, StandIns};

    const INFO: &[u8] = b"20 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n\
        21 20 0:5 / /proc rw,nosuid - proc proc rw\n\
        22 20 0:6 / /dev rw - devtmpfs udev rw,size=1k\n\
        23 22 0:7 / /dev/pts rw - devpts devpts rw\n";
    const MOUNTS: &[u8] = b"/dev/vda / ext4 rw,relatime 0 0\nproc /proc proc rw,nosuid 0 0\n\
        udev /dev devtmpfs rw,size=1k 0 0\ndevpts /dev/pts devpts rw 0 0\n";

    fn view(root: &str, bindings: &[(&str, &str, Access)]) -> View {
        let bindings: Vec<Binding> = bindings
            .iter()
            .map(|(host, guest, access)| Binding {
                host: HostPath::new(host.as_bytes()),
                guest: GuestPath::new(guest.as_bytes()),
                access: *access,
                follow: Follow::Yes,
            })
            .collect();
        let calls = Counter::default();
        View::new(
            &HostPath::new(root.as_bytes()),
            &bindings,
            &mut HostTree::bare(&calls),
            &mut StandIns::new(),
        )
        .unwrap_or_else(|e| panic!("{e}"))
    }

    #[test]
    fn the_host_s_own_root_says_what_the_host_says() {
        let view = view("/", &[]);
        assert_eq!(mounts(Text::MountInfo, INFO, INFO, &view), None);
        assert_eq!(mounts(Text::Mounts, MOUNTS, INFO, &view), None);
    }

    #[test]
    fn a_root_of_bindings_has_their_mounts() {
        let (rw, ro) = (Access::ReadWrite, Access::ReadOnly);
        let view = view("/usr", &[("/dev", "/dev", rw), ("/proc", "/proc", rw), ("/etc", "/a b", ro)]);
        let info = mounts(Text::MountInfo, INFO, INFO, &view).expect("another");
        assert_eq!(
            String::from_utf8_lossy(&info),
            "20 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n\
             24 20 254:0 / /a\\040b ro,relatime shared:1 - ext4 /dev/vda rw\n\
             21 20 0:5 / /proc rw,nosuid - proc proc rw\n\
             22 20 0:6 / /dev rw - devtmpfs udev rw,size=1k\n\
             23 22 0:7 / /dev/pts rw - devpts devpts rw\n"
        );
        let own = mounts(Text::Mounts, MOUNTS, INFO, &view).expect("another");
        assert!(
            String::from_utf8_lossy(&own).contains("/dev/vda /a\\040b ext4 ro,relatime 0 0\n"),
            "{}",
            String::from_utf8_lossy(&own)
        );
        let stats = b"device /dev/vda mounted on / with fstype ext4\ndevice proc mounted on /proc with fstype proc\n\
            device udev mounted on /dev with fstype nfs statvers=1.1\n\tage: 1\ndevice devpts mounted on /dev/pts with fstype devpts\n";
        let own = mounts(Text::MountStats, stats, INFO, &view).expect("another");
        let own = String::from_utf8_lossy(&own).into_owned();
        assert!(own.contains("on /dev with fstype nfs statvers=1.1\n\tage: 1\ndevice"), "{own}");
        assert!(own.contains("device /dev/vda mounted on /a\\040b with fstype ext4\n"), "{own}");
    }

    #[test]
    fn odd_text_is_left_alone() {
        let view = view("/usr", &[]);
        assert_eq!(mounts(Text::MountInfo, b"what\n", b"what\n", &view), None);
        assert_eq!(mounts(Text::Mounts, b"one\n", INFO, &view), None);
    }
}
