//! Stories of nodes that start at once, with the same seeds, of which some are not up yet.

use std::collections::BTreeSet;
use std::time::Duration;

use gossip::Gossip;
use groupcomm::{Config, Founding, Groupcomm};
use live_objects::{Agreement, Event, MembersEvent, Module};
use live_objects_sim::{MembersChecker, Network, ViewsChecker, What, World};

use super::expect_settled;

/// Every order in which so many can start.
fn orders(nodes: usize) -> Vec<Vec<usize>> {
    let Some(last) = nodes.checked_sub(1) else { return vec![Vec::new()] };
    let with_last = |order: Vec<usize>| {
        (0..nodes).map(move |at| {
            let mut order = order.clone();
            order.insert(at, last);
            order
        })
    };
    orders(last).into_iter().flat_map(with_last).collect()
}

/// Five nodes with the same three seeds start in this order, with as long between two as the seed
/// says, from nothing to a second, while a quarter of all packets is lost.
fn started(
    seed: u64,
    order: &[usize],
    agreement: Agreement,
    modules: impl Fn() -> Vec<Box<dyn Module>> + Send + Sync + 'static,
) -> World {
    let mut world = World::new(seed, 5, move |_| modules());
    match agreement {
        Agreement::Eventual => world.add_checker(MembersChecker::default()),
        Agreement::Views => world.add_checker(ViewsChecker::default()),
    }
    world.set_seeds(&[0, 1, 2]);
    world.set_network(Network::WAN.with_loss(0.25));
    for node in order {
        world.start(*node);
        crate::open_members(&mut world, *node, agreement);
        world.run(Duration::from_millis(250 * (seed % 5)));
    }
    world
}

/// In whatever order they start, all know all in the end.
#[test]
fn those_who_start_at_once_with_the_same_seeds_are_one_cluster() {
    for (seed, order) in (0..).zip(orders(5)) {
        let mut world =
            started(seed, &order, Agreement::Eventual, || vec![Box::new(Gossip::default())]);
        expect_settled(&mut world);
    }
}

/// And those who expect as many as there are found one cluster, whose first view holds all.
#[test]
fn those_who_expect_each_other_found_one_cluster_in_any_order() {
    for (seed, order) in (0..).zip(orders(5)) {
        let config = Config { founding: Founding::Expect(5), ..Config::default() };
        let mut world = started(seed, &order, Agreement::Views, move || {
            vec![Box::new(Gossip::default()), Box::new(Groupcomm::new(config))]
        });
        expect_settled(&mut world);
        let views = || {
            world.history().iter().filter_map(|record| match &record.what {
                What::Event(_, Event::Members(MembersEvent::View(view))) => Some(view),
                _ => None,
            })
        };
        let clusters: BTreeSet<_> = views().map(|view| view.epoch.cluster).collect();
        let first = views().map(|view| (view.epoch.number, view.members.len())).min();
        assert_eq!((clusters.len(), first), (1, Some((1, 5))), "seed {seed}, {order:?}");
    }
}
