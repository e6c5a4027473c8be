//! Stories of aggregates in simulated worlds: exact once nothing changes, and whoever is gone does
//! not count.

use std::time::Duration;

use gossip::Gossip;
use live_objects::{
    Agreement, Command, Estimate, Event, Member, MembersEvent, Name, ObjectId, ObjectType, Share,
    Spec, Summary,
};
use live_objects_sim::{MembersChecker, Network, What, World};

/// A cluster that loses a packet in twenty, every node of which has set its share.
struct Cluster {
    world: World,
    object: ObjectId,
    /// Of each node that holds the aggregate.
    shares: Vec<Option<f64>>,
}

impl Cluster {
    fn new(seed: u64, nodes: usize, summary: Summary) -> Self {
        let mut world = World::new(seed, nodes + 1, |_| vec![Box::new(Gossip::default())]);
        world.add_checker(MembersChecker::default());
        world.set_network(Network::LAN.with_loss(0.05));
        let object = "/load".parse::<Name>().expect("a name").id();
        let mut cluster = Self { world, object, shares: vec![None; nodes + 1] };
        (0..nodes).for_each(|node| cluster.start(node, summary));
        cluster
    }

    fn start(&mut self, node: usize, summary: Summary) {
        self.world.start(node);
        crate::open_members(&mut self.world, node, Agreement::Eventual);
        let spec = Spec::new("/load".parse().expect("a name"), ObjectType::aggregate(summary));
        self.world.open(node, spec).expect("gossip carries it");
        self.set(node, (node * node) as f64 / 7.0 - 20.0);
    }

    fn set(&mut self, node: usize, share: f64) {
        let set = Command::Set(Share::new(share).expect("it is finite"));
        self.world.send(node, self.object, set).expect("the feed is empty");
        self.shares[node] = Some(share);
    }

    fn crash(&mut self, node: usize) {
        self.world.crash(node);
        self.shares[node] = None;
    }

    /// What each holder was told last.
    fn told(&self) -> Vec<(usize, Estimate)> {
        let mut told = vec![None; self.shares.len()];
        for record in self.world.history() {
            match &record.what {
                What::Event(of, Event::Aggregate(estimate)) if *of == self.object => {
                    told[record.node] = Some(estimate.clone());
                }
                _ => {}
            }
        }
        let holders = told.into_iter().enumerate().filter(|(node, _)| self.shares[*node].is_some());
        holders.map(|(node, told)| (node, told.expect("who opened it was told"))).collect()
    }

    /// Who is wrong about the average of these nodes' shares, or about how many they are.
    fn wrong(&self, counted: &[usize]) -> Vec<(usize, Estimate)> {
        let shares = counted.iter().map(|node| self.shares[*node].expect("it holds it"));
        let average = shares.sum::<f64>() / counted.len() as f64;
        let is_right = |told: &Estimate| {
            let error = told.value.map(|value| (value - average).abs());
            told.members == counted.len() as u64 && error.is_some_and(|error| error <= 1e-9)
        };
        let told = self.told().into_iter().filter(|(node, _)| counted.contains(node));
        told.filter(|(_, told)| !is_right(told)).collect()
    }

    fn holders(&self) -> Vec<usize> {
        (0..self.shares.len()).filter(|node| self.shares[*node].is_some()).collect()
    }

    /// All are exact, within a time that no healthy cluster needs, and stay so.
    fn expect_exact(&mut self) {
        self.world.run(ROUND * 25);
        let holders = self.holders();
        assert_eq!(self.wrong(&holders), [], "{:?}", self.world);
        for (node, told) in self.told() {
            // At rest exchanges are three rounds apart.
            assert!(told.age <= ROUND * 40, "node {node}: {told:?}");
        }
    }
}

#[test]
fn thirty_nodes_know_the_average_exactly() {
    let mut cluster = Cluster::new(1, 30, Summary::Average);
    cluster.expect_exact();
    cluster.set(11, 1e6);
    cluster.expect_exact();
}

/// What a crashed node had set counts until the survivors have heard of its end, and from then on
/// nowhere.
#[test]
fn a_crashed_node_counts_no_longer_than_its_detection_takes() {
    let mut cluster = Cluster::new(2, 30, Summary::Average);
    cluster.expect_exact();
    let (gone, since) = (cluster.world.member(17).expect("it runs"), cluster.world.history().len());
    cluster.crash(17);
    let survivors = cluster.holders();
    let span = Duration::from_secs(30);
    assert!(cluster.world.run_until(span, |world| heard_of_end(world, since, gone) == 29));
    // Rows that were made before the last verdict are overtaken in a few rounds.
    cluster.world.run(ROUND * 6);
    assert_eq!(cluster.wrong(&survivors), []);
    for _ in 0..50 {
        cluster.world.run(ROUND);
        assert_eq!(cluster.wrong(&survivors), [], "it does not come back");
    }
}

