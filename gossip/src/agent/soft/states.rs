//! The soft states that a node holds: which are unsettled, whose turn it is, what is told of them.
//!
//! Invariants: what is unsettled is open. No state is larger than [`Store::MERGED_BYTES_MAX`], nor
//! its context than [`Store::BYTES_MAX`]: a delta that would make it so is refused, and so does not
//! come back from here.

use core::ops::Bound::{Excluded, Unbounded};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use live_objects::soft::{Author, Dot, Store};
use live_objects::{Event, Io, NodeId, ObjectId, ReplicatedEvent, Rng, Spec};
use rand::RngExt;

use crate::agent::claims;
use crate::digest::{halves, mix};
use crate::news::Topic;
use crate::wire::soft::SoftSection;

/// The soft states that this node holds.
pub(in crate::agent) struct SoftStates {
    pub(super) open: BTreeMap<ObjectId, State>,
    /// Their objects, by what is said along the tree.
    objects: BTreeMap<Topic, ObjectId>,
    pub(super) unsettled: BTreeMap<ObjectId, Unsettled>,
    /// Those whose applications wrote something in this step.
    pub(super) unsaid: BTreeSet<ObjectId>,
    /// Those whose applications are to hear as whom they write.
    pub(super) unjoined: BTreeSet<ObjectId>,
    /// How often a round began.
    pub(super) turns: u64,
    /// For the sake of which state somebody was met last, and whom this round is to meet.
    pub(super) last: Option<ObjectId>,
    pub(super) meant: Option<NodeId>,
    /// What was answered over links in this round, in bytes, or took as long to find out; and how
    /// long what others answered took.
    pub(super) answered: usize,
    pub(super) taken: usize,
    pub(super) rng: Rng,
}

pub(super) struct State {
    pub(super) spec: Arc<Spec>,
    /// The hash of its type.
    pub(super) ty: u64,
    pub(super) topic: Topic,
    pub(super) author: Author,
    pub(super) store: Store,
    pub(super) digest: u64,
    /// What its application wrote in this step.
    pub(super) unsaid: Store,
    /// Writes of its own of which nobody was told.
    pub(super) beyond: Vec<Dot>,
    /// Writes of others that are somewhere, and not here.
    expected: BTreeSet<Dot>,
    /// Its application was not told of something, for want of room.
    pub(super) is_behind: bool,
    /// Who was asked what is lacking, and in which round.
    pub(super) asked: Option<(NodeId, u64)>,
    /// Nobody is asked before this round: a link had no room, and what is asked takes long to sum
    /// up; or there was no room here for what was answered.
    pub(super) rests_until: u64,
}

/// How many have to agree before a state is settled, and how often others are still asked.
pub(super) struct Unsettled {
    wanted: u32,
    tries: u32,
}

impl SoftStates {
    pub(in crate::agent) const fn new(rng: Rng) -> Self {
        Self {
            open: BTreeMap::new(),
            objects: BTreeMap::new(),
            unsettled: BTreeMap::new(),
            unsaid: BTreeSet::new(),
            unjoined: BTreeSet::new(),
            turns: 0,
            last: None,
            meant: None,
            answered: 0,
            taken: 0,
            rng,
        }
    }

    pub(in crate::agent) fn has(&self, object: ObjectId) -> bool {
        self.open.contains_key(&object)
    }

    /// The object of which this is said along the tree.
    pub(in crate::agent) fn of_topic(&self, topic: Topic) -> Option<ObjectId> {
        self.objects.get(&topic).copied()
    }

    pub(in crate::agent) fn open(&mut self, object: ObjectId, spec: Arc<Spec>) {
        let store = Store::default();
        let ty = claims::hash(&spec.ty);
        let topic = Topic::new(object, ty);
        let state = State {
            ty,
            topic,
            spec,
            author: Author::new(self.rng.random()),
            digest: store.digest(),
            store,
            unsaid: Store::default(),
            beyond: Vec::new(),
            expected: BTreeSet::new(),
            is_behind: false,
            asked: None,
            rests_until: 0,
        };
        self.open.insert(object, state);
        self.objects.insert(topic, object);
        self.unjoined.insert(object);
        self.hurry(object);
    }

    pub(in crate::agent) fn close(&mut self, object: ObjectId) {
        if let Some(state) = self.open.remove(&object) {
            self.objects.remove(&state.topic);
        }
        self.unsettled.remove(&object);
        self.unsaid.remove(&object);
        self.unjoined.remove(&object);
    }

