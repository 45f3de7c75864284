//! aarch64: registers, and how a call returns with the guest's own.
//!
//! # What differs from x86-64
//!
//! * `svc` changes x0 alone, and the kernel keeps the x0 of the call for a restart (`orig_x0`). So a translated path in
//!   x0 needs neither a trampoline nor a second stop: the result takes its place, and a restart finds the guest's own.
//!   No register but x0 is free for an address to come back by, so there is **no trampoline**: a call with any other
//!   argument changed is put right at a second stop ([`ONE_STOP`]).
//! * A restart is decided before the tracer hears of the signal: at that stop pc stands at the `svc` again, and the
//!   kernel makes the call return `EINTR` after all only if pc is still there (`do_signal()` of
//!   `arch/arm64/kernel/signal.c`). A call made from anywhere else could not be fixed up exactly.
//! * The number that the kernel goes by is apart from the registers (`NT_ARM_SYSTEM_CALL`); x8 stays the guest's.
//! * At the stops of a call's beginning and end the kernel shows 0 or 1 in x7, and leaves the true x7 alone whatever is
//!   set there. Stops of the filter show the true one.
//! * execve(2) returns 0 in x0 after its stop, so injected code gets its argument in x1.
//! * 32-bit programs (armhf) have registers of their own in ptrace(2), 18 words ([`NarrowFrame`]), also for a 64-bit tracer
//!   (`user_aarch32_ptrace_view`). The number is in r7 there, and apart in the same note; orig_r0 is among them; what is
//!   hidden at a call's ends is r12. Their code may be Thumb, whose `svc` has two bytes. No task can be made to run 64-bit
//!   code in them, so the loader and the parking place are there a second time ([`narrow`](self::arm)).
//! * Pages of the program's may be guarded (`PROT_BTI`). Nothing of prun's is entered by a jump through a register, and
//!   the loader, which lies over such a page, has none itself (`build.rs` looks).

#[path = "aarch64/narrow.rs"]
mod arm;
#[path = "aarch64/harness.rs"]
pub mod harness;
#[path = "aarch64/probe.rs"]
pub mod probe;
#[path = "aarch64/resident.rs"]
pub mod resident;

pub use crate::abi::arm as narrow;
use crate::abi::{Abi, Sysno};
use crate::layout::{PAGE, SlotHead};
use crate::loader::{IMAGE, Loader};
use core::ffi::c_void;

/// Items, or one of two expressions, as the CPU is x86-64 or not: for tests that are machine code of it.
#[macro_export]
macro_rules! on_x86_64 {
    ({ $yes:expr } else { $no:expr }) => {
        $no
    };
    ($($item:item)*) => {};
}

/// The ABI of native programs.
pub const ABI: Abi = Abi::Aarch64;
/// All that are translated.
pub const ABIS: &[Abi] = &[Abi::Aarch64, Abi::Arm];
/// How filters call it.
pub const AUDIT_ARCH: u32 = ABI.audit();
/// A bit that no number of a native call has.
pub const FOREIGN_BIT: u32 = 1 << 31;
/// Machine of ELF programs that this kernel ABI runs: `EM_AARCH64`.
pub const ELF_MACHINE: u16 = 183;
/// That of 32-bit programs which the kernel may run too: `EM_ARM`.
pub const ELF_MACHINE_32: Option<u16> = Some(40);
/// What personality(2) takes only where such programs run: `PER_LINUX32` (`arch/arm64/kernel/sys.c`). Some CPUs have no
/// 32-bit code.
pub const NARROW_PERSONALITY: Option<u64> = Some(8);

/// Where prun's memory is in every tracee.
///
/// Below 2³⁹, which is all the address space of some kernels (`CONFIG_ARM64_VA_BITS_39`), above the fixed programs, and
/// in the lowest 8 GiB, which the address, memory and thread sanitizers all treat as the application's.
pub const WINDOW: u64 = 0x1_8000_0000;

/// Where prun's memory is in 32-bit programs: in the lower part, or, if the program is there, in the middle; mmap(2)
/// comes down from the top.
pub const LOW_WINDOWS: [u64; 2] = [0x0100_0000, 0x7000_0000];

/// `struct user_pt_regs` of `<asm/ptrace.h>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Frame {
    /// x0 to x30.
    pub x: [u64; 31],
    /// Stack pointer.
    pub sp: u64,
    /// Address of the next instruction.
    pub pc: u64,
    /// Flags and mode.
    pub pstate: u64,
}

/// `compat_elf_gregset_t` of `arch/arm64/include/asm/elf.h`: r0 to r15, cpsr and orig_r0 of a 32-bit program.
pub type NarrowFrame = [u32; 18];

