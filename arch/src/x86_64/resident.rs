//! Code that answers calls in the tracee, so that they need not stop: lookups of one name in a directory that is open,
//! listings, and fstat(3).
//!
//! Programs that walk trees (find, du, tar, rm -r) ask newfstatat(2) and openat(2) for one name at a time in a
//! directory they have open, without following a link. If no binding has such a name, the call means the same to host
//! and guest. glibc's fstat(3), from 2.33 to 2.38, is newfstatat(2) with an empty path. No filter can tell these calls
//! from others: filters do not see memory. Nor do they know which directory getdents64(2) is about; the stub asks
//! fstat(2), into the very buffer that the entries will be written to, and compares a byte of the inode's number.
//!
//! A call site, `mov $nr,%eax; syscall`, is seven bytes, as many as `mov $stub,%eax; jmp *%rax` with a stub below 4 GiB:
//! rax is about to be overwritten anyway, and threads that are inside the call return behind the site, which stays as
//! it is. The stub looks at the arguments and makes the call itself, on a page whose calls the filter allows; or it
//! makes it as it was on the page behind, where it stops. It changes no register that `syscall` does not change (rax,
//! rcx, r11; the flags are kept in rax meanwhile) and leaves rcx at the address behind the site, as the native call
//! does. A path that cannot be read faults in the stub; the tracer sees the signal first and sends the task the slow
//! way, where the kernel answers `EFAULT`.
//!
//! There are [`COUNT`] stubs of [`BLOCK`] bytes, a third of them for each of the three calls. Behind the code of each lie
//! the bitmap of what is not simple ([`Complex`]), and the address that its site returns to, which the tracer writes.
#![allow(unsafe_code)]

use super::{CALL_LEN, Regs};
pub use crate::complex::{Complex, add};

/// Where the pages are, in tracees where they could be mapped: low enough for a 32-bit operand, below where fixed
/// programs begin, not below `vm.mmap_min_addr`.
pub const AT: u64 = 0x2_0000;
/// Bytes of the part from which calls are allowed, and of the part behind it, from which they stop.
pub const PART: u64 = 0x1000;
/// Stubs; each call has a third of them.
pub const COUNT: usize = 16;
/// Bytes of a stub and its data.
const BLOCK: u64 = 256;
/// Whether there is such code for this CPU.
pub const ANY: bool = true;
/// Bytes of a call site.
pub const SITE_LEN: usize = 7;

/// Offsets of a stub's data; the code below has them too.
const BITMAP: u64 = 0xd0;
const RETURN: u64 = 0xf8;

const NR_STAT: u32 = 262;
const NR_OPEN: u32 = 257;
const NR_LIST: u32 = 217;
/// `sizeof(struct stat)`.
const STAT_LEN: u32 = 144;
const AT_SYMLINK_NOFOLLOW: u32 = 0x100;
const AT_EMPTY_PATH: u32 = 0x1000;
const O_NOFOLLOW: u32 = 0x2_0000;
/// Flags of open(2) with which no call from here passes: `O_ACCMODE`, `O_CREAT`, `O_TRUNC` and `__O_TMPFILE`.
pub const O_CHANGES: u32 = 0x3 | 0x40 | 0x200 | 0x40_0000;

