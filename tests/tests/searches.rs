//! Stories of searches in simulated worlds: who matches and lives is found, whoever else is gone.

use std::collections::BTreeSet;
use std::time::Duration;

use gossip::Gossip;
use live_objects::{
    Agreement, Attributes, CatalogEvent, Command, Event, Name, ObjectId, ObjectType, Predicate,
    Spec, Told,
};
use live_objects_sim::{Fault, MembersChecker, World};

/// A cluster that loses a packet in twenty, and whose nodes have said what they are.
struct Fleet {
    world: World,
    object: ObjectId,
}

impl Fleet {
    fn new(seed: u64) -> Self {
        let mut world = World::new(seed, NODES, |_| vec![Box::new(Gossip::default())]);
        world.add_checker(MembersChecker::default());
        world.set_seeds(&[0, 1]);
        world.apply(&Fault::Loss(0.05));
        let object = "/fleet".parse::<Name>().expect("a name").id();
        let mut fleet = Self { world, object };
        (0..NODES).for_each(|node| fleet.start(node));
        fleet.world.run(SETTLING);
        fleet
    }

    /// One in ten has what is looked for.
    fn start(&mut self, node: usize) {
        self.world.start(node);
        crate::open_members(&mut self.world, node, Agreement::Eventual);
        let spec = Spec::new("/fleet".parse().expect("a name"), ObjectType::catalog());
        self.world.open(node, spec).expect("gossip carries it");
        let own = Attributes::default().with("host", format!("host-{node}"));
        let own = own.and_then(|own| own.with("load", node as f64 / 7.0)).expect("it is short");
        let gpu = if node % 10 == 3 { "h100" } else { "none" };
        self.say(node, Command::Describe(own.with("gpu", gpu).expect("it is short")));
    }

    fn say(&mut self, node: usize, command: Command) {
        self.world.send(node, self.object, command).expect("the feed is empty");
    }

    /// Whom a node finds, and whether that is all.
    fn found(&mut self, asker: usize, matching: Predicate) -> (BTreeSet<usize>, Told) {
        let since = self.world.history().len();
        self.say(asker, Command::Search { matching, limit: u32::MAX });
        let object = self.object;
        let parts = |world: &World| -> Vec<(BTreeSet<usize>, Told)> {
            let told = crate::told(world, asker, object, since);
            let part = |(_, event): (_, &Event)| {
                let Event::Catalog(CatalogEvent::Found { holders, told, .. }) = event else {
                    panic!("{event:?}")
                };
                let node_of = |member| world.node_of(member).expect("one of the world's");
                (holders.iter().map(|one| node_of(one.member)).collect(), *told)
            };
            told.map(part).collect()
        };
        let is_told = |world: &World| parts(world).last().is_some_and(|it| it.1 != Told::Part);
        assert!(self.world.run_until(Duration::from_secs(10), is_told), "no answer");
        let all = parts(&self.world);
        let nodes: BTreeSet<usize> = all.iter().flat_map(|(nodes, _)| nodes).copied().collect();
        let count: usize = all.iter().map(|(nodes, _)| nodes.len()).sum();
        assert_eq!(nodes.len(), count, "each is told once");
        (nodes, all.last().expect("it was answered").1)
    }

    fn asked(&self, node: usize) -> u64 {
        self.world.counts(node).map_or(0, |counts| counts.get("gossip.search_asked"))
    }
}

fn gpus() -> Predicate {
    Predicate::equal("gpu", "h100").expect("it is short")
}

fn with_gpu() -> impl Iterator<Item = usize> {
    (0..NODES).filter(|node| node % 10 == 3)
}

#[test]
fn whoever_matches_is_found_and_few_are_asked() {
    let mut fleet = Fleet::new(1);
    for asker in [0, 13, 79] {
        assert_eq!(fleet.found(asker, gpus()), (with_gpu().collect(), Told::All));
        let before = fleet.asked(asker);
        let one = Predicate::equal("host", "host-42").expect("it is short");
        assert_eq!(fleet.found(asker, one), (BTreeSet::from([42]), Told::All));
        assert!(fleet.asked(asker) - before <= 10, "{}", fleet.asked(asker) - before);
    }
    let none = Predicate::equal("gpu", "a10").expect("it is short");
    assert_eq!(fleet.found(5, none), (BTreeSet::new(), Told::All));
    assert_eq!(fleet.found(5, Predicate::all()).0.len(), NODES);
}

