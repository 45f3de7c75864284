//! Calls by `int 0x80`.

pub fn call(nr: i64, words: [u32; 6]) -> i32 {
    let mut result = nr as i32;
    // ebx, esi and ebp are the compiler's.
    unsafe {
        std::arch::asm!(
            "push ebx", "push esi", "push ebp",
            "mov ebx, [ecx]", "mov edx, [ecx + 8]", "mov esi, [ecx + 12]", "mov edi, [ecx + 16]", "mov ebp, [ecx + 20]",
            "mov ecx, [ecx + 4]", "int 0x80",
            "pop ebp", "pop esi", "pop ebx",
            inout("eax") result, inout("ecx") words.as_ptr() => _, out("edx") _, out("edi") _,
        );
    }
    result
}

pub use syscalls::x86::Sysno;
pub const UTIME: Sysno = Sysno::utime;
