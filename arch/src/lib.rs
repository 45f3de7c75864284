//! What differs by CPU: registers, system call conventions, and the code that prun puts into a tracee.
//!
//! Each architecture is one file that defines the same items, chosen here; a missing one does not compile. A port
//! provides: [`Regs`] and the accessors on it, [`AUDIT_ARCH`], [`WINDOW`], [`TRAMPOLINE`] with its offsets, and the
//! system-call shim of the guest code under `guest/`.

#[cfg_attr(target_arch = "x86_64", path = "x86_64.rs")]
mod cpu;

pub mod layout;
pub mod loader;

pub use cpu::*;
