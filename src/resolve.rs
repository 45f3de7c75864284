//! Guest path → host path, exactly as the kernel's path walk (`fs/namei.c`, path_resolution(7)) would go through a
//! root in which the view is real.
//!
//! Two ways, tried in this order:
//!
//! 1. **Lexical**: the components are joined to the table's host path without looking at any of them, and one host
//!    call says whether a symbolic link lies on that way (`openat2(RESOLVE_NO_SYMLINKS)`). If none does, or if the
//!    walk fails before it meets one, the kernel will find with the host path just what the guest would have found,
//!    the error included. `..` is kept in the host path, so that the kernel checks what it climbs out of.
//! 2. **Walk**: component by component with one readlink(2) each, where a link was met, where `..` leaves a
//!    binding, or where the host has no openat2(2) (before Linux 5.6). Directories that are known to hold no link
//!    ([`cache`]) are skipped at once, and once a link is spliced in, the first way is tried again for what follows.
//!    The walk stops at the first component that the host refuses: the host path up to there makes the kernel give
//!    that same error, after it has checked the call's other arguments in its own order.
//!
//! This module uses `core` only, allocates nothing and knows neither processes nor ptrace; what it needs of the
//! outside is the [`Host`] trait. One [`Resolver`] is reused for all calls: its buffers are large.

pub mod cache;
mod host;
mod walk;

pub use cache::Identity;
pub use host::{Host, Last, Link, Plain};

use crate::path::{Buf, Full, NAME_MAX, PATH_MAX};
use crate::view::{Kind, NodeId, Table};
use cache::Cache;
use syscalls::Errno;

/// Symbolic links followed in one walk before `ELOOP`: `MAXSYMLINKS` of `include/linux/namei.h`.
pub const MAX_LINKS: u32 = 40;

/// Room for a path while it is put together. A canonical path may be longer than `PATH_MAX` although no string the
/// guest passed or a link held was.
const LONG: usize = 4 * PATH_MAX;

/// How a call treats the last component.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follow {
    /// A final symbolic link is followed.
    Yes,
    /// The link itself is meant, unless slashes follow it: lstat(2), readlink(2), `O_NOFOLLOW`.
    No,
    /// The name in its directory is meant, whatever is there and whatever follows it: mkdir(2), unlink(2),
    /// rename(2) … (`filename_parentat()`).
    Entry,
}

/// The `RESOLVE_*` flags of openat2(2) that restrict a walk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Restrict(pub u64);

impl Restrict {
    /// `RESOLVE_NO_XDEV`: no binding is entered or left.
    pub const NO_XDEV: u64 = 1;
    /// `RESOLVE_NO_MAGICLINKS`: links of /proc that are no text are not followed.
    pub const NO_MAGIC: u64 = 2;
    /// `RESOLVE_NO_SYMLINKS`: no link is followed.
    pub const NO_SYMLINKS: u64 = 4;
    /// `RESOLVE_BENEATH`: leaving the directory is an error.
    pub const BENEATH: u64 = 8;
    /// `RESOLVE_IN_ROOT`: the directory is `/` for this walk.
    pub const IN_ROOT: u64 = 16;

    /// Whether the directory given is `/` for this walk.
    pub fn sets_root(self) -> bool {
        self.has(Self::IN_ROOT)
    }

    /// Whether the walk cannot leave the directory given.
    pub fn confines(self) -> bool {
        self.has(Self::IN_ROOT | Self::BENEATH)
    }

    /// Whether one of these limits is set.
    pub fn has(self, flag: u64) -> bool {
        self.0 & flag != 0
    }
}

/// One path to resolve.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Guest path of the directory a relative path starts in: absolute, normal, free of links.
    pub base: &'a [u8],
    /// What the guest passed: not empty, shorter than [`PATH_MAX`].
    pub path: &'a [u8],
    /// What happens at the last component.
    pub follow: Follow,
    /// Limits of openat2(2); none for every other call.
    pub restrict: Restrict,
    /// Guest path of the caller's root, canonical as `base`: `/` unless it has called chroot(2). The directory a path
    /// starts in may lie outside.
    pub root: &'a [u8],
}

