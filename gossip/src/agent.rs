//! The root machine: the module as its node sees it, from start to good-bye.
//!
//! Inputs, events and signals are seen in this file and those below it, nowhere else; the other
//! files of the crate are parts that compute. Here is one life of the module. `hearing` is what it
//! is told, `objects` what is open. `exchange` is SWIM: the rounds, what is answered, what is
//! concluded. `join` is how nodes that know nobody find each other and get a table. `listeners` is
//! who is told. `aggregates` is what the same exchanges carry of aggregates, `holders` is whose
//! shares they are, and `recent` what these are added up from. `inquiries` is what people ask about
//! a member that was doubted, and `metadata` what members say of themselves. `topics` is what
//! holders say to all, `payloads` what of that no packet takes. `nearest` is who is how far away,
//! `overlays` who has whom for a neighbour; `catalogs` what nodes say of themselves, `searches` how
//! they are found by it, and `queries` who asks for that of all. `directory` is what applications
//! publish and look up, `shelves` the records of that and how they are mended, `errands` what a
//! node asks of those who keep them, `claims` who holds which name. `pushes` is what travels at
//! once. `soft` is how states spread that all merge. `view` is which part of a large cluster it
//! keeps.
//!
//! A module whose node has not started knows nobody, and one that said good-bye ignores all there
//! is.

mod aggregates;
mod catalogs;
mod claims;
mod directory;
mod errands;
mod exchange;
mod hearing;
mod holders;
mod inquiries;
mod join;
mod listeners;
mod metadata;
mod nearest;
mod objects;
mod overlays;
mod payloads;
mod pushes;
mod queries;
mod recent;
mod searches;
mod shelves;
mod soft;
#[cfg(test)]
mod tests;
mod topics;
mod view;

use core::time::Duration;
use std::collections::BTreeMap;
use std::sync::Arc;

use live_objects::soft::Store;
use live_objects::{
    Agreement, Cost, Event, Input, Io, Kind, Lack, Link, Member, Module, NodeId, ObjectId,
    ObjectType, Port, Properties, Refusal, Rng, Signal, Spec, Start, Summary, Target, Time, Via,
};
use rand::RngExt;

use self::aggregates::Aggregates;
use self::catalogs::Catalogs;
use self::claims::Claims;
use self::directory::Directories;
use self::errands::Errands;
use self::holders::Holders;
use self::inquiries::Inquiries;
use self::join::with_shown;
use self::listeners::Listeners;
use self::nearest::Nearest;
use self::objects::refuse_commands;
use self::overlays::Overlays;
use self::queries::Queries;
use self::searches::Searches;
use self::shelves::Shelves;
use self::soft::SoftStates;
use self::topics::Topics;
use self::view::Outlook;
use crate::config::{Config, ConfigError};
use crate::entry::{Addresses, Credential, Entry, Generation, Standing, Telling};
use crate::evidence::Seen;
use crate::knowledge::Knowledge;
use crate::members::Change;
use crate::metadata::{METADATA_LEN_MAX, Metadata, Questions};
use crate::news::PAYLOAD_LEN_MAX;
use crate::pace::Pace;
use crate::partners::Partners;
use crate::payloads::Payloads;
use crate::probe::Probes;
use crate::records::RECORD_BYTES_MAX;
use crate::records::witnesses::WITNESSES_MAX;
use crate::roster::Roster;
use crate::rounds::Rounds;
use crate::seeds::Seeds;
use crate::suspicion::Suspicions;
use crate::transfer::{Gives, Pulls};
use crate::wire::{self, Packet};
use crate::zones::row::Subject;

