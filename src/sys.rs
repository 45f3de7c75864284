//! The system calls that no library wraps as prun needs them. One of the few modules with `unsafe`.
#![allow(unsafe_code)]

pub mod file;
pub mod memory;
pub mod setting;
pub mod socket;
pub mod thread;
pub mod unseen;

use crate::cost::{self, Kind};
use crate::resolve::{Last, Plain};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::OnceLock;
use syscalls::Errno;

/// The errno of the call that has just failed on this thread.
pub fn errno() -> Errno {
    Errno::new(std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO))
}

/// An errno as an error of the standard library, for messages.
pub fn io(e: Errno) -> std::io::Error {
    std::io::Error::from_raw_os_error(e.into_raw())
}

/// Bytes of a page of this kernel's: 4 KiB on x86-64; 4, 16 or 64 on aarch64, as it was built. What libraries take from
/// the auxiliary vector (`AT_PAGESZ`).
pub fn page_size() -> u64 {
    // SAFETY: a number for a number.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    u64::try_from(size).expect("the kernel tells every program the size of its pages")
}

/// A call that prun makes itself where it can and does without where it must.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Optional {
    /// openat2(2).
    Openat2,
    /// memfd_create(2).
    Memfd,
    /// process_vm_readv(2).
    ReadMemory,
    /// process_vm_writev(2).
    WriteMemory,
    /// getrandom(2).
    Random,
}

/// Which [`Optional`] calls are not made: those that are refused here or kill who makes them, as [`crate::doctor`] has
/// found once, before there is a second thread; it never changes. A property of the host, like the size of a page,
/// and kept like that beside the calls instead of being passed down with the other capabilities: those who make them
/// (`resolve`'s host, the memory of tracees) know of no session, are called from a hundred places, and run in benches
/// and fuzz targets, where nothing has been tried and each call is made and its refusal dealt with.
static AVOIDED: OnceLock<Avoided> = OnceLock::new();

/// A set of [`Optional`] calls.
#[derive(Clone, Copy, Debug, Default)]
pub struct Avoided(u8);

impl Avoided {
    /// One more.
    pub fn add(&mut self, call: Optional) {
        self.0 |= 1 << call as u8;
    }
}

/// From now on these calls are not made. Only what is said first counts.
pub fn avoid(calls: Avoided) {
    // The doctor of a later session in the same process, as tests have it, finds the same.
    let _ = AVOIDED.set(calls);
}

/// Whether this call is not to be made.
pub fn avoids(call: Optional) -> bool {
    AVOIDED.get().is_some_and(|avoided| avoided.0 & 1 << call as u8 != 0)
}

/// Makes a call until no signal interrupts it; what it returned, or why nothing could be seen.
fn look(mut call: impl FnMut() -> libc::c_long) -> Result<libc::c_long, Errno> {
    loop {
        let result = call();
        if result >= 0 {
            return Ok(result);
        }
        match errno() {
            Errno::EINTR => {}
            e => return Err(unseen::note(e)),
        }
    }
}

/// The call that has just failed on this thread was to help to look at something.
pub fn not_seen() {
    unseen::note(errno());
}

/// A file of text, such as those of /proc.
///
/// # Errors
/// Those of open(2) and read(2).
pub fn read_text(path: &str) -> Result<String, Errno> {
    std::fs::read_to_string(path).map_err(|e| unseen::note(Errno::new(e.raw_os_error().unwrap_or(libc::EIO))))
}

fn nul_terminated(path: &[u8]) -> *const libc::c_char {
    assert!(path.last() == Some(&0), "paths on their way to the kernel end in a NUL");
    path.as_ptr().cast()
}

/// Whether `path`, relative to `at` if it is not absolute, can be walked without meeting a symbolic link.
///
/// openat2(2) with `RESOLVE_NO_SYMLINKS`: `ELOOP` means a link; any other error is one that a walk of the path ends
/// with whoever makes it, unless it comes and goes. Except `ENOTDIR`, which with `O_DIRECTORY` also means that something else than a directory
/// is there: that saves the descriptor, and so the call that closes it, in the common case. Needs Linux 5.6; before, and when descriptors run out, the answer is unknown.
pub fn plain(at: Option<BorrowedFd<'_>>, path: &[u8], last: Last) -> Plain {
    if avoids(Optional::Openat2) {
        return Plain::Unknown;
    }
    let nofollow = if last == Last::Kept { libc::O_NOFOLLOW } else { 0 };
    let flags = libc::O_PATH | libc::O_CLOEXEC | libc::O_DIRECTORY | nofollow;
    let how = [flags as u64, 0, libc::RESOLVE_NO_SYMLINKS];
    let dir = at.map_or(libc::AT_FDCWD, |fd| fd.as_raw_fd());
    let path = nul_terminated(path);
    cost::count(Kind::Files, 1);
    // SAFETY: the path ends in a NUL, and `how` is a `struct open_how` of the size given.
    let fd = unsafe { libc::syscall(libc::SYS_openat2, dir, path, how.as_ptr(), size_of_val(&how)) };
    if fd >= 0 {
        cost::count(Kind::Files, 1);
        // SAFETY: the call has just made this descriptor, nobody else has it.
        drop(unsafe { OwnedFd::from_raw_fd(fd as RawFd) });
        return Plain::Yes;
    }
    match errno() {
        Errno::EACCES => Plain::Denied,
        Errno::ENOTDIR | Errno::ENOENT | Errno::ENAMETOOLONG => Plain::Yes,
        Errno::ELOOP => Plain::Link,
        _ => Plain::Unknown,
    }
}

