//! How arguments are written and results are printed, whatever makes the call.

use std::ffi::CString;

pub fn c(path: &[u8]) -> CString {
    CString::new(path).expect("no NUL inside")
}

pub fn pad(args: &[u64]) -> [u64; 6] {
    let mut all = [0; 6];
    all[..args.len()].copy_from_slice(args);
    all
}

/// A call by its number, with up to six arguments of any kind.
#[macro_export]
macro_rules! sc {
    ($nr:expr $(, $a:expr)*) => {
        // One expression, so that what the arguments point to lives until the call is over.
        $crate::raw::sys($nr as i64, $crate::raw::pad(&[$($a as u64),*]))
    };
}

pub fn name(r: i64) -> String {
    if r < 0 { format!("-{:?}", syscalls::Errno::new(-r as i32)) } else { r.to_string() }
}

/// Success or the errno, where the number itself may differ between runs.
pub fn ok(r: i64) -> String {
    if r < 0 { name(r) } else { "ok".into() }
}
