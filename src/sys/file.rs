//! Calls about a file that the tracer makes in a tracee's stead, as the user that both are. One of the few modules
//! with `unsafe`.
#![allow(unsafe_code)]

use super::{errno, nul_terminated, unseen};
use prun_arch::abi::stat::Stat;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;
use syscalls::Errno;

/// `struct statx` of `<linux/stat.h>`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
#[expect(missing_docs, reason = "the kernel's names")]
pub struct Statx {
    pub mask: u32,
    pub blksize: u32,
    pub attributes: u64,
    pub nlink: u32,
    pub uid: u32,
    pub gid: u32,
    pub mode: u16,
    pad: u16,
    pub ino: u64,
    pub size: u64,
    pub blocks: u64,
    pub attributes_mask: u64,
    pub atime: Time,
    pub btime: Time,
    pub ctime: Time,
    pub mtime: Time,
    pub rdev_major: u32,
    pub rdev_minor: u32,
    pub dev_major: u32,
    pub dev_minor: u32,
    mnt_id: u64,
    rest: [u64; 13],
}

const _: () = assert!(size_of::<Statx>() == 256 && size_of::<Time>() == 16);

/// `struct statx_timestamp`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
#[expect(missing_docs, reason = "the kernel's names")]
pub struct Time {
    pub sec: i64,
    pub nsec: u32,
    pad: i32,
}

/// `STATX_BASIC_STATS` and `STATX_BTIME`.
pub const BASIC: u32 = 0x7ff;
/// `STATX_BTIME`.
pub const BTIME: u32 = 0x800;
/// `STATX_MNT_ID`, since Linux 5.8.
const MNT_ID: u32 = 0x1000;

impl Statx {
    /// The bytes the kernel would write for statx(2).
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: the structure has no padding the compiler adds, and lives as long as the slice.
        unsafe { std::slice::from_raw_parts(std::ptr::from_ref(self).cast(), size_of::<Self>()) }
    }

    /// Leaves out the birth, where `mask` does not ask for it.
    #[must_use]
    pub fn asked(mut self, mask: u32) -> Self {
        if mask & BTIME == 0 {
            self.mask &= !BTIME;
            self.btime = Time { sec: 0, nsec: 0, pad: 0 };
        }
        self
    }

    /// The bytes the kernel would write for stat(2).
    pub fn stat_bytes(&self) -> [u8; size_of::<libc::stat>()] {
        // SAFETY: all-zero bytes are a valid `stat`.
        let mut st: libc::stat = unsafe { std::mem::zeroed() };
        st.st_dev = libc::makedev(self.dev_major, self.dev_minor);
        st.st_ino = self.ino;
        st.st_nlink = self.nlink as _;
        st.st_mode = self.mode.into();
        (st.st_uid, st.st_gid) = (self.uid, self.gid);
        st.st_rdev = libc::makedev(self.rdev_major, self.rdev_minor);
        st.st_size = self.size as i64;
        st.st_blksize = self.blksize as _;
        st.st_blocks = self.blocks as i64;
        (st.st_atime, st.st_atime_nsec) = (self.atime.sec, self.atime.nsec.into());
        (st.st_mtime, st.st_mtime_nsec) = (self.mtime.sec, self.mtime.nsec.into());
        (st.st_ctime, st.st_ctime_nsec) = (self.ctime.sec, self.ctime.nsec.into());
        let mut out = [0; size_of::<libc::stat>()];
        // SAFETY: both are as long; padding was zeroed above.
        unsafe { std::ptr::copy_nonoverlapping((&raw const st).cast::<u8>(), out.as_mut_ptr(), out.len()) }
        out
    }

    /// What statx(2) would say, from what stat(2) has written.
    pub fn from_stat_bytes(bytes: &[u8; size_of::<libc::stat>()]) -> Self {
        // SAFETY: any bytes are a `stat`, which is all integers.
        Self::from_stat(&unsafe { bytes.as_ptr().cast::<libc::stat>().read_unaligned() })
    }

    /// The same for a 32-bit ABI.
    pub fn narrow(&self) -> Stat {
        Stat {
            dev: (self.dev_major, self.dev_minor),
            ino: self.ino,
            mode: self.mode,
            nlink: self.nlink,
            uid: self.uid,
            gid: self.gid,
            rdev: (self.rdev_major, self.rdev_minor),
            size: self.size,
            blksize: self.blksize,
            blocks: self.blocks,
            times: [&self.atime, &self.mtime, &self.ctime].map(|t| (t.sec, t.nsec)),
        }
    }

    /// What identifies and protects the file.
    pub fn attr(&self) -> Attr {
        let born = if self.mask & BTIME != 0 { (self.btime.sec, self.btime.nsec) } else { (0, 0) };
        Attr {
            id: (libc::makedev(self.dev_major, self.dev_minor), self.ino),
            born,
            uid: self.uid,
            gid: self.gid,
            mode: self.mode.into(),
            nlink: self.nlink,
            rdev: (self.rdev_major, self.rdev_minor),
        }
    }

    /// Before Linux 4.11: what stat(2) says, without a birth.
    fn from_stat(st: &libc::stat) -> Self {
        let time = |sec, nsec: i64| Time { sec, nsec: nsec as u32, pad: 0 };
        // SAFETY: all-zero bytes are a valid structure of integers.
        let mut x: Self = unsafe { std::mem::zeroed() };
        x.mask = BASIC;
        x.blksize = st.st_blksize as u32;
        x.nlink = st.st_nlink as _;
        (x.uid, x.gid, x.mode) = (st.st_uid, st.st_gid, st.st_mode as u16);
        (x.ino, x.size, x.blocks) = (st.st_ino, st.st_size as u64, st.st_blocks as u64);
        x.atime = time(st.st_atime, st.st_atime_nsec);
        x.mtime = time(st.st_mtime, st.st_mtime_nsec);
        x.ctime = time(st.st_ctime, st.st_ctime_nsec);
        (x.rdev_major, x.rdev_minor) = (libc::major(st.st_rdev), libc::minor(st.st_rdev));
        (x.dev_major, x.dev_minor) = (libc::major(st.st_dev), libc::minor(st.st_dev));
        x
    }
}