/// Registers of a stopped tracee, and the number of its call where that is to be another than the registers say. Those
/// of a 32-bit program are in the low ones, its mode in `pstate`, and the third is its orig_r0.
#[derive(Clone, Copy, Debug)]
pub struct Regs(pub Frame, Option<i32>, u32);

/// Of `<asm/ptrace.h>`: Thumb code, and how far it is in a block of conditions (`PSR_AA32_T_BIT`, `PSR_AA32_IT_MASK`).
const THUMB: u64 = 0x20;
const THUMB_STATE: u64 = THUMB | 0x0600_fc00;
/// 32-bit code (`PSR_MODE32_BIT`).
const MODE_32: u64 = 0x10;

/// `NO_SYSCALL` of `<asm/ptrace.h>`: no call is made, or is in flight.
const NO_CALL: i32 = -1;

impl Regs {
    /// Registers to be filled in.
    pub fn zeroed() -> Self {
        Self(Frame { x: [0; 31], sp: 0, pc: 0, pstate: 0 }, None, 0)
    }

    /// Says how many bytes of them ptrace(2) has read; false where others have to be asked for.
    pub fn took(&mut self, len: usize) -> bool {
        if len != size_of::<NarrowFrame>() {
            return len == CALL_REGS_READ;
        }
        let read = self.0.x;
        let word = |i: usize| (read[i / 2] >> (32 * (i % 2))) as u32;
        *self = Self::zeroed();
        for (i, register) in self.0.x[..15].iter_mut().enumerate() {
            *register = word(i).into();
        }
        (self.0.pc, self.0.pstate, self.2) = (word(15).into(), word(16).into(), word(17));
        true
    }

    /// What ptrace(2) is to be given in their place: address and length; `len` bytes of them, if they are not those of
    /// a 32-bit program, for which there is `room`.
    pub fn given(&self, room: &mut NarrowFrame, len: usize) -> (*const c_void, usize) {
        if !self.is_32bit() {
            return ((&raw const self.0).cast(), len);
        }
        for (word, register) in room.iter_mut().zip(self.0.x) {
            *word = register as u32;
        }
        (room[15], room[16], room[17]) = (self.0.pc as u32, self.0.pstate as u32, self.2);
        (room.as_ptr().cast(), size_of::<NarrowFrame>())
    }

    /// They were read whole: no set of them is another.
    pub fn set_whole(&mut self) {}

    /// Whether they have to be set so.
    pub fn is_whole(&self) -> bool {
        false
    }

    /// The ABI of the call.
    pub fn abi(&self) -> Abi {
        if self.is_32bit() { Abi::Arm } else { ABI }
    }

    /// Says which it is: the registers do already.
    pub fn set_abi(&mut self, _abi: Abi) {}

    /// Which ABI the registers speak for: no code can make calls of another's.
    pub fn apparent_abi(&self) -> Option<Abi> {
        Some(self.abi())
    }

    /// The loader that a program with these registers can run.
    pub fn loader(&self) -> Loader {
        if self.is_32bit() {
            return Loader { image: &arm::LOADER, abi: Abi::Arm };
        }
        Loader { image: IMAGE, abi: ABI }
    }

    /// Whether the tracee runs 32-bit code (`PSR_MODE32_BIT` of `<asm/ptrace.h>`).
    pub fn is_32bit(&self) -> bool {
        self.0.pstate & MODE_32 != 0
    }

    /// What a register can hold of a value.
    fn cut(&self, value: u64) -> u64 {
        if self.is_32bit() { u64::from(value as u32) } else { value }
    }

    /// Bytes of the instruction that has entered the kernel.
    fn call_len(&self) -> u64 {
        if self.is_32bit() && self.0.pstate & THUMB != 0 { 2 } else { CALL_LEN }
    }

    /// Number of the system call; the kernel looks at the low 32 bits only.
    pub fn number(&self) -> u32 {
        self.0.x[if self.is_32bit() { 7 } else { 8 }] as u32
    }

    /// Which call that is.
    pub fn call(&self) -> Option<Sysno> {
        self.abi().call(self.number())
    }

    /// Makes the call another one.
    pub fn set_number(&mut self, number: u32) {
        self.1 = Some(number as i32);
    }

    /// What a set of these registers needs besides: a note (`NT_ARM_SYSTEM_CALL` of `<linux/elf.h>`) and its value.
    pub fn apart(&self) -> Option<(u64, i32)> {
        self.1.map(|number| (0x404, number))
    }

    /// Skips the call and lets it return `result`.
    pub fn skip(&mut self, result: i64) {
        self.1 = Some(NO_CALL);
        self.set_result(result);
    }

