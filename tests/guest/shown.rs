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

/// openat2(2) with flags, mode and limits. What climbs within limits is refused with `EAGAIN` when something is renamed or
/// mounted anywhere on the machine at that moment (`handle_dots()` of `fs/namei.c`): then it is asked again, as its page says.
pub fn openat2(at: impl Into<i64>, path: *const libc::c_char, how: &[u64; 3]) -> i64 {
    let at = at.into();
    let mut tries = (0..1000).map(|_| sc!(libc::SYS_openat2, at, path, how.as_ptr(), 24));
    let again = -i64::from(libc::EAGAIN);
    tries.find(|&r| r != again).unwrap_or(again)
}

pub fn name(r: i64) -> String {
    if r < 0 { format!("-{:?}", syscalls::Errno::new(-r as i32)) } else { r.to_string() }
}

/// Success or the errno, where the number itself may differ between runs.
pub fn ok(r: i64) -> String {
    if r < 0 { name(r) } else { "ok".into() }
}
