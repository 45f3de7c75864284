//! System calls without the C library, with every register that the kernel promises to keep compared afterwards.

use std::arch::asm;
use std::ffi::CStr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

pub use syscalls::Sysno;

/// How many calls came back with a changed register.
pub static CORRUPT: AtomicU64 = AtomicU64::new(0);

/// Anything that fits an argument register.
pub trait Word {
    fn word(self) -> usize;
}

macro_rules! words {
    ($($t:ty),*) => { $(impl Word for $t { fn word(self) -> usize { self as usize } })* };
}
words!(i32, u32, i64, u64, usize, isize);

impl<T: ?Sized> Word for *const T {
    fn word(self) -> usize {
        self.cast::<u8>() as usize
    }
}
impl<T: ?Sized> Word for *mut T {
    fn word(self) -> usize {
        self.cast::<u8>() as usize
    }
}
impl Word for &CStr {
    fn word(self) -> usize {
        self.as_ptr() as usize
    }
}

/// `sys!(openat, AT_FDCWD, path, flags)`: the result, or the negated error number.
#[macro_export]
macro_rules! sys {
    ($name:ident $(, $arg:expr)* $(,)?) => {{
        let mut args = [0usize; 6];
        let mut count = 0;
        $( args[count] = $crate::raw::Word::word($arg); count += 1; )*
        let _ = count;
        $crate::raw::call($crate::raw::Sysno::$name as usize, args)
    }};
}

/// Makes the call and compares: arguments, the return address in rcx, the flags in r11 (System V ABI, A.2.1; that rcx
/// and r11 hold these two is what SYSCALL of the processor does).
pub fn call(nr: usize, args: [usize; 6]) -> i64 {
    let mut result = nr;
    let mut after = args;
    let (rcx, r11, site, flags): (usize, usize, usize, usize);
    unsafe {
        asm!(
            "pushfq",
            "pop {flags}",
            "syscall",
            "2:",
            "lea {site}, [rip + 2b]",
            flags = out(reg) flags,
            site = out(reg) site,
            inout("rax") result,
            inout("rdi") after[0],
            inout("rsi") after[1],
            inout("rdx") after[2],
            inout("r10") after[3],
            inout("r8") after[4],
            inout("r9") after[5],
            out("rcx") rcx,
            out("r11") r11,
        );
    }
    let same = after == args && rcx == site && r11 == flags;
    if !same {
        CORRUPT.fetch_add(1, Relaxed);
        println!(
            "REGISTERS of call {nr}: arguments {args:x?} -> {after:x?}, rcx {rcx:x} at {site:x}, r11 {r11:x} flags {flags:x}"
        );
    }
    result as i64
}

/// Runs `body` in a child process made by fork(2), and gives its wait status.
pub fn in_child(body: impl FnOnce() -> i32) -> i32 {
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        let status = body();
        flush();
        unsafe { libc::_exit(status) };
    }
    wait_for(pid)
}

/// Waits for one child; -1 where there is none.
pub fn wait_for(pid: i32) -> i32 {
    let mut status = 0;
    loop {
        let r = unsafe { libc::waitpid(pid, &mut status, libc::__WALL) };
        if r == pid {
            return status;
        }
        if r < 0 && std::io::Error::last_os_error().raw_os_error() != Some(libc::EINTR) {
            return -1;
        }
    }
}

/// Standard output is written before a process ends or is copied, so that no line appears twice.
pub fn flush() {
    use std::io::Write;
    drop(std::io::stdout().flush());
}

/// Two or more pages, the last of which cannot be read: for paths that end exactly at the edge.
pub struct Edge {
    start: *mut u8,
    len: usize,
}

impl Edge {
    pub fn new(pages: usize) -> Self {
        let len = pages * 4096;
        let start = unsafe {
            let at = libc::mmap(
                std::ptr::null_mut(),
                len + 4096,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            );
            assert!(at != libc::MAP_FAILED, "no memory");
            libc::mprotect(at.byte_add(len), 4096, libc::PROT_NONE);
            at.cast()
        };
        Self { start, len }
    }

    /// Places the bytes so that the last one is the last that can be read.
    pub fn put(&self, bytes: &[u8]) -> *const u8 {
        assert!(bytes.len() <= self.len);
        unsafe {
            let at = self.start.add(self.len - bytes.len());
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), at, bytes.len());
            at
        }
    }

    /// The first byte that cannot be read.
    pub fn beyond(&self) -> *const u8 {
        unsafe { self.start.add(self.len) }
    }
}