core::arch::global_asm!(
    r#"
    .pushsection .rodata.prun_resident,"a",@progbits
    .macro prun_stub name, nr
    .globl prun_\name
    .hidden prun_\name
    .globl prun_\name\()_marks
    .hidden prun_\name\()_marks
    prun_\name:
        lahf                            # the flags go to ah and al
        seto al
    .Lsaved_\name:
    .if \nr == {list}
        cmp edx, {stat_len}
        jb .Lslow_\name
        add al, 0x7f                    # overflows if it was one
        sahf
    .Lrestored_\name:
        mov eax, 5                      # fstat
        syscall
        mov ecx, eax
        lahf
        seto al
    .Lagain_\name:
        test ecx, ecx
        jne .Lslow_\name
        movzx ecx, byte ptr [rsi + 8]   # st_ino
        bt dword ptr [rip + prun_\name + {bitmap}], ecx
        jc .Lslow_\name
        add al, 0x7f
        sahf
    .Lready_\name:
    .else
    .if \nr == {stat}
        cmp r10d, {empty_path}
        je .Lempty_\name
        cmp r10d, {nofollow}
    .else
        mov ecx, edx
        and ecx, {open_bits}
        cmp ecx, {open_nofollow}
    .endif
        jne .Lslow_\name
        movzx ecx, byte ptr [rsi]       # may fault
        bt dword ptr [rip + prun_\name + {bitmap}], ecx
        jc .Lslow_\name
        lea r11, [rsi + 1]
    .Lnext_\name:
        movzx ecx, byte ptr [r11]       # may fault
        inc r11
        cmp ecx, 0x2f
        je .Lslow_\name
        test ecx, ecx
        jne .Lnext_\name
        add al, 0x7f
        sahf
    .Lrestored_\name:
    .endif
        mov eax, \nr
    .Lcall_\name:
        syscall
    .Lback_\name:
        mov rcx, qword ptr [rip + prun_\name + {return_}]
        jmp rcx
    .Lempty_\name:
    .if \nr == {stat}
        cmp byte ptr [rsi], 0           # may fault
        jne .Lslow_\name
        test edi, edi
        js .Lslow_\name
        add al, 0x7f
        sahf
    .Lready_\name:
        mov eax, 5
        xchg rsi, rdx
    .Lfstat_\name:
        syscall
        xchg rsi, rdx
        jmp .Lback_\name
    .else
    .Lfstat_\name:
    .endif
    .if \nr == {stat}
    .equ .Lother_\name, .Lempty_\name
    .elseif \nr == {list}
    .equ .Lother_\name, .Lagain_\name
    .else
    .equ .Lother_\name, .Lslow_\name
    .equ .Lready_\name, .Lslow_\name
    .endif
    .Lslow_\name:
        add al, 0x7f
        sahf
        .byte 0xe9                      # jmp to the slow part
        .long {part} - (. + 4 - prun_\name)
    .Lend_\name:
        .org prun_\name + {block}, 0xcc
    prun_\name\()_marks:
        .byte .Lsaved_\name - prun_\name, .Lrestored_\name - prun_\name, .Lother_\name - prun_\name
        .byte .Lready_\name - prun_\name, .Lcall_\name - prun_\name, .Lback_\name - prun_\name
        .byte .Lempty_\name - prun_\name, .Lfstat_\name - prun_\name, .Lslow_\name - prun_\name
        .byte .Lend_\name - prun_\name
    .endm
    prun_stub stat, {stat}
    prun_stub open, {open}
    prun_stub list, {list}
    .popsection
    "#,
    stat = const NR_STAT,
    open = const NR_OPEN,
    list = const NR_LIST,
    stat_len = const STAT_LEN,
    empty_path = const AT_EMPTY_PATH,
    nofollow = const AT_SYMLINK_NOFOLLOW,
    open_bits = const O_NOFOLLOW | O_CHANGES,
    open_nofollow = const O_NOFOLLOW,
    bitmap = const BITMAP,
    return_ = const RETURN,
    part = const PART,
    block = const BLOCK,
);

unsafe extern "C" {
    static prun_stat: [u8; BLOCK as usize];
    static prun_open: [u8; BLOCK as usize];
    static prun_list: [u8; BLOCK as usize];
    static prun_stat_marks: Marks;
    static prun_open_marks: Marks;
    static prun_list_marks: Marks;
}

/// Offsets in a stub's code, in the order of its labels. The flags are in ax from `saved` to `restored`, from `other` to
/// `ready` and in the three bytes from `slow` on.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
struct Marks {
    saved: u8,
    restored: u8,
    other: u8,
    ready: u8,
    call: u8,
    back: u8,
    empty: u8,
    fstat: u8,
    slow: u8,
    end: u8,
}

/// The calls that stubs serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Stat,
    Open,
    List,
}

impl Kind {
    const ALL: [Self; 3] = [Kind::Stat, Kind::Open, Kind::List];

    fn of(index: usize) -> Self {
        Self::ALL[index % 3]
    }

    fn number(self) -> u32 {
        match self {
            Kind::Stat => NR_STAT,
            Kind::Open => NR_OPEN,
            Kind::List => NR_LIST,
        }
    }

