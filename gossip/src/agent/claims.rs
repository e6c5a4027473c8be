//! Claims of names: which object a name means, where nobody agrees on anything for certain.
//!
//! Each holder of a weak object publishes a record that says so, and so it does for each strong
//! object that another module of its node has open. These *claims* are records of the directory
//! [`Gossip::CLAIMS`], under the object's name, with its type for a value; so they travel and are
//! mended as all records are, and anybody can list them.
//!
//! Of two types that claim one name, strong beats weak, then the one with more holders, then the
//! one with the smaller hash: no clock decides. A name that is known to be taken is refused at
//! once. Claims that were made unseen by each other, as on both sides of a partition, are given
//! some rounds to settle when they meet; then those whose type loses close their objects. Each side
//! knew its own holders all along, so nobody closes for having counted too few of them.
//!
//! In a large cluster a name that many hold needs some witnesses, not all: a holder that knows of
//! enough claims of its type keeps its own to itself, and while there are fewer it says it with a
//! chance that grows by the round (as receivers of multicast keep from all asking at once:
//! Nonnenmacher and Biersack, "Scalable feedback for large groups", 1999). What is counted then is
//! witnesses.
//!
//! Invariant: nothing is told to an object after it was refused or closed.

use core::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use live_objects::{Closure, Event, Io, Kind, Name, ObjectId, ObjectType, Spec, Time};
use rand::RngExt;
use sha2::{Digest, Sha256};

use super::{Agent, Gossip};
use crate::records::{RECORD_BYTES_MAX, RecordKey};

/// What this node claims, and which of its claims meet others.
pub(super) struct Claims {
    directory: ObjectId,
    own: BTreeMap<ObjectId, Arc<Spec>>,
    /// Those of them that this node has not said, and for how many rounds they wanted for
    /// witnesses.
    unsaid: BTreeMap<ObjectId, i32>,
    doubts: BTreeMap<ObjectId, Doubt>,
    /// Objects that are closed, whose applications had no room to hear it.
    closures: BTreeMap<ObjectId, ObjectType>,
}

/// A weak object of this node, whose name others claim for another type: since when, and when that
/// last changed.
#[derive(Clone, Copy)]
struct Doubt {
    since: u64,
    changed: u64,
}

/// A type that claims a name, and how many others hold it.
#[derive(Clone)]
struct Rival {
    ty: ObjectType,
    holders: usize,
}

impl Claims {
    pub(super) fn new() -> Self {
        Self {
            directory: claims_name().id(),
            own: BTreeMap::new(),
            unsaid: BTreeMap::new(),
            doubts: BTreeMap::new(),
            closures: BTreeMap::new(),
        }
    }

    /// Whether some name is in doubt.
    pub(super) fn is_any_in_doubt(&self) -> bool {
        !self.doubts.is_empty()
    }

    /// The object that claims are records of.
    pub(super) const fn directory(&self) -> ObjectId {
        self.directory
    }
}

impl Agent {
    /// The type that an object's name is known to have, if that stands against opening it.
    pub(super) fn held(&self, spec: &Spec) -> Option<ObjectType> {
        if spec.name.id() == self.claims.directory {
            let directory = ObjectType::directory();
            return (spec.ty != directory).then_some(directory);
        }
        let mut rivals = self.rivals(&spec.name);
        let ours = 1 + rivals.remove(&hash(&spec.ty)).map_or(0, |same| same.holders);
        let held = strongest(rivals)?;
        (held.ty.is_strong() || held.holders >= ours).then_some(held.ty)
    }

    /// This node has an object open from now on.
    pub(super) fn claim(&mut self, object: ObjectId, spec: Arc<Spec>, io: &mut Io<'_>) {
        if object == self.claims.directory || spec.ty.kind == Kind::Members {
            return;
        }
        let (key, ty) = record_of(&spec);
        if key.len() + ty.len() > RECORD_BYTES_MAX {
            io.count("gossip.claim_too_long");
            return;
        }
        // Of a query all are to hear, and soon.
        let is_query = matches!(spec.ty.kind, Kind::Query(_));
        self.claims.own.insert(object, spec);
        if is_query || self.knowledge.members().up_count() <= WITNESSES_ALL_MAX {
            self.say_claim(object, io);
        } else {
            self.claims.unsaid.insert(object, 0);
        }
        self.doubt_of(object);
    }

