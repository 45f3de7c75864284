//! The table of ratios.

use crate::cases::{self, Case, Files, VIEWS};
use crate::runtime::{Runtime, load, median};
use crate::server::{self, Cpus, Server};
use std::time::{Duration, Instant};

/// How long one measurement takes, and the rounds in which every runtime has its turn. With several CPUs it takes the
/// scheduler some 10 ms to move tracer and tracee apart: a shorter measurement would miss what a program sees.
fn turns(cpus: Cpus) -> (Duration, usize) {
    match cpus {
        Cpus::One => (Duration::from_millis(5), 31),
        Cpus::All => (Duration::from_millis(100), 7),
    }
}

/// Rounds of whole programs, which take longer.
const STARTS: usize = 9;
/// PRoot needs minutes to start with so many bindings.
const PROOT_BINDINGS: usize = 1000;

/// Measures and prints it.
pub(crate) fn print(runtimes: &[Runtime], cpus: Cpus, files: &Files, guest: &str) {
    let place = if cpus == Cpus::One { "on one CPU" } else { "on all CPUs" };
    println!("\nTimes native, {place} (load before: {})\n", load());
    let names: Vec<String> = runtimes[1..].iter().map(Runtime::name).collect();
    println!("| {:<36} | {:>9} | {} |", "call", "native µs", names.join(" | "));
    println!("|{}|---:|{}", "-".repeat(38), "---:|".repeat(names.len()));
    let all = cases::all();
    let mut rest = all.as_slice();
    while let Some(first) = rest.first() {
        // Rows that need the same session share it.
        let same = rest.iter().take_while(|c| (c.bindings, c.idle) == (first.bindings, first.idle)).count();
        let (now, later) = rest.split_at(same);
        session(runtimes, cpus, files, guest, now);
        rest = later;
    }
    for count in VIEWS {
        start_up(runtimes, cpus, files, guest, count);
    }
}

fn left_out(runtime: &Runtime, bindings: usize) -> bool {
    matches!(runtime, Runtime::Proot(_)) && bindings > PROOT_BINDINGS
}

fn session(runtimes: &[Runtime], cpus: Cpus, files: &Files, guest: &str, cases: &[Case]) {
    let (turn, count) = turns(cpus);
    let bindings = files.bindings(cases[0].bindings);
    let mut servers: Vec<Option<Server>> = runtimes
        .iter()
        .map(|runtime| {
            (!left_out(runtime, bindings.len())).then(|| {
                let mut server = Server::start(runtime, cpus, &bindings, guest);
                if cases[0].idle > 0 {
                    server
                        .measure(&server::Loop { kind: "idle", threads: 1, path: "-".into() }, cases[0].idle);
                }
                server
            })
        })
        .collect();
    for case in cases {
        let mut turns: Vec<_> = servers
            .iter_mut()
            .zip(runtimes)
            .map(|(server, runtime)| {
                let request = files.request(case, *runtime == Runtime::Native);
                server.as_mut().map(|server| (server.calls_in(&request, turn), server, request))
            })
            .collect();
        let mut rounds = vec![vec![]; turns.len()];
        for _ in 0..count {
            for (turn, times) in turns.iter_mut().zip(&mut rounds) {
                let Some((count, server, request)) = turn else { continue };
                let calls = *count * request.threads as u64;
                times.push(server.measure(request, *count).as_secs_f64() / calls as f64);
            }
        }
        row(&case.name, &rounds);
    }
}

/// Prints the medians of what was measured: the first runtime's in microseconds, the others' as ratios to it.
fn row(name: &str, rounds: &[Vec<f64>]) {
    let native = &rounds[0];
    let ratios: Vec<String> = rounds[1..]
        .iter()
        .map(|times| {
            let mut ratios: Vec<f64> = times.iter().zip(native).map(|(t, n)| t / n).collect();
            if ratios.is_empty() { "–".into() } else { format!("{:.2}", median(&mut ratios)) }
        })
        .collect();
    println!("| {name:<36} | {:>9.3} | {} |", median(&mut native.clone()) * 1e6, ratios.join(" | "));
}

/// From nothing to the end of a program that does nothing.
fn start_up(runtimes: &[Runtime], cpus: Cpus, files: &Files, guest: &str, count: usize) {
    let bindings = files.bindings(count);
    let program = [guest.to_owned(), "exit".into(), "0".into()];
    let mut rounds = vec![vec![]; runtimes.len()];
    for _ in 0..STARTS {
        for (runtime, times) in runtimes.iter().zip(&mut rounds) {
            if left_out(runtime, count) {
                continue;
            }
            let mut command = server::command(runtime, cpus, &bindings, &program);
            let began = Instant::now();
            let status = command.status().expect("the runtime starts");
            times.push(began.elapsed().as_secs_f64());
            assert!(status.success(), "{}: {status}", runtime.name());
        }
    }
    row(&format!("start and end, {count} bindings"), &rounds);
}