    /// A state may be another elsewhere.
    pub(in crate::agent) fn hurry(&mut self, object: ObjectId) {
        if self.has(object) {
            self.unsettled.insert(object, Unsettled { wanted: AGREEMENTS, tries: TRIES });
        }
    }

    /// Whether a state is unsettled.
    pub(in crate::agent) fn is_moving(&self) -> bool {
        !self.unsettled.is_empty()
    }

    /// The application has read on.
    pub(in crate::agent) fn drained(&mut self, object: ObjectId, io: &mut Io<'_>) {
        let Some(state) = self.open.get_mut(&object).filter(|state| state.is_behind) else {
            return;
        };
        state.is_behind = false;
        let all = state.store.encode();
        state.tell(object, all, io);
    }

    /// For the sake of which state somebody is met next, if any: those that are unsettled first.
    pub(super) fn next(&mut self) -> Option<ObjectId> {
        let after = self.last.map_or(Unbounded, Excluded);
        let unsettled = self.unsettled.range((after, Unbounded)).chain(&self.unsettled);
        let next = unsettled.map(|(object, _)| *object).next();
        let is_turn = self.turns.is_multiple_of(CALM_TURNS);
        let mut all = self.open.range((after, Unbounded)).chain(&self.open);
        let next = next.or_else(|| is_turn.then(|| all.next().map(|(object, _)| *object))?);
        self.last = next.or(self.last);
        next
    }

    /// Somebody has the same of a state: too little, if more is known to be somewhere.
    pub(super) fn on_agreement(&mut self, object: ObjectId) {
        let Some(unsettled) = self.unsettled.get_mut(&object) else { return };
        if self.open[&object].expected.is_empty() {
            unsettled.wanted -= 1;
            if unsettled.wanted == 0 {
                self.unsettled.remove(&object);
            }
        }
    }

    /// Nobody is met for the sake of a state any more, until something is new.
    pub(super) fn settle(&mut self, object: ObjectId) {
        self.unsettled.remove(&object);
        if let Some(state) = self.open.get_mut(&object) {
            state.expected.clear();
        }
    }

    /// Somewhere there is this of a state.
    pub(super) fn expect(&mut self, object: ObjectId, dots: &[Dot]) {
        let Some(state) = self.open.get_mut(&object) else { return };
        let room = EXPECTED_MAX.saturating_sub(state.expected.len());
        let lacking = dots.iter().filter(|dot| !state.store.context().has(**dot));
        let lacking: Vec<Dot> = lacking.take(room).copied().collect();
        if !lacking.is_empty() {
            state.expected.extend(lacking);
            self.hurry(object);
        }
    }

    /// The same for nodes that have the same of the same states.
    pub(super) fn fold(&self) -> u64 {
        let of = |(object, state): (&ObjectId, &State)| {
            mix(mix(short(*object)) ^ state.ty) ^ mix(state.digest)
        };
        self.open.iter().fold(0, |fold, state| mix(fold ^ of(state)))
    }

    /// Which object is called so for short.
    pub(super) fn named(&self, called: u64) -> Option<ObjectId> {
        let id = |low: u64| {
            let both = u128::from(called) << 64 | u128::from(low);
            ObjectId::from_bytes(both.to_be_bytes())
        };
        self.open.range(id(0)..=id(u64::MAX)).next().map(|(object, _)| *object)
    }

    fn listed(&self, object: ObjectId) -> (u64, u64) {
        (short(object), self.open[&object].digest)
    }

    /// What is said to whom this node meets: of some states that are unsettled, those first for
    /// whose sake it does.
    pub(super) fn ask(&mut self, room: usize) -> SoftSection {
        let from = self.last.map_or(0, |last| self.unsettled.range(..last).count());
        let some = self.unsettled.keys().cycle().skip(from);
        let some = some.take(self.unsettled.len().min(room).min(LISTED_MAX));
        let some: Vec<ObjectId> = some.copied().collect();
        for object in &some {
            let unsettled = self.unsettled.get_mut(object).expect("it was just seen");
            unsettled.tries -= 1;
            if unsettled.tries == 0 {
                self.settle(*object);
            }
        }
        self.last = some.last().copied().or(self.last);
        let listed = some.into_iter().map(|object| self.listed(object)).collect();
        SoftSection { fold: self.fold(), listed }
    }

