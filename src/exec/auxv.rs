//! The initial stack of a program: argc, argv, envp and the auxiliary vector (getauxval(3)).

/// `AT_*` of `<linux/auxvec.h>` that prun reads or changes.
pub mod at {
    /// Program headers in memory.
    pub const PHDR: u64 = 3;
    /// Their number.
    pub const PHNUM: u64 = 5;
    /// Where the interpreter is loaded.
    pub const BASE: u64 = 7;
    /// The program's entry point.
    pub const ENTRY: u64 = 9;
    /// Features of the processor.
    pub const HWCAP: u64 = 16;
    /// Real user id.
    pub const UID: u64 = 11;
    /// Effective user id.
    pub const EUID: u64 = 12;
    /// Real group id.
    pub const GID: u64 = 13;
    /// Effective group id.
    pub const EGID: u64 = 14;
    /// The program must distrust its environment.
    pub const SECURE: u64 = 23;
    /// The path given to execve(2).
    pub const EXECFN: u64 = 31;
}

/// How wide the stack's words are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// 32 bits.
    Narrow,
    /// 64 bits.
    Wide,
}

impl Word {
    /// Bytes of one.
    pub fn bytes(self) -> usize {
        match self {
            Self::Narrow => 4,
            Self::Wide => 8,
        }
    }

    /// The word that `bytes` begin with.
    fn read(self, bytes: &[u8]) -> Option<u64> {
        match self {
            Self::Narrow => bytes.first_chunk().map(|b| u32::from_ne_bytes(*b).into()),
            Self::Wide => bytes.first_chunk().map(|b| u64::from_ne_bytes(*b)),
        }
    }
}

/// Positions in the stack, as byte offsets from the stack pointer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The first argument's address, 0 if there is none.
    pub arg_start: u64,
    /// The first environment string's address, 0 if there is none.
    pub env_start: u64,
    /// Where the vector begins.
    pub auxv: usize,
    /// Behind its terminating pair.
    pub end: usize,
}

/// Takes the stack apart; `None` if it does not end within `bytes`. The first word is not looked at: of a program that
/// has run up to its first call, it may be another than the number of arguments (`_start` of glibc for ARM).
pub fn layout(bytes: &[u8], width: Word) -> Option<Layout> {
    let len = width.bytes();
    let word = |i: usize| width.read(bytes.get(i.checked_mul(len)?..)?);
    let arg_start = word(1)?;
    let mut i = 1;
    while word(i)? != 0 {
        i += 1;
    }
    i += 1;
    let env_start = word(i)?;
    while word(i)? != 0 {
        i += 1;
    }
    let auxv = i + 1;
    let mut i = auxv;
    while word(i)? != 0 {
        i += 2;
    }
    word(i + 1)?;
    Some(Layout { arg_start, env_start, auxv: len * auxv, end: len * (i + 2) })
}

/// The value of an entry of the vector `auxv`.
pub fn get(auxv: &[u8], width: Word, key: u64) -> Option<u64> {
    entries(auxv, width).find(|(k, _)| *k == key).map(|(_, v)| v)
}

/// Changes an entry that is there.
pub fn set(auxv: &mut [u8], width: Word, key: u64, value: u64) {
    let index = entries(auxv, width).position(|(k, _)| k == key);
    if let Some(i) = index {
        let len = width.bytes();
        // Little-endian: the low half comes first.
        auxv[(2 * i + 1) * len..][..len].copy_from_slice(&value.to_le_bytes()[..len]);
    }
}

fn entries(auxv: &[u8], width: Word) -> impl Iterator<Item = (u64, u64)> + '_ {
    let len = width.bytes();
    auxv.chunks_exact(2 * len).filter_map(move |pair| Some((width.read(pair)?, width.read(&pair[len..])?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(words: &[u64]) -> Vec<u8> {
        words.iter().flat_map(|w| w.to_ne_bytes()).collect()
    }

    #[test]
    fn a_stack_is_found_whole_or_not_at_all() {
        let stack = bytes(&[2, 100, 104, 0, 200, 0, at::PHDR, 7, at::EXECFN, 9, 0, 0]);
        let l = layout(&stack, Word::Wide).unwrap();
        assert_eq!(l, Layout { arg_start: 100, env_start: 200, auxv: 48, end: 96 });
        let begun = [bytes(&[0xffff_0000]).as_slice(), &stack[8..]].concat();
        assert_eq!(layout(&begun, Word::Wide), Some(l.clone()));
        for cut in 0..stack.len() {
            assert_eq!(layout(&stack[..cut], Word::Wide), None);
        }
        let mut auxv = stack[l.auxv..].to_vec();
        set(&mut auxv, Word::Wide, at::EXECFN, 11);
        set(&mut auxv, Word::Wide, at::BASE, 1);
        assert_eq!((get(&auxv, Word::Wide, at::EXECFN), get(&auxv, Word::Wide, at::BASE)), (Some(11), None));
        for argc in [u64::MAX, u64::MAX / 8, u64::MAX / 8 - 1] {
            assert_eq!(layout(&bytes(&[argc, 0, 0, 0]), Word::Wide), None);
        }
    }
}
