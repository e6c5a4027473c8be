//! The nearest: who offers itself, how far away it is, and what applications are told of that.
//!
//! While anybody offers itself, all nodes have *places* (`coordinate`) and say them in exchanges,
//! and pass offers on (`offers`): in an answer those that are best for whoever asked, by his place.
//! So whoever asks learns of those near to him from anybody, and can be told at once, from what his
//! node has. (Vivaldi foretells; it does not know. Meridian, by Wong, Slivkins and Sirer, SIGCOMM
//! 2005, measures from many nodes when it is asked, which is right and slow.) Here the few best are
//! measured before anybody asks: a node that has an object open meets them in second exchanges, in
//! turn; each round while it is new to that, and at rest once in some rounds. The ring of the
//! failure detector is not touched.
//!
//! A node that has no such object, and hears of no offer, has no place to say, and says nothing.
//!
//! Whoever asks may name the aggregate of all loads: then those well above its mean are passed
//! over, but not those much nearer, in what is told and in who is measured (`Near::balance`). The
//! mean is looked up once a round, and
//! whenever there is something to tell.
//!
//! Invariant: who is told of is up, in that life, and is not this node.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use live_objects::{Command, Event, Io, Load, Member, Near, NodeId, ObjectId, Rng, Time};
use tracing::trace;

use super::Agent;
use super::claims::Claims;
use crate::coordinate::{Coordinate, Place};
use crate::digest::{halves, mix};
use crate::knowledge::Draft;
use crate::members::{Change, Members};
use crate::offers::{Offer, Offers, Taken};
use crate::probe::Probe;
use crate::trips::Trips;
use crate::wire::offers::{AGE_MAX, OffersSection, PLACE_SECTION_LEN, Standpoint};
use crate::wire::{Leg, Packet};
use crate::zones::row::Round;

/// This node's part in finding the nearest.
pub(super) struct Nearest {
    me: Member,
    place: Place,
    trips: Trips,
    objects: BTreeMap<ObjectId, Branch>,
    /// The round that it is.
    round: Round,
    /// Up to which object offers were told.
    told: Option<ObjectId>,
    /// Until this round there is something to find out.
    hurries_until: Round,
    /// For how many rounds nobody was met to be measured.
    unmeasured_rounds: u32,
    /// After how many rounds an offer that was not renewed is forgotten.
    expiry_rounds: u64,
    /// Those to whom something may have to be told at the end of the step.
    due: BTreeSet<ObjectId>,
}

/// This node's part in one object.
struct Branch {
    offers: Offers,
    own: Own,
    /// If an application has it open.
    holder: Option<Holder>,
}

/// What this node offers.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Own {
    Nothing,
    Offered(Load),
    /// Since that round, until nobody can know it any more.
    Withdrawn(Round),
}

#[derive(Default)]
struct Holder {
    told: Option<Vec<Near>>,
    /// Whether it asked, and is to be told whatever there is.
    has_asked: bool,
    /// Of which aggregate the mean is not to be exceeded by much, and that mean as it is known.
    balance: Option<(ObjectId, Option<f64>)>,
}

impl Nearest {
    pub(super) fn new(me: Member, stretch: u32, rng: Rng) -> Self {
        Self {
            me,
            place: Place::new(rng),
            trips: Trips::default(),
            objects: BTreeMap::new(),
            round: Round::FIRST,
            told: None,
            hurries_until: Round::FIRST,
            unmeasured_rounds: 0,
            // An age that is too high to be told is too old.
            expiry_rounds: (EXPIRY_ROUNDS * u64::from(stretch)).min(u64::from(AGE_MAX) - 1),
            due: BTreeSet::new(),
        }
    }

    /// It is this round.
    pub(super) fn age(&mut self, round: Round) {
        self.round = round;
    }

    pub(super) fn open(&mut self, object: ObjectId) {
        self.branch(object).holder = Some(Holder::default());
        self.due.insert(object);
        self.hurry(SETTLING_ROUNDS);
    }

    /// An object is not carried any more: what was offered there is withdrawn.
    pub(super) fn close(&mut self, object: ObjectId) {
        if self.has(object) {
            self.offer(object, None);
            self.branch(object).holder = None;
        }
    }

    /// Whether an application has it open.
    pub(super) fn has(&self, object: ObjectId) -> bool {
        self.objects.get(&object).is_some_and(|branch| branch.holder.is_some())
    }

