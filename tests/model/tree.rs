//! A file tree in memory, and the walk of a path through it as the kernel's `fs/namei.c` has it.
//!
//! Written for clarity: a place is a list of names, what is there is looked up from the top each time, and nothing is
//! remembered. The tree of the host and the tree the guest sees are the same type: the guest's has things shown.

use std::collections::BTreeMap;
use syscalls::Errno;

/// One component of a path.
pub(crate) type Name = Vec<u8>;
/// A canonical place: the names on the way from `/`.
pub(crate) type Place = Vec<Name>;

/// What is at a place.
#[derive(Clone, Debug)]
pub(crate) enum What {
    /// A directory; one that may not be searched has entries that nobody reaches.
    Dir {
        /// Its entries: name → index of the node.
        entries: BTreeMap<Name, usize>,
        /// Whether it may be searched.
        open: bool,
    },
    /// A file.
    File,
    /// A symbolic link and its text.
    Link(Vec<u8>),
}

/// Something shown at a place of the guest instead of what is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    /// A node of the host's.
    Host {
        /// Which.
        node: usize,
        /// Whether it may be written.
        writable: bool,
    },
    /// An empty directory.
    MadeUp,
}

/// How the last component is treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Last {
    /// A link is followed.
    Followed,
    /// It is the thing meant, unless slashes follow it.
    Kept,
    /// The name in its directory is meant.
    Entry,
}

/// `RESOLVE_*` of openat2(2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Limits {
    /// `RESOLVE_NO_XDEV`.
    pub(crate) no_xdev: bool,
    /// `RESOLVE_NO_SYMLINKS`.
    pub(crate) no_symlinks: bool,
    /// `RESOLVE_BENEATH`.
    pub(crate) beneath: bool,
    /// `RESOLVE_IN_ROOT`.
    pub(crate) in_root: bool,
}

/// Where a walk has led.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reached {
    /// To something.
    Thing(Place),
    /// To a directory and a last component that was not looked at: `.`, `..` and, for the root, an empty one too.
    Entry {
        /// The directory.
        dir: Place,
        /// The component.
        name: Name,
        /// Slashes follow it.
        slash: bool,
    },
}

/// A tree of files, with things shown in it.
#[derive(Clone, Debug)]
pub(crate) struct Tree {
    /// The host's nodes; the first is its `/`.
    pub(crate) nodes: Vec<What>,
    /// What is shown where; the longest prefix of a place counts. The root is always there.
    pub(crate) shown: BTreeMap<Place, Shown>,
}

/// Links followed before `ELOOP`.
const MAX_LINKS: usize = 40;
/// Bytes in a name.
const NAME_MAX: usize = 255;

impl Tree {
    /// The host's tree: an empty `/`.
    pub(crate) fn new() -> Self {
        let root = What::Dir { entries: BTreeMap::new(), open: true };
        let all = Shown::Host { node: 0, writable: true };
        Self { nodes: vec![root], shown: [(vec![], all)].into() }
    }

    /// What covers a place, and where.
    pub(crate) fn cover(&self, place: &[Name]) -> (Place, Shown) {
        let longest = (0..=place.len()).rev().find_map(|n| self.shown.get_key_value(&place[..n]));
        longest.map(|(at, shown)| (at.clone(), *shown)).expect("the root is always shown")
    }

    /// The host's node at a canonical place; `None` where nothing is, or where a directory is made up.
    pub(crate) fn node(&self, place: &[Name]) -> Option<usize> {
        let (at, shown) = self.cover(place);
        let Shown::Host { node, .. } = shown else { return None };
        place[at.len()..].iter().try_fold(node, |node, name| match &self.nodes[node] {
            What::Dir { entries, .. } => entries.get(name).copied(),
            _ => None,
        })
    }

    /// Whether just this place is a directory made up for the guest.
    pub(crate) fn is_made_up(&self, place: &[Name]) -> bool {
        self.shown.get(place) == Some(&Shown::MadeUp)
    }

