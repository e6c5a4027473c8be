//! Stories of soft states: what is refused, and what is bounded.

use bytes::Bytes;
use live_objects::soft::{Author, Holder, Map, Register, Store, Summary};
use live_objects::{
    Command, Event, Incarnation, Member, ObjectId, ObjectType, Port, ReplicatedEvent,
};

use super::seconds;
use super::world::{World, id};
use crate::Config;
use crate::agent::claims::hash;
use crate::control::Control;
use crate::digest::halves;
use crate::news::{Content, Message, MessageId, Pushed, Reach, Topic};
use crate::wire::soft::SoftSection;
use crate::wire::{Leg, Naming, Packet};

type Notes = Map<u32, Register<Bytes>>;

/// An application that holds a state.
struct Held {
    port: Port,
    holder: Holder<Notes>,
}

impl Held {
    fn open(world: &mut World, node: usize, name: &str) -> Self {
        let port = world.open(node, name, Holder::<Notes>::object_type());
        let Some(Event::Replicated(ReplicatedEvent::Joined { author })) = port.try_next() else {
            panic!("it is told as whom it writes")
        };
        Self { port, holder: Holder::new(author) }
    }

    fn write(&mut self, world: &mut World, node: usize, key: u32, note: &Bytes) {
        let delta = delta(&self.holder, key, note);
        self.holder.merge(&delta);
        world.say(node, &self.port, Command::Update(delta.encode()));
    }

    /// Takes in what it was told, and gives how often that was.
    fn hear(&mut self) -> usize {
        let events = std::iter::from_fn(|| self.port.try_next());
        events.map(|event| self.holder.on_event(&event)).count()
    }
}

fn delta(holder: &Holder<Notes>, key: u32, note: &Bytes) -> Store {
    holder.write(|notes, writer| notes.at(&key).set(writer, note)).unwrap().1
}

fn long(byte: u8) -> Bytes {
    vec![byte; 60_000].into()
}

/// A state as large as an update may make it, of notes that this author wrote.
fn large(author: u64) -> Store {
    let mut holder = Holder::<Notes>::new(Author::new(author));
    let mut keys = 0..;
    while let Ok(((), delta)) =
        holder.write(|notes, writer| notes.at(&keys.next().unwrap()).set(writer, &long(7)))
    {
        holder.merge(&delta);
    }
    holder.store().clone()
}

/// What another node tells of a state, over a link.
fn told(object: ObjectId, ty: &ObjectType, store: &Store) -> Bytes {
    let difference = Summary::of(&Store::default()).answer(store);
    Control::Differ { object, ty: hash(ty), difference, own: None }.encode()
}

/// What it is told before it reads it is not lost, and not kept in the queue: it is the state.
#[test]
fn who_reads_too_slowly_is_given_the_whole() {
    let mut world = World::settled(3);
    let [mut one, mut slow] = [0, 1].map(|node| Held::open(&mut world, node, "/notes"));
    world.run(seconds(2));
    slow.hear();
    for turn in 0..40_u8 {
        one.write(&mut world, 0, u32::from(turn % 4), &long(turn));
        world.run(seconds(3));
    }
    let told = slow.hear();
    assert!(told < 40, "{told} of 40, a megabyte and no more");
    assert_ne!(slow.holder.store(), one.holder.store());
    world.run(seconds(1));
    assert_eq!(slow.hear(), 1);
    assert_eq!(slow.holder.store(), one.holder.store());
}

#[test]
fn what_would_make_a_state_too_large_is_refused() {
    let mut world = World::settled(2);
    let mut one = Held::open(&mut world, 0, "/notes");
    let (object, ty) = (one.port.object(), Holder::<Notes>::object_type());
    for author in 101..=103 {
        world.inject_message(id(1), 0, &told(object, &ty, &large(author)));
        one.hear();
    }
    assert_eq!(world.count(0, "gossip.soft_full"), 1, "two fit");
    let size = one.holder.store().size();
    assert!((Store::BYTES_MAX..=Store::MERGED_BYTES_MAX).contains(&size), "{size}");
    // It grows no more here, but shrinks.
    let full = one.holder.write(|notes, writer| notes.at(&99).set(writer, &long(1)));
    assert!(full.is_err());
    let ((), less) = one.holder.write(|notes, writer| notes.clear(writer)).unwrap();
    one.holder.merge(&less);
    world.say(0, &one.port, Command::Update(less.encode()));
    world.inject_message(id(1), 0, &told(object, &ty, &large(103)));
    one.hear();
    assert_eq!(world.count(0, "gossip.soft_full"), 1);
    assert!(one.holder.read(|notes, reader| notes.keys(reader).len()) >= 16);
}

