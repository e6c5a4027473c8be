//! The story of `logo sim membership`.

use std::time::Duration;

use gossip::Gossip;
use live_objects::Agreement;
use live_objects_sim::{MembersChecker, Nemesis, World};

use super::{open_members, set_network};

/// A cluster starts, lives through a minute of faults, and has a minute to settle.
pub(crate) fn story(seed: u64, nodes: usize) -> World {
    let mut world = World::new(seed, nodes, |_| vec![Box::new(Gossip::default())]);
    let mut rng = world.rng("membership");
    let loss = set_network(&mut world, &mut rng);
    world.set_seeds(&[0, nodes / 2]);
    world.add_checker(MembersChecker::default());
    for node in 0..nodes {
        world.start(node);
        open_members(&mut world, node, Agreement::Eventual);
    }
    let nemesis = Nemesis {
        lasts: Duration::from_secs(60),
        pause: Duration::from_secs(1),
        down_max: nodes / 2,
        loss_max: 0.3,
    };
    let plan = nemesis.plan(nodes, loss, &mut rng);
    world.play(&plan, |world, node| open_members(world, node, Agreement::Eventual));
    world.settle(QUIET);
    world
}

/// How long a cluster has to settle.
const QUIET: Duration = Duration::from_secs(60);
