//! Addresses of AF_UNIX (unix(7)) and the headers of messages, as bytes: plain computation.

/// `sizeof(struct sockaddr_un)`.
pub const ADDR_MAX: usize = 110;
/// Offset of `sun_path`.
pub const PATH_AT: usize = 2;
/// Bytes of the longest `struct msghdr`.
const MSG_MAX: usize = 56;

/// `struct msghdr` of a 64-bit program, or `struct compat_msghdr`; in a `struct mmsghdr` the length of what was sent or
/// received follows.
#[derive(Clone, Copy, Debug)]
pub struct Header {
    bytes: [u8; MSG_MAX],
    word: usize,
}

/// `sizeof(struct msghdr)` in an ABI with words of `word` bytes.
pub const fn msg_len(word: usize) -> usize {
    if word == 4 { 28 } else { MSG_MAX }
}

/// `sizeof(struct mmsghdr)`.
pub const fn mmsg_len(word: usize) -> u64 {
    if word == 4 { 32 } else { 64 }
}

impl Header {
    /// One to be filled in.
    pub fn new(word: usize) -> Self {
        Self { bytes: [0; MSG_MAX], word }
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..msg_len(self.word)]
    }

    /// Its bytes, to be written.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[..msg_len(self.word)]
    }

    /// Offset of `msg_namelen`.
    pub fn length_at(&self) -> u64 {
        self.word as u64
    }

    fn get(&self, at: usize) -> u64 {
        let low = self.bytes[at..at + 4].try_into().map_or(0, u32::from_ne_bytes);
        let high = if self.word == 4 { &[0; 4] } else { &self.bytes[at + 4..at + 8] };
        u64::from(low) | u64::from(high.try_into().map_or(0, u32::from_ne_bytes)) << 32
    }

    fn set(&mut self, at: usize, value: u64) {
        self.bytes[at..at + self.word].copy_from_slice(&value.to_le_bytes()[..self.word]);
    }

    /// `msg_name` and `msg_namelen`.
    pub fn name(&self) -> (u64, u32) {
        (self.get(0), self.get(self.word) as u32)
    }

    /// Replaces them.
    pub fn set_name(&mut self, address: u64, len: u32) {
        self.set(0, address);
        self.bytes[self.word..self.word + 4].copy_from_slice(&len.to_ne_bytes());
    }

    /// `msg_control` and `msg_controllen`.
    pub fn control(&self) -> (u64, usize) {
        (self.get(4 * self.word), self.get(5 * self.word) as usize)
    }

    /// Replaces the first of them.
    pub fn set_control(&mut self, address: u64) {
        self.set(4 * self.word, address);
    }
}

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
