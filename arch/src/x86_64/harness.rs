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
    // SAFETY: the caller's contract; `syscall` clobbers rcx and r11 only.
    unsafe {
        asm!("syscall", inlateout("rax") number => result, in("rdi") a[0], in("rsi") a[1], in("rdx") a[2],
             in("r10") a[3], in("r8") a[4], in("r9") a[5], lateout("rcx") _, lateout("r11") _);
    }
    result
}

/// A system call, and whether every register but rax and r11 is afterwards as it was before, rcx holds the address
/// behind the instruction, and the 128 bytes below the stack pointer are untouched.
///
/// # Safety
///
/// As for [`call`].
pub unsafe fn watched(number: i64, a: [u64; 6]) -> (i64, bool) {
    let mut after = [0u64; 12];
    let before = [a[0], a[1], a[2], a[3], a[4], a[5], 0x1212, 0x1313, 0x1414, 0x1515];
    let result: i64;
    // SAFETY: the caller's contract; the stack is moved out of the way of what lies below it.
    unsafe {
        asm!(
            "sub rsp, 256",
            "mov qword ptr [rsp + 248], r11",
            "mov r11, 0x5a5a5a5a",
            "mov qword ptr [rsp - 8], r11",
            "mov qword ptr [rsp - 64], r11",
            "mov qword ptr [rsp - 128], r11",
            "syscall",
            "2:",
            "mov qword ptr [rsp + 240], rcx",
            "lea rcx, [rip + 2b]",
            "cmp rcx, qword ptr [rsp + 240]",
            "mov rcx, qword ptr [rsp + 248]",
            "mov qword ptr [rcx + 80], 0",
            "je 3f",
            "mov qword ptr [rcx + 80], 1",
            "3:",
            "mov qword ptr [rcx], rdi", "mov qword ptr [rcx + 8], rsi", "mov qword ptr [rcx + 16], rdx",
            "mov qword ptr [rcx + 24], r10", "mov qword ptr [rcx + 32], r8", "mov qword ptr [rcx + 40], r9",
            "mov qword ptr [rcx + 48], r12", "mov qword ptr [rcx + 56], r13", "mov qword ptr [rcx + 64], r14",
            "mov qword ptr [rcx + 72], r15",
            "mov r11, 0x5a5a5a5a",
            "mov qword ptr [rcx + 88], 0",
            "cmp qword ptr [rsp - 8], r11", "jne 4f",
            "cmp qword ptr [rsp - 64], r11", "jne 4f",
            "cmp qword ptr [rsp - 128], r11", "je 5f",
            "4:", "mov qword ptr [rcx + 88], 1",
            "5:",
            "add rsp, 256",
            inlateout("rax") number => result,
            inlateout("rdi") a[0] => _, inlateout("rsi") a[1] => _, inlateout("rdx") a[2] => _,
            inlateout("r10") a[3] => _, inlateout("r8") a[4] => _, inlateout("r9") a[5] => _,
            inlateout("r12") 0x1212u64 => _, inlateout("r13") 0x1313u64 => _, inlateout("r14") 0x1414u64 => _,
            inlateout("r15") 0x1515u64 => _,
            inlateout("r11") after.as_mut_ptr() => _, lateout("rcx") _,
        );
    }
    (result, after[..10] == before && after[10] == 0 && after[11] == 0)
}

