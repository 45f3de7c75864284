//! The loader: runs a script of system calls in a tracee that has just been through execve(2), then stops for the
//! tracer. Position independent, without data, relocations, stack frames to speak of or panics; `build.rs` proves
//! each of these on the linked image.
#![no_std]
#![no_main]
#![deny(unsafe_op_in_unsafe_fn)]

mod script;

use core::arch::{asm, naked_asm};
use script::{CALL, DONE, FD, OPEN, Step, TRY, ZERO};

/// First byte of the image: the script's address is in the first argument register.
///
/// # Safety
///
/// Entered by the tracer only, with a stack and a script.
#[unsafe(naked)]
#[unsafe(no_mangle)]
#[unsafe(link_section = ".text.start")]
pub unsafe extern "C" fn _start() -> ! {
    naked_asm!("and rsp, -16", "call {run}", "ud2", run = sym run);
}

/// # Safety
///
/// `script` points to steps of which one is [`DONE`].
unsafe extern "C" fn run(script: *const Step) -> ! {
    let mut fd = u64::MAX;
    let mut status = 0;
    let mut failed = 0;
    let mut at = 0;
    loop {
        // SAFETY: the index never passes the step DONE, which is there by contract.
        let Step { op, a } = unsafe { *script.wrapping_add(at) };
        if op == DONE {
            loop {
                // SAFETY: the tracer stops this call and does not let it run; if it did, it would only fail.
                unsafe { call([a[0], status, failed, a[1], 0, 0, 0]) };
            }
        }
        // After a failure the rest is skipped, up to the end.
        if status == 0 && op == ZERO {
            let mut p = a[0];
            while p < a[1] {
                // SAFETY: the tracer vouches for the range. Volatile, so that this is no call of memset.
                unsafe { (p as *mut u8).write_volatile(0) };
                p = p.wrapping_add(1);
            }
        } else if status == 0 && (op == CALL || op == TRY || op == OPEN) {
            // SAFETY: the tracer wrote the call and vouches for what it does.
            let result = unsafe { call(a.map(|v| if v == FD { fd } else { v })) };
            if result > u64::MAX - 4095 && op != TRY {
                (status, failed) = (result, at as u64);
            }
            if op == OPEN {
                fd = result;
            }
        }
        at += 1;
    }
}

/// # Safety
///
/// The call must be sound for this process.
#[inline(always)]
unsafe fn call([nr, a, b, c, d, e, f]: [u64; 7]) -> u64 {
    let result;
    // SAFETY: the caller's contract; `syscall` clobbers rcx and r11 only.
    unsafe {
        asm!("syscall", inlateout("rax") nr => result, in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d,
             in("r8") e, in("r9") f, lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    result
}

/// A panic path that survives optimisation becomes a link error.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    unsafe extern "C" {
        safe fn the_loader_must_not_panic() -> !;
    }
    the_loader_must_not_panic()
}
