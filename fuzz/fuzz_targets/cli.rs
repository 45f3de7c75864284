//! The command line: words between NULs. What is accepted is settled too, as far as that touches nothing.
#![no_main]

use clap::Parser;
use prun::cli::Cli;
use prun::config::Config;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let words = data.split(|&b| b == 0).map(OsStr::from_bytes);
    let cli = match Cli::try_parse_from(std::iter::once(OsStr::new("prun")).chain(words)) {
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
    let (asked, cwd) = (cli.bind.len(), cli.cwd.clone());
    match Config::new(cli) {
        Ok(config) => {
            assert!(!config.command.is_empty() && config.bindings.len() <= asked);
            assert!(config.root.as_bytes().starts_with(b"/"));
            assert!(config.bindings.iter().all(|b| b.guest.as_bytes().starts_with(b"/")));
            assert_eq!(config.cwd.as_deref(), cwd.as_deref().map(|p| p.as_os_str().as_bytes()));
            assert!(config.candidates().iter().all(|path| !path.is_empty()));
        }
        Err(e) => assert!(e.to_string().starts_with("cannot ")),
    }
});
