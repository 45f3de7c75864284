//! The mount table: a flat tree of the guest paths that bindings made special, and its look-up.
//!
//! A node stands for one guest path. Its [`Kind`] says what is there: a binding, a placeholder made up because the
//! host has nothing at that path, or a directory of the covering binding that merely lies on the way to another
//! node. A look-up descends component by component and stops at the first one without a node, so its cost is
//! bounded by the depth of the deepest binding and does not depend on their number.
//!
//! Nodes refer to each other by index and to bytes by offset: the table can be shared at any address.

/// Index of a node in its [`Table`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct NodeId(u32);

impl NodeId {
    /// The guest's `/`: always a binding.
    pub const ROOT: NodeId = NodeId(0);
    const NONE: u32 = u32::MAX;

    fn some(raw: u32) -> Option<NodeId> {
        (raw != Self::NONE).then_some(NodeId(raw))
    }
}

/// What a node stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Kind {
    /// Something of the host, shown here.
    Binding,
    /// A read-only directory that exists only for the guest.
    Placeholder,
    /// A directory of the covering binding, on the way to another node.
    Passage,
}

/// Whether writing through a binding is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Access {
    /// As the host's file system and permissions say.
    ReadWrite,
    /// Every write answers `EROFS`, as on a read-only mount.
    ReadOnly,
}

#[derive(Clone, Copy, Debug)]
#[repr(C)]
struct Span {
    start: u32,
    len: u32,
}

/// One guest path.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Node {
    kind: Kind,
    access: Access,
    parent: u32,
    first_child: u32,
    next_sibling: u32,
    name: Span,
    host: Span,
    /// Host path and guest path are the same bytes.
    identity: u32,
}

impl Node {
    /// What is there.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Whether it may be written.
    pub fn access(&self) -> Access {
        self.access
    }

    /// Whether a guest path here is its own host path.
    pub fn is_identity(&self) -> bool {
        self.identity != 0
    }
}

/// The tree and the hash index over it.
#[derive(Clone, Debug)]
pub struct Table {
    nodes: Vec<Node>,
    /// Open addressing over (parent, name); a power of two, at most half full.
    index: Vec<u32>,
    bytes: Vec<u8>,
    /// A bit per [`name_bit`] of every node's name: a component whose bit is clear names no node.
    names: [u64; NAME_BITS / 64],
    read_only: bool,
    read_only_bindings: bool,
    placeholders: bool,
}

fn hash(parent: u32, name: &[u8]) -> u32 {
    // FNV-1a: names are short, the index is half empty, and a guest cannot choose what is in it.
    let mut h = 0x811c_9dc5 ^ parent.wrapping_mul(0x9e37_79b1);
    for &b in name {
        h = (h ^ u32::from(b)).wrapping_mul(0x0100_0193);
    }
    h ^ (h >> 15)
}

/// Bits of [`Table::may_name`]'s filter: one name in so many is taken for another's.
const NAME_BITS: usize = 1024;

/// Word and mask of a name's bit.
fn name_bit(name: &[u8]) -> (usize, u64) {
    let bit = hash(0, name) as usize % NAME_BITS;
    (bit / 64, 1 << (bit % 64))
}

impl Table {
    /// A table whose root shows the host directory `host`.
    pub fn new(host: &[u8], access: Access) -> Self {
        let mut table = Self {
            nodes: Vec::new(),
            index: vec![NodeId::NONE; 16],
            bytes: Vec::new(),
            names: [0; NAME_BITS / 64],
            read_only: false,
            read_only_bindings: false,
            placeholders: false,
        };
        let host = table.store(host);
        table.nodes.push(Node {
            kind: Kind::Binding,
            access,
            parent: NodeId::NONE,
            first_child: NodeId::NONE,
            next_sibling: NodeId::NONE,
            name: Span { start: 0, len: 0 },
            host,
            identity: 0,
        });
        table.set(NodeId::ROOT, Kind::Binding, access, None);
        table
    }

