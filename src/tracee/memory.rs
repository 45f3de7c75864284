//! Reading and writing a tracee's memory: process_vm_readv(2), and /proc/PID/mem where that is refused.

use crate::cost::{self, Kind};
use crate::path::PATH_MAX;
use crate::sys::{Optional, avoids};
use nix::sys::uio::{RemoteIoVec, process_vm_readv, process_vm_writev};
use nix::unistd::Pid;
use std::io::{IoSlice, IoSliceMut};
use std::os::unix::fs::FileExt;
use syscalls::Errno;

/// Divides the size of every kernel's pages.
const PAGE: u64 = prun_arch::layout::PAGE;

/// Reads at most `out.len()` bytes, as many as are readable in a row; 0 where none is.
pub fn read_some(tid: i32, at: u64, out: &mut [u8]) -> usize {
    let len = out.len();
    // In pieces that end with a page: the call stops at the first piece it cannot read whole.
    let mut pieces = smallvec::SmallVec::<[RemoteIoVec; 4]>::new();
    let mut done = 0;
    while done < len {
        let Some(base) = at.checked_add(done as u64) else { break };
        let piece = usize::try_from(PAGE - base % PAGE).map_or(len - done, |n| n.min(len - done));
        pieces.push(RemoteIoVec { base: base as usize, len: piece });
        done += piece;
        if pieces.len() == 512 {
            break;
        }
    }
    if !avoids(Optional::ReadMemory) {
        cost::count(Kind::Memory, 1);
        let local = &mut [IoSliceMut::new(&mut out[..done])];
        match process_vm_readv(Pid::from_raw(tid), local, &pieces) {
            Ok(n) => return n,
            // /proc/PID/mem would read what the guest itself may not.
            Err(nix::errno::Errno::EFAULT) => {
                let room = write_only(tid, at).min(done as u64) as usize;
                return forced(tid, at, &mut out[..room]);
            }
            Err(_) => {}
        }
    }
    forced(tid, at, &mut out[..done])
}

/// Reads what is mapped, whatever its protection; as many bytes as there are in a row.
fn forced(tid: i32, at: u64, out: &mut [u8]) -> usize {
    if out.is_empty() {
        return 0;
    }
    let Ok(file) = std::fs::File::open(format!("/proc/{tid}/mem")) else {
        // No /proc: a word at a time.
        return crate::tracer::ptrace::peek(tid, at, out);
    };
    cost::count(Kind::Memory, 2);
    let mut got = 0;
    while got < out.len() {
        let from = at.wrapping_add(got as u64);
        let piece = usize::try_from(PAGE - from % PAGE).map_or(out.len() - got, |n| n.min(out.len() - got));
        cost::count(Kind::Memory, 1);
        match file.read_at(&mut out[got..got + piece], from) {
            Ok(0) | Err(_) => break,
            Ok(n) => got += n,
        }
    }
    got
}

/// Bytes from `at` on that may be written and, as the mapping has it, not be read: the CPU cannot tell the difference,
/// and so the kernel reads them for the guest, but not for anybody else.
fn write_only(tid: i32, at: u64) -> u64 {
    let Ok(maps) = crate::sys::read_text(&format!("/proc/{tid}/maps")) else { return 0 };
    let number = |text| u64::from_str_radix(text, 16).unwrap_or(0);
    let covering = maps.lines().find_map(|line| {
        let (range, rest) = line.split_once(' ')?;
        let (from, to) = range.split_once('-')?;
        (number(from)..number(to)).contains(&at).then(|| (number(to), rest))
    });
    match covering {
        Some((end, rights)) if rights.starts_with("-w") => end - at,
        _ => 0,
    }
}

/// Reads exactly `out.len()` bytes, also of memory that may only be executed.
///
/// # Errors
/// `EFAULT` where nothing is mapped.
pub fn read_code(tid: i32, at: u64, out: &mut [u8]) -> Result<(), Errno> {
    if read(tid, at, out).is_ok() || forced(tid, at, out) == out.len() { Ok(()) } else { Err(Errno::EFAULT) }
}