    fn code(self) -> &'static [u8; BLOCK as usize] {
        // SAFETY: all are constant and defined above, of this size.
        unsafe {
            match self {
                Kind::Stat => &prun_stat,
                Kind::Open => &prun_open,
                Kind::List => &prun_list,
            }
        }
    }

    fn marks(self) -> Marks {
        // SAFETY: all are constant and defined above, of this size.
        unsafe {
            match self {
                Kind::Stat => prun_stat_marks,
                Kind::Open => prun_open_marks,
                Kind::List => prun_list_marks,
            }
        }
    }

    fn site(self) -> [u8; SITE_LEN] {
        let nr = self.number().to_le_bytes();
        [0xb8, nr[0], nr[1], nr[2], nr[3], 0x0f, 0x05]
    }
}

fn has(set: &[u64; 4], byte: u8) -> bool {
    set[usize::from(byte) / 64] & 1 << (byte % 64) != 0
}

/// The two pages.
pub fn pages(complex: &Complex) -> Vec<u8> {
    let mut pages = vec![0xcc; 2 * PART as usize];
    let mut names = complex.names;
    [0, b'.', b'/'].into_iter().for_each(|byte| add(&mut names, byte));
    for index in 0..COUNT {
        let kind = Kind::of(index);
        let at = index * BLOCK as usize;
        pages[at..][..BLOCK as usize].copy_from_slice(kind.code());
        let bitmap = if kind == Kind::List { &complex.listings } else { &names };
        for (i, word) in bitmap.iter().enumerate() {
            pages[at + BITMAP as usize + 8 * i..][..8].copy_from_slice(&word.to_le_bytes());
        }
        // mov $nr,%eax; syscall; jmp back
        let slow = PART as usize + at;
        pages[slow..][..SITE_LEN].copy_from_slice(&kind.site());
        pages[slow + SITE_LEN] = 0xe9;
        let back = i32::from(kind.marks().back) - (PART as i32 + SITE_LEN as i32 + 5);
        pages[slow + SITE_LEN + 1..][..4].copy_from_slice(&back.to_le_bytes());
    }
    pages
}

/// Whether a stub would make this call, whose path is `path`, without a stop; of a listing it is known already that it
/// is the host's.
pub fn serves(number: u32, args: &[u64; 6], path: &[u8], complex: &Complex) -> bool {
    let simple =
        || path.first().is_some_and(|&b| b != b'.' && !has(&complex.names, b)) && !path.contains(&b'/');
    match number {
        NR_STAT if args[3] as u32 == AT_EMPTY_PATH => path.is_empty() && args[0] as i32 >= 0,
        NR_STAT => args[3] as u32 == AT_SYMLINK_NOFOLLOW && simple(),
        NR_OPEN => args[2] as u32 & (O_NOFOLLOW | O_CHANGES) == O_NOFOLLOW && simple(),
        NR_LIST => args[2] as u32 >= STAT_LEN,
        _ => false,
    }
}

/// The bytes of a call site for `number`; `None` where no stub serves it.
pub fn site(number: u32) -> Option<[u8; SITE_LEN]> {
    Kind::ALL.into_iter().find(|k| k.number() == number).map(Kind::site)
}

/// The `nth` stub for `number`; `None` when there are no more.
pub fn stub(number: u32, nth: usize) -> Option<usize> {
    (0..COUNT).filter(|&i| Kind::of(i).number() == number).nth(nth)
}

/// Where stub `index` begins, and its code: to see that it is there.
pub fn code(index: usize) -> (u64, &'static [u8]) {
    (AT + BLOCK * index as u64, &Kind::of(index).code()[..BITMAP as usize])
}

/// Where the address is that stub `index` returns to.
pub fn return_at(index: usize) -> u64 {
    AT + BLOCK * index as u64 + RETURN
}

/// What is written over a site that stub `index` serves.
pub fn jump(index: usize) -> [u8; SITE_LEN] {
    let stub = ((AT + BLOCK * index as u64) as u32).to_le_bytes();
    [0xb8, stub[0], stub[1], stub[2], stub[3], 0xff, 0xe0]
}

