//! `guest paths DIR [--second DIR] [--group NAME]…`: path operations in a tree made below DIR, one line each.
//!
//! A line holds the call, its arguments, the result or the error's name, and what can be seen of the effect. Nothing
//! that differs between two runs of the same calls is printed: no device, inode, time or process number.

mod across;
mod admin;
mod cwd;
mod dirfd;
mod exec;
mod flags;
mod openat2;
mod pointers;
mod proc;
mod readers;
mod socket;
mod tree;
mod writers;
mod xattr;

use crate::raw::CORRUPT;
use crate::show::{join, set_top};
use std::sync::atomic::Ordering::Relaxed;
use tree::Place;

/// The groups of operations, each on a fresh tree with the working directory in it.
const GROUPS: &[(&str, fn(&Place))] = &[
    ("readers", readers::run),
    ("writers", writers::run),
    ("openat2", openat2::run),
    ("cwd", cwd::run),
    ("dirfd", dirfd::run),
    ("pointers", pointers::run),
    ("flags", flags::run),
    ("proc", proc::run),
    ("socket", socket::run),
    ("xattr", xattr::run),
    ("exec", exec::run),
    ("admin", admin::run),
    ("across", across::run),
];

pub fn run(name: &[u8], words: &[Vec<u8>]) -> Option<u8> {
    let top = words.first()?.clone();
    let mut place = Place {
        base: join(&top, b"base/x"),
        other: join(&top, b"base/o"),
        top,
        program: name.to_vec(),
        second: None,
    };
    let mut only: Vec<&[u8]> = vec![];
    for pair in words[1..].chunks(2) {
        match (&pair[0][..], pair.get(1)) {
            (b"--second", Some(dir)) => place.second = Some(dir.clone()),
            (b"--group", Some(name)) => only.push(name),
            _ => return None,
        }
    }
    set_top(&place.top);
    // Modes of new files are compared.
    crate::sys!(umask, 0o022);
    for (name, group) in GROUPS {
        if only.is_empty() || only.contains(&name.as_bytes()) {
            println!("## {name}");
            place.rebuild();
            group(&place);
        }
    }
    std::env::set_current_dir("/").ok()?;
    tree::wipe(&tree::path(&place.top).join("base"));
    Some(u8::from(CORRUPT.load(Relaxed) > 0))
}
