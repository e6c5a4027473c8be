//! The root machine: the module as its node sees it, from start to good-bye.
//!
//! Inputs, events and signals are seen in this file and those below it, nowhere else; the other
//! files of the crate are parts that compute. Here is one life of the module. `exchange` is SWIM:
//! the rounds, what is answered, what is concluded. `join` is how nodes that know nobody find each
//! other and get a table. `listeners` is who is told. `aggregates` is what the same exchanges carry
//! of these, and `holders` is whose shares they are.
//!
//! A module whose node has not started knows nobody, and one that said good-bye ignores all there
//! is.

mod aggregates;
mod exchange;
mod holders;
mod join;
mod listeners;
#[cfg(test)]
mod tests;

use core::time::Duration;

use live_objects::{
    Agreement, Cost, Event, Input, Io, Kind, Lack, Link, Module, NodeId, ObjectId, ObjectType,
    Properties, Rng, Spec, Start, Target, Time, Via,
};
use rand::RngExt;
use tracing::trace;

use self::aggregates::Aggregates;
use self::holders::Holders;
use self::listeners::Listeners;
use crate::config::{Config, ConfigError};
use crate::control::Control;
use crate::entry::{Addresses, Entry, Generation, Standing};
use crate::knowledge::{Knowledge, Source};
use crate::members::{Change, Merged};
use crate::probe::{Partners, Probes};
use crate::seeds::Seeds;
use crate::suspicion::Suspicions;
use crate::transfer::{Gives, Pulls};
use crate::wire::{self, Packet, PacketError};

/// The module "gossip".
pub struct Gossip {
    config: Config,
    listeners: Listeners,
    holders: Holders,
    life: Life,
}

enum Life {
    Unborn,
    Up(Box<Agent>),
    Stopped,
}

/// What a node that is up has.
struct Agent {
    config: Config,
    knowledge: Knowledge,
    partners: Partners,
    probes: Probes,
    suspicions: Suspicions,
    seeds: Seeds,
    /// For when to knock, and at which tombstone.
    rng: Rng,
    pulls: Pulls,
    gives: Gives,
    aggregates: Aggregates,
    rounds: u64,
    round_at: Time,
    /// What changed in this step, for the listeners.
    changes: Vec<Change>,
}

impl Gossip {
    /// A module of this configuration.
    pub fn new(config: Config) -> Result<Self, ConfigError> {
        let config = config.checked()?;
        let (listeners, holders) = (Listeners::default(), Holders::default());
        Ok(Self { config, listeners, holders, life: Life::Unborn })
    }

    fn on_start(&mut self, now: Time, start: &Start, io: &mut Io<'_>) {
        let agent = Agent::new(self.config, now, start, io);
        agent.seeds.all().for_each(|seed| io.dial(seed));
        self.life = Life::Up(Box::new(agent));
    }

    fn on_open(&mut self, object: ObjectId, spec: &Spec, io: &mut Io<'_>) {
        io.emit(object, Event::Opened).expect("an empty queue takes any event");
        match spec.ty.kind {
            Kind::Aggregate(summary) => self.holders.open(object, summary),
            _ => self.listeners.open(object),
        }
    }

    fn on_close(&mut self, object: ObjectId) {
        self.listeners.close(object);
        self.holders.close(object);
    }

    fn on_drained(&mut self, object: ObjectId) {
        self.listeners.drained(object);
        self.holders.drained(object);
    }

    fn on_commands(&mut self, object: ObjectId, io: &mut Io<'_>) {
        if !self.holders.on_commands(object, io) {
            refuse_commands(object, io);
        }
    }

    fn on_stop(&mut self, io: &mut Io<'_>) {
        if let Life::Up(agent) = &mut self.life {
            agent.leave(io);
        }
        self.life = Life::Stopped;
        io.stopped();
    }
}

impl Default for Gossip {
    fn default() -> Self {
        Self::new(Config::default()).expect("the defaults are within their bounds")
    }
}