/// Where a path led; the paths themselves are in the [`Resolver`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// The table's node when the path names exactly it.
    pub node: Option<NodeId>,
    /// The binding or placeholder that covers the path.
    pub bind: NodeId,
    /// The place is inside a placeholder, where nothing is and nothing can be made.
    pub void: bool,
    /// The string the guest passed means the same to the host: nothing has to be rewritten.
    pub same: bool,
}

/// Where a walk stands.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// The deepest node on the way from the root.
    node: NodeId,
    /// Components below that node.
    below: u32,
    /// The nearest node at or above that has a host path.
    bind: NodeId,
    void: bool,
}

const START: Place = Place { node: NodeId::ROOT, below: 0, bind: NodeId::ROOT, void: false };

/// Resolves paths; holds the buffers for one at a time.
pub struct Resolver {
    guest: Buf<LONG>,
    host: Buf<LONG>,
    rest: Buf<LONG>,
    link: [u8; PATH_MAX],
    place: Place,
    links: u32,
    cache: Cache,
    /// Bytes of the host path of the directory that the components were joined to.
    begins: usize,
    /// The binding of the root, once the walk has needed to know where that is.
    root: Option<NodeId>,
}

impl Default for Resolver {
    fn default() -> Self {
        Self::new()
    }
}

/// The lexical way is not enough.
struct NeedsWalk;

impl Resolver {
    /// Buffers for resolving; about 70 KiB, so make one and keep it.
    pub const fn new() -> Self {
        Self {
            guest: Buf::new(),
            host: Buf::new(),
            rest: Buf::new(),
            link: [0; PATH_MAX],
            place: START,
            links: 0,
            cache: Cache::new(),
            begins: 0,
            root: None,
        }
    }

    /// The host path of the last resolution, with its NUL. It may be longer than [`PATH_MAX`].
    pub fn host(&self) -> &[u8] {
        self.host.with_nul()
    }

    /// The guest path of the last resolution: canonical unless its last component was not looked at.
    pub fn guest(&self) -> &[u8] {
        self.guest.as_bytes()
    }

    /// Finds the host path of `request`.
    ///
    /// # Errors
    /// Only those the host would not give by itself: `ELOOP` after [`MAX_LINKS`] links, `ENOENT` below a
    /// placeholder, `EXDEV` and `ELOOP` of [`Restrict`], `ENAMETOOLONG` when even the long buffers are full.
    pub fn resolve<H: Host>(
        &mut self,
        table: &Table,
        host: &mut H,
        request: &Request,
    ) -> Result<Found, Errno> {
        if request.restrict == Restrict::default()
            && let Ok(found) = self.lexical(table, host, request)
        {
            if host.checks_search() {
                self.search_all(host)?;
            }
            return Ok(found);
        }
        host.walk_begins();
        let found = self.walk(table, host, request);
        host.walk_ends();
        found
    }