/// What a node said of itself vanishes with it, and is there again in its next life.
#[test]
fn whoever_is_gone_is_found_no_more() {
    let mut fleet = Fleet::new(2);
    [13, 33].into_iter().for_each(|node| fleet.world.crash(node));
    fleet.world.stop(53);
    let left = || with_gpu().filter(|node| ![13, 33, 53].contains(node));
    let (nodes, _) = fleet.found(0, gpus());
    assert_eq!(nodes, left().collect(), "the dead do not answer");
    fleet.world.run(SETTLING);
    assert_eq!(fleet.found(1, gpus()), (left().collect(), Told::All));
    fleet.start(33);
    fleet.world.run(SETTLING);
    let back = left().chain([33]).collect();
    assert_eq!(fleet.found(1, gpus()), (back, Told::All));
}

/// A third crashes, none of whom matches, and nobody knows yet: where one of them is asked another
/// of the same zone is, when it does not answer.
#[test]
fn a_search_goes_on_with_another_where_one_is_dead() {
    let mut fleet = Fleet::new(3);
    (0..NODES).filter(|node| node % 3 == 1 && node % 10 != 3).for_each(|node| {
        fleet.world.crash(node);
    });
    let mut again = 0;
    for asker in [0, 3, 6, 9, 12] {
        assert_eq!(fleet.found(asker, gpus()), (with_gpu().collect(), Told::All));
        let counts = fleet.world.counts(asker).expect("it runs");
        again += counts.get("gossip.question_again");
    }
    assert!(again > 0, "some of the dead were asked");
}

#[test]
fn where_nothing_gets_through_a_search_says_that_some_may_be_missing() {
    let mut fleet = Fleet::new(4);
    fleet.world.apply(&Fault::Loss(0.9));
    let (nodes, told) = fleet.found(0, gpus());
    assert!(nodes.len() < with_gpu().count() && told == Told::Some, "{nodes:?} {told:?}");
    fleet.world.apply(&Fault::Loss(0.05));
    assert!(fleet.world.settle(Duration::from_secs(120)), "{:?}", fleet.world.stuck());
    fleet.world.run(SETTLING);
    assert_eq!(fleet.found(0, gpus()), (with_gpu().collect(), Told::All));
}

/// Each side finds its own; joined again, all.
#[test]
fn each_side_of_a_partition_finds_its_own() {
    let mut fleet = Fleet::new(5);
    let (some, others): (Vec<usize>, Vec<usize>) = (0..NODES).partition(|node| *node < 40);
    fleet.world.cut(&some, &others);
    fleet.world.run(Duration::from_secs(60));
    for (asker, side) in [(0, 0..40), (40, 40..NODES)] {
        let own = with_gpu().filter(|node| side.contains(node)).collect();
        assert_eq!(fleet.found(asker, gpus()), (own, Told::All));
    }
    fleet.world.heal();
    assert!(fleet.world.settle(Duration::from_secs(120)), "{:?}", fleet.world.stuck());
    fleet.world.run(SETTLING);
    assert_eq!(fleet.found(0, gpus()), (with_gpu().collect(), Told::All));
}

/// Whoever has just come searches as well as anybody, though it has to ask more.
#[test]
fn a_newcomer_finds_all() {
    let mut fleet = Fleet::new(6);
    fleet.world.crash(7);
    fleet.world.run(SETTLING);
    fleet.start(7);
    fleet.world.run(Duration::from_secs(1));
    assert_eq!(fleet.found(7, gpus()), (with_gpu().collect(), Told::All));
}

const NODES: usize = 80;

/// Longer than it takes to hear of what all say of themselves.
const SETTLING: Duration = Duration::from_secs(20);