/// What identifies and protects a file on the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attr {
    /// Device and inode.
    pub id: (u64, u64),
    /// Seconds and nanoseconds of its birth; zero where the file system does not tell.
    pub born: (i64, u32),
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Type and permissions.
    pub mode: u32,
    /// Number of names.
    pub nlink: u32,
    /// Major and minor number of a device.
    pub rdev: (u32, u32),
}

/// A file on the host: a path, perhaps relative to an open directory.
#[derive(Clone, Debug)]
pub struct Place {
    dir: Option<Arc<OwnedFd>>,
    path: Vec<u8>,
    flags: i32,
    /// What it means that nothing is there.
    missing: Errno,
}

impl Place {
    /// An absolute path with its NUL; a final link is meant itself.
    pub fn at(path: Vec<u8>) -> Self {
        Self { dir: None, path, flags: libc::AT_SYMLINK_NOFOLLOW, missing: Errno::ENOENT }
    }

    /// A path relative to a directory; a final link is meant itself.
    pub fn below(dir: Arc<OwnedFd>, path: Vec<u8>) -> Self {
        Self { dir: Some(dir), path, flags: libc::AT_SYMLINK_NOFOLLOW, missing: Errno::ENOENT }
    }

    /// The file that the descriptor `fd` of a task is open on: `EBADF` if on none.
    pub fn open_file(tid: i32, fd: i32) -> Self {
        let path = format!("/proc/{tid}/fd/{fd}\0").into_bytes();
        Self { dir: None, path, flags: 0, missing: Errno::EBADF }
    }

    /// The path, where it starts at the root; without its NUL.
    pub fn path(&self) -> Option<&[u8]> {
        if self.dir.is_some() { None } else { self.path.strip_suffix(b"\0") }
    }

    /// A final link is followed.
    #[must_use]
    pub fn followed(self) -> Self {
        Self { flags: 0, ..self }
    }

    /// The directory that holds the entry.
    #[must_use]
    pub fn parent(&self) -> Self {
        let path = &self.path[..self.path.len() - 1];
        let end = path.iter().rposition(|&b| b != b'/').map_or(0, |last| last + 1);
        let parent: &[u8] = match path[..end].iter().rposition(|&b| b == b'/') {
            Some(0) => b"/",
            Some(slash) => &path[..slash],
            None if path.starts_with(b"/") => b"/",
            None => b".",
        };
        Self { dir: self.dir.clone(), path: [parent, b"\0"].concat(), flags: 0, missing: Errno::ENOENT }
    }

    fn dirfd(&self) -> i32 {
        self.dir.as_ref().map_or(libc::AT_FDCWD, |fd| fd.as_raw_fd())
    }

