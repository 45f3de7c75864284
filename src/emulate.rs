//! What a guest is told that the kernel would not say.

pub mod newer;
pub mod proc;
pub mod uname;

use crate::config::{Config, KernelNames};

/// What a session's options change in what the guest is told.
#[derive(Debug, Default)]
pub struct Emulation {
    /// What uname(2) says.
    pub kernel: Option<KernelNames>,
}

impl Emulation {
    /// What `config` asks for.
    pub fn new(config: &Config) -> Self {
        Self { kernel: config.kernel.clone() }
    }
}