impl Module for Gossip {
    fn name(&self) -> &'static str {
        "gossip"
    }

    /// A change reaches a node about as often as each other node passes it on.
    fn offers(&self, ty: &ObjectType) -> Result<Cost, Lack> {
        let keeps = match ty.kind {
            Kind::Members => Properties::of_agreement(Agreement::Eventual),
            Kind::Aggregate(_) => Properties::of_agreement(Agreement::Eventual),
            _ => return Err(Lack::Kind(ty.kind.clone())),
        };
        Lack::of(ty, keeps)?;
        let copies = match &self.life {
            Life::Up(agent) => agent.knowledge.sent_max(),
            Life::Unborn | Life::Stopped => self.config.sent_max(1),
        };
        Ok(Cost { copies, overhead_bytes: wire::ENTRY_LEN_MIN as u32 })
    }

    fn handle(&mut self, now: Time, input: Input, io: &mut Io<'_>) {
        match (input, &mut self.life) {
            (Input::Start(start), Life::Unborn) => self.on_start(now, &start, io),
            (Input::Open { object, spec }, Life::Unborn | Life::Up(_)) => {
                self.on_open(object, &spec, io);
            }
            (Input::Close { object }, _) => self.on_close(object),
            (Input::Drained { object }, _) => self.on_drained(object),
            (Input::Commands { object }, _) => self.on_commands(object, io),
            (Input::Stop, _) => self.on_stop(io),
            (Input::Datagram { from, bytes }, Life::Up(agent)) => {
                agent.on_datagram(now, from, &bytes, io);
            }
            (Input::Message { from, bytes }, Life::Up(agent)) => {
                agent.on_message(now, from, &bytes, io);
            }
            (Input::Link { peer, link: Link::Up }, Life::Up(agent)) => agent.on_link_up(peer),
            (Input::Link { peer, link: Link::Down(_) }, Life::Up(agent)) => {
                agent.on_link_down(peer);
            }
            (Input::Room { to }, Life::Up(agent)) => agent.give(to, io),
            (Input::Wake, Life::Up(agent)) => agent.on_wake(now, io),
            // Nothing that other modules signal is known better here, and who is not up hears
            // nothing.
            _ => {}
        }
    }

    fn finish(&mut self, _now: Time, io: &mut Io<'_>) {
        if let Life::Up(agent) = &mut self.life {
            agent.pull(io);
            let changes = std::mem::take(&mut agent.changes);
            self.listeners.tell(&changes, agent.knowledge.members(), io);
            let members = agent.knowledge.members();
            self.holders.finish(&mut agent.aggregates, members, io);
        }
    }

    fn next_wake(&self) -> Option<Time> {
        let Life::Up(agent) = &self.life else { return None };
        let deadlines = [agent.probes.next_deadline(), agent.suspicions.next_end()];
        deadlines.into_iter().flatten().chain([agent.round_at]).min()
    }
}

impl Agent {
    fn new(config: Config, now: Time, start: &Start, io: &mut Io<'_>) -> Self {
        let rng = io.rng();
        let mut addresses = start.addresses.clone();
        addresses.truncate(Addresses::MAX);
        let own = Entry {
            member: start.me,
            generation: Generation::at_start(start.unix_ms),
            standing: Standing::Alive,
            addresses: addresses.try_into().expect("no more than MAX are left"),
        };
        // Nodes that start together should not all probe in the same moment.
        let offset = rng.fork("round").random_range(Duration::ZERO..config.period);
        let aggregates = Aggregates::new(config.period, rng.fork("aggregate"));
        Self {
            config,
            knowledge: Knowledge::new(config, own, rng),
            partners: Partners::new(rng.fork("partner")),
            probes: Probes::new(rng.fork("probe")),
            suspicions: Suspicions::default(),
            seeds: Seeds::new(&start.seeds, &start.addresses, rng.fork("seed")),
            rng: rng.fork("knock"),
            pulls: Pulls::default(),
            gives: Gives::default(),
            aggregates,
            rounds: 0,
            round_at: now + offset,
            changes: Vec::new(),
        }
    }

