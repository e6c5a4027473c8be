//! Stories of soft states in simulated worlds: everybody updates at once, on both sides of a
//! partition too, whoever wrote may be gone, and in the end all have the same, to the last item.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use gossip::Gossip;
use live_objects::soft::{Counter, Holder, Map, Place, Register, Set, Soft, Store, Writer};
use live_objects::{
    Agreement, Command, Cost, Event, Input, Io, Lack, Module, ObjectId, ObjectType, Refusal,
    ReplicatedEvent, Spec, Time,
};
use live_objects_sim::{MembersChecker, Nemesis, Network, SoftChecker, What, World};

/// What a shop's visitors put together.
struct Cart {
    items: Map<String, Counter>,
    seen: Set<u32>,
    note: Register<String>,
}

impl Soft for Cart {
    const NAME: &'static str = "Cart";

    fn at(place: &mut Place) -> Self {
        Self { items: place.field("items"), seen: place.field("seen"), note: place.field("note") }
    }
}

/// A cluster whose nodes hold a cart.
struct Cluster {
    world: World,
    object: ObjectId,
    holders: BTreeMap<usize, Holder<Cart>>,
    /// How much of the history they have taken in.
    heard: usize,
}

impl Cluster {
    fn new(seed: u64, nodes: usize, loss: f64) -> Self {
        Self::of_modules(seed, nodes, loss, |_| vec![Box::new(Gossip::default())])
    }

    fn of_modules(
        seed: u64,
        nodes: usize,
        loss: f64,
        modules: impl Fn(usize) -> Vec<Box<dyn Module>> + Send + Sync + 'static,
    ) -> Self {
        let mut world = World::new(seed, nodes, modules);
        world.add_checker(MembersChecker::default());
        world.add_checker(SoftChecker::default());
        world.set_network(Network::LAN.with_loss(loss));
        let object = spec().name.id();
        Self { world, object, holders: BTreeMap::new(), heard: 0 }
    }

    /// One whose nodes know each other and all hold the cart.
    fn settled(seed: u64, nodes: usize, loss: f64) -> Self {
        let mut cluster = Self::new(seed, nodes, loss);
        for node in 0..nodes {
            cluster.start(node);
            open(&mut cluster.world, node);
        }
        cluster.settle();
        cluster
    }

    fn start(&mut self, node: usize) {
        self.world.start(node);
        crate::open_members(&mut self.world, node, Agreement::Eventual);
    }

    fn settle(&mut self) {
        let is_settled = self.world.settle(Duration::from_secs(90));
        assert!(is_settled, "{:?}: {:?}", self.world, self.world.stuck());
        assert_eq!(self.world.violations(), []);
        self.hear();
    }

    /// Applications take in what they were told.
    fn hear(&mut self) {
        for record in &self.world.history()[self.heard..] {
            match &record.what {
                What::Event(of, Event::Replicated(ReplicatedEvent::Joined { author }))
                    if *of == self.object =>
                {
                    self.holders.insert(record.node, Holder::new(*author));
                }
                What::Event(of, event) if *of == self.object => {
                    if let Some(holder) = self.holders.get_mut(&record.node) {
                        holder.on_event(event);
                    }
                }
                What::Crashed | What::Stopped => drop(self.holders.remove(&record.node)),
                _ => {}
            }
        }
        self.heard = self.world.history().len();
    }

