//! Variables of the environment: each of PRoot's under its own name and, winning, under prun's.

use crate::error::Failure;
use std::ffi::OsString;
use std::io::Error;

/// The value of `PRUN_name`, else of `PROOT_name`; an empty one counts as unset.
pub(super) fn get(name: &str) -> Option<OsString> {
    ["PRUN", "PROOT"]
        .iter()
        .filter_map(|prefix| std::env::var_os(format!("{prefix}_{name}")))
        .find(|value| !value.is_empty())
}

/// How much is said: `-v` counts one each, a number sets it; the variable is what is said without either.
pub(super) fn level(given: &[String]) -> Result<i8, Failure> {
    let bad = |text: &str| {
        Failure::new("be as verbose as", text, Error::other("that is no number"))
            .hint("-v is given once or twice, or takes a number: -1, 0, 1, 2")
    };
    let number = |text: &str| text.parse::<i32>().map_err(|_| bad(text));
    let mut level = 0;
    if given.is_empty()
        && let Some(text) = get("VERBOSE")
    {
        level = number(&text.to_string_lossy())?;
    }
    for text in given {
        level = if text.is_empty() { level.saturating_add(1) } else { number(text)? };
    }
    Ok(i8::try_from(level.clamp(-1, 9)).unwrap_or(0))
}

/// Variables that change nothing here, and why.
const WITHOUT_EFFECT: [(&str, &str); 5] = [
    // Also under the name `proot`: nix-portable, which calls its runtime so, sets it because PRoot is less broken then.
    (
        "NO_SECCOMP",
        "it turns off PRoot's accelerator; prun's translates every call, so it stays on (PRUN_ENGINE=plain)",
    ),
    ("TMP_DIR", "no file is made for the session, there or anywhere"),
    ("FORCE_KOMPAT", "only what -k asks for is changed"),
    ("DONT_POLLUTE_ROOTFS", "nothing is ever made in the guest's root"),
    ("NO_MOUNTINFO", "mountinfo is the host's in any case"),
];

/// Says what is not heeded, and why.
pub(super) fn comment() {
    if !crate::report::wants(1) {
        return;
    }
    for (name, why) in WITHOUT_EFFECT {
        if get(name).is_some() {
            crate::report::say(format_args!("PROOT_{name}: {why}"));
        }
    }
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("PROOT_LOADER") || name.starts_with("PRUN_LOADER") {
            crate::report::say(format_args!("{name}: prun has its loader in itself"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_counted_or_set() {
        let level = |given: &[&str]| level(&given.iter().map(|&s| s.to_owned()).collect::<Vec<_>>());
        assert_eq!(level(&["", ""]).unwrap(), 2);
        assert_eq!(level(&["3", ""]).unwrap(), 4);
        assert_eq!(level(&["-5"]).unwrap(), -1);
        assert!(level(&["x"]).is_err());
    }
}
