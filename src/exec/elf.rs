//! What execve(2) reads of an ELF file: `load_elf_binary()` of the kernel's `fs/binfmt_elf.c`.

use crate::cost;
use crate::path::PATH_MAX;
use goblin::elf::{header, program_header as ph};
use smallvec::SmallVec;
use std::fs::File;
use std::os::unix::fs::FileExt;
use syscalls::Errno;

/// One `PT_LOAD`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Address in the file's own terms.
    pub vaddr: u64,
    /// Bytes in memory.
    pub memsz: u64,
    /// Bytes in the file.
    pub filesz: u64,
    /// Where they are in the file.
    pub offset: u64,
    /// `PF_R`, `PF_W`, `PF_X`.
    pub flags: u32,
    /// Alignment, a power of two.
    pub align: u64,
}

/// How wide a program's addresses are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// 32 bits.
    Narrow,
    /// 64 bits.
    Wide,
}

/// A program of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Elf {
    /// 32-bit or 64-bit.
    pub class: Class,
    /// `ET_DYN`: may be loaded anywhere.
    pub movable: bool,
    /// Entry point.
    pub entry: u64,
    /// Offset of the program headers in the file.
    pub phoff: u64,
    /// Their number.
    pub phnum: u64,
    /// Whether the kernel would begin to map it. What it cannot map it finds out when the caller's memory is gone, so
    /// that there is no error to return: the task dies of `SIGSEGV`.
    pub sound: bool,
    /// What is to be mapped, in order.
    pub loads: SmallVec<[Load; 8]>,
    /// The interpreter's path, without its NUL.
    pub interp: Option<Vec<u8>>,
    /// Flags of `PT_GNU_STACK`.
    pub stack: Option<u32>,
}

impl Elf {
    /// Whether the kernel makes all that can be read executable (`elf_read_implies_exec()` since Linux 5.8, the same for
    /// 32-bit programs of both CPUs): it is older than `PT_GNU_STACK`.
    pub fn reads_are_executable(&self) -> bool {
        self.class == Class::Narrow && self.stack.is_none()
    }
}

/// What a file is to execve(2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// ELF that can be run.
    Elf(Box<Elf>),
    /// ELF of another machine.
    Foreign(u16),
    /// No ELF.
    Other,
}

/// What both kinds of file header say.
struct Header {
    class: u8,
    machine: u16,
    kind: u16,
    entry: u64,
    phoff: u64,
    phentsize: u16,
    phnum: u16,
}

impl Header {
    /// `None` where the file is too short for one.
    fn read(head: &[u8]) -> Option<Self> {
        if *head.get(header::EI_CLASS)? == header::ELFCLASS32 {
            let h = header::header32::Header::from_bytes(head.first_chunk()?);
            return Some(Self {
                class: header::ELFCLASS32,
                machine: h.e_machine,
                kind: h.e_type,
                entry: h.e_entry.into(),
                phoff: h.e_phoff.into(),
                phentsize: h.e_phentsize,
                phnum: h.e_phnum,
            });
        }
        let h = header::header64::Header::from_bytes(head.first_chunk()?);
        Some(Self {
            class: h.e_ident[header::EI_CLASS],
            machine: h.e_machine,
            kind: h.e_type,
            entry: h.e_entry,
            phoff: h.e_phoff,
            phentsize: h.e_phentsize,
            phnum: h.e_phnum,
        })
    }
}

fn widened(p: ph::program_header32::ProgramHeader) -> ph::program_header64::ProgramHeader {
    ph::program_header64::ProgramHeader {
        p_type: p.p_type,
        p_flags: p.p_flags,
        p_offset: p.p_offset.into(),
        p_vaddr: p.p_vaddr.into(),
        p_paddr: p.p_paddr.into(),
        p_filesz: p.p_filesz.into(),
        p_memsz: p.p_memsz.into(),
        p_align: p.p_align.into(),
    }
}