    /// The object's application has caught up.
    pub(super) fn drained(&mut self, object: ObjectId) {
        self.due.insert(object);
    }

    /// Takes an object's commands.
    pub(super) fn on_commands(&mut self, object: ObjectId, io: &mut Io<'_>) {
        while let Some(taken) = io.take(object, usize::MAX) {
            match taken.command {
                Command::Offer(load) => self.offer(object, Some(load)),
                Command::Retract => self.offer(object, None),
                Command::Rank => {
                    self.holder(object).has_asked = true;
                    self.due.insert(object);
                }
                Command::Balance(by) => {
                    self.holder(object).balance = by.map(|by| (by, None));
                    self.due.insert(object);
                }
                _ => io.count("gossip.unknown_command"),
            }
            io.release(object, taken.message);
        }
    }

    /// Of how many objects it knows.
    pub(super) fn len(&self) -> usize {
        self.objects.len()
    }

    /// Whether there is something to find out, or to spread.
    pub(super) fn is_moving(&self) -> bool {
        !self.objects.is_empty() && self.round <= self.hurries_until
    }

    /// A round of exchanges begins.
    pub(super) fn on_round(&mut self) {
        self.forget();
        let held: Vec<ObjectId> = self.held().map(|(object, _)| *object).collect();
        self.due.extend(held);
        self.unmeasured_rounds = self.unmeasured_rounds.saturating_add(1);
    }

    /// Whom to meet in this round to measure how far away it is, if it is time to: while there is
    /// something to find out only if the node `may_hurry`.
    pub(super) fn measures(&mut self, may_hurry: bool, members: &Members) -> Option<NodeId> {
        let is_due = self.unmeasured_rounds >= MEASURING_ROUNDS;
        let candidate = if self.is_moving() && may_hurry {
            let is_new = |asked| asked < MEASUREMENTS;
            self.candidate(members, |asked, _| is_new(asked).then_some(u64::from(asked)))
        } else {
            None
        };
        let candidate = candidate.or_else(|| {
            let stalest = || self.candidate(members, |_, last| Some(u64::from(last)));
            if is_due { stalest() } else { None }
        });
        if let Some(node) = candidate {
            self.unmeasured_rounds = 0;
            self.trips.ask(node, self.round);
        }
        candidate
    }

    /// Of the few best of each open object the one that ranks first by how often it was asked, and
    /// when it was last met.
    fn candidate(
        &self,
        members: &Members,
        rank: impl Fn(u32, Round) -> Option<u64>,
    ) -> Option<NodeId> {
        let best = self.held().flat_map(|(_, branch)| self.ranking(branch, members, MEASURED_MAX));
        let ranked = best.filter_map(|near| {
            let (asked, last) = self.trips.asked(near.member.node).unwrap_or((0, Round::FIRST));
            Some((rank(asked, last)?, near.cost(), near.member.node))
        });
        ranked.min().map(|(_, _, node)| node)
    }

    /// An answer of a member that stands there took so long.
    fn on_round_trip(&mut self, node: NodeId, took: Duration, theirs: Coordinate) {
        let measured = self.trips.measure(node, took, self.round);
        self.place.update(node, measured.round_trip, theirs);
    }

    /// A member is gone, or is in another life.
    fn on_down(&mut self, node: NodeId) {
        self.trips.forget(node);
        for (object, branch) in &mut self.objects {
            if branch.offers.forget(node) {
                self.due.insert(*object);
            }
        }
    }

    fn coordinate(&self) -> Coordinate {
        self.place.coordinate()
    }

