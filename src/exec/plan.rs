//! Load scripts: what the loader in the guest does right after execve(2).

use super::elf::{Class, Elf, Load};
use crate::sys::page_size;
use crate::tracer::Code;
use goblin::elf::program_header::{PF_R, PF_W, PF_X};
use prun_arch::Sysno as S;
use prun_arch::abi::{Abi, NO_NUMBER};
use prun_arch::layout;
use prun_arch::loader::script::{CALL, DONE, FD, OPEN, PLACE, Step, TRY, ZERO};
use prun_arch::{DYN_SPREAD, LOW_DYN_BASE, LOW_DYN_SPREAD, Regs, dyn_base, narrow};

/// The call that ends a script, which the filter stops; its third argument is [`MARK`], or of that what a word holds.
pub const MARKER: S = S::getcwd;
/// Tells the loader's last call from a guest's.
pub const MARK: u64 = 0x7072_756e_6c6f_6164;

/// How the loader's last call says what has become of the script.
pub fn status(regs: &Regs) -> Option<(i64, u64)> {
    let [status, step, mark, ..] = regs.args();
    let (status, expected) = match regs.abi().word() {
        4 => (i64::from(status as i32), u64::from(MARK as u32)),
        _ => (status as i64, MARK),
    };
    (regs.call() == Some(MARKER) && mark == expected).then_some((status, step))
}

/// A script in the making: steps, and the data they point to behind them.
#[derive(Debug)]
pub struct Script {
    /// That of the loader's calls.
    abi: Abi,
    steps: Vec<Step>,
    data: Vec<u8>,
    /// Indices of words that hold offsets into the data: step and operand.
    fixes: Vec<(usize, usize)>,
    /// Offsets of words in the data that hold offsets into the data.
    inner: Vec<usize>,
}

/// Whether calls are to be answered in the tracee.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resident {
    /// Yes, where that is possible.
    Wanted,
    /// No.
    Unwanted,
}

/// Memory of the program that the script maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapped {
    /// What is added to the file's addresses.
    pub bias: u64,
    /// `AT_PHDR`.
    pub phdr: u64,
    /// `AT_ENTRY`.
    pub entry: u64,
    /// First break.
    pub brk: u64,
}

fn page(at: u64) -> u64 {
    at & !(page_size() - 1)
}

fn page_up(at: u64) -> u64 {
    page(at.wrapping_add(page_size() - 1))
}

fn prot(flags: u32) -> u64 {
    let bit = |flag, prot: i32| if flags & flag != 0 { prot as u64 } else { 0 };
    bit(PF_R, libc::PROT_READ) | bit(PF_W, libc::PROT_WRITE) | bit(PF_X, libc::PROT_EXEC)
}

const FIXED: u64 = (libc::MAP_PRIVATE | libc::MAP_FIXED) as u64;
const SHARED: u64 = (libc::MAP_SHARED | libc::MAP_FIXED) as u64;
const ANON: u64 = libc::MAP_ANONYMOUS as u64;
const NO_FD: u64 = u64::MAX;

impl Script {
    /// An empty script, for a loader that makes calls of this ABI.
    pub fn new(abi: Abi) -> Self {
        Self { abi, steps: vec![], data: vec![], fixes: vec![], inner: vec![] }
    }

    fn number(&self, call: S) -> u64 {
        self.abi.number(call).into()
    }

    /// The number of mmap(2), and its last argument for an offset in bytes.
    fn mmap(&self, offset: u64) -> (u64, u64) {
        match self.abi.number(S::mmap) {
            // mmap2(2) counts in units of 4 KiB, whatever a page is.
            NO_NUMBER => (narrow::MMAP2.into(), offset >> 12),
            number => (number.into(), offset),
        }
    }

    fn step(&mut self, op: u64, a: [u64; 7]) {
        self.steps.push(Step { op, a });
    }

    /// Data, 16-aligned; its offset.
    fn data(&mut self, bytes: &[u8]) -> u64 {
        let at = self.data.len().next_multiple_of(16);
        self.data.resize(at, 0);
        self.data.extend_from_slice(bytes);
        at as u64
    }

    /// Marks operand `n` of the last step as an offset into the data.
    fn fix(&mut self, n: usize) {
        self.fixes.push((self.steps.len() - 1, n));
    }

    fn open(&mut self, path: &[u8], secret: u64) {
        let at = self.data(&[path, b"\0"].concat());
        let flags = (libc::O_RDONLY | libc::O_CLOEXEC) as u64;
        self.step(OPEN, [self.number(S::openat), libc::AT_FDCWD as u64, at, flags, 0, 0, secret]);
        self.fix(2);
    }

