//! Load scripts: what the loader in the guest does right after execve(2).

use super::elf::{Elf, Load};
use crate::tracer::Code;
use goblin::elf::program_header::{PF_R, PF_W, PF_X};
use prun_arch::layout::{self, PAGE};
use prun_arch::loader::script::{CALL, DONE, FD, OPEN, Step, TRY, ZERO};
use prun_arch::{DYN_BASE, DYN_SPREAD, WINDOW};
use syscalls::Sysno as S;

/// The call that ends a script, which the filter stops; its third argument is [`MARK`].
pub const MARKER: S = S::getcwd;
/// Tells the loader's last call from a guest's.
pub const MARK: u64 = 0x7072_756e_6c6f_6164;

/// A script in the making: steps, and the data they point to behind them.
#[derive(Debug)]
pub struct Script {
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

impl Default for Script {
    fn default() -> Self {
        Self::new()
    }
}

fn page(at: u64) -> u64 {
    at & !(PAGE - 1)
}

fn page_up(at: u64) -> u64 {
    page(at + PAGE - 1)
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
    /// An empty script.
    pub fn new() -> Self {
        Self { steps: vec![], data: vec![], fixes: vec![], inner: vec![] }
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
        self.step(OPEN, [S::openat as u64, libc::AT_FDCWD as u64, at, flags, 0, 0, secret]);
        self.fix(2);
    }

    fn close(&mut self) {
        self.step(CALL, [S::close as u64, FD, 0, 0, 0, 0, 0]);
    }

    fn map(&mut self, at: u64, len: u64, prot: u64, flags: u64, fd: u64, offset: u64) {
        self.step(CALL, [S::mmap as u64, at, len, prot, flags, fd, offset]);
    }

    /// Maps prun's region from the file `path`; `resident` asks for the code that answers calls in the tracee.
    pub fn share(&mut self, path: &[u8], secret: u64, code: Code, resident: Resident) {
        let (r, x) = (libc::PROT_READ as u64, libc::PROT_EXEC as u64);
        self.open(path, secret);
        if code == Code::Shared {
            self.map(WINDOW, layout::CODE_LEN, r | x, SHARED, FD, 0);
        }
        self.map(WINDOW + layout::SLOTS, layout::LEN - layout::SLOTS, r, SHARED, FD, layout::SLOTS);
        if resident == Resident::Wanted {
            // Where something is mapped there, programs stay as they are.
            let flags = (libc::MAP_PRIVATE | libc::MAP_FIXED_NOREPLACE) as u64;
            let map = S::mmap as u64;
            self.step(
                TRY,
                [map, prun_arch::resident::AT, layout::RESIDENT_LEN, r | x, flags, FD, layout::RESIDENT],
            );
        }
        self.close();
    }

    /// Makes prun's region of the tracee's own memory; the tracer writes the code.
    pub fn own(&mut self, code: Code) {
        let (r, w, x) = (libc::PROT_READ as u64, libc::PROT_WRITE as u64, libc::PROT_EXEC as u64);
        let flags = FIXED | ANON | libc::MAP_NORESERVE as u64;
        if code == Code::Shared {
            self.map(WINDOW, layout::CODE_LEN, r | x, flags, NO_FD, 0);
        }
        self.map(WINDOW + layout::SLOTS, layout::LEN - layout::SLOTS, r | w, flags, NO_FD, 0);
    }

    /// Maps a program as `load_elf_binary()` does; `random` places it.
    ///
    /// The bias may be negative, and the entry point anything: sums wrap as the kernel's do.
    pub fn program(&mut self, elf: &Elf, path: &[u8], secret: u64, random: u64) -> Mapped {
        let align = elf.loads.iter().map(|l| l.align).max().unwrap_or(PAGE);
        let first = elf.loads.iter().map(|l| page(l.vaddr)).min().unwrap_or(0);
        let bias = if elf.movable {
            ((DYN_BASE + random % DYN_SPREAD * PAGE) & !(align - 1)).wrapping_sub(first)
        } else {
            0
        };
        self.open(path, secret);
        for load in &elf.loads {
            self.segment(load, bias);
        }
        self.close();
        let top = elf.loads.iter().map(|l| l.vaddr + l.memsz).max().unwrap_or(0);
        let brk = page_up(bias.wrapping_add(top)) + page((random >> 32) % (1 << 30));
        let phdr = elf
            .loads
            .iter()
            .find(|l| l.offset <= elf.phoff && elf.phoff < l.offset + l.filesz)
            .map_or(elf.phoff, |l| l.vaddr + (elf.phoff - l.offset));
        Mapped { bias, phdr: bias.wrapping_add(phdr), entry: bias.wrapping_add(elf.entry), brk }
    }

    fn segment(&mut self, load: &Load, bias: u64) {
        let start = bias.wrapping_add(load.vaddr);
        let inside = start % PAGE;
        let file_end = start + load.filesz;
        let end = start + load.memsz;
        if load.filesz > 0 {
            let len = page_up(load.filesz + inside);
            self.map(start - inside, len, prot(load.flags), FIXED, FD, load.offset - inside);
        }
        if load.memsz > load.filesz {
            let from = if load.filesz > 0 { page_up(file_end) } else { page(start) };
            if load.filesz > 0 && load.flags & PF_W != 0 {
                // The whole page, as padzero() does.
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
        self.step(TRY, [S::mprotect as u64, page(sp), PAGE, prot, 0, 0, 0]);
    }

    /// Sets the task's name: at most 15 bytes of `name`.
    pub fn comm(&mut self, name: &[u8]) {
        let at = self.data(&[&name[..name.len().min(15)], b"\0"].concat());
        self.step(TRY, [S::prctl as u64, libc::PR_SET_NAME as u64, at, 0, 0, 0, 0]);
        self.fix(2);
    }

    /// Tells the kernel where the program is: brk(2) starts behind it, /proc shows it (`PR_SET_MM_MAP`, allowed to
    /// everybody since Linux 3.18 where checkpoint and restore is configured; elsewhere the break stays the
    /// interpreter's, which works too).
    pub fn describe(&mut self, elf: &Elf, mapped: &Mapped, strings: [u64; 4], sp: u64, auxv: &[u8]) {
        let code = elf.loads.iter().filter(|l| l.flags & PF_X != 0);
        let start_code = elf.loads.iter().map(|l| l.vaddr).min().unwrap_or(0);
        let end_code = code.map(|l| l.vaddr + l.filesz).max().unwrap_or(start_code);
        let start_data = elf.loads.iter().map(|l| l.vaddr).max().unwrap_or(0);
        let end_data = elf.loads.iter().map(|l| l.vaddr + l.filesz).max().unwrap_or(0);
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
        self.step(TRY, [S::prctl as u64, SET_MM[0], SET_MM[1], at, bytes.len() as u64, 0, 0]);
        self.fix(3);
    }

    /// The script as bytes that end at or below `top`, and the address of its first step.
    pub fn finish(mut self, top: u64) -> (u64, Vec<u8>) {
        self.step(DONE, [MARKER as u64, MARK, 0, 0, 0, 0, 0]);
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

    #[test]
    fn a_program_of_any_addresses_has_a_script() {
        let load =
            Load { vaddr: 0x1_0000, memsz: 64, filesz: 64, offset: 0, flags: PF_R | PF_X, align: 1 << 63 };
        let elf = Elf {
            movable: true,
            entry: u64::MAX,
            phoff: 64,
            phnum: 1,
            loads: [load].into_iter().collect(),
            interp: None,
            stack: None,
        };
        let mut s = Script::new();
        let m = s.program(&elf, b"/p", 1, 7);
        assert_eq!(m.bias, 0u64.wrapping_sub(0x1_0000), "as far down as the alignment asks");
        s.describe(&elf, &m, [0; 4], 0, &[]);
        assert!(!s.finish(1 << 40).1.is_empty());
    }

    #[test]
    fn bss_is_zeroed_to_the_page_and_mapped_behind() {
        let elf = Elf {
            movable: true,
            entry: 0x1040,
            phoff: 64,
            phnum: 2,
            loads: [
                Load { vaddr: 0, memsz: 0x1800, filesz: 0x1800, offset: 0, flags: PF_R | PF_X, align: PAGE },
                Load {
                    vaddr: 0x3800,
                    memsz: 0x3000,
                    filesz: 0x100,
                    offset: 0x1800,
                    flags: PF_R | PF_W,
                    align: PAGE,
                },
            ]
            .into_iter()
            .collect(),
            interp: None,
            stack: None,
        };
        let mut s = Script::new();
        let m = s.program(&elf, b"/x", 1, 5);
        assert_eq!(m.bias, DYN_BASE + 5 * PAGE);
        assert_eq!((m.phdr, m.entry), (m.bias + 64, m.bias + 0x1040));
        let zero = s.steps.iter().find(|s| s.op == ZERO).unwrap();
        assert_eq!((zero.a[0], zero.a[1]), (m.bias + 0x3900, m.bias + 0x4000));
        let anon = s.steps.iter().find(|s| s.op == CALL && s.a[4] == FIXED | ANON).unwrap();
        assert_eq!((anon.a[1], anon.a[2]), (m.bias + 0x4000, 0x3000));
        let (at, bytes) = s.finish(0x7fff_0000_1000);
        assert!(at % 64 == 0 && at + bytes.len() as u64 <= 0x7fff_0000_1000);
    }
}
