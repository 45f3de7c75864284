//! Where paths lead: a list on standard input, one line of output each.

use crate::raw::{c, name};
use crate::sc;
use libc::*;
use std::io::{BufRead, Write};

/// A line is a directory to start in, a path, whether its last component is followed (`f` or `k`) and the `RESOLVE_*`
/// flags of openat2(2), separated by NULs. Answers with the inode, or the errno.
pub fn run() -> i32 {
    let mut out = std::io::stdout().lock();
    for line in std::io::stdin().lock().split(b'\n') {
        let line = line.expect("a line");
        let parts: Vec<&[u8]> = line.split(|&b| b == 0).collect();
        let [base, path, last, limits] = parts[..] else { panic!("four parts") };
        let (base, path) = (c(base), c(path));
        let limits: u64 = String::from_utf8_lossy(limits).parse().expect("a number");
        let kept = last == b"k";
        let r = sc!(SYS_chdir, base.as_ptr());
        let answer = if r < 0 {
            format!("no base: {}", name(r))
        } else if limits == 0 {
            let mut st: stat = unsafe { std::mem::zeroed() };
            let flags = if kept { AT_SYMLINK_NOFOLLOW } else { 0 };
            let r = sc!(SYS_newfstatat, AT_FDCWD, path.as_ptr(), &raw mut st, flags);
            if r < 0 { name(r) } else { st.st_ino.to_string() }
        } else {
            let flags = O_PATH | O_CLOEXEC | if kept { O_NOFOLLOW } else { 0 };
            let how = [flags as u64, 0, limits];
            let fd = crate::raw::openat2(AT_FDCWD, path.as_ptr(), &how);
            let mut st: stat = unsafe { std::mem::zeroed() };
            if fd < 0 {
                name(fd)
            } else {
                sc!(SYS_fstat, fd, &raw mut st);
                sc!(SYS_close, fd);
                st.st_ino.to_string()
            }
        };
        let _ = writeln!(out, "{answer}");
    }
    0
}
