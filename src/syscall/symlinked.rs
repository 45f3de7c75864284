//! `--link2symlink`: hard links where the host makes none.
//!
//! Some hosts refuse link(2): file systems without it, directories with quotas of their own, policies. There, and only
//! where the host has refused, the file moves to a hidden name beside its old one, and both names become symbolic links
//! to it; so whichever name is removed first, the other has the file. A second hidden link, which leads nowhere, holds
//! the number of names: with the last one the file goes. Calls that would look at such a link itself get the file, so
//! the guest sees two names of one file, with one inode and the number of links; but listings say `DT_LNK`.
//!
//! The links are relative, so the tree may be moved as a whole, and programs outside read it. A directory that is moved
//! away from the file that a name in it leads to loses it, as with any relative link.

use super::paths::Named;
use super::table::{Arg, Row, Touch};
use super::{Action, Call, Exit};
use crate::emulate::hard_links::{COUNT, PREFIX, is_hidden};
use crate::path::{PATH_MAX, components};
use crate::resolve::{Follow, Last, Resolver, Restrict};
use crate::sys;
use crate::tracee::memory;
use prun_arch::Sysno;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use syscalls::Errno;

/// Tracer threads change names one at a time.
static CHANGES: Mutex<()> = Mutex::new(());

/// A name, as host and guest have it: absolute, no NUL.
#[derive(Clone, Debug)]
pub struct Name {
    host: Vec<u8>,
    guest: Vec<u8>,
}

/// What is done when the call is over.
#[derive(Debug)]
pub enum After {
    /// link(2): from, to.
    Linked(Name, Name),
    /// A name of a hidden file was removed.
    Removed(Vec<u8>),
    /// The number of names goes to where stat(2) has written.
    Seen {
        /// How many.
        names: u32,
        /// The structure's address.
        buffer: u64,
    },
    /// A name was renamed: what it led to and what it is now, and what the name that it took led to.
    Renamed {
        /// The hidden file that the name leads to.
        moved: Option<Name>,
        /// The new name.
        to: Name,
        /// The hidden file that the new name led to before.
        replaced: Option<Name>,
    },
}

fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match memchr::memrchr(b'/', path) {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}

fn os(path: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(path))
}

fn errno(e: &io::Error) -> Errno {
    e.raw_os_error().map_or(Errno::EIO, Errno::new)
}

/// From the directory `from` to `to`, both absolute and without links or `..`.
fn relative(from: &[u8], to: &[u8]) -> Vec<u8> {
    let (from, to): (Vec<_>, Vec<_>) = (components(from).collect(), components(to).collect());
    let same = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
    let ups = std::iter::repeat_n(b"..".as_slice(), from.len() - same);
    ups.chain(to[same..].iter().copied()).collect::<Vec<_>>().join(&b'/')
}

/// A directory and a relative path without links put together.
fn join(dir: &[u8], path: &[u8]) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = components(dir).collect();
    for part in components(path) {
        match part {
            b"." => {}
            b".." => drop(parts.pop()),
            name => parts.push(name),
        }
    }
    parts.iter().flat_map(|p| [b"/".as_slice(), p].concat()).collect()
}

/// The hidden file that a name leads to.
fn behind(name: &Name) -> Option<Name> {
    if is_hidden(&name.host) {
        return Some(name.clone());
    }
    let mut text = [0; PATH_MAX];
    let n = sys::readlink(&[&name.host, b"\0".as_slice()].concat(), &mut text).ok()?;
    let text = &text[..n];
    let ours = is_hidden(text) && text[0] != b'/';
    ours.then(|| Name { host: join(split(&name.host).0, text), guest: join(split(&name.guest).0, text) })
}

/// Makes a link at `path`, in place of what is there.
fn put(text: &[u8], path: &[u8]) -> Result<(), Errno> {
    let temporary = [path, b"~"].concat();
    std::os::unix::fs::symlink(os(text), os(&temporary)).map_err(|e| errno(&e))?;
    std::fs::rename(os(&temporary), os(path)).map_err(|e| errno(&e))
}