    /// Takes an offer in. Gives what to count, if it cannot be taken.
    fn take(
        &mut self,
        object: ObjectId,
        offer: Offer,
        (members, claims): (&Members, &Claims),
    ) -> Option<&'static str> {
        if offer.owner == self.me.node || self.is_old(offer.stamp) {
            return None;
        }
        let owner = members.of(offer.owner).filter(|owner| owner.standing.is_up());
        if owner.is_none_or(|owner| life(owner.member) != offer.life) {
            return Some("gossip.offer_of_nobody");
        }
        if !self.objects.contains_key(&object) {
            let is_claimed = |object: ObjectId| claims.is_claimed(object);
            let has_room = is_claimed(object) || self.strays(is_claimed).count() < STRAYS_MAX;
            if self.objects.len() >= OBJECTS_MAX || !has_room {
                return Some("gossip.nearest_full");
            }
        }
        let ours = self.place.coordinate();
        let measured = |owner: NodeId| self.trips.of(owner).map(|measured| measured.round_trip);
        let distance = |offer: &Offer| {
            measured(offer.owner).unwrap_or_else(|| ours.distance(&offer.coordinate))
        };
        let is_first = self.objects.is_empty();
        let branch = self.objects.entry(object).or_insert_with(|| Branch::new(self.me.node));
        let taken = branch.offers.take(offer, distance);
        if is_first {
            self.hurry(SETTLING_ROUNDS);
        } else if taken == Taken::New {
            self.hurry(NEWS_ROUNDS);
        }
        None
    }

    /// A round of claims begins. Of what nobody claims little is kept: somebody made it up, or is
    /// gone.
    pub(super) fn drop_strays(&mut self, is_claimed: impl Fn(ObjectId) -> bool) {
        let beyond: Vec<ObjectId> = self.strays(is_claimed).skip(STRAYS_MAX).collect();
        beyond.iter().for_each(|object| drop(self.objects.remove(object)));
    }

    /// Those that this node has no part in, and that nobody claims.
    fn strays(&self, is_claimed: impl Fn(ObjectId) -> bool) -> impl Iterator<Item = ObjectId> {
        let is_none = |branch: &Branch| branch.holder.is_none() && branch.own == Own::Nothing;
        let others = self.objects.iter().filter(move |(_, branch)| is_none(branch));
        others.map(|(object, _)| *object).filter(move |object| !is_claimed(*object))
    }

    fn is_old(&self, stamp: Round) -> bool {
        self.round.since(stamp.into()) > self.expiry_rounds
    }

    fn offer(&mut self, object: ObjectId, load: Option<Load>) {
        let withdrawn = self.round.next();
        let own = &mut self.branch(object).own;
        let before = *own;
        *own = match (load, before) {
            (Some(load), _) => Own::Offered(load),
            (None, Own::Offered(_)) => Own::Withdrawn(withdrawn),
            (None, own) => own,
        };
        if matches!(before, Own::Offered(_)) != load.is_some() {
            self.hurry(NEWS_ROUNDS);
        }
    }

    fn hurry(&mut self, rounds: i64) {
        self.hurries_until = self.hurries_until.max(self.round.shifted(rounds));
    }

    fn branch(&mut self, object: ObjectId) -> &mut Branch {
        self.objects.entry(object).or_insert_with(|| Branch::new(self.me.node))
    }

    fn holder(&mut self, object: ObjectId) -> &mut Holder {
        self.branch(object).holder.as_mut().expect("it is open")
    }

    fn held(&self) -> impl Iterator<Item = (&ObjectId, &Branch)> {
        self.objects.iter().filter(|(_, branch)| branch.holder.is_some())
    }

    fn forget(&mut self) {
        let (round, expiry_rounds) = (self.round, self.expiry_rounds);
        // A clock that was ahead, and is not any more, leaves nobody in a hurry until then.
        self.hurries_until = self.hurries_until.min(round.shifted(SETTLING_ROUNDS));
        self.objects.retain(|_, branch| {
            branch.offers.expire(round, expiry_rounds);
            if let Own::Withdrawn(since) = &mut branch.own {
                *since = round.next().min(*since);
                if round.since((*since).into()) > expiry_rounds {
                    branch.own = Own::Nothing;
                }
            }
            branch.holder.is_some() || branch.own != Own::Nothing || !branch.offers.is_empty()
        });
    }

    /// What this node says of itself.
    fn own(&self, own: Own) -> Option<Offer> {
        let (load, stamp) = match own {
            Own::Nothing => return None,
            Own::Offered(load) => (Some(load), self.round),
            Own::Withdrawn(since) => (None, since),
        };
        let (owner, coordinate) = (self.me.node, self.place.coordinate());
        Some(Offer { owner, life: life(self.me), stamp, coordinate, load })
    }

    /// Offers for another, who stands there as far as that is known.
    fn offers_for(
        &mut self,
        whom: NodeId,
        place: Option<Coordinate>,
        len_max: usize,
    ) -> OffersSection {
        let mut section = OffersSection::new(self.round);
        let salt = mix(halves(self.me.node.as_bytes())[0] ^ u64::from(self.round));
        let told = self.told;
        let after = self.objects.iter().filter(|(object, _)| told.is_some_and(|it| **object > it));
        for (object, branch) in after.chain(&self.objects).take(self.objects.len()) {
            let mut room = section.room(len_max);
            if room == 0 {
                break;
            }
            let mut offers: Vec<Offer> = self.own(branch.own).into_iter().collect();
            room -= offers.len();
            let place = place.or_else(|| {
                branch.offers.all().find(|it| it.owner == whom).map(|it| it.coordinate)
            });
            let distance =
                place.map(|place| move |offer: &Offer| place.distance(&offer.coordinate));
            offers.extend(branch.offers.best_for(whom, salt, distance, room));
            self.told = Some(*object);
            if !offers.is_empty() {
                section.told.push((*object, offers));
            }
        }
        section
    }

    /// What is known of whom an offer is of.
    fn near(&self, offer: &Offer, members: &Members) -> Near {
        let owner = members.of(offer.owner).expect("whose offers are kept are up");
        let ours = self.place.coordinate();
        let foretold = ours.distance(&offer.coordinate);
        let measured = self.trips.of(offer.owner);
        let (round_trip, error) = match measured {
            Some(measured) => (measured.round_trip, measured.error),
            None => (foretold, ours.error_of(&offer.coordinate)),
        };
        let (is_measured, load) = (measured.is_some(), offer.load.unwrap_or_default());
        Near { member: owner.member, round_trip, error, is_measured, foretold, load }
    }

    /// The best of those who offer themselves, the best first.
    fn ranking(&self, branch: &Branch, members: &Members, count: usize) -> Vec<Near> {
        let near = |offer: &Offer| self.near(offer, members);
        let mut ranking: Vec<Near> = branch.offers.valid().map(near).collect();
        let balance = branch.holder.as_ref().and_then(|holder| holder.balance);
        Near::balance(&mut ranking, balance.and_then(|(_, mean)| mean));
        ranking.truncate(count);
        ranking
    }

    /// Tells applications what is new to them. What is the mean of an aggregate is asked for.
    pub(super) fn finish(
        &mut self,
        members: &Members,
        mut mean_of: impl FnMut(ObjectId) -> Option<f64>,
        io: &mut Io<'_>,
    ) {
        for object in std::mem::take(&mut self.due) {
            let holder = self.objects.get_mut(&object).and_then(|branch| branch.holder.as_mut());
            if let Some((by, mean)) = holder.and_then(|holder| holder.balance.as_mut()) {
                *mean = mean_of(*by);
            }
            let Some(branch) = self.objects.get(&object) else { continue };
            let Some(holder) = &branch.holder else { continue };
            let ranking = self.ranking(branch, members, RANKED_MAX);
            let is_known = holder.told.as_ref().is_some_and(|told| !is_notable(told, &ranking));
            if is_known && !holder.has_asked {
                continue;
            }
            let is_told = io.emit(object, Event::Nearest(ranking.clone())).is_ok();
            let holder = self.holder(object);
            (holder.told, holder.has_asked) = (is_told.then_some(ranking), false);
        }
    }
}

