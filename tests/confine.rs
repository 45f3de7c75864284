//! Confinement: every way out that `tests/guest/confine` knows, tried under prun, under PRoot where it is installed,
//! and in a real chroot as the same user where the tests run as root. A row where prun is not confined must be in
//! [`limits`], with its reason, which the README gives too.

mod limits;
mod world;

use crate::harness::*;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use world::{Runtime, World};

/// What came of a probe.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Row {
    Confined,
    Escapes(String),
    Skipped(String),
}

impl Row {
    fn of(output: &str, changed: Option<String>) -> Self {
        let output = output.trim();
        if let Some(what) = changed {
            return Self::Escapes(format!("changes {what}"));
        }
        match output.split_once(' ') {
            None if output == "confined" => Self::Confined,
            Some(("escapes", what)) => Self::Escapes(what.into()),
            Some(("skip", why)) => Self::Skipped(why.into()),
            _ => Self::Escapes(format!("the session breaks: {output:?}")),
        }
    }

    fn word(&self) -> &'static str {
        match self {
            Self::Confined => "confined",
            Self::Escapes(_) => "ESCAPES",
            Self::Skipped(_) => "-",
        }
    }
}

fn names() -> Vec<String> {
    let only = std::env::var("CONFINE").unwrap_or_default();
    good(Who::Me, &[&guest(), "confine", "list"])
        .lines()
        .filter(|name| name.starts_with(&only))
        .map(str::to_owned)
        .collect()
}

fn all(runtime: Runtime, names: &[String]) -> BTreeMap<String, Row> {
    let world = World::new();
    if runtime == Runtime::Chroot && !world.chroot_works() {
        return BTreeMap::new();
    }
    let tried = names.iter().enumerate().filter(|(at, name)| is_tried(runtime, *at, name));
    tried.map(|(_, name)| (name.clone(), world.probe(runtime, name))).collect()
}

/// On a slow machine all is tried under prun only: of the others, each of which takes as long, the limits and a sample.
fn is_tried(runtime: Runtime, at: usize, name: &str) -> bool {
    slow() == 1 || runtime == Runtime::Prun || limits::LIMITS.iter().any(|l| l.name == name) || at % 13 == 6
}

/// The columns of the table.
const RUNTIMES: [(&str, Runtime); 4] = [
    ("prun", Runtime::Prun),
    ("--confine", Runtime::Confined),
    ("proot", Runtime::Proot),
    ("chroot", Runtime::Chroot),
];

fn table(names: &[String], columns: &[BTreeMap<String, Row>]) -> String {
    let mut table = format!("{:<58}", "");
    for (title, _) in RUNTIMES {
        let _ = write!(table, " {title:<10}");
    }
    table.push('\n');
    for name in names {
        let _ = write!(table, "{name:<58}");
        for rows in columns {
            let _ = write!(table, " {:<10}", rows.get(name).map_or("-", Row::word));
        }
        table.push('\n');
        for (rows, (title, _)) in columns.iter().zip(RUNTIMES).take(2) {
            if let Some(Row::Escapes(what)) = rows.get(name) {
                let _ = writeln!(table, "    {title}: {what}");
            }
        }
    }
    for (rows, (title, _)) in columns.iter().zip(RUNTIMES) {
        let count = |word: &str| rows.values().filter(|row| row.word() == word).count();
        let (confined, escape) = (count("confined"), count("ESCAPES"));
        let tried = confined + escape;
        let _ = writeln!(
            table,
            "{title}: {confined} of {tried} are confined, {escape} escape, {} not tried",
            count("-")
        );
    }
    table
}

#[test]
fn no_way_leads_out() {
    let names = names();
    let proot = std::process::Command::new("proot").arg("--version").output().is_ok();
    let columns: Vec<BTreeMap<String, Row>> = std::thread::scope(|threads| {
        let names = &names;
        let started: Vec<_> = RUNTIMES
            .into_iter()
            .map(|(_, runtime)| {
                threads.spawn(move || {
                    if runtime == Runtime::Proot && !proot { BTreeMap::new() } else { all(runtime, names) }
                })
            })
            .collect();
        started.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    });
    let table = table(&names, &columns);
    println!("{table}");
    for (rows, confine) in [(&columns[0], limits::Trust::Some), (&columns[1], limits::Trust::None)] {
        let open: Vec<_> = rows
            .iter()
            .filter(|(name, row)| matches!(row, Row::Escapes(_)) && !limits::allowed(name, confine))
            .collect();
        assert!(open.is_empty(), "ways out, {confine:?}: {open:#?}\n{table}");
    }
    let only_some = std::env::var_os("CONFINE").is_some();
    assert!(only_some || names.len() >= 122, "{} techniques", names.len());
    for limit in limits::LIMITS {
        let known = only_some || names.iter().any(|name| name == limit.name);
        assert!(known, "a limit without a probe: {}", limit.name);
        // What a chroot lets through as well is said to be so.
        let control = columns[3].get(limit.name);
        assert!(
            limit.reason != limits::AS_IN_A_CHROOT
                || control.is_none_or(|row| matches!(row, Row::Escapes(_) | Row::Skipped(_))),
            "{}: {}, it says, but a chroot confines it",
            limit.name,
            limit.reason
        );
    }
}