fn count(file: &[u8]) -> Option<u32> {
    let text = std::fs::read_link(os(&[file, COUNT].concat())).ok()?;
    text.to_str()?.parse().ok()
}

/// How many names a host path's file has, if it is a hidden one.
pub(super) fn names_of(host: &[u8]) -> Option<u32> {
    if is_hidden(host) { count(host) } else { None }
}

/// The same of the file that a link of procfs leads to, which is open.
pub(super) fn names_of_open(link: &[u8]) -> Option<u32> {
    let mut text = [0; PATH_MAX];
    let n = sys::readlink(link, &mut text).ok()?;
    names_of(&text[..n])
}

/// Moves the file at `name` to a hidden one, and leaves a link to it.
fn hide(name: &Name) -> Result<Name, Errno> {
    let st = sys::stat(&[&name.host, b"\0".as_slice()].concat(), Last::Kept)?;
    if st.mode & libc::S_IFMT != libc::S_IFREG {
        return Err(Errno::EPERM);
    }
    let hidden = [PREFIX, format!("{:016x}", sys::random()).as_bytes()].concat();
    let beside = |path: &[u8]| [split(path).0, b"/", &hidden].concat();
    let file = Name { host: beside(&name.host), guest: beside(&name.guest) };
    put(b"1", &[&file.host, COUNT].concat())?;
    // The link takes the file's place and the file the link's, so that the name is never missing.
    let made = std::os::unix::fs::symlink(os(&hidden), os(&file.host)).map_err(|e| errno(&e));
    let swapped = made.and_then(|()| match sys::exchange(&name.host, &file.host) {
        // Not every file system does that, nor every kernel.
        Err(Errno::EINVAL | Errno::ENOSYS) => {
            std::fs::rename(os(&name.host), os(&file.host)).map_err(|e| errno(&e))?;
            std::os::unix::fs::symlink(os(&hidden), os(&name.host)).map_err(|e| errno(&e))
        }
        done => done,
    });
    if let Err(e) = swapped {
        let _ =
            (std::fs::remove_file(os(&file.host)), std::fs::remove_file(os(&[&file.host, COUNT].concat())));
        return Err(e);
    }
    Ok(file)
}

fn link(old: &Name, new: &Name) -> Result<(), Errno> {
    let file = match behind(old) {
        Some(file) => file,
        None => hide(old)?,
    };
    let text = relative(split(&new.guest).0, &file.guest);
    std::os::unix::fs::symlink(os(&text), os(&new.host)).map_err(|e| errno(&e))?;
    match count(&file.host) {
        // Nobody knows how many there are: then it stays for ever.
        None => Ok(()),
        Some(names) => put((names + 1).to_string().as_bytes(), &[&file.host, COUNT].concat()),
    }
}

fn unlink(file: &[u8]) -> Result<(), Errno> {
    let number = [file, COUNT].concat();
    match count(file) {
        None => Ok(()),
        Some(names @ 2..) => put((names - 1).to_string().as_bytes(), &number),
        Some(_) => {
            let both = std::fs::remove_file(os(file)).and_then(|()| std::fs::remove_file(os(&number)));
            both.map_err(|e| errno(&e))
        }
    }
}

