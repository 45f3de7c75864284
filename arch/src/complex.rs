//! What code in the tracee leaves to the tracer, whatever the CPU: see `resident`.

/// What has to be looked at by the tracer, as sets of bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Complex {
    /// First bytes of names; empty names and those that begin with a dot or a slash are complex anyway.
    pub names: [u64; 4],
    /// Lowest bytes of the inode numbers of directories that list other things than the host's.
    pub listings: [u64; 4],
}

/// Adds a byte to a set.
pub fn add(set: &mut [u64; 4], byte: u8) {
    set[usize::from(byte) / 64] |= 1 << (byte % 64);
}