/// readlink(2) into `out`.
///
/// # Errors
/// The call's.
pub fn readlink(path: &[u8], out: &mut [u8]) -> Result<usize, Errno> {
    let path = nul_terminated(path);
    cost::count(Kind::Files, 1);
    // SAFETY: the path ends in a NUL and the buffer is as long as said.
    let n = look(|| unsafe { libc::readlink(path, out.as_mut_ptr().cast(), out.len()) as libc::c_long })?;
    Ok(n as usize)
}

/// renameat2(2) with `RENAME_EXCHANGE`: each path, without a NUL, names what the other named.
///
/// # Errors
/// The call's.
pub fn exchange(a: &[u8], b: &[u8]) -> Result<(), Errno> {
    let (a, b) = ([a, b"\0".as_slice()].concat(), [b, b"\0".as_slice()].concat());
    let (a, b) = (nul_terminated(&a), nul_terminated(&b));
    // SAFETY: both paths end in a NUL.
    let r = unsafe {
        libc::syscall(libc::SYS_renameat2, libc::AT_FDCWD, a, libc::AT_FDCWD, b, libc::RENAME_EXCHANGE)
    };
    if r < 0 { Err(errno()) } else { Ok(()) }
}

/// open(2) with `O_CLOEXEC`.
///
/// # Errors
/// The call's.
pub fn open(path: &[u8], flags: i32) -> Result<OwnedFd, Errno> {
    let path = nul_terminated(path);
    // SAFETY: the path ends in a NUL.
    let fd = look(|| unsafe { libc::open(path, flags | libc::O_CLOEXEC) }.into());
    cost::count(Kind::Files, if fd.is_err() { 1 } else { 2 });
    // SAFETY: the call has just made this descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(fd? as RawFd) })
}

/// Opens the thing at `path` as such (`O_PATH`) if no link is on the way to it, nor it itself.
///
/// # Errors
/// `ELOOP` for a link; `ENOSYS` before Linux 5.6; else the call's.
pub fn open_straight(path: &[u8]) -> Result<OwnedFd, Errno> {
    if avoids(Optional::Openat2) {
        return Err(Errno::ENOSYS);
    }
    let how = [(libc::O_PATH | libc::O_CLOEXEC) as u64, 0, libc::RESOLVE_NO_SYMLINKS];
    let path = nul_terminated(path);
    cost::count(Kind::Files, 1);
    // SAFETY: the path ends in a NUL, and `how` is a `struct open_how` of the size given.
    let fd =
        unsafe { libc::syscall(libc::SYS_openat2, libc::AT_FDCWD, path, how.as_ptr(), size_of_val(&how)) };
    if fd < 0 {
        return Err(errno());
    }
    cost::count(Kind::Files, 1);
    // SAFETY: the call has just made this descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// openat(2) with `O_CLOEXEC`.
///
/// # Errors
/// The call's.
pub fn open_at(dir: BorrowedFd<'_>, path: &[u8], flags: i32) -> Result<OwnedFd, Errno> {
    let path = nul_terminated(path);
    // SAFETY: the path ends in a NUL.
    let fd = look(|| unsafe { libc::openat(dir.as_raw_fd(), path, flags | libc::O_CLOEXEC) }.into());
    cost::count(Kind::Files, if fd.is_err() { 1 } else { 2 });
    // SAFETY: the call has just made this descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(fd? as RawFd) })
}

/// kill(2).
///
/// # Errors
/// The call's.
pub fn signal(pid: i32, signal: i32) -> Result<(), Errno> {
    // SAFETY: integers only.
    if unsafe { libc::kill(pid, signal) } < 0 { Err(errno()) } else { Ok(()) }
}

/// What fstatat(2) says of a path.
#[derive(Clone, Copy, Debug)]
pub struct Stat {
    /// Device and inode.
    pub id: (u64, u64),
    /// Type and permissions.
    pub mode: u32,
}

/// stat(2), or lstat(2) with [`Last::Kept`].
///
/// # Errors
/// The call's.
pub fn stat(path: &[u8], last: Last) -> Result<Stat, Errno> {
    let path = nul_terminated(path);
    // SAFETY: all-zero bytes are a valid `stat`.
    let mut st: libc::stat = unsafe { std::mem::zeroed() };
    let flags = if last == Last::Kept { libc::AT_SYMLINK_NOFOLLOW } else { 0 };
    cost::count(Kind::Files, 1);
    // SAFETY: the path ends in a NUL and `st` is writable.
    look(|| unsafe { libc::fstatat(libc::AT_FDCWD, path, &raw mut st, flags) }.into())?;
    Ok(Stat { id: (st.st_dev, st.st_ino), mode: st.st_mode })
}

/// A file in memory with these contents, which nobody can change.
///
/// # Errors
/// The calls': `ENOSYS` before Linux 3.17.
pub fn memory_file(contents: &[u8]) -> Result<OwnedFd, Errno> {
    use std::os::unix::fs::{FileExt, PermissionsExt};
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    // SAFETY: the name ends in a NUL.
    let fd = unsafe { libc::syscall(libc::SYS_memfd_create, c"prun".as_ptr(), flags) };
    if fd < 0 {
        return Err(errno());
    }
    // SAFETY: the call has just made this descriptor.
    let file = std::fs::File::from(unsafe { OwnedFd::from_raw_fd(fd as RawFd) });
    let filled = file
        .write_all_at(contents, 0)
        .and_then(|()| file.set_permissions(std::fs::Permissions::from_mode(0o444)));
    filled.map_err(|e| Errno::new(e.raw_os_error().unwrap_or(libc::EIO)))?;
    let seals = libc::F_SEAL_WRITE | libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_SEAL;
    // SAFETY: fcntl with integer arguments on a descriptor that is open.
    if unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, seals) } < 0 {
        return Err(errno());
    }
    Ok(OwnedFd::from(file))
}

