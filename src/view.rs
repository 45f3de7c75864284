//! What the guest sees: the bindings, in a mount table that is made once and never changes.
//!
//! * [`table`]: the tree of guest paths and its look-up.
//! * [`reverse`]: host path → guest path.
//! * [`synthetic`]: host directories that stand in for those that exist only in the guest.
//!
//! A binding's guest path is made canonical in the view built so far, shallow bindings first, so that a binding on
//! a symbolic link lands where the link leads (mount(2) does the same). Its missing ancestors become placeholders:
//! read-only directories of their own, each standing on a host directory of its own so that no two share an inode.

mod reverse;
mod synthetic;
mod table;

pub use reverse::{Reverse, Ways};
pub use synthetic::StandIns;
pub use table::{Access, Kind, Node, NodeId, Table};

use crate::error::Failure;
use crate::path::{Buf, GuestPath, HostPath, PATH_MAX, components};
use crate::resolve::{Follow, Host, Request, Resolver, Restrict};

/// One binding, as the user meant it: the host path exists and is canonical.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// What is shown.
    pub host: HostPath,
    /// Where; absolute, but it may hold `..` and lead through links of the guest.
    pub guest: GuestPath,
    /// Whether it may be written.
    pub access: Access,
    /// Whether a symbolic link at the guest path is followed, or hidden by what is shown.
    pub follow: Follow,
}

/// The guest's file tree.
#[derive(Clone, Debug)]
pub struct View {
    /// Guest path → what is there.
    pub table: Table,
    reverse: Reverse,
    /// Device and inode of every directory whose listing is not the host's.
    merged: Vec<(u64, u64)>,
}

impl View {
    /// Builds the view of `bindings` over the host directory `root`.
    ///
    /// Of two bindings of one guest path the last wins, as with `mount`.
    ///
    /// # Errors
    /// When no stand-in is left for a directory that has to be made up.
    pub fn new<H: Host>(
        root: &HostPath,
        bindings: &[Binding],
        host: &mut H,
        stand_ins: &mut StandIns,
    ) -> Result<Self, Failure> {
        let table = table_of(root, bindings, host, &mut |guest| stand_ins.next(guest))?;
        let mut resolver = Resolver::new();
        let reverse = Reverse::new(&table);
        let merged = merged(&table, host, &mut resolver);
        Ok(Self { table, reverse, merged })
    }

    /// Whether this directory may be one whose listing is not the host's.
    pub fn is_merged(&self, id: (u64, u64)) -> bool {
        self.merged.binary_search(&id).is_ok()
    }

    /// Inode numbers of those directories.
    pub fn merged_inodes(&self) -> impl Iterator<Item = u64> {
        self.merged.iter().map(|&(_, inode)| inode)
    }

    /// Writes the guest path of a host path to `out`; false where the guest cannot see it.
    pub fn guest(&self, host: &[u8], out: &mut Buf<PATH_MAX>) -> bool {
        self.reverse.guest(&self.table, host, out)
    }

    /// As [`View::guest`], by a binding with this access where one is given.
    pub fn guest_by(&self, host: &[u8], access: Option<Access>, out: &mut Buf<PATH_MAX>) -> bool {
        self.reverse.guest_by(&self.table, host, access, out)
    }

    /// Whether the canonical guest path is shown by that host path.
    pub fn shows(&self, guest: &[u8], host: &[u8]) -> bool {
        let (node, below) = self.table.covering(guest);
        let top = self.table.host(node);
        if top == b"/" {
            host == below || (below.is_empty() && host == b"/")
        } else {
            host.strip_prefix(top) == Some(below)
        }
    }

    /// How the guest may reach a host path: absolute and normal.
    pub fn ways(&self, host: &[u8]) -> Ways {
        self.reverse.ways(&self.table, host)
    }

    /// Whether any directory's listing differs from the host's.
    pub fn merges(&self) -> bool {
        self.table.len() > 1
    }
}

/// The mount table of `bindings` over the host directory `root`; `stand_in` says what a directory that is made up
/// stands on, given its guest path.
///
/// # Errors
/// Those of `stand_in`.
pub fn table_of<H: Host>(
    root: &HostPath,
    bindings: &[Binding],
    host: &mut H,
    stand_in: &mut dyn FnMut(&[u8]) -> Result<HostPath, Failure>,
) -> Result<Table, Failure> {
    let mut table = Table::new(root.as_bytes(), Access::ReadWrite);
    let mut order: Vec<&Binding> = bindings.iter().collect();
    order.sort_by_key(|b| components(b.guest.as_bytes()).count());
    let mut resolver = Resolver::new();
    let mut straight = Straight::new();
    for binding in order {
        let guest =
            canonical(&table, host, &mut resolver, &mut straight, binding.guest.as_bytes(), binding.follow);
        let mut at = NodeId::ROOT;
        let mut names = components(&guest).peekable();
        while let Some(name) = names.next() {
            let last = names.peek().is_none();
            let new = table.child(at, name).is_none();
            at = table.add(at, name);
            // One that had something below it before has been looked at then.
            if !last && (new || !table.has_children(at)) {
                make_up(&mut table, host, &mut resolver, at, stand_in)?;
            }
        }
        let hides = table.has_children(at);
        table.set(at, Kind::Binding, binding.access, Some(binding.host.as_bytes()));
        let mut todo = if hides && at != NodeId::ROOT { vec![at] } else { vec![] };
        if hides && at == NodeId::ROOT {
            todo.extend(table.children(at));
        }
        while let Some(id) = todo.pop() {
            // What lies on the way to deeper bindings is to be a directory of this one now.
            if table.has_children(id) && (id == at || table.node(id).kind() == Kind::Passage) {
                make_up(&mut table, host, &mut resolver, id, stand_in)?;
                todo.extend(table.children(id));
            }
        }
        let below = |known: &Vec<u8>| {
            guest == b"/" || known.strip_prefix(&guest[..]).is_some_and(|r| r.is_empty() || r[0] == b'/')
        };
        straight.retain(|known| !below(known));
    }
    Ok(table)
}

