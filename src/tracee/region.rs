//! The memory prun shares with its tracees: slots and scratch, laid out by [`prun_arch::layout`].
//!
//! It is a memfd mapped at the same address here and, read-only, in every tracee: what the tracer puts into a slot
//! is there for the kernel to read without a further system call, and no thread of the guest can change it in
//! between. Where the tracee could not map it, its slots are private memory of its own and are written by
//! process_vm_writev(2).
#![allow(unsafe_code)]

use super::memory;
use crate::sys::{Optional, avoids};
use crate::tracer::Code;
use prun_arch::layout::{self, SCRATCH, SCRATCH_LEN, SLOT_DATA, SLOT_LEN, SLOTS, SlotHead};
use prun_arch::{PARK, PARK_START, TRAMPOLINE, WINDOW};
use std::fs::File;
use std::io::Error;
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::sync::atomic::{AtomicU64, Ordering};
use syscalls::Errno;

/// The region, mapped.
#[derive(Debug)]
pub struct Region {
    /// What tracees map; `None` where the host has no file for it.
    file: Option<File>,
    code: Code,
    scratch: AtomicU64,
}

impl Region {
    /// Makes the memory and maps it at [`WINDOW`]. Children of fork(2) have the mapping too.
    ///
    /// # Errors
    /// When the kernel has no memory or something is mapped there.
    pub fn new() -> Result<Self, Error> {
        let file = memory_file();
        let (shared, fd) = match &file {
            Some(file) => (libc::MAP_SHARED, file.as_raw_fd()),
            None => (libc::MAP_SHARED | libc::MAP_ANONYMOUS, -1),
        };
        if let Some(file) = &file {
            file.set_len(layout::LEN)?;
            file.write_all_at(&TRAMPOLINE, 0)?;
            file.write_all_at(&PARK, PARK_START)?;
        }
        let map = |at: u64, len: u64, prot| {
            // SAFETY: a new mapping at an address where, as MAP_FIXED_NOREPLACE or the check below has it, nothing is.
            let got = unsafe {
                libc::mmap(
                    (WINDOW + at) as *mut _,
                    len as usize,
                    prot,
                    shared | libc::MAP_FIXED_NOREPLACE,
                    fd,
                    at as libc::off_t,
                )
            };
            if got == libc::MAP_FAILED {
                return Err(Error::last_os_error());
            }
            if got as u64 != WINDOW + at {
                return Err(Error::from_raw_os_error(libc::EEXIST));
            }
            Ok(())
        };
        // A host may forbid to execute such memory (SELinux; a file on a noexec mount).
        let code = match map(0, layout::CODE_LEN, libc::PROT_READ | libc::PROT_EXEC) {
            Ok(()) if file.is_some() => Code::Shared,
            Ok(()) => Code::None,
            Err(e) if e.raw_os_error() == Some(libc::EEXIST) => return Err(e),
            Err(_) => Code::None,
        };
        map(SLOTS, layout::LEN - SLOTS, libc::PROT_READ | libc::PROT_WRITE)?;
        Ok(Self { file, code, scratch: AtomicU64::new(0) })
    }

    /// Whether the trampoline could be mapped.
    pub fn code(&self) -> Code {
        self.code
    }

    /// The descriptor, for tracees to open through /proc.
    /// −1 where there is none: then every tracee has slots of its own.
    pub fn fd(&self) -> i32 {
        self.file.as_ref().map_or(-1, AsRawFd::as_raw_fd)
    }

    /// Writes the code that answers calls in tracees, before the first of them maps it.
    ///
    /// # Errors
    /// When the memory cannot be had.
    pub fn set_resident(&self, pages: &[u8]) -> Result<(), Error> {
        match &self.file {
            Some(file) => file.write_all_at(pages, layout::RESIDENT),
            None => Ok(()),
        }
    }

    /// Writes to the region at its own address.
    pub fn put(at: u64, bytes: &[u8]) {
        assert!(at >= WINDOW + SLOTS && at + bytes.len() as u64 <= WINDOW + layout::LEN, "inside the region");
        // SAFETY: the range lies in the writable mapping, which lasts as long as the process; tracees only read it.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), at as *mut u8, bytes.len()) }
    }

