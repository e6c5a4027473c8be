//! Overlays: who has whom for a neighbour, by a rank, and how all find theirs.
//!
//! T-Man (Jelasity, Montresor and Babaoglu, Computer Networks 53, 2009, section 4): each round a
//! node meets some of those who are best by its own rank, and the two tell each other whom they
//! know that is best for the *other*, and a few by lot (`stands`). They meet in exchanges beside
//! that with the failure detector's partner, whose ring is not touched; that partner, who is as
//! good as drawn by chance, is told too. That is T-Man's random sample of peers. It also tells
//! whoever is met where a node stands by now.
//!
//! While neighbours change a node hurries. When they have not for some rounds it meets one of them
//! in turn once in some rounds, and says where it stands, and little else. Of an overlay that few
//! have open, a node that knows few asks the witnesses of its name (`claims`) now and then: chance
//! alone would hardly bring them together.
//!
//! Nodes that have an overlay not open say nothing of it, and keep nothing.
//!
//! Invariant: who is told of is up, in that life, and is not this node.

mod part;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use live_objects::overlay::{Descriptor, Profile};
use live_objects::{Command, Event, Io, Member, NodeId, ObjectId, Spec, Time};
use tracing::trace;

use self::part::{Part, Place, half};
use super::Agent;
use super::nearest::life;
use crate::digest::{halves, mix};
use crate::knowledge::Draft;
use crate::members::{Change, Members};
use crate::offers::lot;
use crate::stands::Whom;
use crate::wire::stands::{AGE_MAX, StandsSection, ToldStands};
use crate::wire::{Leg, Packet};
use crate::zones::row::Round;

/// This node's part in all overlays.
pub(super) struct Overlays {
    me: Member,
    parts: BTreeMap<ObjectId, Part>,
    /// The round that it is.
    round: Round,
    /// Up to which overlay something was told without a cause.
    told: Option<ObjectId>,
    /// For the sake of which overlay somebody was met last, and how many were so far.
    last: Option<ObjectId>,
    meetings: u64,
    /// For how many rounds nobody was to be met.
    unmet_rounds: u32,
    /// Whether something is said in this round of overlays that are at rest.
    speaks: bool,
    /// How many may be met in this round still, each when the one before has answered.
    meetings_left: usize,
    /// How much may be answered in this round, in bytes.
    answers_left: usize,
    /// Who is met for the sake of which, in this round.
    meant: BTreeMap<NodeId, ObjectId>,
    /// After how many rounds a stand that was not renewed is forgotten.
    expiry_rounds: u64,
    /// Those to whom something may have to be told at the end of the step.
    due: BTreeSet<ObjectId>,
}

impl Overlays {
    pub(super) fn new(me: Member, stretch: u32) -> Self {
        Self {
            me,
            parts: BTreeMap::new(),
            round: Round::FIRST,
            told: None,
            last: None,
            meetings: 0,
            unmet_rounds: 0,
            speaks: false,
            meetings_left: 0,
            answers_left: 0,
            meant: BTreeMap::new(),
            // An age that is too high to be told is too old.
            expiry_rounds: (EXPIRY_ROUNDS * u64::from(stretch)).min(u64::from(AGE_MAX) - 1),
            due: BTreeSet::new(),
        }
    }

    /// It is this round.
    pub(super) fn age(&mut self, round: Round) {
        self.round = round;
    }

    pub(super) fn open(&mut self, object: ObjectId, spec: Arc<Spec>) {
        self.parts.insert(object, Part::new(spec, self.me.node));
    }

    /// An object is not carried any more: its neighbours are told.
    pub(super) fn close(&mut self, object: ObjectId) {
        let is_full = self.parts.len() > PARTS_MAX;
        let Some(part) = self.parts.get_mut(&object) else { return };
        part.is_open = false;
        if part.place.is_none() || is_full {
            self.parts.remove(&object);
        } else if part.withdrawn.is_none() {
            part.withdrawn = Some(self.round.next());
            part.hurry(self.round, NEWS_ROUNDS);
        }
    }

    /// Whether an application has it open.
    pub(super) fn has(&self, object: ObjectId) -> bool {
        self.parts.get(&object).is_some_and(|part| part.is_open)
    }

    /// The object's application has caught up.
    pub(super) fn drained(&mut self, object: ObjectId) {
        self.due.insert(object);
    }