    /// Opens it.
    ///
    /// # Errors
    /// Those of openat(2).
    pub fn open(&self, flags: i32) -> Result<OwnedFd, Errno> {
        let flags = if self.flags == 0 { flags } else { flags | libc::O_NOFOLLOW };
        match &self.dir {
            Some(dir) => super::open_at(dir.as_fd(), &self.path, flags),
            None => super::open(&self.path, flags),
        }
    }

    /// statx(2), with `flags` and `mask` of the guest's added.
    ///
    /// # Errors
    /// The call's.
    pub fn statx(&self, flags: i32, mask: u32) -> Result<Statx, Errno> {
        let path = nul_terminated(&self.path);
        // SAFETY: all-zero bytes are a valid structure of integers.
        let mut out: Statx = unsafe { std::mem::zeroed() };
        // SAFETY: the path ends in a NUL, and `out` is a writable `struct statx`.
        let r = unsafe {
            let (dir, flags, mask) = (self.dirfd(), self.flags | flags, mask | BASIC | BTIME);
            libc::syscall(libc::SYS_statx, dir, path, flags, mask, &raw mut out)
        };
        if r == 0 {
            return Ok(out);
        }
        if errno() != Errno::ENOSYS {
            return Err(self.explained(unseen::note(errno())));
        }
        // SAFETY: all-zero bytes are a valid `stat`.
        let mut st: libc::stat = unsafe { std::mem::zeroed() };
        // SAFETY: the path ends in a NUL and `st` is writable.
        if unsafe { libc::fstatat(self.dirfd(), path, &raw mut st, self.flags) } < 0 {
            return Err(self.explained(unseen::note(errno())));
        }
        Ok(Statx::from_stat(&st))
    }

    fn explained(&self, e: Errno) -> Errno {
        if e == Errno::ENOENT { self.missing } else { e }
    }

    /// What identifies and protects it.
    ///
    /// # Errors
    /// Those of statx(2).
    pub fn attr(&self) -> Result<Attr, Errno> {
        self.statx(0, 0).map(|x| x.attr())
    }

    /// A number of the host's mount that it lies on; before Linux 5.8, of the file system.
    ///
    /// # Errors
    /// Those of statx(2).
    pub fn mount(&self) -> Result<u64, Errno> {
        let x = self.statx(0, MNT_ID)?;
        let device = libc::makedev(x.dev_major, x.dev_minor);
        Ok(if x.mask & MNT_ID != 0 { x.mnt_id } else { device })
    }

    /// fchownat(2) that changes no owner: whatever else it does, it does.
    ///
    /// # Errors
    /// The call's.
    pub fn touch_owner(&self) -> Result<(), Errno> {
        let path = nul_terminated(&self.path);
        // SAFETY: the path ends in a NUL.
        done(unsafe { libc::fchownat(self.dirfd(), path, u32::MAX, u32::MAX, self.flags) })
    }

    /// fchmodat(2), which follows links.
    ///
    /// # Errors
    /// The call's.
    pub fn set_mode(&self, mode: u32) -> Result<(), Errno> {
        let path = nul_terminated(&self.path);
        // SAFETY: the path ends in a NUL.
        done(unsafe { libc::syscall(libc::SYS_fchmodat, self.dirfd(), path, mode) as i32 })
    }

    /// Makes an empty file that must not exist.
    ///
    /// # Errors
    /// Those of mknod(2).
    pub fn make(&self, mode: u32) -> Result<(), Errno> {
        let path = nul_terminated(&self.path);
        // SAFETY: the path ends in a NUL.
        done(unsafe { libc::mknodat(self.dirfd(), path, libc::S_IFREG | mode, 0) })
    }

    /// Removes what is no directory.
    ///
    /// # Errors
    /// Those of unlink(2).
    pub fn unlink(&self) -> Result<(), Errno> {
        let path = nul_terminated(&self.path);
        // SAFETY: the path ends in a NUL.
        done(unsafe { libc::unlinkat(self.dirfd(), path, 0) })
    }

    /// The path for calls that take no directory.
    fn whole(&self) -> Vec<u8> {
        match &self.dir {
            Some(fd) => [format!("/proc/self/fd/{}/", fd.as_raw_fd()).as_bytes(), &self.path].concat(),
            None => self.path.clone(),
        }
    }

