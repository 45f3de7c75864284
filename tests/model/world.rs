//! A host, bindings and paths, made of a few small numbers: what proptest shrinks and the fuzzer mutates.

use super::tree::{Last, Limits, Name, Place, Reached, Shown, Tree, What, text};
use prun::path::{GuestPath, HostPath};
use prun::view::{Access, Binding};
use std::collections::BTreeMap;

/// One component of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(fuzzing, derive(arbitrary::Arbitrary))]
pub(crate) enum Part {
    /// One of a few names.
    Name(u8),
    /// `.`
    Dot,
    /// `..`
    Up,
    /// Nothing: a doubled or final slash.
    Empty,
    /// A name of 255 bytes.
    Longest,
    /// A name of 256 bytes.
    TooLong,
}

/// A path.
#[derive(Clone, PartialEq, Eq)]
#[cfg_attr(fuzzing, derive(arbitrary::Arbitrary))]
pub(crate) struct Path {
    /// Whether it begins with a slash.
    pub(crate) absolute: bool,
    /// Its components.
    pub(crate) parts: Vec<Part>,
}

/// Something in the host's tree.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(fuzzing, derive(arbitrary::Arbitrary))]
pub(crate) struct Made {
    /// Which of the directories made so far it is in.
    pub(crate) parent: u8,
    /// Its name.
    pub(crate) name: u8,
    /// What it is.
    pub(crate) what: Kind,
}

/// What is made.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(fuzzing, derive(arbitrary::Arbitrary))]
pub(crate) enum Kind {
    /// A directory.
    Dir,
    /// A directory that may not be searched.
    Locked,
    /// A file.
    File,
    /// A symbolic link.
    Link(Path),
}

/// A binding.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(fuzzing, derive(arbitrary::Arbitrary))]
pub(crate) struct Bind {
    /// Which node of the host it shows.
    pub(crate) host: u8,
    /// Where.
    pub(crate) guest: Path,
    /// Whether it may be written.
    pub(crate) writable: bool,
}

/// A path to resolve.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(fuzzing, derive(arbitrary::Arbitrary))]
pub(crate) struct Ask {
    /// Which of the guest's directories it starts in.
    pub(crate) base: u8,
    /// The path.
    pub(crate) path: Path,
    /// How its last component is treated.
    pub(crate) last: u8,
    /// Limits of openat2(2), a bit each; none where the high bit is clear.
    pub(crate) limits: u8,
    /// What the guest puts somewhere before it asks, in place of what is there.
    pub(crate) change: Option<Made>,
}

/// A whole case.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(fuzzing, derive(arbitrary::Arbitrary))]
pub(crate) struct Case {
    /// The host's tree.
    pub(crate) made: Vec<Made>,
    /// Which of its directories the guest's root is.
    pub(crate) root: u8,
    /// The bindings.
    pub(crate) binds: Vec<Bind>,
    /// The paths.
    pub(crate) asks: Vec<Ask>,
}

fn name(n: u8) -> Name {
    vec![b'a' + n % 5]
}

impl From<&str> for Path {
    /// Names of one letter; longer ones are the longest, or too long.
    fn from(text: &str) -> Self {
        let part = |name: &str| match name {
            "" => Part::Empty,
            "." => Part::Dot,
            ".." => Part::Up,
            "LONG" => Part::TooLong,
            name => Part::Name(name.as_bytes()[0] - b'a'),
        };
        let rest = text.strip_prefix('/');
        let parts = rest.unwrap_or(text).split('/').map(part).collect();
        Self { absolute: rest.is_some(), parts }
    }
}

impl Path {
    /// As text; never empty.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        // A path, and all link texts on its way, fit the buffers.
        let mut long = 0;
        let short = |part: &&Part| {
            long += usize::from(matches!(part, Part::Longest | Part::TooLong));
            long <= 1
        };
        let parts: Vec<Name> = self
            .parts
            .iter()
            .filter(short)
            .take(12)
            .map(|part| match part {
                Part::Name(n) => name(*n),
                Part::Dot => b".".to_vec(),
                Part::Up => b"..".to_vec(),
                Part::Empty => vec![],
                Part::Longest => vec![b'n'; 255],
                Part::TooLong => vec![b'n'; 256],
            })
            .collect();
        let mut all = if self.absolute { b"/".to_vec() } else { vec![] };
        all.extend(parts.join(&b'/'));
        if all.is_empty() { b".".to_vec() } else { all }
    }

    /// As text that begins with a slash and has no name that no file system takes.
    fn absolute(&self) -> Vec<u8> {
        let parts: Vec<Part> = self.parts.iter().copied().filter(|p| *p != Part::TooLong).take(12).collect();
        Path { absolute: true, parts }.bytes()
    }
}

