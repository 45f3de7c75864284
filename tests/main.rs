//! The integration tests: one binary, modules by subject, with the guest program of `tests/guest`.

mod cli;
mod cost;
mod differential;
mod exec;
mod harness;
mod life;
mod listing;
mod model;
mod scale;