/// Whether process_vm_readv(2) is allowed, and the bytes are there.
pub fn readable(tid: i32, at: u64, out: &mut [u8]) -> bool {
    let remote = [RemoteIoVec { base: at as usize, len: out.len() }];
    if avoids(Optional::ReadMemory) {
        return false;
    }
    cost::count(Kind::Memory, 1);
    process_vm_readv(Pid::from_raw(tid), &mut [IoSliceMut::new(out)], &remote).is_ok()
}

/// Reads exactly `out.len()` bytes.
///
/// # Errors
/// `EFAULT` where the guest may not read them itself.
pub fn read(tid: i32, at: u64, out: &mut [u8]) -> Result<(), Errno> {
    let mut got = 0;
    while got < out.len() {
        match read_some(tid, at.wrapping_add(got as u64), &mut out[got..]) {
            0 => return Err(Errno::EFAULT),
            n => got += n,
        }
    }
    Ok(())
}

/// A string of the guest.
#[derive(Debug, PartialEq, Eq)]
pub enum Text {
    /// Its length in bytes, without the NUL.
    Of(usize),
    /// No NUL within `PATH_MAX` bytes.
    TooLong,
    /// Part of it cannot be read.
    Fault,
}

/// Reads a path: at most [`PATH_MAX`] bytes, its NUL included.
pub fn read_path(tid: i32, at: u64, out: &mut [u8; PATH_MAX]) -> Text {
    let mut got = 0;
    // Most paths are short: 256 bytes first, then the rest.
    for want in [256, PATH_MAX] {
        while got < want {
            let n = read_some(tid, at.wrapping_add(got as u64), &mut out[got..want]);
            if let Some(end) = memchr::memchr(0, &out[got..got + n]) {
                return Text::Of(got + end);
            }
            if n == 0 {
                return Text::Fault;
            }
            got += n;
        }
    }
    Text::TooLong
}

/// Writes all of `bytes`.
///
/// # Errors
/// `EFAULT` where the guest may not write them itself.
pub fn write(tid: i32, at: u64, bytes: &[u8]) -> Result<(), Errno> {
    if bytes.is_empty() {
        return Ok(());
    }
    let remote = [RemoteIoVec { base: at as usize, len: bytes.len() }];
    if avoids(Optional::WriteMemory) {
        return poke(tid, at, bytes);
    }
    cost::count(Kind::Memory, 1);
    match process_vm_writev(Pid::from_raw(tid), &[IoSlice::new(bytes)], &remote) {
        Ok(n) if n == bytes.len() => Ok(()),
        Ok(_) | Err(nix::errno::Errno::EFAULT) => Err(Errno::EFAULT),
        Err(_) => poke(tid, at, bytes),
    }
}

/// Writes over memory that the guest itself may not write, such as its program's text: /proc/PID/mem does.
///
/// # Errors
/// `EFAULT` where nothing is mapped.
pub fn poke(tid: i32, at: u64, bytes: &[u8]) -> Result<(), Errno> {
    // open, pwrite, close
    cost::count(Kind::Memory, 3);
    let open = std::fs::OpenOptions::new().write(true).open(format!("/proc/{tid}/mem"));
    match open.and_then(|file| file.write_all_at(bytes, at)) {
        Ok(()) => Ok(()),
        Err(_) => crate::tracer::ptrace::poke(tid, at, bytes),
    }
}

/// Reads a little-endian word.
///
/// # Errors
/// `EFAULT`.
pub fn word(tid: i32, at: u64) -> Result<u64, Errno> {
    let mut bytes = [0; 8];
    read(tid, at, &mut bytes)?;
    Ok(u64::from_ne_bytes(bytes))
}

/// Reads a word of a 32-bit program.
///
/// # Errors
/// `EFAULT`.
pub fn word32(tid: i32, at: u64) -> Result<u32, Errno> {
    let mut bytes = [0; 4];
    read(tid, at, &mut bytes)?;
    Ok(u32::from_ne_bytes(bytes))
}