    fn on_datagram(&mut self, now: Time, from: NodeId, bytes: &[u8], io: &mut Io<'_>) {
        match Packet::decode(bytes) {
            Ok(packet) => self.on_packet(now, from, &packet, io),
            Err(error) => {
                trace!(?from, %error, "datagram dropped");
                io.count(match error {
                    PacketError::UnknownLeg(_) => "gossip.unknown_leg",
                    _ => "gossip.malformed",
                });
            }
        }
    }

    fn on_message(&mut self, now: Time, from: NodeId, bytes: &[u8], io: &mut Io<'_>) {
        match Control::decode(bytes) {
            Ok(message) => self.on_control(now, from, message, io),
            Err(error) => {
                trace!(?from, %error, "message dropped");
                io.count("gossip.malformed");
            }
        }
    }

    /// Takes in what was heard. Says whether it made this node object.
    fn hear(&mut self, now: Time, entry: Entry, source: Source, io: &mut Io<'_>) -> bool {
        let heard = self.knowledge.hear(entry, source);
        if heard.gave_way {
            io.count("gossip.rumors_full");
        }
        let objects = heard.merged == Merged::Refuted;
        match heard.merged {
            Merged::Stale | Merged::Known => {}
            Merged::Changed(change) => self.on_change(now, change, io),
            Merged::Refused => io.count("gossip.members_full"),
            Merged::Refuted => io.count("gossip.refuted"),
            Merged::Outbid => io.count("gossip.outbid"),
        }
        objects
    }

    /// Every part that goes by who is up, and how, learns of a change here.
    fn on_change(&mut self, now: Time, change: Change, io: &mut Io<'_>) {
        let Entry { member, standing, addresses, .. } = &change.after;
        let known = change.before.as_ref().map(|before| &before.addresses);
        if known != Some(addresses) && addresses.iter().next().is_some() {
            io.address(member.node, &Vec::from(addresses.clone()));
        }
        if standing.is_up() {
            self.seeds.on_up(member.node, addresses);
        } else {
            self.seeds.on_down(member.node);
        }
        if change.is_arrival() {
            self.partners.insert(member.node);
        }
        if *standing == Standing::Suspect {
            let span = self.config.suspicion(self.knowledge.members().up_count());
            self.suspicions.start(member.node, now + span);
        } else {
            self.suspicions.clear(member.node);
        }
        self.on_aggregates_change(&change);
        self.changes.push(change);
    }

    /// Tells some members good-bye; they tell the others.
    fn leave(&mut self, io: &mut Io<'_>) {
        self.knowledge.leave();
        let members = self.knowledge.members();
        for to in self.partners.some(FAREWELLS, members, &[members.me()]) {
            send(&self.knowledge.own_word(0), to, io);
        }
    }
}

/// Sends a packet that was made to fit ([`len_max`]).
fn send(packet: &Packet, to: NodeId, io: &mut Io<'_>) {
    let full = io.send(Target::Node(to), Via::Datagram, packet.encode()).is_err();
    assert!(!full, "datagrams always have room");
}

/// How long a packet to this node may be, if any can be sent.
fn len_max(to: NodeId, io: &mut Io<'_>) -> Option<usize> {
    let len_max = io.datagram_max(to).min(wire::PACKET_LEN_MAX);
    if len_max < wire::PACKET_LEN_MIN {
        io.count("gossip.datagram_too_small");
        return None;
    }
    Some(len_max)
}

/// Objects of the other kinds have no commands.
fn refuse_commands(object: ObjectId, io: &mut Io<'_>) {
    while let Some(taken) = io.take(object, usize::MAX) {
        io.count("gossip.unknown_command");
        io.release(object, taken.message);
    }
}

/// How many are told good-bye. At a loss of a quarter all eight miss it once in 65,000 times.
const FAREWELLS: usize = 8;
