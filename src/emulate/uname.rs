//! uname(2) with `-k`: the kernel fills the structure, and the fields that were asked for are written over it.

use crate::config::KernelNames;
use crate::config::kernel::FIELD;

/// Offset in `struct new_utsname` and bytes, for each field that is changed; the rest of a field is zero, as the
/// kernel leaves it.
pub fn changes(names: &KernelNames) -> impl Iterator<Item = (u64, [u8; FIELD])> + '_ {
    names.fields.iter().enumerate().filter_map(|(i, text)| {
        let text = text.as_ref()?;
        let mut field = [0; FIELD];
        field[..text.len()].copy_from_slice(text);
        Some(((i * FIELD) as u64, field))
    })
}
