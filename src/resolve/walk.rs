//! The walk, component by component: `link_path_walk()` of the kernel's `fs/namei.c`, in the guest's namespace.

use super::cache::Key;
use super::{Follow, Found, Host, Link, MAX_LINKS, Place, Request, Resolver, Restrict, last_name, too_long};
use crate::path::{Full, PATH_MAX, components, next_component};
use crate::view::{Kind, Table};
use syscalls::Errno;

/// Why the loop goes on or stops.
enum Step {
    Next,
    Done,
}

impl From<Full> for Fault {
    fn from(_: Full) -> Self {
        Fault(Errno::ENAMETOOLONG)
    }
}

/// An error of the walk itself.
struct Fault(Errno);

impl From<Errno> for Fault {
    fn from(e: Errno) -> Self {
        Fault(e)
    }
}

impl Resolver {
    pub(super) fn walk<H: Host>(
        &mut self,
        table: &Table,
        host: &mut H,
        request: &Request,
    ) -> Result<Found, Errno> {
        let straight = self.run(table, host, request).map_err(|Fault(e)| e)?;
        let found = straight.unwrap_or_else(|| self.found(table, false));
        // An entry called `.` or `..` is refused for its name, whatever it is.
        let dots = request.follow == Follow::Entry && matches!(last_name(request.path), Some(b"." | b".."));
        Ok(Found { node: found.node.filter(|_| !dots), ..found })
    }

    /// The walk; what it found is where the resolver stands, unless the rest of the way needed no walk.
    fn run<H: Host>(
        &mut self,
        table: &Table,
        host: &mut H,
        request: &Request,
    ) -> Result<Option<Found>, Fault> {
        self.links = 0;
        self.rest.set(request.path)?;
        let restrict = request.restrict;
        let checks = host.checks_search();
        self.start(table, request, request.path[0] == b'/')?;
        let mut at = 0;
        // Components ahead that are known to be directories; whether the cache has been asked about what is ahead;
        // components that the host was asked about since the last link.
        let (mut known, mut asked, mut looks) = (0u32, false, 0u32);
        while let Some((name, tail)) = next_component(&self.rest.as_bytes()[at..]) {
            let (len, left) = (name.len(), tail.len());
            let end = self.rest.len() - left;
            let last = next_component(tail).is_none();
            at = end;
            if checks && self.stands_in_a_directory(table) {
                // may_lookup(), before every component.
                host.search(self.host.with_nul())?;
            }
            match name {
                b"." => {
                    if last {
                        self.suffix(b"/.")?;
                    }
                    continue;
                }
                b".." => {
                    if last && request.follow == Follow::Entry {
                        // LAST_DOTDOT: refused by the call before anything is looked up.
                        self.suffix(b"/..")?;
                        break;
                    }
                    if let Step::Done = self.up(table, host, request)? {
                        break;
                    }
                    (asked, looks) = (false, 0);
                    continue;
                }
                _ => {}
            }
            if self.place.void {
                return Err(Errno::ENOENT.into());
            }
            let (mark, guest, path) = (self.place, self.guest.len(), self.host.len());
            let mut copy = [0; super::NAME_MAX];
            if too_long(name) {
                // The kernel refuses the component itself, if the walk gets that far.
                self.suffix(b"/")?;
                self.host.push(&self.rest.as_bytes()[end - len..end])?;
                self.stop(last, last && left > 0)?;
                break;
            }
            copy[..len].copy_from_slice(name);
            if !asked
                && !checks
                && !last
                && (self.place.below > 0 || table.child(self.place.node, &copy[..len]).is_none())
            {
                asked = true;
                known = self.known_ahead(host, end - len);
            }
            self.enter(table, &copy[..len])?;
            let looked_up = !(last && request.follow == Follow::Entry);
            if restrict.has(Restrict::NO_XDEV) && looked_up && self.place.bind != mark.bind {
                return Err(Errno::EXDEV.into());
            }
            if self.place.void && !last {
                return Err(Errno::ENOENT.into());
            }
            let slash = last && left > 0;
            if known > 0 {
                known -= 1;
                continue;
            }
            if !self.looked_at(table) || (last && !follows(request.follow, slash)) {
                if last && looks > 1 {
                    self.remember(host, mark, path);
                }
                if slash {
                    self.suffix(b"/")?;
                }
                continue;
            }
            looks += 1;
            match host.link(self.host.with_nul(), &mut self.link) {
                Link::None => {
                    if last && looks > 2 {
                        self.remember(host, mark, path);
                    }
                    if slash {
                        self.suffix(b"/")?;
                    }
                }
                Link::Refused(_) => {
                    // The kernel says the same, at this component.
                    self.stop(last, slash)?;
                    break;
                }
                Link::Barred(e) => return Err(e.into()),
                Link::Text(n) => {
                    if last && self.links < MAX_LINKS {
                        // may_follow_link(), once they are not too many.
                        host.follow(self.host.with_nul(), &self.link[..n])?;
                    }
                    self.count(restrict)?;
                    let absolute = self.link[0] == b'/';
                    self.back(mark, guest, path);
                    self.rest.replace_front(end, &self.link[..n])?;
                    at = 0;
                    if absolute {
                        self.jump(table, request)?;
                    }
                    (known, asked, looks) = (0, false, 0);
                    if restrict == Restrict::default()
                        && !checks
                        && let Some(found) = self.straight(table, host, request)?
                    {
                        return Ok(Some(found));
                    }
                }
                Link::Jump(n) => {
                    self.count(restrict)?;
                    magic(restrict)?;
                    let mut target = [0; PATH_MAX];
                    target[..n].copy_from_slice(&self.link[..n]);
                    self.go(table, &target[..n])?;
                    if slash {
                        self.suffix(b"/")?;
                    }
                    (known, asked, looks) = (0, false, 0);
                }
                Link::Magic(n) => {
                    self.count(restrict)?;
                    magic(restrict)?;
                    if last {
                        if slash {
                            self.suffix(b"/")?;
                        }
                        break;
                    }
                    if n == 0 {
                        self.unnamed(host, end)?;
                        break;
                    }
                    let mut target = [0; PATH_MAX];
                    target[..n].copy_from_slice(&self.link[..n]);
                    self.go(table, &target[..n])?;
                    if self.stands_on_a_link(table, host) {
                        return Err(Errno::ENOTDIR.into());
                    }
                    (known, asked, looks) = (0, false, 0);
                }
            }
        }
        Ok(None)
    }

