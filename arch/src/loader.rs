//! The code that runs in a tracee right after execve(2), and the script it runs.

#[path = "../guest/script.rs"]
pub mod script;

/// The loader's machine code: position independent, entered at its first byte with a script's address as argument.
pub const IMAGE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/loader.bin"));

/// What a program runs of it: [`IMAGE`], or, where 32-bit programs cannot run that, another of the same scripts.
#[derive(Clone, Copy, Debug)]
pub struct Loader {
    /// Its code.
    pub image: &'static [u8],
    /// The ABI of the calls that it makes.
    pub abi: crate::abi::Abi,
}
