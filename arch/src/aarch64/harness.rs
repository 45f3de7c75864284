//! What the tests' guest program needs of a CPU: raw calls, calls with every register watched, and who was interrupted.
#![allow(unsafe_code)]

use core::arch::asm;
use core::ffi::c_void;

/// A system call; the result as the kernel gives it: negative errno on failure.
///
/// # Safety
///
/// The call must be sound for this process with these arguments.
pub unsafe fn call(number: i64, a: [u64; 6]) -> i64 {
    let result;
    // SAFETY: the caller's contract; `svc` changes x0 only.
    unsafe {
        asm!("svc #0", in("x8") number, inlateout("x0") a[0] => result, in("x1") a[1], in("x2") a[2],
             in("x3") a[3], in("x4") a[4], in("x5") a[5]);
    }
    result
}

/// A system call, and whether every register but x0, the flags among them, is afterwards as it was before.
///
/// # Safety
///
/// As for [`call`].
pub unsafe fn watched(number: i64, a: [u64; 6]) -> (i64, bool) {
    const FLAGS: u64 = 0xa000_0000;
    let result: i64;
    let mut flags = FLAGS;
    let moved: u64;
    let mut x: [u64; 20] = core::array::from_fn(|i| 0x1111_0000_2222_0000 + i as u64);
    let before = x;
    let (x1, x2, x3, x4, x5, x8): (u64, u64, u64, u64, u64, u64);
    // SAFETY: the caller's contract; every register that is named goes in and comes out.
    unsafe {
        asm!(
            "msr nzcv, x6",
            "mov x7, sp",
            "svc #0",
            "sub x7, sp, x7",
            "mrs x6, nzcv",
            inlateout("x0") a[0] => result, inlateout("x1") a[1] => x1, inlateout("x2") a[2] => x2,
            inlateout("x3") a[3] => x3, inlateout("x4") a[4] => x4, inlateout("x5") a[5] => x5,
            inlateout("x8") number => x8, inlateout("x6") flags, lateout("x7") moved,
            inlateout("x9") x[0], inlateout("x10") x[1], inlateout("x11") x[2], inlateout("x12") x[3],
            inlateout("x13") x[4], inlateout("x14") x[5], inlateout("x15") x[6], inlateout("x16") x[7],
            inlateout("x17") x[8], inlateout("x20") x[9], inlateout("x21") x[10], inlateout("x22") x[11],
            inlateout("x23") x[12], inlateout("x24") x[13], inlateout("x25") x[14], inlateout("x26") x[15],
            inlateout("x27") x[16], inlateout("x28") x[17], inlateout("x30") x[18],
        );
    }
    let arguments = [x1, x2, x3, x4, x5] == a[1..] && x8 == number as u64;
    (result, arguments && x == before && flags == FLAGS && moved == 0)
}

/// newfstatat(2) as a C library makes it, and whether the registers are as they were; `_flags` are the processor's.
///
/// # Safety
///
/// As for [`call`].
pub unsafe fn stat_site(a: [u64; 6], _flags: u64) -> (i64, bool) {
    // SAFETY: the caller's contract.
    unsafe { watched(79, a) }
}

/// openat(2) in the same way.
///
/// # Safety
///
/// As for [`call`].
pub unsafe fn open_site(a: [u64; 6], _flags: u64) -> (i64, bool) {
    // SAFETY: the caller's contract.
    unsafe { watched(56, a) }
}

/// The address that a signal has interrupted, from its handler's third argument.
///
/// # Safety
///
/// `context` is that argument.
pub unsafe fn interrupted(context: *const c_void) -> u64 {
    // SAFETY: the caller's contract; behind the `ucontext_t`'s mask, aligned to 16 bytes, is a `struct sigcontext`: the
    // faulting address, 31 registers, sp, pc (`<asm/sigcontext.h>`).
    unsafe { context.cast::<u64>().add(176 / 8 + 1 + 31 + 1).read() }
}

/// access(2) by the 32-bit ABI of the CPU from a 64-bit program: there is no way to make such a call here.
///
/// # Safety
///
/// None is needed.
pub unsafe fn foreign_access(_path: u64) -> Option<(i64, bool)> {
    None
}

/// The same, made to look native.
///
/// # Safety
///
/// None is needed.
pub unsafe fn disguised_access(_path: u64) -> Option<i64> {
    None
}

/// Machine code that makes a call and returns.
pub const CALL_AND_RETURN: [u8; 8] = 0xd65f_03c0_d400_0001u64.to_le_bytes();

/// Makes a call by the instruction at `at`, and does not come back.
///
/// # Safety
///
/// The caller has a handler for what may follow there.
pub unsafe fn jump(at: u64, number: i64, a: [u64; 4]) -> ! {
    // SAFETY: the caller's contract.
    unsafe {
        asm!("br x16", in("x16") at, in("x8") number, in("x0") a[0], in("x1") a[1], in("x2") a[2], in("x3") a[3],
             in("x4") 0u64, in("x5") 0u64, options(noreturn))
    }
}

/// Makes a call by [`CALL_AND_RETURN`], which has just been written at `at`.
///
/// # Safety
///
/// As for [`call`], and that code is there.
pub unsafe fn call_at(at: u64, number: i64, a: [u64; 3]) -> i64 {
    let result;
    // SAFETY: the caller's contract; instructions are fetched anew, as after every write of code.
    unsafe {
        asm!("dc cvau, x16", "dsb ish", "ic ivau, x16", "dsb ish", "isb", "blr x16", in("x16") at, in("x8") number,
             inlateout("x0") a[0] => result, in("x1") a[1], in("x2") a[2], lateout("x30") _);
    }
    result
}

/// A program, for an assembler: it writes the 8192 bytes below its stack pointer to standard output, and ends.
pub const BELOW_THE_STACK: &str = "\
.globl _start
_start:
    sub x1, sp, #8192
    mov x8, #64
    mov x0, #1
    mov x2, #8192
    svc #0
    mov x8, #93
    mov x0, #0
    svc #0
.section .note.GNU-stack, \"\"
";

/// A system call with `sp` as the stack pointer meanwhile.
///
/// # Safety
///
/// As for [`call`], and no signal handler may run on that stack.
pub unsafe fn call_on(sp: u64, number: i64, a: [u64; 6]) -> i64 {
    let result;
    // SAFETY: the caller's contract; the stack pointer is put back.
    unsafe {
        asm!("mov x9, sp", "mov sp, x10", "svc #0", "mov sp, x9", in("x8") number, inlateout("x0") a[0] => result,
             in("x1") a[1], in("x2") a[2], in("x3") a[3], in("x4") a[4], in("x5") a[5], out("x9") _, in("x10") sp);
    }
    result
}