#[test]
fn who_asks_too_much_in_a_round_asks_again() {
    let mut world = World::settled(2);
    let one = Held::open(&mut world, 0, "/notes");
    let (object, ty) = (one.port.object(), Holder::<Notes>::object_type());
    world.inject_message(id(1), 0, &told(object, &ty, &large(101)));
    let summary = Summary::of(&Store::default());
    let asked = Control::Compare { object, ty: hash(&ty), summary }.encode();
    (0..4).for_each(|_| world.inject_message(id(1), 0, &asked));
    assert_eq!(world.count(0, "gossip.soft_busy"), 2);
    world.run(seconds(10));
    world.inject_message(id(1), 0, &asked);
    assert_eq!(world.count(0, "gossip.soft_busy"), 2);
}

/// Others would take what a holder writes for known if they were told that it wrote it already.
#[test]
fn who_is_spoken_for_writes_as_another() {
    let mut world = World::settled(3);
    let [mut one, mut other] = [0, 1].map(|node| Held::open(&mut world, node, "/notes"));
    one.write(&mut world, 0, 1, &long(1));
    world.run(seconds(2));
    let author = one.holder.store().dots().map(|(dot, ..)| dot.author).next().unwrap();
    // What the liar says in its name is gone already, so that only its numbers are told.
    let mut lie = Holder::<Notes>::new(author);
    for turn in 0..20 {
        let written = delta(&lie, turn, &Bytes::from_static(b"lie"));
        lie.merge(&written);
    }
    let cleared = lie.write(|notes, writer| notes.clear(writer)).unwrap().1;
    lie.merge(&cleared);
    let ty = Holder::<Notes>::object_type();
    let bytes = told(one.port.object(), &ty, lie.store());
    (0..2).for_each(|node| world.inject_message(id(2), node, &bytes));
    assert_eq!(world.count(0, "gossip.author_forged"), 1);
    assert_eq!(world.count(1, "gossip.author_forged"), 0, "it is no word of its own");
    one.hear();
    one.write(&mut world, 0, 7, &long(3));
    let wrote = one.holder.store().dots().any(|(dot, ..)| dot.author != author);
    assert!(wrote, "it is another author");
    world.run(seconds(2));
    other.hear();
    assert_eq!(other.holder.store(), one.holder.store());
    let note = other.holder.read(|notes, reader| notes.at(&7).get(reader));
    assert_eq!(note, Some(long(3)));
}

#[test]
fn who_answers_too_much_in_a_round_is_not_heard() {
    let mut world = World::settled(2);
    let mut one = Held::open(&mut world, 0, "/notes");
    (0..4).for_each(|key| one.write(&mut world, 0, key, &long(key as u8)));
    let ty = Holder::<Notes>::object_type();
    let bytes = told(one.port.object(), &ty, one.holder.store());
    // Each takes as long as to answer 60,000 bytes.
    (0..30).for_each(|_| world.inject_message(id(1), 0, &bytes));
    let busy = world.count(0, "gossip.soft_busy");
    assert!((10..14).contains(&busy), "{busy} of 30");
    world.run(Config::default().period);
    world.inject_message(id(1), 0, &bytes);
    assert_eq!(world.count(0, "gossip.soft_busy"), busy);
}

/// Of so many authors, whose numbers begin with this one, that each wrote something that is gone.
fn invented(first: u64, count: u64) -> Store {
    let far = |author: u64| (Author::new(author), vec![(1_u64 << 61, 1_u64 << 61)]);
    let context: Vec<_> = (first..first + count).map(far).collect();
    let entries: Vec<Bytes> = Vec::new();
    Store::decode(&postcard::to_allocvec(&(context, entries)).unwrap()).unwrap()
}

