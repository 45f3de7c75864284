//! The code that runs in a tracee right after execve(2), and the script it runs.

#[path = "../guest/script.rs"]
pub mod script;

/// The loader's machine code: position independent, entered at its first byte with a script's address as argument.
pub const IMAGE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/loader.bin"));
