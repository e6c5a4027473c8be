//! Stories of the nearest in simulated worlds: whom nodes are told of is there, and near.

use std::time::Duration;

use gossip::Gossip;
use live_objects::{
    Agreement, Command, Event, Load, Name, Near, ObjectId, ObjectType, Share, Spec, Summary,
};
use live_objects_sim::{Cities, Latency, MembersChecker, Network, What, World};

/// A cluster in some cities that loses a packet in twenty; the first few nodes offer themselves.
struct Cluster {
    world: World,
    cities: Cities,
    object: ObjectId,
}

impl Cluster {
    fn new(seed: u64, offerers: usize) -> Self {
        let mut world = World::new(seed, NODES, |_| vec![Box::new(Gossip::default())]);
        world.add_checker(MembersChecker::default());
        let latency = Latency::fixed(LEAST);
        world.set_network(Network { latency, ..Network::LAN }.with_loss(0.05));
        let cities = Cities::drawn(NODES, 5, &world.rng("cities"));
        world.set_cities(cities.clone());
        let object = "/mirrors".parse::<Name>().expect("a name").id();
        let mut cluster = Self { world, cities, object };
        (0..NODES).for_each(|node| cluster.start(node));
        (0..offerers).for_each(|node| cluster.say(node, Command::Offer(Load::IDLE)));
        cluster.world.run(SETTLING);
        cluster
    }

    fn start(&mut self, node: usize) {
        self.world.start(node);
        crate::open_members(&mut self.world, node, Agreement::Eventual);
        let spec = Spec::new("/mirrors".parse().expect("a name"), ObjectType::nearest());
        self.world.open(node, spec).expect("gossip carries it");
    }

    fn say(&mut self, node: usize, command: Command) {
        self.world.send(node, self.object, command).expect("the feed is empty");
    }

    /// Asks a node; whom it is told of, the best first.
    fn asked(&mut self, node: usize) -> Vec<usize> {
        let ranking = self.told(node);
        let node_of = |near: &Near| self.world.node_of(near.member).expect("one of the world's");
        ranking.iter().map(node_of).collect()
    }

    /// Asks a node; what it is told, the best first.
    fn told(&mut self, node: usize) -> Vec<Near> {
        let since = self.world.history().len();
        self.say(node, Command::Rank);
        self.world.run(Duration::from_nanos(1));
        let told = crate::told(&self.world, node, self.object, since).last();
        let Some((_, Event::Nearest(ranking))) = told else { panic!("no answer: {told:?}") };
        ranking.clone()
    }

    fn told_all(&mut self) -> Vec<Vec<Near>> {
        (0..NODES).map(|node| self.told(node)).collect()
    }

    fn ask_all(&mut self) -> Vec<Vec<usize>> {
        (0..NODES).map(|node| self.asked(node)).collect()
    }
}

#[test]
fn most_find_one_that_is_near() {
    let mut cluster = Cluster::new(1, 8);
    let answers = cluster.ask_all();
    let truth = |one, other| cluster.cities.round_trip(one, other) + 2 * LEAST;
    let is_good = |asker: usize| {
        let others = (0..8).filter(|offerer| *offerer != asker);
        let best = others.map(|offerer| truth(asker, offerer)).min().expect("seven at least");
        answers[asker].first().is_some_and(|first| truth(asker, *first) * 10 <= best * 11)
    };
    let good = (0..NODES).filter(|asker| is_good(*asker)).count();
    assert!(good * 10 >= NODES * 9, "{good} of {NODES}");
}