    fn say_claim(&mut self, object: ObjectId, io: &mut Io<'_>) {
        self.claims.unsaid.remove(&object);
        let (key, ty) = record_of(&self.claims.own[&object]);
        let records = &mut self.shelves.claims.records;
        self.queries.on_claim(&key);
        if !records.write(self.claims.directory, key, Some(ty), self.rounds) {
            io.count("gossip.records_full");
        }
    }

    /// Says claims that want for witnesses, if chance has it.
    fn say_claims(&mut self, io: &mut Io<'_>) {
        let up = self.knowledge.members().up_count() as f64;
        for object in self.claims.unsaid.keys().copied().collect::<Vec<_>>() {
            let spec = &self.claims.own[&object];
            let same = self.rivals(&spec.name).remove(&hash(&spec.ty));
            let witnesses = same.map_or(0, |same| same.holders);
            let is_doubted = self.claims.doubts.contains_key(&object);
            let rounds = self.claims.unsaid.get_mut(&object).expect("it was just there");
            if witnesses >= WITNESSES_MAX || is_doubted {
                *rounds = 0;
                continue;
            }
            let chance = (1.5_f64.powi(*rounds) / up).min(1.0);
            *rounds += 1;
            if self.rng.random_bool(chance) {
                self.say_claim(object, io);
            }
        }
    }

    /// Another module of this node has a strong object open no more. A weak one may have its name
    /// by now.
    pub(super) fn on_strong_closed(&mut self, object: ObjectId) {
        if self.claims.own.get(&object).is_some_and(|spec| spec.ty.is_strong()) {
            self.unclaim(object);
        }
    }

    /// This node has an object open no more.
    pub(super) fn unclaim(&mut self, object: ObjectId) {
        self.claims.doubts.remove(&object);
        self.claims.closures.remove(&object);
        let is_said = self.claims.unsaid.remove(&object).is_none();
        if let Some(spec) = self.claims.own.remove(&object).filter(|_| is_said) {
            let key = Bytes::copy_from_slice(spec.name.as_str().as_bytes());
            self.queries.on_claim(&key);
            self.shelves.claims.records.withdraw(self.claims.directory, key, self.rounds);
        }
    }

    /// A record changed, or is shown or hidden: if it is a claim, a name may be in doubt.
    pub(super) fn doubt(&mut self, key: &RecordKey) {
        if key.object != self.claims.directory {
            return;
        }
        self.queries.on_claim(&key.key);
        if self.claims.own.is_empty() {
            return;
        }
        let name = std::str::from_utf8(&key.key).ok().and_then(|text| text.parse().ok());
        if let Some(object) = name.map(|name: Name| name.id()) {
            self.doubt_of(object);
        }
    }

    /// Settles what was in doubt for long enough.
    pub(super) fn on_round_of_claims(&mut self, now: Time, io: &mut Io<'_>) {
        self.say_claims(io);
        let round = self.rounds;
        let is_due = |doubt: &Doubt| {
            round >= doubt.changed + SETTLE_ROUNDS || round >= doubt.since + SETTLE_ROUNDS_MAX
        };
        let doubts = self.claims.doubts.iter().filter(|(_, doubt)| is_due(doubt));
        let due: Vec<ObjectId> = doubts.map(|(object, _)| *object).collect();
        for object in due {
            let spec = Arc::clone(&self.claims.own[&object]);
            let ours = hash(&spec.ty);
            let mut all = self.rivals(&spec.name);
            let own = Rival { ty: spec.ty.clone(), holders: 0 };
            let is_said = !self.claims.unsaid.contains_key(&object);
            all.entry(ours).or_insert(own).holders += usize::from(is_said);
            if all.len() == 1 {
                self.claims.doubts.remove(&object);
                continue;
            }
            let theirs = strongest(all).expect("ours is among them").ty;
            if theirs != spec.ty {
                self.give_up(now, object, theirs, io);
            }
        }
    }

    /// The application has read on: it may have to hear that its object is closed.
    pub(super) fn on_closed_drained(&mut self, object: ObjectId, io: &mut Io<'_>) {
        if let Some(theirs) = self.claims.closures.remove(&object) {
            self.tell_closed(object, theirs, io);
        }
    }

    /// An object of this node gives way to one of another type.
    fn give_up(&mut self, now: Time, object: ObjectId, theirs: ObjectType, io: &mut Io<'_>) {
        io.count("gossip.type_conflict");
        self.stop_carrying(now, object);
        self.tell_closed(object, theirs, io);
    }

