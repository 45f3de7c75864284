//! The integration tests: one binary, modules by subject, with the guest program of `tests/guest`.

mod cli;
mod cost;
mod daemons;
mod differential;
mod dist;
mod emulated;
mod exec;
mod harness;
mod hosts;
mod identity;
mod life;
mod listing;
mod model;
mod mounts;
mod network;
mod options;
mod reach;
mod scale;
mod script;