impl Case {
    /// The same with only those bindings that mount(2) could make as well: on what is there, a directory on a
    /// directory, a file on a file; written as they are, the shallow ones first.
    pub(crate) fn mountable(&self) -> Self {
        let mut case = Self { binds: vec![], ..self.clone() };
        for bind in &self.binds {
            let world = World::new(&case);
            let place = canonical(&world.guest, &bind.guest.absolute());
            let deep_enough = case.binds.last().is_none_or(|b| b.guest.parts.len() <= place.len());
            let (_, places) = make(&self.made);
            let host = &places[usize::from(bind.host) % places.len()];
            let there =
                world.guest.node(&place).is_some_and(|n| !matches!(world.guest.nodes[n], What::Link(_)));
            let reached = (0..place.len()).all(|n| world.guest.is_open_dir(&place[..n]));
            let alike = world.guest.is_dir(&place) == world.host.is_dir(host);
            let names = place.iter().all(|name| name.len() == 1);
            if !place.is_empty() && deep_enough && there && reached && alike && names {
                let parts = place.iter().map(|name| Part::Name(name[0] - b'a')).collect();
                let guest = Path { absolute: true, parts };
                case.binds.push(Bind { guest, ..bind.clone() });
            }
        }
        case
    }
}

impl std::fmt::Debug for Path {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "\"{}\"", self.bytes().escape_ascii())
    }
}

impl Ask {
    /// How the last component is treated.
    pub(crate) fn last(&self) -> Last {
        [Last::Followed, Last::Kept, Last::Entry][usize::from(self.last % 3)]
    }

    /// The limits, as openat2(2) takes them: not both of the two that set a top.
    pub(crate) fn limits(&self) -> Limits {
        let bit = |n: u8| self.limits & 0x80 != 0 && self.limits & 1 << n != 0;
        // Only openat2(2) has limits, and it looks at the last component.
        if self.last() == Last::Entry {
            return Limits::default();
        }
        Limits { no_xdev: bit(0), no_symlinks: bit(1), beneath: bit(2), in_root: bit(3) && !bit(2) }
    }
}

/// The case, built: the host's tree and the same tree as the guest sees it.
#[derive(Clone, Debug)]
pub(crate) struct World {
    /// The host, with nothing shown in it.
    pub(crate) host: Tree,
    /// The guest.
    pub(crate) guest: Tree,
    /// Host directory of the guest's root.
    pub(crate) root: HostPath,
    /// The bindings, as the command line gives them to the view.
    pub(crate) bindings: Vec<Binding>,
    /// Places of the guest that a task may stand in.
    pub(crate) bases: Vec<Place>,
}

impl World {
    /// Builds `case`.
    pub(crate) fn new(case: &Case) -> Self {
        let (host, places) = make(&case.made);
        let open: Vec<&Place> = places.iter().filter(|p| host.is_open_dir(p)).collect();
        let root = open[usize::from(case.root) % open.len()];
        let shown = |place: &Place, writable| Shown::Host { node: host.node(place).expect("made"), writable };
        let mut guest = host.clone();
        guest.shown = [(vec![], shown(root, true))].into();
        let mut binds: Vec<(Vec<u8>, &Place, bool)> = case
            .binds
            .iter()
            .take(12)
            .map(|b| (b.guest.absolute(), &places[usize::from(b.host) % places.len()], b.writable))
            .collect();
        // Shallow ones first.
        binds.sort_by_key(|(at, _, _)| prun::path::components(at).count());
        let mut bindings = vec![];
        for (at, place, writable) in binds {
            let canonical = canonical(&guest, &at);
            if canonical.is_empty() && !host.is_open_dir(place) {
                // Nothing can be said of a root that is no directory.
                continue;
            }
            guest.shown.insert(canonical, shown(place, writable));
            make_up(&mut guest);
            bindings.push(Binding {
                host: HostPath::new(&text(place)),
                guest: GuestPath::new(&at),
                follow: prun::resolve::Follow::Yes,
                access: if writable { Access::ReadWrite } else { Access::ReadOnly },
            });
        }
        let bases = bases(&guest);
        Self { host, guest, root: HostPath::new(&text(root)), bindings, bases }
    }

