//! The first line of a script: `load_script()` of the kernel's `fs/binfmt_script.c`.

use syscalls::Errno;

/// `BINPRM_BUF_SIZE` of `<linux/binfmts.h>` since Linux 5.1: what the kernel looks at.
const LOOKED_AT: usize = 256;

/// An interpreter and at most one argument: the rest of the line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shebang<'a> {
    /// Its path, as written; empty where a NUL comes first, which execve(2) then refuses with `EACCES`.
    pub interpreter: &'a [u8],
    /// Everything after it, trimmed; empty where only a NUL follows the blanks.
    pub argument: Option<&'a [u8]>,
}

/// Reads the line; `None` if the file is no script.
///
/// The kernel looks at [`LOOKED_AT`] bytes, with zeros behind a shorter file. Without a newline among them the line
/// is cut at the last of them, which becomes the NUL; blanks before that are then no longer trimmed, because zeros
/// stand between.
///
/// # Errors
/// `ENOEXEC` for an empty line, and for one that is cut off before the interpreter's path ends.
pub fn parse(head: &[u8]) -> Option<Result<Shebang<'_>, Errno>> {
    head.starts_with(b"#!").then(|| interpret(&head[..head.len().min(LOOKED_AT)]))
}

fn interpret(head: &[u8]) -> Result<Shebang<'_>, Errno> {
    let byte = |i: usize| head.get(i).copied().unwrap_or(0);
    let blank = |i: usize| matches!(byte(i), b' ' | b'\t');
    let ends = |i: usize| blank(i) || byte(i) == 0;
    let last = LOOKED_AT - 1;
    // What strnchr(3) finds: not behind a NUL.
    let stop = head.iter().position(|&b| matches!(b, b'\n' | 0)).filter(|&i| byte(i) == b'\n');
    let mut end = match stop {
        Some(newline) => newline,
        None => {
            // The interpreter's path must at least be whole.
            let name = (2..=last).find(|&i| !blank(i)).ok_or(Errno::ENOEXEC)?;
            (name..=last).find(|&i| ends(i)).ok_or(Errno::ENOEXEC)?;
            last
        }
    };
    while blank(end - 1) {
        end -= 1;
    }
    let name = (2..end).find(|&i| !blank(i)).ok_or(Errno::ENOEXEC)?;
    let separator = (name..=end).find(|&i| ends(i));
    let argument = separator.filter(|&i| byte(i) != 0).and_then(|i| (i..=end).find(|&i| !blank(i)));
    // C strings from here on, the byte at `end` taken for a NUL.
    let text = |from: usize, to: usize| {
        let text = head.get(from..to.min(head.len())).unwrap_or_default();
        &text[..memchr::memchr(0, text).unwrap_or(text.len())]
    };
    let name_end = separator.filter(|_| argument.is_some()).unwrap_or(end);
    Ok(Shebang { interpreter: text(name, name_end), argument: argument.map(|at| text(at, end)) })
}

#[cfg(test)]
mod tests {
    use super::*;

    type Parts = Option<Result<(String, Option<String>), Errno>>;

    fn parts(text: &[u8]) -> Parts {
        let own = |b: &[u8]| String::from_utf8(b.to_vec()).unwrap();
        parse(text).map(|r| r.map(|s| (own(s.interpreter), s.argument.map(own))))
    }

    fn some(interpreter: &str, argument: Option<&str>) -> Parts {
        Some(Ok((interpreter.into(), argument.map(Into::into))))
    }

    #[test]
    fn lines_are_cut_as_the_kernel_cuts_them() {
        assert_eq!(parts(b"#!/bin/sh\nx"), some("/bin/sh", None));
        assert_eq!(parts(b"#! \t/bin/sh  -e  x \t\n"), some("/bin/sh", Some("-e  x")));
        assert_eq!(parts(b"#!/bin/sh"), some("/bin/sh", None));
        assert_eq!(parts(b"#!/bin/sh\0junk\n"), some("/bin/sh", None));
        assert_eq!(parts(b"#!/bin/sh "), some("/bin/sh", Some("")));
        assert_eq!(parts(b"#!\0/bin/sh\n"), some("", None));
        assert_eq!(parts(b"#!\n"), Some(Err(Errno::ENOEXEC)));
        assert_eq!(parts(b"#!   \n"), Some(Err(Errno::ENOEXEC)));
        assert_eq!(parts(b"# !/bin/sh\n"), None);
        assert_eq!(parts(b""), None);
    }

    #[test]
    fn a_line_that_is_cut_off_needs_a_whole_interpreter() {
        let long = [b"#!/".as_slice(), &[b'a'; 300]].concat();
        assert_eq!(parts(&long), Some(Err(Errno::ENOEXEC)));
        let argument = [b"#!/bin/sh ".as_slice(), &[b'a'; 300]].concat();
        assert_eq!(parts(&argument), some("/bin/sh", Some(&"a".repeat(245))));
    }
}
