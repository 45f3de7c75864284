//! Numbers and machine code against the kernel's headers and the assembler.
#![allow(unsafe_code)]

use super::*;
use crate::abi::stat::Stat;
use crate::abi::{Form, i386};
use crate::headers::{defined, members};
use libc::user_regs_struct as User;

fn header(name: &str) -> Option<String> {
    crate::headers::header(
        &["/usr/include/x86_64-linux-gnu", "/usr/x86_64-linux-gnu/include", "/usr/include"],
        name,
    )
}

#[test]
fn registers_are_where_the_header_has_them() {
    let Some(text) = header("asm/ptrace-abi.h") else { return };
    // The first half is that of 32-bit kernels.
    let text = text.split_once("#else").expect("two halves").1;
    for (name, offset) in [
        ("R15", offset_of!(User, r15)),
        ("R10", offset_of!(User, r10)),
        ("R9", offset_of!(User, r9)),
        ("R8", offset_of!(User, r8)),
        ("RBP", offset_of!(User, rbp)),
        ("RBX", offset_of!(User, rbx)),
        ("R11", offset_of!(User, r11)),
        ("RAX", offset_of!(User, rax)),
        ("RCX", offset_of!(User, rcx)),
        ("RDX", offset_of!(User, rdx)),
        ("RSI", offset_of!(User, rsi)),
        ("RDI", offset_of!(User, rdi)),
        ("ORIG_RAX", offset_of!(User, orig_rax)),
        ("RIP", CALL_REGS - 8),
        ("CS", CALL_REGS_READ - 8),
        ("RSP", offset_of!(User, rsp)),
    ] {
        assert_eq!(defined(text, name), offset as u64, "{name}");
    }
    let whole = [defined(text, "PTRACE_GETREGS"), defined(text, "PTRACE_SETREGS")];
    assert_eq!(WHOLE, Some(whole));
}

#[test]
fn numbers_are_those_of_the_headers() {
    let (Some(machines), Some(audit), Some(calls), Some(sockets)) =
        (header("linux/elf-em.h"), header("linux/audit.h"), header("asm/unistd.h"), header("linux/net.h"))
    else {
        return;
    };
    assert_eq!(defined(&machines, "EM_X86_64"), u64::from(ELF_MACHINE));
    assert_eq!(Some(defined(&machines, "EM_386")), ELF_MACHINE_32.map(u64::from));
    let (wide, little) = (defined(&audit, "__AUDIT_ARCH_64BIT"), defined(&audit, "__AUDIT_ARCH_LE"));
    assert!(audit.contains("#define AUDIT_ARCH_X86_64\t(EM_X86_64|__AUDIT_ARCH_64BIT|__AUDIT_ARCH_LE)"));
    assert!(audit.contains("#define AUDIT_ARCH_I386\t\t(EM_386|__AUDIT_ARCH_LE)"));
    assert_eq!(u64::from(Abi::X86_64.audit()), u64::from(ELF_MACHINE) | wide | little);
    assert_eq!(u64::from(Abi::I386.audit()), defined(&machines, "EM_386") | little);
    assert_eq!(defined(&calls, "__X32_SYSCALL_BIT"), u64::from(FOREIGN_BIT));
    for (i, (call, _)) in i386::SOCKET_CALLS.iter().enumerate() {
        // send(2) and recv(2) are the longer calls without an address.
        let name = match i {
            8 => "SYS_SEND".to_owned(),
            9 => "SYS_RECV".to_owned(),
            _ => format!("SYS_{}", call.name().to_uppercase()),
        };
        assert_eq!(defined(&sockets, &name), i as u64 + 1, "{name}");
    }
    assert_eq!(sockets.matches("#define SYS_").count(), i386::SOCKET_CALLS.len());
}