/// The module "gossip".
pub struct Gossip {
    config: Config,
    roster: Option<Arc<Roster>>,
    listeners: Listeners,
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
    seen: Seen,
    inquiries: Inquiries,
    seeds: Seeds,
    /// For when to knock, and at which tombstone.
    rng: Rng,
    pulls: Pulls,
    gives: Gives,
    topics: Topics,
    payloads: Payloads,
    metadata: Metadata,
    /// Who asks for metadata that this node has not got yet, and who says something else of itself
    /// since this step began.
    questions: Questions,
    restated: Vec<Member>,
    shelves: Shelves,
    directories: Directories,
    errands: Errands,
    claims: Claims,
    aggregates: Aggregates,
    holders: Holders,
    nearest: Nearest,
    catalogs: Catalogs,
    searches: Searches,
    overlays: Overlays,
    queries: Queries,
    soft: SoftStates,
    /// What all nodes have in common of time.
    clock: Rounds,
    born_at: Time,
    born_unix_ms: u64,
    /// Others knew of it before it started, by a roster.
    is_expected: bool,
    /// How many periods it has lived, and had when the last round began.
    rounds: u64,
    rounds_before: u64,
    pace: Pace,
    /// The digest of the records when the last step ended.
    records_before: u64,
    /// When it wants to be woken, by what it said last.
    wakes_at: Time,
    /// Of whom there is news that was pushed to nobody yet, and how much may be pushed still: of
    /// all, and of those beside this node.
    unpushed: Vec<(NodeId, Telling)>,
    push_left: usize,
    push_close_left: usize,
    /// Who was said to be up, and is not, and who said so; how much may be told of that still; and
    /// of whom it was told, of which generation, and in which round.
    buried: Vec<(NodeId, Entry)>,
    buried_left: usize,
    said_gone: BTreeMap<NodeId, (Generation, u64)>,
    /// How much was said since the last round began.
    said_bytes: usize,
    /// And how much of that was rows.
    said_rows_bytes: usize,
    /// How much was heard of messages since the last round began, and in the round before.
    heard_pushes: [usize; 2],
    /// How many exchanges it may start beside the first, if something is urgent.
    urgent: usize,
    outlook: Outlook,
    /// What changed in this step, for the listeners.
    noted: Vec<Noted>,
}

/// What listeners are told.
enum Noted {
    Change(Change),
    /// Who was a contact is kept no more.
    LetGo(Member),
}

impl Gossip {
    /// The name of a directory that every node keeps: which objects are open, where, with which
    /// types. Its keys are their names; its values are their types, [`ObjectType`] in postcard's
    /// form; its publishers are their holders, or of many the same few for all, of each type so
    /// many as [`HOLDERS_MAX`](Self::HOLDERS_MAX) says. Objects of kind `Members` are not in it. It
    /// is opened as [`ObjectType::directory`], and nobody can publish in it.
    pub const CLAIMS: &str = "/claims";

    /// Of how many holders of an object, at most, [`CLAIMS`](Self::CLAIMS) tells.
    pub const HOLDERS_MAX: usize = WITNESSES_MAX;

    /// A module of this configuration.
    pub fn new(config: Config) -> Result<Self, ConfigError> {
        let config = config.checked()?;
        Ok(Self { config, roster: None, listeners: Listeners::default(), life: Life::Unborn })
    }

    /// A module whose node knows the members of a roster when it starts, and is one of them.
    pub fn acquainted(config: Config, roster: Arc<Roster>) -> Result<Self, ConfigError> {
        Ok(Self { roster: Some(roster), ..Self::new(config)? })
    }

    fn on_start(&mut self, now: Time, start: &Start, io: &mut Io<'_>) {
        let roster = self.roster.take().filter(|roster| roster.has(start.me));
        let mut agent = Agent::new(self.config, now, start, io);
        roster.iter().for_each(|roster| agent.know(now, roster, io));
        agent.seeds.all().for_each(|seed| io.dial(seed));
        self.life = Life::Up(Box::new(agent));
    }

    fn on_open(&mut self, object: ObjectId, spec: Arc<Spec>, io: &mut Io<'_>) {
        let event = match &mut self.life {
            Life::Up(agent) if spec.ty.kind != Kind::Members => {
                let held = agent.held(&spec);
                if held.is_none() {
                    agent.carry(object, spec, io);
                }
                held.map_or(Event::Opened, |held| Event::Refused(Refusal::Held { held }))
            }
            _ => {
                self.listeners.open(object);
                Event::Opened
            }
        };
        io.emit(object, event).expect("an empty queue takes any event");
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
        let keeps = Properties::of_agreement(Agreement::Eventual);
        let copies = match &self.life {
            Life::Up(agent) => agent.knowledge.sent_max(),
            Life::Unborn | Life::Stopped => self.config.sent_max(1),
        };
        let cost = match ty.kind {
            Kind::Members => Cost { copies, overhead_bytes: wire::entries::ENTRY_LEN_MIN as u32 },
            Kind::Topic => {
                let overhead_bytes = wire::MESSAGE_HEAD_LEN_MAX as u32;
                Cost { copies: 1, overhead_bytes }
            }
            Kind::Directory => Cost { copies, overhead_bytes: wire::RECORD_LEN_MIN as u32 },
            // It is of queries alone.
            Kind::Aggregate(Summary::Groups) => return Err(Lack::Kind(ty.kind.clone())),
            Kind::Query(_) => {
                let parts = u32::from(Summary::Groups.parts());
                Cost { copies, overhead_bytes: SKETCH_BYTES * parts }
            }
            Kind::Aggregate(summary) if summary.has_sketches() => {
                Cost { copies, overhead_bytes: SKETCH_BYTES * u32::from(summary.parts()) }
            }
            Kind::Aggregate(_) => Cost { copies, overhead_bytes: ROW_BYTES },
            Kind::Nearest => Cost { copies, overhead_bytes: wire::offers::OFFER_LEN_MAX as u32 },
            // What a node says of itself stays with it.
            Kind::Catalog => Cost { copies: 1, overhead_bytes: ROW_BYTES },
            Kind::Overlay(_) => Cost { copies, overhead_bytes: wire::stands::STAND_LEN_MAX as u32 },
            Kind::Replicated => {
                let cost = Cost { copies: 1, overhead_bytes: wire::MESSAGE_HEAD_LEN_MAX as u32 };
                return Lack::of(ty, Properties::epidemic()).map(|()| cost);
            }
            Kind::Custom(_) => return Err(Lack::Kind(ty.kind.clone())),
        };
        Lack::of(ty, keeps).map(|()| cost)
    }

