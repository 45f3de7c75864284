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

/// Takes the stack apart; `None` if it does not end within `bytes`.
pub fn layout(bytes: &[u8]) -> Option<Layout> {
    let word = |i: usize| Some(u64::from_ne_bytes(*bytes.get(i.checked_mul(8)?..)?.first_chunk()?));
    let argc = usize::try_from(word(0)?).ok()?;
    let arg_start = word(1)?;
    let mut i = argc.checked_add(2)?;
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
    Some(Layout { arg_start, env_start, auxv: 8 * auxv, end: 8 * (i + 2) })
}

/// The value of an entry of the vector `auxv`.
pub fn get(auxv: &[u8], key: u64) -> Option<u64> {
    entries(auxv).find(|(k, _)| *k == key).map(|(_, v)| v)
}

/// Changes an entry that is there.
pub fn set(auxv: &mut [u8], key: u64, value: u64) {
    let index = entries(auxv).position(|(k, _)| k == key);
    if let Some(i) = index {
        auxv[16 * i + 8..16 * i + 16].copy_from_slice(&value.to_ne_bytes());
    }
}

fn entries(auxv: &[u8]) -> impl Iterator<Item = (u64, u64)> + '_ {
    let word = |b: &[u8]| b.try_into().map_or(0, u64::from_ne_bytes);
    auxv.chunks_exact(16).map(move |pair| (word(&pair[..8]), word(&pair[8..])))
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
        let l = layout(&stack).unwrap();
        assert_eq!(l, Layout { arg_start: 100, env_start: 200, auxv: 48, end: 96 });
        for cut in 0..stack.len() {
            assert_eq!(layout(&stack[..cut]), None);
        }
        let mut auxv = stack[l.auxv..].to_vec();
        set(&mut auxv, at::EXECFN, 11);
        set(&mut auxv, at::BASE, 1);
        assert_eq!((get(&auxv, at::EXECFN), get(&auxv, at::BASE)), (Some(11), None));
        for argc in [u64::MAX, u64::MAX / 8, u64::MAX / 8 - 1] {
            assert_eq!(layout(&bytes(&[argc, 0, 0, 0])), None);
        }
    }
}
