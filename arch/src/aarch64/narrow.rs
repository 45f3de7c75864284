//! Machine code for 32-bit programs (A32), which 64-bit code cannot stand in for: no task changes between the two but by
//! execve(2). Each word stands beside what the assembler makes it from; a test asks it.
//!
//! Neither touches r12: stops at the ends of calls do not show it, and what the program has in it stays there.

const LOADER_WORDS: usize = 62;
const PARK_WORDS: usize = 25;

/// The loader, as `guest/loader.rs` has it, for the same scripts; of their words it takes the low halves. It has neither
/// stack nor data.
#[rustfmt::skip]
const LOADER_CODE: [(u32, &str); LOADER_WORDS] = [
    (0xe1a0_8001, "mov r8, r1"),                  // the script: r0 is execve(2)'s
    (0xe3e0_9000, "mvn r9, #0"),                  // the current descriptor
    (0xe3a0_a000, "mov r10, #0"),                 // status
    (0xe3a0_b000, "mov r11, #0"),                 // index of the step, of the failed one in the end
    (0xe598_e000, "next: ldr lr, [r8]"),          // what to do: low halves everywhere
    (0xe35e_0005, "cmp lr, #5"),                  // DONE
    (0x0a00_0030, "beq done"),
    (0xe35a_0000, "cmp r10, #0"),                 // after a failure the rest is skipped
    (0x1a00_0023, "bne skip"),
    (0xe35e_0004, "cmp lr, #4"),                  // ZERO
    (0x0a00_0025, "beq zero"),
    (0xe598_7008, "ldr r7, [r8, #8]"),
    (0xe598_0010, "ldr r0, [r8, #16]"),
    (0xe598_1018, "ldr r1, [r8, #24]"),
    (0xe598_2020, "ldr r2, [r8, #32]"),
    (0xe598_3028, "ldr r3, [r8, #40]"),
    (0xe598_4030, "ldr r4, [r8, #48]"),
    (0xe598_5038, "ldr r5, [r8, #56]"),
    (0xe300_60fd, "movw r6, #0x00fd"),
    (0xe34f_6fff, "movt r6, #0xffff"),            // FD
    (0xe150_0006, "cmp r0, r6"),
    (0x01a0_0009, "moveq r0, r9"),
    (0xe151_0006, "cmp r1, r6"),
    (0x01a0_1009, "moveq r1, r9"),
    (0xe152_0006, "cmp r2, r6"),
    (0x01a0_2009, "moveq r2, r9"),
    (0xe153_0006, "cmp r3, r6"),
    (0x01a0_3009, "moveq r3, r9"),
    (0xe154_0006, "cmp r4, r6"),
    (0x01a0_4009, "moveq r4, r9"),
    (0xe155_0006, "cmp r5, r6"),
    (0x01a0_5009, "moveq r5, r9"),
    (0xef00_0000, "svc #0"),
    (0xe35e_0002, "cmp lr, #2"),                  // TRY
    (0x0a00_0009, "beq skip"),
    (0xe370_0a01, "cmn r0, #4096"),               // an error is above -4096
    (0x81a0_a000, "movhi r10, r0"),
    (0x8a00_0006, "bhi skip"),
    (0xe35e_0003, "cmp lr, #3"),                  // OPEN
    (0x01a0_9000, "moveq r9, r0"),
    (0xe35e_0006, "cmp lr, #6"),                  // PLACE
    (0x1a00_0002, "bne skip"),
    (0xe598_6010, "ldr r6, [r8, #16]"),
    (0xe150_0006, "cmp r0, r6"),
    (0x13e0_a010, "mvnne r10, #16"),              // -EEXIST
    (0xe35a_0000, "skip: cmp r10, #0"),
    (0x028b_b001, "addeq r11, r11, #1"),
    (0xe288_8040, "add r8, r8, #64"),
    (0xeaff_ffd2, "b next"),
    (0xe598_0008, "zero: ldr r0, [r8, #8]"),
    (0xe598_1010, "ldr r1, [r8, #16]"),
    (0xe3a0_2000, "mov r2, #0"),
    (0xe150_0001, "more: cmp r0, r1"),
    (0x2aff_fff6, "bhs skip"),
    (0xe4c0_2001, "strb r2, [r0], #1"),
    (0xeaff_fffb, "b more"),
    (0xe598_7008, "done: ldr r7, [r8, #8]"),
    (0xe1a0_000a, "mov r0, r10"),
    (0xe1a0_100b, "mov r1, r11"),
    (0xe598_2010, "ldr r2, [r8, #16]"),
    (0xef00_0000, "svc #0"),                      // stopped by the tracer, and not run
    (0xeaff_fff9, "b done"),
];