/// A call from a site of glibc's shape; the result, and whether every other register and the flags are as they were.
macro_rules! site {
    ($(#[$doc:meta])* $name:ident, $number:literal) => {
        $(#[$doc])*
        ///
        /// # Safety
        ///
        /// As for [`call`].
        pub unsafe fn $name([a, b, c, d, e, _]: [u64; 6], flags: u64) -> (i64, bool) {
            let result: i64;
            let mut after = [0u64; 8];
            // SAFETY: the caller's contract; what the code touches is named or put back.
            unsafe {
                asm!(
                    "push rbx",
                    "mov rbx, r12",
                    "push r13",
                    "popfq",
                    concat!("mov eax, ", $number),
                    "syscall",
                    "2:",
                    "pushfq",
                    "pop r13",
                    "mov qword ptr [rbx], rdi", "mov qword ptr [rbx + 8], rsi", "mov qword ptr [rbx + 16], rdx",
                    "mov qword ptr [rbx + 24], r10", "mov qword ptr [rbx + 32], r8", "mov qword ptr [rbx + 40], r11",
                    "mov qword ptr [rbx + 48], rcx",
                    "lea rcx, [rip + 2b]",
                    "sub qword ptr [rbx + 48], rcx",
                    "mov qword ptr [rbx + 56], r13",
                    "pop rbx",
                    out("rax") result,
                    inlateout("rdi") a => _, inlateout("rsi") b => _, inlateout("rdx") c => _,
                    inlateout("r10") d => _, inlateout("r8") e => _, in("r12") after.as_mut_ptr(),
                    inlateout("r13") flags => _, lateout("rcx") _, lateout("r11") _,
                );
            }
            // r11 holds the flags, with the bit that interrupts are on.
            let good = after[..5] == [a, b, c, d, e]
                && after[6] == 0
                && after[5] == after[7]
                && (after[7] & 0xcd5) == (flags & 0xcd5);
            (result, good)
        }
    };
}
site!(
    /// newfstatat(2) from a site of glibc's shape, and whether every other register and the flags are as they were.
    stat_site, "0x106");
site!(
    /// openat(2) in the same way.
    open_site, "0x101");

/// The address that a signal has interrupted, from its handler's third argument.
///
/// # Safety
///
/// `context` is that argument.
pub unsafe fn interrupted(context: *const c_void) -> u64 {
    // SAFETY: the caller's contract.
    unsafe { (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs[libc::REG_RIP as usize] as u64 }
}

/// access(2) by the 32-bit ABI of the CPU from a 64-bit program; the low half of `path` is an address. The result, and
/// whether the register of the path is as it was.
///
/// # Safety
///
/// None is needed: the call only looks.
pub unsafe fn foreign_access(path: u64) -> Option<(i64, bool)> {
    let result: i64;
    let mut after = path;
    // SAFETY: rbx, which cannot be named, is put back.
    unsafe {
        asm!("xchg rbx, {b}", "int 0x80", "xchg rbx, {b}", b = inout(reg) after, inlateout("rax") 33i64 => result,
             in("rcx") 0, lateout("r8") _, lateout("r9") _, lateout("r10") _, lateout("r11") _);
    }
    Some((i64::from(result as i32), after == path))
}

/// The same with the address behind the instruction in the register of the second argument, by which native calls are
/// told: it would look like one.
///
/// # Safety
///
/// As for [`foreign_access`].
pub unsafe fn disguised_access(path: u64) -> Option<i64> {
    let result: i64;
    // SAFETY: as above.
    unsafe {
        asm!("xchg rbx, {b}", "lea rcx, [rip + 2f]", "int 0x80", "2:", "xchg rbx, {b}", b = inout(reg) path => _,
             inlateout("rax") 33i64 => result, out("rcx") _, lateout("r8") _, lateout("r9") _, lateout("r10") _,
             lateout("r11") _);
    }
    Some(i64::from(result as i32))
}

/// Machine code that makes a call and returns.
pub const CALL_AND_RETURN: [u8; 3] = [0x0f, 0x05, 0xc3];

/// Makes a call by the instruction at `at`, and does not come back.
///
/// # Safety
///
/// The caller has a handler for what may follow there.
pub unsafe fn jump(at: u64, number: i64, a: [u64; 4]) -> ! {
    // SAFETY: the caller's contract.
    unsafe {
        asm!("jmp {at}", at = in(reg) at, in("rax") number, in("rdi") a[0], in("rsi") a[1], in("rdx") a[2],
             in("r10") a[3], in("r8") 0u64, in("r9") 0u64, options(noreturn))
    }
}

/// Makes a call by [`CALL_AND_RETURN`], which is at `at`.
///
/// # Safety
///
/// As for [`call`], and that code is there.
pub unsafe fn call_at(at: u64, number: i64, a: [u64; 3]) -> i64 {
    let result;
    // SAFETY: the caller's contract.
    unsafe {
        asm!("call {at}", at = in(reg) at, inlateout("rax") number => result, in("rdi") a[0], in("rsi") a[1],
             in("rdx") a[2], lateout("rcx") _, lateout("r11") _);
    }
    result
}

/// A program, for an assembler: it writes the 8192 bytes below its stack pointer to standard output, and ends.
pub const BELOW_THE_STACK: &str = "\
.globl _start
_start:
    lea -8192(%rsp), %rsi
    mov $1, %eax
    mov $1, %edi
    mov $8192, %edx
    syscall
    mov $60, %eax
    xor %edi, %edi
    syscall
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
        asm!("mov r12, rsp", "mov rsp, r13", "syscall", "mov rsp, r12", inlateout("rax") number => result,
             in("rdi") a[0], in("rsi") a[1], in("rdx") a[2], in("r10") a[3], in("r8") a[4], in("r9") a[5],
             lateout("rcx") _, lateout("r11") _, out("r12") _, in("r13") sp);
    }
    result
}