    /// What is said to whoever asks: nothing of which he spoke is left out, if it is open here.
    pub(super) fn answer(&self, asked: &SoftSection, room: usize) -> SoftSection {
        let (fold, room) = (self.fold(), room.min(LISTED_MAX));
        if asked.fold == fold {
            return SoftSection { fold, listed: Vec::new() };
        }
        let theirs = asked.listed.iter().take(LISTED_MAX);
        let mut some: Vec<ObjectId> = theirs.filter_map(|it| self.named(it.0)).take(room).collect();
        let from = self.turns as usize * LISTED_MAX % self.open.len().max(1);
        let more = self.open.keys().cycle().skip(from).take(self.open.len().min(2 * LISTED_MAX));
        let mut more: Vec<ObjectId> = more.filter(|it| !some.contains(it)).copied().collect();
        more.truncate(room - some.len());
        some.append(&mut more);
        SoftSection { fold, listed: some.into_iter().map(|it| self.listed(it)).collect() }
    }

    /// The state of an object, if it is of this type.
    pub(super) fn of_type(
        &mut self,
        object: ObjectId,
        ty: u64,
        io: &mut Io<'_>,
    ) -> Option<&mut State> {
        let state = self.open.get_mut(&object)?;
        if state.ty != ty {
            io.count("gossip.delta_of_other_type");
            return None;
        }
        Some(state)
    }

    /// Takes in what is new of a state, and tells the application.
    ///
    /// If it says that this holder wrote more than it did, others who hear that would take what it
    /// writes next for known, and so it writes as another author from then on. If there is no room
    /// for so many authors, what those wrote is heard whom this holder knows. Tells whether there
    /// was room for all.
    pub(super) fn take_in(&mut self, object: ObjectId, delta: &Store, io: &mut Io<'_>) -> bool {
        let Some(state) = self.open.get_mut(&object) else { return true };
        let own = |store: &Store| store.context().last(state.author);
        if own(delta) > own(&state.store) {
            io.count("gossip.author_forged");
            state.author = Author::new(self.rng.random());
            self.unjoined.insert(object);
        }
        let mut of_known = None;
        if state.knows_too_many(delta, Store::KNOWN_BYTES_MAX) {
            io.count("gossip.soft_crowded");
            of_known = Some(delta.of_authors(state.store.context()));
        }
        let delta = of_known.as_ref().unwrap_or(delta);
        let merged = state.hear(delta);
        match merged {
            Merged::Known => {}
            Merged::Changed => {
                state.tell(object, delta.encode(), io);
                self.hurry(object);
            }
            Merged::Full => io.count("gossip.soft_full"),
        }
        of_known.is_none() && merged != Merged::Full
    }
}

/// What became of a delta.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Merged {
    Known,
    Changed,
    /// The state would be too large.
    Full,
}

impl State {
    /// Takes in what its application wrote.
    pub(super) fn merge(&mut self, delta: &Store) -> Merged {
        self.merge_within(delta, Store::BYTES_MAX)
    }

    /// Takes in what others tell: of whom it has to know then, that leaves room for its own writes.
    pub(super) fn hear(&mut self, delta: &Store) -> Merged {
        self.merge_within(delta, Store::KNOWN_BYTES_MAX)
    }

    fn merge_within(&mut self, delta: &Store, known_bytes_max: usize) -> Merged {
        let size = self.store.size_with(delta);
        let is_large = size > Store::MERGED_BYTES_MAX && size > self.store.size();
        if is_large || self.knows_too_many(delta, known_bytes_max) {
            return Merged::Full;
        }
        if !self.store.merge(delta) {
            return Merged::Known;
        }
        self.digest = self.store.digest();
        self.expected.retain(|dot| !self.store.context().has(*dot));
        Merged::Changed
    }

    /// Whether its context would be too large with a delta merged in.
    fn knows_too_many(&self, delta: &Store, bytes_max: usize) -> bool {
        let context = self.store.context();
        let bytes = context.size_with(delta.context());
        bytes > bytes_max && bytes > context.size()
    }

    fn tell(&mut self, object: ObjectId, delta: Bytes, io: &mut Io<'_>) {
        let merge = Event::Replicated(ReplicatedEvent::Merge { delta });
        self.is_behind = self.is_behind || io.emit(object, merge).is_err();
    }
}

/// What an object is called for short. Should two be called alike, they are compared more often.
fn short(object: ObjectId) -> u64 {
    halves(object.as_bytes())[0]
}

/// How many in turn have to have the same before a state is settled.
const AGREEMENTS: u32 = 3;

