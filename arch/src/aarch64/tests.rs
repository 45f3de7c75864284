//! Numbers and machine code against the kernel's headers and the assembler. They run on another CPU too, under
//! qemu-aarch64 (`tests/kernels/aarch64`).
#![allow(unsafe_code)]

use super::*;
use crate::headers::{defined, members};
use core::mem::offset_of;

/// Debian: linux-libc-dev-arm64-cross, or what is installed on such a machine.
fn header(name: &str) -> Option<String> {
    crate::headers::header(
        &["/usr/aarch64-linux-gnu/include", "/usr/include/aarch64-linux-gnu", "/usr/include"],
        name,
    )
}

#[test]
fn registers_are_where_the_header_has_them() {
    let Some(text) = header("asm/ptrace.h") else { return };
    let frame = members(&text, "", "user_pt_regs", 8);
    let at = |name: &str| frame.iter().find(|m| m.0 == name).map(|m| m.1);
    assert_eq!(at("regs"), Some(offset_of!(Frame, x)));
    assert_eq!(at("sp"), Some(offset_of!(Frame, sp)));
    assert_eq!(at("pc"), Some(offset_of!(Frame, pc)));
    assert_eq!(at("pstate"), Some(offset_of!(Frame, pstate)));
    assert_eq!(at("end"), Some(size_of::<Frame>()));
    assert_eq!(defined(&text, "PSR_MODE32_BIT"), MODE_32);
}

#[test]
fn numbers_are_those_of_the_headers() {
    let (Some(elf), Some(machines), Some(audit)) =
        (header("linux/elf.h"), header("linux/elf-em.h"), header("linux/audit.h"))
    else {
        return;
    };
    let mut regs = Regs::zeroed();
    regs.skip(-1);
    assert_eq!(regs.apart(), Some((defined(&elf, "NT_ARM_SYSTEM_CALL"), -1)));
    assert_eq!(defined(&machines, "EM_AARCH64"), u64::from(ELF_MACHINE));
    assert_eq!(defined(&machines, "EM_ARM"), 40);
    assert_eq!(Abi::Arm.audit(), 40 | defined(&audit, "__AUDIT_ARCH_LE") as u32);
    let bits = defined(&audit, "__AUDIT_ARCH_64BIT") | defined(&audit, "__AUDIT_ARCH_LE");
    assert_eq!(u64::from(AUDIT_ARCH), bits | u64::from(ELF_MACHINE));
}

#[test]
fn the_stat_structure_is_the_kernel_s() {
    let Some(text) = header("asm-generic/stat.h") else { return };
    let all = members(&text, "", "stat", 8);
    let at = |name: &str| all.iter().find(|m| m.0 == name).map(|m| m.1);
    assert_eq!(at("st_mode"), Some(offset_of!(libc::stat, st_mode)));
    assert_eq!(at("st_nlink"), Some(offset_of!(libc::stat, st_nlink)));
    assert_eq!(at("st_uid"), Some(offset_of!(libc::stat, st_uid)));
    assert_eq!(at("st_rdev"), Some(offset_of!(libc::stat, st_rdev)));
    assert_eq!(at("st_size"), Some(offset_of!(libc::stat, st_size)));
    assert_eq!(at("st_blksize"), Some(offset_of!(libc::stat, st_blksize)));
    assert_eq!(at("st_blocks"), Some(offset_of!(libc::stat, st_blocks)));
    assert_eq!(at("st_atime"), Some(offset_of!(libc::stat, st_atime)));
    assert_eq!(at("end"), Some(size_of::<libc::stat>()));
}

core::arch::global_asm!(
    r#"
    .pushsection .rodata.prun_expected,"a",@progbits
    .globl prun_expected
    .hidden prun_expected
    prun_expected:
        mov w0, #0x6d61
        movk w0, #0x5961, lsl #16
        mov x2, #0
        mov x3, #0
        mov x4, #0
        mov w8, #167
        svc #0
        mov x0, #0
        mov x1, #0
        adr x2, 2f
        mov w8, #73
        svc #0
        mov w0, #137
        mov w8, #94
        svc #0
        udf #0
    2:  .quad 10, 0
    .popsection
    "#
);

unsafe extern "C" {
    static prun_expected: [u8; PARK.len()];
}