/// Of eight that offer themselves four have as much load as all others together: once whoever asks
/// has named the mean of all loads, nobody is sent to these but from next door.
#[test]
fn who_has_more_load_than_the_mean_is_passed_over() {
    let mut cluster = Cluster::new(4, 8);
    let load = |node: usize| if node < 4 { 2.0 } else { 0.25 };
    let aggregate = ObjectType::aggregate(Summary::Average);
    let spec = Spec::new("/load".parse().expect("a name"), aggregate);
    let by = spec.name.id();
    for node in 0..NODES {
        cluster.world.open(node, spec.clone()).expect("gossip carries it");
        if node < 8 {
            cluster.say(node, Command::Offer(Load::new(load(node)).expect("a load")));
            let share = Share::new(load(node).into()).expect("a number");
            cluster.world.send(node, by, Command::Set(share)).expect("the feed is empty");
        }
    }
    cluster.world.run(SETTLING);
    let is_loaded = |near: &&Near| near.load.number() > 1.0;
    let first_loaded = |answers: &[Vec<Near>]| {
        answers.iter().filter_map(|answer| answer.first()).filter(is_loaded).count()
    };
    let before = first_loaded(&cluster.told_all());
    (0..NODES).for_each(|node| cluster.say(node, Command::Balance(Some(by))));
    cluster.world.run(SETTLING);
    let answers = cluster.told_all();
    let after = first_loaded(&answers);
    assert!(before > after, "{before} were sent to one with much load, and {after} are");
    for answer in &answers {
        let best = answer.iter().filter(|near| !is_loaded(near)).map(Near::cost).min();
        let best = best.expect("seven others offer themselves, and four at most have much load");
        for near in answer.iter().take_while(|near| is_loaded(near)) {
            assert!(near.cost() * Near::MUCH_NEARER <= best, "{answer:?}");
        }
    }
    // Nobody is passed over any more, and as many are sent there as before.
    (0..NODES).for_each(|node| cluster.say(node, Command::Balance(None)));
    cluster.world.run(Duration::from_secs(1));
    assert!(first_loaded(&cluster.told_all()) > after);
}

/// From when a node knows of an end, whoever is gone is not told, however many still pass it on.
#[test]
fn who_is_gone_is_told_no_more() {
    let mut cluster = Cluster::new(2, 8);
    (0..4).for_each(|gone| cluster.world.crash(gone));
    cluster.world.run(Duration::from_secs(30));
    let since = cluster.world.history().len();
    (0..4).for_each(|node| cluster.start(node));
    cluster.world.run(SETTLING);
    let gone = |node: usize| node < 4;
    for answer in cluster.ask_all() {
        assert!(!answer.is_empty() && !answer.iter().any(|node| gone(*node)), "{answer:?}");
    }
    for record in &cluster.world.history()[since..] {
        if let What::Event(of, Event::Nearest(ranking)) = &record.what
            && *of == cluster.object
        {
            let told = ranking.iter().map(|near| cluster.world.node_of(near.member));
            assert!(told.flatten().all(|node| !gone(node)), "{record:?}");
        }
    }
    cluster.say(2, Command::Offer(Load::IDLE));
    cluster.world.run(SETTLING);
    let answers = cluster.ask_all();
    let told = (0..NODES).filter(|node| answers[*node].contains(&2)).count();
    assert_eq!(told, NODES - 1, "all but itself are told of who is back");
}

#[test]
fn each_side_of_a_partition_finds_its_own_and_then_all() {
    let mut cluster = Cluster::new(3, 6);
    let (some, others): (Vec<usize>, Vec<usize>) = (0..NODES).partition(|node| node % 2 == 0);
    cluster.world.cut(&some, &others);
    cluster.world.run(Duration::from_secs(60));
    for (node, answer) in cluster.ask_all().into_iter().enumerate() {
        assert!(answer.len() >= 2 && answer.iter().all(|near| near % 2 == node % 2), "{answer:?}");
    }
    cluster.world.heal();
    assert!(cluster.world.settle(Duration::from_secs(120)), "{:?}", cluster.world.stuck());
    cluster.world.run(SETTLING);
    for (node, answer) in cluster.ask_all().into_iter().enumerate() {
        assert_eq!(answer.len(), if node < 6 { 5 } else { 6 }, "node {node}: {answer:?}");
    }
}

const NODES: usize = 40;

/// What a packet takes beside its way.
const LEAST: Duration = Duration::from_micros(500);

/// Longer than it takes to find one's place, and then the best.
const SETTLING: Duration = Duration::from_secs(20);
