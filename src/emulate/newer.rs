//! Newer calls on older kernels: where the kernel has no such call and an older one does exactly what it would, the
//! older one is made, so that a new userland runs. Where it would not be exact the call stays `ENOSYS`.
//!
//! | call | since | becomes | when |
//! |---|---|---|---|
//! | openat2 | 5.6 | openat | always; limits on the way are kept by going there one directory at a time |
//! | statx | 4.11 | newfstatat; of 32-bit programs by the tracer | unless the file system is to be asked anew (`AT_STATX_FORCE_SYNC`); birth times are not known |
//! | faccessat2 | 5.8 | faccessat | but for a link itself, and for `AT_EACCESS` where real and effective ids differ |
//! | fchmodat2 | 6.6 | fchmodat | always |
//! | renameat2 | 3.15 | renameat | no flags |
//! | execveat | 3.19 | execve | always |
//! | getrandom | 3.17 | none: the tracer draws | not from `/dev/random` |
//! | close_range | 5.9 | close or fcntl, one for each descriptor | always; without /proc it is not known which are open |
//! | copy_file_range | 4.5 | sendfile | to the position of the second of two files of one file system; another gives `EXDEV` |
//!
//! memfd_create(2) (3.17) has no older equal: a deleted file in /dev/shm has another name in /proc/PID/fd, another device,
//! no seals, and is bound by its mount's size and flags. Programs have to do that themselves.
//!
//! Which calls are missing is found out at the start ([`crate::doctor`]). `PRUN_MISSING` names further ones that
//! prun is to believe missing, for tests on kernels that have them.

use crate::sys::file::Statx;
use prun_arch::Sysno;
use syscalls::Errno;

/// Calls that can be made otherwise, by their bit in [`Missing`].
pub const CALLS: [Sysno; 9] = [
    Sysno::openat2,
    Sysno::statx,
    Sysno::faccessat2,
    Sysno::fchmodat2,
    Sysno::renameat2,
    Sysno::execveat,
    Sysno::getrandom,
    Sysno::close_range,
    Sysno::copy_file_range,
];

/// A set of [`CALLS`]: those that the kernel does not have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Missing(u16);

impl Missing {
    /// None is missing.
    pub const NONE: Self = Self(0);

    /// One more is; calls that cannot be made otherwise are not noted.
    pub fn add(&mut self, call: Sysno) {
        if let Some(bit) = CALLS.iter().position(|&c| c == call) {
            self.0 |= 1 << bit;
        }
    }

    /// Whether this call is missing.
    pub fn has(self, call: Sysno) -> bool {
        self.0 != 0 && CALLS.iter().position(|&c| c == call).is_some_and(|bit| self.0 & 1 << bit != 0)
    }

    /// The calls of the set.
    pub fn calls(self) -> impl Iterator<Item = Sysno> {
        CALLS.into_iter().filter(move |&call| self.has(call))
    }
}

/// Bytes of `struct statx` and of `struct stat`, which fits into it.
pub const STATX_LEN: usize = 256;
/// See [`STATX_LEN`].
pub const STAT_LEN: usize = size_of::<libc::stat>();

const _: () = assert!(STAT_LEN <= STATX_LEN);

/// Bits of statx(2)'s mask that nobody may ask for (`STATX__RESERVED`).
const RESERVED: u32 = 0x8000_0000;
/// `AT_STATX_SYNC_TYPE`, and its two values besides none.
const SYNC_TYPE: i32 = 0x6000;
const FORCE_SYNC: i32 = 0x2000;

/// Flags of newfstatat(2) for those of statx(2).
///
/// # Errors
/// `EINVAL` as statx(2) has it, `ENOSYS` where newfstatat(2) is not the same.
pub fn stat_flags(flags: i32, mask: u32) -> Result<i32, Errno> {
    let plain = libc::AT_SYMLINK_NOFOLLOW | libc::AT_NO_AUTOMOUNT | libc::AT_EMPTY_PATH;
    let both = flags & SYNC_TYPE == SYNC_TYPE;
    if flags & !(plain | SYNC_TYPE) != 0 || both || mask & RESERVED != 0 {
        return Err(Errno::EINVAL);
    }
    if flags & SYNC_TYPE == FORCE_SYNC {
        return Err(Errno::ENOSYS);
    }
    Ok(flags & plain)
}

/// What statx(2) would have written, from what newfstatat(2) has: `STATX_BASIC_STATS` and no attributes.
pub fn statx_of(stat: &[u8; STAT_LEN]) -> [u8; STATX_LEN] {
    let mut out = [0; STATX_LEN];
    out.copy_from_slice(Statx::from_stat_bytes(stat).bytes());
    out
}

/// A `struct open_how` as far as openat(2) can say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct How {
    /// Flags of openat(2).
    pub flags: i32,
    /// Mode of a new file.
    pub mode: u32,
    /// `RESOLVE_…`.
    pub resolve: u64,
}