    /// The node itself.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0 as usize]
    }

    /// Number of nodes, the root included.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Never: there is always a root.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// The child of `parent` called `name`.
    pub fn child(&self, parent: NodeId, name: &[u8]) -> Option<NodeId> {
        if self.nodes[parent.0 as usize].first_child == NodeId::NONE {
            return None;
        }
        let mask = self.index.len() - 1;
        let mut at = hash(parent.0, name) as usize & mask;
        while let Some(id) = NodeId::some(self.index[at]) {
            let node = self.node(id);
            if node.parent == parent.0 && self.text(node.name) == name {
                return Some(id);
            }
            at = (at + 1) & mask;
        }
        None
    }

    /// The node above; `None` for the root.
    pub fn parent(&self, id: NodeId) -> Option<NodeId> {
        NodeId::some(self.node(id).parent)
    }

    /// The nodes directly below.
    pub fn children(&self, id: NodeId) -> impl Iterator<Item = NodeId> + '_ {
        let mut next = self.node(id).first_child;
        core::iter::from_fn(move || {
            let id = NodeId::some(next)?;
            next = self.node(id).next_sibling;
            Some(id)
        })
    }

    /// Whether anything lies directly below.
    pub fn has_children(&self, id: NodeId) -> bool {
        self.node(id).first_child != NodeId::NONE
    }

    /// Last component of the node's guest path; empty for the root.
    pub fn name(&self, id: NodeId) -> &[u8] {
        self.text(self.node(id).name)
    }

    /// Host path of a binding or placeholder; empty for a passage.
    pub fn host(&self, id: NodeId) -> &[u8] {
        self.text(self.node(id).host)
    }

    /// The node of a guest path, if it has one.
    pub fn find(&self, guest: &[u8]) -> Option<NodeId> {
        crate::path::components(guest).try_fold(NodeId::ROOT, |at, name| self.child(at, name))
    }

    /// Whether a node is a directory that only the guest has.
    pub fn is_made_up(&self, id: NodeId) -> bool {
        self.node(id).kind() == Kind::Placeholder
    }

    /// The binding or placeholder that a canonical guest path lies in, and what of it is below.
    pub fn covering<'a>(&self, guest: &'a [u8]) -> (NodeId, &'a [u8]) {
        let (mut at, mut covers) = (NodeId::ROOT, NodeId::ROOT);
        let (mut end, mut below) = (0, if guest == b"/" { b"" } else { guest });
        for name in crate::path::components(guest) {
            let Some(next) = self.child(at, name) else { break };
            at = next;
            end += 1 + name.len();
            if self.node(at).kind() != Kind::Passage {
                (covers, below) = (at, &guest[end..]);
            }
        }
        (covers, below)
    }

    /// The names of all nodes but the root.
    pub fn names(&self) -> impl Iterator<Item = &[u8]> {
        self.nodes.iter().skip(1).map(|node| self.text(node.name))
    }

    /// Whether some node may be called `name`: never wrongly false.
    pub fn may_name(&self, name: &[u8]) -> bool {
        let (word, mask) = name_bit(name);
        self.names[word] & mask != 0
    }

    /// Whether anything is read-only.
    pub fn any_read_only(&self) -> bool {
        self.read_only
    }

    /// Whether the user asked for any to be, as opposed to those made up.
    pub fn any_read_only_binding(&self) -> bool {
        self.read_only_bindings
    }

    /// Whether any directory is made up.
    pub fn any_placeholder(&self) -> bool {
        self.placeholders
    }

    /// Appends the node's guest path to `out`.
    pub fn guest_path<const N: usize>(
        &self,
        id: NodeId,
        out: &mut crate::path::Buf<N>,
    ) -> Result<(), crate::path::Full> {
        match self.parent(id) {
            None => out.set(b"/"),
            Some(parent) => {
                self.guest_path(parent, out)?;
                out.push_component(self.name(id))
            }
        }
    }

    /// Adds a passage called `name` below `parent`, or returns the node that is there.
    pub(super) fn add(&mut self, parent: NodeId, name: &[u8]) -> NodeId {
        if let Some(id) = self.child(parent, name) {
            return id;
        }
        let id = NodeId(u32::try_from(self.nodes.len()).expect("fewer than 2^32 bindings"));
        let name_span = self.store(name);
        let up = &mut self.nodes[parent.0 as usize];
        let next_sibling = core::mem::replace(&mut up.first_child, id.0);
        let access = up.access;
        self.nodes.push(Node {
            kind: Kind::Passage,
            access,
            parent: parent.0,
            first_child: NodeId::NONE,
            next_sibling,
            name: name_span,
            host: Span { start: 0, len: 0 },
            identity: 0,
        });
        let (word, mask) = name_bit(name);
        self.names[word] |= mask;
        if self.nodes.len() * 2 > self.index.len() {
            self.index = vec![NodeId::NONE; self.index.len() * 4];
            (1..self.nodes.len()).for_each(|i| self.enter(NodeId(i as u32)));
        } else {
            self.enter(id);
        }
        id
    }

    /// Says what a node shows; `host` of `None` keeps the host path it has.
    pub(super) fn set(&mut self, id: NodeId, kind: Kind, access: Access, host: Option<&[u8]>) {
        if let Some(host) = host {
            let span = self.store(host);
            self.nodes[id.0 as usize].host = span;
        }
        let mut guest = crate::path::Buf::<{ crate::path::PATH_MAX }>::new();
        let same = self.guest_path(id, &mut guest).is_ok() && guest.as_bytes() == self.host(id);
        let node = &mut self.nodes[id.0 as usize];
        (node.kind, node.access, node.identity) = (kind, access, u32::from(same && kind == Kind::Binding));
        self.read_only |= access == Access::ReadOnly;
        self.read_only_bindings |= access == Access::ReadOnly && kind == Kind::Binding;
        self.placeholders |= kind == Kind::Placeholder;
    }

    fn enter(&mut self, id: NodeId) {
        let mask = self.index.len() - 1;
        let mut at = hash(self.node(id).parent, self.name(id)) as usize & mask;
        while self.index[at] != NodeId::NONE {
            at = (at + 1) & mask;
        }
        self.index[at] = id.0;
    }

    fn store(&mut self, text: &[u8]) -> Span {
        let start = self.bytes.len() as u32;
        self.bytes.extend_from_slice(text);
        Span { start, len: text.len() as u32 }
    }

    fn text(&self, span: Span) -> &[u8] {
        &self.bytes[span.start as usize..][..span.len as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_thousand_nodes_are_found_and_nothing_else() {
        let mut t = Table::new(b"/", Access::ReadWrite);
        let nix = t.add(NodeId::ROOT, b"nix");
        let store = t.add(nix, b"store");
        for i in 0..10_000 {
            let id = t.add(store, format!("p{i}").as_bytes());
            t.set(id, Kind::Binding, Access::ReadWrite, Some(format!("/home/u/{i}").as_bytes()));
        }
        for i in (0..10_000).step_by(7) {
            let id = t.find(format!("/nix/store/p{i}").as_bytes()).unwrap();
            assert_eq!(t.host(id), format!("/home/u/{i}").as_bytes());
        }
        assert_eq!(t.find(b"/nix/store/q"), None);
        assert_eq!(t.find(b"/p1"), None);
        assert_eq!(t.children(store).count(), 10_000);
        assert!(t.node(NodeId::ROOT).is_identity());
        assert!(t.may_name(b"nix"));
    }
}