/// Whether the file may be read and written as `mode` says: access(2) with effective ids.
///
/// # Errors
/// The call's.
pub fn accessible(path: &[u8], mode: i32) -> Result<(), Errno> {
    let path = nul_terminated(path);
    // SAFETY: the path ends in a NUL.
    look(|| unsafe { libc::faccessat(libc::AT_FDCWD, path, mode, libc::AT_EACCESS) }.into()).map(drop)
}

/// Whether the file may be executed, by its mode and its mount: access(2) with effective ids.
///
/// # Errors
/// The call's.
pub fn executable(path: &[u8]) -> Result<(), Errno> {
    let path = nul_terminated(path);
    cost::count(Kind::Files, 1);
    // SAFETY: the path ends in a NUL.
    look(|| unsafe { libc::faccessat(libc::AT_FDCWD, path, libc::X_OK, libc::AT_EACCESS) }.into()).map(drop)
}

/// Whether the CPU runs 32-bit programs of the kind that prun knows, found out once: where it does not,
/// personality(2) refuses to let this thread believe in one. Any other answer leaves it to execve(2).
pub fn runs_narrow() -> bool {
    static RUNS: OnceLock<bool> = OnceLock::new();
    /// Asks without a change.
    const ASK: libc::c_ulong = 0xffff_ffff;
    /// `PER_MASK`.
    const KIND: libc::c_ulong = 0xff;
    *RUNS.get_or_init(|| {
        let Some(wanted) = prun_arch::NARROW_PERSONALITY else { return true };
        // SAFETY: integers only; it changes what uname(2) says to this thread, for a moment.
        let own = unsafe { libc::personality(ASK) };
        let Ok(own) = libc::c_ulong::try_from(own) else { return true };
        // SAFETY: as above.
        let refused = unsafe { libc::personality(own & !KIND | wanted) } < 0 && errno() == Errno::EINVAL;
        // SAFETY: as above.
        unsafe { libc::personality(own) };
        !refused
    })
}

/// Whether a file is open for writing somewhere, as far as a lease tells: fcntl(2) refuses a read lease with
/// `EAGAIN` then. Only the owner of a file may ask; to everybody else it looks closed.
pub fn open_for_writing(file: BorrowedFd<'_>) -> bool {
    let fd = file.as_raw_fd();
    cost::count(Kind::Files, 2);
    // SAFETY: fcntl with integer arguments on a descriptor that is open.
    unsafe {
        if libc::fcntl(fd, libc::F_SETLEASE, libc::F_RDLCK) < 0 {
            return errno() == Errno::EAGAIN;
        }
        libc::fcntl(fd, libc::F_SETLEASE, libc::F_UNLCK);
    }
    false
}

/// A 64-bit number that a guest cannot guess.
pub fn random() -> u64 {
    let mut bytes = [0u8; 8];
    let n = if avoids(Optional::Random) {
        -1
    } else {
        // SAFETY: the buffer is as long as said.
        unsafe { libc::syscall(libc::SYS_getrandom, bytes.as_mut_ptr(), bytes.len(), 0) }
    };
    if n != 8 {
        // Before Linux 3.17. AT_RANDOM is sixteen bytes that the kernel drew for this process.
        // SAFETY: AT_RANDOM points to sixteen readable bytes for the life of the process.
        unsafe {
            let at = libc::getauxval(libc::AT_RANDOM) as *const u8;
            if !at.is_null() {
                std::ptr::copy_nonoverlapping(at, bytes.as_mut_ptr(), 8);
            }
        }
        let now =
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_nanos());
        return u64::from_ne_bytes(bytes) ^ (now as u64).rotate_left(32) ^ u64::from(std::process::id());
    }
    u64::from_ne_bytes(bytes)
}