    fn command_bytes_max(&self, ty: &ObjectType) -> usize {
        match ty.kind {
            Kind::Topic => PAYLOAD_LEN_MAX,
            Kind::Members => METADATA_LEN_MAX,
            Kind::Directory => RECORD_BYTES_MAX,
            Kind::Replicated => Store::DELTA_BYTES_MAX,
            _ => Port::COMMAND_BYTES_MAX,
        }
    }

    fn handle(&mut self, now: Time, input: Input, io: &mut Io<'_>) {
        if let Life::Up(agent) = &mut self.life {
            agent.age(now);
        }
        match (input, &mut self.life) {
            (Input::Start(start), Life::Unborn) => self.on_start(now, &start, io),
            (Input::Open { object, spec }, Life::Unborn | Life::Up(_)) => {
                self.on_open(object, spec, io);
            }
            (Input::Close { object }, life) => {
                self.listeners.close(object);
                if let Life::Up(agent) = life {
                    agent.stop_carrying(now, object, io);
                }
            }
            (Input::Drained { object }, life) => {
                self.listeners.drained(object);
                if let Life::Up(agent) = life {
                    agent.on_drained(now, object, io);
                }
            }
            (Input::Commands { object }, Life::Up(agent)) if self.listeners.has(object) => {
                agent.on_inquiries(now, object, io);
            }
            (Input::Commands { object }, Life::Up(agent)) => agent.on_commands(now, object, io),
            (Input::Commands { object }, _) => refuse_commands(object, io),
            (Input::Signal(Signal::Open(object, spec)), Life::Up(agent)) => {
                agent.claim(object, spec, io);
            }
            (Input::Signal(Signal::Closed(object)), Life::Up(agent)) => {
                agent.on_strong_closed(object);
            }
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
            (Input::Room { to }, Life::Up(agent)) => {
                agent.give(to, io);
                agent.supply(to, io);
            }
            (Input::Wake, Life::Up(agent)) => agent.on_wake(now, io),
            // Nothing that other modules signal of members is known better here, and who is not
            // up hears nothing.
            _ => {}
        }
    }

    fn finish(&mut self, now: Time, io: &mut Io<'_>) {
        if let Life::Up(agent) = &mut self.life {
            agent.show_changed();
            agent.pull(io);
            agent.push_entries(io);
            agent.push_buried(io);
            agent.doubt_given_way();
            agent.push_records(io);
            agent.say_deltas(io);
            agent.push(now, io);
            agent.need_payloads(io);
            agent.on_answers(now, io);
            agent.on_searches_ended(now, io);
            agent.on_inquiries_ended(now, io);
            let noted = std::mem::take(&mut agent.noted);
            self.listeners.tell(&noted, agent.knowledge.members(), io);
            agent.take_restated().iter().for_each(|event| self.listeners.tell_all(event, io));
            let round = agent.clock.at(now);
            agent.run_queries(round, io);
            agent.holders.give(now, round, &mut agent.aggregates, io);
            let changed = agent.aggregates.take_changed();
            agent.holders.tell(round, &changed, &mut agent.aggregates, io);
            agent.tell_queries(round, &changed, io);
            let mean_of = |object| {
                let subject = Subject::new(object, Summary::Average);
                agent.aggregates.estimate(round, subject).value
            };
            agent.nearest.finish(agent.knowledge.members(), mean_of, io);
            agent.overlays.finish(io);
            agent.finish(now);
        }
    }