    /// How many components of the rest, from `at` on, the cache knows to be directories without a link on the way; the
    /// host is asked once whether that still holds. The walk stands below all nodes of the table.
    fn known_ahead<H: Host>(&mut self, host: &mut H, at: usize) -> u32 {
        let epoch = host.epoch();
        let len = self.host.len();
        let mut key = Key::of(self.host.as_bytes());
        let (mut ahead, mut best) = (0, None);
        let mut tail = &self.rest.as_bytes()[at..];
        while let Some((name, rest)) = next_component(tail) {
            // The last component is not asked for here: it may be anything.
            if name == b".." || name == b"." || too_long(name) || next_component(rest).is_none() {
                break;
            }
            key = if len == 1 && ahead == 0 { key.below_root(name) } else { key.join(name) };
            ahead += 1;
            if let Some(id) = self.cache.get(key, epoch) {
                best = Some((ahead, key, id));
            }
            tail = rest;
        }
        let Some((count, key, id)) = best else { return 0 };
        let mut tail = &self.rest.as_bytes()[at..];
        for _ in 0..count {
            let Some((name, rest)) = next_component(tail) else { break };
            if self.host.push_component(name).is_err() {
                break;
            }
            tail = rest;
        }
        let holds = host.directory(self.host.with_nul()) == Some(id);
        self.host.truncate(len);
        if !holds {
            self.cache.remove(key);
            return 0;
        }
        count
    }

    /// Notes the directory that the first `len` bytes of the host path name, where the walk was before its last
    /// component: no component of it was a link. If that one led into another binding, the host path is another's.
    fn remember<H: Host>(&mut self, host: &mut H, before: Place, len: usize) {
        let mut path = [0; PATH_MAX];
        if self.place.bind == before.bind && len < PATH_MAX {
            path[..len].copy_from_slice(&self.host.as_bytes()[..len]);
            if let Some(id) = host.directory(&path[..=len]) {
                self.cache.put(Key::of(&path[..len]), host.epoch(), id);
            }
        }
    }

    /// Tries to go the rest of the way without looking at each component; where that fails, the walk stands where it
    /// stood.
    fn straight<H: Host>(
        &mut self,
        table: &Table,
        host: &mut H,
        request: &Request,
    ) -> Result<Option<Found>, Fault> {
        const SHORT: usize = 512;
        let (from, left) = (self.guest.len(), self.rest.len());
        if from > SHORT || left > SHORT || components(self.rest.as_bytes()).nth(1).is_none() {
            return Ok(None);
        }
        let (mut base, mut path) = ([0; SHORT], [0; SHORT]);
        base[..from].copy_from_slice(self.guest.as_bytes());
        path[..left].copy_from_slice(self.rest.as_bytes());
        let request = Request { base: &base[..from], path: &path[..left], ..*request };
        match self.lexical(table, host, &request) {
            // What the guest passed is another string.
            Ok(found) => Ok(Some(Found { same: false, ..found })),
            Err(_) => {
                self.go(table, &base[..from])?;
                Ok(None)
            }
        }
    }

    /// Ends the host path at a component that the host refuses: one that was not the last stays so.
    fn stop(&mut self, last: bool, slash: bool) -> Result<(), Full> {
        // Not at a node, whatever the last one was.
        self.place.below += 1;
        self.suffix(match (last, slash) {
            (false, _) => b"/.",
            (true, true) => b"/",
            (true, false) => b"",
        })
    }

    /// The directory a walk begins in.
    fn start(&mut self, table: &Table, request: &Request, absolute: bool) -> Result<(), Fault> {
        self.root = None;
        if !absolute {
            self.go(table, request.base)?;
            if request.restrict.has(Restrict::IN_ROOT) {
                self.root = Some(self.place.bind);
            }
            return Ok(());
        }
        // A path that starts at the root crosses nothing by that; only a link that leads there does.
        let restrict = Restrict(request.restrict.0 & !Restrict::NO_XDEV);
        self.jump(table, &Request { restrict, ..*request })
    }