    /// Joins the components without looking, then asks the host once.
    fn lexical<H: Host>(
        &mut self,
        table: &Table,
        host: &mut H,
        request: &Request,
    ) -> Result<Found, NeedsWalk> {
        let absolute = request.path[0] == b'/';
        self.go(table, if absolute { request.root } else { request.base })?;
        self.begins = self.host.len();
        let begins = self.place;
        let mut climbed = false;
        let mut ends_in_dot = false;
        for name in request.path.split(|&b| b == b'/') {
            match name {
                b"" => continue,
                b"." => {
                    ends_in_dot = true;
                    continue;
                }
                b".." if self.guest.as_bytes() == request.root => {
                    // As `.`: it has to be searched all the same.
                    ends_in_dot = true;
                    continue;
                }
                b".." if self.place.below > 0 => {
                    // Kept for the kernel to check; without links it leads where the text says.
                    self.host.push(b"/..")?;
                    self.guest.pop_component();
                    self.place.below -= 1;
                    climbed = true;
                }
                b".." if self.place.node == NodeId::ROOT => {
                    ends_in_dot = true;
                    continue;
                }
                b".." => return Err(NeedsWalk),
                _ => {
                    if self.place.void {
                        // Something below nothing.
                        return Err(NeedsWalk);
                    }
                    let before = self.place.bind;
                    self.enter(table, name)?;
                    if self.place.void && too_long(name) {
                        // Refused for its length before it is not found.
                        return Err(NeedsWalk);
                    }
                    if climbed && self.place.bind != before {
                        // The host path that was to be checked is gone.
                        return Err(NeedsWalk);
                    }
                }
            }
            ends_in_dot = false;
        }
        let entry = request.follow == Follow::Entry;
        let slash = request.path.ends_with(b"/");
        if entry && matches!(last_name(request.path), Some(b"." | b"..")) {
            return Err(NeedsWalk);
        }
        if host.checks_search() && (self.place.bind != begins.bind || table.is_made_up(begins.bind)) {
            // The directories on the way are not all in the host path.
            return Err(NeedsWalk);
        }
        let exact = self.place.below == 0 && !climbed;
        // The root by slashes alone is no name with a slash behind it, which open(2) with O_CREAT refuses.
        let root = !entry && request.path.iter().all(|&b| b == b'/');
        if ends_in_dot || root {
            self.suffix(b"/.")?;
        } else if slash {
            self.suffix(b"/")?;
        }
        let last = match request.follow {
            Follow::Entry => Last::Kept,
            Follow::No if !slash && !ends_in_dot => Last::Kept,
            _ => Last::Followed,
        };
        // A node's own directory is known to be real, and so is a name in it that is not followed.
        let trusted = exact || (self.place.below == 1 && !climbed && last == Last::Kept);
        if !trusted && !self.place.void {
            match host.plain(self.host.with_nul(), last) {
                Plain::Yes | Plain::Denied => {}
                Plain::Link | Plain::Unknown => return Err(NeedsWalk),
            }
        }
        let same = absolute && request.root == b"/" && table.node(self.place.bind).is_identity();
        Ok(self.found(table, same))
    }

    /// Asks for every directory on the way of a host path that was joined without looking whether it may be searched.
    fn search_all<H: Host>(&mut self, host: &mut H) -> Result<(), Errno> {
        let path = self.host.as_bytes();
        let end = path.iter().rposition(|&b| b != b'/').map_or(0, |last| last + 1);
        let slashes = (self.begins + 1..end).filter(|&at| path[at] == b'/');
        for end in core::iter::once(self.begins).chain(slashes) {
            self.rest.set(&path[..end]).map_err(|Full| Errno::ENAMETOOLONG)?;
            host.search(self.rest.with_nul())?;
        }
        Ok(())
    }

    fn found(&self, table: &Table, same: bool) -> Found {
        let Place { node, below, bind, void } = self.place;
        debug_assert!(table.node(bind).kind() != Kind::Passage, "a passage covers nothing");
        Found { node: (below == 0).then_some(node), bind, void, same: same && !void }
    }

    /// Puts the walk at a canonical guest path.
    fn go(&mut self, table: &Table, guest: &[u8]) -> Result<(), Full> {
        self.place = START;
        self.guest.set(b"/")?;
        self.host.set(table.host(NodeId::ROOT))?;
        for name in crate::path::components(guest) {
            self.enter(table, name)?;
        }
        Ok(())
    }

    /// One component down, without asking the host.
    fn enter(&mut self, table: &Table, name: &[u8]) -> Result<(), Full> {
        self.guest.push_component(name)?;
        let child = if self.place.below == 0 { table.child(self.place.node, name) } else { None };
        match child {
            Some(id) => {
                self.place.node = id;
                if table.node(id).kind() == Kind::Passage {
                    self.host.push_component(name)?;
                } else {
                    self.place.bind = id;
                    self.host.set(table.host(id))?;
                }
            }
            None => {
                self.place.void |= table.node(self.place.node).kind() == Kind::Placeholder;
                self.place.below += 1;
                self.host.push_component(name)?;
            }
        }
        Ok(())
    }

