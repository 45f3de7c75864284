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
    /// Alignment, a power of two, at least a page.
    pub align: u64,
}

/// A 64-bit program of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Elf {
    /// `ET_DYN`: may be loaded anywhere.
    pub movable: bool,
    /// Entry point.
    pub entry: u64,
    /// Offset of the program headers in the file.
    pub phoff: u64,
    /// Their number.
    pub phnum: u64,
    /// What is to be mapped, in order.
    pub loads: SmallVec<[Load; 8]>,
    /// The interpreter's path, without its NUL.
    pub interp: Option<Vec<u8>>,
    /// Flags of `PT_GNU_STACK`.
    pub stack: Option<u32>,
}

/// What a file is to execve(2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// ELF that can be run.
    Elf(Box<Elf>),
    /// ELF of another machine or word size.
    Foreign(u16),
    /// No ELF.
    Other,
}

const PHENTSIZE: usize = size_of::<ph::program_header64::ProgramHeader>();
/// `ELF_MIN_ALIGN`.
const PAGE: u64 = prun_arch::layout::PAGE;

/// Reads the headers of `file`, whose first bytes are `head`.
///
/// # Errors
/// `ENOEXEC` and `EIO` as the kernel's.
pub fn parse(head: &[u8], file: &File) -> Result<Kind, Errno> {
    if !head.starts_with(header::ELFMAG) {
        return Ok(Kind::Other);
    }
    if head.len() < header::header64::SIZEOF_EHDR {
        return Err(Errno::ENOEXEC);
    }
    let raw: &[u8; header::header64::SIZEOF_EHDR] =
        head[..header::header64::SIZEOF_EHDR].try_into().map_err(|_| Errno::ENOEXEC)?;
    let h = header::header64::Header::from_bytes(raw);
    if h.e_ident[header::EI_CLASS] != header::ELFCLASS64 || h.e_machine != prun_arch::ELF_MACHINE {
        return Ok(Kind::Foreign(h.e_machine));
    }
    let movable = match h.e_type {
        header::ET_DYN => true,
        header::ET_EXEC => false,
        _ => return Err(Errno::ENOEXEC),
    };
    let size = usize::from(h.e_phnum) * PHENTSIZE;
    if usize::from(h.e_phentsize) != PHENTSIZE || size == 0 || size > 65536 {
        return Err(Errno::ENOEXEC);
    }
    let mut table = vec![0; size];
    cost::count(cost::Kind::Files, 1);
    file.read_exact_at(&mut table, h.e_phoff).map_err(|_| Errno::ENOEXEC)?;
    let mut elf = Elf {
        movable,
        entry: h.e_entry,
        phoff: h.e_phoff,
        phnum: u64::from(h.e_phnum),
        loads: SmallVec::new(),
        interp: None,
        stack: None,
    };
    for p in ph::program_header64::ProgramHeader::from_bytes(&table, usize::from(h.e_phnum)) {
        match p.p_type {
            ph::PT_LOAD => {
                let align = if p.p_align.is_power_of_two() { p.p_align.max(PAGE) } else { PAGE };
                let sane = p.p_filesz <= p.p_memsz
                    && p.p_vaddr.checked_add(p.p_memsz).is_some_and(|end| end < prun_arch::TASK_END)
                    && p.p_offset.checked_add(p.p_filesz).is_some()
                    && p.p_vaddr % PAGE == p.p_offset % PAGE;
                if !sane {
                    return Err(Errno::EINVAL);
                }
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