#[test]
fn who_joins_counts_and_who_comes_back_counts_once() {
    let mut cluster = Cluster::new(3, 30, Summary::Average);
    cluster.expect_exact();
    cluster.start(30, Summary::Average);
    cluster.expect_exact();
    cluster.crash(4);
    cluster.start(4, Summary::Average);
    cluster.expect_exact();
    cluster.crash(5);
    cluster.world.run(Duration::from_secs(30));
    cluster.start(5, Summary::Average);
    cluster.expect_exact();
}

#[test]
fn each_side_of_a_partition_counts_its_own_and_then_all_do() {
    let mut cluster = Cluster::new(4, 30, Summary::Average);
    cluster.expect_exact();
    let (some, others): (Vec<usize>, Vec<usize>) = (0..30).partition(|node| node % 3 == 0);
    cluster.world.cut(&some, &others);
    cluster.world.run(Duration::from_secs(60));
    assert_eq!(cluster.wrong(&some), []);
    assert_eq!(cluster.wrong(&others), []);
    cluster.world.heal();
    assert!(cluster.world.settle(Duration::from_secs(120)), "{:?}", cluster.world.stuck());
    cluster.expect_exact();
}

#[test]
fn a_closed_holder_no_longer_counts() {
    let mut cluster = Cluster::new(5, 30, Summary::Average);
    cluster.expect_exact();
    for node in [3, 21] {
        cluster.world.close(node, cluster.object);
        cluster.shares[node] = None;
    }
    cluster.expect_exact();
}

/// Far more than their share of the nodes goes at once, and others come in their place.
#[test]
fn most_may_go_at_once() {
    let mut cluster = Cluster::new(6, 30, Summary::Average);
    cluster.expect_exact();
    (8..30).for_each(|node| cluster.crash(node));
    cluster.world.run(Duration::from_secs(60));
    cluster.expect_exact();
    (20..31).for_each(|node| cluster.start(node, Summary::Average));
    cluster.world.run(Duration::from_secs(20));
    cluster.expect_exact();
}

/// A cluster that loses packets, and some of its members, comes to the same quantiles and the same
/// highest at all who are left, and what the others gave is in neither.
#[test]
fn sketches_hold_what_those_who_are_up_gave() {
    let mut cluster = Cluster::new(7, 30, Summary::Highest);
    cluster.world.run(ROUND * 40);
    let gave = |nodes: &[usize], cluster: &Cluster| {
        let mut shares: Vec<f64> = nodes.iter().filter_map(|node| cluster.shares[*node]).collect();
        shares.sort_by(|one, other| other.total_cmp(one));
        shares.truncate(10);
        shares
    };
    let told = |told: &Estimate| told.highest().iter().map(|high| high.value).collect::<Vec<_>>();
    for (node, estimate) in cluster.told() {
        assert_eq!(told(&estimate), gave(&cluster.holders(), &cluster), "node {node}");
    }
    (25..30).for_each(|node| cluster.crash(node));
    cluster.world.run(Duration::from_secs(40));
    for (node, estimate) in cluster.told() {
        assert_eq!(estimate.members, 25);
        assert_eq!(told(&estimate), gave(&cluster.holders(), &cluster), "node {node}");
    }

    let mut cluster = Cluster::new(8, 30, Summary::Quantiles);
    cluster.world.run(ROUND * 40);
    cluster.crash(3);
    cluster.world.run(Duration::from_secs(40));
    let all = cluster.told();
    let mut shares: Vec<f64> = cluster.shares.iter().flatten().copied().collect();
    shares.sort_by(f64::total_cmp);
    for (_, estimate) in &all {
        assert_eq!((estimate.members, estimate.quantiles()), (29, all[0].1.quantiles()));
        let told = estimate.quantile(0.75).expect("there are values");
        assert!((told - shares[21]).abs() <= 0.0101 * shares[21].abs(), "{told}");
    }
}

/// How many nodes were told, since that record, that this member is gone.
fn heard_of_end(world: &World, since: usize, gone: Member) -> usize {
    let is_down = |what: &What| match what {
        What::Event(_, Event::Members(MembersEvent::Down(member, _))) => *member == gone,
        _ => false,
    };
    world.history()[since..].iter().filter(|record| is_down(&record.what)).count()
}

/// A round.
const ROUND: Duration = Duration::from_millis(200);