/// What it says cannot be forgotten; but who knew each other before still hear each other, whatever
/// else either was told.
#[test]
fn who_makes_up_authors_keeps_nobody_from_writing() {
    let mut world = World::settled(3);
    let mut both = [0, 1].map(|node| Held::open(&mut world, node, "/notes"));
    let (object, ty) = (both[0].port.object(), Holder::<Notes>::object_type());
    (0..2).for_each(|node| both[node].write(&mut world, node, node as u32, &long(1)));
    world.run(seconds(3));
    for (node, held) in both.iter_mut().enumerate() {
        held.hear();
        let first = (1 + node as u64) << 32;
        world.inject_message(id(2), node, &told(object, &ty, &invented(first, 87_000)));
        assert_eq!(held.hear(), 0, "so many are refused");
        let of_one = invented(0, 1).size();
        let room = Store::KNOWN_BYTES_MAX - held.holder.store().context().size();
        let count = (room / of_one) as u64;
        world.inject_message(id(2), node, &told(object, &ty, &invented(first, count)));
        assert_eq!(held.hear(), 1);
        world.inject_message(id(2), node, &told(object, &ty, &invented(first + count, 1)));
        assert_eq!(held.hear(), 0, "one more is refused too");
        assert_eq!(world.count(node, "gossip.soft_crowded"), 2);
        // It is too long for the tree, so that the other has to ask.
        held.write(&mut world, node, 7 + node as u32, &long(7));
    }
    let before = world.wire.bulk_bytes;
    world.run(seconds(10));
    let sent = (world.wire.bulk_bytes - before) as usize;
    assert!(sent < 40 * Store::KNOWN_BYTES_MAX, "{sent} bytes for what nobody can take in");
    for held in &mut both {
        held.hear();
        let keys = held.holder.read(|notes, reader| notes.keys(reader).len());
        assert_eq!(keys, 4);
        let size = held.holder.store().context().size();
        assert!(size <= Store::KNOWN_BYTES_MAX, "{size}");
    }
}

/// To sum a state up takes long, whether or not there is room for what is asked then.
#[test]
fn who_lists_a_state_often_is_asked_of_it_once_and_in_an_answer_alone() {
    let mut world = World::settled(2);
    let one = Held::open(&mut world, 0, "/notes");
    world.crash(1);
    world.wire.room = 0;
    world.wire.rooms.clear();
    world.wire.tapes[0].clear();
    let number = loop {
        world.run(Config::default().period / 8);
        let said = world.wire.tapes[0].iter().map(|bytes| Packet::decode(bytes).unwrap().leg);
        if let Some(Leg::Probe { number }) = said.last() {
            break number;
        }
    };
    let called = halves(one.port.object().as_bytes())[0];
    let answer = |number: u32| {
        let soft = Some(SoftSection { fold: 7, listed: vec![(called, 7); 24] });
        Packet { soft, ..Packet::new(Leg::Ack { number }) }.encode()
    };
    world.inject(id(1), 0, &answer(number.wrapping_add(7)));
    assert_eq!(world.count(0, "gossip.soft_unsent"), 0, "it asked for no such answer");
    world.inject(id(1), 0, &answer(number));
    assert_eq!(world.count(0, "gossip.soft_unsent"), 1);
}