/// The stub that the task is in.
pub fn stub_of(regs: &Regs) -> Option<usize> {
    let offset = regs.ip().checked_sub(AT).filter(|&o| o < 2 * PART)?;
    Some((offset % PART / BLOCK) as usize)
}

/// Where a task is in a stub.
struct Place {
    slow: bool,
    offset: u64,
    marks: Marks,
}

impl Place {
    /// Whether the flags are in ax.
    fn holds_flags(&self) -> bool {
        let m = &self.marks;
        let within = |from: u8, to: u64| (u64::from(from)..to).contains(&self.offset);
        // `add` and `sahf` are two bytes and one.
        !self.slow
            && (within(m.saved, m.restored.into())
                || within(m.other, m.ready.into())
                || within(m.slow, u64::from(m.slow) + 3))
    }
}

fn place(regs: &Regs) -> Option<Place> {
    let index = stub_of(regs)?;
    let offset = regs.ip() - AT;
    Some(Place { slow: offset >= PART, offset: offset % BLOCK, marks: Kind::of(index).marks() })
}

/// Whether the fault that a task has come to is that of an unreadable path; the call is then made as it was.
pub fn sidestep(regs: &mut Regs) -> bool {
    let Some(place) = place(regs).filter(Place::holds_flags) else { return false };
    regs.0.rip += u64::from(place.marks.slow).wrapping_sub(place.offset);
    true
}

/// Gives a task in a stub, whose site returns to `ret`, what it would have without: before the call it stands at its
/// site again, after it behind it. A call that the kernel is about to restart stays where it is.
pub fn fix_up(regs: &mut Regs, ret: u64) {
    let Some(place) = place(regs) else { return };
    let Place { slow, offset, marks } = place;
    let at = |mark: u8| u64::from(mark);
    let after_slow = SITE_LEN as u64;
    let after = if slow {
        offset >= after_slow
    } else {
        (at(marks.back)..at(marks.empty)).contains(&offset)
            || (at(marks.fstat) + CALL_LEN..at(marks.slow)).contains(&offset)
    };
    let returned = if slow {
        offset == after_slow
    } else {
        offset == at(marks.back) || (offset == at(marks.fstat) + CALL_LEN && offset < at(marks.slow))
    };
    if returned && regs.restarts() {
        return;
    }
    if !slow {
        if place.holds_flags() {
            restore_flags(regs);
        }
        let swapped = at(marks.fstat)..at(marks.fstat) + CALL_LEN + 1;
        if marks.fstat != marks.slow && swapped.contains(&offset) {
            std::mem::swap(&mut regs.0.rsi, &mut regs.0.rdx);
        }
    }
    if after {
        (regs.0.rip, regs.0.rcx) = (ret, ret);
    } else {
        regs.0.rip = ret - SITE_LEN as u64;
    }
}

/// The flags that `lahf` and `seto` have put into ax, whether `add` has been over it or not.
fn restore_flags(regs: &mut Regs) {
    const LOW: u64 = 0xd5;
    const OVERFLOW: u64 = 0x800;
    let (low, over) = (regs.0.rax >> 8 & LOW, regs.0.rax & 0xff);
    regs.0.eflags &= !(LOW | OVERFLOW);
    regs.0.eflags |= low | if matches!(over, 1 | 0x80) { OVERFLOW } else { 0 };
}

#[cfg(test)]
mod tests {
    use super::*;

    const RET: u64 = 0x7f00_0000_1007;

    fn at(index: usize, offset: u64) -> Regs {
        let mut regs = Regs::zeroed();
        (regs.0.rip, regs.0.rsi, regs.0.rdx) = (AT + BLOCK * index as u64 + offset, 1, 2);
        (regs.0.orig_rax, regs.0.rax) = (u64::MAX, 0x8501);
        regs
    }

