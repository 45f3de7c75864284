//! Raw calls of a 32-bit ABI.

#[path = "../../shown.rs"]
mod shown;
pub use shown::{c, name, ok, openat2, pad};

#[cfg_attr(feature = "arm", path = "arm.rs")]
#[cfg_attr(not(feature = "arm"), path = "i386.rs")]
mod cpu;

pub fn sys(nr: i64, a: [u64; 6]) -> i64 {
    let result = cpu::call(nr, a.map(|arg| arg as u32));
    // Addresses reach above 2 GiB.
    if (-4095..0).contains(&result) { result.into() } else { (result as u32).into() }
}

pub mod old {
    #![allow(non_upper_case_globals)]
    use super::cpu::{Sysno as N, UTIME};
    macro_rules! names {
        ($($name:ident)*) => { $(pub const $name: i64 = N::$name as i64;)* };
    }
    names!(open access mkdir rmdir unlink rename link symlink readlink chmod utimes futimesat creat mknod fork pause fchmodat2);
    pub const utime: i64 = UTIME as i64;
    pub const stat: i64 = N::stat64 as i64;
    pub const lstat: i64 = N::lstat64 as i64;
    pub const chown: i64 = N::chown32 as i64;
    pub const lchown: i64 = N::lchown32 as i64;

    pub fn newer(nr: i64, a: [u64; 6]) -> (i64, [u64; 6]) {
        (nr, a)
    }
}