    /// Takes an object's commands.
    pub(super) fn on_commands(&mut self, object: ObjectId, io: &mut Io<'_>) {
        while let Some(taken) = io.take(object, usize::MAX) {
            let part = self.parts.get_mut(&object).expect("it is open");
            match taken.command {
                Command::Stand { profile, ranking } if part.is_by(&ranking) => {
                    let profile = profile.unwrap_or_else(|| Profile::of_node(self.me.node));
                    part.stand(self.me, profile, ranking);
                    part.hurry(self.round, SETTLING_ROUNDS);
                    self.due.insert(object);
                }
                Command::Stand { .. } => io.count("gossip.other_rank"),
                _ => io.count("gossip.unknown_command"),
            }
            io.release(object, taken.message);
        }
    }

    /// Whether there is something to find out, or to tell.
    pub(super) fn is_moving(&self) -> bool {
        self.parts.values().any(|part| part.is_moving(self.round))
    }

    /// A round of exchanges begins, in which `meetings_max` may be met. Tells whether it is time to
    /// meet somebody.
    fn on_round(&mut self, meetings_max: usize) -> bool {
        self.forget();
        self.meant.clear();
        self.answers_left = ANSWERS_BYTES_MAX;
        self.unmet_rounds = self.unmet_rounds.saturating_add(1);
        let are_moving = self.is_moving();
        self.speaks = are_moving || self.unmet_rounds >= MEETING_ROUNDS;
        if self.speaks {
            self.unmet_rounds = 0;
        }
        self.meetings_left = if are_moving { meetings_max } else { meetings_max.min(1) };
        self.speaks
    }

    /// Whom to meet now, if anybody may be met. The witnesses of a name can be asked for.
    fn meet(&mut self, witness: impl Fn(&Spec) -> Option<NodeId>) -> Option<NodeId> {
        self.meetings_left = self.meetings_left.checked_sub(1)?;
        let are_moving = self.is_moving();
        let is_in =
            |part: &Part| part.is_moving(self.round) || !are_moving && part.place().is_some();
        let parts = self.parts.iter().filter(|(_, part)| is_in(part));
        let turns = parts.map(|(object, _)| *object);
        let object = turns.min_by_key(|object| (self.last >= Some(*object), *object))?;
        self.last = Some(object);
        self.meetings += 1;
        let part = self.parts.get_mut(&object).expect("it is one of them");
        let is_turn = self.meetings.is_multiple_of(WITNESS_MEETINGS);
        let asks = |known| known == 0 || known < FEW && is_turn;
        let asked = if asks(part.stands.count()) { witness(&part.spec) } else { None };
        let met = asked.or_else(|| part.meet(self.round))?;
        self.meant.insert(met, object);
        Some(met)
    }

    /// A member is gone, or is in another life.
    fn on_down(&mut self, node: NodeId) {
        for (object, part) in &mut self.parts {
            if part.stands.forget(node) {
                self.due.insert(*object);
            }
        }
    }

