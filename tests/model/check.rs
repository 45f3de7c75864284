//! prun's resolution held against the model: what the kernel finds with the host path must be what the guest would
//! have found with its own.

use super::tree::{Last as How, Limits, Place, Reached, Shown, Tree, What, text};
use super::world::{Ask, World};
use prun::error::Failure;
use prun::path::{Buf, HostPath};
use prun::resolve::{Follow, Host, Last, Link, Plain, Request, Resolver, Restrict};
use prun::view::{Access, NodeId, Reverse, Table};
use syscalls::Errno;

/// Where the directories that stand in for made-up ones are on the model's host; no path of a case leads there.
const STAND_INS: &str = "stand-ins";

/// The model's host, asked as prun asks the real one.
pub(crate) struct FakeHost<'a> {
    tree: &'a Tree,
    openat2: Openat2,
    epoch: u32,
}

/// Whether the host has openat2(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Openat2 {
    /// Since Linux 5.6.
    Present,
    /// Before: every path is walked.
    Missing,
}

fn bare(path: &[u8]) -> &[u8] {
    path.strip_suffix(b"\0").expect("paths to the host end in a NUL")
}

impl Host for FakeHost<'_> {
    fn plain(&mut self, path: &[u8], last: Last) -> Plain {
        if self.openat2 == Openat2::Missing {
            return Plain::Unknown;
        }
        let how = if last == Last::Kept { How::Kept } else { How::Followed };
        let limits = Limits { no_symlinks: true, ..Limits::default() };
        match self.tree.walk(&[], bare(path), how, limits) {
            Err(Errno::ELOOP) => Plain::Link,
            _ => Plain::Yes,
        }
    }

    fn link(&mut self, path: &[u8], out: &mut [u8]) -> Link {
        match self.tree.walk(&[], bare(path), How::Kept, Limits::default()) {
            Err(e) => Link::Refused(e),
            Ok(Reached::Thing(place)) => match self.tree.node(&place).map(|node| &self.tree.nodes[node]) {
                Some(What::Link(text)) => {
                    out[..text.len()].copy_from_slice(text);
                    Link::Text(text.len())
                }
                _ => Link::None,
            },
            Ok(Reached::Entry { .. }) => unreachable!("only asked for"),
        }
    }

    fn directory(&mut self, path: &[u8]) -> Option<[u64; 2]> {
        match self.tree.walk(&[], bare(path), How::Kept, Limits::default()) {
            Ok(Reached::Thing(place)) if self.tree.is_dir(&place) => {
                self.tree.node(&place).map(|node| [1, node as u64])
            }
            _ => None,
        }
    }

    fn epoch(&self) -> u32 {
        self.epoch
    }
}

/// A case with prun's own view of it.
pub(crate) struct Checked {
    world: World,
    table: Table,
    resolver: Box<Resolver>,
    epoch: u32,
}

impl Checked {
    /// Builds the view of `world`.
    pub(crate) fn new(mut world: World) -> Self {
        stand_ins(&mut world.host);
        // The same nodes have the same numbers.
        world.guest.nodes = world.host.nodes.clone();
        let mut made = 0;
        let mut next = |_: &[u8]| -> Result<HostPath, Failure> {
            made += 1;
            Ok(HostPath::new(format!("/{STAND_INS}/{made}").as_bytes()))
        };
        let mut host = FakeHost { tree: &world.host, openat2: Openat2::Present, epoch: 0 };
        let table =
            prun::view::table_of(&world.root, &world.bindings, &mut host, &mut next).expect("a table");
        Self { world, table, resolver: Box::new(Resolver::new()), epoch: 0 }
    }

    /// The table shows just what the model does, and where.
    pub(crate) fn view(&self) -> Result<(), String> {
        for (place, shown) in &self.world.guest.shown {
            let name = text(place);
            let node = self.table.find(&name).ok_or_else(|| format!("{}: no node", name.escape_ascii()))?;
            let (host, access) = (self.table.host(node), self.table.node(node).access());
            let good = match shown {
                Shown::MadeUp => host.starts_with(format!("/{STAND_INS}/").as_bytes()),
                Shown::Host { node, writable } => {
                    self.host_node(host) == Some(*node) && (access == Access::ReadWrite) == *writable
                }
            };
            if !good {
                return Err(format!(
                    "{}: the table shows {} {access:?}, the model {shown:?}",
                    name.escape_ascii(),
                    host.escape_ascii()
                ));
            }
        }
        let shown = |node| !self.table.host(node).is_empty();
        let mut all = vec![NodeId::ROOT];
        let mut count = 0;
        while let Some(node) = all.pop() {
            all.extend(self.table.children(node));
            count += usize::from(shown(node));
        }
        if count == self.world.guest.shown.len() {
            return Ok(());
        }
        Err(format!("the table shows {count} things, the model {}", self.world.guest.shown.len()))
    }

