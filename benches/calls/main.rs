//! One system call at a time, under each runtime: what a stop costs, and that it costs the same with many bindings,
//! threads and processes.
//!
//!     cargo bench --bench calls                  the table of ratios, then criterion's statistics
//!     cargo bench --bench calls -- --table       the table alone
//!     cargo bench --bench calls -- NAME          criterion, only what has NAME in its name
//!
//! `PROOTS=/path:/path` names PRoots to compare with, besides the one on PATH. The guest program loops and reports its
//! own nanoseconds. For the table the runtimes take turns every few milliseconds, each figure is the median over all
//! rounds of the ratio to native in the same round. One CPU: runtime and program are bound to the same by taskset(1).
#![allow(missing_docs, reason = "a program has no users of its items")]

mod cases;
#[path = "../runtime.rs"]
#[allow(dead_code, reason = "the other benchmark uses the rest")]
mod runtime;
mod server;
mod table;

use cases::Files;
use criterion::Criterion;
use runtime::{ENGINES, Runtime};
use server::{Cpus, Server};
use std::time::Duration;

fn runtimes() -> Vec<Runtime> {
    let named = std::env::var_os("PROOTS").unwrap_or_default();
    let mut all = vec![Runtime::Native];
    all.extend(ENGINES.map(Runtime::Prun));
    all.extend(runtime::proots(std::env::split_paths(&named)));
    all
}

fn statistics(criterion: &mut Criterion, runtimes: &[Runtime], files: &Files, guest: &str) {
    // What the table has besides are many rows of the same loop.
    for case in cases::all().iter().filter(|c| c.bindings == 1 && c.idle == 0) {
        let mut group = criterion.benchmark_group(case.name.replace('+', " and "));
        for runtime in runtimes {
            let request = files.request(case, *runtime == Runtime::Native);
            // Started when criterion wants it, not when a filter leaves it out.
            let mut server = None;
            group.bench_function(runtime.name(), |b| {
                let server = server
                    .get_or_insert_with(|| Server::start(runtime, Cpus::One, &files.bindings(1), guest));
                b.iter_custom(|count| server.measure(&request, count) / request.threads as u32);
            });
        }
        group.finish();
    }
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|w| w != "--bench").collect();
    let guest = runtime::guest();
    let files = Files::new(&guest);
    let runtimes = runtimes();
    if words.is_empty() || words == ["--table"] {
        for cpus in [Cpus::One, Cpus::All] {
            table::print(&runtimes, cpus, &files, &guest);
        }
    }
    if words != ["--table"] {
        let mut criterion = Criterion::default()
            .sample_size(10)
            .warm_up_time(Duration::from_millis(100))
            .measurement_time(Duration::from_millis(400))
            .configure_from_args();
        statistics(&mut criterion, &runtimes, &files, &guest);
        criterion.final_summary();
    }
}