    /// Whether a place holds a directory that may be searched: what the kernel checks before it looks up a name.
    fn search(&self, place: &[Name]) -> Result<(), Errno> {
        if self.is_made_up(place) {
            return Ok(());
        }
        match self.node(place).map(|node| &self.nodes[node]) {
            Some(What::Dir { open: true, .. }) => Ok(()),
            Some(What::Dir { open: false, .. }) => Err(Errno::EACCES),
            Some(_) => Err(Errno::ENOTDIR),
            None => Err(Errno::ENOENT),
        }
    }

    /// Whether a place holds a directory, searchable or not.
    pub(crate) fn is_dir(&self, place: &[Name]) -> bool {
        matches!(self.search(place), Ok(()) | Err(Errno::EACCES))
    }

    /// Whether a place holds a directory that may be searched.
    pub(crate) fn is_open_dir(&self, place: &[Name]) -> bool {
        self.search(place).is_ok()
    }

    /// Walks `path` from `base`.
    pub(crate) fn walk(
        &self,
        base: &[Name],
        path: &[u8],
        last: Last,
        limits: Limits,
    ) -> Result<Reached, Errno> {
        let root: Place = if limits.in_root { base.to_vec() } else { vec![] };
        let mut at = base.to_vec();
        if path.first() == Some(&b'/') {
            if limits.beneath {
                return Err(Errno::EXDEV);
            }
            at = root.clone();
        }
        // The kernel finds out where the root is when it first needs it, and until then takes it for another mount.
        let mut root_known = path.first() == Some(&b'/') || limits.in_root;
        let mut links = 0;
        let mut rest = path.to_vec();
        loop {
            let start = rest.iter().position(|&b| b != b'/').unwrap_or(rest.len());
            rest.drain(..start);
            if rest.is_empty() {
                // Only slashes: the directory itself, which a name in front of them has led to.
                return Ok(match last {
                    Last::Entry => Reached::Entry { dir: at, name: vec![], slash: false },
                    _ => Reached::Thing(at),
                });
            }
            self.search(&at)?;
            let len = rest.iter().position(|&b| b == b'/').unwrap_or(rest.len());
            let name: Name = rest.drain(..len).collect();
            let is_last = rest.iter().all(|&b| b == b'/');
            let slash = is_last && !rest.is_empty();
            if is_last && last == Last::Entry {
                return Ok(Reached::Entry { dir: at, name, slash });
            }
            match &name[..] {
                b"." => {}
                b".." => {
                    root_known = true;
                    let top = limits.beneath || limits.in_root;
                    if top && at == base {
                        if limits.beneath {
                            return Err(Errno::EXDEV);
                        }
                    } else if !at.is_empty() {
                        if limits.no_xdev && self.shown.contains_key(&at) {
                            return Err(Errno::EXDEV);
                        }
                        at.pop();
                    }
                }
                _ => {
                    if name.len() > NAME_MAX {
                        return Err(Errno::ENAMETOOLONG);
                    }
                    let next: Place = at.iter().cloned().chain([name]).collect();
                    if self.shown.contains_key(&next) {
                        if limits.no_xdev {
                            return Err(Errno::EXDEV);
                        }
                    } else if self.node(&next).is_none() {
                        return Err(Errno::ENOENT);
                    }
                    let follows = !is_last || slash || last == Last::Followed;
                    match self.node(&next).map(|node| &self.nodes[node]) {
                        Some(What::Link(text)) if follows => {
                            links += 1;
                            if links > MAX_LINKS || limits.no_symlinks {
                                return Err(Errno::ELOOP);
                            }
                            if text[0] == b'/' {
                                let same_mount = root_known && self.cover(&at).0 == self.cover(&root).0;
                                if limits.beneath || limits.no_xdev && !same_mount {
                                    return Err(Errno::EXDEV);
                                }
                                at = root.clone();
                                root_known = true;
                            }
                            rest.splice(..0, text.iter().copied());
                            continue;
                        }
                        _ => at = next,
                    }
                }
            }
            if slash && !self.is_dir(&at) {
                return Err(Errno::ENOTDIR);
            }
        }
    }
}

/// A place as text.
pub(crate) fn text(place: &[Name]) -> Vec<u8> {
    match place {
        [] => b"/".to_vec(),
        names => names.iter().flat_map(|name| [b"/".as_slice(), name].concat()).collect(),
    }
}
