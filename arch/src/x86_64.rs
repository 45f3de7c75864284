//! x86-64, System V: registers, and the trampoline of the one-stop rewrite.

#[path = "x86_64/harness.rs"]
pub mod harness;
#[path = "x86_64/probe.rs"]
pub mod probe;
#[path = "x86_64/resident.rs"]
pub mod resident;

pub use crate::abi::i386 as narrow;
use crate::abi::{Abi, Sysno};
use crate::layout::{PAGE, SlotHead};
use crate::loader::{IMAGE, Loader};
use core::ffi::c_void;
use core::mem::offset_of;

/// Items, or one of two expressions, as the CPU is x86-64 or not: for tests that are machine code of it.
#[macro_export]
macro_rules! on_x86_64 {
    ({ $yes:expr } else { $no:expr }) => {
        $yes
    };
    ($($item:item)*) => {
        $($item)*
    };
}

/// The ABI of native programs.
pub const ABI: Abi = Abi::X86_64;
/// All that are translated: the second is that of 32-bit programs.
pub const ABIS: &[Abi] = &[Abi::X86_64, Abi::I386];
/// How filters call it.
pub const AUDIT_ARCH: u32 = ABI.audit();
/// `__X32_SYSCALL_BIT` of `<asm/unistd.h>`: set in the number of an x32 call.
pub const FOREIGN_BIT: u32 = 0x4000_0000;
/// Machine of ELF programs that this kernel ABI runs: `EM_X86_64`.
pub const ELF_MACHINE: u16 = 62;
/// That of 32-bit programs which the kernel may run too: `EM_386`.
pub const ELF_MACHINE_32: Option<u16> = Some(3);
/// What personality(2) takes only where such programs run: every CPU has 32-bit code, and a kernel without it says so
/// at execve(2).
pub const NARROW_PERSONALITY: Option<u64> = None;

/// Where prun's memory is in every tracee.
///
/// Below `ELF_ET_DYN_BASE` (0x5555_5555_4000), above the legacy mmap base (0x2aaa_…), in a range that the address,
/// memory and thread sanitizers treat as the application's.
pub const WINDOW: u64 = 0x5530_0000_0000;

/// Where prun's memory is in 32-bit programs: below the address that they are traditionally linked for, else, where
/// something is there, in the middle.
pub const LOW_WINDOWS: [u64; 2] = [0x0100_0000, 0x7000_0000];

/// Registers of a stopped tracee: `struct user_regs_struct`, and the ABI of the call it is stopped at, which the
/// kernel does not say there.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Regs(pub libc::user_regs_struct, Abi, Extent);

/// Registers of 32-bit programs in a layout of their own: there is none that prun reads.
pub type NarrowFrame = [u32; 0];

/// Which of the registers are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extent {
    Call,
    All,
}

/// Code segments of 64-bit and of 32-bit code: `__USER_CS` and `__USER32_CS` of `<asm/segment.h>`.
const CODE_64: u64 = 0x33;
const CODE_32: u64 = 0x23;

impl Regs {
    /// Registers to be filled in.
    pub fn zeroed() -> Self {
        // SAFETY: all-zero bytes are integers.
        #[allow(unsafe_code)]
        Self(unsafe { core::mem::zeroed() }, ABI, Extent::Call)
    }

    /// Says how many bytes of them ptrace(2) has read; false where others have to be asked for.
    pub fn took(&mut self, len: usize) -> bool {
        len >= CALL_REGS_READ
    }

    /// What ptrace(2) is to be given in their place: address and length; `len` bytes of them.
    pub fn given(&self, _room: &mut NarrowFrame, len: usize) -> (*const c_void, usize) {
        ((&raw const self.0).cast(), len)
    }

    /// The loader that a program with these registers can run: any task may run 64-bit code.
    pub fn loader(&self) -> Loader {
        Loader { image: IMAGE, abi: ABI }
    }

    /// They were read whole, and have to be set so: kernels before 5.11 have another set in a note for every task of
    /// a 32-bit program, whatever code it is in.
    pub fn set_whole(&mut self) {
        self.2 = Extent::All;
    }