/// Guest paths of directories that were found to be canonical as they are written.
type Straight = std::collections::BTreeSet<Vec<u8>>;

/// Makes the node `at`, which something lies below, a placeholder where the view has no directory that may be
/// searched: nothing, something else, or one that is closed to the user.
fn make_up<H: Host>(
    table: &mut Table,
    host: &mut H,
    resolver: &mut Resolver,
    at: NodeId,
    stand_in: &mut dyn FnMut(&[u8]) -> Result<HostPath, Failure>,
) -> Result<(), Failure> {
    let mut guest = Buf::<PATH_MAX>::new();
    let kind = table.node(at).kind();
    if kind == Kind::Placeholder || table.guest_path(at, &mut guest).is_err() {
        return Ok(());
    }
    let above = table.parent(at).is_some_and(|up| table.node(up).kind() == Kind::Placeholder);
    if (kind == Kind::Passage && above) || !is_directory(table, host, resolver, &mut guest) {
        let len = guest.as_bytes().strip_suffix(b"/.").map_or(guest.len(), <[u8]>::len);
        let standing = stand_in(&guest.as_bytes()[..len])?;
        table.set(at, Kind::Placeholder, Access::ReadOnly, Some(standing.as_bytes()));
    }
    Ok(())
}

/// Whether a node's guest path is a directory that may be searched, and no link to one; leaves `guest` with `/.`
/// behind it.
fn is_directory<H: Host>(
    table: &Table,
    host: &mut H,
    resolver: &mut Resolver,
    guest: &mut Buf<PATH_MAX>,
) -> bool {
    let mut ask = |guest: &[u8]| {
        let request = Request {
            base: b"/",
            path: guest,
            follow: Follow::Yes,
            restrict: Restrict::default(),
            root: b"/",
        };
        let mut text = [0; PATH_MAX];
        // The node itself is trusted by resolution, so ask about the host path it would have.
        match resolver.resolve(table, host, &request) {
            Ok(found) => !found.void && host.link(resolver.host(), &mut text) == crate::resolve::Link::None,
            Err(_) => false,
        }
    };
    ask(guest.as_bytes()) && guest.push(b"/.").is_ok() && ask(guest.as_bytes())
}

fn merged<H: Host>(table: &Table, host: &mut H, resolver: &mut Resolver) -> Vec<(u64, u64)> {
    let mut all = vec![];
    let mut todo = vec![NodeId::ROOT];
    while let Some(id) = todo.pop() {
        todo.extend(table.children(id));
        let mut guest = Buf::<PATH_MAX>::new();
        let listed = table.has_children(id) || table.node(id).kind() == Kind::Placeholder;
        if !listed || table.guest_path(id, &mut guest).is_err() {
            continue;
        }
        let request = Request {
            base: b"/",
            path: guest.as_bytes(),
            follow: Follow::Yes,
            restrict: Restrict::default(),
            root: b"/",
        };
        if resolver.resolve(table, host, &request).is_ok()
            && let Ok(st) = crate::sys::stat(resolver.host(), crate::resolve::Last::Followed)
        {
            all.push(st.id);
        }
    }
    all.sort_unstable();
    all
}

/// The guest path with links followed as far as the guest has anything, the rest as it stands; `follow` is about a
/// link that is its last component.
fn canonical<H: Host>(
    table: &Table,
    host: &mut H,
    resolver: &mut Resolver,
    straight: &mut Straight,
    guest: &[u8],
    follow: Follow,
) -> Vec<u8> {
    let cut = guest.iter().rposition(|&b| b == b'/').unwrap_or(0);
    let (parent, name) = (&guest[..cut], &guest[cut + 1..]);
    let base = if parent.is_empty() {
        b"/".to_vec()
    } else if straight.contains(parent) {
        parent.to_vec()
    } else {
        canonical(table, host, resolver, straight, parent, Follow::Yes)
    };
    if name.is_empty() || name == b"." {
        return base;
    }
    if name == b".." {
        // Up from a canonical path, whether anything is there or not.
        let cut = base.iter().rposition(|&b| b == b'/').unwrap_or(0);
        return base[..cut.max(1)].to_vec();
    }
    let mut plain = base;
    if plain != b"/" {
        plain.push(b'/');
    }
    plain.extend_from_slice(name);
    if plain.len() >= PATH_MAX {
        return plain;
    }
    // From the root: what is above may be a link that leads nowhere, and no directory to start in.
    let mut text = [0; PATH_MAX];
    let request = Request { base: b"/", path: &plain, follow, restrict: Restrict::default(), root: b"/" };
    let seen = match resolver.resolve(table, host, &request) {
        Ok(found) if !found.void => {
            !matches!(host.link(resolver.host(), &mut text), crate::resolve::Link::Refused(_))
        }
        _ => false,
    };
    if !seen {
        return plain;
    }
    if follow == Follow::Yes && resolver.guest() == guest {
        straight.insert(guest.to_vec());
    }
    resolver.guest().to_vec()
}