    /// Puts a new thing into a directory of the host, unless that is in the way of what `keep` names; whether it did.
    pub(crate) fn change(&mut self, made: &Made, keep: &[Place]) -> bool {
        let mut dirs: Vec<Place> = vec![vec![]];
        let mut next = 0;
        while next < dirs.len() && dirs.len() < 64 {
            let place = dirs[next].clone();
            next += 1;
            let below = (0..5).map(|n| place.iter().cloned().chain([name(n)]).collect());
            dirs.extend(below.filter(|p: &Place| self.host.is_open_dir(p)));
        }
        let dir = &dirs[usize::from(made.parent) % dirs.len()];
        let place: Place = dir.iter().cloned().chain([name(made.name)]).collect();
        if keep.iter().any(|kept| kept.starts_with(&place)) {
            return false;
        }
        for tree in [&mut self.host, &mut self.guest] {
            let new = tree.nodes.len();
            tree.nodes.push(what(&made.what));
            let at = dir.iter().fold(0, |at, name| match &tree.nodes[at] {
                What::Dir { entries, .. } => entries[name],
                _ => unreachable!("a directory"),
            });
            let What::Dir { entries, .. } = &mut tree.nodes[at] else { unreachable!("a directory") };
            entries.insert(name(made.name), new);
        }
        true
    }

    /// Where the path of `ask` leads in the guest.
    pub(crate) fn answer(&self, ask: &Ask) -> Result<Reached, syscalls::Errno> {
        self.guest.walk(self.base(ask), &ask.path.bytes(), ask.last(), ask.limits())
    }

    /// Where the path of `ask` starts.
    pub(crate) fn base(&self, ask: &Ask) -> &Place {
        &self.bases[usize::from(ask.base) % self.bases.len()]
    }
}

fn what(kind: &Kind) -> What {
    match kind {
        Kind::Dir => What::Dir { entries: BTreeMap::new(), open: true },
        Kind::Locked => What::Dir { entries: BTreeMap::new(), open: false },
        Kind::File => What::File,
        Kind::Link(path) => What::Link(path.bytes()),
    }
}

/// The host's tree, and the places in it that can be bound: those a path leads to without a link.
fn make(made: &[Made]) -> (Tree, Vec<Place>) {
    let mut tree = Tree::new();
    let mut dirs: Vec<(usize, Place)> = vec![(0, vec![])];
    let mut places: Vec<Place> = vec![vec![]];
    for thing in made.iter().take(60) {
        let (parent, place) = dirs[usize::from(thing.parent) % dirs.len()].clone();
        let name = name(thing.name);
        let new = tree.nodes.len();
        let What::Dir { entries, open } = &mut tree.nodes[parent] else { unreachable!("a directory") };
        if place.len() > 8 || entries.contains_key(&name) {
            continue;
        }
        let reachable = *open && places.contains(&place);
        entries.insert(name.clone(), new);
        let place: Place = place.into_iter().chain([name]).collect();
        let what = what(&thing.what);
        if let What::Dir { .. } = what {
            dirs.push((new, place.clone()));
        }
        if reachable && !matches!(what, What::Link(_)) {
            places.push(place);
        }
        tree.nodes.push(what);
    }
    (tree, places)
}

/// The place of a binding: links are followed as far as the guest has anything, the rest stays as it is written.
fn canonical(guest: &Tree, path: &[u8]) -> Place {
    let mut at: Place = vec![];
    for name in prun::path::components(path) {
        if name == b".." {
            at.pop();
            continue;
        }
        let path = [text(&at).as_slice(), b"/", name].concat();
        match guest.walk(&[], &path, Last::Followed, Limits::default()) {
            Ok(Reached::Thing(place)) => at = place,
            Ok(Reached::Entry { .. }) => unreachable!("only asked for"),
            Err(_) => at.push(name.to_vec()),
        }
    }
    at
}

/// Above everything shown there are directories that may be searched: where there are none, they are made up.
fn make_up(guest: &mut Tree) {
    let mut above: Vec<Place> =
        guest.shown.keys().flat_map(|place| (1..place.len()).map(|n| place[..n].to_vec())).collect();
    above.sort_by_key(Vec::len);
    for place in above {
        if !guest.is_open_dir(&place) {
            guest.shown.insert(place, Shown::MadeUp);
        }
    }
}

/// Directories that can be reached, a few levels deep; the root first.
fn bases(guest: &Tree) -> Vec<Place> {
    let mut all: Vec<Place> = vec![vec![]];
    let mut next = 0;
    while next < all.len() && all.len() < 64 {
        let place = all[next].clone();
        next += 1;
        if place.len() > 5 || !guest.is_open_dir(&place) {
            continue;
        }
        for n in 0..5 {
            let below: Place = place.iter().cloned().chain([name(n)]).collect();
            if guest.is_dir(&below) {
                all.push(below);
            }
        }
    }
    all
}