    fn update(&mut self, node: usize, write: impl FnOnce(&Cart, &mut Writer<'_>)) {
        self.hear();
        let holder = self.holders.get_mut(&node).expect("it was told as whom it writes");
        let ((), delta) = holder.write(write).expect("it has room");
        holder.merge(&delta);
        let update = Command::Update(delta.encode());
        self.world.send(node, self.object, update).expect("the feed has room");
    }

    fn add(&mut self, node: usize, amount: i64) {
        self.update(node, |cart, writer| cart.items.at(&"cd".to_owned()).add(writer, amount));
    }

    fn cds(&self, node: usize) -> i64 {
        self.holders[&node].read(|cart, reader| cart.items.at(&"cd".to_owned()).value(reader))
    }

    fn seen(&self, node: usize) -> BTreeSet<u32> {
        self.holders[&node].read(|cart, reader| cart.seen.items(reader))
    }

    /// Who is told of so many.
    fn assert_cds(&self, nodes: impl IntoIterator<Item = usize>, cds: i64) {
        for node in nodes {
            assert_eq!(self.cds(node), cds, "at node {node}");
        }
    }

    /// What all nodes sent so far, in bytes.
    fn sent(&self) -> u64 {
        let of = |node| {
            let traffic = self.world.traffic(node);
            traffic.datagram_bytes + traffic.link_bytes
        };
        (0..self.world.nodes()).map(of).sum()
    }
}

fn spec() -> Spec {
    Spec::new("/shop/cart".parse().expect("a name"), Holder::<Cart>::object_type())
}

fn open(world: &mut World, node: usize) {
    world.open(node, spec()).expect("gossip carries it");
}

/// Each of 25 nodes writes four times, while a packet in four is lost.
#[test]
fn what_all_write_at_once_all_have_though_much_is_lost() {
    let mut cluster = Cluster::settled(1, 25, 0.25);
    for turn in 0..4 {
        for node in 0..25_usize {
            cluster.add(node, node as i64 - 3);
            let item = (turn * 25 + node) as u32;
            cluster.update(node, |cart, writer| cart.seen.insert(writer, &item));
            cluster.update(node, |cart, writer| {
                cart.note.set(writer, &format!("{node} in turn {turn}"));
            });
        }
        cluster.world.run(Duration::from_millis(150));
    }
    let taken: BTreeSet<u32> = (0..10).collect();
    for item in &taken {
        cluster.update(7, |cart, writer| cart.seen.remove(writer, item));
    }
    cluster.settle();
    cluster.assert_cds(0..25, 4 * (0..25).map(|node| node - 3).sum::<i64>());
    let notes = |node: usize| cluster.holders[&node].read(|cart, reader| cart.note.all(reader));
    let first = notes(0).into_iter().next().expect("there is one");
    assert!(first.ends_with("in turn 3"), "{first}");
    for node in 0..25 {
        assert_eq!(cluster.seen(node), (0..100).filter(|it| !taken.contains(it)).collect());
        assert_eq!(notes(node), notes(0));
    }
}

/// What is said of a state spreads at once, and not with the next round.
#[test]
fn an_update_is_everywhere_in_a_moment() {
    let mut cluster = Cluster::settled(2, 25, 0.0);
    cluster.add(3, 5);
    cluster.world.run(Duration::from_millis(50));
    cluster.hear();
    cluster.assert_cds(0..25, 5);
}

#[test]
fn both_sides_of_a_partition_go_on_and_become_one() {
    let mut cluster = Cluster::settled(3, 12, 0.1);
    cluster.update(0, |cart, writer| cart.seen.insert(writer, &99));
    cluster.settle();
    let (some, others): (Vec<usize>, Vec<usize>) = (0..12).partition(|node| node % 2 == 0);
    cluster.world.cut(&some, &others);
    // Long enough for each side to give the other up.
    for _ in 0..6 {
        for node in 0..12 {
            cluster.add(node, if node % 2 == 0 { 1 } else { -10 });
        }
        cluster.world.run(Duration::from_secs(5));
    }
    cluster.update(2, |cart, writer| cart.seen.remove(writer, &99));
    cluster.update(3, |cart, writer| cart.seen.insert(writer, &99));
    cluster.update(4, |cart, writer| cart.seen.insert(writer, &4));
    cluster.world.run(Duration::from_secs(10));
    cluster.hear();
    cluster.assert_cds(some.iter().copied(), 6 * 6);
    cluster.assert_cds(others.iter().copied(), 6 * 6 * -10);
    cluster.world.heal();
    cluster.settle();
    cluster.assert_cds(0..12, 6 * 6 * -9);
    for node in 0..12 {
        assert_eq!(cluster.seen(node), BTreeSet::from([4, 99]), "who put it in anew wins");
    }
}

/// What anybody heard stays, though who wrote it is gone at once; and who comes back writes on as
/// somebody else.
#[test]
fn what_a_node_wrote_outlives_it_and_it_comes_back() {
    let mut cluster = Cluster::settled(4, 9, 0.1);
    (0..9).for_each(|node| cluster.add(node, 10));
    cluster.add(3, 1);
    cluster.world.run(Duration::from_millis(20));
    cluster.world.crash(3);
    cluster.settle();
    cluster.assert_cds([0, 1, 2, 4, 5, 6, 7, 8], 91);
    for _ in 0..3 {
        cluster.start(3);
        open(&mut cluster.world, 3);
        cluster.settle();
        cluster.add(3, 100);
        cluster.settle();
        cluster.world.crash(3);
    }
    cluster.settle();
    cluster.assert_cds([0, 1, 2, 4, 5, 6, 7, 8], 391);
}

/// Most of what is there is too long for one message, and for a packet.
#[test]
fn a_late_joiner_gets_all_of_a_large_state_at_once() {
    let mut cluster = Cluster::settled(5, 8, 0.1);
    cluster.world.crash(7);
    cluster.settle();
    for item in 0..60_u32 {
        let (key, text) = (item.to_string(), "x".repeat(8_000));
        cluster.update(item as usize % 7, |cart, writer| {
            cart.note.set(writer, &text);
            cart.items.at(&key).add(writer, i64::from(item));
            // As long as notes are, but each stays.
            cart.seen.insert(writer, &item);
        });
        cluster.world.run(Duration::from_millis(50));
    }
    for item in 0..5_000_u32 {
        cluster.update(0, |cart, writer| cart.seen.insert(writer, &(1_000 + item)));
    }
    cluster.settle();
    cluster.start(7);
    open(&mut cluster.world, 7);
    let begin = cluster.world.now();
    let object = cluster.object;
    cluster.world.run_until(Duration::from_secs(20), |world| {
        crate::told(world, 7, object, 0).any(|(at, event)| {
            let is_merge = matches!(event, Event::Replicated(ReplicatedEvent::Merge { .. }));
            is_merge && at > begin
        })
    });
    assert!(cluster.world.now().since(begin) < Duration::from_secs(3), "{:?}", cluster.world);
    cluster.settle();
    assert_eq!(cluster.seen(7).len(), 5_060);
    let size = cluster.holders[&7].store().size();
    assert!((100_000..Store::BYTES_MAX).contains(&size), "{size} bytes");
    // It writes on.
    cluster.update(7, |cart, writer| cart.seen.remove(writer, &1_000));
    cluster.settle();
    (0..8).for_each(|node| assert_eq!(cluster.seen(node).len(), 5_059));
}

/// Among many who do not hold it some witnesses are told of, and the rest finds those.
#[test]
fn holders_among_many_find_each_other() {
    let mut cluster = Cluster::new(11, 120, 0.05);
    (0..120).for_each(|node| cluster.start(node));
    cluster.settle();
    let some: Vec<usize> = (0..120).step_by(3).collect();
    some.iter().for_each(|node| open(&mut cluster.world, *node));
    cluster.world.run(Duration::from_secs(5));
    some.iter().for_each(|node| cluster.add(*node, 1));
    cluster.settle();
    cluster.assert_cds(some.iter().copied(), 40);
    // What no tree brings, since it is too long for that; without word of it along the tree, those
    // of whom nobody knows would hear of it when they look around at rest, in eight seconds.
    let text = "x".repeat(3_000);
    cluster.update(60, |cart, writer| cart.note.set(writer, &text));
    let begin = cluster.world.now();
    let is_settled = |world: &World| world.unsettled().is_empty();
    assert!(cluster.world.run_until(Duration::from_secs(10), is_settled), "{:?}", cluster.world);
    let (last, count) = (cluster.world.now().since(begin), cluster.holders.len());
    assert!(last < Duration::from_secs(3), "{last:?} for {count}");
    cluster.settle();
    for node in some {
        let note = cluster.holders[&node].read(|cart, reader| cart.note.get(reader));
        assert_eq!(note.as_ref(), Some(&text), "node {node}");
    }
}

/// A state lives as long as somebody holds it.
#[test]
fn a_state_that_nobody_holds_is_gone() {
    let mut cluster = Cluster::settled(6, 5, 0.0);
    cluster.add(0, 7);
    cluster.settle();
    for node in [0, 1, 2] {
        cluster.world.close(node, cluster.object);
    }
    cluster.world.run(Duration::from_secs(5));
    open(&mut cluster.world, 0);
    cluster.settle();
    cluster.assert_cds([0, 3, 4], 7);
    for node in [0, 3, 4] {
        cluster.world.close(node, cluster.object);
    }
    cluster.world.run(Duration::from_secs(5));
    open(&mut cluster.world, 2);
    cluster.settle();
    cluster.assert_cds([2], 0);
}

/// Many states that all hold cost hardly more than none.
#[test]
fn at_rest_states_cost_next_to_nothing() {
    let sent = |states: usize| {
        let mut cluster = Cluster::new(7, 16, 0.0);
        (0..16).for_each(|node| cluster.start(node));
        cluster.world.run(Duration::from_secs(20));
        for state in 0..states {
            let name = format!("/carts/{state}").parse().expect("a name");
            let spec = Spec::new(name, Holder::<Cart>::object_type());
            (0..16).for_each(|node| {
                cluster.world.open(node, spec.clone()).expect("gossip carries it");
            });
        }
        cluster.world.run(Duration::from_secs(60));
        let before = cluster.sent();
        cluster.world.run(Duration::from_secs(60));
        (cluster.sent() - before) / 60 / 16
    };
    let (none, one, many) = (sent(0), sent(1), sent(200));
    assert!(one <= none + 40, "{one} bytes a second, and {none} without");
    assert!(many <= one + 20, "{many} bytes a second, and {one} with one");
}

/// Whoever opens a name with another type is told which it has.
#[test]
fn a_name_has_one_type() {
    let mut cluster = Cluster::settled(8, 5, 0.0);
    cluster.world.close(4, cluster.object);
    cluster.world.run(Duration::from_secs(5));
    let other = Spec { ty: Holder::<Set<u32>>::object_type(), ..spec() };
    let topic = Spec { ty: ObjectType::best_effort_topic(), ..spec() };
    for wrong in [other, topic] {
        let since = cluster.world.history().len();
        cluster.world.open(4, wrong).expect("gossip carries it");
        cluster.world.run(Duration::from_secs(1));
        let (_, told) = crate::told(&cluster.world, 4, cluster.object, since).next().expect("told");
        let refused = Refusal::Held { held: Holder::<Cart>::object_type() };
        assert_eq!(told, &Event::Refused(refused));
        cluster.world.close(4, cluster.object);
        cluster.world.run(Duration::from_secs(1));
    }
}

/// Whatever happens, in the end all who are there have the same.
#[test]
fn after_a_swarm_of_faults_all_hold_the_same_state() {
    for seed in crate::seeds(25) {
        eprintln!("replay it: SEED={seed} cargo test -p tests after_a_swarm_of_faults_all_hold");
        let mut cluster = Cluster::settled(seed, SWARM_NODES, 0.01);
        cluster.world.set_network(Network { duplication: 0.05, ..Network::WAN });
        let (lasts, pause) = (Duration::from_secs(6), Duration::from_millis(700));
        let nemesis = Nemesis { lasts, pause, down_max: 3, loss_max: 0.3 };
        for part in 0..5_u32 {
            let plan =
                nemesis.plan(SWARM_NODES, 0.01, &mut cluster.world.rng(&format!("nemesis {part}")));
            // In the midst of it too.
            let (first, second) = plan.split_at(plan.len() / 2);
            let begin = first.last().map_or(Duration::ZERO, |(at, _)| *at);
            let second: Vec<_> =
                second.iter().map(|(at, fault)| (*at - begin, fault.clone())).collect();
            for plan in [first, &second[..]] {
                cluster.world.play(plan, |world, node| {
                    crate::open_members(world, node, Agreement::Eventual);
                    open(world, node);
                });
                cluster.world.run(Duration::from_millis(30));
                cluster.hear();
                for node in cluster.holders.keys().copied().collect::<Vec<_>>() {
                    cluster.add(node, 1);
                    let item = part % 3;
                    cluster.update(node, |cart, writer| match (node as u32 + part) % 3 {
                        0 => cart.seen.insert(writer, &item),
                        1 => cart.seen.remove(writer, &item),
                        _ => cart.items.remove(writer, &"lp".to_owned()),
                    });
                }
            }
        }
        cluster.settle();
        let cds = cluster.cds(0);
        cluster.assert_cds(0..SWARM_NODES, cds);
        assert!(cds > 0 && cds <= 10 * SWARM_NODES as i64, "{cds}");
    }
}

/// The same seed gives the same history.
#[test]
fn soft_states_are_deterministic() {
    let hash = || {
        let mut cluster = Cluster::settled(9, 7, 0.2);
        (0..7).for_each(|node| cluster.add(node, 1));
        cluster.settle();
        cluster.world.trace_hash()
    };
    assert_eq!(hash(), hash());
}

/// Gossip that hears nothing over links, so that what the tree missed is mended by nobody.
struct Unmended(Gossip);

impl Module for Unmended {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn offers(&self, ty: &ObjectType) -> Result<Cost, Lack> {
        self.0.offers(ty)
    }