    /// An extended attribute's value; `name` ends in a NUL.
    ///
    /// # Errors
    /// Those of getxattr(2).
    pub fn attribute(&self, name: &[u8]) -> Result<Vec<u8>, Errno> {
        let (path, name) = (self.whole(), nul_terminated(name));
        let path = nul_terminated(&path);
        let mut out = vec![0u8; 512];
        loop {
            // SAFETY: both strings end in a NUL, and the buffer is as long as said.
            let n = unsafe {
                let buffer = out.as_mut_ptr().cast();
                if self.flags == 0 {
                    libc::getxattr(path, name, buffer, out.len())
                } else {
                    libc::lgetxattr(path, name, buffer, out.len())
                }
            };
            match usize::try_from(n) {
                Ok(n) => {
                    out.truncate(n);
                    return Ok(out);
                }
                Err(_) if errno() == Errno::ERANGE && out.len() < 1 << 16 => out.resize(1 << 16, 0),
                Err(_) => return Err(unseen::note(errno())),
            }
        }
    }

    /// Sets an extended attribute; `name` ends in a NUL.
    ///
    /// # Errors
    /// Those of setxattr(2).
    pub fn set_attribute(&self, name: &[u8], value: &[u8], flags: i32) -> Result<(), Errno> {
        let (path, name) = (self.whole(), nul_terminated(name));
        let path = nul_terminated(&path);
        // SAFETY: both strings end in a NUL, and the value is as long as said.
        done(unsafe {
            if self.flags == 0 {
                libc::setxattr(path, name, value.as_ptr().cast(), value.len(), flags)
            } else {
                libc::lsetxattr(path, name, value.as_ptr().cast(), value.len(), flags)
            }
        })
    }

    /// Removes an extended attribute; `name` ends in a NUL.
    ///
    /// # Errors
    /// Those of removexattr(2).
    pub fn remove_attribute(&self, name: &[u8]) -> Result<(), Errno> {
        let (path, name) = (self.whole(), nul_terminated(name));
        let path = nul_terminated(&path);
        // SAFETY: both strings end in a NUL.
        done(unsafe {
            if self.flags == 0 { libc::removexattr(path, name) } else { libc::lremovexattr(path, name) }
        })
    }

    /// The names of its extended attributes, each with its NUL.
    ///
    /// # Errors
    /// Those of listxattr(2).
    pub fn attributes(&self) -> Result<Vec<u8>, Errno> {
        let path = self.whole();
        let path = nul_terminated(&path);
        // `XATTR_LIST_MAX`.
        let mut out = vec![0u8; 1 << 16];
        // SAFETY: the path ends in a NUL, and the buffer is as long as said.
        let n = unsafe {
            let buffer = out.as_mut_ptr().cast();
            if self.flags == 0 {
                libc::listxattr(path, buffer, out.len())
            } else {
                libc::llistxattr(path, buffer, out.len())
            }
        };
        out.truncate(usize::try_from(n).map_err(|_| unseen::note(errno()))?);
        Ok(out)
    }
}

/// The result of a call that changes something.
fn done(result: i32) -> Result<(), Errno> {
    if result < 0 {
        return Err(errno());
    }
    unseen::changed();
    Ok(())
}

/// The ids that stand for those a user namespace has no number for, where prun runs in one that has not all.
pub fn unmapped_ids() -> Option<(u32, u32)> {
    let text = std::fs::read_to_string("/proc/self/uid_map").ok()?;
    let whole = text.split_whitespace().eq(["0", "0", "4294967295"]);
    let id = |name: &str| {
        let text = std::fs::read_to_string(format!("/proc/sys/kernel/{name}")).ok()?;
        text.trim().parse().ok()
    };
    if whole { None } else { Some((id("overflowuid")?, id("overflowgid")?)) }
}

/// A file in memory that holds `text`, for tracees to open.
///
/// # Errors
/// Those of memfd_create(2) and write(2).
pub fn in_memory(text: &[u8]) -> Result<OwnedFd, Errno> {
    use std::io::{Seek, Write};
    use std::os::fd::FromRawFd;
    // SAFETY: the name ends in a NUL.
    let fd = unsafe { libc::syscall(libc::SYS_memfd_create, c"prun".as_ptr(), libc::MFD_CLOEXEC) };
    if fd < 0 {
        return Err(errno());
    }
    // SAFETY: the call has just made this descriptor.
    let mut file = std::fs::File::from(unsafe { OwnedFd::from_raw_fd(fd as i32) });
    file.write_all(text).and_then(|()| file.rewind()).map_err(|_| Errno::ENOSPC)?;
    Ok(file.into())
}