    fn next_wake(&self) -> Option<Time> {
        let Life::Up(agent) = &self.life else { return None };
        Some(agent.next_wake())
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
            credential: start.credential.clone().try_into().expect("a driver keeps to the bound"),
            accuser: None,
        };
        // Nodes that start together should not all probe in the same moment.
        let offset = rng.fork("round").random_range(Duration::ZERO..config.period);
        let aggregates = Aggregates::new(config.period);
        Self {
            config,
            knowledge: Knowledge::new(config, own, rng),
            partners: Partners::new(start.me.node, rng.fork("partner")),
            probes: Probes::new(rng.fork("probe")),
            suspicions: Suspicions::default(),
            seen: Seen::default(),
            inquiries: Inquiries::default(),
            seeds: Seeds::new(&start.seeds, &start.addresses, rng.fork("seed")),
            rng: rng.fork("knock"),
            pulls: Pulls::default(),
            gives: Gives::default(),
            topics: Topics::new(&config, &rng.fork("news")),
            payloads: Payloads::new(config.period),
            metadata: Metadata::default(),
            questions: Questions::default(),
            restated: Vec::new(),
            shelves: Shelves::new(start, config.retransmit_mult, &rng.fork("records")),
            directories: Directories::default(),
            errands: Errands::new(rng.fork("errands")),
            claims: Claims::new(),
            aggregates,
            holders: Holders::new(start.me.node),
            nearest: Nearest::new(start.me, config.stretch, rng.fork("place")),
            catalogs: Catalogs::default(),
            searches: Searches::default(),
            overlays: Overlays::new(start.me, config.stretch),
            queries: Queries::default(),
            soft: SoftStates::new(rng.fork("soft")),
            clock: Rounds::new(config.period, now),
            born_at: now,
            born_unix_ms: start.unix_ms,
            is_expected: false,
            rounds: 0,
            rounds_before: 0,
            pace: Pace::new(config.period, now + offset),
            records_before: 0,
            wakes_at: now + offset,
            unpushed: Vec::new(),
            push_left: 0,
            push_close_left: 0,
            buried: Vec::new(),
            buried_left: 0,
            said_gone: BTreeMap::new(),
            said_bytes: 0,
            said_rows_bytes: 0,
            heard_pushes: [0; 2],
            urgent: 0,
            outlook: Outlook::default(),
            noted: Vec::new(),
        }
    }

    fn age(&mut self, now: Time) {
        let periods = now.since(self.born_at).as_nanos() / self.config.period.as_nanos();
        self.rounds = u64::try_from(periods).unwrap_or(u64::MAX);
        self.topics.news.age(now);
        self.payloads.age(now);
        self.nearest.age(self.clock.at(now));
        self.overlays.age(self.clock.at(now));
    }

    fn next_wake(&self) -> Time {
        let [probe, suspicion] = [self.probes.next_deadline(), self.suspicions.next_end()];
        let [topics, errands] = [self.topics.next_wake(), self.errands.next_deadline()];
        let deadlines = [probe, suspicion, topics, errands];
        deadlines.into_iter().flatten().chain([self.pace.next()]).min().expect("one at least")
    }

    /// The step ends.
    fn finish(&mut self, now: Time) {
        let records = self.shelves.total();
        let are_others = std::mem::replace(&mut self.records_before, records) != records;
        let is_said =
            self.claims.is_any_in_doubt() || self.topics.is_busy() || self.payloads.is_moving();
        let is_moving = self.aggregates.is_moving(self.clock.at(now))
            || self.nearest.is_moving()
            || self.overlays.is_moving()
            || self.soft.is_moving()
            || self.metadata.is_moving()
            || self.errands.is_going_round()
            || !self.questions.is_empty();
        if are_others || is_said || is_moving {
            self.pace.on_news(now);
        }
        self.wakes_at = self.next_wake();
    }

    /// Tells some members good-bye; they tell the others. Those beside it are told first: they
    /// count its share of each aggregate, and others only what these say.
    fn leave(&mut self, io: &mut Io<'_>) {
        let members = self.knowledge.members();
        let mut told = self.partners.beside(FAREWELLS / 2, members);
        told.extend(self.partners.some(FAREWELLS - told.len(), members, &told));
        self.knowledge.leave();
        for to in told {
            send(&self.knowledge.own_word(0), to, io);
        }
    }
}

/// Sends a packet that was made to fit ([`len_max`]).
fn send(packet: &Packet, to: NodeId, io: &mut Io<'_>) {
    let full = io.send(Target::Node(to), Via::Datagram, packet.encode()).is_err();
    assert!(!full, "datagrams always have room");
}

/// What an entry's member shows, as the driver knows it.
fn shown(entry: &Entry, io: &Io<'_>) -> Credential {
    io.credential(entry.member.node).try_into().unwrap_or_default()
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

/// How many are told good-bye. At a loss of a quarter all eight miss it once in 65,000 times.
const FAREWELLS: usize = 8;

/// About what a row of an aggregate takes.
const ROW_BYTES: u32 = 20;

/// About what a row of a part of a sketch takes.
const SKETCH_BYTES: u32 = 400;
