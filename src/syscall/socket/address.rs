//! Addresses of AF_UNIX (unix(7)) and the headers of messages, as bytes: plain computation.

/// `sizeof(struct sockaddr_un)`.
pub const ADDR_MAX: usize = 110;
/// Offset of `sun_path`.
pub const PATH_AT: usize = 2;
/// `sizeof(struct msghdr)`; in a `struct mmsghdr` the length of what was sent or received follows.
pub const MSG_LEN: usize = 56;
/// `sizeof(struct mmsghdr)`.
pub const MMSG_LEN: u64 = 64;

/// The path in an address, without its NUL; `None` for every other address, abstract and unnamed ones among them, and
/// for what the kernel refuses (`unix_validate_addr()` of `net/unix/af_unix.c`).
pub fn path_of(address: &[u8]) -> Option<&[u8]> {
    if !(PATH_AT + 1..=ADDR_MAX).contains(&address.len()) {
        return None;
    }
    let (family, path) = address.split_at(PATH_AT);
    let path = &path[..memchr::memchr(0, path).unwrap_or(path.len())];
    (family == (libc::AF_UNIX as u16).to_ne_bytes() && !path.is_empty()).then_some(path)
}

/// The address of `path`, with a NUL behind it, which getsockname(2) counts.
pub fn of_path(path: &[u8]) -> Vec<u8> {
    [&(libc::AF_UNIX as u16).to_ne_bytes(), path, b"\0"].concat()
}

/// `msg_name` and `msg_namelen`.
pub fn name_of(message: &[u8; MSG_LEN]) -> (u64, u32) {
    let word = |at: usize| message[at..at + 8].try_into().map_or(0, u64::from_ne_bytes);
    (word(0), word(8) as u32)
}

/// Replaces `msg_name` and `msg_namelen`.
pub fn set_name(message: &mut [u8; MSG_LEN], address: u64, len: u32) {
    message[..8].copy_from_slice(&address.to_ne_bytes());
    message[8..12].copy_from_slice(&len.to_ne_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_path_is_a_path() {
        assert_eq!(path_of(&of_path(b"/run/x")), Some(&b"/run/x"[..]));
        assert_eq!(path_of(b"\x01\0/a"), Some(&b"/a"[..]), "a NUL is not needed");
        assert_eq!(path_of(b"\x01\0/a\0junk"), Some(&b"/a"[..]));
        for other in [&b""[..], b"\x01", b"\x01\0", b"\x01\0\0abstract", b"\x02\0/a", &[1; 111]] {
            assert_eq!(path_of(other), None);
        }
        let full = [&[1, 0], [b'x'; 108].as_slice()].concat();
        assert_eq!(path_of(&full).map(<[u8]>::len), Some(108));
    }
}
