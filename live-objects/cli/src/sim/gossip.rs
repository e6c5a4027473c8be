//! The stories of `logo sim gossip`: what gossip's figures are in a large cluster.
//!
//! A file a story. Each is told to a cluster (`cluster.rs`) under one seed after the other, and
//! gives figures, of which the median and the worst are printed (`sim/figures.rs`).
//!
//! Datagrams are counted with what they will be on sockets: 28 bytes of IP and UDP headers, and the
//! seal of 29 bytes. What goes over links is counted apart, as the
//! simulated links are: 40 bytes a segment beside what it carries.

mod aggregate;
mod alarms;
mod broadcast;
mod churn;
mod cluster;
mod crash;
mod half_crash;
mod large;
mod lookup;
mod nearest;
mod search;
mod setting;
mod shapes;
mod sketches;
mod start;
mod traffic;
mod whole;

use std::process::ExitCode;

use clap::Subcommand;

/// Which part of gossip. Each story prints the median over the seeds and the worst of each figure,
/// or the mean and the worst where it says so. The exit code is 1 if a figure has no value. With
/// --plot, start, churn, aggregate and shapes draw how they went round by round.
#[derive(Subcommand)]
pub(crate) enum Figures {
    /// How soon all nodes know each other after a start with one seed, and at what cost.
    ///
    /// All nodes start at once, on a network that loses packets from the beginning; all are told of
    /// node 0. There is no figure if it takes more than 300 s.
    ///
    /// full_s: until every node knows every node. full_99_s: until 99 % of all pairs are known.
    /// bytes_over_floor: all bytes sent until then, over what it takes to send every node 155 bytes
    /// for each other one. link_bytes_share: how much of that went over links.
    ///
    /// Example: logo sim gossip start --nodes 1000 --loss 0.05 --seeds 10 --json
    Start(start::Start),
    /// How soon a crash is suspected, and known to everybody.
    ///
    /// In a settled cluster some nodes crash, one after the other; each is a sample.
    ///
    /// first_suspicion_s, first_suspicion_periods: until the first survivor suspects it, the mean;
    /// in periods of the failure detector at rest. all_know_s: until every survivor was told that
    /// it is down.
    ///
    /// Example: logo sim gossip crash --nodes 1000 --loss 0.05 --seeds 10 --json
    Crash(crash::Crash),
    /// How often the living are declared dead.
    ///
    /// A settled cluster in which nobody crashes is watched for some minutes.
    ///
    /// declared_dead, made_to_rejoin, suspected: how many members anybody took for dead, how many
    /// of those were up again, how many anybody suspected. With --starved the starved ones are
    /// counted apart. bytes_per_node_s: all that was sent.
    ///
    /// Example: logo sim gossip false-alarms --nodes 1000 --loss 0.25 --seeds 10 --json
    FalseAlarms(alarms::FalseAlarms),
    /// What a node sends in a second: at rest, with one quiet aggregate, with much of everything.
    ///
    /// rest_bytes_per_node_s: the membership alone, in a settled cluster. still_bytes_per_node_s:
    /// one average whose shares do not move. busy_bytes_per_node_s: 256 averages whose shares are
    /// all set anew every second, 16,384 directory entries in all, and 100 topics with a message a
    /// second each.
    ///
    /// How stale things are when busy: age_s_typical of the oldest share in an average, the median
    /// over all averages and nodes; age_s_median and age_s_oldest of that in any average, at the
    /// median node and at the worst; counted_share, the share of members in the average that has
    /// the fewest; found_share of lookups in the directory that were right; delivered_share of
    /// messages. opening_bytes_per_node_s: while all that is opened and published at once spreads.
    ///
    /// How fair nodes are to objects: age_fairness, Jain's index of how old the averages are, is 1
    /// if all are alike; delivered_share_least is that of the topic of which least was delivered.
    ///
    /// Example: logo sim gossip traffic --nodes 1000 --json
    Traffic(traffic::Traffic),
    /// How far an average and a count are off while members come and go all the time.
    ///
    /// In a settled cluster all nodes have one average open. In each round a thousandth of them
    /// stops, and as many start whose shares are a fifth higher than theirs; then, for some more
    /// rounds, a hundredth.
    ///
    /// worst_error, worst_count_error: of any node in any round, relative to the truth; nodes that
    /// started less than four rounds ago are not asked. lasting_bias, lasting_count_bias: the mean
    /// over all nodes and the second half of the rounds. worst_error_at_1pct,
    /// worst_count_error_at_1pct: of any node while a hundredth is replaced. bytes_per_node_round,
    /// bytes_per_node_round_at_1pct: all that was sent.
    ///
    /// Example: logo sim gossip churn --nodes 1000 --loss 0.05 --json
    Churn(churn::Churn),
    /// In how many hops a directory finds what was published, and what nodes keep for that.
    ///
    /// In a settled cluster each node publishes some entries. Then nodes look up entries, both at
    /// random; then some of all nodes crash at once, and the survivors look up what the survivors
    /// published.
    ///
    /// one_hop_share: of the lookups, those answered by this node itself or by the first one asked.
    /// hops_max: the most nodes that were asked one after the other, when nothing had crashed.
    /// found_share, found_share_after_crash: those that found just the entry. answer_ms,
    /// answer_ms_after_crash: how long it took, the median. entries_max: the most entries that a
    /// node kept, its own included. bytes_per_node_s: all that was sent in the last minute before
    /// the crash, but for lookups.
    ///
    /// Example: logo sim gossip lookup --nodes 1000 --json
    Lookup(lookup::Lookup),
    /// In how many rounds all nodes know an average exactly, and at what cost.
    ///
    /// Each node sets a share of one Average, or of as many as --aggregates says. round_exact: from
    /// when on every node counts all members in all of them, and is off by no more than 1e-9 of the
    /// largest share. round_within_1pct: by one percent. lasting_bias: what the mean is off by in
    /// the end. Goals at 1,000 nodes and a loss of 0.05: exact by round 24, no datagram above 1,200
    /// bytes, 2,400 bytes a node and round.
    ///
    /// The exit code is 1 if it does not become exact, or if a datagram is too long.
    ///
    /// Example: logo sim gossip aggregate --nodes 1000 --loss 0.05 --seed 1 --json
    Aggregate(aggregate::Aggregate),
    /// How near sketches come to the truth at all nodes, how soon, and at what cost.
    ///
    /// Each node gives a value of a heavy tail to Quantiles and Highest, the sums of a hundred
    /// draws of 10,000 keys by Zipf's law to TopK, and its part of a million items, half of which
    /// others have too, to Distinct. Figures are of the worst node after the last round.
    ///
    /// quantile_error: of p50 and p99, as a part of the value. top_k_right, highest_right: how many
    /// of the ten were told. top_k_bound: by how much the weight of one of these keys may be off by
    /// what was told, as a part of all weights. distinct_error: as a part of the count, and over
    /// the seeds the root of the mean square. round_complete: from when on all nodes count all
    /// members in all four. Goals at 1,000 nodes: 0.02, 9, 10, 0.03, and 2,400 bytes a node and
    /// round.
    ///
    /// The exit code is 1 if it is never complete, or misses one of these goals.
    ///
    /// Example: logo sim gossip sketches --nodes 1000 --loss 0.05 --seeds 3 --json
    Sketches(sketches::Sketches),
    /// What a broadcast costs, and how long it takes.
    ///
    /// In a settled cluster in which every packet takes 10 ms all hold a topic, and a node drawn by
    /// chance says 100 bytes once a second; each time is a sample.
    ///
    /// redundancy: messages received again over messages received, the mean. last_delivery_ms:
    /// until the last node heard it. hops: that over 10 ms. stretch: that over the least number of
    /// hops in which any tree reaches all, where none tells more others than told_by_one, which is
    /// what the busiest node did. reached_in_a_second_share: how many others heard it in time.
    /// datagrams_per_delivery, bytes_per_delivery: all that was sent in that second, membership
    /// included.
    ///
    /// Example: logo sim gossip broadcast --nodes 1000 --loss 0.05 --seeds 3 --json
    Broadcast(broadcast::Broadcast),
    /// What a message that is too long for a packet costs, and how long it takes.
    ///
    /// In a settled cluster in which every packet takes 10 ms all hold a topic, and nodes drawn by
    /// chance say something long, one after the other; each time is a sample. With --crash so many
    /// of the others crash while it is under way, and those who survive are to hear it.
    ///
    /// redundancy: bytes of the message that nodes sent each other, over its length and the number
    /// of those who heard it. link_bytes_over_length: the same of all that went over links, with 80
    /// bytes of headers and acknowledgements for each 1,160. announcing_bytes_per_delivery: of all
    /// datagrams meanwhile, membership included. last_delivery_ms: until the last survivor heard
    /// it. reached_share: how many of the survivors did within 30 s. Goal with no crash: a
    /// redundancy of 1.05 at most, and all reached.
    ///
    /// The exit code is 1 if somebody is not reached, or if nobody crashes and the redundancy is
    /// higher.
    ///
    /// Example: logo sim gossip large --nodes 300 --bytes 262144 --crash 0.02 --seeds 3 --json
    Large(large::Large),
    /// Who still hears a broadcast when half of all nodes crash at once.
    ///
    /// From the crash on a survivor drawn by chance says something once a second, ten times. Every
    /// packet takes 10 ms.
    ///
    /// broadcasts_to_full: which broadcast was the first that all survivors heard within a second.
    /// reached_share_first, reached_share_second, reached_share_third: how many heard each in time.
    /// components: in how many parts the survivors fall in the end, if those are joined who believe
    /// each other up.
    ///
    /// Example: logo sim gossip half-crash --nodes 1000 --seeds 3 --json
    HalfCrash(half_crash::HalfCrash),
    /// How near whom the nodes of a world find is, of those who offer themselves.
    ///
    /// The world has thirty cities, routes with detours, an access link a node, and jitter. One
    /// node in ten offers itself, all others ask after 60 rounds. within_10pct_share: how many of
    /// them are told somebody first whose round trip is at most 1.1 times the best there is;
    /// exact_share: the best. coordinate_error_median: by which part round trips to those they are
    /// told of are off that coordinates foretell. Goal at 1,000 nodes: 0.95.
    ///
    /// The exit code is 1 if the goal is missed, or if a datagram is above 1,200 bytes.
    ///
    /// Example: logo sim gossip nearest --nodes 1000 --loss 0.05 --seeds 3 --json
    Nearest(nearest::Nearest),
    /// How many nodes are asked to find a few of all by an attribute, and what it costs.
    ///
    /// In a settled cluster each node describes itself in a catalog by what hosts of a fleet are
    /// described by, and five have what is looked for. After some rounds, and a rest, nodes drawn
    /// by chance search, one after the other; then two of the five crash, and others search at
    /// once.
    ///
    /// asked: how many nodes were asked in a search, as often as they were. missed: how many who
    /// match and live were not found. answer_ms: until the search had ended; and all three after
    /// the crash. rest_bytes_per_node_s: all that was sent before anybody described itself.
    /// spread_bytes_per_node_round: while that spread. still_bytes_per_node_s: when it had. Goals
    /// at 10,000 nodes: 60 asked, none missed.
    ///
    /// The exit code is 1 if a goal is missed, or if a datagram is above 1,200 bytes.
    ///
    /// Example: logo sim gossip search --nodes 1000 --loss 0.05 --seeds 3 --json
    Search(search::Search),
    /// In how many rounds overlays take the shape that their ranks say, and at what cost.
    ///
    /// In a settled cluster all nodes take their places at once, knowing nobody's: in a ring by
    /// ids, then in a tree by ids, then in a square at random, where each is to find the eight
    /// nearest. ring_round, tree_round, nearest_round: from which round on all neighbours of all
    /// nodes are right. bytes_per_node_round_max: what a node sent in a round until then, in the
    /// dearest of the three. rest_bytes_per_node_s: in a ring at rest. Goals: 16, 12, 16, no
    /// datagram above 1,200 bytes, 2,400 bytes a node and round.
    ///
    /// The exit code is 1 if one of these goals is missed.
    ///
    /// Example: logo sim gossip shapes --nodes 1000 --loss 0.05 --seeds 3 --json
    Shapes(shapes::Shapes),
    /// Four averages in a cluster of which no node knows all.
    ///
    /// All nodes start knowing whom they would know by then, if there are more than --whole-max
    /// their neighbourhood and a few of each other one. Then each sets a share of four averages at
    /// once, which are exact as in `aggregate`.
    ///
    /// seconds, rss_gib: what it took to simulate, on all cores. round_exact: from which round on
    /// all four are exact at every node. Goals at 100,000 nodes: round 50, no datagram above 1,200
    /// bytes; 8 minutes and 20 GiB on two cores.
    ///
    /// The exit code is 1 if one of the first two goals is missed.
    ///
    /// Example: logo sim gossip whole --nodes 100000 --json
    Whole(whole::Whole),
}

impl Figures {
    pub(crate) fn run(&self) -> ExitCode {
        match self {
            Self::Start(story) => story.run(),
            Self::Crash(story) => story.run(),
            Self::FalseAlarms(story) => story.run(),
            Self::Traffic(story) => story.run(),
            Self::Churn(story) => story.run(),
            Self::Lookup(story) => story.run(),
            Self::Aggregate(story) => story.run(),
            Self::Sketches(story) => story.run(),
            Self::Broadcast(story) => story.run(),
            Self::Large(story) => story.run(),
            Self::HalfCrash(story) => story.run(),
            Self::Nearest(story) => story.run(),
            Self::Search(story) => story.run(),
            Self::Shapes(story) => story.run(),
            Self::Whole(story) => story.run(),
        }
    }
}

/// The setting of a test: one seed.
#[cfg(test)]
fn setting(nodes: u32, loss: f64) -> setting::Setting {
    setting::Setting { nodes, loss, seeds: 1, seed: None, plot: None, json: true }
}
