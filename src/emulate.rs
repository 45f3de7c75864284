//! What a guest is told that the kernel would not say.

pub mod hard_links;
pub mod identity;
pub mod newer;
pub mod ports;
pub mod proc;
pub mod root;
pub mod uname;

use crate::config::{Config, HardLinks, KernelNames, Qemu};

/// What a session's options change in what the guest is told.
#[derive(Debug, Default)]
pub struct Emulation {
    /// What uname(2) says.
    pub kernel: Option<KernelNames>,
    /// What the files of /proc that name the kernel say.
    pub kernel_files: uname::KernelFiles,
    /// What runs programs of another machine.
    pub qemu: Option<Qemu>,
    /// Where the host refuses hard links, symbolic ones are made.
    pub hard_links: HardLinks,
    /// Which port of the host is which of the guest's.
    pub ports: Option<ports::PortMap>,
}

impl Emulation {
    /// Whether symbolic links may stand for hard ones.
    pub fn symlinks(&self) -> bool {
        self.hard_links == HardLinks::Symlinked
    }

    /// What `config` asks for.
    pub fn new(config: &Config) -> Self {
        Self {
            kernel: config.kernel.clone(),
            kernel_files: config.kernel.as_ref().map(uname::KernelFiles::new).unwrap_or_default(),
            qemu: config.qemu.clone(),
            hard_links: config.hard_links,
            ports: config.ports.clone().map(ports::PortMap::new),
        }
    }
}
