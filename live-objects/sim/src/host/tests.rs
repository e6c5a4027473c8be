//! Hosts whose links have nothing to carry, so that nothing wakes them but what keeps a link alive.

use live_objects::{
    Agreement, Cost, Down, Event, Input, Io, Kind, Lack, Link, Module, ObjectType, Spec, Time,
};

use super::*;
use crate::link::{Conn, Segment};
use crate::network::Latency;
use crate::world::World;

/// Dials its seeds, and tells what becomes of its links and how often it was called.
#[derive(Default)]
struct Watch {
    calls: usize,
    object: Option<ObjectId>,
}

impl Module for Watch {
    fn name(&self) -> &'static str {
        "watch"
    }

    fn offers(&self, ty: &ObjectType) -> Result<Cost, Lack> {
        match &ty.kind {
            Kind::Custom(_) => Ok(Cost { copies: 0, overhead_bytes: 0 }),
            kind => Err(Lack::Kind(kind.clone())),
        }
    }

    fn handle(&mut self, _: Time, input: Input, io: &mut Io<'_>) {
        self.calls += 1;
        match input {
            Input::Start(start) => start.seeds.iter().for_each(|seed| io.dial(*seed)),
            Input::Open { object, .. } => self.object = Some(object),
            Input::Link { link, .. } => {
                let told = format!("{link:?} after {} calls", self.calls);
                io.emit(self.object.unwrap(), Event::Custom(told.into())).unwrap();
            }
            _ => {}
        }
    }

    fn finish(&mut self, _: Time, _: &mut Io<'_>) {}

    fn next_wake(&self) -> Option<Time> {
        None
    }
}

/// What the first of two linked nodes is told, and when, in milliseconds.
fn told(network: Network, mut story: impl FnMut(&mut World)) -> Vec<(u64, String)> {
    let mut world = World::new(1, 2, |_| vec![Box::<Watch>::default()]);
    world.set_network(network);
    world.set_seeds(&[1]);
    world.start_all();
    let ty = ObjectType::custom("watch", Agreement::Eventual);
    for node in 0..2 {
        world.open(node, Spec::new("/links".parse().unwrap(), ty.clone())).unwrap();
    }
    story(&mut world);
    let events = world.history().iter().filter(|record| record.node == 0);
    let told = events.filter_map(|record| match &record.what {
        What::Event(_, Event::Custom(bytes)) => {
            Some((record.at.as_nanos() / 1_000_000, String::from_utf8(bytes.to_vec()).unwrap()))
        }
        _ => None,
    });
    told.collect()
}

fn network(loss: f64) -> Network {
    Network { latency: Latency::fixed(Duration::from_millis(5)), ..Network::LAN }.with_loss(loss)
}

/// Pings wake no module, and are heard though nothing else wakes the host.
#[test]
fn a_quiet_link_stays_until_it_is_idle() {
    for loss in [0.0, 0.1] {
        let told = told(network(loss), |world| world.run(Duration::from_secs(12)));
        let [(up_at, up), (down_at, down)] = &told[..] else { panic!("{told:?}") };
        assert_eq!(*up, format!("{:?} after 3 calls", Link::Up));
        assert_eq!(*down, format!("{:?} after 4 calls", Link::Down(Down::Idle)));
        assert!(*up_at < 1_000 && (9_900..=11_000).contains(down_at), "{told:?}");
    }
}

#[test]
fn a_cut_is_noticed_when_pings_stay_away() {
    let told = told(network(0.0), |world| {
        world.run(Duration::from_secs(3));
        world.cut(&[0], &[1]);
        world.run(Duration::from_secs(4));
    });
    let (down_at, down) = told.last().unwrap();
    assert_eq!(*down, format!("{:?} after 4 calls", Link::Down(Down::Silent)));
    assert!(
        (4_500..=5_010).contains(down_at),
        "the last ping came at most 500 ms before: {told:?}"
    );
}

/// What came while a host could not look counts when it looks.
#[test]
fn a_host_that_was_paused_has_heard_its_peer() {
    let told = told(network(0.0), |world| {
        world.run(Duration::from_secs(3));
        world.pause(0, Duration::from_secs(1));
        world.run(Duration::from_secs(3));
    });
    assert_eq!(told.len(), 1, "{told:?}");
}

/// But what is still under way may find it started.
#[test]
fn what_came_while_a_host_did_not_run_is_not_kept() {
    let mut host = Host::new(0, &Rng::from_seed([1; 32]));
    let ping = Packet::Segment(Conn { opener: 1, number: 1 }, Segment::Ping);
    for packet in [Packet::Datagram(Bytes::from_static(b"x")), ping] {
        for number in 0..1_000 {
            let now = Time::from_nanos(number * 1_000_000);
            let at = now + Duration::from_millis(5);
            let flight = Flight { at, from: 1, number, to: 0, packet: packet.clone() };
            assert_eq!(host.deliver(now, flight), Time::MAX);
        }
    }
    assert_eq!((host.queue.len(), host.pings.len()), (5, 5));
}