/// How often others are asked at most after a state changed.
const TRIES: u32 = 25;

/// How many writes that are not here a state is remembered to lack.
const EXPECTED_MAX: usize = 256;

/// When all is settled somebody is met once in so many rounds.
const CALM_TURNS: u64 = 8;

/// How many objects a packet lists.
pub(super) const LISTED_MAX: usize = 24;

#[cfg(test)]
mod tests {
    use super::*;
    use live_objects::ObjectType;
    use live_objects::soft::{Holder, Set};

    fn object(number: u64) -> ObjectId {
        let both = u128::from(mix(number)) << 64;
        ObjectId::from_bytes(both.to_be_bytes())
    }

    /// So many open states, with nothing in them.
    fn states(count: u64) -> SoftStates {
        let mut states = SoftStates::new(Rng::from_seed([7; 32]));
        let spec = Spec::new("/state".parse().unwrap(), ObjectType::soft_state());
        let spec = Arc::new(spec);
        (0..count).for_each(|number| states.open(object(number), Arc::clone(&spec)));
        states
    }

    #[test]
    fn who_agrees_has_to_have_what_is_known_to_be_somewhere() {
        let mut states = states(1);
        let it = object(0);
        (1..AGREEMENTS).for_each(|_| states.on_agreement(it));
        assert!(states.is_moving());
        let mut holder = Holder::<Set<u32>>::new(Author::new(1));
        let ((), delta) = holder.write(|items, writer| items.insert(writer, &1)).unwrap();
        holder.merge(&delta);
        let dot = delta.dots().next().unwrap().0;
        states.expect(it, &[dot]);
        (0..9).for_each(|_| states.on_agreement(it));
        assert!(states.is_moving(), "nobody of them had it");
        let state = states.open.get_mut(&it).unwrap();
        assert_eq!(state.merge(&delta), Merged::Changed);
        (0..AGREEMENTS).for_each(|_| states.on_agreement(it));
        assert!(!states.is_moving());
        states.expect(it, &[dot]);
        assert!(!states.is_moving(), "it is here");
        // Of many that nobody ever tells some are remembered, and not for ever.
        let many = (2..1_000).map(|number| Dot { number, ..dot });
        states.expect(it, &many.collect::<Vec<_>>());
        assert_eq!(states.open[&it].expected.len(), EXPECTED_MAX);
        for _ in 0..TRIES {
            assert!(states.is_moving());
            states.ask(1);
        }
        assert!(!states.is_moving() && states.open[&it].expected.is_empty());
    }

    #[test]
    fn all_that_are_unsettled_have_their_turn_and_no_packet_lists_more_than_it_may() {
        let mut states = states(100);
        let mut listed = BTreeSet::new();
        for _ in 0..100_usize.div_ceil(LISTED_MAX - 1) {
            states.next().expect("one of them");
            let section = states.ask(usize::MAX);
            assert_eq!(section.listed.len(), LISTED_MAX);
            listed.extend(section.listed);
        }
        assert_eq!(listed.len(), 100);
        assert_eq!(states.ask(3).listed.len(), 3);
        assert_eq!(states.ask(0).listed, []);
    }

    #[test]
    fn who_is_asked_tells_of_what_was_asked_for_first() {
        let (mut asks, answers) = (states(100), states(60));
        asks.last = Some(object(7));
        let asked = asks.ask(5);
        let answer = answers.answer(&asked, usize::MAX);
        assert_eq!(answer.listed.len(), LISTED_MAX);
        let (known, unknown): (Vec<_>, Vec<_>) =
            asked.listed.iter().partition(|(called, _)| answers.named(*called).is_some());
        assert!(known.iter().all(|it| answer.listed.contains(it)));
        assert!(unknown.iter().all(|it| !answer.listed.contains(it)));
        // Who has the same of the same says no more than that.
        let same = states(100);
        assert_eq!(same.answer(&asked, usize::MAX).listed, []);
        assert_eq!(same.fold(), asks.fold());
    }

    #[test]
    fn at_rest_each_has_its_turn_now_and_then() {
        let mut states = states(3);
        (0..3).for_each(|number| states.settle(object(number)));
        let turns = 3 * CALM_TURNS;
        let mut met = BTreeSet::new();
        for turn in 0..turns {
            states.turns = turn;
            let next = states.next();
            assert_eq!(next.is_some(), turn % CALM_TURNS == 0);
            met.extend(next);
        }
        assert_eq!(met.len(), 3);
    }
}
