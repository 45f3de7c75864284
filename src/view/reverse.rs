//! Host path → guest path, for what the kernel tells in its own terms: links in /proc, the current directory,
//! socket addresses.
//!
//! A second tree, over the components of the bindings' host paths. The deepest binding that shows a host path wins,
//! unless something else hides that place from the guest; several bindings of one host path are tried in the order
//! they were given. But where a binding lies at or below the place in one of its guest paths, that one is meant: taken
//! for another, what the binding hides could be reached, and removed, by a descriptor of the directory above.

use super::table::{Access, Kind, NodeId, Table};
use crate::path::{Buf, PATH_MAX, components};

/// The index of a table's bindings by host path.
#[derive(Clone, Debug)]
pub struct Reverse {
    hosts: Table,
    /// Guest nodes of each node of `hosts`, by its index.
    shown: std::collections::BTreeMap<Vec<u8>, Vec<NodeId>>,
}

impl Reverse {
    /// Indexes every binding and placeholder of `table`.
    pub fn new(table: &Table) -> Self {
        let mut all =
            Self { hosts: Table::new(b"/", Access::ReadWrite), shown: std::collections::BTreeMap::new() };
        let mut todo = vec![NodeId::ROOT];
        while let Some(id) = todo.pop() {
            todo.extend(table.children(id));
            if table.node(id).kind() == Kind::Passage {
                continue;
            }
            let host = table.host(id);
            components(host).fold(NodeId::ROOT, |at, name| all.hosts.add(at, name));
            all.shown.entry(host.to_vec()).or_default().push(id);
        }
        all
    }

    /// How the guest may reach the host path `host`, by all of its guest paths.
    pub fn ways(&self, table: &Table, host: &[u8]) -> Ways {
        let mut ways = Ways::None;
        self.each(host, |node, rest| {
            if !hidden(table, node, rest) {
                ways = ways.and(table.node(node).access());
            }
            ways == Ways::Both
        });
        ways
    }

    /// Writes the guest path of the host path `host`, or says that the guest cannot see it.
    ///
    /// `host` must be absolute and normal, as the kernel's `d_path()` makes it.
    pub fn guest(&self, table: &Table, host: &[u8], out: &mut Buf<PATH_MAX>) -> bool {
        self.guest_by(table, host, None, out)
    }

    /// As [`Reverse::guest`], by a binding with this access where one is given.
    pub fn guest_by(
        &self,
        table: &Table,
        host: &[u8],
        access: Option<Access>,
        out: &mut Buf<PATH_MAX>,
    ) -> bool {
        let mut best = None;
        self.each(host, |node, rest| {
            if access.is_some_and(|a| table.node(node).access() != a) || hidden(table, node, rest) {
                return false;
            }
            let leads = leads(table, node, rest);
            if leads || best.is_none() {
                best = Some((node, host.len() - rest.len()));
            }
            leads
        });
        best.is_some_and(|(node, at)| write(table, node, &host[at..], out))
    }

    /// Calls `found` with every node that shows `host` or something above it, and what is left of `host` below; the
    /// longest prefix first. Ends, with true, when `found` says so.
    fn each(&self, host: &[u8], mut found: impl FnMut(NodeId, &[u8]) -> bool) -> bool {
        let mut ends = smallvec::SmallVec::<[usize; 32]>::new();
        ends.push(if host == b"/" { 1 } else { 0 });
        let mut at = NodeId::ROOT;
        let mut pos = 0;
        for name in components(host) {
            let Some(next) = self.hosts.child(at, name) else { break };
            at = next;
            pos += 1 + name.len();
            ends.push(pos);
        }
        while let Some(end) = ends.pop() {
            let prefix = if end == 0 { b"/" } else { &host[..end] };
            let Some(nodes) = self.shown.get(prefix) else { continue };
            let rest = if prefix == b"/" { host } else { &host[end..] };
            for &node in nodes {
                if found(node, rest) {
                    return true;
                }
            }
        }
        false
    }
}

/// How the guest may reach something of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ways {
    /// Not at all.
    None,
    /// By read-only bindings.
    ReadOnly,
    /// By bindings that may be written.
    ReadWrite,
    /// By some of each.
    Both,
}

