//! The story of `logo sim membership`.

use std::time::Duration;

use gossip::Gossip;
use live_objects::{Agreement, ObjectType, Spec};
use live_objects_sim::{MembersChecker, Nemesis, Network, World};
use rand::RngExt;

/// A cluster starts, lives through a minute of faults, and has a minute to settle.
pub(crate) fn story(seed: u64, nodes: usize) -> World {
    let mut world = World::new(seed, nodes, |_| vec![Box::new(Gossip::default())]);
    let mut rng = world.rng("membership");
    let loss = rng.random_range(0.0..0.05);
    let network = if rng.random_bool(0.5) { Network::LAN } else { Network::WAN };
    world.set_network(network.with_loss(loss));
    world.set_seeds(&[0, nodes / 2]);
    world.add_checker(MembersChecker::default());
    for node in 0..nodes {
        world.start(node);
        open(&mut world, node);
    }
    let nemesis = Nemesis {
        lasts: Duration::from_secs(60),
        pause: Duration::from_secs(1),
        down_max: nodes / 2,
        loss_max: 0.3,
    };
    let plan = nemesis.plan(nodes, loss, &mut rng);
    world.play(&plan, open);
    world.settle(QUIET);
    world
}

fn open(world: &mut World, node: usize) {
    let name = "/members".parse().expect("a name");
    let members = ObjectType::members(Agreement::Eventual);
    world.open(node, Spec::new(name, members)).expect("gossip carries it");
}

/// How long a cluster has to settle.
const QUIET: Duration = Duration::from_secs(60);
