//! A call that finds out whether the trampoline works here: see [`call`].
#![allow(unsafe_code)]

use crate::Left;
use core::arch::asm;

/// Makes the call `number` and looks at the registers afterwards: all arguments' are as they were, and rcx holds the address
/// behind the instruction.
///
/// # Safety
///
/// The call must be sound for this process with these arguments.
pub unsafe fn call(number: u64, args: [u64; 6]) -> Left {
    let [a, b, c, d, e, f] = args;
    let result: i64;
    let (rdi, rsi, rdx, r10, r8, r9): (u64, u64, u64, u64, u64, u64);
    let (rcx, behind, moved): (u64, u64, u64);
    // SAFETY: the caller's contract; the registers named are all that the code and `syscall` touch.
    unsafe {
        asm!(
            "lea {behind}, [rip + 2f]",
            "mov {moved}, rsp",
            "syscall",
            "2:",
            "sub {moved}, rsp",
            behind = out(reg) behind,
            moved = out(reg) moved,
            inlateout("rax") number => result,
            inlateout("rdi") a => rdi,
            inlateout("rsi") b => rsi,
            inlateout("rdx") c => rdx,
            inlateout("r10") d => r10,
            inlateout("r8") e => r8,
            inlateout("r9") f => r9,
            lateout("rcx") rcx,
            lateout("r11") _,
        );
    }
    Left { result, intact: [rdi, rsi, rdx, r10, r8, r9] == args && rcx == behind && moved == 0 }
}
