//! The walk, component by component: `link_path_walk()` of the kernel's `fs/namei.c`, in the guest's namespace.

use super::{Follow, Found, Host, Link, MAX_LINKS, Place, Request, Resolver, Restrict, too_long};
use crate::path::{Full, PATH_MAX, next_component};
use crate::view::{Kind, NodeId, Table};
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
        self.run(table, host, request).map_err(|Fault(e)| e)?;
        let found = self.found(table, false);
        // An entry called `.` or `..` is refused for its name, whatever it is.
        let last = request.path.rsplit(|&b| b == b'/').find(|name| !name.is_empty());
        let dots = request.follow == Follow::Entry && matches!(last, Some(b"." | b".."));
        Ok(Found { node: found.node.filter(|_| !dots), ..found })
    }

    fn run<H: Host>(&mut self, table: &Table, host: &mut H, request: &Request) -> Result<(), Fault> {
        self.links = 0;
        self.rest.set(request.path)?;
        let restrict = request.restrict;
        self.start(table, request, request.path[0] == b'/')?;
        let mut at = 0;
        while let Some((name, tail)) = next_component(&self.rest.as_bytes()[at..]) {
            let (len, left) = (name.len(), tail.len());
            let end = self.rest.len() - left;
            let last = next_component(tail).is_none();
            at = end;
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
                for _ in 0..len {
                    self.host.push(b"x")?;
                }
                break;
            }
            copy[..len].copy_from_slice(name);
            self.enter(table, &copy[..len])?;
            if restrict.has(Restrict::NO_XDEV) && self.place.bind != mark.bind {
                return Err(Errno::EXDEV.into());
            }
            if self.place.void && !last {
                return Err(Errno::ENOENT.into());
            }
            let slash = last && left > 0;
            if !self.looked_at(table) || (last && !follows(request.follow, slash)) {
                if slash {
                    self.suffix(b"/")?;
                }
                continue;
            }
            match host.link(self.host.with_nul(), &mut self.link) {
                Link::None => {
                    if slash {
                        self.suffix(b"/")?;
                    }
                }
                Link::Refused(_) => {
                    // The kernel says the same, at this component.
                    self.suffix(if !last {
                        b"/."
                    } else if slash {
                        b"/"
                    } else {
                        b""
                    })?;
                    break;
                }
                link @ (Link::Text(n) | Link::Jump(n)) => {
                    self.count(restrict)?;
                    if matches!(link, Link::Jump(_)) {
                        magic(restrict)?;
                    }
                    let absolute = self.link[0] == b'/';
                    self.back(mark, guest, path);
                    self.rest.replace_front(end, &self.link[..n])?;
                    at = 0;
                    if absolute {
                        self.jump(table, request)?;
                    }
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
                        self.unnamed(end)?;
                        break;
                    }
                    let mut target = [0; PATH_MAX];
                    target[..n].copy_from_slice(&self.link[..n]);
                    self.go(table, &target[..n])?;
                }
            }
        }
        Ok(())
    }

    /// The directory a walk begins in.
    fn start(&mut self, table: &Table, request: &Request, absolute: bool) -> Result<(), Fault> {
        if !absolute {
            return Ok(self.go(table, request.base)?);
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
        if restrict.has(Restrict::NO_XDEV) && !(request.path[0] == b'/' && self.place.bind == NodeId::ROOT) {
            // nd_jump_root() allows it to the path itself only.
            return Err(Errno::EXDEV.into());
        }
        Ok(self.go(table, if restrict.has(Restrict::IN_ROOT) { request.base } else { b"/" })?)
    }

    /// One component up.
    fn up<H: Host>(&mut self, table: &Table, host: &mut H, request: &Request) -> Result<Step, Fault> {
        let restrict = request.restrict;
        if self.place.below > 0 {
            // `..` of what is no directory is an error.
            let len = self.host.len();
            self.suffix(b"/.")?;
            if let Link::Refused(_) = host.link(self.host.with_nul(), &mut self.link) {
                return Ok(Step::Done);
            }
            self.host.truncate(len);
        }
        if restrict.has(Restrict::BENEATH | Restrict::IN_ROOT) && self.guest.as_bytes() == request.base {
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

    /// A directory that only a link of /proc leads to: what follows is left to the kernel, which starts at that
    /// link; nothing may climb out of it.
    fn unnamed(&mut self, end: usize) -> Result<(), Fault> {
        let tail = &self.rest.as_bytes()[end..];
        if tail.split(|&b| b == b'/').any(|c| c == b"..") {
            return Err(Errno::ENOENT.into());
        }
        Ok(self.host.push(tail)?)
    }
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
