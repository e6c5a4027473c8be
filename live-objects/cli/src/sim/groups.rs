//! The stories of `logo sim groups`: what groups cost, and what they bear.
//!
//! A file a story. Each is told to a cluster (`cluster.rs`) under one seed after the other, and
//! gives figures, of which the median and the worst are printed (`sim/figures.rs`). Packets are the
//! datagrams that groupcomm sends, one for each receiver; what gossip sends is not counted.

mod cluster;
mod overlap;
mod perturb;
mod scale;
mod setting;
mod swarm;

use std::process::ExitCode;

use clap::Subcommand;

/// Which part of groups. Each story prints the median over the seeds and the worst of each figure.
/// The exit code is 1 if a figure has no value, or if a goal that the story names is missed.
#[derive(Subcommand)]
pub(crate) enum Figures {
    /// What a message costs, by the number of groups that have the same members.
    ///
    /// All nodes are in all groups, of which there are 1, 2, 4, … up to --groups. One node says
    /// 1,000 messages of 100 bytes a second for 10 s, in one group after the other. As QSM's own
    /// experiment (Ostrowski, Birman and Dolev, NCA 2008).
    ///
    /// packets_per_message: datagrams of all nodes over messages, by the number of groups.
    /// packets_spread: the highest of these over the lowest, less one. Goal: 0.05.
    ///
    /// Example: logo sim groups overlap --json
    Overlap(overlap::Overlap),
    /// What the others notice of a member that sleeps, freezes or loses packets.
    ///
    /// All nodes are in one group, in which one says --rate messages of 1,024 bytes a second, as
    /// long as they are taken. First all is quiet; then, each time from the beginning, one member
    /// sleeps for half a second of every five, freezes for ten seconds, or loses whatever comes to
    /// it in a hundredth of each second.
    ///
    /// goodput_share: what the others hear over what they hear in quiet, the least of the three.
    /// victim_back_token_periods: after a perturbation, until the victim hears what is said then,
    /// the longest, in seconds. memory_peak_bytes: frames that a node kept, the most. Goals: 0.95,
    /// 2, and 32 MiB.
    ///
    /// Example: logo sim groups perturb --json
    Perturb(perturb::Perturb),
    /// What thousands of groups cost, whose members overlap in one way or another.
    ///
    /// All nodes open all their groups, 256 at once; then each says ten messages of 100 bytes a
    /// second, each in one of its groups at random; then one node crashes. --model cloned:
    /// services, each of them partitioned, and each partition cloned on five nodes. --model zipf:
    /// interests, each with many groups, of which some are far more popular than others and have
    /// far more groups; who has an interest does without some of its groups.
    ///
    /// opened_s: until all are in all their groups. regions_per_node_mean, regions_per_node_max.
    /// packets_per_message: datagrams of all nodes over messages; packets_per_delivery: over
    /// messages received. unwanted_share: of the messages that come to a node, those of groups that
    /// it is not in. bytes_per_node: memory of this process over nodes. crash_messages: what was
    /// sent from the crash until all survivors are in new views of all groups, datagrams and
    /// messages; regions_touched: the regions of the one that crashed, without the root;
    /// crash_messages_one_group: the same in a cluster with one group, of as many members as the
    /// groups of the one that crashed have on average.
    ///
    /// Example: logo sim groups scale --model zipf --json
    Scale(scale::Scale),
    /// Groups through crashes, pauses, partitions and losses; checkers through planted bugs.
    ///
    /// As `sim mixed`, under 5 to 25 nodes in turn, with losses of up to 30 %: nodes crash, stop,
    /// start, pause, are slow, and have clocks that run wrong; the network falls into halves, one
    /// way only, with a bridge of one node, or into a ring in which each hears another majority.
    /// Virtual synchrony, order, stability and state transfer are checked throughout (V1 to V8),
    /// and when faults stop all must settle (V9).
    ///
    /// Then twelve bugs are planted, one after the other: the checker that is meant for each must
    /// see it. The exit code is 1 if it does not, or if anything is seen without a bug.
    ///
    /// Example: logo sim groups swarm --seeds 2000 --json
    Swarm(swarm::Swarm),
}

impl Figures {
    pub(crate) fn run(&self) -> ExitCode {
        match self {
            Self::Overlap(story) => story.run(),
            Self::Perturb(story) => story.run(),
            Self::Scale(story) => story.run(),
            Self::Swarm(story) => story.run(),
        }
    }
}
