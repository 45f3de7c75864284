//! x86-64, System V: registers, and the trampoline of the one-stop rewrite.

#[path = "x86_64/probe.rs"]
pub mod probe;
#[path = "x86_64/resident.rs"]
pub mod resident;

use crate::layout::{PAGE, SlotHead};
use core::mem::offset_of;

/// `AUDIT_ARCH_X86_64` of `<linux/audit.h>`.
pub const AUDIT_ARCH: u32 = 0xc000_003e;
/// `__X32_SYSCALL_BIT` of `<asm/unistd.h>`: set in the number of an x32 call.
pub const FOREIGN_BIT: u32 = 0x4000_0000;
/// Machine of ELF programs that this kernel ABI runs: `EM_X86_64`.
pub const ELF_MACHINE: u16 = 62;

/// Where prun's memory is in every tracee.
///
/// Below `ELF_ET_DYN_BASE` (0x5555_5555_4000), above the legacy mmap base (0x2aaa_…), in a range that the address,
/// memory and thread sanitizers treat as the application's.
pub const WINDOW: u64 = 0x5530_0000_0000;

/// Registers of a stopped tracee: `struct user_regs_struct`.
#[derive(Clone, Copy, Debug)]
#[repr(transparent)]
pub struct Regs(pub libc::user_regs_struct);

impl Regs {
    /// Number of the system call; the kernel looks at the low 32 bits only.
    pub fn number(&self) -> u32 {
        self.0.orig_rax as u32
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
        [r.rdi, r.rsi, r.rdx, r.r10, r.r8, r.r9]
    }

    /// Replaces all six arguments.
    pub fn set_args(&mut self, args: [u64; 6]) {
        let r = &mut self.0;
        [r.rdi, r.rsi, r.rdx, r.r10, r.r8, r.r9] = args;
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

    /// Makes the instruction that entered the kernel run again, with the same number.
    pub fn again(&mut self, number: u32) {
        self.0.rip -= CALL_LEN;
        self.0.rax = u64::from(number);
    }

    /// For a task that [`Regs::again`] has put before its call: it is behind it, and the call has returned `result`.
    pub fn leave(&mut self, result: i64) {
        self.0.rip += CALL_LEN;
        self.0.rax = result as u64;
        self.0.orig_rax = u64::MAX;
    }

    /// Lets the call that is about to run return into the trampoline, which restores `args` from the slot.
    ///
    /// `syscall` clobbers rcx, and the kernel returns with the rcx it finds in the frame when that differs from rip.
    pub fn through(&mut self, slot: u64) {
        self.0.rcx = slot;
        self.0.rip = WINDOW + TRAMPOLINE_RETURN;
    }

    /// Whether the tracee is in the trampoline.
    pub fn in_trampoline(&self) -> bool {
        (WINDOW..WINDOW + TRAMPOLINE.len() as u64).contains(&self.0.rip)
    }

    /// Whether the trampoline's own call instruction has just run.
    pub fn at_trampoline_return(&self) -> bool {
        self.0.rip == WINDOW + TRAMPOLINE_RETURN
    }

    /// Gives back what the guest would see had it made the call itself: for a tracee anywhere in the trampoline.
    pub fn fix_up(&mut self, slot: &SlotHead) {
        self.set_args(slot.args);
        self.0.rip = slot.ret;
        self.0.rcx = slot.ret;
    }

    /// Makes the call that is about to run a sleep in [`PARK`]; `tracer` is the process that may attach there.
    pub fn park(&mut self, tracer: u32) {
        self.0.orig_rax = u64::MAX;
        self.0.rip = WINDOW + PARK_START;
        self.0.rdi = u64::from(tracer);
    }

    /// Makes the call of a task that was parked at it run again, from its first instruction.
    pub fn unpark(&mut self, number: u32) {
        self.again(number);
        self.0.orig_rax = u64::MAX;
    }

    /// Starts injected code at `ip` with one argument and a stack that ends below `sp`.
    pub fn start(&mut self, ip: u64, argument: u64, sp: u64) {
        self.0.rip = ip;
        self.0.rdi = argument;
        self.0.rsp = sp;
    }
}

/// Bytes at the start of [`Regs`] that hold every register a system call has to do with, the instruction pointer last.
pub const CALL_REGS: usize = offset_of!(libc::user_regs_struct, rip) + 8;

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

const _: () = assert!(TRAMPOLINE.len() as u64 <= PARK_START && PARK_START + PARK.len() as u64 <= PAGE);
const _: () = assert!(offset_of!(SlotHead, args) == 0 && offset_of!(SlotHead, ret) == 0x30);

/// Base of position-independent programs: `ELF_ET_DYN_BASE` of `arch/x86/include/asm/elf.h`, at a page boundary.
pub const DYN_BASE: u64 = 0x5555_5555_4000;
/// Pages over which that base is spread: `mmap_rnd_bits` is 28 by default.
pub const DYN_SPREAD: u64 = 1 << 28;
/// First address that is no tracee's.
pub const TASK_END: u64 = 0x7fff_ffff_f000;