/// Flags that openat2(2) takes (`VALID_OPEN_FLAGS`), those that go with `O_PATH`, and `__O_TMPFILE` alone.
const FLAGS: u64 = 0o17_777_703 | 0o20_000_000;
const PATH_FLAGS: u64 = (libc::O_DIRECTORY | libc::O_NOFOLLOW | libc::O_PATH | libc::O_CLOEXEC) as u64;
const TMPFILE_BIT: u64 = 0o20_000_000;

/// Checks the structure as `build_open_flags()` of `fs/open.c` does.
///
/// # Errors
/// `EINVAL`.
pub fn how(flags: u64, mode: u64, resolve: u64) -> Result<How, Errno> {
    let has = |bits: i32| flags & bits as u64 == bits as u64;
    let creates = has(libc::O_CREAT) || flags & TMPFILE_BIT != 0;
    let writes = flags & libc::O_ACCMODE as u64 != 0;
    const KNOWN: u64 = 0x3f;
    const CACHED: u64 = 0x20;
    let bad = flags & !FLAGS != 0
        || resolve & !KNOWN != 0
        || resolve & 0x18 == 0x18
        || if creates { mode & !0o7777 != 0 } else { mode != 0 }
        || (has(libc::O_DIRECTORY | libc::O_CREAT))
        || (flags & TMPFILE_BIT != 0 && (!has(libc::O_DIRECTORY) || !writes))
        || (has(libc::O_PATH) && flags & !PATH_FLAGS != 0)
        || (resolve & CACHED != 0 && (creates || has(libc::O_TRUNC)));
    if bad {
        return Err(Errno::EINVAL);
    }
    if resolve & CACHED != 0 {
        // Nothing is known to be in a cache: the caller tries without.
        return Err(Errno::EAGAIN);
    }
    Ok(How { flags: flags as i32, mode: mode as u32, resolve })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_holds_what_was_put_in() {
        let mut some = Missing::NONE;
        assert!(CALLS.iter().all(|&c| !some.has(c)));
        some.add(Sysno::statx);
        some.add(Sysno::memfd_create);
        assert!(some.has(Sysno::statx) && !some.has(Sysno::openat2) && !some.has(Sysno::memfd_create));
        assert_eq!(some.calls().collect::<Vec<_>>(), [Sysno::statx]);
    }

    /// The kernel of the test, which has both calls, is the judge.
    #[test]
    #[allow(unsafe_code)]
    fn statx_is_what_the_kernel_would_say() {
        for path in [c"/", c"/dev/null", c"/proc/self/exe", c"/etc/passwd"] {
            let (mut stat, mut statx) = ([0u8; STAT_LEN], [0u8; STATX_LEN]);
            unsafe {
                let at = libc::AT_FDCWD;
                assert_eq!(libc::syscall(libc::SYS_newfstatat, at, path.as_ptr(), stat.as_mut_ptr(), 0), 0);
                assert_eq!(
                    libc::syscall(libc::SYS_statx, at, path.as_ptr(), 0, 0x7ff, statx.as_mut_ptr()),
                    0
                );
            }
            let ours = statx_of(&stat);
            // Attributes, birth time and what came after 4.11 are not in struct stat.
            for range in [16..56, 64..80, 96..144] {
                assert_eq!(ours[range.clone()], statx[range.clone()], "{path:?} {range:?}");
            }
            assert_eq!(ours[4..8], statx[4..8], "{path:?}");
        }
    }

    #[test]
    #[allow(unsafe_code)]
    fn bad_structures_are_refused_as_the_kernel_does() {
        let flags = [
            0,
            1,
            2,
            3,
            0o100,
            0o101,
            0o300,
            0o1001,
            0o2000,
            0o200000,
            0o200100,
            0o20200002,
            0o20200000,
            0o20000002,
            0o10000000,
            0o10200000,
            0o10000001,
            0o10002000,
            0o12400000,
            1 << 23,
            1 << 31,
            1 << 32,
            1 << 62,
        ];
        for flags in flags {
            for mode in [0u64, 0o644, 0o7777, 0o10000, 1 << 40] {
                for resolve in [0u64, 1, 4, 8, 0x10, 0x18, 0x40, 1 << 63] {
                    let how_t = [flags, mode, resolve];
                    // No such place, so that nothing is made: EINVAL comes before the path is looked at.
                    let path = c"/no such place/x";
                    let r = unsafe {
                        libc::syscall(libc::SYS_openat2, libc::AT_FDCWD, path.as_ptr(), how_t.as_ptr(), 24)
                    };
                    assert!(r < 0);
                    let kernel = std::io::Error::last_os_error().raw_os_error() == Some(libc::EINVAL);
                    let ours = how(flags, mode, resolve).is_err();
                    assert_eq!(ours, kernel, "{flags:o} {mode:o} {resolve:x}");
                }
            }
        }
    }
}
