//! prun: see the library's documentation for how it works.

use prun::cli::{Cli, Dialect};
use prun::config::Config;
use prun::error::CANNOT_START;
use prun::report;
use prun::tracer::launch;
use std::process::ExitCode;

fn main() -> ExitCode {
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
    match Config::new(cli).and_then(|config| launch::run(&config)) {
        Ok(status) => ExitCode::from(status),
        Err(failure) => {
            report::say(format_args!("{failure}"));
            ExitCode::from(dialect.own_status(failure.exit_status()))
        }
    }
}