    /// Whether they were.
    pub fn is_whole(&self) -> bool {
        self.2 == Extent::All
    }

    /// The ABI of the call.
    pub fn abi(&self) -> Abi {
        self.1
    }

    /// Says which it is.
    pub fn set_abi(&mut self, abi: Abi) {
        self.1 = abi;
    }

    /// Which ABI the registers speak for, at the beginning of a call; `None` where the kernel has to be asked.
    ///
    /// 32-bit code makes no others. In 64-bit code the `syscall` instruction leaves the address behind it in rcx, and
    /// `int 0x80` leaves rcx as it was: a program could put the same address there, so the filter lets no call of the
    /// 32-bit ABI pass that looks like it ([`LOOKS_NATIVE`]). Before Linux 4.0, and on CPUs with FRED, rcx is something
    /// else.
    pub fn apparent_abi(&self) -> Option<Abi> {
        match self.0.cs {
            CODE_32 => Some(Abi::I386),
            _ if self.0.rcx == self.0.rip => Some(Abi::X86_64),
            _ => None,
        }
    }

    /// Whether the tracee runs 32-bit code.
    pub fn is_32bit(&self) -> bool {
        self.0.cs == CODE_32
    }

    /// Number of the system call; the kernel looks at the low 32 bits only.
    pub fn number(&self) -> u32 {
        self.0.orig_rax as u32
    }

    /// Which call that is.
    pub fn call(&self) -> Option<Sysno> {
        self.1.call(self.number())
    }

    /// Makes the call another one.
    pub fn set_number(&mut self, number: u32) {
        self.0.orig_rax = u64::from(number);
    }

    /// Skips the call and lets it return `result`.
    pub fn skip(&mut self, result: i64) {
        self.0.orig_rax = u64::MAX;
        self.0.rax = result as u64;
    }

    /// All six arguments.
    pub fn args(&self) -> [u64; 6] {
        let r = &self.0;
        if self.1 == Abi::I386 {
            return [r.rbx, r.rcx, r.rdx, r.rsi, r.rdi, r.rbp].map(|arg| u64::from(arg as u32));
        }
        [r.rdi, r.rsi, r.rdx, r.r10, r.r8, r.r9]
    }

    /// Replaces all six arguments; of a 32-bit call the low halves of the registers, which are all it sees.
    pub fn set_args(&mut self, args: [u64; 6]) {
        let r = &mut self.0;
        if self.1 == Abi::I386 {
            let all = [&mut r.rbx, &mut r.rcx, &mut r.rdx, &mut r.rsi, &mut r.rdi, &mut r.rbp];
            for (register, arg) in all.into_iter().zip(args) {
                *register = *register & !u64::from(u32::MAX) | u64::from(arg as u32);
            }
            return;
        }
        [r.rdi, r.rsi, r.rdx, r.r10, r.r8, r.r9] = args;
    }

    /// After the call: all is as it was before but the result.
    pub fn put_back(&mut self, args: [u64; 6], number: u32) {
        self.set_args(args);
        self.set_number(number);
    }

    /// What a set of these registers needs besides: nothing, the number is one of them.
    pub fn apart(&self) -> Option<(u64, i32)> {
        None
    }

    /// Whether a stop at one end of a call is at its beginning: the kernel says `ENOSYS` until it has a result.
    pub fn begins(&self) -> bool {
        self.result() == -i64::from(libc::ENOSYS)
    }

    /// What the call returned.
    pub fn result(&self) -> i64 {
        self.0.rax as i64
    }

    /// Replaces what the call returned.
    pub fn set_result(&mut self, result: i64) {
        self.0.rax = result as u64;
    }

    /// Address of the next instruction.
    pub fn ip(&self) -> u64 {
        self.0.rip
    }

    /// Stack pointer.
    pub fn sp(&self) -> u64 {
        self.0.rsp
    }

    /// Goes on at `ip`.
    pub fn set_ip(&mut self, ip: u64) {
        self.0.rip = ip;
    }

