//! The manual page and the completions under `src/cli/dist` are made from the definitions of the command line, and
//! are current. `PRUN_WRITE_DIST=1 cargo test --test integration dist` writes them.

use clap::CommandFactory;
use clap_complete::Shell;
use std::path::Path;

fn made() -> Vec<(&'static str, Vec<u8>)> {
    // A `_` in the name of a completion is zsh's way.
    let mut all = vec![];
    let mut page = vec![];
    let command = prun::cli::Cli::command();
    clap_mangen::Man::new(command).manual("prun").render(&mut page).expect("memory");
    all.push(("prun.1", page));
    for (shell, name) in [(Shell::Bash, "prun.bash"), (Shell::Zsh, "_prun"), (Shell::Fish, "prun.fish")] {
        let mut text = vec![];
        clap_complete::generate(shell, &mut prun::cli::Cli::command(), "prun", &mut text);
        all.push((name, text));
    }
    all
}

#[test]
fn manual_and_completions_are_current() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cli/dist");
    for (name, text) in made() {
        let path = dir.join(name);
        if std::env::var_os("PRUN_WRITE_DIST").is_some() {
            std::fs::write(&path, &text).expect("the source tree can be written");
        }
        let there = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        assert!(there == text, "{name} is out of date: PRUN_WRITE_DIST=1 cargo test --test integration dist");
    }
}

#[test]
fn they_name_every_option() {
    let made = made();
    for arg in prun::cli::Cli::command().get_arguments() {
        let Some(long) = arg.get_long() else { continue };
        for (name, text) in &made {
            // The manual escapes hyphens.
            let text = String::from_utf8_lossy(text).replace('\\', "");
            assert!(text.contains(long), "{name} lacks --{long}");
        }
    }
}

#[test]
fn the_readme_names_every_option() {
    let readme =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).expect("there");
    let table: String = readme.lines().filter(|l| l.starts_with('|')).collect();
    for arg in prun::cli::Cli::command().get_arguments() {
        for name in arg.get_long_and_visible_aliases().unwrap_or_default() {
            assert!(table.contains(&format!("--{name}")), "--{name}");
        }
        for letter in arg.get_short_and_visible_aliases().unwrap_or_default() {
            assert!(table.contains(&format!("`-{letter}")), "-{letter}");
        }
    }
}
