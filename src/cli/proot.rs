//! PRoot's dialect: the few things its command lines hold that clap has no word for.
//!
//! PRoot's `-v` always takes a number, prun's may be counted; and `-p` takes a value in PRoot and none in termux's
//! fork. Both are decided by the word that follows. The words are walked as clap will walk them, by the same
//! definitions, so that nothing behind the command is touched.

use clap::{ArgAction, Command};
use std::ffi::OsString;

/// Puts `-v N` and `-p IN:OUT` into forms that clap reads so, in the options of a command line.
pub fn rewrite(words: Vec<OsString>, command: &Command) -> Vec<OsString> {
    let mut out = Vec::with_capacity(words.len());
    let mut words = words.into_iter().peekable();
    out.extend(words.next());
    while let Some(word) = words.next() {
        let text = word.to_str().unwrap_or("");
        if text == "--" || !text.starts_with('-') || text == "-" {
            out.push(word);
            break;
        }
        let joined = match text {
            "-v" | "--verbose" => words.next_if(|next| is_level(next.to_str())).map(|n| ("--verbose=", n)),
            "-p" | "--port" => words.next_if(|next| is_mapping(next.to_str())).map(|n| ("--port=", n)),
            _ => None,
        };
        match joined {
            Some((option, value)) => {
                let mut both = OsString::from(option);
                both.push(value);
                out.push(both);
            }
            None if takes_next(text, command) => {
                out.push(word);
                out.extend(words.next());
            }
            None => out.push(word),
        }
    }
    out.extend(words);
    out
}

fn is_level(word: Option<&str>) -> bool {
    word.is_some_and(|w| w.parse::<i32>().is_ok())
}

fn is_mapping(word: Option<&str>) -> bool {
    // udocker puts a space behind the pair. Numbers that are no ports are mistakes, not commands.
    let number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    word.map(str::trim).is_some_and(|w| w.split_once(':').map_or(number(w), |(a, b)| number(a) && number(b)))
}

/// Whether the word behind this option is its value.
fn takes_next(option: &str, command: &Command) -> bool {
    let valued = |a: &clap::Arg| {
        matches!(a.get_action(), ArgAction::Set | ArgAction::Append) && !a.is_require_equals_set()
    };
    if let Some(long) = option.strip_prefix("--") {
        return command.get_arguments().any(|a| {
            valued(a) && a.get_long_and_visible_aliases().is_some_and(|names| names.contains(&long))
        });
    }
    // The first letter of a cluster that takes a value takes the rest of it, or, where nothing is left, the next word.
    let mut letters = option[1..].chars();
    while let Some(letter) = letters.next() {
        let takes = command.get_arguments().any(|a| {
            valued(a) && a.get_short_and_visible_aliases().is_some_and(|names| names.contains(&letter))
        });
        if takes {
            return letters.next().is_none();
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::super::{Cli, Dialect};

    fn read(line: &[&str]) -> Cli {
        Cli::read(line.iter().map(Into::into)).unwrap()
    }

    #[test]
    fn a_value_may_follow_v_and_p() {
        let cli = read(&[
            "prun",
            "-v",
            "1",
            "-p",
            "80:8080",
            "-p",
            "-b",
            "x",
            "-v",
            "--verbose",
            "-1",
            "-vv",
            "ls",
        ]);
        assert_eq!(cli.verbose, ["1", "", "-1", "", ""]);
        assert_eq!(cli.port, ["80:8080", ""]);
        assert_eq!(cli.bind, ["x"]);
        assert_eq!(cli.command, ["ls"]);
        assert_eq!(read(&["prun", "-p", "80:8080 ", "ls"]).port, ["80:8080 "]);
        assert_eq!(read(&["prun", "-p", "99999:1", "-p", "80", "ls"]).port, ["99999:1", "80"]);
        assert_eq!(read(&["prun", "-p", "ls:1", "80"]).port, [""]);
        let cli = read(&["prun", "-v", "sh", "-v", "1"]);
        assert_eq!((cli.verbose.len(), cli.command.len()), (1, 3));
        let cli = read(&["prun", "--", "-v", "1"]);
        assert_eq!((cli.verbose.len(), cli.command.len()), (0, 2));
    }

    #[test]
    fn both_forms_of_every_option_that_takes_a_value() {
        for (name, letter) in
            [("rootfs", "r"), ("cwd", "w"), ("qemu", "q"), ("kernel-release", "k"), ("change-id", "i")]
        {
            let one = read(&["prun", &format!("--{name}=X"), "ls"]);
            let two = read(&["prun", &format!("--{name}"), "X", "ls"]);
            let three = read(&["prun", &format!("-{letter}"), "X", "ls"]);
            let four = read(&["prun", &format!("-{letter}X"), "ls"]);
            for other in [two, three, four] {
                assert_eq!(format!("{one:?}"), format!("{other:?}"));
            }
        }
        let all = read(&[
            "prun",
            "-m",
            "a",
            "--mount=b",
            "--bind",
            "c",
            "--pwd=/d",
            "-r",
            "x",
            "-r",
            "y",
            "ls",
            "-r",
        ]);
        assert_eq!(all.bind, ["a", "b", "c"]);
        assert_eq!(all.rootfs.unwrap(), std::path::Path::new("y"), "the last one counts, as in PRoot");
        assert_eq!(all.command, ["ls", "-r"]);
    }

    #[test]
    fn the_name_decides_the_dialect() {
        assert_eq!(read(&["/opt/bin/proot", "ls"]).dialect, Dialect::Proot);
        assert_eq!(read(&["proot-x86_64-4_8_0", "ls"]).dialect, Dialect::Proot);
        assert_eq!(read(&["prooted", "ls"]).dialect, Dialect::Prun);
        assert_eq!((Dialect::Proot.own_status(125), Dialect::Prun.own_status(125)), (1, 125));
    }
}