    /// Every place of the host is named as the guest would name it: by the deepest thing shown that holds it and that
    /// nothing hides there, or not at all. Names with something shown below them come first.
    pub(crate) fn back(&self) -> Result<(), String> {
        let reverse = Reverse::new(&self.table);
        let shown: Vec<(&Place, Place)> = self
            .world
            .guest
            .shown
            .keys()
            .map(|at| (at, components(self.table.host(self.table.find(&text(at)).expect("checked by view")))))
            .collect();
        let mut all: Vec<Place> = vec![vec![]];
        while let Some(place) = all.pop() {
            if let Some(What::Dir { entries, .. }) =
                self.world.host.node(&place).map(|n| &self.world.host.nodes[n])
            {
                all.extend(entries.keys().map(|name| below(&place, name)));
            }
            let names = shown.iter().filter_map(|(at, host)| {
                let rest = place.strip_prefix(&host[..])?;
                let guest: Place = at.iter().chain(rest).cloned().collect();
                let leads =
                    shown.iter().any(|(other, _)| other.len() > guest.len() && other.starts_with(&guest[..]));
                (self.world.guest.cover(&guest).0 == **at).then_some(((leads, host.len()), guest))
            });
            let names: Vec<((bool, usize), Place)> = names.collect();
            let deepest = names.iter().map(|(depth, _)| *depth).max();
            let mut out = Buf::new();
            let got = reverse.guest(&self.table, &text(&place), &mut out).then(|| components(out.as_bytes()));
            let good = match &got {
                None => names.is_empty(),
                Some(guest) => names.iter().any(|(depth, name)| Some(*depth) == deepest && name == guest),
            };
            if !good {
                let place = text(&place);
                return Err(format!("{} is named {got:?}, not one of {names:?}", place.escape_ascii()));
            }
        }
        Ok(())
    }

    /// Resolves the path of `ask` both ways and compares with the model.
    pub(crate) fn ask(&mut self, ask: &Ask) -> Result<(), String> {
        if let Some(made) = &ask.change
            && self.world.change(made, &self.fixed())
        {
            self.epoch += 1;
        }
        let base = self.world.base(ask);
        if !(0..=base.len()).all(|n| self.world.guest.is_dir(&base[..n])) {
            // A directory that has been removed has no path.
            return Ok(());
        }
        let expected = self.world.answer(ask);
        for openat2 in [Openat2::Present, Openat2::Missing] {
            self.compare(ask, &expected, openat2).map_err(|why| {
                format!(
                    "'{}' from '{}' {:?} {:?}, openat2 {openat2:?}: {why}\nmodel: {expected:?}\nhost path: {}\nshown: {:?}",
                    ask.path.bytes().escape_ascii(),
                    text(self.world.base(ask)).escape_ascii(),
                    ask.last(),
                    ask.limits(),
                    self.resolver.host().escape_ascii(),
                    self.world.guest.shown,
                )
            })?;
        }
        Ok(())
    }

