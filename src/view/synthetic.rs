//! Host directories that stand in for directories only the guest has.
//!
//! A placeholder needs an inode that open, fstat, chdir and readdir agree on, that no other placeholder has, and
//! that exists without anything being made on the host. The tracer's own directories in /proc are all that: mode
//! 0555, one set for each of its threads, gone with it, and nothing a guest has business in. They stand in for
//! identity only: what is listed below a placeholder is what the table says, and nothing can be made there.

use crate::error::Failure;
use crate::path::HostPath;
use std::os::unix::fs::MetadataExt;

/// Directories of one thread that have an inode of their own and let everybody in.
const OF_A_THREAD: [&str; 3] = ["", "/attr", "/net"];
/// Threads that may be parked for their directories.
const LIMIT: usize = 256;
/// Bytes of stack of each; next to nothing of it is used.
const STACK: usize = 64 * 1024;

/// The supply.
#[derive(Debug, Default)]
pub struct StandIns {
    ready: Vec<HostPath>,
    taken: Vec<(u64, u64)>,
    /// What keeps the inodes from being dropped and numbered anew.
    held: Vec<std::fs::File>,
    threads: usize,
}

impl StandIns {
    /// Nothing is looked at before the first is needed.
    pub fn new() -> Self {
        Self::default()
    }

    /// A directory that no placeholder stands on yet; `guest` is named in the error.
    ///
    /// # Errors
    /// Without /proc, or when some hundreds of placeholders exist.
    pub fn next(&mut self, guest: &[u8]) -> Result<HostPath, Failure> {
        loop {
            while let Some(path) = self.ready.pop() {
                if self.hold(&path) {
                    return Ok(path);
                }
            }
            self.refill(guest)?;
        }
    }

    fn hold(&mut self, path: &HostPath) -> bool {
        use std::os::unix::ffi::OsStrExt;
        let Ok(file) = std::fs::File::open(std::ffi::OsStr::from_bytes(path.as_bytes())) else {
            return false;
        };
        let Ok(meta) = file.metadata() else { return false };
        let id = (meta.dev(), meta.ino());
        if !meta.is_dir() || self.taken.contains(&id) {
            return false;
        }
        self.taken.push(id);
        self.held.push(file);
        true
    }

    fn refill(&mut self, guest: &[u8]) -> Result<(), Failure> {
        let refuse = |why: std::io::Error| {
            Failure::new("make up the directory", &String::from_utf8_lossy(guest), why)
                .hint("bind a directory there, or mount /proc on the host")
        };
        let pid = std::process::id();
        let tid = if self.threads == 0 {
            pid
        } else if self.threads < LIMIT {
            let (send, receive) = std::sync::mpsc::channel();
            crate::sys::thread::spawn(STACK, move || {
                // The receiver outlives this: it waits for the number.
                if send.send(nix::unistd::gettid().as_raw().unsigned_abs()).is_ok() {
                    loop {
                        std::thread::park();
                    }
                }
            })
            .map_err(refuse)?;
            receive.recv().map_err(|e| refuse(std::io::Error::other(e)))?
        } else {
            return Err(refuse(std::io::Error::other("too many directories that the host does not have")));
        };
        self.threads += 1;
        if !std::path::Path::new(&format!("/proc/{pid}/task/{tid}")).exists() {
            return Err(refuse(std::io::Error::other("there is no /proc to take it from")));
        }
        self.ready = OF_A_THREAD
            .iter()
            .map(|d| HostPath::new(format!("/proc/{pid}/task/{tid}{d}").as_bytes()))
            .collect();
        Ok(())
    }
}