    /// Takes in what was told of an overlay. Gives what to count, if something cannot be taken.
    fn take(&mut self, told: &ToldStands, members: &Members) -> Vec<&'static str> {
        let Some(part) = self.parts.get_mut(&told.object) else { return Vec::new() };
        // Who stands nowhere himself cannot tell who is of use to him.
        let Some(Place { me, ranking }) = &part.place else { return Vec::new() };
        let mut refused = Vec::new();
        for stand in &told.stands {
            let is_old = self.round.since(stand.stamp.into()) > self.expiry_rounds;
            if stand.owner == half(self.me.node) || is_old {
                continue;
            }
            match member_of(stand.owner, members) {
                Some(owner) if life(owner) == stand.life => {
                    part.stands.take(*stand, owner);
                }
                _ => refused.push("gossip.stand_of_nobody"),
            }
        }
        part.stands.trim(me, ranking);
        self.due.insert(told.object);
        refused
    }

    fn forget(&mut self) {
        let (round, expiry_rounds) = (self.round, self.expiry_rounds);
        for (object, part) in &mut self.parts {
            if part.stands.expire(round, expiry_rounds) {
                self.due.insert(*object);
            }
            // A clock that was ahead, and is not any more, leaves nobody in a hurry until then.
            part.hurries_until = part.hurries_until.min(round.shifted(SETTLING_ROUNDS));
            part.withdrawn = part.withdrawn.map(|since| since.min(round.next()));
            if part.withdrawn.is_some() && !part.is_moving(round) {
                part.stands.forget_all();
            }
        }
        let is_over = |since: Round| round.since(since.into()) > expiry_rounds;
        self.parts.retain(|_, part| part.is_open || !part.withdrawn.is_none_or(is_over));
    }

    /// Adds what is to be said of an overlay to another node, as far as it is known where that
    /// stands.
    fn tell(
        &self,
        object: ObjectId,
        whom: Option<Whom<'_>>,
        Limit { len_max, count_max }: Limit,
        section: &mut StandsSection,
    ) {
        let salt = mix(halves(self.me.node.as_bytes())[0] ^ u64::from(self.round));
        let Some(part) = self.parts.get(&object) else { return };
        let Some(own) = part.own(self.round) else { return };
        let room = section.room(len_max, &own).min(count_max);
        if room == 0 {
            return;
        }
        let mut stands = vec![own];
        if let Some(Place { ranking, .. }) = part.place() {
            stands.extend(match whom {
                Some(whom) => part.stands.best_for(whom, ranking, salt, room - 1),
                None => part.stands.some(salt, room - 1, |_| true),
            });
        }
        section.told.push(ToldStands { object, hurries: part.is_moving(self.round), stands });
        // Others may have told longer profiles than this node's own.
        while section.section_len() > len_max {
            let told = section.told.last_mut().expect("it was just added");
            told.stands.pop().expect("there is room for this node's own");
        }
    }

    /// What is said to whom this node begins an exchange with: of the overlay that he is met for,
    /// then of others, in turn.
    fn ask(&mut self, to: NodeId, room: usize) -> StandsSection {
        let mut section = StandsSection::new(self.round);
        let (meant, told) = (self.meant.get(&to).copied(), self.told);
        let mut turns: Vec<ObjectId> = self.parts.keys().copied().collect();
        turns.sort_by_key(|object| (Some(*object) != meant, told >= Some(*object), *object));
        for object in turns {
            let part = &self.parts[&object];
            let is_meant = Some(object) == meant;
            let limit = match (part.is_moving(self.round), is_meant) {
                (true, true) => Limit { len_max: HURRIED_BYTES, count_max: usize::MAX },
                (true, false) => Limit { len_max: ASKING_BYTES, count_max: usize::MAX },
                (false, _) if is_meant || self.speaks => RESTING,
                (false, _) => continue,
            };
            let whom = part.stands.descriptor(to).map(|at| Whom { at, knows: &[] });
            let (len_max, before) = (limit.len_max.min(room), section.told.len());
            self.tell(object, whom, Limit { len_max, ..limit }, &mut section);
            if !is_meant && section.told.len() > before {
                self.told = Some(object);
            }
        }
        section
    }

    /// What is answered to a member that said this.
    fn answer(&mut self, to: Member, asked: &StandsSection, room: usize) -> StandsSection {
        let mut section = StandsSection::new(self.round);
        for ToldStands { object, hurries, stands } in &asked.told {
            let knows: Vec<u64> = stands.iter().map(|stand| stand.owner).collect();
            let own = stands.iter().find(|stand| stand.owner == half(to.node));
            let at = own.map(|stand| Descriptor { member: to, profile: stand.profile });
            let whom = at.map(|at| Whom { at, knows: &knows });
            let limit = if *hurries {
                let len_max = HURRIED_BYTES.min(self.answers_left);
                Limit { len_max: len_max.max(RESTING.len_max), count_max: usize::MAX }
            } else {
                ANSWERING
            };
            let len_max = limit.len_max.min(room);
            self.tell(*object, whom, Limit { len_max, ..limit }, &mut section);
        }
        self.answers_left = self.answers_left.saturating_sub(section.section_len());
        section
    }

    /// Tells applications what is new to them.
    pub(super) fn finish(&mut self, io: &mut Io<'_>) {
        for object in std::mem::take(&mut self.due) {
            let Some(part) = self.parts.get_mut(&object).filter(|part| part.is_open) else {
                continue;
            };
            let Some(Place { me, ranking }) = &part.place else { continue };
            let (me, neighbours) = (*me, part.stands.neighbours(me, ranking));
            if neighbours != part.neighbours {
                part.hurry(self.round, NEWS_ROUNDS);
                (part.neighbours, part.is_told) = (neighbours, false);
            }
            if !part.is_told {
                let neighbours = part.neighbours.clone();
                part.is_told = io.emit(object, Event::Neighbours { me, neighbours }).is_ok();
            }
        }
    }
}

impl Agent {
    pub(super) fn on_overlays_change(&mut self, change: &Change) {
        let now = &change.after;
        let before = change.before.as_ref().map(|before| before.member);
        if !now.standing.is_up() || before.is_some_and(|before| before != now.member) {
            self.overlays.on_down(now.member.node);
        }
    }

    /// A round begins. With whom an exchange is started for the sake of overlays, if the node may
    /// start so many in this round.
    pub(super) fn on_round_of_overlays(&mut self, meetings_max: usize) -> Option<NodeId> {
        if self.overlays.on_round(meetings_max) { self.meet() } else { None }
    }