impl Call<'_> {
    /// The name in argument `at` of a call.
    fn name_at(&mut self, row: &Row, at: usize, follow: Follow) -> Option<Name> {
        let dir = (at > 0 && row.args[at - 1] == Arg::At).then(|| self.args[at - 1]);
        let Ok(Named::Found(found)) = self.find(dir, self.args[at], follow, false, Restrict::default())
        else {
            return None;
        };
        let host = self.session.resolver.host();
        let host = &host[..host.len() - 1];
        let plain =
            !found.void && found.node.is_none() && host.len() < PATH_MAX - 64 && !host.ends_with(b"/");
        plain.then(|| Name { host: host.to_vec(), guest: self.session.resolver.guest().to_vec() })
    }

    fn names(&mut self, row: &Row) -> Vec<Option<Name>> {
        let at: Vec<usize> = (0..row.args.len()).filter(|&i| row.args[i] == Arg::Entry).collect();
        at.into_iter().map(|i| self.name_at(row, i, Follow::Entry)).collect()
    }

    /// link(2) and linkat(2), once the call may be made.
    pub(super) fn link_or_symlink(&mut self, row: &Row) -> Result<Action, Errno> {
        let from = row.args.iter().position(|a| matches!(a, Arg::Link | Arg::If(..))).unwrap_or(0);
        let follow = match self.follow(row.args[from]) {
            Some(Follow::Yes) => Follow::Yes,
            _ => Follow::Entry,
        };
        let old = self.name_at(row, from, follow);
        let new = self.name_at(row, row.args.len() - 1, Follow::Entry);
        let action = self.hard_link(row)?;
        Ok(match (action, old, new) {
            (Action::Run, Some(old), Some(new)) => then(After::Linked(old, new)),
            (action, ..) => action,
        })
    }

    /// Calls that have nothing but paths: unlink(2) and stat(2) with their kin among them.
    pub(super) fn paths_or_symlinks(&mut self, row: &Row, touch: Touch) -> Result<Action, Errno> {
        let file = match touch {
            Touch::Removes => self.names(row).into_iter().flatten().find_map(|name| behind(&name)),
            _ => None,
        };
        let action = self.translate(row, touch)?;
        let Action::Run = action else { return Ok(action) };
        if let Some(file) = file {
            return Ok(then(After::Removed(file.host)));
        }
        use Sysno::{lstat, newfstatat, stat, statx};
        let buffer = match row.call {
            stat | lstat => 1,
            newfstatat => 2,
            statx => 4,
            _ => return Ok(action),
        };
        let at = row.args.iter().position(|a| *a != Arg::At).unwrap_or(0);
        let names = match self.name_at(row, at, Follow::Yes) {
            Some(name) => names_of(&name.host),
            // fstat(2) of newer C libraries.
            None if at == 1 && self.is_empty(self.args[1]) => self.names_behind(self.args[0]),
            None => None,
        };
        Ok(names.map_or(action, |names| then(After::Seen { names, buffer: self.args[buffer] })))
    }

    /// fstat(2): the name that the file was opened by is not looked at any more, but how many it has.
    pub(super) fn fstat_or_symlink(&mut self) -> Action {
        let names = if self.session.emulation.symlinks() { self.names_behind(self.args[0]) } else { None };
        names.map_or(Action::Run, |names| then(After::Seen { names, buffer: self.args[1] }))
    }

    fn names_behind(&self, fd: u64) -> Option<u32> {
        names_of_open(format!("/proc/{}/fd/{}\0", self.task.tid, fd as i32).as_bytes())
    }

    /// rename(2) and its kin.
    pub(super) fn rename_or_symlink(&mut self, row: &Row) -> Result<Action, Errno> {
        let names = self.names(row);
        let action = self.rename(row)?;
        let (Action::Run, [Some(old), Some(to)]) = (&action, &names[..]) else { return Ok(action) };
        let (moved, replaced) = (behind(old), behind(to));
        if moved.is_none() && replaced.is_none() {
            return Ok(action);
        }
        Ok(then(After::Renamed { moved, to: to.clone(), replaced }))
    }

    /// Puts the number of names into what statx(2) or another of the family has written.
    fn write_names(&mut self, names: u32, buffer: u64) -> Result<(), Errno> {
        let (offset, bytes) = if self.regs.call() == Some(Sysno::statx) {
            (std::mem::offset_of!(sys::file::Statx, nlink) as u64, names.to_ne_bytes().to_vec())
        } else if self.regs.abi().word() == 8 {
            let bytes = libc::nlink_t::from(names).to_ne_bytes().to_vec();
            (std::mem::offset_of!(libc::stat, st_nlink) as u64, bytes)
        } else {
            match prun_arch::abi::stat::names(self.form(), names) {
                Ok(place) => place,
                Err(_) => {
                    self.regs.set_result(-i64::from(Errno::EOVERFLOW.into_raw()));
                    return Ok(());
                }
            }
        };
        memory::write(self.task.tid, buffer.wrapping_add(offset), &bytes)
    }

    /// At the exit stop.
    pub(super) fn after_names(&mut self, after: &After) {
        let result = self.regs.result();
        let _one = CHANGES.lock().unwrap_or_else(PoisonError::into_inner);
        let done = match after {
            After::Linked(old, new) if result < 0 => {
                let refused = [
                    Errno::EPERM,
                    Errno::EACCES,
                    Errno::EXDEV,
                    Errno::EMLINK,
                    Errno::EOPNOTSUPP,
                    Errno::ENOSYS,
                ];
                if refused.contains(&Errno::new(-result as i32)) && link(old, new).is_ok() {
                    self.regs.set_result(0);
                }
                return;
            }
            After::Removed(file) if result == 0 => unlink(file),
            After::Renamed { moved, to, replaced } if result == 0 => {
                let text = moved.as_ref().map(|file| relative(split(&to.guest).0, &file.guest));
                let moved = text.map_or(Ok(()), |text| put(&text, &to.host));
                moved.and(replaced.as_ref().map_or(Ok(()), |file| unlink(&file.host)))
            }
            After::Seen { names, buffer } if result == 0 => self.write_names(*names, *buffer),
            _ => Ok(()),
        };
        if let Err(e) = done {
            crate::note!(0, "a name that stands for a hard link could not be changed: {}", sys::io(e));
        }
    }
}

