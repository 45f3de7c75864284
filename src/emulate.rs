//! What a guest is told that the kernel would not say.

pub mod proc;
