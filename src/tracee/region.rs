//! The memory prun shares with its tracees: slots and scratch, laid out by [`prun_arch::layout`].
//!
//! It is a memfd mapped at the same address here and, read-only, in every 64-bit tracee; 32-bit ones have part of it
//! further down. What the tracer puts into a slot
//! is there for the kernel to read without a further system call, and no thread of the guest can change it in
//! between. Where the tracee could not map it, its slots are private memory of its own and are written by
//! process_vm_writev(2).
#![allow(unsafe_code)]

use super::memory;
use crate::sys::{Optional, avoids};
use crate::tracer::Code;
use prun_arch::layout::{self, SCRATCH, SCRATCH_LEN, SLOT_DATA, SLOT_LEN, SLOTS, SlotHead};
use prun_arch::{NARROW, NARROW_START, PARK, PARK_START, TRAMPOLINE, WINDOW};
use std::fs::File;
use std::io::Error;
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::sync::atomic::{AtomicU64, Ordering};
use syscalls::Errno;

/// What is in the code page: offset and bytes.
pub const CODE: [(u64, &[u8]); 3] = [(0, &TRAMPOLINE), (PARK_START, &PARK), (NARROW_START, &NARROW)];

/// Where a tracee has prun's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Home {
    /// Its first address.
    pub window: u64,
    /// It is the tracee's own memory instead of shared with the tracer: for all tasks of an [`Mm`](super::Mm), since it
    /// is settled before a program's first instruction.
    pub private: bool,
}

impl Default for Home {
    /// As processes have it that the tracer has made, before they execute anything.
    fn default() -> Self {
        Self { window: WINDOW, private: false }
    }
}

impl Home {
    /// Whether it has a slot of this number: 32-bit programs have fewer.
    pub fn has_slot(self, index: u32) -> bool {
        !layout::is_low(self.window) || u64::from(index) < layout::LOW_SLOT_COUNT
    }

    /// Where the scratch area begins.
    fn scratch(self) -> u64 {
        self.window + if layout::is_low(self.window) { layout::LOW_SCRATCH } else { SCRATCH }
    }
}

/// The region, mapped.
#[derive(Debug)]
pub struct Region {
    /// What tracees map; `None` where the host has no file for it.
    file: Option<File>,
    backing: Backing,
    code: Code,
    scratch: AtomicU64,
}

/// What is behind the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Backing {
    /// Memory, or nothing.
    Memory,
    /// A file system that may be full: a page for which there is no room, first written to through a mapping, is a
    /// SIGBUS, so whatever is going to be used is written to the file first.
    Disk,
}

/// Parts for which a file system must have room, or it is not used: the code, and the slots of some tasks.
const AT_FIRST: [(u64, u64); 2] = [(0, layout::RESIDENT + layout::RESIDENT_LEN), (SLOTS, 64 * SLOT_LEN)];

