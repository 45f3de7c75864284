//! prun: see the library's documentation for how it works.

use prun::cli::{Cli, Dialect};
use prun::config::{Config, wanted_engine};
use prun::doctor;
use prun::error::CANNOT_START;
use prun::report;
use prun::sys::memory::Memory;
use prun::tracer::launch;
use std::io::Write;
use std::process::ExitCode;

#[global_allocator]
static MEMORY: Memory = Memory;

/// `--doctor`.
fn examine(format: &str, dialect: Dialect) -> ExitCode {
    let report = doctor::examine().and_then(|found| {
        let wanted = wanted_engine()?;
        Ok(if format == "json" {
            doctor::report::json(&found, wanted)
        } else {
            doctor::report::text(&found, wanted)
        })
    });
    let runs = match report {
        Ok((text, runs)) => {
            let mut out = std::io::stdout();
            match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
                Ok(()) => runs,
                Err(e) => {
                    report::say(format_args!(
                        "cannot print the report: {e}\n      make room where it goes, or send it elsewhere"
                    ));
                    false
                }
            }
        }
        Err(failure) => {
            report::say(format_args!("{failure}"));
            false
        }
    };
    ExitCode::from(if runs { 0 } else { dialect.own_status(CANNOT_START) })
}

/// Bytes of stack that prun itself wants: paths of 4096 bytes are everywhere.
const STACK: u64 = 1 << 20;

fn main() -> ExitCode {
    use nix::sys::resource::{Resource, getrlimit};
    // The limit is the command's too, so it is not touched; a thread's stack has nothing to do with it.
    if getrlimit(Resource::RLIMIT_STACK).is_ok_and(|(soft, _)| soft < STACK) {
        let thread = std::thread::Builder::new().stack_size(8 * STACK as usize).spawn(run);
        if let Ok(Ok(status)) = thread.map(std::thread::JoinHandle::join) {
            return status;
        }
    }
    run()
}

fn run() -> ExitCode {
    let dialect = std::env::args_os().next().map_or(Dialect::Prun, |name| Dialect::of(&name));
    let cli = match Cli::read(std::env::args_os()) {
        Ok(cli) => cli,
        Err(e) => {
            let status = if e.use_stderr() { CANNOT_START } else { 0 };
            // Nobody is left to tell when the output is closed.
            drop(e.print());
            return ExitCode::from(dialect.own_status(status));
        }
    };
    if let Some(format) = &cli.doctor {
        return examine(format, dialect);
    }
    match Config::new(cli).and_then(|config| launch::run(&config)) {
        Ok(status) => ExitCode::from(status),
        Err(failure) => {
            report::say(format_args!("{failure}"));
            ExitCode::from(dialect.own_status(failure.exit_status()))
        }
    }
}
