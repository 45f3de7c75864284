//! From raw figures to ratios and tables.

use crate::measure::Cost;
use crate::runtime::{load, median};
use serde::Serialize;
use std::fmt::Write as _;

/// What `prun --stats` says of one run.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Stops {
    /// Calls that the filter stopped.
    pub(crate) calls: u64,
    /// Second stops, at the ends of calls.
    pub(crate) ends: u64,
    /// Stops for signals, new tasks and programs.
    pub(crate) others: u64,
}

impl Stops {
    /// Reads it from the messages of a run.
    pub(crate) fn parse(messages: &str) -> Option<Self> {
        let line = messages.lines().find_map(|l| l.strip_prefix("prun: stops: "))?;
        let mut numbers = line.split(|c: char| !c.is_ascii_digit()).filter(|w| !w.is_empty()).map(str::parse);
        let mut next = || numbers.next()?.ok();
        Some(Self { calls: next()?, ends: next()?, others: next()? })
    }

    fn per_call(self) -> f64 {
        (self.calls + self.ends + self.others) as f64 / self.calls.max(1) as f64
    }
}

/// One job's figures, by runtime.
#[derive(Debug, Serialize)]
pub(crate) struct Figures {
    /// The job.
    pub(crate) name: &'static str,
    /// One cost a round; none where a runtime cannot run it.
    pub(crate) costs: Vec<Vec<Cost>>,
    /// prun's stops.
    pub(crate) stops: Vec<Option<Stops>>,
}

/// Which of the two times.
pub(crate) type Time = fn(&Cost) -> f64;

impl Figures {
    /// Nothing measured yet.
    pub(crate) fn new(name: &'static str, runtimes: usize) -> Self {
        Self { name, costs: vec![vec![]; runtimes], stops: vec![None; runtimes] }
    }

    /// The runtime that others are compared with: native, or the next where there is no native run.
    fn base(&self) -> Option<usize> {
        self.costs.iter().position(|c| !c.is_empty())
    }

    /// Median of the base's time, in seconds.
    fn base_time(&self, time: Time) -> f64 {
        self.base().map_or(f64::NAN, |b| median(&mut self.costs[b].iter().map(time).collect::<Vec<_>>()))
    }

    /// Median over the rounds of the ratio to the base in the same round.
    pub(crate) fn ratio(&self, runtime: usize, time: Time) -> Option<f64> {
        let base = &self.costs[self.base()?];
        let costs = &self.costs[runtime];
        if costs.is_empty() {
            return None;
        }
        Some(median(&mut costs.iter().zip(base).map(|(c, b)| time(c) / time(b)).collect::<Vec<_>>()))
    }
}

/// All of it.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    machine: String,
    /// The kernel's release.
    pub(crate) kernel: String,
    /// How many there are.
    pub(crate) cpus: usize,
    /// How often each was run.
    pub(crate) rounds: usize,
    load_before: String,
    /// Other work when it was over.
    pub(crate) load_after: String,
    /// The columns.
    pub(crate) runtimes: Vec<String>,
    /// The rows.
    pub(crate) jobs: Vec<Figures>,
}

impl Report {
    /// Without a row.
    pub(crate) fn new(runtimes: Vec<String>, rounds: usize) -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let machine = read("/proc/cpuinfo");
        let machine = machine.lines().find_map(|l| l.strip_prefix("model name")).unwrap_or("?");
        Self {
            machine: machine.trim_start_matches([' ', '\t', ':']).to_owned(),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            cpus: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            rounds,
            load_before: load(),
            load_after: String::new(),
            runtimes,
            jobs: vec![],
        }
    }

    /// Geometric mean of a runtime's ratios over the jobs that it has run.
    pub(crate) fn mean(&self, runtime: usize, time: Time) -> Option<f64> {
        let logs: Vec<f64> =
            self.jobs.iter().filter_map(|job| job.ratio(runtime, time)).map(f64::ln).collect();
        (!logs.is_empty()).then(|| (logs.iter().sum::<f64>() / logs.len() as f64).exp())
    }

    /// The figures as they are.
    pub(crate) fn json(&self) -> String {
        serde_json::to_string_pretty(self).expect("numbers and strings")
    }

    /// Tables for the README.
    pub(crate) fn markdown(&self) -> String {
        let mut out = String::new();
        for (what, time) in [("CPU", (|c| c.cpu) as Time), ("wall", |c| c.wall)] {
            self.table(&mut out, what, time).expect("a string takes it");
        }
        write!(
            out,
            "\n{}, {} CPUs, Linux {}; {} rounds in turn, medians; load before {}, after {}.\n",
            self.machine, self.cpus, self.kernel, self.rounds, self.load_before, self.load_after
        )
        .expect("a string takes it");
        out
    }

    fn table(&self, out: &mut String, what: &str, time: Time) -> std::fmt::Result {
        let compared = &self.runtimes[1..];
        write!(out, "\n| {what} time, times native | native, s |")?;
        for name in compared {
            write!(out, " {name} |")?;
        }
        write!(out, " prun's stops | a stopped call |\n|---|")?;
        writeln!(out, "{}", "---:|".repeat(compared.len() + 3))?;
        let cell = |ratio: Option<f64>| ratio.map_or("–".into(), |r| format!("{r:.2}"));
        for job in &self.jobs {
            write!(out, "| {} | {:.2} |", job.name, job.base_time(time))?;
            for i in 1..self.runtimes.len() {
                write!(out, " {} |", cell(job.ratio(i, time)))?;
            }
            match job.stops.iter().flatten().next() {
                Some(s) => writeln!(out, " {} | {:.2} |", s.calls + s.ends + s.others, s.per_call())?,
                None => writeln!(out, " – | – |")?,
            }
        }
        write!(out, "| **geometric mean** | |")?;
        for i in 1..self.runtimes.len() {
            write!(out, " **{}** |", cell(self.mean(i, time)))?;
        }
        writeln!(out, " | |")
    }
}
