//! The first line of a script: `load_script()` of the kernel's `fs/binfmt_script.c`.

use syscalls::Errno;

/// `BINPRM_BUF_SIZE` of `<linux/binfmts.h>` since Linux 5.1: what the kernel looks at.
const LOOKED_AT: usize = 256;

/// An interpreter and at most one argument: the rest of the line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shebang<'a> {
    /// Its path, as written.
    pub interpreter: &'a [u8],
    /// Everything after it, trimmed.
    pub argument: Option<&'a [u8]>,
}

/// Reads the line; `None` if the file is no script.
///
/// # Errors
/// `ENOEXEC` for an empty line, and for one that is cut off before the interpreter's path ends.
pub fn parse(head: &[u8]) -> Option<Result<Shebang<'_>, Errno>> {
    let line = head[..head.len().min(LOOKED_AT)].strip_prefix(b"#!")?;
    Some(interpret(line, head.len() >= LOOKED_AT))
}

fn interpret(line: &[u8], full: bool) -> Result<Shebang<'_>, Errno> {
    let blank = |b: &u8| matches!(b, b' ' | b'\t');
    let line = match line.iter().position(|&b| b == b'\n') {
        Some(end) => &line[..end],
        None => {
            // No newline in sight: the interpreter's path must at least be whole.
            let start = line.iter().position(|b| !blank(b)).ok_or(Errno::ENOEXEC)?;
            let ends = line[start..].iter().any(|b| blank(b) || *b == 0);
            if full && !ends {
                return Err(Errno::ENOEXEC);
            }
            line
        }
    };
    // C strings from here on.
    let line = &line[..line.iter().position(|&b| b == 0).unwrap_or(line.len())];
    let trim = |s: &'_ [u8]| -> (usize, usize) {
        let start = s.iter().position(|b| !blank(b)).unwrap_or(s.len());
        let end = s.iter().rposition(|b| !blank(b)).map_or(start, |i| i + 1);
        (start, end)
    };
    let (start, end) = trim(line);
    let line = &line[start..end];
    if line.is_empty() {
        return Err(Errno::ENOEXEC);
    }
    let cut = line.iter().position(blank).unwrap_or(line.len());
    let (interpreter, rest) = line.split_at(cut);
    let (start, end) = trim(rest);
    let argument = (start < end).then(|| &rest[start..end]);
    Ok(Shebang { interpreter, argument })
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
        assert_eq!(parts(&argument), some("/bin/sh", Some(&"a".repeat(246))));
    }
}