    /// Whether a system call that was to be restarted by the kernel is in flight.
    pub fn in_call(&self) -> bool {
        self.0.orig_rax as i64 >= 0
    }

    /// Whether the kernel is about to run the call again, or to say `EINTR` if a handler comes first: `-ERESTART*`.
    pub fn restarts(&self) -> bool {
        self.in_call() && matches!(self.result(), -516..=-512)
    }

    /// Makes the instruction that entered the kernel run again, as it did before.
    pub fn again(&mut self, number: u32, _args: [u64; 6]) {
        self.0.rip -= CALL_LEN;
        self.0.rax = u64::from(number);
    }

    /// For a task that [`Regs::again`] has put before its call: it is behind it, and the call has returned `result`.
    pub fn leave(&mut self, result: i64) {
        self.0.rip += CALL_LEN;
        self.0.rax = result as u64;
        self.0.orig_rax = u64::MAX;
    }

    /// Whether a call can return into the trampoline: code that a task jumps back to must be 64-bit or 32-bit, and what
    /// `int 0x80` leaves alone in 64-bit code no trampoline could restore.
    pub fn has_trampoline(&self) -> bool {
        self.1 == ABI || self.0.cs == CODE_32
    }

    /// Where a call returns to, for the head of a slot.
    pub fn return_point(&self) -> u64 {
        if self.1 == ABI { self.0.rip } else { self.0.rip & u64::from(u32::MAX) | self.0.cs << 32 }
    }

    /// Lets the call that is about to run return into the trampoline, which restores its arguments from the slot;
    /// `window` is where prun's memory is in this tracee.
    ///
    /// `syscall` clobbers rcx, and the kernel returns with the rcx it finds in the frame when that differs from rip.
    /// 32-bit code has no register to spare, but does not see r8 to r15: its trampoline is 64-bit code.
    pub fn through(&mut self, slot: u64, window: u64) {
        if self.1 == Abi::I386 {
            self.0.r15 = slot;
            self.0.cs = CODE_64;
            self.0.rip = window + NARROW_START + TRAMPOLINE_RETURN;
            return;
        }
        self.0.rcx = slot;
        self.0.rip = window + TRAMPOLINE_RETURN;
    }

    /// The ABI whose trampoline the tracee is in.
    pub fn in_trampoline(&self, window: u64) -> Option<Abi> {
        let offset = self.0.rip.wrapping_sub(window);
        match offset < TRAMPOLINE.len() as u64 && self.0.cs != CODE_32 {
            true => Some(ABI),
            false => self.in_narrow(window).then_some(Abi::I386),
        }
    }

    fn in_narrow(&self, window: u64) -> bool {
        let offset = self.0.rip.wrapping_sub(window + NARROW_START);
        self.0.cs != CODE_32 && offset < NARROW.len() as u64
    }

    /// Whether the trampoline's own call instruction has just run.
    pub fn at_trampoline_return(&self, window: u64) -> bool {
        let start = if self.1 == Abi::I386 { NARROW_START } else { 0 };
        self.0.rip == window + start + TRAMPOLINE_RETURN && self.0.cs != CODE_32
    }

    /// Gives back what the guest would see had it made the call itself: for a tracee anywhere in the trampoline.
    pub fn fix_up(&mut self, slot: &SlotHead, window: u64) {
        if self.in_narrow(window) {
            self.1 = Abi::I386;
            self.set_args(slot.args);
            (self.0.rip, self.0.cs) = (slot.ret & u64::from(u32::MAX), slot.ret >> 32);
            return;
        }
        self.set_args(slot.args);
        self.0.rip = slot.ret;
        self.0.rcx = slot.ret;
    }

    /// Makes the call that is about to run a sleep in [`PARK`]; `tracer` is the process that may attach there.
    pub fn park(&mut self, tracer: u32, window: u64) {
        self.0.orig_rax = u64::MAX;
        self.jump(window + PARK_START);
        self.0.rdi = u64::from(tracer);
    }

    /// Goes on at 64-bit code.
    fn jump(&mut self, ip: u64) {
        self.0.rip = ip;
        if self.0.cs == CODE_32 {
            self.0.cs = CODE_64;
        }
    }

