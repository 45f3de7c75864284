//! The loader's entry and system calls on aarch64. Its compiler never touches x7 (`build.rs`): the tracer does not see
//! that register at every stop, and what the program has in it stays there.

use core::arch::{asm, naked_asm};

/// First byte of the image: the script's address is in x1, as execve(2) returns in x0 after the tracer's stop.
///
/// # Safety
///
/// Entered by the tracer only, with an aligned stack and a script.
#[unsafe(naked)]
#[unsafe(no_mangle)]
#[unsafe(link_section = ".text.start")]
pub unsafe extern "C" fn _start() -> ! {
    naked_asm!("mov x0, x1", "bl {run}", "udf #0", run = sym super::run);
}

/// # Safety
///
/// The call must be sound for this process.
#[inline(always)]
pub unsafe fn call([nr, a, b, c, d, e, f]: [u64; 7]) -> u64 {
    let result;
    // SAFETY: the caller's contract; `svc` changes x0 only.
    unsafe {
        asm!("svc #0", in("x8") nr, inlateout("x0") a => result, in("x1") b, in("x2") c, in("x3") d,
             in("x4") e, in("x5") f, options(nostack));
    }
    result
}