    fn close(&mut self) {
        self.step(CALL, [self.number(S::close), FD, 0, 0, 0, 0, 0]);
    }

    fn map(&mut self, at: u64, len: u64, prot: u64, flags: u64, fd: u64, offset: u64) {
        let (number, offset) = self.mmap(offset);
        self.step(CALL, [number, at, len, prot, flags, fd, offset]);
    }

    /// Maps where nothing must be: the addresses of 32-bit programs are few.
    fn place(&mut self, at: u64, len: u64, prot: u64, flags: u64, fd: u64, offset: u64) {
        let free = (libc::MAP_FIXED ^ libc::MAP_FIXED_NOREPLACE) as u64;
        let (number, offset) = self.mmap(offset);
        self.step(PLACE, [number, at, len, prot, flags ^ free, fd, offset]);
    }

    /// Maps prun's region at `window` from the file `path`; `resident` asks for the code that answers calls in the
    /// tracee.
    pub fn share(&mut self, path: &[u8], secret: u64, window: u64, code: Code, resident: Resident) {
        let (r, x) = (libc::PROT_READ as u64, libc::PROT_EXEC as u64);
        self.open(path, secret);
        let low = layout::is_low(window);
        let map = if low { Self::place } else { Self::map };
        if code == Code::Shared {
            map(self, window, layout::CODE_LEN, r | x, SHARED, FD, 0);
        }
        let at = window + layout::SLOTS;
        if low {
            map(self, at, layout::LOW_SCRATCH - layout::SLOTS, r, SHARED, FD, layout::SLOTS);
            map(self, window + layout::LOW_SCRATCH, layout::SCRATCH_LEN, r, SHARED, FD, layout::SCRATCH);
        } else {
            map(self, at, layout::LEN - layout::SLOTS, r, SHARED, FD, layout::SLOTS);
        }
        if resident == Resident::Wanted && !low {
            // Where something is mapped there, programs stay as they are.
            let flags = (libc::MAP_PRIVATE | libc::MAP_FIXED_NOREPLACE) as u64;
            let (map, offset) = self.mmap(layout::RESIDENT);
            self.step(TRY, [map, prun_arch::resident::AT, layout::RESIDENT_LEN, r | x, flags, FD, offset]);
        }
        self.close();
    }

    /// Makes prun's region of the tracee's own memory; the tracer writes the code.
    pub fn own(&mut self, window: u64, code: Code) {
        let (r, w, x) = (libc::PROT_READ as u64, libc::PROT_WRITE as u64, libc::PROT_EXEC as u64);
        let flags = FIXED | ANON | libc::MAP_NORESERVE as u64;
        let low = layout::is_low(window);
        let map = if low { Self::place } else { Self::map };
        if code == Code::Shared {
            map(self, window, layout::CODE_LEN, r | x, flags, NO_FD, 0);
        }
        let end = if low { layout::LOW_LEN } else { layout::LEN };
        map(self, window + layout::SLOTS, end - layout::SLOTS, r | w, flags, NO_FD, 0);
    }

    /// Maps a program as `load_elf_binary()` does, whose stack is at `sp`; `random` places it.
    ///
    /// The bias may be negative, and the entry point anything: sums wrap as the kernel's do. The kernel refuses to map
    /// pages that begin nowhere, for the script as for itself.
    pub fn program(&mut self, elf: &Elf, path: &[u8], secret: u64, sp: u64, random: u64) -> Mapped {
        let align = elf.loads.iter().map(|l| l.align).max().unwrap_or(1).max(page_size());
        let first = elf.loads.iter().map(|l| page(l.vaddr)).min().unwrap_or(0);
        let bias = if elf.movable {
            let (base, spread) = match elf.class {
                Class::Narrow => (LOW_DYN_BASE, LOW_DYN_SPREAD),
                Class::Wide => (dyn_base(sp), DYN_SPREAD),
            };
            ((base + page(random % spread)) & !(align - 1)).wrapping_sub(first)
        } else {
            0
        };
        self.open(path, secret);
        if elf.sound {
            for load in &elf.loads {
                self.segment(load, bias);
            }
        } else {
            // Nothing, which is an error.
            self.map(0, 0, 0, FIXED | ANON, NO_FD, 0);
        }
        self.close();
        let top = elf.loads.iter().map(|l| l.vaddr.wrapping_add(l.memsz)).max().unwrap_or(0);
        // `arch_randomize_brk()`
        let brk_spread = if elf.class == Class::Narrow { 0x0200_0000 } else { 1 << 30 };
        let brk = page_up(bias.wrapping_add(top)).wrapping_add(page((random >> 32) % brk_spread));
        let phdr = elf
            .loads
            .iter()
            .find(|l| l.offset <= elf.phoff && elf.phoff - l.offset < l.filesz)
            .map_or(elf.phoff, |l| l.vaddr.wrapping_add(elf.phoff - l.offset));
        Mapped { bias, phdr: bias.wrapping_add(phdr), entry: bias.wrapping_add(elf.entry), brk }
    }

