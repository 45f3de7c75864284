//! Guest paths, host paths, and the fixed buffers they are built in.
//!
//! A *guest path* is what a tracee names; a *host path* is what the kernel is given. Both are bytes, absolute and
//! free of `.`, `..` and doubled slashes. They are different types so that one is never used for the other.
//! Everything here uses `core` and, for the two owned types, a boxed slice; [`Buf`] never allocates.

use core::fmt;

/// `PATH_MAX` of `<linux/limits.h>`: bytes in a path, its terminating NUL included.
pub const PATH_MAX: usize = 4096;
/// `NAME_MAX` of `<linux/limits.h>`: bytes in one component.
pub const NAME_MAX: usize = 255;

macro_rules! owned_path {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Box<[u8]>);

        impl $name {
            /// Takes over `bytes`, which must be absolute and normal.
            pub fn new(bytes: &[u8]) -> Self {
                debug_assert!(bytes.first() == Some(&b'/'), "a path of this type is absolute");
                Self(bytes.into())
            }

            /// The bytes, without a terminating NUL.
            pub fn as_bytes(&self) -> &[u8] {
                &self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", self.0.escape_ascii().to_string())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", String::from_utf8_lossy(&self.0))
            }
        }
    };
}

owned_path! {
    /// An absolute, normal path as the guest sees it.
    GuestPath
}
owned_path! {
    /// An absolute, normal path as the host's kernel sees it.
    HostPath
}

/// A byte string of at most `N - 1` bytes that is always followed by a NUL, for paths on their way to the kernel.
#[derive(Clone)]
pub struct Buf<const N: usize> {
    len: usize,
    bytes: [u8; N],
}

/// The buffer is full: the path is longer than any the kernel takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

impl<const N: usize> Buf<N> {
    /// An empty string.
    pub const fn new() -> Self {
        Self { len: 0, bytes: [0; N] }
    }

    /// The bytes, without the NUL.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// The bytes and the NUL behind them.
    pub fn with_nul(&self) -> &[u8] {
        &self.bytes[..=self.len]
    }

    /// Length in bytes, without the NUL.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Empties the string.
    pub fn clear(&mut self) {
        self.truncate(0);
    }

    /// Cuts the string to its first `len` bytes; a larger `len` changes nothing.
    pub fn truncate(&mut self, len: usize) {
        if len <= self.len {
            self.len = len;
            self.bytes[len] = 0;
        }
    }

    /// Appends `more`.
    pub fn push(&mut self, more: &[u8]) -> Result<(), Full> {
        let end = self.len + more.len();
        if end >= N {
            return Err(Full);
        }
        self.bytes[self.len..end].copy_from_slice(more);
        self.bytes[end] = 0;
        self.len = end;
        Ok(())
    }

    /// Makes the string equal to `all`.
    pub fn set(&mut self, all: &[u8]) -> Result<(), Full> {
        self.clear();
        self.push(all)
    }

    /// Appends `/name`; a string that is just `/` gets no second slash.
    pub fn push_component(&mut self, name: &[u8]) -> Result<(), Full> {
        if self.as_bytes() != b"/" {
            self.push(b"/")?;
        }
        self.push(name)
    }

    /// Removes the last component; `/` stays `/`.
    pub fn pop_component(&mut self) {
        let cut = self.as_bytes().iter().rposition(|&b| b == b'/').unwrap_or(0);
        self.truncate(cut.max(1));
    }

    /// Puts `more` in front of the bytes from `at` on, and drops those before.
    pub fn replace_front(&mut self, at: usize, more: &[u8]) -> Result<(), Full> {
        let tail = self.len - at;
        let end = more.len() + tail;
        if end >= N {
            return Err(Full);
        }
        self.bytes.copy_within(at..self.len, more.len());
        self.bytes[..more.len()].copy_from_slice(more);
        self.len = end;
        self.bytes[end] = 0;
        Ok(())
    }
}

impl<const N: usize> Default for Buf<N> {
    fn default() -> Self {
        Self::new()
    }
}

/// Splits a path into its next component and what follows it, leading slashes skipped; `None` at the end.
pub fn next_component(path: &[u8]) -> Option<(&[u8], &[u8])> {
    let start = path.iter().position(|&b| b != b'/')?;
    let path = &path[start..];
    let end = memchr::memchr(b'/', path).unwrap_or(path.len());
    Some(path.split_at(end))
}

/// The components of a path, `.` and empty ones left out; `..` is yielded.
pub fn components(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|&b| b == b'/').filter(|c| !c.is_empty() && *c != b".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffer_keeps_its_nul_and_its_limit() {
        let mut b = Buf::<8>::new();
        b.set(b"/").unwrap();
        b.push_component(b"ab").unwrap();
        assert_eq!(b.with_nul(), b"/ab\0");
        assert_eq!(b.push(b"12345"), Err(Full));
        b.push_component(b"cde").unwrap();
        assert_eq!(b.as_bytes(), b"/ab/cde");
        b.pop_component();
        b.pop_component();
        b.pop_component();
        assert_eq!(b.as_bytes(), b"/");
    }

    #[test]
    fn replace_front_is_how_a_symlink_is_spliced() {
        let mut b = Buf::<32>::new();
        b.set(b"link/rest").unwrap();
        b.replace_front(4, b"/target").unwrap();
        assert_eq!(b.as_bytes(), b"/target/rest");
    }

    #[test]
    fn components_skip_dots_and_slashes() {
        let all: Vec<_> = components(b"//a/./../b/").collect();
        assert_eq!(all, [&b"a"[..], b"..", b"b"]);
        assert_eq!(next_component(b"//a/b"), Some((&b"a"[..], &b"/b"[..])));
        assert_eq!(next_component(b"//"), None);
    }
}
