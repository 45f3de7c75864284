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
mod confine;
mod empty;
mod hostile;
mod identity;
mod inject;
mod jobs;
mod listing;
mod load;
mod newer;
mod odd;
mod paths;
mod race;
mod raw;
mod reach;
mod script;
mod sticky;
mod torture;
mod work;
mod writes;

fn probes(job: &str, rest: &[&str]) -> i32 {
    match job {
        "confine" => confine::run(rest),
        // What lies outside, when it is run, and a program that is run with a path outside.
        "confine-mark" => 77,
        "confine-read" => {
            77 * i32::from(matches!(
                confine::reaches(&raw::c(rest[0].as_bytes())),
                confine::Verdict::Escapes(_)
            ))
        }
        "confine-wait" => confine::wait(),
        "confine-cat" => confine::cat(rest[rest.len() - 1]),
        "confine-helper" => confine::help(rest[0], rest[1]),
        _ => 2,
    }
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    if args[0].ends_with("/e") {
        // The interpreter of a script.
        println!("{:?}", args.iter().map(|a| (a.len(), &a[..a.len().min(20)])).collect::<Vec<_>>());
        return;
    }
    let rest: Vec<&str> = args.iter().skip(2).map(String::as_str).collect();
    let status = match args.get(1).map(String::as_str) {
        Some(job) if job.starts_with("confine") => probes(job, &rest),
        Some("paths") => paths::run(&rest),
        Some("reach") => reach::run(),
        Some("outside") => script::outside(rest[0]),
        Some("script") => script::run(rest[0]),
        Some("listing") => listing::run(rest[0], rest[1].parse().expect("a size")),
        Some("newer") => newer::run(rest[0], rest[1], rest[2].parse().expect("a number")),
        Some("writes") => writes::run(rest[0], rest[1]),
        Some("points") => writes::points(rest[0]),
        Some("far") => writes::far(rest[0], rest[1]),
        Some("torture") => torture::run(rest[0], rest[1].parse().expect("a number")),
        Some("empty") => empty::run(rest[0], rest[1].parse().expect("a number")),
        Some("hostile") => hostile::run(&rest),
        Some("inject") => inject::run(&rest),
        Some("odd") => odd::run(rest[0], rest[1], rest[2].parse().expect("a number")),
        Some("load") => load::run(&rest),
        Some("work") => work::run(rest[0]),
        Some("identity") => {
            let number = |i: usize| rest[i].parse().expect("a number");
            identity::run(rest[0], number(1), number(2), number(3))
        }
        Some("sticky-make") => sticky::make(rest[0]),
        Some("sticky-look") => {
            let users: Vec<u32> = rest[1..].iter().map(|user| user.parse().expect("a number")).collect();
            sticky::look(rest[0], &users)
        }
        Some("whoami") => identity::whoami(rest[0].parse().expect("a number")),
        Some("race") => race::run(rest[0], rest[1].parse().expect("milliseconds")),
        Some("affinity") => race::affinity(rest[0].parse().expect("a number")),
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