    fn segment(&mut self, load: &Load, bias: u64) {
        let start = bias.wrapping_add(load.vaddr);
        let inside = start % page_size();
        let file_end = start + load.filesz;
        let end = start + load.memsz;
        if load.filesz > 0 {
            let len = page_up(load.filesz + inside);
            self.map(start - inside, len, prot(load.flags), FIXED, FD, load.offset.wrapping_sub(inside));
        }
        if load.memsz > load.filesz {
            let from = if load.filesz > 0 { page_up(file_end) } else { page(start) };
            if load.filesz > 0 && load.flags & PF_W != 0 && file_end < from {
                // The whole page, as padzero() does. Where the file ends before it, that fails, and so does a futex(2) that
                // nobody waits for; a loader that touches it would die of SIGBUS.
                let wake = libc::FUTEX_WAKE as u64;
                self.step(CALL, [self.number(S::futex), page(file_end), wake, 0, 0, 0, 0]);
                self.step(ZERO, [file_end, from, 0, 0, 0, 0, 0]);
            }
            if page_up(end) > from {
                self.map(from, page_up(end) - from, prot(load.flags), FIXED | ANON, NO_FD, 0);
            }
        }
    }

    /// Makes the stack executable, or not, as the program asks.
    pub fn stack(&mut self, sp: u64, executable: bool) {
        let x = if executable { libc::PROT_EXEC } else { 0 };
        let prot = (libc::PROT_READ | libc::PROT_WRITE | x | libc::PROT_GROWSDOWN) as u64;
        self.step(TRY, [self.number(S::mprotect), page(sp), page_size(), prot, 0, 0, 0]);
    }

    /// From here on what can be read can be executed; `persona` is the task's so far.
    pub fn read_implies_exec(&mut self, persona: u64) {
        let persona = persona | libc::READ_IMPLIES_EXEC as u64;
        self.step(TRY, [self.number(S::personality), persona, 0, 0, 0, 0, 0]);
    }

    /// Sets the task's name: at most 15 bytes of `name`.
    pub fn comm(&mut self, name: &[u8]) {
        let at = self.data(&[&name[..name.len().min(15)], b"\0"].concat());
        self.step(TRY, [self.number(S::prctl), libc::PR_SET_NAME as u64, at, 0, 0, 0, 0]);
        self.fix(2);
    }

    /// Tells the kernel where the program is: brk(2) starts behind it, /proc shows it (`PR_SET_MM_MAP`, allowed to
    /// everybody since Linux 3.18 where checkpoint and restore is configured; elsewhere the break stays the
    /// interpreter's, which works too).
    pub fn describe(&mut self, elf: &Elf, mapped: &Mapped, strings: [u64; 4], sp: u64, auxv: &[u8]) {
        let code = elf.loads.iter().filter(|l| l.flags & PF_X != 0);
        let start_code = elf.loads.iter().map(|l| l.vaddr).min().unwrap_or(0);
        let end_code = code.map(|l| l.vaddr.wrapping_add(l.filesz)).max().unwrap_or(start_code);
        let start_data = elf.loads.iter().map(|l| l.vaddr).max().unwrap_or(0);
        let end_data = elf.loads.iter().map(|l| l.vaddr.wrapping_add(l.filesz)).max().unwrap_or(0);
        let [arg_start, arg_end, env_start, env_end] = strings;
        let auxv_at = self.data(auxv);
        let b = mapped.bias;
        let mut bytes: Vec<u8> = [
            b.wrapping_add(start_code),
            b.wrapping_add(end_code),
            b.wrapping_add(start_data),
            b.wrapping_add(end_data),
            mapped.brk,
            mapped.brk,
            sp,
            arg_start,
            arg_end,
            env_start,
            env_end,
            auxv_at,
        ]
        .iter()
        .flat_map(|w| w.to_ne_bytes())
        .collect();
        bytes.extend((auxv.len() as u32).to_ne_bytes());
        bytes.extend(u32::MAX.to_ne_bytes());
        let at = self.data(&bytes);
        self.inner.push(at as usize + 88);
        /// `PR_SET_MM` and `PR_SET_MM_MAP` of `<linux/prctl.h>`.
        const SET_MM: [u64; 2] = [35, 14];
        self.step(TRY, [self.number(S::prctl), SET_MM[0], SET_MM[1], at, bytes.len() as u64, 0, 0]);
        self.fix(3);
    }