    /// Makes the call of a task that was parked at it run again, from its first instruction.
    pub fn unpark(&mut self, number: u32) {
        self.again(number, self.args());
        self.0.orig_rax = u64::MAX;
    }

    /// Starts injected code at `ip` with one argument and a stack that ends below `sp`.
    ///
    /// The code is 64-bit, also in a 32-bit program: any task may run both.
    pub fn start(&mut self, ip: u64, argument: u64, sp: u64) {
        self.jump(ip);
        self.0.rdi = argument;
        self.0.rsp = sp;
    }

    /// Takes over what stops at a call's ends do not show: they show everything.
    pub fn take_hidden(&mut self, _from: &Regs) {}
}

/// Bytes at the start of [`Regs`] that hold every register a system call has to do with, the instruction pointer last.
pub const CALL_REGS: usize = offset_of!(libc::user_regs_struct, rip) + 8;
/// The same with the code segment behind it, which tells what kind of code it is.
pub const CALL_REGS_READ: usize = offset_of!(libc::user_regs_struct, cs) + 8;
/// Where filters see the argument that is in rcx in a 32-bit call: while it equals the instruction pointer, the call
/// looks native ([`Regs::apparent_abi`]).
pub const LOOKS_NATIVE: Option<usize> = Some(1);

/// Requests of ptrace(2) that read and set all registers, also of a tracee in 32-bit code: `PTRACE_GETREGS` and
/// `PTRACE_SETREGS`. Its note is that of another CPU there.
pub const WHOLE: Option<[u64; 2]> = Some([12, 13]);

/// Arguments that may be changed in a call that stops once.
pub const ONE_STOP: [bool; 6] = [true; 6];

/// Whether the number of a call is set apart from the registers.
pub const NUMBER_APART: bool = false;

/// Bytes of the instruction that enters the kernel.
pub const CALL_LEN: u64 = 2;

/// That instruction: `syscall`. `int 0x80` and `sysenter` make calls of the 32-bit ABI.
pub const NATIVE_CALL: [u8; 2] = [0x0f, 0x05];

/// Length in bytes of the trampoline's first instruction: where a rewritten call returns to.
pub const TRAMPOLINE_RETURN: u64 = 2;

/// `syscall; mov 0(%rcx),%rdi; mov 8(%rcx),%rsi; mov 16(%rcx),%rdx; mov 24(%rcx),%r10; mov 32(%rcx),%r8;
/// mov 40(%rcx),%r9; mov 48(%rcx),%rcx; jmp *%rcx`: nothing but the argument registers and rcx, which `syscall` has
/// clobbered anyway, is touched, and neither the flags nor the stack.
pub const TRAMPOLINE: [u8; 31] = [
    0x0f, 0x05, // syscall
    0x48, 0x8b, 0x39, // mov (%rcx),%rdi
    0x48, 0x8b, 0x71, 0x08, // mov 8(%rcx),%rsi
    0x48, 0x8b, 0x51, 0x10, // mov 16(%rcx),%rdx
    0x4c, 0x8b, 0x51, 0x18, // mov 24(%rcx),%r10
    0x4c, 0x8b, 0x41, 0x20, // mov 32(%rcx),%r8
    0x4c, 0x8b, 0x49, 0x28, // mov 40(%rcx),%r9
    0x48, 0x8b, 0x49, 0x30, // mov 48(%rcx),%rcx
    0xff, 0xe1, // jmp *%rcx
];

/// Where [`NARROW`] is in the code page.
pub const NARROW_START: u64 = 192;

