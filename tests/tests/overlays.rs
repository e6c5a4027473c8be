//! Stories of overlays in simulated clusters: they close over who goes, and take in who comes.

use std::time::Duration;

use gossip::Gossip;
use live_objects::overlay::{Descriptor, KNearest, Profile, Ranking, Ring, Tree};
use live_objects::{Agreement, Command, Event, Name, ObjectId, ObjectType, Spec};
use live_objects_sim::{MembersChecker, Network, World};

/// A cluster that loses a packet in twenty.
struct Cluster {
    world: World,
    overlays: Vec<Overlay>,
}

struct Overlay {
    name: &'static str,
    object: ObjectId,
    ranking: Ranking,
    /// Where each node stands, if it does.
    places: Vec<Option<Profile>>,
}

impl Cluster {
    /// All stand in a ring, in a tree, and in a square.
    fn new(seed: u64) -> Self {
        let mut world = World::new(seed, NODES, |_| vec![Box::new(Gossip::default())]);
        world.add_checker(MembersChecker::default());
        world.set_network(Network::LAN.with_loss(0.05));
        let shapes = [
            ("/ring", Ranking::new(Ring)),
            ("/tree", Ranking::new(Tree)),
            ("/square", Ranking::new(KNearest::<6>)),
        ];
        let overlays = shapes.map(|(name, ranking)| {
            let object = name.parse::<Name>().expect("a name").id();
            Overlay { name, object, ranking, places: vec![None; NODES] }
        });
        let mut cluster = Self { world, overlays: overlays.into() };
        (0..NODES - SPARE).for_each(|node| cluster.start(node));
        cluster.world.run(SETTLING);
        cluster
    }

    fn start(&mut self, node: usize) {
        self.world.start(node);
        crate::open_members(&mut self.world, node, Agreement::Eventual);
        let id = Profile::of_node(self.world.member(node).expect("it runs").node);
        let square = Profile::new(&[(node % 7) as f64, (node / 7) as f64 * 1.01]);
        let places = [id, id, square.expect("two finite numbers")];
        for (overlay, profile) in self.overlays.iter_mut().zip(places) {
            overlay.places[node] = Some(profile);
            let ranking = overlay.ranking.clone();
            let ty = ObjectType::overlay(&ranking.name());
            let spec = Spec::new(overlay.name.parse().expect("a name"), ty);
            self.world.open(node, spec).expect("gossip carries it");
            let stand = Command::Stand { profile: Some(profile), ranking };
            self.world.send(node, overlay.object, stand).expect("the feed is empty");
        }
    }

    fn crash(&mut self, node: usize) {
        self.world.crash(node);
        self.overlays.iter_mut().for_each(|overlay| overlay.places[node] = None);
    }

    /// All who stand in the overlay and are in the same part of the cluster.
    fn standing(&self, overlay: &Overlay, part: impl Fn(usize) -> bool) -> Vec<Descriptor> {
        let places = overlay.places.iter().enumerate().filter(|(node, _)| part(*node));
        let mut all: Vec<Descriptor> = places
            .filter_map(|(node, place)| {
                Some(Descriptor { member: self.world.member(node)?, profile: (*place)? })
            })
            .collect();
        all.sort_by_key(|it| it.member.node);
        all
    }

    /// All neighbours are those that the rank chooses of all in the same part.
    fn assert_right(&self, part_of: impl Fn(usize) -> usize) {
        for (overlay, node) in
            self.overlays.iter().flat_map(|overlay| (0..NODES).map(move |node| (overlay, node)))
        {
            let all = self.standing(overlay, |other| part_of(other) == part_of(node));
            let member = self.world.member(node);
            let Some(at) = all.iter().position(|it| Some(it.member) == member) else { continue };
            let (me, mut others) = (all[at], all);
            others.remove(at);
            let chosen = overlay.ranking.choose(&me, &others);
            let right: Vec<Descriptor> = chosen.into_iter().map(|index| others[index]).collect();
            let told = crate::told(&self.world, node, overlay.object, 0).last();
            let Some((_, Event::Neighbours { me: itself, neighbours })) = told else {
                panic!("{} at {node}: {told:?}", overlay.name)
            };
            assert_eq!((itself, neighbours), (&me, &right), "{} at {node}", overlay.name);
        }
    }
}

#[test]
fn neighbours_close_over_who_crashes_and_newcomers_are_linked_in() {
    let mut cluster = Cluster::new(1);
    cluster.assert_right(|_| 0);
    // Not the first, which newcomers ask to be let in.
    (1..6).for_each(|gone| cluster.crash(gone));
    cluster.world.run(SETTLING);
    cluster.assert_right(|_| 0);
    (NODES - SPARE..NODES).for_each(|node| cluster.start(node));
    cluster.start(2);
    cluster.world.run(SETTLING);
    cluster.assert_right(|_| 0);
}

#[test]
fn each_side_of_a_partition_is_whole_and_then_all_are() {
    let mut cluster = Cluster::new(2);
    let (some, others): (Vec<usize>, Vec<usize>) = (0..NODES).partition(|node| node % 2 == 0);
    cluster.world.cut(&some, &others);
    cluster.world.run(Duration::from_secs(60));
    cluster.assert_right(|node| node % 2);
    cluster.world.heal();
    assert!(cluster.world.settle(Duration::from_secs(120)), "{:?}", cluster.world.stuck());
    cluster.world.run(Duration::from_secs(60));
    cluster.assert_right(|_| 0);
}

/// The same seed gives the same history.
#[test]
fn overlays_are_deterministic() {
    let hash = || Cluster::new(3).world.trace_hash();
    assert_eq!(hash(), hash());
}

const NODES: usize = 40;

/// So many of them come later.
const SPARE: usize = 3;

/// Longer than it takes to bury who crashed, and to link all.
const SETTLING: Duration = Duration::from_secs(30);
