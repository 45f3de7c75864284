//! What differs by CPU: registers, system call conventions, and the code that prun puts into a tracee.
//!
//! Each architecture is one file that defines the same items, chosen here; a missing one does not compile. Nothing outside
//! this crate asks what CPU it is for. A port to another one provides:
//!
//! * in [`abi`]: its [`abi::Abi`], with the number of each call as data, and that in [`ABI`] and [`ABIS`]. Names of calls
//!   are the same everywhere. The headers that the test compares the numbers with.
//! * `src/CPU.rs`: [`Regs`], which is the structure that ptrace(2) reads and writes and whatever has to be set apart from it,
//!   with all its methods. The questions behind them: where are number, arguments, result, and which of them is the
//!   kernel's own copy ([`Regs::set_number`], [`Regs::skip`], [`Regs::put_back`], [`Regs::again`]); what does a restart
//!   look like to the tracer; what does a stop not show ([`Regs::take_hidden`]); which register reaches injected code
//!   past the end of execve(2) ([`Regs::start`]).
//! * How a rewritten call stops only once: [`ONE_STOP`] says for which arguments that is exact, [`TRAMPOLINE`] and
//!   [`NARROW`] are the code that it returns into, if any. An architecture where no argument can be put back says so with
//!   `[false; 6]` and works with two stops.
//! * [`PARK`], the machine code in which a task waits for another tracer.
//! * Addresses: [`WINDOW`], [`dyn_base`], [`TASK_END`] and their 32-bit kin ([`LOW_WINDOWS`], …).
//! * `src/CPU/probe.rs`, the call by which the doctor sees whether the trampoline works; `src/CPU/resident.rs`, code that
//!   answers calls in the tracee, or the same items saying that there is none ([`resident::ANY`]); `src/CPU/harness.rs`,
//!   what the tests' guest program cannot say in Rust.
//! * `guest/CPU.rs`, the entry point and the system call of the loader, and in `build.rs` what its compiler has to be told
//!   and what has to be proven about its machine code.
//!
//! Structures that the C library has as the kernel does (`stat`, socket addresses, flags of open(2)) are taken from there.
//!
//! # 32-bit programs
//!
//! [`ABIS`] lists whose calls are translated, the native one first. A second needs: its list of numbers, [`narrow`], beside
//! [`abi::i386`] and [`abi::arm`], with the forms of calls that exist more than once; [`ELF_MACHINE_32`]; [`LOW_WINDOWS`] for
//! prun's memory below 4 GiB; and of [`Regs`] the arguments by ABI, [`Regs::apparent_abi`], [`Regs::is_32bit`], what ptrace(2)
//! has of such a task ([`Regs::took`], [`Regs::given`]), and a way back from the trampoline, if any. On x86-64 any task may
//! run 64-bit code, so that the loader, the trampoline of 32-bit code and the parking place are 64-bit; aarch64 cannot do
//! that, and has a loader ([`Regs::loader`]) and a parking place in the other machine code.

#[cfg_attr(target_arch = "x86_64", path = "x86_64.rs")]
#[cfg_attr(target_arch = "aarch64", path = "aarch64.rs")]
mod cpu;

pub mod abi;
mod complex;
#[cfg(test)]
mod headers;
pub mod layout;
pub mod loader;

pub use abi::Sysno;
pub use cpu::*;

/// What a call has left in the registers that a program relies on: see [`probe::call`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left {
    /// What it returned.
    pub result: i64,
    /// The others hold what the kernel leaves in them, and the stack pointer has not moved.
    pub intact: bool,
}
