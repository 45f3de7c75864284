//! `-k`: what uname(2) says of the kernel, and which features of the processor a program is told of.

use crate::error::Failure;
use std::ffi::OsStr;
use std::io::Error;
use std::os::unix::ffi::OsStrExt;

/// Bytes of each field of `struct new_utsname`, its NUL included (`<linux/utsname.h>`).
pub const FIELD: usize = 65;

/// What is changed; the rest stays as the kernel has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KernelNames {
    /// In the order of `struct new_utsname`: system, node, release, version, machine, domain.
    pub fields: [Option<Vec<u8>>; 6],
    /// `AT_HWCAP` of getauxval(3).
    pub hwcap: Option<u64>,
}

/// Index of the release among the fields.
pub const RELEASE: usize = 2;

/// `RELEASE`, or `\system\node\release\version\machine\domain\hwcap\`. What is longer than uname(2) has room for is cut,
/// with a warning; `-1` as the last field changes nothing, as front-ends pass it.
///
/// # Errors
/// When there is nothing, there are too many fields, or the last is no number.
pub(super) fn parse(text: &OsStr) -> Result<KernelNames, Failure> {
    let bad = |why: &'static str| {
        Err(Failure::new("appear as the kernel", &text.to_string_lossy(), Error::other(why)).hint(
            "-k takes a release such as 6.1.0, or \\system\\node\\release\\version\\machine\\domain\\hwcap\\",
        ))
    };
    let mut names = KernelNames::default();
    let bytes = text.as_bytes();
    let Some(all) = bytes.strip_prefix(b"\\") else {
        if bytes.is_empty() {
            return bad("there is no release");
        }
        names.fields[RELEASE] = Some(cut(bytes));
        return Ok(names);
    };
    let all = all.strip_suffix(b"\\").unwrap_or(all);
    for (i, field) in all.split(|&b| b == b'\\').enumerate() {
        match i {
            _ if field.is_empty() && i < 7 => {}
            0..6 => names.fields[i] = Some(cut(field)),
            6 if field == b"-1" => {}
            6 => match number(field) {
                Some(hwcap) => names.hwcap = Some(hwcap),
                None => return bad("the last field, hwcap, is a number"),
            },
            _ => return bad("there are seven fields at most"),
        }
    }
    Ok(names)
}

fn cut(field: &[u8]) -> Vec<u8> {
    if field.len() >= FIELD {
        crate::warning!(
            "-k: '{}' is cut to {} bytes, which uname(2) has room for",
            String::from_utf8_lossy(field),
            FIELD - 1
        );
    }
    field[..field.len().min(FIELD - 1)].to_vec()
}

/// Decimal, or hexadecimal with `0x`.
fn number(field: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(field).ok()?;
    match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_or_every_field() {
        let parse = |text: &str| parse(OsStr::new(text));
        let one = parse("6.1.0-x").unwrap();
        assert_eq!(one.fields[RELEASE].as_deref(), Some(&b"6.1.0-x"[..]));
        assert_eq!(one.fields.iter().flatten().count(), 1);
        let all = parse(r"\Linux\node\5.4\#1\x86_64\dom\0x10\").unwrap();
        assert_eq!(all.fields.iter().flatten().count(), 6);
        assert_eq!((all.fields[1].as_deref(), all.hwcap), (Some(&b"node"[..]), Some(16)));
        let full = parse(r"\Linux\localhost\6.17.0-x\#1 SMP\aarch64\localdomain\-1\").unwrap();
        assert_eq!((full.fields.iter().flatten().count(), full.hwcap), (6, None));
        let long = parse(&format!(r"\\\{}\", "9".repeat(70))).unwrap();
        assert_eq!(long.fields[RELEASE].as_ref().unwrap().len(), 64);
        let some = parse(r"\\localhost\\\aarch64\").unwrap();
        assert_eq!((some.fields.iter().flatten().count(), some.hwcap), (2, None));
        for bad in ["", r"\a\b\c\d\e\f\1\x\", r"\a\b\c\d\e\f\g\"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