    fn compare(
        &mut self,
        ask: &Ask,
        expected: &Result<Reached, Errno>,
        openat2: Openat2,
    ) -> Result<(), String> {
        let base = text(self.world.base(ask));
        let path = ask.path.bytes();
        let follow = match ask.last() {
            How::Followed => Follow::Yes,
            How::Kept => Follow::No,
            How::Entry => Follow::Entry,
        };
        let request =
            Request { base: &base, path: &path, follow, restrict: restrict(ask.limits()), root: b"/" };
        let mut host = FakeHost { tree: &self.world.host, openat2, epoch: self.epoch };
        let found = match self.resolver.resolve(&self.table, &mut host, &request) {
            Err(e) if expected.as_ref() == Err(&e) => return Ok(()),
            Err(e) => return Err(format!("refused with {e:?}")),
            Ok(found) => found,
        };
        if found.void {
            let in_void = match expected {
                Err(e) => *e == Errno::ENOENT,
                Ok(Reached::Entry { dir, name, .. }) => {
                    self.world.guest.is_made_up(dir)
                        && !self.world.guest.shown.contains_key(&below(dir, name))
                        && !matches!(&name[..], b"." | b"..")
                }
                Ok(Reached::Thing(_)) => false,
            };
            return if in_void { Ok(()) } else { Err("said to be nowhere".into()) };
        }
        // What the kernel does with the host path; its limits that an absolute path breaks have been kept already.
        let limits = Limits { no_symlinks: ask.limits().no_symlinks, ..Limits::default() };
        let host_path = bare(self.resolver.host());
        let got = self.world.host.walk(&[], host_path, ask.last(), limits);
        if found.same && got != self.world.host.walk(&[], &path, ask.last(), limits) {
            return Err("the guest's own path does not do".into());
        }
        match (expected, &got) {
            (Err(a), Err(b)) if a == b => Ok(()),
            (Ok(Reached::Thing(place)), Ok(Reached::Thing(at))) => {
                self.same(place, at)?;
                self.covered(place, found.bind)?;
                if follow == Follow::Yes && self.resolver.guest() != text(place) {
                    return Err(format!("guest path {}", self.resolver.guest().escape_ascii()));
                }
                Ok(())
            }
            (Ok(Reached::Entry { dir, name, slash }), _) => {
                if name.is_empty() {
                    // The root itself.
                    let root = found.node == Some(NodeId::ROOT);
                    return if root { Ok(()) } else { Err("not the root".into()) };
                }
                let place = below(dir, name);
                let dots = matches!(&name[..], b"." | b"..");
                let special = self.world.guest.shown.keys().any(|shown| shown.starts_with(&place));
                if (special && !dots) != found.node.is_some() {
                    return Err(format!("a node of the table: {special}, {found:?}"));
                }
                if self.world.guest.shown.contains_key(&place) && !dots {
                    // The handlers refuse it; the host path is that of what is shown.
                    return Ok(());
                }
                match &got {
                    Ok(Reached::Entry { dir: at, name: n, slash: s }) if (n, s) == (name, slash) || dots => {
                        self.same(dir, at)?;
                        if dots { Ok(()) } else { self.covered(dir, found.bind) }
                    }
                    Ok(Reached::Entry { .. }) => Err(format!("another entry: {got:?}")),
                    _ => Err(format!("{got:?}")),
                }
            }
            _ => Err(format!("{got:?}")),
        }
    }

    /// Places of the host that nobody can move or remove: what is shown somewhere, and what lies on the way there.
    fn fixed(&self) -> Vec<Place> {
        let guest = &self.world.guest;
        let on_the_way = guest.shown.keys().flat_map(|place| (0..=place.len()).map(|n| place[..n].to_vec()));
        on_the_way
            .map(|place| {
                let (at, _) = guest.cover(&place);
                let mut host =
                    components(self.table.host(self.table.find(&text(&at)).expect("checked by view")));
                host.extend_from_slice(&place[at.len()..]);
                host
            })
            .collect()
    }

    /// Whether a place of the guest and one of the host are the same thing.
    fn same(&self, place: &Place, at: &Place) -> Result<(), String> {
        let node = if self.world.guest.is_made_up(place) {
            self.table.find(&text(place)).and_then(|id| self.host_node(self.table.host(id)))
        } else {
            self.world.guest.node(place)
        };
        if node.is_some() && node == self.world.host.node(at) {
            return Ok(());
        }
        Err(format!("led to {}", text(at).escape_ascii()))
    }

    /// The node that covers a place is the one that was found, so that its access counts.
    fn covered(&self, place: &Place, bind: NodeId) -> Result<(), String> {
        let (at, _) = self.world.guest.cover(place);
        if self.table.find(&text(&at)) == Some(bind) {
            return Ok(());
        }
        Err(format!("covered by {:?}", String::from_utf8_lossy(self.table.host(bind))))
    }

    fn host_node(&self, path: &[u8]) -> Option<usize> {
        self.world.host.node(&components(path))
    }
}

fn components(path: &[u8]) -> Place {
    prun::path::components(path).map(<[u8]>::to_vec).collect()
}

fn below(dir: &Place, name: &[u8]) -> Place {
    dir.iter().cloned().chain([name.to_vec()]).collect()
}

fn restrict(limits: Limits) -> Restrict {
    let bits = [
        (limits.no_xdev, Restrict::NO_XDEV),
        (limits.no_symlinks, Restrict::NO_SYMLINKS),
        (limits.beneath, Restrict::BENEATH),
        (limits.in_root, Restrict::IN_ROOT),
    ];
    Restrict(bits.iter().filter(|(on, _)| *on).map(|(_, bit)| bit).sum())
}

/// Adds the directories that stand in for made-up ones.
fn stand_ins(host: &mut Tree) {
    let dir = |entries| What::Dir { entries, open: true };
    let first = host.nodes.len();
    host.nodes.extend((0..200).map(|_| dir(Default::default())));
    let all = (1..=200).map(|n| (n.to_string().into_bytes(), first + n - 1)).collect();
    let top = host.nodes.len();
    host.nodes.push(dir(all));
    let What::Dir { entries, open } = &mut host.nodes[0] else { unreachable!("the root is a directory") };
    *open = true;
    entries.insert(STAND_INS.into(), top);
}