impl Branch {
    fn new(me: NodeId) -> Self {
        Self { offers: Offers::new(me), own: Own::Nothing, holder: None }
    }
}

impl Agent {
    pub(super) fn on_nearest_change(&mut self, change: &Change) {
        let now = &change.after;
        let before = change.before.as_ref().map(|before| before.member);
        if !now.standing.is_up() || before.is_some_and(|before| before != now.member) {
            self.nearest.on_down(now.member.node);
        }
    }

    /// A probe of this node's was answered.
    pub(super) fn on_answer(
        &mut self,
        now: Time,
        from: NodeId,
        probe: &Probe,
        standpoint: Option<Standpoint>,
    ) {
        let Some(Standpoint { attempt, coordinate }) = standpoint else { return };
        if from == probe.target
            && let Some(took) = probe.round_trip(now, attempt)
        {
            self.nearest.on_round_trip(from, took, coordinate);
        }
    }

    /// Takes in what a packet says of offers.
    pub(super) fn hear_offers(&mut self, packet: &Packet, io: &mut Io<'_>) {
        let Some(section) = &packet.offers else { return };
        if section.round().is_ahead_of(self.nearest.round) {
            io.count("gossip.offers_ahead");
            return;
        }
        for (object, offers) in &section.told {
            for offer in offers {
                let known = (self.knowledge.members(), &self.claims);
                let refused = self.nearest.take(*object, *offer, known);
                if let Some(why) = refused {
                    trace!(?offer, why, "an offer was not taken");
                    io.count(why);
                }
            }
        }
    }