    fn tell_closed(&mut self, object: ObjectId, theirs: ObjectType, io: &mut Io<'_>) {
        let closed = Event::Closed(Closure::TypeConflict { theirs: theirs.clone() });
        if io.emit(object, closed).is_err() {
            self.claims.closures.insert(object, theirs);
        }
    }

    /// A weak object of this node is in doubt if its name is claimed for another type.
    fn doubt_of(&mut self, object: ObjectId) {
        let Some(spec) = self.claims.own.get(&object).filter(|spec| !spec.ty.is_strong()) else {
            return;
        };
        let ours = hash(&spec.ty);
        let is_met = self.rivals(&spec.name).keys().any(|theirs| *theirs != ours);
        let round = self.rounds;
        if let Some(doubt) = self.claims.doubts.get_mut(&object) {
            doubt.changed = round;
        } else if is_met {
            self.claims.doubts.insert(object, Doubt { since: round, changed: round });
        }
    }

    /// The types that other nodes claim a name for, by their hashes.
    fn rivals(&self, name: &Name) -> BTreeMap<u64, Rival> {
        let me = self.knowledge.members().me();
        let claims =
            self.shelves.claims.records.at(self.claims.directory, name.as_str().as_bytes());
        let mut rivals: BTreeMap<u64, Rival> = BTreeMap::new();
        for claim in claims.filter(|claim| claim.publisher.node != me) {
            // A later version may claim types that this one cannot read.
            let Ok(ty) = postcard::from_bytes::<ObjectType>(&claim.value) else { continue };
            rivals.entry(hash(&ty)).or_insert(Rival { ty, holders: 0 }).holders += 1;
        }
        rivals
    }
}

/// The key and the value of a claim.
fn record_of(spec: &Spec) -> (Bytes, Bytes) {
    let ty = postcard::to_allocvec(&spec.ty).expect("memory takes every type");
    (Bytes::copy_from_slice(spec.name.as_str().as_bytes()), ty.into())
}

/// The one that prevails.
fn strongest(rivals: BTreeMap<u64, Rival>) -> Option<Rival> {
    let order = |hash: u64, rival: &Rival| (rival.ty.is_strong(), rival.holders, Reverse(hash));
    rivals.into_iter().max_by_key(|(hash, rival)| order(*hash, rival)).map(|(_, rival)| rival)
}

/// By which types are told apart in messages, and the last resort between two that claim a name.
pub(super) fn hash(ty: &ObjectType) -> u64 {
    let bytes = postcard::to_allocvec(ty).expect("memory takes every type");
    let hash: [u8; 32] = Sha256::digest(bytes).into();
    u64::from_be_bytes(hash[..8].try_into().expect("eight of its bytes"))
}

fn claims_name() -> Name {
    Gossip::CLAIMS.parse().expect("it is a name")
}

/// In clusters of up to so many nodes every holder says so.
const WITNESSES_ALL_MAX: usize = 64;

/// How many that say so are enough in larger ones.
const WITNESSES_MAX: usize = 16;

/// How long claims that met have to settle, in rounds after the last change.
const SETTLE_ROUNDS: u64 = 5;

/// How long at most, in rounds after they met.
const SETTLE_ROUNDS_MAX: u64 = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use live_objects::Order;

    fn rivals(of: &[(ObjectType, usize)]) -> BTreeMap<u64, Rival> {
        let rival = |(ty, holders): &(ObjectType, usize)| {
            (hash(ty), Rival { ty: ty.clone(), holders: *holders })
        };
        of.iter().map(rival).collect()
    }

    fn prevails(of: &[(ObjectType, usize)]) -> ObjectType {
        strongest(rivals(of)).expect("there are some").ty
    }

    #[test]
    fn strong_beats_weak_then_many_beat_few() {
        let (topic, directory) = (ObjectType::best_effort_topic(), ObjectType::directory());
        let strong = ObjectType::topic(Order::Fifo);
        assert_eq!(prevails(&[(topic.clone(), 9), (strong.clone(), 1)]), strong);
        assert_eq!(prevails(&[(topic.clone(), 2), (directory.clone(), 3)]), directory);
        let smaller = if hash(&topic) < hash(&directory) { &topic } else { &directory };
        assert_eq!(prevails(&[(topic.clone(), 2), (directory.clone(), 2)]), *smaller);
        assert!(strongest(BTreeMap::new()).is_none());
    }

    /// It is part of the wire: all nodes must choose alike.
    #[test]
    fn golden_hash() {
        assert_eq!(hash(&ObjectType::best_effort_topic()), 0x395c_2f55_98a1_643a);
    }
}
