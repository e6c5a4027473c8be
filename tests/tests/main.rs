//! What no crate can test alone, in one binary, since each binary more is linked anew.

mod aggregates;
mod disks;
mod engines;
mod founding;
mod groups;
mod hostile;
mod loopback;
mod membership;
mod nearest;
mod news;
mod overlays;
mod queries;
mod searches;
mod soft_state;
mod tidy;
mod views;

use std::path::Path;

use live_objects::{Agreement, Event, Module, ObjectId, ObjectType, Spec, Time};
use live_objects_net::{Config, Node, StartError};
use live_objects_sim::{What, World};

/// A node on a real socket, in a cluster of its own.
async fn start_alone(
    module: impl Module + 'static,
    disk: Option<&Path>,
) -> Result<Node, StartError> {
    let config = Config {
        listen: "127.0.0.1:0".parse().expect("an address"),
        advertise: Vec::new(),
        seeds: Vec::new(),
        identity: None,
        disk: disk.map(Path::to_owned),
    };
    Node::start(config, vec![Box::new(module)]).await
}

/// Opens the object that tells a node who is in.
fn open_members(world: &mut World, node: usize, agreement: Agreement) {
    let name = "/members".parse().expect("a name");
    let spec = Spec::new(name, ObjectType::members(agreement));
    world.open(node, spec).expect("a module carries it");
}

/// What a node was told by an object, and when, since the record `since`.
fn told(
    world: &World,
    node: usize,
    object: ObjectId,
    since: usize,
) -> impl Iterator<Item = (Time, &Event)> {
    let records = world.history()[since..].iter().filter(move |record| record.node == node);
    records.filter_map(move |record| match &record.what {
        What::Event(of, event) if *of == object => Some((record.at, event)),
        _ => None,
    })
}

/// The seeds of a swarm: 0, 1, 2, …, or the one that `SEED=7 cargo test …` asks for.
fn seeds(count: u64) -> std::ops::Range<u64> {
    let asked = std::env::var("SEED").ok();
    let asked = asked.map(|seed| seed.parse().expect("SEED is a whole number"));
    asked.map_or(0..count, |seed: u64| seed..seed + 1)
}