/// Each form of what stat(2) writes, member by member: which bytes change with what is known of a file.
#[test]
fn stat_structures_of_32_bits_are_the_header_s() {
    let Some(text) = header("asm/stat.h") else { return };
    let written = |form, file: &Stat| {
        let mut out = vec![0u8; 100];
        for (at, bytes) in file.pieces(Abi::I386, form).expect("small numbers") {
            out[at as usize..at as usize + bytes.len()].copy_from_slice(&bytes);
        }
        out
    };
    type Change = (&'static str, fn(&mut Stat));
    let changes: [Change; 14] = [
        ("st_dev", |s| s.dev = (0, 1)),
        ("st_ino", |s| s.ino = 1),
        ("st_mode", |s| s.mode = 1),
        ("st_nlink", |s| s.nlink = 1),
        ("st_uid", |s| s.uid = 1),
        ("st_gid", |s| s.gid = 1),
        ("st_rdev", |s| s.rdev = (0, 1)),
        ("st_size", |s| s.size = 1),
        ("st_blksize", |s| s.blksize = 1),
        ("st_blocks", |s| s.blocks = 1),
        ("st_atime", |s| s.times[0].0 = 1),
        ("st_mtime_nsec", |s| s.times[1].1 = 1),
        ("st_mtime", |s| s.times[1].0 = 1),
        ("st_ctime", |s| s.times[2].0 = 1),
    ];
    for (form, structure, len) in
        [(Form::Wide, "stat64", 96), (Form::Plain, "stat", 64), (Form::Old, "__old_kernel_stat", 32)]
    {
        let all = members(&text, "#ifdef __i386__", structure, 4);
        assert_eq!(all.last().map(|m| m.1), Some(len), "{structure}");
        let mut seen = 0;
        for (name, change) in changes {
            let Some((_, at, _)) = all.iter().find(|m| m.0 == name) else { continue };
            let mut file = Stat::default();
            change(&mut file);
            let changed: Vec<usize> =
                written(form, &file).iter().enumerate().filter(|(_, b)| **b != 0).map(|(i, _)| i).collect();
            // The inode stands in stat64 twice, as it was and as it had to be.
            let old = all.iter().find(|m| m.0 == format!("__{name}")).map(|m| m.1);
            let expected: Vec<usize> = old.into_iter().chain([*at]).collect();
            assert_eq!(changed, expected, "{name} of {structure}");
            seen += 1;
        }
        assert!(seen >= 11 - usize::from(form == Form::Old), "{structure}: {seen}");
    }
}

/// The same of the structure of 64-bit programs.
#[test]
fn the_stat_structure_is_the_header_s() {
    let Some(text) = header("asm/stat.h") else { return };
    let all = members(&text, "#else /* __i386__ */", "stat", 8);
    let at = |name: &str| all.iter().find(|m| m.0 == name).map(|m| m.1);
    assert_eq!(at("st_nlink"), Some(offset_of!(libc::stat, st_nlink)));
    assert_eq!(at("st_mode"), Some(offset_of!(libc::stat, st_mode)));
    assert_eq!(at("st_uid"), Some(offset_of!(libc::stat, st_uid)));
    assert_eq!(at("st_rdev"), Some(offset_of!(libc::stat, st_rdev)));
    assert_eq!(at("st_size"), Some(offset_of!(libc::stat, st_size)));
    assert_eq!(at("st_blocks"), Some(offset_of!(libc::stat, st_blocks)));
    assert_eq!(at("st_ctime"), Some(offset_of!(libc::stat, st_ctime)));
    assert_eq!(at("end"), Some(size_of::<libc::stat>()));
}

core::arch::global_asm!(
    r#"
    .pushsection .rodata.prun_expected,"a",@progbits
    prun_trampoline:
        syscall
        mov (%rcx), %rdi
        mov 8(%rcx), %rsi
        mov 16(%rcx), %rdx
        mov 24(%rcx), %r10
        mov 32(%rcx), %r8
        mov 40(%rcx), %r9
        mov 48(%rcx), %rcx
        jmp *%rcx
    prun_narrow:
        int $0x80
        mov (%r15), %ebx
        mov 8(%r15), %ecx
        mov 16(%r15), %edx
        mov 24(%r15), %esi
        mov 32(%r15), %edi
        mov 40(%r15), %ebp
        ljmpl *48(%r15)
    prun_parked:
        mov %rdi, %rsi
        mov ${set_ptracer}, %edi
        xor %edx, %edx
        xor %r10d, %r10d
        xor %r8d, %r8d
        mov ${prctl}, %eax
        syscall
        xor %edi, %edi
        xor %esi, %esi
        lea 2f(%rip), %rdx
        mov ${ppoll}, %eax
        syscall
        mov $137, %edi
        mov ${exit_group}, %eax
        syscall
        ud2
    2:  .quad 10, 0
    .popsection
    "#,
    set_ptracer = const libc::PR_SET_PTRACER,
    prctl = const libc::SYS_prctl,
    ppoll = const libc::SYS_ppoll,
    exit_group = const libc::SYS_exit_group,
    options(att_syntax)
);

unsafe extern "C" {
    static prun_trampoline: [u8; TRAMPOLINE.len()];
    static prun_narrow: [u8; NARROW.len()];
    static prun_parked: [u8; PARK.len()];
}

#[test]
fn machine_code_is_what_its_comments_say() {
    // SAFETY: each is defined above; what is behind the shorter of two is the next, or the end of the last, which is as long
    // as said or the comparison fails before it.
    unsafe {
        assert_eq!(TRAMPOLINE, prun_trampoline);
        assert_eq!(NARROW, prun_narrow);
        assert_eq!(PARK, prun_parked);
        assert_eq!(NATIVE_CALL, (&raw const prun_trampoline).cast::<[u8; 2]>().read());
    }
    assert_eq!(NATIVE_CALL.len() as u64, CALL_LEN);
    assert_eq!(TRAMPOLINE_RETURN, CALL_LEN);
    assert_eq!(i64::from(crate::abi::number(Sysno::prctl)), libc::SYS_prctl);
}

#[test]
fn a_call_is_skipped_made_again_and_left() {
    let mut regs = Regs::zeroed();
    (regs.0.rip, regs.0.rcx, regs.0.rdi, regs.0.orig_rax) = (0x1002, 0x1002, 7, 257);
    let before = regs;
    assert_eq!((regs.number(), regs.call()), (257, Some(Sysno::openat)));
    regs.set_args([1, 2, 3, 4, 5, 6]);
    regs.set_result(-2);
    regs.put_back(before.args(), 257);
    assert_eq!((regs.result(), regs.args()), (-2, before.args()));
    regs.again(257, before.args());
    assert_eq!((regs.ip(), regs.0.rdi), (0x1000, 7));
}