    fn handle(&mut self, now: Time, input: Input, io: &mut Io<'_>) {
        if !matches!(input, Input::Message { .. }) {
            self.0.handle(now, input, io);
        }
    }

    fn finish(&mut self, now: Time, io: &mut Io<'_>) {
        self.0.finish(now, io);
    }

    fn next_wake(&self) -> Option<Time> {
        self.0.next_wake()
    }
}

/// A checker that sees nothing proves nothing.
#[test]
fn what_is_not_mended_is_seen() {
    let modules = |_| -> Vec<Box<dyn Module>> { vec![Box::new(Unmended(Gossip::default()))] };
    let mut cluster = Cluster::of_modules(10, 6, 0.0, modules);
    for node in 0..6 {
        cluster.start(node);
        open(&mut cluster.world, node);
    }
    cluster.world.run(Duration::from_secs(10));
    cluster.hear();
    cluster.world.cut(&[0, 1, 2], &[3, 4, 5]);
    cluster.add(0, 1);
    cluster.world.run(Duration::from_secs(40));
    cluster.world.heal();
    assert!(!cluster.world.settle(Duration::from_secs(60)));
    let stuck = cluster.world.stuck();
    assert!(stuck.iter().any(|it| it.checker == "soft"), "{stuck:?}");
}

const SWARM_NODES: usize = 7;
