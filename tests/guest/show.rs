//! How results are printed: the same on every run of the same calls, and short.

use crate::raw::{flush, in_child};
use crate::sys;
use std::ffi::{CStr, CString};
use std::fmt::Write;
use std::sync::OnceLock;

/// Replaced by `$D` wherever it is printed, so that lines of trees in different places compare.
static TOP: OnceLock<Vec<u8>> = OnceLock::new();

pub fn set_top(dir: &[u8]) {
    TOP.set(dir.to_vec()).expect("set once");
}

/// A C string of bytes the tests made themselves.
pub fn c(bytes: impl AsRef<[u8]>) -> CString {
    CString::new(bytes.as_ref()).expect("no zero byte in a path of ours")
}

/// Joins with one slash.
pub fn join(dir: &[u8], name: &[u8]) -> Vec<u8> {
    [dir, b"/", name].concat()
}

/// The name of an error number.
pub fn errno(number: i64) -> String {
    let number = number as i32;
    match syscalls::Errno::new(number).name() {
        Some(name) => name.to_owned(),
        None => format!("error {number}"),
    }
}

/// A result: the number, or the error's name.
pub fn result(r: i64) -> String {
    if r < 0 { errno(-r) } else { r.to_string() }
}

/// `ok` or the error's name, where the number means nothing.
pub fn ok(r: i64) -> String {
    if r < 0 { errno(-r) } else { "ok".into() }
}

/// Printable bytes with the tree's place replaced, long ones cut in the middle.
pub fn bytes(path: &[u8]) -> String {
    let mut out = String::new();
    let top = TOP.get().map_or(&b"\xff"[..], |t| &t[..]);
    let mut rest = path;
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix(top) {
            out.push_str("$D");
            rest = after;
            continue;
        }
        for part in std::ascii::escape_default(rest[0]) {
            out.push(part as char);
        }
        rest = &rest[1..];
    }
    if out.len() > 100 { format!("{}…{}({})", &out[..40], &out[out.len() - 20..], out.len()) } else { out }
}

/// What stat tells that is the same on every run. Sizes and link counts of directories are the file system's affair.
pub fn stat(st: &libc::stat) -> String {
    let mut out = format!("mode={:o}", st.st_mode);
    match st.st_mode & libc::S_IFMT {
        libc::S_IFDIR => {}
        libc::S_IFLNK => write!(out, " size={}", st.st_size).unwrap(),
        libc::S_IFREG => write!(out, " size={} nlink={}", st.st_size, st.st_nlink).unwrap(),
        _ => write!(out, " nlink={}", st.st_nlink).unwrap(),
    }
    if st.st_mtime == STAMP {
        out.push_str(" stamped");
    }
    out
}

/// The time that tests give to files, so that a change of times can be seen.
pub const STAMP: i64 = 1_000_000_000;

/// An empty stat buffer.
pub fn empty() -> libc::stat {
    unsafe { std::mem::zeroed() }
}

/// A descriptor as seen from outside: type, contents, what /proc says its path is. Closes it.
pub fn descriptor(fd: i64) -> String {
    if fd < 0 {
        return errno(-fd);
    }
    let mut out = format!("fd {fd}");
    let mut st = empty();
    let r = sys!(fstat, fd, &raw mut st);
    if r < 0 {
        write!(out, " fstat {}", errno(-r)).unwrap();
    } else {
        write!(out, " {}", stat(&st)).unwrap();
    }
    let flags = sys!(fcntl, fd, libc::F_GETFL, 0);
    write!(out, " flags={flags:o}").unwrap();
    if st.st_mode & libc::S_IFMT == libc::S_IFREG {
        let mut text = [0u8; 24];
        let n = sys!(pread64, fd, text.as_mut_ptr(), text.len(), 0);
        match n {
            0.. => write!(out, " text={}", bytes(&text[..n as usize])).unwrap(),
            _ => write!(out, " read {}", errno(-n)).unwrap(),
        }
    }
    write!(out, " at {}", link_of(fd)).unwrap();
    sys!(close, fd);
    out
}

/// What /proc/self/fd says of a descriptor.
pub fn link_of(fd: i64) -> String {
    link(&c(format!("/proc/self/fd/{fd}")))
}

/// A link's target.
pub fn link(path: &CStr) -> String {
    let mut buf = [0u8; 5000];
    let n = sys!(readlink, path, buf.as_mut_ptr(), buf.len());
    if n < 0 { errno(-n) } else { bytes(&buf[..n as usize]) }
}

/// The working directory as the kernel says it.
pub fn cwd() -> String {
    let mut buf = [0u8; 5000];
    let n = sys!(getcwd, buf.as_mut_ptr(), buf.len());
    if n < 0 { errno(-n) } else { bytes(&buf[..(n as usize).saturating_sub(1)]) }
}

/// How a child ended.
pub fn ended(status: i32) -> String {
    if libc::WIFEXITED(status) {
        format!("exit {}", libc::WEXITSTATUS(status))
    } else if libc::WIFSIGNALED(status) {
        format!("signal {}", libc::WTERMSIG(status))
    } else {
        format!("status {status:#x}")
    }
}

/// Runs the body in a child and prints how it ended.
pub fn child(what: &str, body: impl FnOnce() -> i32) {
    flush();
    let status = in_child(body);
    println!("{what} = {}", ended(status));
}
