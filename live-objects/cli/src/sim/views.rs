//! The story of `logo sim views`.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::ValueEnum;
use gossip::Gossip;
use groupcomm::{Config, Founding, Groupcomm, Mutation};
use live_objects::Agreement;
use live_objects_sim::{Nemesis, ViewsChecker, World};

use super::{open_members, set_network};

/// Bugs that can be planted.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Mutate {
    /// One member alone decides on the next view: caught by V2.
    MinorityView,
}

impl Mutate {
    /// The option that plants it, as it follows others.
    pub(crate) fn option(self) -> &'static str {
        match self {
            Self::MinorityView => " --mutate minority-view",
        }
    }

    fn mutation(self) -> Mutation {
        match self {
            Self::MinorityView => Mutation::MinorityView,
        }
    }
}

/// A cluster is founded, lives through a minute of faults, and has a minute to settle.
pub(crate) fn story(seed: u64, nodes: usize, mutate: Option<Mutate>) -> World {
    let is_founded = AtomicBool::new(false);
    let mut world = World::new(seed, nodes, move |node| {
        let founds = node == 0 && !is_founded.swap(true, Ordering::Relaxed);
        let founding = if founds { Founding::Alone } else { Founding::Wait };
        let config = Config { founding, mutation: mutate.map(Mutate::mutation) };
        vec![Box::new(Gossip::default()), Box::new(Groupcomm::new(config))]
    });
    let mut rng = world.rng("views");
    let loss = set_network(&mut world, &mut rng);
    world.set_seeds(&[0, nodes / 2]);
    world.add_checker(ViewsChecker::default());
    for node in 0..nodes {
        world.start(node);
        open_members(&mut world, node, Agreement::Views);
    }
    world.run(Duration::from_secs(5));
    let nemesis = Nemesis {
        lasts: Duration::from_secs(60),
        pause: Duration::from_secs(2),
        down_max: nodes.saturating_sub(1) / 4 + 1,
        loss_max: 0.3,
    };
    let plan = nemesis.plan(nodes, loss, &mut rng);
    world.play(&plan, |world, node| open_members(world, node, Agreement::Views));
    world.settle(QUIET);
    world
}

/// How long a cluster has to settle.
const QUIET: Duration = Duration::from_secs(60);