    /// Scratch memory for `len` bytes that live until their execve(2) is over; `None` if that is too much.
    ///
    /// Taken from a ring: by the time it comes round, the call that used it has long read it.
    pub fn scratch(&self, len: usize) -> Option<u64> {
        let len = (len as u64).next_multiple_of(16);
        if len > SCRATCH_LEN / 2 {
            return None;
        }
        // An offset that only grows; a piece that would go over the ring's end starts at its beginning.
        let mut from = self.scratch.load(Ordering::Relaxed);
        let at = loop {
            let offset = from % SCRATCH_LEN;
            let skipped = if offset + len > SCRATCH_LEN { SCRATCH_LEN - offset } else { 0 };
            let next = from + skipped + len;
            match self.scratch.compare_exchange_weak(from, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => break (from + skipped) % SCRATCH_LEN,
                Err(now) => from = now,
            }
        };
        Some(WINDOW + SCRATCH + at)
    }
}

/// A file of memory without a name: memfd_create(2) (Linux 3.17), else a file that is deleted at once.
fn memory_file() -> Option<File> {
    use nix::sys::resource::{Resource, getrlimit};
    // The limit counts for memory files too, and who passes it gets SIGXFSZ.
    if getrlimit(Resource::RLIMIT_FSIZE).is_ok_and(|(soft, _)| soft < layout::LEN) {
        return None;
    }
    if !avoids(Optional::Memfd) {
        // SAFETY: the name ends in a NUL.
        let fd = unsafe { libc::syscall(libc::SYS_memfd_create, c"prun".as_ptr(), libc::MFD_CLOEXEC) };
        if fd >= 0 {
            // SAFETY: the call has just made this descriptor.
            return Some(unsafe { File::from_raw_fd(fd as i32) });
        }
    }
    let dirs = [Some("/dev/shm".into()), std::env::var_os("PRUN_TMP_DIR"), Some(std::env::temp_dir().into())];
    dirs.into_iter().flatten().find_map(|dir| {
        let path = std::path::Path::new(&dir).join(format!(".prun-{:016x}", crate::sys::random()));
        let file = File::options().read(true).write(true).create_new(true).mode(0o600).open(&path).ok()?;
        std::fs::remove_file(&path).ok()?;
        Some(file)
    })
}

/// One task's slot, being filled for one call.
#[derive(Debug)]
pub struct Slot {
    tid: i32,
    base: u64,
    used: u64,
    private: bool,
}

impl Slot {
    /// Slot `index` of the region, empty.
    pub fn new(tid: i32, index: u32, private: bool) -> Self {
        Self { tid, base: WINDOW + SLOTS + u64::from(index) * SLOT_LEN, used: SLOT_DATA, private }
    }

    /// The slot's address, in the tracee.
    pub fn address(&self) -> u64 {
        self.base
    }

    /// Puts `bytes` into the slot and returns where the tracee finds them.
    ///
    /// # Errors
    /// `ENAMETOOLONG` when the slot is full, `EFAULT` when the tracee's own memory cannot be written.
    pub fn push(&mut self, bytes: &[u8]) -> Result<u64, Errno> {
        let at = self.base + self.used;
        let end = self.used + (bytes.len() as u64).next_multiple_of(16);
        if end > SLOT_LEN {
            return Err(Errno::ENAMETOOLONG);
        }
        self.store(at, bytes)?;
        self.used = end;
        Ok(at)
    }

    /// Writes the head.
    ///
    /// # Errors
    /// `EFAULT` as for [`Slot::push`].
    pub fn set_head(&self, head: &SlotHead) -> Result<(), Errno> {
        let mut bytes = [0; size_of::<SlotHead>()];
        for (chunk, word) in bytes.chunks_exact_mut(8).zip(head.args.iter().chain([&head.ret])) {
            chunk.copy_from_slice(&word.to_ne_bytes());
        }
        self.store(self.base, &bytes)
    }

    /// Reads the head.
    ///
    /// # Errors
    /// `EFAULT` as for [`Slot::push`].
    pub fn head(&self) -> Result<SlotHead, Errno> {
        let mut bytes = [0; size_of::<SlotHead>()];
        if self.private {
            memory::read(self.tid, self.base, &mut bytes)?;
        } else {
            // SAFETY: the slot lies in the mapping made by `Region::new`.
            unsafe { std::ptr::copy_nonoverlapping(self.base as *const u8, bytes.as_mut_ptr(), bytes.len()) }
        }
        let mut words = bytes.chunks_exact(8).map(|c| c.try_into().map_or(0, u64::from_ne_bytes));
        let mut head = SlotHead::default();
        head.args.iter_mut().zip(&mut words).for_each(|(a, w)| *a = w);
        head.ret = words.next().unwrap_or(0);
        Ok(head)
    }

    fn store(&self, at: u64, bytes: &[u8]) -> Result<(), Errno> {
        if self.private {
            return memory::write(self.tid, at, bytes);
        }
        Region::put(at, bytes);
        Ok(())
    }
}
