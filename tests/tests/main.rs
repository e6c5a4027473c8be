//! What no crate can test alone, in one binary, since each binary more is linked anew.

mod aggregates;
mod disks;
mod engines;
mod founding;
mod groups;
mod loopback;
mod membership;
mod news;
mod tidy;
mod views;

use live_objects::{Agreement, Event, ObjectId, ObjectType, Spec, Time};
use live_objects_sim::{What, World};

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
