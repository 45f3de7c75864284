//! Code that answers a call in the tracee, so that it need not stop: fstat(3) of glibc 2.33 to 2.38.
//!
//! That fstat(3) is newfstatat(2) with an empty path and `AT_EMPTY_PATH`, which no filter can tell from a call with a
//! path: filters do not see memory. Its call site, `mov $262,%eax; syscall`, is seven bytes, as many as
//! `mov $stub,%eax; jmp *%rax` with a stub below 4 GiB: rax is about to be overwritten anyway, and threads that are
//! inside the call return behind the site, which stays as it is.
//!
//! The stub makes the call fstat(2) if the path is empty, the flags are just `AT_EMPTY_PATH` and the descriptor is a
//! plain one; otherwise it makes the call as it was, which stops. It changes no register that `syscall` does not change
//! and no flag (`syscall` preserves them, so comparisons are made with `jrcxz`), and leaves rcx at the address behind
//! the site, as the native call does. A path that cannot be read faults in the stub; the tracer sees the signal first
//! and sends the task the slow way, where the kernel answers `EFAULT`.
//!
//! Stubs are [`COUNT`] copies of one another on one page, each followed, [`RETURNS`] bytes on, by the address that
//! its site returns to, which the tracer writes.

use super::Regs;

/// Where the page is, in tracees where it could be mapped: low enough for a 32-bit operand, below where fixed programs
/// begin, not below `vm.mmap_min_addr`.
pub const AT: u64 = 0x2_0000;
/// Stubs on the page.
pub const COUNT: usize = 16;
/// Offset of the first stub's return address.
pub const RETURNS: u64 = 0x400;
const STRIDE: u64 = 64;

/// `mov $262,%eax; syscall`.
pub const SITE: [u8; 7] = [0xb8, 0x06, 0x01, 0x00, 0x00, 0x0f, 0x05];

/// One stub.
pub const CODE: [u8; 62] = [
    0x44, 0x89, 0xd1, //                          mov %r10d,%ecx
    0x8d, 0x89, 0x00, 0xf0, 0xff, 0xff, //        lea -AT_EMPTY_PATH(%rcx),%ecx
    0xe3, 0x02, 0xeb, 0x28, //                    jrcxz 1f; jmp slow
    0x0f, 0xb6, 0x0e, //                       1: movzbl (%rsi),%ecx
    0xe3, 0x02, 0xeb, 0x21, //                    jrcxz 2f; jmp slow
    0x89, 0xf9, 0x0f, 0xc9, 0x0f, 0xb6, 0xc9, //2: mov %edi,%ecx; bswap %ecx; movzbl %cl,%ecx
    0xe3, 0x02, 0xeb, 0x16, //                    jrcxz 3f; jmp slow
    0xb8, 0x05, 0x00, 0x00, 0x00, //           3: mov $SYS_fstat,%eax
    0x48, 0x87, 0xd6, //                          xchg %rdx,%rsi
    0x0f, 0x05, //                                syscall
    0x48, 0x87, 0xd6, //                          xchg %rdx,%rsi
    0x48, 0x8b, 0x0d, 0xcd, 0x03, 0x00, 0x00, //back: mov RETURNS(stub),%rcx
    0xff, 0xe1, //                                jmp *%rcx
    0xb8, 0x06, 0x01, 0x00, 0x00, //        slow: mov $SYS_newfstatat,%eax
    0x0f, 0x05, //                                syscall
    0xeb, 0xee, //                                jmp back
];

/// Offsets of instructions in [`CODE`].
const READ_PATH: u64 = 0x0d;
const CALL: u64 = 0x27;
const AFTER_CALL: u64 = 0x29;
const BACK: u64 = 0x2c;
const SLOW: u64 = 0x35;
const AFTER_SLOW: u64 = 0x3c;

/// The page's stubs, without return addresses.
pub fn page() -> Vec<u8> {
    let mut page = vec![0xcc; RETURNS as usize];
    for stub in page.chunks_exact_mut(STRIDE as usize) {
        stub[..CODE.len()].copy_from_slice(&CODE);
    }
    page
}

/// Where the return address of stub `index` is.
pub fn return_at(index: usize) -> u64 {
    AT + RETURNS + STRIDE * index as u64
}

