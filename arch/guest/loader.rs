//! The loader: runs a script of system calls in a tracee that has just been through execve(2), then stops for the
//! tracer. Position independent, without data, relocations, stack frames to speak of or panics; `build.rs` proves
//! each of these on the linked image.
#![no_std]
#![no_main]
#![deny(unsafe_op_in_unsafe_fn)]

#[cfg_attr(target_arch = "x86_64", path = "x86_64.rs")]
#[cfg_attr(target_arch = "aarch64", path = "aarch64.rs")]
mod cpu;
mod script;

use cpu::call;
use script::{CALL, DONE, FD, OPEN, PLACE, Step, TRY, ZERO};

/// Minus the number of that error.
const EEXIST: u64 = 0u64.wrapping_sub(17);

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
        } else if status == 0 && (op == CALL || op == TRY || op == OPEN || op == PLACE) {
            // SAFETY: the tracer wrote the call and vouches for what it does.
            let result = unsafe { call(a.map(|v| if v == FD { fd } else { v })) };
            if result > u64::MAX - 4095 && op != TRY {
                (status, failed) = (result, at as u64);
            }
            if op == PLACE && status == 0 && result != a[1] {
                (status, failed) = (EEXIST, at as u64);
            }
            if op == OPEN {
                fd = result;
            }
        }
        at += 1;
    }
}

/// A panic path that survives optimisation becomes a link error.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    unsafe extern "C" {
        safe fn the_loader_must_not_panic() -> !;
    }
    the_loader_must_not_panic()
}