    /// The script as bytes that end at or below `top`, and the address of its first step.
    pub fn finish(mut self, top: u64) -> (u64, Vec<u8>) {
        self.step(DONE, [self.number(MARKER), MARK, 0, 0, 0, 0, 0]);
        let steps = self.steps.len() * size_of::<Step>();
        let at = (top - (steps + self.data.len()) as u64) & !63;
        let base = at + steps as u64;
        for &(step, n) in &self.fixes {
            self.steps[step].a[n] += base;
        }
        for &inner in &self.inner {
            let word = self.data[inner..inner + 8].try_into().map_or(0, u64::from_ne_bytes);
            self.data[inner..inner + 8].copy_from_slice(&(word + base).to_ne_bytes());
        }
        let mut bytes = Vec::with_capacity(steps + self.data.len());
        for step in &self.steps {
            bytes.extend(step.op.to_ne_bytes());
            bytes.extend(step.a.iter().flat_map(|w| w.to_ne_bytes()));
        }
        bytes.extend(self.data);
        (at, bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SP: u64 = 0x7fff_ffff_0000;

    #[test]
    fn a_program_of_any_addresses_has_a_script() {
        let load =
            Load { vaddr: 0x1_0000, memsz: 64, filesz: 64, offset: 0, flags: PF_R | PF_X, align: 1 << 63 };
        let elf = Elf {
            class: Class::Wide,
            movable: true,
            entry: u64::MAX,
            phoff: 64,
            phnum: 1,
            sound: true,
            loads: [load].into_iter().collect(),
            interp: None,
            stack: None,
        };
        let mut s = Script::new(prun_arch::ABI);
        let m = s.program(&elf, b"/p", 1, SP, 7);
        assert_eq!(m.bias, 0u64.wrapping_sub(0x1_0000), "as far down as the alignment asks");
        s.describe(&elf, &m, [0; 4], 0, &[]);
        assert!(!s.finish(1 << 40).1.is_empty());
        // Ends past the last address: it is not mapped, and the task dies of it; nothing here does.
        let load = Load { vaddr: u64::MAX, memsz: u64::MAX << 24, ..load };
        let elf = Elf { movable: false, sound: false, loads: [load].into_iter().collect(), ..elf };
        let mut s = Script::new(prun_arch::ABI);
        let m = s.program(&elf, b"/p", 1, SP, u64::MAX);
        s.describe(&elf, &m, [0; 4], 0, &[]);
    }

    #[test]
    fn bss_is_zeroed_to_the_page_and_mapped_behind() {
        let page = page_size();
        let elf = Elf {
            class: Class::Wide,
            movable: true,
            entry: 0x1040,
            phoff: 64,
            phnum: 2,
            sound: true,
            loads: [
                Load {
                    vaddr: 0,
                    memsz: page + 0x800,
                    filesz: page + 0x800,
                    offset: 0,
                    flags: PF_R | PF_X,
                    align: page,
                },
                Load {
                    vaddr: 3 * page + 0x800,
                    memsz: 3 * page,
                    filesz: 0x100,
                    offset: page + 0x800,
                    flags: PF_R | PF_W,
                    align: page,
                },
            ]
            .into_iter()
            .collect(),
            interp: None,
            stack: None,
        };
        let mut s = Script::new(prun_arch::ABI);
        let m = s.program(&elf, b"/x", 1, SP, 5 * page);
        assert_eq!(m.bias, (dyn_base(SP) & !(page - 1)) + 5 * page);
        assert_eq!((m.phdr, m.entry), (m.bias + 64, m.bias + 0x1040));
        let zero = s.steps.iter().find(|s| s.op == ZERO).unwrap();
        assert_eq!((zero.a[0], zero.a[1]), (m.bias + 3 * page + 0x900, m.bias + 4 * page));
        let anon = s.steps.iter().find(|s| s.op == CALL && s.a[4] == FIXED | ANON).unwrap();
        assert_eq!((anon.a[1], anon.a[2]), (m.bias + 4 * page, 3 * page));
        let (at, bytes) = s.finish(0x7fff_0000_1000);
        assert!(at % 64 == 0 && at + bytes.len() as u64 <= 0x7fff_0000_1000);
    }
}