    /// All six arguments.
    pub fn args(&self) -> [u64; 6] {
        let [a, b, c, d, e, f, ..] = self.0.x;
        [a, b, c, d, e, f]
    }

    /// Replaces all six arguments of a call that is about to run.
    pub fn set_args(&mut self, args: [u64; 6]) {
        let args = args.map(|arg| self.cut(arg));
        self.0.x[..6].copy_from_slice(&args);
    }

    /// After the call: all is as it was before but the result.
    pub fn put_back(&mut self, args: [u64; 6], _number: u32) {
        self.0.x[1..6].copy_from_slice(&args[1..]);
    }

    /// What the call returned.
    pub fn result(&self) -> i64 {
        match self.0.x[0] as u32 as i32 {
            // Addresses of 32-bit programs reach above 2 GiB.
            error @ -4095..=-1 if self.is_32bit() => error.into(),
            _ => self.0.x[0] as i64,
        }
    }

    /// Replaces what the call returned.
    pub fn set_result(&mut self, result: i64) {
        self.0.x[0] = self.cut(result as u64);
    }

    /// Whether a stop at one end of a call is at its beginning (`PTRACE_SYSCALL_ENTER`).
    pub fn begins(&self) -> bool {
        self.0.x[self.hidden()] == 0
    }

    /// The register in which stops at a call's ends show which end that is.
    fn hidden(&self) -> usize {
        if self.is_32bit() { 12 } else { 7 }
    }

    /// Address of the next instruction.
    pub fn ip(&self) -> u64 {
        self.0.pc
    }

    /// Stack pointer.
    pub fn sp(&self) -> u64 {
        if self.is_32bit() { self.0.x[13] } else { self.0.sp }
    }

    /// Goes on at `ip`.
    pub fn set_ip(&mut self, ip: u64) {
        self.0.pc = ip;
    }

    /// Makes the instruction that entered the kernel run again, as it did before.
    pub fn again(&mut self, _number: u32, args: [u64; 6]) {
        self.0.pc -= self.call_len();
        self.0.x[0] = args[0];
        self.1 = Some(NO_CALL);
    }

    /// For a task that [`Regs::again`] has put before its call: it is behind it, and the call has returned `result`.
    pub fn leave(&mut self, result: i64) {
        self.0.pc += self.call_len();
        self.set_result(result);
    }

    /// Whether a call with arguments that may be changed ([`ONE_STOP`]) comes back right.
    pub fn has_trampoline(&self) -> bool {
        true
    }

    /// Where a call returns to, for the head of a slot.
    pub fn return_point(&self) -> u64 {
        self.0.pc
    }

    /// Lets the call that is about to run put itself right: it does, see [`ONE_STOP`].
    pub fn through(&mut self, _slot: u64, _window: u64) {}

    /// The ABI whose trampoline the tracee is in.
    pub fn in_trampoline(&self, _window: u64) -> Option<Abi> {
        None
    }

    /// Whether the trampoline's own call instruction has just run.
    pub fn at_trampoline_return(&self, _window: u64) -> bool {
        false
    }

    /// Gives back what the guest would see had it made the call itself: for a tracee in the trampoline.
    pub fn fix_up(&mut self, slot: &SlotHead, _window: u64) {
        self.set_args(slot.args);
        self.0.pc = slot.ret;
    }

    /// Makes the call that is about to run a sleep in [`PARK`]; `tracer` is the process that may attach there.
    pub fn park(&mut self, tracer: u32, window: u64) {
        self.1 = Some(NO_CALL);
        self.jump(window + if self.is_32bit() { NARROW_START } else { PARK_START });
        self.0.x[1] = u64::from(tracer);
    }

    /// Goes on at code of prun's, which is not Thumb.
    fn jump(&mut self, ip: u64) {
        self.0.pc = ip;
        if self.is_32bit() {
            self.0.pstate &= !THUMB_STATE;
        }
    }

    /// Makes the call of a task that was parked at it run again, from its first instruction.
    pub fn unpark(&mut self, number: u32) {
        self.again(number, self.args());
    }

    /// Starts injected code at `ip` with one argument and a stack that ends below `sp`.
    pub fn start(&mut self, ip: u64, argument: u64, sp: u64) {
        self.jump(ip);
        self.0.x[1] = argument;
        if self.is_32bit() {
            self.0.x[13] = sp & !15;
        } else {
            self.0.sp = sp & !15;
        }
    }

    /// Takes over what stops at a call's ends do not show, from a stop of the filter in code that leaves it alone.
    pub fn take_hidden(&mut self, from: &Regs) {
        let hidden = self.hidden();
        self.0.x[hidden] = from.0.x[hidden];
    }
}

