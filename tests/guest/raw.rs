//! Raw system calls, and how their results are printed.

use std::ffi::CString;

pub fn c(path: &[u8]) -> CString {
    CString::new(path).expect("no NUL inside")
}

/// A system call; the result as the kernel gives it: negative errno on failure.
pub fn sys(nr: i64, a: [u64; 6]) -> i64 {
    let r: i64;
    unsafe {
        std::arch::asm!("syscall", inlateout("rax") nr => r, in("rdi") a[0], in("rsi") a[1], in("rdx") a[2],
            in("r10") a[3], in("r8") a[4], in("r9") a[5], lateout("rcx") _, lateout("r11") _);
    }
    r
}

pub fn pad(args: &[u64]) -> [u64; 6] {
    let mut all = [0; 6];
    all[..args.len()].copy_from_slice(args);
    all
}

#[macro_export]
macro_rules! sc {
    ($nr:expr $(, $a:expr)*) => {
        // One expression, so that what the arguments point to lives until the call is over.
        $crate::raw::sys($nr, $crate::raw::pad(&[$($a as u64),*]))
    };
}

pub fn name(r: i64) -> String {
    if r < 0 { format!("-{:?}", syscalls::Errno::new(-r as i32)) } else { r.to_string() }
}

/// Success or the errno, where the number itself may differ between runs.
pub fn ok(r: i64) -> String {
    if r < 0 { name(r) } else { "ok".into() }
}