/// What is written over a site that stub `index` serves.
pub fn jump(index: usize) -> [u8; 7] {
    let stub = ((AT + STRIDE * index as u64) as u32).to_le_bytes();
    [0xb8, stub[0], stub[1], stub[2], stub[3], 0xff, 0xe0]
}

/// The stub that an address lies in, and the offset in it.
fn place(ip: u64) -> Option<(usize, u64)> {
    let offset = ip.checked_sub(AT).filter(|&o| o < RETURNS)?;
    Some(((offset / STRIDE) as usize, offset % STRIDE))
}

/// The stub that the task is in.
pub fn stub_of(regs: &Regs) -> Option<usize> {
    place(regs.ip()).map(|(index, _)| index)
}

/// Whether a fault at this address is that of an unreadable path; the call is then made as it was.
pub fn sidestep(regs: &mut Regs) -> bool {
    let faulted = place(regs.ip()).is_some_and(|(_, offset)| offset == READ_PATH);
    if faulted {
        regs.0.rip += SLOW - READ_PATH;
    }
    faulted
}

/// Gives a task in a stub, whose site returns to `ret`, what it would have without: before the call it stands at its
/// site again, after it behind it. A call that the kernel is about to restart stays where it is.
pub fn fix_up(regs: &mut Regs, ret: u64) {
    let Some((_, offset)) = place(regs.ip()) else { return };
    if matches!(offset, AFTER_CALL | AFTER_SLOW) && regs.restarts() {
        return;
    }
    if matches!(offset, CALL | AFTER_CALL) {
        std::mem::swap(&mut regs.0.rsi, &mut regs.0.rdx);
    }
    if (AFTER_CALL..SLOW).contains(&offset) || offset == AFTER_SLOW {
        (regs.0.rip, regs.0.rcx) = (ret, ret);
    } else {
        regs.0.rip = ret - SITE.len() as u64;
    }
}

const _: () = assert!(CODE.len() as u64 <= STRIDE && STRIDE * COUNT as u64 == RETURNS);
const _: () = assert!(BACK + 7 + 0x3cd == RETURNS);

#[cfg(test)]
#[allow(unsafe_code)]
mod tests {
    use super::*;

    fn at(offset: u64) -> Regs {
        // SAFETY: all-zero bytes are a valid register set.
        let mut regs: Regs = unsafe { std::mem::zeroed() };
        (regs.0.rip, regs.0.rsi, regs.0.rdx, regs.0.orig_rax) = (AT + STRIDE + offset, 1, 2, u64::MAX);
        regs
    }

    #[test]
    fn nobody_sees_the_stub() {
        let ret = 0x7f00_0000_1007;
        for offset in [0x00, 0x03, 0x0d, 0x14, 0x1f, 0x24, 0x35, 0x3a] {
            let mut regs = at(offset);
            fix_up(&mut regs, ret);
            assert_eq!((regs.0.rip, regs.0.rsi, regs.0.rdx), (ret - 7, 1, 2), "{offset:#x}");
        }
        for (offset, swapped) in [(0x27, ret - 7), (0x29, ret)] {
            let mut regs = at(offset);
            fix_up(&mut regs, ret);
            assert_eq!((regs.0.rip, regs.0.rsi, regs.0.rdx), (swapped, 2, 1), "{offset:#x}");
        }
        for offset in [0x2c, 0x33, 0x3c] {
            let mut regs = at(offset);
            fix_up(&mut regs, ret);
            assert_eq!((regs.0.rip, regs.0.rcx, regs.0.rsi), (ret, ret, 1), "{offset:#x}");
        }
        let mut regs = at(0x29);
        (regs.0.orig_rax, regs.0.rax) = (5, -512i64 as u64);
        fix_up(&mut regs, ret);
        assert_eq!(regs.0.rip, AT + STRIDE + 0x29, "the kernel restarts it");
        let mut regs = at(0x0d);
        assert!(sidestep(&mut regs) && regs.0.rip == AT + STRIDE + 0x35);
        assert!(!sidestep(&mut at(0x10)));
    }

    #[test]
    fn a_site_and_its_jump_have_one_length() {
        assert_eq!(jump(3).len(), SITE.len());
        assert_eq!(u32::from_le_bytes(jump(3)[1..5].try_into().expect("4")), 0x2_00c0);
        assert_eq!(page().len() as u64, RETURNS);
    }
}