impl Ways {
    fn and(self, access: Access) -> Self {
        match (self, access) {
            (Self::None | Self::ReadOnly, Access::ReadOnly) => Self::ReadOnly,
            (Self::None | Self::ReadWrite, Access::ReadWrite) => Self::ReadWrite,
            _ => Self::Both,
        }
    }
}

/// Whether something other than `node` shows at `rest` below it.
fn hidden(table: &Table, node: NodeId, rest: &[u8]) -> bool {
    let mut at = node;
    for name in components(rest) {
        if table.node(at).kind() == Kind::Placeholder {
            return true;
        }
        match table.child(at, name) {
            None => return false,
            Some(child) if table.node(child).kind() == Kind::Passage => at = child,
            Some(_) => return true,
        }
    }
    false
}

/// Whether bindings lie below `rest` below `node`, which does not hide it.
fn leads(table: &Table, node: NodeId, rest: &[u8]) -> bool {
    let end = components(rest).try_fold(node, |at, name| table.child(at, name));
    end.is_some_and(|at| table.children(at).next().is_some())
}

fn write(table: &Table, node: NodeId, rest: &[u8], out: &mut Buf<PATH_MAX>) -> bool {
    table.guest_path(node, out).is_ok() && components(rest).all(|name| out.push_component(name).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(bindings: &[(&str, &str)]) -> Table {
        let mut t = Table::new(bindings[0].0.as_bytes(), Access::ReadWrite);
        for (host, guest) in &bindings[1..] {
            let id = components(guest.as_bytes()).fold(NodeId::ROOT, |at, n| t.add(at, n));
            t.set(id, Kind::Binding, Access::ReadWrite, Some(host.as_bytes()));
        }
        t
    }

    #[test]
    fn the_deepest_binding_that_is_not_hidden_wins() {
        let t = table(&[("/", "/"), ("/home/u/store", "/nix"), ("/data", "/home/u"), ("/nix", "/opt/old")]);
        let r = Reverse::new(&t);
        let guest = |h: &str| {
            let mut out = Buf::new();
            r.guest(&t, h.as_bytes(), &mut out).then(|| String::from_utf8(out.as_bytes().to_vec()).unwrap())
        };
        assert_eq!(guest("/usr/bin").as_deref(), Some("/usr/bin"));
        assert_eq!(guest("/").as_deref(), Some("/"));
        assert_eq!(guest("/home/u/store/a").as_deref(), Some("/nix/a"));
        assert_eq!(
            guest("/nix/store").as_deref(),
            Some("/opt/old/store"),
            "hidden under /nix, shown elsewhere"
        );
        assert_eq!(guest("/home/u/other"), None, "hidden by the binding of /data");
        assert_eq!(guest("/home/v").as_deref(), Some("/home/v"));
        assert_eq!(guest("/homestead").as_deref(), Some("/homestead"));
    }

    #[test]
    fn a_guest_path_that_leads_to_a_binding_comes_first() {
        let t = table(&[("/", "/"), ("/data", "/a/b/c"), ("/a", "/other"), ("/x", "/other/y/z")]);
        let r = Reverse::new(&t);
        let guest = |h: &str| {
            let mut out = Buf::new();
            r.guest(&t, h.as_bytes(), &mut out).then(|| String::from_utf8(out.as_bytes().to_vec()).unwrap())
        };
        assert_eq!(guest("/a/b").as_deref(), Some("/a/b"));
        assert_eq!(guest("/a/b/f").as_deref(), Some("/other/b/f"));
        assert_eq!(guest("/a/y").as_deref(), Some("/other/y"));
        assert_eq!(guest("/a/y/z").as_deref(), Some("/a/y/z"), "hidden by the binding of /x");
    }

    #[test]
    fn a_synthetic_root_shows_only_what_is_bound() {
        let t = table(&[("/tmp/empty", "/"), ("/usr", "/usr")]);
        let r = Reverse::new(&t);
        let mut out = Buf::new();
        assert!(r.guest(&t, b"/usr/lib", &mut out));
        assert!(!r.guest(&t, b"/etc", &mut out));
        assert!(r.guest(&t, b"/tmp/empty/x", &mut out));
        assert_eq!(out.as_bytes(), b"/x");
    }
}
