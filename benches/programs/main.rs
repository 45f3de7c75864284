//! Whole programs under prun and its peers, in turn: CPU and wall time as ratios to native.
//!
//!     cargo bench --bench programs -- [--rounds N] [--quick] [--proot PATH]… [--only JOB]… [--json FILE] [--svg FILE]
//!
//! A tree of files is made in /tmp, and every runtime shows it at another place, so that paths are translated; only
//! `prun, identity` works on it where it is. Each round runs each job under each runtime once; what is reported is the
//! median over the rounds of the ratio to native in the same round. CPU is that of all processes, the tracer's too
//! ([`measure`]). Raw figures and a chart go to `benches/results`, the tables to standard output, as in the README.
#![allow(missing_docs, reason = "a program has no users of its items")]

mod chart;
mod files;
mod graph;
mod jobs;
mod measure;
mod report;
#[path = "../runtime.rs"]
#[allow(dead_code, reason = "the other benchmark uses the rest")]
mod runtime;

use clap::Parser;
use files::{FULL, Files, QUICK};
use graph::World;
use jobs::Job;
use measure::Cost;
use report::{Figures, Report, Stops};
use runtime::{ENGINES, Runtime};
use std::fs::File;
use std::path::PathBuf;
use std::process::{Command, Stdio};

#[derive(Parser)]
#[command(about = "Whole programs under prun and its peers")]
struct Options {
    /// How often each job is run under each runtime
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// A tenth of the work, to see that all of it runs
    #[arg(long)]
    quick: bool,
    /// A PRoot to compare with, besides the one on PATH
    #[arg(long, value_name = "PATH")]
    proot: Vec<PathBuf>,
    /// Only jobs with this in their names
    #[arg(long, value_name = "JOB")]
    only: Vec<String>,
    /// Where the raw figures go
    #[arg(long, value_name = "FILE", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/results/programs.json"))]
    json: PathBuf,
    /// Where the chart goes
    #[arg(long, value_name = "FILE", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/results/chart.svg"))]
    svg: PathBuf,
    /// What cargo says to every benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

/// A runtime, and whether it shows the tree at another place.
struct Lane {
    runtime: Runtime,
    place: Place,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Bound,
    Identity,
}

impl Lane {
    fn name(&self) -> String {
        let name = self.runtime.name();
        if self.place == Place::Identity && self.runtime != Runtime::Native {
            format!("{name}, identity")
        } else {
            name
        }
    }
}

fn lanes(proots: Vec<PathBuf>) -> Vec<Lane> {
    let lane = |runtime, place| Lane { runtime, place };
    let mut all = vec![lane(Runtime::Native, Place::Identity)];
    let bwrap = Runtime::Bwrap.words(&[], &[], &["true".into()]);
    if Command::new(&bwrap[0]).args(&bwrap[1..]).stderr(Stdio::null()).status().is_ok_and(|s| s.success()) {
        all.push(lane(Runtime::Bwrap, Place::Bound));
    } else {
        println!("bubblewrap: left out, it does not run here");
    }
    all.push(lane(Runtime::Prun(ENGINES[0]), Place::Bound));
    all.push(lane(Runtime::Prun(ENGINES[0]), Place::Identity));
    all.extend(runtime::proots(proots).into_iter().map(|r| lane(r, Place::Bound)));
    all
}

/// What is run: a job over the tree, or the nix build.
enum Work {
    Job(Job),
    Graph(World),
}

impl Work {
    fn name(&self) -> &'static str {
        match self {
            Self::Job(job) => job.name,
            Self::Graph(_) => "nix build (of bubblewrap)",
        }
    }

    fn command(&self, lane: &Lane, files: &Files, options: &[&str]) -> Option<Command> {
        let job = match self {
            Self::Graph(world) if lane.place == Place::Bound => {
                world.prepare();
                return world.build(&lane.runtime, options);
            }
            Self::Graph(_) => return None,
            Self::Job(job) => job,
        };
        let (bindings, tree) = match lane.place {
            Place::Bound => (vec![(files.tree(), files.place())], files.place()),
            Place::Identity => (vec![], files.tree()),
        };
        let words = lane.runtime.words(&bindings, options, &job.command(&tree));
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).current_dir("/").envs(Job::environment());
        lane.runtime.prepare(&mut command);
        Some(command)
    }

    /// One run. Messages are kept, for prun's counters and in case it fails.
    fn run(&self, lane: &Lane, files: &Files, options: &[&str]) -> Option<(Cost, String)> {
        let mut command = self.command(lane, files, options)?;
        let messages = File::create(files.messages()).expect("ours");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(messages);
        let cost = measure::run(&mut command);
        let said = String::from_utf8_lossy(&std::fs::read(files.messages()).expect("ours")).into_owned();
        Some((cost.unwrap_or_else(|why| panic!("{}, {}: {why}\n{said}", self.name(), lane.name())), said))
    }
}

fn main() {
    let options = Options::parse();
    measure::adopt_orphans();
    let guest = runtime::guest();
    let (size, rounds) = if options.quick { (QUICK, 1) } else { (FULL, options.rounds.max(1)) };
    let lanes = lanes(options.proot);
    println!("making the files");
    let files = Files::new(size, &guest);
    let mut works: Vec<Work> = jobs::all(size).into_iter().map(Work::Job).collect();
    match World::find() {
        Ok(world) => works.push(Work::Graph(world)),
        Err(why) => println!("nix build: left out: {why}"),
    }
    works.retain(|w| options.only.is_empty() || options.only.iter().any(|o| w.name().contains(o.as_str())));

    let mut report = Report::new(lanes.iter().map(Lane::name).collect(), rounds);
    for work in &works {
        // Not measured: the first run reads files from the disk, and the counters cost a little.
        let mut figures = Figures::new(work.name(), lanes.len());
        for (i, lane) in lanes.iter().enumerate() {
            let counts = matches!(lane.runtime, Runtime::Prun(_));
            let said = work.run(lane, &files, if counts { &["--stats"] } else { &[] });
            figures.stops[i] = said.filter(|_| counts).and_then(|(_, said)| Stops::parse(&said));
        }
        report.jobs.push(figures);
    }
    for round in 0..rounds {
        println!("round {} of {rounds} (load {})", round + 1, runtime::load());
        for (work, figures) in works.iter().zip(&mut report.jobs) {
            for turn in 0..lanes.len() {
                let i = (round + turn) % lanes.len();
                if let Some((cost, _)) = work.run(&lanes[i], &files, &[]) {
                    figures.costs[i].push(cost);
                }
            }
        }
    }
    report.load_after = runtime::load();
    print!("{}", report.markdown());
    for (path, text) in [(&options.json, report.json()), (&options.svg, chart::svg(&report))] {
        let folder = path.parent().expect("a file is in a folder");
        std::fs::create_dir_all(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
        std::fs::write(path, text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        println!("\nwritten: {}", path.display());
    }
}
