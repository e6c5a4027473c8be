//! Stories of queries in simulated worlds: groups are exact once nothing changes, whoever is gone
//! does not count, and nobody computes what nobody asks.

use std::collections::BTreeMap;
use std::time::Duration;

use gossip::Gossip;
use live_objects::{
    Agreement, Attributes, Column, Command, Event, Function, Group, GroupKey, Name, ObjectId,
    ObjectType, Predicate, Query, Relation, Spec, Tally,
};
use live_objects_sim::{MembersChecker, Network, What, World};

/// A cluster that loses a packet in twenty, every node of which describes itself in one of three
/// catalogs.
struct Cluster {
    world: World,
    /// Of each node that does: its zone, its role and its load.
    said: BTreeMap<usize, (&'static str, &'static str, f64)>,
}

impl Cluster {
    fn new(seed: u64, nodes: usize) -> Self {
        let mut world = World::new(seed, nodes + 1, |_| vec![Box::new(Gossip::default())]);
        world.add_checker(MembersChecker::default());
        world.set_network(Network::LAN.with_loss(0.05));
        let mut cluster = Self { world, said: BTreeMap::new() };
        (0..nodes).for_each(|node| cluster.start(node));
        cluster
    }

    fn start(&mut self, node: usize) {
        self.world.start(node);
        crate::open_members(&mut self.world, node, Agreement::Eventual);
        let zone = ["ams", "fra", "lon"][node % 3];
        let spec = Spec::new(name(&format!("/dc/{zone}")), ObjectType::catalog());
        self.world.open(node, spec).expect("gossip carries it");
        let role = if node % 4 == 1 { "web" } else { "db" };
        self.describe(node, zone, role, node as f64);
    }

    fn describe(&mut self, node: usize, zone: &'static str, role: &'static str, load: f64) {
        let own = Attributes::default().with("role", role).and_then(|it| it.with("load", load));
        let describe = Command::Describe(own.expect("they are attributes"));
        let object = name(&format!("/dc/{zone}")).id();
        self.world.send(node, object, describe).expect("the feed is empty");
        self.said.insert(node, (zone, role, load));
    }

    fn crash(&mut self, node: usize) {
        self.world.crash(node);
        self.said.remove(&node);
    }

    fn ask(&mut self, node: usize, query: &Query) -> ObjectId {
        let spec = Spec::new(query.name(), ObjectType::query(query.clone()));
        self.world.open(node, spec).expect("gossip carries it");
        query.name().id()
    }

    /// What a node was told last, since the record `since`.
    fn told(&self, node: usize, object: ObjectId, since: usize) -> Option<Tally> {
        let told = crate::told(&self.world, node, object, since);
        let tallies = told.filter_map(|(_, event)| match event {
            Event::Query(tally) => Some(tally.clone()),
            _ => None,
        });
        tallies.last()
    }

    /// What it should be: of each zone how many match, and their loads' sum and greatest.
    fn truth(&self) -> Vec<(String, Vec<Option<f64>>)> {
        let mut zones: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        for (zone, role, load) in self.said.values() {
            if *role == "db" && *load >= 1.0 {
                zones.entry((*zone).to_owned()).or_default().push(*load);
            }
        }
        let row = |loads: Vec<f64>| {
            let sum = loads.iter().sum::<f64>();
            vec![Some(loads.len() as f64), Some(sum), loads.into_iter().reduce(f64::max)]
        };
        zones.into_iter().map(|(zone, loads)| (zone, row(loads))).collect()
    }

    fn expect_exact(&self, asks: &[usize], object: ObjectId) {
        for node in asks {
            let tally = self.told(*node, object, 0).expect("who asked was told");
            assert_eq!(rows(&tally), self.truth(), "node {node}: {tally:?} {:?}", self.world);
            assert_eq!((tally.heard, tally.others), (tally.nodes, None));
            assert!(tally.age <= ROUND * 100, "node {node} after {:?}", tally.age);
        }
    }
}

fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

/// SELECT zone, count(*), sum(load), max(load) FROM '/dc/*' WHERE role = 'db' AND load >= 1
/// GROUP BY zone
fn query() -> Query {
    let of = |function| Column::Of(function, "load".to_owned());
    let columns = vec![Column::Members, of(Function::Sum), of(Function::Max)];
    let is_db = Predicate::equal("role", "db").expect("a comparison");
    let is_busy = Predicate::compare("load", Relation::GreaterOrEqual, 1.0).expect("a comparison");
    let both = is_db.and(is_busy).expect("two of them");
    Query::new("/dc/*".parse().expect("a pattern"), both, vec![GroupKey::Zone], columns)
        .expect("within the bounds")
}

fn rows(tally: &Tally) -> Vec<(String, Vec<Option<f64>>)> {
    let row = |group: &Group| {
        let zone = group.key[0].as_ref().and_then(|key| key.text()).expect("a zone");
        (zone.to_owned(), group.values.clone())
    };
    tally.groups.iter().map(row).collect()
}