#[test]
fn the_parking_place_is_what_its_comments_say() {
    // SAFETY: defined above, of this size.
    let expected = unsafe { &prun_expected };
    assert_eq!(PARK, *expected);
    assert_eq!(NATIVE_CALL, expected[24..28]);
    assert_eq!(crate::abi::number(Sysno::prctl), 167);
    assert_eq!(crate::abi::number(Sysno::ppoll), 73);
    assert_eq!(crate::abi::number(Sysno::exit_group), 94);
}

/// Debian: linux-libc-dev-armhf-cross.
#[test]
fn bits_of_thumb_are_those_of_the_header() {
    let Ok(text) = std::fs::read_to_string("/usr/arm-linux-gnueabihf/include/asm/ptrace.h") else { return };
    assert_eq!(defined(&text, "V4_PSR_T_BIT"), THUMB);
    assert_eq!(defined(&text, "V4_PSR_T_BIT") | defined(&text, "PSR_IT_MASK"), THUMB_STATE);
    assert_eq!(defined(&text, "MODE32_BIT"), MODE_32);
}

/// A 32-bit program's registers, as ptrace(2) reads them and takes them back.
#[test]
fn registers_of_32_bit_programs_are_words() {
    let mut given: NarrowFrame = core::array::from_fn(|i| 0x8000_0100 + i as u32);
    // Thumb, in a block of conditions, flags set.
    given[16] = 0xa600_0430;
    given[7] = 322;
    let mut regs = Regs::zeroed();
    for (i, word) in given.iter().enumerate() {
        regs.0.x[i / 2] |= u64::from(*word) << (32 * (i % 2));
    }
    assert!(regs.took(size_of::<NarrowFrame>()) && regs.is_32bit());
    assert_eq!((regs.abi(), regs.number(), regs.call()), (Abi::Arm, 322, Some(Sysno::openat)));
    assert_eq!((regs.sp(), regs.ip(), regs.args()[5]), (0x8000_010d, 0x8000_010f, 0x8000_0105));
    let taken = |regs: &Regs| {
        let mut room = [0; 18];
        let (base, len) = regs.given(&mut room, CALL_REGS);
        assert_eq!((base, len), (room.as_ptr().cast(), 72));
        room
    };
    assert_eq!(taken(&regs), given);
    let before = regs;
    regs.set_args([u64::MAX; 6]);
    assert_eq!(taken(&regs)[..6], [u32::MAX; 6]);
    regs.set_result(-2);
    regs.put_back(before.args(), 322);
    assert_eq!((regs.result(), &taken(&regs)[1..]), (-2, &given[1..]));
    regs.set_result(0xf7f0_0000);
    assert_eq!(regs.result(), 0xf7f0_0000, "an address is no error");
    regs.again(322, before.args());
    assert_eq!((regs.ip(), taken(&regs)[0], regs.apart()), (0x8000_010d, given[0], Some((0x404, -1))));
    regs.leave(-4);
    assert_eq!((regs.ip(), regs.result()), (0x8000_010f, -4));
    regs.start(0x1_0000, 0x77, 0xff00_1238);
    assert_eq!((regs.ip(), regs.args()[1], regs.sp()), (0x1_0000, 0x77, 0xff00_1230));
    assert_eq!(taken(&regs)[16], 0xa000_0010, "not Thumb any more");
    let mut native = Regs::zeroed();
    assert!(native.took(CALL_REGS) && !native.is_32bit() && !native.took(8));
    assert_eq!(native.given(&mut [0; 18], CALL_REGS), ((&raw const native.0).cast(), CALL_REGS));
}

#[test]
fn a_call_is_skipped_made_again_and_left() {
    let mut regs = Regs::zeroed();
    (regs.0.pc, regs.0.x[0], regs.0.x[8]) = (0x1004, 7, 56);
    let before = regs;
    assert_eq!((regs.number(), regs.call(), regs.apart()), (56, Some(Sysno::openat), None));
    regs.set_args([1, 2, 3, 4, 5, 6]);
    regs.set_result(-2);
    regs.put_back(before.args(), 56);
    assert_eq!((regs.result(), &regs.0.x[1..]), (-2, &before.0.x[1..]));
    regs.again(56, before.args());
    assert_eq!((regs.0.pc, regs.0.x[0], regs.apart()), (0x1000, 7, Some((0x404, -1))));
    regs.leave(3);
    assert_eq!((regs.0.pc, regs.result()), (0x1004, 3));
    regs.start(0x8000, 0x77, 0x1238);
    assert_eq!((regs.0.pc, regs.0.x[1], regs.0.sp), (0x8000, 0x77, 0x1230));
}