/// `struct user_pt_regs`, as ptrace(2) reads and writes it: all of it has to do with calls.
pub const CALL_REGS: usize = size_of::<Frame>();
/// The same.
pub const CALL_REGS_READ: usize = CALL_REGS;
/// There is no request of ptrace(2) but that for the note, which has all of [`CALL_REGS_READ`].
pub const WHOLE: Option<[u64; 2]> = None;
/// There is no argument that makes a call of one ABI look like another's.
pub const LOOKS_NATIVE: Option<usize> = None;

/// Bytes of the instruction that enters the kernel.
pub const CALL_LEN: u64 = 4;

/// That instruction: `svc #0`.
pub const NATIVE_CALL: [u8; 4] = 0xd400_0001u32.to_le_bytes();

/// Arguments that may be changed in a call that stops once.
pub const ONE_STOP: [bool; 6] = [true, false, false, false, false, false];

/// Whether the number of a call is set apart from the registers: see [`Regs::apart`].
pub const NUMBER_APART: bool = true;

/// There is none.
pub const TRAMPOLINE: [u8; 0] = [];
/// Where [`NARROW`] is in the code page.
pub const NARROW_START: u64 = 192;
/// Code for 32-bit programs: no trampoline, but the parking place.
pub const NARROW: [u8; arm::PARK.len()] = arm::PARK;

/// Where [`PARK`] is in the code page.
pub const PARK_START: u64 = 64;

/// Where a task waits while it changes hands between two threads of the tracer: nobody traces it meanwhile. It lets
/// the process in x1 attach (`PR_SET_PTRACER`; Yama asks for that, elsewhere it fails and is not needed) and sleeps;
/// had nobody come in ten seconds, because the tracer was killed, it ends. None of these calls is ever stopped.
pub const PARK: [u8; 80] = bytes([
    0x528d_ac20, // mov w0, #0x6d61
    0x72ab_2c20, // movk w0, #0x5961, lsl #16    PR_SET_PTRACER
    0xd280_0002, // mov x2, #0
    0xd280_0003, // mov x3, #0
    0xd280_0004, // mov x4, #0
    0x5280_14e8, // mov w8, #167                 prctl
    0xd400_0001, // svc #0
    0xd280_0000, // mov x0, #0
    0xd280_0001, // mov x1, #0
    0x1000_00e2, // adr x2, timeout
    0x5280_0928, // mov w8, #73                  ppoll
    0xd400_0001, // svc #0
    0x5280_1120, // mov w0, #137
    0x5280_0bc8, // mov w8, #94                  exit_group
    0xd400_0001, // svc #0
    0x0000_0000, // udf #0
    10,
    0,
    0,
    0, // timeout: 10 s
]);

const fn bytes<const WORDS: usize, const BYTES: usize>(words: [u32; WORDS]) -> [u8; BYTES] {
    let mut out = [0; BYTES];
    let mut i = 0;
    while i < BYTES {
        out[i] = words[i / 4].to_le_bytes()[i % 4];
        i += 1;
    }
    out
}

const _: () = assert!(PARK_START + PARK.len() as u64 <= NARROW_START);
const _: () = assert!(NARROW_START + NARROW.len() as u64 <= PAGE);

/// Base of position-independent programs, whose stack is at `sp`: `ELF_ET_DYN_BASE` of `arch/arm64/include/asm/elf.h`,
/// two thirds of the address space. The stack is at its end, and kernels are built with 36 to 48 bits of it.
pub const fn dyn_base(sp: u64) -> u64 {
    match sp.checked_next_power_of_two() {
        Some(end) => end / 3 * 2,
        None => 0,
    }
}
/// Bytes over which that base is spread: `mmap_rnd_bits` is 18 by default with pages of 4 KiB, and less with larger ones.
pub const DYN_SPREAD: u64 = 1 << 30;
/// First address that is no tracee's.
pub const TASK_END: u64 = 1 << 48;
/// The same for 32-bit programs: `COMPAT_ELF_ET_DYN_BASE`, spread by the default of `mmap_rnd_compat_bits`; the page of
/// kuser helpers is behind their stack.
pub const LOW_DYN_BASE: u64 = 0xaaaa_a000;
/// See [`LOW_DYN_BASE`].
pub const LOW_DYN_SPREAD: u64 = 1 << 23;
/// See [`LOW_DYN_BASE`].
pub const LOW_TASK_END: u64 = 0xffff_0000;

#[cfg(test)]
#[path = "aarch64/tests.rs"]
mod tests;