impl Region {
    /// Makes the memory and maps it at [`WINDOW`]. Children of fork(2) have the mapping too.
    ///
    /// # Errors
    /// When the kernel has no memory or something is mapped there.
    pub fn new() -> Result<Self, Error> {
        let (file, backing) = match memory_file().or_else(disk_file) {
            Some((file, backing)) => (Some(file), backing),
            None => (None, Backing::Memory),
        };
        let (shared, fd) = match &file {
            Some(file) => (libc::MAP_SHARED, file.as_raw_fd()),
            None => (libc::MAP_SHARED | libc::MAP_ANONYMOUS, -1),
        };
        if let Some(file) = &file {
            for (at, code) in CODE {
                file.write_all_at(code, at)?;
            }
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
        Ok(Self { file, backing, code, scratch: AtomicU64::new(0) })
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

    /// Sees to it that there is room for a part that is going to be used.
    fn reserve(&self, at: u64, len: u64) -> bool {
        match (&self.file, self.backing) {
            (Some(file), Backing::Disk) => file.write_all_at(&vec![0; len as usize], at).is_ok(),
            _ => true,
        }
    }

    /// Whether there is room for a slot that no task has.
    pub fn reserve_slot(&self, index: u32) -> bool {
        self.reserve(SLOTS + u64::from(index) * SLOT_LEN, SLOT_LEN)
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

    /// From now on nobody can write to the memory but by the mapping that is made already: a guest could open the
    /// tracer's descriptor. Where the kernel is older (Linux 5.1), or the file none of its own, it stays as it is.
    pub fn seal(&self) {
        /// `F_SEAL_FUTURE_WRITE` of `<linux/fcntl.h>`.
        const FUTURE_WRITE: i32 = 0x10;
        if let Some(file) = &self.file {
            let seals = FUTURE_WRITE | libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_SEAL;
            // SAFETY: fcntl(2) with integers, on a descriptor that is open.
            let done = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, seals) };
            if done < 0 {
                crate::note!(2, "the memory shared with the guest is not sealed: {}", Error::last_os_error());
            }
        }
    }

    /// Copies what lies at an address of the region; false where that is outside of it.
    pub fn get(at: u64, out: &mut [u8]) -> bool {
        let inside = at >= WINDOW + SLOTS
            && at.checked_add(out.len() as u64).is_some_and(|end| end <= WINDOW + layout::LEN);
        if inside {
            // SAFETY: the range lies in the mapping that lasts as long as the process.
            unsafe { std::ptr::copy_nonoverlapping(at as *const u8, out.as_mut_ptr(), out.len()) }
        }
        inside
    }

    /// Writes to the region at its own address.
    pub fn put(at: u64, bytes: &[u8]) {
        assert!(at >= WINDOW + SLOTS && at + bytes.len() as u64 <= WINDOW + layout::LEN, "inside the region");
        // SAFETY: the range lies in the writable mapping, which lasts as long as the process; tracees only read it.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), at as *mut u8, bytes.len()) }
    }

    /// Puts `bytes` where they live until their execve(2) is over; where the task `tid` finds them.
    ///
    /// # Errors
    /// `E2BIG` if that is too much, `EFAULT` when the tracee's own memory cannot be written.
    pub fn put_scratch(&self, tid: i32, home: Home, bytes: &[u8]) -> Result<u64, Errno> {
        let offset = self.scratch(bytes.len()).ok_or(Errno::E2BIG)?;
        let at = home.scratch() + offset;
        if home.private {
            memory::write(tid, at, bytes)?;
        } else {
            Self::put(WINDOW + SCRATCH + offset, bytes);
        }
        Ok(at)
    }

    /// An offset in the scratch area, taken from a ring: by the time it comes round, the call that used it has long read
    /// it. `None` if it is too much.
    fn scratch(&self, len: usize) -> Option<u64> {
        let len = (len as u64).next_multiple_of(16);
        if len > SCRATCH_LEN / 2 {
            return None;
        }
        let at = take(&self.scratch, len);
        self.reserve(SCRATCH + at, len).then_some(at)
    }
}

/// The next `len` bytes of the ring. The counter only grows; a piece that would go over the ring's end starts at its
/// beginning. Threads that take at the same time get different pieces, because each takes what it has moved the counter
/// over; nothing else is published by it, so no order is needed.
fn take(counter: &AtomicU64, len: u64) -> u64 {
    let mut from = counter.load(Ordering::Relaxed);
    loop {
        let offset = from % SCRATCH_LEN;
        let skipped = if offset + len > SCRATCH_LEN { SCRATCH_LEN - offset } else { 0 };
        let next = from + skipped + len;
        match counter.compare_exchange_weak(from, next, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => return (from + skipped) % SCRATCH_LEN,
            Err(now) => from = now,
        }
    }
}

const MEMORY_FLAGS: u32 = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;

/// A file of memory: memfd_create(2) (Linux 3.17).
fn memory_file() -> Option<(File, Backing)> {
    use nix::sys::resource::{Resource, getrlimit};
    // The limit counts for memory files too, and who passes it gets SIGXFSZ.
    if getrlimit(Resource::RLIMIT_FSIZE).is_ok_and(|(soft, _)| soft < layout::LEN) || avoids(Optional::Memfd)
    {
        return None;
    }
    // SAFETY: the name ends in a NUL.
    let fd = unsafe { libc::syscall(libc::SYS_memfd_create, c"prun".as_ptr(), MEMORY_FLAGS) };
    if fd < 0 {
        return None;
    }
    // SAFETY: the call has just made this descriptor.
    let file = unsafe { File::from_raw_fd(fd as i32) };
    file.set_len(layout::LEN).is_ok().then_some((file, Backing::Memory))
}

/// A file that is deleted at once: the first with room for a few tasks that may be mapped to be executed, else the
/// first with room.
fn disk_file() -> Option<(File, Backing)> {
    use nix::sys::resource::{Resource, getrlimit};
    if getrlimit(Resource::RLIMIT_FSIZE).is_ok_and(|(soft, _)| soft < layout::LEN) {
        return None;
    }
    let dirs = [Some("/dev/shm".into()), std::env::var_os("PRUN_TMP_DIR"), Some(std::env::temp_dir().into())];
    let mut second = None;
    for dir in dirs.into_iter().flatten() {
        let Some(file) = deleted_file(std::path::Path::new(&dir)) else { continue };
        if executable(&file) {
            return Some((file, Backing::Disk));
        }
        second.get_or_insert((file, Backing::Disk));
    }
    second
}

fn deleted_file(dir: &std::path::Path) -> Option<File> {
    let path = dir.join(format!(".prun-{:016x}", crate::sys::random()));
    let file = File::options().read(true).write(true).create_new(true).mode(0o600).open(&path).ok()?;
    std::fs::remove_file(&path).ok()?;
    let room = AT_FIRST.iter().all(|&(at, len)| file.write_all_at(&vec![0; len as usize], at).is_ok());
    (room && file.set_len(layout::LEN).is_ok()).then_some(file)
}

/// Whether the host lets the file be mapped to be executed.
fn executable(file: &File) -> bool {
    let (len, prot) = (layout::CODE_LEN as usize, libc::PROT_READ | libc::PROT_EXEC);
    // SAFETY: a new mapping where the kernel likes, removed before anybody knows of it.
    unsafe {
        let got = libc::mmap(std::ptr::null_mut(), len, prot, libc::MAP_SHARED, file.as_raw_fd(), 0);
        got != libc::MAP_FAILED && libc::munmap(got, len) == 0
    }
}

/// One task's slot, being filled for one call.
#[derive(Debug)]
pub struct Slot {
    tid: i32,
    /// Where it is in the tracee.
    base: u64,
    /// Where it is here.
    local: u64,
    used: u64,
    private: bool,
}

impl Slot {
    /// Slot `index` of the region, empty.
    pub fn new(tid: i32, index: u32, home: Home) -> Self {
        let offset = SLOTS + u64::from(index) * SLOT_LEN;
        let (base, local) = (home.window + offset, WINDOW + offset);
        Self { tid, base, local, used: SLOT_DATA, private: home.private }
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
        let at = self.used;
        let end = self.used + (bytes.len() as u64).next_multiple_of(16);
        if end > SLOT_LEN {
            return Err(Errno::ENAMETOOLONG);
        }
        self.store(at, bytes)?;
        self.used = end;
        Ok(self.base + at)
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
        self.store(0, &bytes)
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
            unsafe { std::ptr::copy_nonoverlapping(self.local as *const u8, bytes.as_mut_ptr(), bytes.len()) }
        }
        let mut words = bytes.chunks_exact(8).map(|c| c.try_into().map_or(0, u64::from_ne_bytes));
        let mut head = SlotHead::default();
        head.args.iter_mut().zip(&mut words).for_each(|(a, w)| *a = w);
        head.ret = words.next().unwrap_or(0);
        Ok(head)
    }