    /// Adds to a probe or its answer where this node stands, and offers.
    pub(super) fn tell_offers(
        &mut self,
        draft: Draft<'_>,
        attempt: u8,
        packet: &mut Packet,
        len_max: usize,
    ) {
        let asked = draft.answers.and_then(|asked| asked.standpoint);
        let is_used = !self.nearest.objects.is_empty();
        let is_resting = self.pace.is_resting();
        let (attempt, offers_len_max) = match draft.leg {
            Leg::Probe { .. } if is_used => (attempt, ASKING_BYTES_MAX[usize::from(is_resting)]),
            Leg::Ack { .. } if draft.answers.is_some() && (is_used || asked.is_some()) => {
                let attempt = asked.map_or(0, |asked| asked.attempt);
                (attempt, ANSWERING_BYTES_MAX[usize::from(is_resting)])
            }
            _ => return,
        };
        // What is said again over a long way was mostly heard the first time; and offers are
        // stamped with the round, for whoever knows it.
        let is_told = attempt <= 1 && packet.round != Round::UNKNOWN;
        let offers_len_max = if is_told { offers_len_max } else { 0 };
        let Some(room) = len_max.checked_sub(packet.encoded_len() + PLACE_SECTION_LEN) else {
            return;
        };
        packet.standpoint = Some(Standpoint { attempt, coordinate: self.nearest.coordinate() });
        let place = asked.map(|asked| asked.coordinate);
        let section = self.nearest.offers_for(draft.to, place, room.min(offers_len_max));
        packet.offers = Some(section).filter(|section| !section.told.is_empty());
    }
}

/// Whether an application should be told of this, that was told of that.
fn is_notable(told: &[Near], ranking: &[Near]) -> bool {
    let is_other = |before: &Near, now: &Near| {
        let off = before.round_trip.abs_diff(now.round_trip).max(before.error.abs_diff(now.error));
        let (load, former) = (now.load.number(), before.load.number());
        before.member != now.member
            || before.is_measured != now.is_measured
            || off * NOTABLE_PART > before.round_trip.max(now.round_trip)
            || (load - former).abs() * NOTABLE_PART as f32 > load.max(former)
    };
    told.len() != ranking.len()
        || told.iter().zip(ranking).any(|(before, now)| is_other(before, now))
}

/// What an offer or a stand says of its owner's life.
pub(super) fn life(member: Member) -> u16 {
    let [high, low] = halves(member.incarnation.as_bytes());
    mix(high ^ mix(low)) as u16
}

/// How many are told to an application.
pub(super) const RANKED_MAX: usize = 8;

/// How many of the best are measured, and how often each while the node hurries.
const MEASURED_MAX: usize = 8;
const MEASUREMENTS: u32 = 3;

/// At rest one of them is measured once in so many rounds.
const MEASURING_ROUNDS: u32 = 4;

/// For how many rounds a node does not rest that is new to all this: places take some forty, and
/// then the best must be met.
const SETTLING_ROUNDS: i64 = 64;

/// For how many rounds it does not after it heard of somebody new.
const NEWS_ROUNDS: i64 = 4;

/// After how many rounds at rest an offer is forgotten that is not renewed.
const EXPIRY_ROUNDS: u64 = 96;

/// A node that knows of so many objects takes part in no more of them for others' sake.
pub(super) const OBJECTS_MAX: usize = 256;

/// And of so many that nobody claims. A claim may be heard later than an offer.
pub(super) const STRAYS_MAX: usize = 32;

/// What a probe says of offers, in bytes: three, or one at rest.
const ASKING_BYTES_MAX: [usize; 2] = [125, 55];

/// What an answer says of them: eight, or four at rest.
const ANSWERING_BYTES_MAX: [usize; 2] = [300, 160];

/// A number is another to an application if it is off by more than one part in so many.
const NOTABLE_PART: u32 = 10;
