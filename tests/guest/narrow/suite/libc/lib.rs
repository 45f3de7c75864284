//! libc, with the names of 64-bit calls for their 32-bit forms.
#![no_std]
#![allow(non_upper_case_globals)]

pub use real::*;

pub const SYS_newfstatat: c_long = SYS_fstatat64;
pub const SYS_fstat: c_long = SYS_fstat64;
pub const SYS_stat: c_long = SYS_stat64;
pub const SYS_lstat: c_long = SYS_lstat64;
pub const SYS_chown: c_long = SYS_chown32;
pub const SYS_lchown: c_long = SYS_lchown32;
pub const SYS_fchown: c_long = SYS_fchown32;
pub const SYS_mmap: c_long = SYS_mmap2;

/// What stat64 writes, where `stat` is the older structure.
#[cfg(feature = "wide")]
pub use real::stat64 as stat;