    /// To the root, as an absolute path or an absolute link does.
    fn jump(&mut self, table: &Table, request: &Request) -> Result<(), Fault> {
        let restrict = request.restrict;
        if restrict.has(Restrict::BENEATH) {
            return Err(Errno::EXDEV.into());
        }
        if restrict.has(Restrict::NO_XDEV) && self.root != Some(self.place.bind) {
            // nd_jump_root() compares with a root that is unknown until an absolute path or `..` has asked for it.
            return Err(Errno::EXDEV.into());
        }
        self.go(table, top(request))?;
        self.root = Some(self.place.bind);
        Ok(())
    }

    /// One component up.
    fn up<H: Host>(&mut self, table: &Table, host: &mut H, request: &Request) -> Result<Step, Fault> {
        let restrict = request.restrict;
        self.root = self.root.or_else(|| Some(table.covering(request.root).0));
        if self.place.below > 0 || table.node(self.place.node).kind() != Kind::Placeholder {
            // `..` of what is no directory, or of one that may not be searched, is an error.
            let len = self.host.len();
            self.suffix(b"/.")?;
            if let Link::Refused(_) = host.link(self.host.with_nul(), &mut self.link) {
                self.place.below += 1;
                return Ok(Step::Done);
            }
            self.host.truncate(len);
        }
        if self.guest.as_bytes() == top(request) {
            return if restrict.has(Restrict::BENEATH) { Err(Errno::EXDEV.into()) } else { Ok(Step::Next) };
        }
        let before = self.place.bind;
        self.guest.pop_component();
        let parent: [u8; super::LONG] = {
            let mut copy = [0; super::LONG];
            copy[..self.guest.len()].copy_from_slice(self.guest.as_bytes());
            copy
        };
        let len = self.guest.len();
        self.go(table, &parent[..len])?;
        if restrict.has(Restrict::NO_XDEV) && self.place.bind != before {
            return Err(Errno::EXDEV.into());
        }
        Ok(Step::Next)
    }

    /// Whether the host has to be asked what is here: a node of the table is what the table says.
    fn looked_at(&self, table: &Table) -> bool {
        !self.place.void && (self.place.below > 0 || table.node(self.place.node).kind() == Kind::Passage)
    }

    /// Whether the walk is where the guest's modes say who may search: not in what is made up.
    fn stands_in_a_directory(&self, table: &Table) -> bool {
        !self.place.void && (self.place.below > 0 || table.node(self.place.node).kind() != Kind::Placeholder)
    }

    /// Whether the walk has come, by a descriptor of a link, to that link, which the kernel does not follow then.
    fn stands_on_a_link<H: Host>(&mut self, table: &Table, host: &mut H) -> bool {
        self.looked_at(table)
            && matches!(
                host.link(self.host.with_nul(), &mut self.link),
                Link::Text(_) | Link::Jump(_) | Link::Magic(_)
            )
    }

    fn back(&mut self, place: Place, guest: usize, host: usize) {
        self.place = place;
        self.guest.truncate(guest);
        self.host.truncate(host);
    }

    fn count(&mut self, restrict: Restrict) -> Result<(), Fault> {
        self.links += 1;
        if self.links > MAX_LINKS || restrict.has(Restrict::NO_SYMLINKS) {
            return Err(Errno::ELOOP.into());
        }
        Ok(())
    }

    /// A place that only a link of /proc leads to: what follows is left to the kernel, which starts at that link;
    /// nothing may climb out of it.
    fn unnamed<H: Host>(&mut self, host: &mut H, end: usize) -> Result<(), Fault> {
        let tail = &self.rest.as_bytes()[end..];
        if !tail.split(|&b| b == b'/').any(|c| c == b"..") {
            return Ok(self.host.push(tail)?);
        }
        // What is no directory is refused by the kernel, at this component.
        self.suffix(b"/.")?;
        match host.link(self.host.with_nul(), &mut self.link) {
            Link::Refused(_) => Ok(()),
            _ => Err(Errno::ENOENT.into()),
        }
    }
}

/// What a walk cannot climb out of, and where absolute links start.
fn top<'a>(request: &Request<'a>) -> &'a [u8] {
    if request.restrict.confines() { request.base } else { request.root }
}

/// Whether a link of /proc may be followed at all.
fn magic(restrict: Restrict) -> Result<(), Errno> {
    if restrict.has(Restrict::NO_MAGIC) {
        return Err(Errno::ELOOP);
    }
    if restrict.has(Restrict::BENEATH | Restrict::IN_ROOT | Restrict::NO_XDEV) {
        // nd_jump_link() refuses to be confined, and leaves the mount of /proc.
        return Err(Errno::EXDEV);
    }
    Ok(())
}

fn follows(follow: Follow, slash: bool) -> bool {
    match follow {
        Follow::Yes => true,
        Follow::No => slash,
        Follow::Entry => false,
    }
}