/// The trampoline of 32-bit code: `int $0x80; mov 0(%r15),%ebx; mov 8(%r15),%ecx; mov 16(%r15),%edx;
/// mov 24(%r15),%esi; mov 32(%r15),%edi; mov 40(%r15),%ebp; ljmp *48(%r15)`. It is 64-bit code, which reaches the slot by
/// a register that the program cannot see, and touches nothing but the arguments: neither the flags nor the stack.
pub const NARROW: [u8; 29] = [
    0xcd, 0x80, // int $0x80
    0x41, 0x8b, 0x1f, // mov (%r15),%ebx
    0x41, 0x8b, 0x4f, 0x08, // mov 8(%r15),%ecx
    0x41, 0x8b, 0x57, 0x10, // mov 16(%r15),%edx
    0x41, 0x8b, 0x77, 0x18, // mov 24(%r15),%esi
    0x41, 0x8b, 0x7f, 0x20, // mov 32(%r15),%edi
    0x41, 0x8b, 0x6f, 0x28, // mov 40(%r15),%ebp
    0x41, 0xff, 0x6f, 0x30, // ljmp *48(%r15)
];

/// Where [`PARK`] is in the code page.
pub const PARK_START: u64 = 64;

/// Where a task waits while it changes hands between two threads of the tracer: nobody traces it meanwhile. It lets
/// the process in rdi attach (`PR_SET_PTRACER`; Yama asks for that, elsewhere it fails and is not needed) and sleeps;
/// had nobody come in ten seconds, because the tracer was killed, it ends. None of these calls is ever stopped.
pub const PARK: [u8; 71] = [
    0x48, 0x89, 0xfe, // mov %rdi,%rsi
    0xbf, 0x61, 0x6d, 0x61, 0x59, // mov $PR_SET_PTRACER,%edi
    0x31, 0xd2, // xor %edx,%edx
    0x45, 0x31, 0xd2, // xor %r10d,%r10d
    0x45, 0x31, 0xc0, // xor %r8d,%r8d
    0xb8, 0x9d, 0x00, 0x00, 0x00, // mov $SYS_prctl,%eax
    0x0f, 0x05, // syscall
    0x31, 0xff, // xor %edi,%edi
    0x31, 0xf6, // xor %esi,%esi
    0x48, 0x8d, 0x15, 0x15, 0x00, 0x00, 0x00, // lea timeout(%rip),%rdx
    0xb8, 0x0f, 0x01, 0x00, 0x00, // mov $SYS_ppoll,%eax
    0x0f, 0x05, // syscall
    0xbf, 0x89, 0x00, 0x00, 0x00, // mov $137,%edi
    0xb8, 0xe7, 0x00, 0x00, 0x00, // mov $SYS_exit_group,%eax
    0x0f, 0x05, // syscall
    0x0f, 0x0b, // ud2
    0x0a, 0, 0, 0, 0, 0, 0, 0, // timeout: 10 s
    0, 0, 0, 0, 0, 0, 0, 0,
];

const _: () =
    assert!(TRAMPOLINE.len() as u64 <= PARK_START && PARK_START + PARK.len() as u64 <= NARROW_START);
const _: () = assert!(NARROW_START + NARROW.len() as u64 <= PAGE);
const _: () = assert!(offset_of!(SlotHead, args) == 0 && offset_of!(SlotHead, ret) == 0x30);

/// Base of position-independent programs: `ELF_ET_DYN_BASE` of `arch/x86/include/asm/elf.h`, wherever the stack is.
pub const fn dyn_base(_sp: u64) -> u64 {
    0x5555_5555_4000
}
/// Bytes over which that base is spread: `mmap_rnd_bits` is 28 by default.
pub const DYN_SPREAD: u64 = 1 << 40;
/// First address that is no tracee's.
pub const TASK_END: u64 = 0x7fff_ffff_f000;
/// The same for 32-bit programs: where they are put (`COMPAT_ELF_ET_DYN_BASE`), over how many bytes
/// (`mmap_rnd_compat_bits` is 8), and the end of their memory (`IA32_PAGE_OFFSET`).
pub const LOW_DYN_BASE: u64 = 0x5655_5000;
/// See [`LOW_DYN_BASE`].
pub const LOW_DYN_SPREAD: u64 = 1 << 20;
/// See [`LOW_DYN_BASE`].
pub const LOW_TASK_END: u64 = 0xffff_e000;

#[cfg(test)]
#[path = "x86_64/tests.rs"]
mod tests;
