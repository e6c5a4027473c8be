//! The `logo` command: LO/GO from the shell.
//!
//! Each subcommand is a file that reads its options, does its work and says how it went. With
//! `--json` the last line of standard output is one JSON object; progress goes to standard error.
//!
//! Exit codes: 0 all is well; 1 the work was done and something was wrong with what it showed; 2
//! the command was not understood.

mod sim;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Live objects: gossip and virtual synchrony under one roof.
#[derive(Parser)]
#[command(name = "logo", version, about, propagate_version = true)]
#[command(after_help = "Exit codes: 0 all is well, 1 something was wrong, 2 not understood.")]
struct Logo {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run protocols in the deterministic simulator and check what they promise.
    ///
    /// One seed decides everything: the same command gives the same trace_hash, whenever it is run
    /// and on any number of threads.
    #[command(subcommand)]
    Sim(sim::Scenario),
}

fn main() -> ExitCode {
    let Command::Sim(scenario) = Logo::parse().command;
    scenario.run()
}
