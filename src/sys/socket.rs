//! Calls on a socket of a tracee, by a descriptor of the tracer's own.
#![allow(unsafe_code)]

use super::{errno, unseen};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use syscalls::Errno;

/// A descriptor for what `fd` is in the process `pid`: pidfd_getfd(2), Linux 5.6.
///
/// # Errors
/// The calls': `ENOSYS` on older kernels, `EBADF`.
pub fn borrow(pid: i32, fd: i32) -> Result<OwnedFd, Errno> {
    // SAFETY: integers only.
    let process = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    if process < 0 {
        return Err(unseen::note(errno()));
    }
    // SAFETY: the call has just made this descriptor.
    let process = unsafe { OwnedFd::from_raw_fd(process as RawFd) };
    // SAFETY: integers only.
    let got = unsafe { libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), fd, 0) };
    if got < 0 {
        return Err(unseen::note(errno()));
    }
    // SAFETY: the call has just made this descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(got as RawFd) })
}

/// A new socket.
///
/// # Errors
/// The call's.
pub fn open(family: i32, kind: i32) -> Result<OwnedFd, Errno> {
    // SAFETY: integers only.
    let fd = unsafe { libc::socket(family, kind | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(unseen::note(errno()));
    }
    // SAFETY: the call has just made this descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// bind(2); `address` is a `struct sockaddr` of any family.
///
/// # Errors
/// The call's.
pub fn bind(socket: BorrowedFd<'_>, address: &[u8]) -> Result<(), Errno> {
    // SAFETY: the address is as long as said; the kernel copies it whatever its alignment.
    let done =
        unsafe { libc::bind(socket.as_raw_fd(), address.as_ptr().cast(), address.len() as libc::socklen_t) };
    if done < 0 {
        return Err(errno());
    }
    unseen::changed();
    Ok(())
}

/// The port a socket is bound to.
///
/// # Errors
/// The call's.
pub fn port(socket: BorrowedFd<'_>) -> Result<u16, Errno> {
    let mut bytes = [0u8; 28];
    let mut len = bytes.len() as libc::socklen_t;
    // SAFETY: the buffer is as long as said, and writable.
    let done = unsafe { libc::getsockname(socket.as_raw_fd(), bytes.as_mut_ptr().cast(), &raw mut len) };
    // Both families have the port behind the family, in network order.
    if done < 0 { Err(unseen::note(errno())) } else { Ok(u16::from_be_bytes([bytes[2], bytes[3]])) }
}

/// The type of a socket: `SOCK_STREAM` and so on.
///
/// # Errors
/// The call's.
pub fn kind(socket: BorrowedFd<'_>) -> Result<i32, Errno> {
    let mut kind = 0i32;
    let mut len = size_of::<i32>() as libc::socklen_t;
    // SAFETY: the value is as long as said, and writable.
    let done = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_TYPE,
            (&raw mut kind).cast(),
            &raw mut len,
        )
    };
    if done < 0 { Err(unseen::note(errno())) } else { Ok(kind) }
}
