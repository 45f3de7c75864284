//! Code that answers calls in the tracee: there is none for this CPU, and so no call site is ever changed.
//!
//! Every item is here that the tracer needs to ask, with the answers of an architecture that serves nothing: no call
//! ([`serves`], [`stub`]), no address ([`stub_of`], [`PART`]), no page ([`pages`]).

use super::Regs;
pub use crate::complex::{Complex, add};

/// Where the pages would be; [`PART`] says that there are none.
pub const AT: u64 = 0x2_0000;
/// Bytes of the part from which calls are allowed: none.
pub const PART: u64 = 0;
/// Stubs.
pub const COUNT: usize = 0;
/// Whether there is such code for this CPU.
pub const ANY: bool = false;
/// Flags of open(2) with which no call from here passes; none comes from here.
pub const O_CHANGES: u32 = u32::MAX;
/// Bytes of a call site.
pub const SITE_LEN: usize = 4;

/// The pages: none.
pub fn pages(_complex: &Complex) -> Vec<u8> {
    vec![]
}

/// Whether a stub would make this call without a stop: never.
pub fn serves(_number: u32, _args: &[u64; 6], _path: &[u8], _complex: &Complex) -> bool {
    false
}

/// The bytes of a call site for `number`: no stub serves any.
pub fn site(_number: u32) -> Option<[u8; SITE_LEN]> {
    None
}

/// The `nth` stub for `number`: there is none.
pub fn stub(_number: u32, _nth: usize) -> Option<usize> {
    None
}

/// Where stub `index` begins, and its code: nowhere, and empty.
pub fn code(_index: usize) -> (u64, &'static [u8]) {
    (AT, &[])
}

/// Where the address is that stub `index` returns to; no stub has one.
pub fn return_at(_index: usize) -> u64 {
    AT
}

/// What is written over a site that stub `index` serves: what was there, were there one (`svc #0`).
pub fn jump(_index: usize) -> [u8; SITE_LEN] {
    super::NATIVE_CALL
}

/// The stub that the task is in: never any.
pub fn stub_of(_regs: &Regs) -> Option<usize> {
    None
}

/// Whether the fault that a task has come to is a stub's: never.
pub fn sidestep(_regs: &mut Regs) -> bool {
    false
}

/// Gives a task in a stub what it would have without: none is ever in one.
pub fn fix_up(_regs: &mut Regs, _ret: u64) {}
