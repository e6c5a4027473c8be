//! The `logo` command: LO/GO from the shell.
//!
//! Each subcommand is a file that reads its options, does its work and says how it went. With
//! `--json` the last line of standard output is one JSON object; progress goes to standard error.
//!
//! Exit codes: 0 all is well; 1 the work was done and something was wrong with what it showed; 2
//! the command was not understood; 130 and 143 it was interrupted, by ^C or SIGTERM, before it was
//! done. A node that stays is done when it is interrupted.

mod bench;
mod cert;
mod demo;
mod interrupt;
mod join;
mod names;
mod node;
mod objects;
mod process;
mod query;
mod renewal;
mod sim;
mod standing;
mod top;
mod why;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use mimalloc::MiMalloc;

/// A simulated world's threads free what others allocated, at every step: with the system's
/// allocator they wait for each other a tenth of the time.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Live objects: gossip and virtual synchrony under one roof.
#[derive(Parser)]
#[command(name = "logo", version, about, propagate_version = true)]
#[command(after_help = "Exit codes: 0 all is well, 1 something was wrong, 2 not understood, \
                       130 interrupted, 143 terminated.")]
struct Logo {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measure what nodes on real sockets cost.
    #[command(subcommand)]
    Bench(bench::Bench),
    /// The shop: eight processes take real orders together, and one is killed half-way.
    ///
    /// Stock and takings are a replicated state, price notices a topic, loads an aggregate, tills
    /// are found in a directory. At the end all copies must be equal, no order lost or done twice,
    /// the takings right to the cent, and the mean load as each node knew it right to half a point.
    ///
    /// Example: logo demo --orders orders.txt --load machine_usage.csv --json
    Demo(demo::Demo),
    /// Run a node until it is interrupted.
    ///
    /// Without more, it is one of this user's nodes on this machine, which find each other. Across
    /// machines it needs an identity, an address and seeds. When the identity's files change, it
    /// goes on with what they say, and tells so; if they are broken, with what it has.
    ///
    /// It tells when it is cut off from most of the others or in no view for three seconds, when it
    /// is back, and when it hears of a cluster that was founded apart from its own.
    ///
    /// Example: logo node --table /config
    Node(node::NodeArgs),
    /// List objects that somebody has open, with their types and how many hold them.
    ///
    /// Example: logo ls /shop
    Ls(names::LsArgs),
    /// Tell which module carries an object, and why not the others.
    ///
    /// Example: logo explain /shop/prices
    Explain(names::ExplainArgs),
    /// Send a message to a topic, as JSON.
    ///
    /// The topic's holders tell what its messages are made of; what does not fit is refused, and
    /// said where.
    ///
    /// Example: logo send /hello/words '"hello"'
    Send(objects::SendArgs),
    /// Tell what a topic or an aggregate says, as lines of JSON, until it is interrupted.
    ///
    /// Example: logo watch /hello/words --count 3
    Watch(objects::WatchArgs),
    /// Get an aggregate's value, what a directory lists, or what a table holds.
    ///
    /// The exit code is 1 if there is nothing.
    ///
    /// Example: logo get /config colour
    Get(objects::GetArgs),
    /// Set a key of a table, or for a while a share of an aggregate.
    ///
    /// Example: logo set /config colour blue
    Set(objects::SetArgs),
    /// Ask all who describe themselves in catalogs, in SQL.
    ///
    /// FROM takes a pattern of catalogs' names in quotes, in which a star is any one segment; zone
    /// is what the stars stand for. There are count, sum, avg, min, max, variance, stddev, median
    /// and p1 to p99; WHERE, GROUP BY zone or attributes, HAVING, ORDER BY and LIMIT. Without a
    /// function and without GROUP BY it lists rows, with --json as they are found, where node is
    /// who describes itself so. The exit code is 2 if the text is no query, and what is wrong is
    /// shown under the word.
    ///
    /// Example: logo query "SELECT zone, avg(load) FROM '/dc/*' WHERE role = 'db' GROUP BY zone"
    Query(query::QueryArgs),
    /// Describe this node in a catalog for a while, for queries to see.
    ///
    /// Example: logo describe /dc/ams role=db load=0.4 --seconds 60
    Describe(query::DescribeArgs),
    /// List the nodes that are up.
    ///
    /// Example: logo members --watch
    Members(node::MembersArgs),
    /// Tell who suspected a node, when, on what evidence, and what came of it.
    ///
    /// NODE is how its id begins, as `logo members` tells it; it may be gone. Some members are
    /// asked by lot, the node itself if it is up, and whoever is named as its accuser. Each tells
    /// what it saw itself, and keeps that for a while: of the last 256 nodes that were doubted.
    ///
    /// Example: logo why 3fa9
    Why(why::WhyArgs),
    /// Show members, zones, aggregates and objects as they change, until q or ^C.
    ///
    /// What is shown is what a node knows that has just come and holds nothing: members, for how
    /// long each has been as it is, and how long its last answer to this node took; the zones of
    /// one of the first levels of the tree; aggregates that others have open; objects by kind; and
    /// what this node itself sends and receives, in bytes that UDP carries. Nodes that are gone are
    /// shown for a minute.
    ///
    /// Where there is no terminal it tells a page each second.
    ///
    /// Example: logo top --once
    Top(top::TopArgs),
    /// Make the authority of a cluster across machines, and identities for its nodes; change its
    /// key; revoke nodes.
    #[command(subcommand)]
    Cert(cert::CertArgs),
    /// Run protocols in the deterministic simulator and check what they promise.
    ///
    /// One seed decides everything: the same command gives the same trace_hash, whenever it is run
    /// and on any number of threads.
    #[command(subcommand)]
    Sim(sim::Scenario),
}

fn main() -> ExitCode {
    let command = Logo::parse().command;
    if !matches!(command, Command::Sim(_)) {
        stay_small();
    }
    match command {
        Command::Bench(bench) => bench.run(),
        Command::Demo(demo) => demo.run(),
        Command::Node(node) => node.run(),
        Command::Ls(ls) => ls.run(),
        Command::Explain(explain) => explain.run(),
        Command::Send(send) => send.run(),
        Command::Watch(watch) => watch.run(),
        Command::Get(get) => get.run(),
        Command::Set(set) => set.run(),
        Command::Query(query) => query.run(),
        Command::Describe(describe) => describe.run(),
        Command::Members(members) => members.run(),
        Command::Why(why) => why.run(),
        Command::Top(top) => top.run(),
        Command::Cert(cert) => cert.run(),
        Command::Sim(scenario) => scenario.run(),
    }
}

/// From now on has memory in the system's ordinary pages, where the system lets it choose.
///
/// The allocator asks for huge ones. They make a large world faster, and a node that needs two MiB
/// take ten.
fn stay_small() {
    #[cfg(target_os = "linux")]
    let _ = rustix::thread::disable_transparent_huge_pages(true);
}