#[test]
fn thirty_nodes_answer_exactly_and_a_crash_leaves_the_count() {
    let mut cluster = Cluster::new(1, 30);
    cluster.world.run(ROUND * 25);
    let object = cluster.ask(7, &query());
    cluster.world.run(ROUND * 40);
    cluster.expect_exact(&[7], object);
    assert_eq!(cluster.told(7, object, 0).expect("it was told").members, 21);
    // What is said anew counts in place of what was said before.
    cluster.describe(4, "fra", "db", 0.5);
    cluster.describe(5, "lon", "db", 500.0);
    cluster.world.run(ROUND * 40);
    cluster.expect_exact(&[7], object);
    cluster.crash(12);
    cluster.crash(20);
    cluster.world.run(Duration::from_secs(30));
    cluster.expect_exact(&[7], object);
    cluster.start(30);
    cluster.world.run(Duration::from_secs(20));
    cluster.expect_exact(&[7], object);
}

/// Two who ask the same share one; it ends with the last of them, one way or the other, and costs
/// nothing from then on.
#[test]
fn who_asks_the_same_shares_it_and_all_ends_with_the_last() {
    let mut cluster = Cluster::new(2, 12);
    cluster.world.run(Duration::from_secs(30));
    let object = cluster.ask(3, &query());
    assert_eq!(cluster.ask(9, &query()), object);
    cluster.world.run(ROUND * 40);
    cluster.expect_exact(&[3, 9], object);
    cluster.world.close(3, object);
    cluster.world.run(ROUND * 40);
    cluster.describe(2, "lon", "db", 99.0);
    cluster.world.run(ROUND * 40);
    cluster.expect_exact(&[9], object);
    // Whoever asks is gone without a word; who asks again is told of what there is now.
    cluster.crash(9);
    cluster.world.run(Duration::from_secs(60));
    cluster.describe(2, "lon", "db", 7.0);
    let since = cluster.world.history().len();
    cluster.ask(3, &query());
    let first = cluster.world.run_until(Duration::from_secs(5), |world| {
        crate::told(world, 3, object, since).any(|(_, event)| matches!(event, Event::Query(_)))
    });
    assert!(first, "it is told at once what is known here");
    let told = crate::told(&cluster.world, 3, object, since);
    let tallies = told.filter(|(_, event)| matches!(event, Event::Query(_)));
    let Some((_, Event::Query(tally))) = tallies.into_iter().next() else {
        unreachable!("it was just told")
    };
    assert!(tally.members <= 1, "nothing of the old answer is left: {tally:?}");
    cluster.world.run(ROUND * 40);
    cluster.expect_exact(&[3], object);
}

/// Both sides of a partition answer for themselves, and then both for all.
#[test]
fn each_side_of_a_partition_answers_for_itself() {
    let mut cluster = Cluster::new(3, 24);
    cluster.world.run(ROUND * 25);
    let object = cluster.ask(0, &query());
    cluster.ask(1, &query());
    cluster.world.run(ROUND * 40);
    cluster.expect_exact(&[0, 1], object);
    let all = cluster.said.clone();
    let (some, others): (Vec<usize>, Vec<usize>) = (0..24).partition(|node| node % 2 == 0);
    cluster.world.cut(&some, &others);
    cluster.world.run(Duration::from_secs(60));
    for (asks, side) in [(0, &some), (1, &others)] {
        cluster.said = side.iter().map(|node| (*node, all[node])).collect();
        cluster.expect_exact(&[asks], object);
    }
    cluster.said = all;
    cluster.world.heal();
    assert!(cluster.world.settle(Duration::from_secs(120)), "{:?}", cluster.world.stuck());
    cluster.world.run(ROUND * 60);
    cluster.expect_exact(&[0, 1], object);
}

/// What is claimed under the name of a query and is none does nothing, and others go on.
#[test]
fn a_claim_of_what_is_no_query_disturbs_nobody() {
    let mut cluster = Cluster::new(4, 9);
    cluster.world.run(ROUND * 25);
    // Anybody may open an object of this name, with this type or another.
    let forged = Spec::new(name("/queries/00"), ObjectType::query(query()));
    cluster.world.open(8, forged).expect("gossip carries it");
    let other = Spec::new(name("/queries/01"), ObjectType::best_effort_topic());
    cluster.world.open(8, other).expect("gossip carries it");
    let object = cluster.ask(1, &query());
    cluster.world.run(ROUND * 40);
    cluster.expect_exact(&[1], object);
    for node in 0..9 {
        let counts = cluster.world.counts(node).expect("it runs");
        assert!(counts.get("gossip.query_unreadable") > 0, "node {node} counted it");
    }
    let forged = name("/queries/00").id();
    let told = cluster.told(8, forged, 0).expect("who opened it was told");
    assert_eq!(told.members, 0, "nobody computes it");
    assert!(!cluster.world.history().iter().any(|record| {
        matches!(&record.what, What::Event(of, Event::Closed(_)) if *of == object)
    }));
}

/// A round.
const ROUND: Duration = Duration::from_millis(200);
