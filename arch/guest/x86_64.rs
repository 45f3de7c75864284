//! The loader's entry and system calls on x86-64.

use core::arch::{asm, naked_asm};

/// First byte of the image: the script's address is in the first argument register.
///
/// # Safety
///
/// Entered by the tracer only, with a stack and a script.
#[unsafe(naked)]
#[unsafe(no_mangle)]
#[unsafe(link_section = ".text.start")]
pub unsafe extern "C" fn _start() -> ! {
    naked_asm!("and rsp, -16", "call {run}", "ud2", run = sym super::run);
}

/// # Safety
///
/// The call must be sound for this process.
#[inline(always)]
pub unsafe fn call([nr, a, b, c, d, e, f]: [u64; 7]) -> u64 {
    let result;
    // SAFETY: the caller's contract; `syscall` clobbers rcx and r11 only.
    unsafe {
        asm!("syscall", inlateout("rax") nr => result, in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d,
             in("r8") e, in("r9") f, lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    result
}
