//! The load script: what the tracer writes and the loader in the guest runs. Compiled on both sides.

/// Fixed-size record of a script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Step {
    /// One of [`CALL`], [`PLACE`], [`TRY`], [`OPEN`], [`ZERO`], [`DONE`]; an integer, so that no value is undefined behaviour.
    pub op: u64,
    /// Operands.
    pub a: [u64; 7],
}

/// Makes the system call `a[0]` with arguments `a[1..]`; an error ends the script.
pub const CALL: u64 = 1;
/// Like [`CALL`], and it is an error too (`EEXIST`) when the result is not `a[1]`: kernels before Linux 4.17 take
/// `MAP_FIXED_NOREPLACE` for a wish.
pub const PLACE: u64 = 6;
/// Like [`CALL`], but an error is ignored.
pub const TRY: u64 = 2;
/// Like [`CALL`], and the result becomes the current descriptor.
pub const OPEN: u64 = 3;
/// Zeroes the bytes from address `a[0]` to `a[1]`.
pub const ZERO: u64 = 4;
/// The last step: makes the system call `a[0]` with the status (0 or a negative errno), the index of the step that
/// failed, and `a[1]`; the tracer takes over there.
pub const DONE: u64 = 5;

/// An argument that stands for the current descriptor.
pub const FD: u64 = 0xffff_ffff_ffff_00fd;