/// Whether the path that was resolved last, without following its last component, is a link that stands for a file.
pub(super) fn stands_for_a_file(resolver: &Resolver) -> bool {
    let mut text = [0; PATH_MAX];
    let host = resolver.host();
    host.len() <= PATH_MAX
        && sys::readlink(host, &mut text).is_ok_and(|n| is_hidden(&text[..n]) && text[0] != b'/')
}

fn then(after: After) -> Action {
    Action::RunThen(Exit::Names(Box::new(after)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_between_directories() {
        assert_eq!(relative(b"/a/b", b"/a/b/.h"), b".h");
        assert_eq!(relative(b"/a/c/d", b"/a/b/.h"), b"../../b/.h");
        assert_eq!(relative(b"", b"/.h"), b".h");
        assert_eq!(join(b"/a/c/d", b"../../b/.h"), b"/a/b/.h");
        assert_eq!(join(b"", b".h"), b"/.h");
    }

    #[test]
    fn the_file_goes_with_its_last_name() {
        let dir = tempfile::tempdir().expect("a folder");
        let name = |n: &str| {
            let path = dir.path().join(n).into_os_string().into_encoded_bytes();
            Name { host: path.clone(), guest: path }
        };
        std::fs::create_dir(dir.path().join("d")).expect("ours");
        std::fs::write(dir.path().join("a"), "text").expect("ours");
        link(&name("a"), &name("b")).expect("linked");
        link(&name("b"), &name("d/c")).expect("linked");
        assert_eq!(link(&name("b"), &name("d/c")), Err(Errno::EEXIST));
        assert_eq!(link(&name("d"), &name("e")), Err(Errno::EPERM));
        let file = behind(&name("d/c")).expect("it is one");
        assert_eq!(count(&file.host), Some(3));
        for (gone, left) in [("a", "b"), ("b", "d/c")] {
            std::fs::remove_file(dir.path().join(gone)).expect("ours");
            unlink(&file.host).expect("counted");
            assert_eq!(std::fs::read_to_string(dir.path().join(left)).expect("there"), "text");
        }
        std::fs::remove_file(dir.path().join("d/c")).expect("ours");
        unlink(&file.host).expect("gone");
        assert_eq!(std::fs::read_dir(dir.path()).expect("there").count(), 1, "only the directory");
    }
}
