//! `logo bench`: what nodes on real sockets cost, measured from outside.
//!
//! The simulator counts bytes and rounds, and the same ones each time. What a node takes of a
//! machine, processor and memory, only the machine can tell, and it depends on what else runs
//! there: so the load is told with the figures.

mod gossip;
mod node;
mod usage;

use std::process::ExitCode;

use clap::Subcommand;

/// What is measured.
#[derive(Subcommand)]
pub(crate) enum Bench {
    /// What a node at rest costs that has some aggregates open: processor, memory and bytes.
    ///
    /// Nodes are processes of this machine. When all know each other, and each of them has every
    /// aggregate exactly, they are left alone for --rest seconds and then measured. cpu_percent is
    /// of one core; rss_mib is all that is resident, of which own_mib is not shared with the others
    /// as the program is; wakes_s is how often a second a node's thread had waited; bytes_out_s
    /// are those of its packets with their heads, as UDP and IP have them. The load average is that
    /// before the measurement. Linux alone tells all that.
    ///
    /// Example: logo bench gossip --nodes 50 --json
    Gossip(gossip::Gossip),
}

impl Bench {
    pub(crate) fn run(self) -> ExitCode {
        match self {
            Self::Gossip(gossip) => gossip.run(),
        }
    }
}