    /// Appends what follows the last component, once.
    fn suffix(&mut self, text: &[u8]) -> Result<(), Full> {
        if self.host.as_bytes().ends_with(b"/") {
            return self.host.push(text.strip_prefix(b"/").unwrap_or(text));
        }
        self.host.push(text)
    }
}

impl From<Full> for NeedsWalk {
    fn from(_: Full) -> Self {
        NeedsWalk
    }
}

/// The last component, whatever slashes follow it.
fn last_name(path: &[u8]) -> Option<&[u8]> {
    path.rsplit(|&b| b == b'/').find(|name| !name.is_empty())
}

/// Whether a component is one that no file system takes: the kernel answers `ENAMETOOLONG` for it.
fn too_long(name: &[u8]) -> bool {
    name.len() > NAME_MAX
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::Access;

    /// A host of which `/lib` is a link to `usr/lib` and everything else a directory; with openat2(2) or without.
    struct Counting {
        openat2: bool,
        id: u64,
        epoch: u32,
        calls: u32,
    }

    impl Host for Counting {
        fn plain(&mut self, path: &[u8], _: Last) -> Plain {
            self.calls += 1;
            match (self.openat2, path.starts_with(b"/lib/")) {
                (false, _) => Plain::Unknown,
                (true, true) => Plain::Link,
                (true, false) => Plain::Yes,
            }
        }

        fn link(&mut self, path: &[u8], out: &mut [u8]) -> Link {
            self.calls += 1;
            if path != b"/lib\0" {
                return Link::None;
            }
            out[..7].copy_from_slice(b"usr/lib");
            Link::Text(7)
        }

        fn directory(&mut self, _: &[u8]) -> Option<Identity> {
            self.calls += 1;
            Some([1, self.id])
        }

        fn epoch(&self) -> u32 {
            self.epoch
        }
    }

    fn calls(resolver: &mut Resolver, host: &mut Counting, path: &[u8]) -> u32 {
        let table = Table::new(b"/", Access::ReadWrite);
        let request =
            Request { base: b"/", path, follow: Follow::Yes, restrict: Restrict::default(), root: b"/" };
        host.calls = 0;
        resolver.resolve(&table, host, &request).expect("it is there");
        host.calls
    }

    #[test]
    fn a_link_costs_no_look_at_each_component() {
        let mut host = Counting { openat2: true, id: 1, epoch: 0, calls: 0 };
        let mut resolver = Resolver::new();
        // openat2, readlink of /lib, openat2 of what it leads to.
        assert_eq!(calls(&mut resolver, &mut host, b"/lib/a/b/c/d"), 3);
        assert_eq!(resolver.host(), b"/usr/lib/a/b/c/d\0");
        assert_eq!(calls(&mut resolver, &mut host, b"/usr/lib/a/b/c/d"), 1);
    }

    #[test]
    fn without_openat2_a_known_directory_is_looked_at_once() {
        let mut host = Counting { openat2: false, id: 1, epoch: 0, calls: 0 };
        let mut resolver = Resolver::new();
        let path = b"/srv/a/b/c/d/e";
        // The question that nobody can answer, six components, and the identity of what is remembered.
        assert_eq!(calls(&mut resolver, &mut host, path), 8);
        assert_eq!(
            calls(&mut resolver, &mut host, path),
            3,
            "the question, the directory, the last component"
        );
        assert_eq!(resolver.host(), b"/srv/a/b/c/d/e\0");
        host.id = 2;
        assert_eq!(calls(&mut resolver, &mut host, path), 9, "another directory is there now");
        host.epoch = 1;
        assert_eq!(calls(&mut resolver, &mut host, path), 8, "the guest has made a link");
        assert_eq!(calls(&mut resolver, &mut host, path), 3);
    }
}
