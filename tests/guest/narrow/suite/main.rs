//! The suites of the guest program (`tests/guest`) through the 32-bit ABI.
#![allow(clippy::all, unused)]

#[path = "../../paths.rs"]
mod paths;
mod raw;
#[path = "../../script.rs"]
mod script;
#[path = "../../writes.rs"]
mod writes;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let rest: Vec<&str> = args.iter().skip(2).map(String::as_str).collect();
    let status = match args.get(1).map(String::as_str) {
        Some("paths") => paths::run(&rest),
        Some("writes") => writes::run(rest[0], rest[1]),
        Some("far") => writes::far(rest[0], rest[1]),
        Some("points") => writes::points(rest[0]),
        Some("script") => script::run(rest[0]),
        _ => 2,
    };
    std::process::exit(status);
}
