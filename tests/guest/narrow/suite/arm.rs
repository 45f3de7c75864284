//! Calls of ARM by `svc`, from A32 and, in turn, from Thumb code, whose instruction is shorter.

pub fn call(nr: i64, a: [u32; 6]) -> i32 {
    use std::sync::atomic::{AtomicU32, Ordering};
    static TURN: AtomicU32 = AtomicU32::new(0);
    let enter = if TURN.fetch_add(1, Ordering::Relaxed) % 2 == 0 { prun_a32 } else { prun_thumb };
    unsafe { enter(nr as u32, a.as_ptr()) }
}

unsafe extern "C" {
    fn prun_a32(nr: u32, args: *const u32) -> i32;
    fn prun_thumb(nr: u32, args: *const u32) -> i32;
}

std::arch::global_asm!(
    ".macro prun_call name",
    ".globl \\name",
    ".type \\name, %function",
    "\\name:",
    "push {{r4, r5, r6, r7}}",
    "mov r7, r0",
    "mov r6, r1",
    "ldr r0, [r6, #0]",
    "ldr r1, [r6, #4]",
    "ldr r2, [r6, #8]",
    "ldr r3, [r6, #12]",
    "ldr r4, [r6, #16]",
    "ldr r5, [r6, #20]",
    "svc #0",
    "pop {{r4, r5, r6, r7}}",
    "bx lr",
    ".endm",
    ".arm",
    "prun_call prun_a32",
    ".thumb",
    ".thumb_func",
    "prun_call prun_thumb",
    ".arm",
);

pub use syscalls::arm::Sysno;
/// Only the time that is now is asked for.
pub const UTIME: Sysno = Sysno::utimes;