    /// Who was met for the sake of an overlay has answered: he may have told of somebody who is
    /// better to meet than any before.
    pub(super) fn on_met(&mut self, now: Time, from: NodeId, io: &mut Io<'_>) {
        if self.overlays.meant.contains_key(&from)
            && self.overlays.is_moving()
            && let Some(next) = self.meet()
        {
            self.exchange(now, next, true, io);
        }
    }

    fn meet(&mut self) -> Option<NodeId> {
        let (members, records) = (self.knowledge.members(), &self.shelves.claims.records);
        let (claims, salt) = (self.claims.directory(), u64::from(self.overlays.round));
        let witness = |spec: &Spec| {
            let claims = records.at(claims, spec.name.as_str().as_bytes());
            let witnesses = claims.map(|claim| claim.publisher.node);
            let others = witnesses.filter(|it| *it != members.me() && members.is_up(*it));
            others.min_by_key(|it| lot(*it, salt))
        };
        self.overlays.meet(witness)
    }

    /// Takes in what a packet says of overlays.
    pub(super) fn hear_stands(&mut self, packet: &Packet, io: &mut Io<'_>) {
        let Some(section) = &packet.stands else { return };
        if section.round().is_ahead_of(self.overlays.round) {
            io.count("gossip.stands_ahead");
            return;
        }
        for told in &section.told {
            for why in self.overlays.take(told, self.knowledge.members()) {
                trace!(object = ?told.object, why, "a stand was not taken");
                io.count(why);
            }
        }
    }

    /// Adds to a probe or its answer who stands where.
    pub(super) fn tell_stands(
        &mut self,
        draft: Draft<'_>,
        attempt: u8,
        packet: &mut Packet,
        len_max: usize,
    ) {
        // What is said again over a long way was mostly heard the first time; and stands are
        // stamped with the round, for whoever knows it.
        let overlays = &mut self.overlays;
        if overlays.parts.is_empty() || attempt > TOLD_ATTEMPTS || packet.round == Round::UNKNOWN {
            return;
        }
        let room = len_max.saturating_sub(packet.encoded_len());
        let section = match (draft.leg, draft.answers.and_then(|asked| asked.stands.as_ref())) {
            (Leg::Probe { .. }, _) => overlays.ask(draft.to, room),
            (Leg::Ack { .. }, Some(asked)) => {
                let Some(to) = self.knowledge.members().of(draft.to) else { return };
                overlays.answer(to.member, asked, room)
            }
            _ => return,
        };
        packet.stands = Some(section).filter(|section| !section.told.is_empty());
    }
}

/// Who is up and has an id that begins so. (Ids are hashes: no two members' begin alike.)
fn member_of(owner: u64, members: &Members) -> Option<Member> {
    let id =
        |last: u64| NodeId::from_bytes((u128::from(owner) << 64 | u128::from(last)).to_be_bytes());
    let (node, _) = members.up_between(id(0), id(u64::MAX)).next()?;
    members.of(node).map(|entry| entry.member)
}

/// How long a section may become by what is told of an overlay, and of how many.
#[derive(Clone, Copy)]
struct Limit {
    len_max: usize,
    count_max: usize,
}

/// For how many rounds a node hurries that has a new place.
const SETTLING_ROUNDS: i64 = 20;

/// For how many rounds it does after its neighbours changed.
const NEWS_ROUNDS: i64 = 8;

/// At rest a neighbour is met once in so many rounds.
const MEETING_ROUNDS: u32 = 4;

/// Who knows of nobody meets one of the name's witnesses, and who knows of fewer than so many does
/// once in so many times.
const FEW: usize = 24;
const WITNESS_MEETINGS: u64 = 4;

/// After how many rounds at rest a stand is forgotten that is not renewed.
const EXPIRY_ROUNDS: u64 = 96;

/// How many overlays a node has at once, if it left some of them lately.
pub(super) const PARTS_MAX: usize = 256;

/// How many attempts of a probe say something of overlays.
const TOLD_ATTEMPTS: u8 = 2;

/// What is said of an overlay in which something is to be found out, in bytes: to whom is met for
/// its sake, or in answer to who hurries; and to the failure detector's partner.
const HURRIED_BYTES: usize = 400;
const ASKING_BYTES: usize = 120;

/// How much is answered in a round to those who hurry: about two of them in full. Others are told
/// where this node stands. Of a tree all want to meet those near the root.
const ANSWERS_BYTES_MAX: usize = 900;

/// What is said at rest, first, and in answer: where this node stands, and of two more.
const RESTING: Limit = Limit { len_max: 80, count_max: 1 };
const ANSWERING: Limit = Limit { len_max: 200, count_max: 3 };