/// The parking place, as [`super::PARK`]: lets the process in r1 attach, sleeps, and ends if nobody comes.
#[rustfmt::skip]
const PARK_CODE: [(u32, &str); PARK_WORDS] = [
    (0xe306_0d61, "movw r0, #0x6d61"),
    (0xe345_0961, "movt r0, #0x5961"),            // PR_SET_PTRACER
    (0xe3a0_2000, "mov r2, #0"),
    (0xe3a0_3000, "mov r3, #0"),
    (0xe3a0_4000, "mov r4, #0"),
    (0xe3a0_70ac, "mov r7, #172"),                // prctl
    (0xef00_0000, "svc #0"),
    (0xe3a0_0000, "mov r0, #0"),
    (0xe3a0_1000, "mov r1, #0"),
    (0xe28f_2028, "adr r2, timeout"),
    (0xe3a0_3000, "mov r3, #0"),
    (0xe3a0_4000, "mov r4, #0"),
    (0xe300_719e, "movw r7, #414"),               // ppoll_time64; Linux 5.1
    (0xef00_0000, "svc #0"),
    (0xe3a0_0000, "mov r0, #0"),
    (0xe300_7150, "movw r7, #336"),               // ppoll, the same time in halves
    (0xef00_0000, "svc #0"),
    (0xe3a0_0089, "mov r0, #137"),
    (0xe3a0_70f8, "mov r7, #248"),                // exit_group
    (0xef00_0000, "svc #0"),
    (0xe7f0_00f0, "udf #0"),
    (0x0000_000a, "timeout: .word 10"),           // seconds
    (0x0000_0000, ".word 0"),
    (0x0000_0000, ".word 0"),
    (0x0000_0000, ".word 0"),
];

/// [`LOADER_CODE`] as bytes.
pub(super) const LOADER: [u8; 4 * LOADER_WORDS] = bytes(&LOADER_CODE);
/// [`PARK_CODE`] as bytes.
pub(super) const PARK: [u8; 4 * PARK_WORDS] = bytes(&PARK_CODE);

const fn bytes<const BYTES: usize>(code: &[(u32, &str)]) -> [u8; BYTES] {
    let mut out = [0; BYTES];
    let mut i = 0;
    while i < BYTES {
        out[i] = code[i / 4].0.to_le_bytes()[i % 4];
        i += 1;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    /// Debian: binutils-arm-linux-gnueabihf.
    fn assembled(code: &[(u32, &str)]) -> Option<Vec<u8>> {
        let dir = std::env::temp_dir().join(format!("prun-a32-{}-{}", std::process::id(), code.len()));
        std::fs::create_dir_all(&dir).expect("a folder");
        let lines: Vec<&str> = code.iter().map(|&(_, line)| line).collect();
        let source = format!(".syntax unified\n.arch armv7-a\n.arm\n{}\n", lines.join("\n"));
        std::fs::write(dir.join("a.s"), source).expect("a file");
        let run = |tool: &str, args: &[&str]| {
            let status =
                Command::new(format!("arm-linux-gnueabihf-{tool}")).args(args).current_dir(&dir).status();
            status.ok().map(|s| assert!(s.success(), "{tool} {args:?}"))
        };
        let done = run("as", &["a.s", "-o", "a.o"])
            .and_then(|()| run("objcopy", &["-O", "binary", "-j", ".text", "a.o", "a.bin"]))
            .and_then(|()| std::fs::read(dir.join("a.bin")).ok());
        std::fs::remove_dir_all(&dir).expect("ours");
        done
    }

    #[test]
    fn the_words_are_what_the_assembler_makes_of_their_text() {
        for (code, bytes) in [(&LOADER_CODE[..], &LOADER[..]), (&PARK_CODE[..], &PARK[..])] {
            match assembled(code) {
                Some(expected) => assert_eq!(expected, bytes),
                None => eprintln!("not run: arm-linux-gnueabihf-as is not installed"),
            }
        }
    }

    #[test]
    fn steps_and_numbers_are_those_of_the_text() {
        use crate::abi::{Abi, Sysno, arm};
        use crate::loader::script::{CALL, DONE, FD, OPEN, PLACE, Step, TRY, ZERO};
        assert_eq!([CALL, TRY, OPEN, ZERO, DONE, PLACE], [1, 2, 3, 4, 5, 6]);
        assert_eq!((FD as u32, size_of::<Step>()), (0xffff_00fd, 64));
        assert_eq!(Abi::Arm.number(Sysno::prctl), 172);
        assert_eq!((Abi::Arm.number(Sysno::ppoll), arm::PPOLL_TIME64), (336, 414));
        assert_eq!(Abi::Arm.number(Sysno::exit_group), 248);
    }
}