/// Reads the headers of `file`, whose first bytes are `head`.
///
/// # Errors
/// `ENOEXEC` and `EIO` as the kernel's.
pub fn parse(head: &[u8], file: &File) -> Result<Kind, Errno> {
    if !head.starts_with(header::ELFMAG) {
        return Ok(Kind::Other);
    }
    let Some(h) = Header::read(head) else { return Err(Errno::ENOEXEC) };
    let class = match h.class {
        header::ELFCLASS64 if h.machine == prun_arch::ELF_MACHINE => Class::Wide,
        header::ELFCLASS32 if Some(h.machine) == prun_arch::ELF_MACHINE_32 && crate::sys::runs_narrow() => {
            Class::Narrow
        }
        _ => return Ok(Kind::Foreign(h.machine)),
    };
    let movable = match h.kind {
        header::ET_DYN => true,
        header::ET_EXEC => false,
        _ => return Err(Errno::ENOEXEC),
    };
    let (entry_size, end) = match class {
        Class::Narrow => (size_of::<ph::program_header32::ProgramHeader>(), prun_arch::LOW_TASK_END),
        Class::Wide => (size_of::<ph::program_header64::ProgramHeader>(), prun_arch::TASK_END),
    };
    let size = usize::from(h.phnum) * entry_size;
    if usize::from(h.phentsize) != entry_size || size == 0 || size > 65536 {
        return Err(Errno::ENOEXEC);
    }
    let mut table = vec![0; size];
    cost::count(cost::Kind::Files, 1);
    file.read_exact_at(&mut table, h.phoff).map_err(|_| Errno::ENOEXEC)?;
    let wide: SmallVec<[ph::program_header64::ProgramHeader; 16]> = match class {
        Class::Narrow => ph::program_header32::ProgramHeader::from_bytes(&table, usize::from(h.phnum))
            .into_iter()
            .map(widened)
            .collect(),
        Class::Wide => ph::program_header64::ProgramHeader::from_bytes(&table, usize::from(h.phnum))
            .into_iter()
            .collect(),
    };
    let mut elf = Elf {
        class,
        movable,
        entry: h.entry,
        phoff: h.phoff,
        phnum: u64::from(h.phnum),
        sound: true,
        loads: SmallVec::new(),
        interp: None,
        stack: None,
    };
    for p in wide {
        match p.p_type {
            ph::PT_LOAD => {
                let align = if p.p_align.is_power_of_two() { p.p_align } else { 1 };
                // Whether it begins where a page of this kernel can, mmap(2) says.
                elf.sound &= p.p_filesz <= p.p_memsz
                    && p.p_vaddr.checked_add(p.p_memsz).is_some_and(|last| last < end)
                    && p.p_offset.checked_add(p.p_filesz).is_some();
                elf.loads.push(Load {
                    vaddr: p.p_vaddr,
                    memsz: p.p_memsz,
                    filesz: p.p_filesz,
                    offset: p.p_offset,
                    flags: p.p_flags,
                    align,
                });
            }
            ph::PT_INTERP if elf.interp.is_none() => {
                if !(2..=PATH_MAX as u64).contains(&p.p_filesz) {
                    return Err(Errno::ENOEXEC);
                }
                let mut path = vec![0; p.p_filesz as usize];
                cost::count(cost::Kind::Files, 1);
                file.read_exact_at(&mut path, p.p_offset).map_err(|_| Errno::EIO)?;
                if path.pop() != Some(0) {
                    return Err(Errno::ENOEXEC);
                }
                path.truncate(memchr::memchr(0, &path).unwrap_or(path.len()));
                elf.interp = Some(path);
            }
            ph::PT_GNU_STACK => elf.stack = Some(p.p_flags),
            _ => {}
        }
    }
    if elf.loads.is_empty() {
        return Err(Errno::ENOEXEC);
    }
    Ok(Kind::Elf(Box::new(elf)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(path: &str) -> Result<Kind, Errno> {
        let file = File::open(path).unwrap();
        let mut head = vec![0; 4096];
        let n = file.read_at(&mut head, 0).unwrap();
        parse(&head[..n], &file)
    }

    #[test]
    fn a_real_program_has_an_interpreter_and_segments() {
        let Kind::Elf(elf) = look("/bin/sh").unwrap() else { panic!("/bin/sh is ELF") };
        assert!(elf.interp.unwrap().starts_with(b"/lib"));
        assert!(elf.loads.iter().any(|l| l.flags & ph::PF_X != 0));
        assert_eq!(look("/etc/passwd"), Ok(Kind::Other));
    }

    #[test]
    fn no_mutation_of_a_header_panics() {
        let original = std::fs::read("/bin/true").unwrap();
        let file = File::open("/bin/true").unwrap();
        let head = &original[..4096.min(original.len())];
        for at in 0..64 {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut head = head.to_vec();
                head[at] = value;
                let _: Result<Kind, Errno> = parse(&head, &file);
            }
        }
        assert_eq!(parse(&head[..40], &file), Err(Errno::ENOEXEC));
    }
}
