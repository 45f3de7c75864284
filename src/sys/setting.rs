//! Settings of the host's that change what the kernel answers about files (`/proc/sys/fs`, proc(5)).

use std::sync::OnceLock;

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting {
    /// Who may make hard links to which files.
    HardLinks,
    /// Who may follow which links in folders where everybody may make some.
    Links,
    /// Who may open which files with `O_CREAT` there.
    Regular,
    /// The same of named pipes.
    Fifos,
}

const COUNT: usize = 4;
static KNOWN: [OnceLock<u32>; COUNT] = [const { OnceLock::new() }; COUNT];

impl Setting {
    fn name(self) -> &'static str {
        match self {
            Self::HardLinks => "protected_hardlinks",
            Self::Links => "protected_symlinks",
            Self::Regular => "protected_regular",
            Self::Fifos => "protected_fifos",
        }
    }

    /// Its value, as it was when it was first asked for; 0 where this kernel has no such setting.
    pub fn level(self) -> u32 {
        let read = || std::fs::read_to_string(format!("/proc/sys/fs/{}", self.name()));
        let level = || read().ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0);
        *KNOWN[self as usize].get_or_init(level)
    }
}