/// Nothing that is no delta, or one of another type, reaches the application or goes on.
#[test]
fn what_is_no_delta_is_dropped() {
    let mut world = World::settled(2);
    let mut one = Held::open(&mut world, 0, "/notes");
    let (object, ty) = (one.port.object(), hash(&Holder::<Notes>::object_type()));
    let good = delta(&Holder::new(Author::new(7)), 1, &Bytes::from_static(b"note")).encode();
    let pushed = |number: u64, ty: u64, bytes: &Bytes| {
        let origin = Member { node: id(1), incarnation: Incarnation::from_bytes([9; 16]) };
        let id = MessageId { origin, number };
        let bytes = [&[0][..], bytes].concat().into();
        let message = Message { id, topic: Topic::new(object, ty), content: Content::Whole(bytes) };
        let mut packet = Packet::new(Leg::Push);
        packet.news.messages.push(Pushed::new(&message, Reach::NONE, Naming::InFull));
        packet.encode()
    };
    world.inject(id(1), 0, &pushed(0, ty, &good.slice(1..)));
    world.inject(id(1), 0, &pushed(1, ty ^ 1, &good));
    assert_eq!(world.count(0, "gossip.delta_unreadable"), 1);
    assert_eq!(one.hear(), 0);
    world.inject(id(1), 0, &pushed(2, ty, &good));
    assert_eq!(one.hear(), 1);
    // Nor what is told over a link of another type, or to nobody.
    let summary = Summary::of(&Store::default());
    let asked = Control::Compare { object, ty: ty ^ 1, summary: summary.clone() }.encode();
    world.inject_message(id(1), 0, &asked);
    assert_eq!(world.count(0, "gossip.delta_of_other_type"), 1);
    let nowhere = ObjectId::from_bytes([9; 16]);
    world.inject_message(id(1), 0, &Control::Compare { object: nowhere, ty, summary }.encode());
    // An application that is broken harms nobody.
    world.say(0, &one.port, Command::Update(Bytes::from_static(b"no delta")));
    world.say(0, &one.port, Command::Send(good));
    assert_eq!(world.count(0, "gossip.delta_unreadable"), 2);
    assert_eq!(world.count(0, "gossip.unknown_command"), 1);
}

/// More states than a packet lists, all of them other on both sides, become one.
#[test]
fn many_states_are_compared_a_packet_after_the_other() {
    let mut world = World::settled(2);
    let names: Vec<String> = (0..100).map(|number| format!("/notes/{number}")).collect();
    let mut all: Vec<[Held; 2]> =
        names.iter().map(|name| [0, 1].map(|node| Held::open(&mut world, node, name))).collect();
    world.run(seconds(5));
    world.wire.loss_percent = 100;
    for [one, other] in &mut all {
        one.write(&mut world, 0, 1, &Bytes::from_static(b"one"));
        other.write(&mut world, 1, 2, &Bytes::from_static(b"other"));
    }
    // Too short for either to give the other up, and too long for the messages to be kept.
    world.run(seconds(1));
    world.wire.loss_percent = 0;
    world.run(seconds(30));
    assert!(world.wire.datagram_longest <= 1_200);
    for [one, other] in &mut all {
        one.hear();
        other.hear();
        assert_eq!(one.holder.store(), other.holder.store());
        assert_eq!(one.holder.read(|notes, reader| notes.keys(reader).len()), 2);
    }
}

/// An update and nothing else is in the message that tells of it.
#[test]
fn an_update_goes_at_once_to_all_who_hold_it() {
    let mut world = World::settled(8);
    let mut held: Vec<Held> = (0..8).map(|node| Held::open(&mut world, node, "/notes")).collect();
    world.run(seconds(3));
    held[5].write(&mut world, 5, 1, &Bytes::from_static(b"note"));
    world.run(core::time::Duration::from_millis(25));
    let store = held[5].holder.store().clone();
    for (node, held) in held.iter_mut().enumerate().filter(|(node, _)| *node != 5) {
        held.hear();
        assert_eq!(*held.holder.store(), store, "at node {node}");
    }
}

/// A burst is said as far as a period has room for it, and the rest is fetched.
#[test]
fn more_than_a_period_has_room_for_comes_another_way() {
    let mut world = World::settled(3);
    let mut held = [0, 1, 2].map(|node| Held::open(&mut world, node, "/notes"));
    world.run(seconds(3));
    for key in 0..200 {
        held[0].write(&mut world, 0, key, &vec![7; 500].into());
    }
    assert!(world.count(0, "gossip.delta_unsaid") > 0);
    world.run(seconds(3));
    let store = held[0].holder.store().clone();
    for held in &mut held[1..] {
        held.hear();
        assert_eq!(*held.holder.store(), store);
    }
}