    /// Runs a stub's bytes natively up to nothing: only their shape can be looked at here. The integration tests run
    /// them, with every register compared.
    #[test]
    fn the_code_is_where_its_marks_say() {
        for kind in Kind::ALL {
            let (code, m) = (kind.code(), kind.marks());
            assert_eq!(code[usize::from(m.call)..][..2], [0x0f, 0x05], "{kind:?}");
            for restored in [m.restored, m.ready, m.slow + 3] {
                let sahf = kind == Kind::Open && restored == m.ready;
                assert_eq!(code[usize::from(restored) - 3..][..3] == [0x04, 0x7f, 0x9e], !sahf, "{kind:?}");
            }
            assert_eq!(m.back, m.call + 2);
            assert!(u64::from(m.end) <= BITMAP);
        }
        assert_eq!(Kind::Stat.code()[usize::from(Kind::Stat.marks().fstat)..][..2], [0x0f, 0x05]);
        let pages = pages(&Complex::default());
        let slow = &pages[PART as usize + 3 * 256..][..12];
        assert_eq!(slow[..8], [0xb8, 6, 1, 0, 0, 0x0f, 5, 0xe9]);
        let target = i32::from_le_bytes(slow[8..].try_into().expect("4")) + PART as i32 + 12;
        assert_eq!(target, i32::from(Kind::Stat.marks().back));
    }

    #[test]
    fn nobody_sees_the_stub() {
        let m = Kind::Stat.marks();
        for (offset, flags) in [
            (0, 0),
            (u64::from(m.saved), 0x885),
            (u64::from(m.restored) - 1, 0x885),
            (u64::from(m.call), 0),
            (u64::from(m.slow), 0x885),
        ] {
            let mut regs = at(3, offset);
            fix_up(&mut regs, RET);
            assert_eq!((regs.0.rip, regs.0.rsi, regs.0.eflags), (RET - 7, 1, flags), "{offset:#x}");
        }
        for (offset, rip) in [(u64::from(m.fstat), RET - 7), (u64::from(m.fstat) + 2, RET)] {
            let mut regs = at(0, offset);
            fix_up(&mut regs, RET);
            assert_eq!((regs.0.rip, regs.0.rsi, regs.0.rdx), (rip, 2, 1), "{offset:#x}");
        }
        for offset in [u64::from(m.back), u64::from(m.back) + 7, u64::from(m.fstat) + 5, PART + 7] {
            let mut regs = at(6, offset);
            fix_up(&mut regs, RET);
            assert_eq!((regs.0.rip, regs.0.rcx, regs.0.rsi), (RET, RET, 1), "{offset:#x}");
        }
        let mut regs = at(1, u64::from(Kind::Open.marks().back));
        (regs.0.orig_rax, regs.0.rax) = (257, -512i64 as u64);
        let before = regs.0.rip;
        fix_up(&mut regs, RET);
        assert_eq!(regs.0.rip, before, "the kernel restarts it");
    }

    #[test]
    fn what_a_stub_serves() {
        let none = Complex::default();
        let stat = |flags: u32, path: &[u8]| serves(NR_STAT, &[3, 0, 0, u64::from(flags), 0, 0], path, &none);
        assert!(stat(AT_EMPTY_PATH, b"") && stat(AT_SYMLINK_NOFOLLOW, b"name"));
        assert!(!stat(AT_EMPTY_PATH, b"x") && !stat(AT_SYMLINK_NOFOLLOW, b"a/b") && !stat(0, b"name"));
        assert!(
            !stat(AT_SYMLINK_NOFOLLOW, b".")
                && !stat(AT_SYMLINK_NOFOLLOW, b"/")
                && !stat(AT_SYMLINK_NOFOLLOW, b"")
        );
        let open = |flags: u32| serves(NR_OPEN, &[3, 0, u64::from(flags), 0, 0, 0], b"name", &none);
        assert!(
            open(O_NOFOLLOW)
                && open(O_NOFOLLOW | 0x1_0000)
                && !open(0)
                && !open(O_NOFOLLOW | 1)
                && !open(O_NOFOLLOW | 0x41_0000)
        );
        let mut complex = none;
        add(&mut complex.names, b'n');
        assert!(!serves(NR_OPEN, &[3, 0, u64::from(O_NOFOLLOW), 0, 0, 0], b"nix", &complex));
        assert_eq!(
            (stub(NR_STAT, 0), stub(NR_OPEN, 0), stub(NR_OPEN, 5), site(1)),
            (Some(0), Some(1), None, None)
        );
    }
}