    fn store(&self, offset: u64, bytes: &[u8]) -> Result<(), Errno> {
        if self.private {
            return memory::write(self.tid, self.base + offset, bytes);
        }
        Region::put(self.local + offset, bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_of_the_ring_are_whole_and_nobody_elses() {
        let counter = AtomicU64::new(0);
        let (threads, each, len) = (4u64, 500u64, 1024u64);
        // Less than the ring together, so that no piece may be given twice; of odd lengths, so that the end is crossed.
        let taken: Vec<(u64, u64)> = std::thread::scope(|scope| {
            let all: Vec<_> = (0..threads)
                .map(|t| {
                    let counter = &counter;
                    let piece = move |i| {
                        let len = len + 16 * (i % 7 + t);
                        (take(counter, len), len)
                    };
                    scope.spawn(move || (0..each).map(piece).collect::<Vec<_>>())
                })
                .collect();
            all.into_iter().flat_map(|t| t.join().unwrap()).collect()
        });
        let mut sorted = taken.clone();
        sorted.sort_unstable();
        assert!(sorted.windows(2).all(|w| w[0].0 + w[0].1 <= w[1].0), "pieces overlap");
        assert!(sorted.iter().all(|&(at, len)| at + len <= SCRATCH_LEN));
        let near = AtomicU64::new(SCRATCH_LEN * 3 - 16);
        assert_eq!((take(&near, 32), take(&near, 16)), (0, 32));
    }
}
