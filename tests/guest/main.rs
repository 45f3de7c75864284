//! The guest program of the tests: one program with many small jobs, run natively and under prun, whose output must
//! be the same. Everything goes through raw system calls, so that no library stands between test and kernel.
#![allow(
    unsafe_code,
    clippy::undocumented_unsafe_blocks,
    clippy::manual_c_str_literals,
    clippy::collapsible_if,
    missing_docs,
    unreachable_pub
)]

mod bench;
mod empty;
mod hostile;
mod jobs;
mod listing;
mod paths;
mod race;
mod raw;
mod reach;
mod script;
mod torture;
mod writes;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    if args[0].ends_with("/e") {
        // The interpreter of a script.
        println!("{:?}", args.iter().map(|a| (a.len(), &a[..a.len().min(20)])).collect::<Vec<_>>());
        return;
    }
    let rest: Vec<&str> = args.iter().skip(2).map(String::as_str).collect();
    let status = match args.get(1).map(String::as_str) {
        Some("paths") => paths::run(rest[0]),
        Some("reach") => reach::run(),
        Some("outside") => script::outside(rest[0]),
        Some("script") => script::run(rest[0]),
        Some("listing") => listing::run(rest[0], rest[1].parse().expect("a size")),
        Some("writes") => writes::run(rest[0], rest[1]),
        Some("points") => writes::points(rest[0]),
        Some("torture") => torture::run(rest[0], rest[1].parse().expect("a number")),
        Some("empty") => empty::run(rest[0], rest[1].parse().expect("a number")),
        Some("hostile") => hostile::run(&rest),
        Some("race") => race::run(rest[0], rest[1].parse().expect("milliseconds")),
        Some("affinity") => race::affinity(),
        Some(job @ ("crowd" | "idle")) => {
            let number = |i: usize| rest[i].parse().expect("a number");
            if job == "idle" {
                race::idle(rest[0], number(1), number(2) as u64)
            } else {
                race::crowd(rest[0], number(1), number(2) as u64)
            }
        }
        Some("bench") => bench::run(&rest),
        Some("walk") => bench::walk(rest[0]),
        Some(job) => jobs::run(job, &rest),
        None => 2,
    };
    std::process::exit(status);
}
