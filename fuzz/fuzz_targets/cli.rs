//! The command line: words between NULs. What is accepted is settled too, as far as that touches nothing.
#![no_main]

use prun::cli::Cli;
use prun::config::Config;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let words = data.split(|&b| b == 0).map(|word| OsStr::from_bytes(word).to_owned());
    let name = if data.len() % 2 == 0 { "prun" } else { "proot" };
    let cli = match Cli::read(std::iter::once(name.into()).chain(words)) {
        Ok(cli) => cli,
        Err(e) => {
            // The message can be put together.
            assert!(!e.to_string().is_empty());
            return;
        }
    };
    // It makes a folder.
    if cli.nix.is_some() {
        return;
    }
    match Config::new(cli) {
        Ok(config) => {
            assert!(!config.command.is_empty());
            assert!(config.root.as_bytes().starts_with(b"/"));
            assert!(config.bindings.iter().all(|b| b.guest.as_bytes().starts_with(b"/")));
            assert!(config.candidates().iter().all(|path| !path.is_empty()));
        }
        Err(e) => assert!(e.to_string().starts_with("cannot ")),
    }
});
