//! Calls of other ABIs, and numbers that only look like others.

use super::*;
use crate::raw::{pad, sys};

pub const PROBES: &[Probe] = &[
    Probe {
        name: "x32: openat",
        run: |w| {
            opened(sys(
                0x4000_0000 | SYS_openat,
                pad(&[AT_FDCWD as u64, w.outside("marker").as_ptr() as u64]),
            ))
        },
    },
    Probe {
        name: "a high half in the number",
        run: |w| {
            let path = w.outside("marker");
            first([1u64 << 32, 0xdead_beef << 32, 1 << 63].map(|high| {
                opened(sys((high | SYS_openat as u64) as i64, pad(&[AT_FDCWD as u64, path.as_ptr() as u64])))
            }))
        },
    },
    Probe {
        name: "a high half in a directory",
        run: |w| {
            let path = w.outside("marker");
            opened(sys(SYS_openat, pad(&[0x1234_5678_ffff_ff9c, path.as_ptr() as u64])))
        },
    },
    Probe {
        name: "vsyscall and negative numbers",
        run: |w| {
            let path = w.outside("marker");
            first(
                [-1i64, -2, 1 << 31, 512, 0x8000_0002]
                    .map(|nr| opened(sys(nr, pad(&[path.as_ptr() as u64])))),
            )
        },
    },
];

/// The CPU's own other ABIs: i386 and x32.
pub const NARROW: &[Probe] = prun_arch::on_x86_64!({ narrow::PROBES } else { &[] });

prun_arch::on_x86_64! {
mod narrow {
    use super::*;

    /// A path below 4 GiB, where 32-bit calls can name it.
    fn low(path: &CStr) -> u64 {
        let flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT;
        let at = sc!(SYS_mmap, 0, 8192, PROT_READ | PROT_WRITE | PROT_EXEC, flags, NONE, 0);
        let bytes = path.to_bytes_with_nul();
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), at as *mut u8, bytes.len()) };
        at as u64
    }

    /// `int $0x80` with up to four arguments.
    fn int80(nr: u64, a: u64, b: u64, c: u64, d: u64) -> i64 {
        let r: i64;
        unsafe {
            std::arch::asm!("push rbx", "mov ebx, r8d", "int 0x80", "pop rbx", in("r8") a, inlateout("rax") nr => r,
                in("rcx") b, in("rdx") c, in("rsi") d, lateout("r9") _, lateout("r10") _, lateout("r11") _);
        }
        i64::from(r as i32)
    }

    /// A 32-bit segment for a while: open(2) by `int $0x80` from there.
    fn compat(path: u64) -> i64 {
        // push rbx; mov ebx, edi; xor ecx, ecx; mov eax, 5; then a far jump to 0x23, int 0x80, a far jump back to 0x33.
        let code = path + 4096;
        let mut bytes: Vec<u8> =
            vec![0x53, 0x49, 0x89, 0xe0, 0x89, 0xfb, 0x31, 0xc9, 0x31, 0xd2, 0xb8, 5, 0, 0, 0];
        let after = code + bytes.len() as u64 + 13;
        // sub rsp, 16; mov [rsp], after; mov [rsp + 4], 0x23 as m16:32: ljmp [rsp] by way of a constant behind the code.
        let pointer = code + 128;
        bytes.extend([0xff, 0x2c, 0x25]);
        bytes.extend((pointer as u32).to_le_bytes());
        bytes.resize((after - code) as usize, 0x90);
        // 32-bit: int 0x80; jmp far 0x33:back
        bytes.extend([0xcd, 0x80, 0xea]);
        let back = after + 9;
        bytes.extend((back as u32).to_le_bytes());
        bytes.extend([0x33, 0]);
        // 64-bit again: mov rsp, r8; pop rbx; ret
        bytes.extend([0x4c, 0x89, 0xc4, 0x5b, 0xc3]);
        bytes.resize(128, 0x90);
        // The far jump lands after the padding.
        bytes.extend((after as u32).to_le_bytes());
        bytes.extend([0x23, 0]);
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), code as *mut u8, bytes.len()) };
        let r: i64;
        unsafe {
            std::arch::asm!("call {code}", code = in(reg) code, inlateout("rdi") path => _, out("rax") r, out("rcx") _,
                out("rdx") _, out("rsi") _, out("r8") _, out("r9") _, out("r10") _, out("r11") _);
        }
        i64::from(r as i32)
    }

    /// In a child, which may die of it.
    fn alone(run: impl FnOnce() -> Verdict) -> Verdict {
        let status = in_child(|| if matches!(run(), Escapes(_)) { 77 } else { 0 });
        if status == 77 { Escapes("reads the marker".into()) } else { Confined }
    }

    pub const PROBES: &[Probe] = &[
        Probe { name: "int 0x80: open", run: |w| alone(|| opened(int80(5, low(&w.outside("marker")), 0, 0, 0))) },
        Probe {
            name: "int 0x80: openat",
            run: |w| alone(|| opened(int80(295, AT_FDCWD as u32 as u64, low(&w.outside("marker")), 0, 0))),
        },
        Probe {
            name: "int 0x80: mkdir",
            run: |w| {
                alone(|| {
                    int80(39, low(&w.outside("new")), 0o700, 0, 0);
                    Confined
                })
            },
        },
        Probe {
            name: "int 0x80: execve",
            run: |w| {
                let status = in_child(|| {
                    int80(11, low(&w.outside("prog")), 0, 0, 0);
                    0
                });
                if status == 77 { Escapes("runs the program".into()) } else { Confined }
            },
        },
        Probe { name: "a 32-bit code segment", run: |w| alone(|| opened(compat(low(&w.outside("marker"))))) },
        Probe {
            name: "x32: open",
            run: |w| opened(sys(0x4000_0000 | old::open, pad(&[w.outside("marker").as_ptr() as u64]))),
        },
        Probe {
            name: "x32: numbers of its own",
            run: |w| {
                let r = in_child(|| {
                    sys(0x4000_0000 | 520, pad(&[w.outside("prog").as_ptr() as u64]));
                    0
                });
                if r == 77 { Escapes("runs the program".into()) } else { Confined }
            },
        },
    ];
}
}
