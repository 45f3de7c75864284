//! A call that finds out whether a rewritten call comes back as it should: see [`call`].
#![allow(unsafe_code)]

use crate::Left;
use core::arch::asm;

/// Makes the call `number` and looks at the registers afterwards: all arguments' but x0, which holds the result, and the
/// number's are as they were.
///
/// # Safety
///
/// The call must be sound for this process with these arguments.
pub unsafe fn call(number: u64, args: [u64; 6]) -> Left {
    let [a, b, c, d, e, f] = args;
    let result: i64;
    let (x1, x2, x3, x4, x5, x8): (u64, u64, u64, u64, u64, u64);
    let moved: u64;
    // SAFETY: the caller's contract; the registers named are all that the code and `svc` touch.
    unsafe {
        asm!(
            "mov {moved}, sp",
            "svc #0",
            "sub {moved}, sp, {moved}",
            moved = out(reg) moved,
            inlateout("x0") a => result,
            inlateout("x1") b => x1,
            inlateout("x2") c => x2,
            inlateout("x3") d => x3,
            inlateout("x4") e => x4,
            inlateout("x5") f => x5,
            inlateout("x8") number => x8,
        );
    }
    Left { result, intact: [x1, x2, x3, x4, x5] == args[1..] && x8 == number && moved == 0 }
}
