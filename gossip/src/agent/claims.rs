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
//! knew its own holders all along, so nobody closes for having counted too few of them. Before it
//! closes, a node asks one who is said to claim the other type whether that is so: what was said in
//! his name he overrules, and the doubt is over.
//!
//! A name that many hold needs some witnesses, not all (`records/witnesses`): a holder that knows
//! of enough with lower lots keeps its claim to itself, and so do all who hear of it. How many
//! holders there are is told by the lots of the witnesses then.
//!
//! Invariant: nothing is told to an object after it was refused or closed.

use core::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use live_objects::{Closure, Event, Io, Kind, Name, NodeId, ObjectId, ObjectType, Spec, Time};
use sha2::{Digest, Sha256};

use super::{Agent, Gossip};
use crate::records::witnesses::{Lots, lot};
use crate::records::{RECORD_BYTES_MAX, Record, RecordKey, place};

/// What this node claims, and which of its claims meet others.
pub(super) struct Claims {
    directory: ObjectId,
    own: BTreeMap<ObjectId, Arc<Spec>>,
    /// Those of them that this node keeps to itself, and until when.
    unsaid: BTreeMap<ObjectId, Wait>,
    doubts: BTreeMap<ObjectId, Doubt>,
    /// Objects that are closed, whose applications had no room to hear it.
    closures: BTreeMap<ObjectId, ObjectType>,
    /// What those who are up claim.
    claimed: BTreeSet<ObjectId>,
}

/// A weak object of this node, whose name others claim for another type.
#[derive(Clone, Copy)]
struct Doubt {
    since: u64,
    /// In which round claims last changed.
    changed: u64,
    /// Whether somebody is being asked if he claims what prevails.
    is_asked: bool,
    /// Of which type, by its hash, one who claims it said so himself, or did not object.
    confirmed: Option<u64>,
}

/// Of which records under a key was heard.
#[derive(Default)]
pub(super) struct Claimed {
    /// Whose was the first that they had there.
    newcomers: Vec<NodeId>,
    /// Whether there was another too.
    is_other: bool,
}

impl Claimed {
    /// A record: the first that this node had there, or another.
    pub(super) fn of(newcomer: Option<NodeId>) -> Self {
        let mut claimed = Self::default();
        claimed.add(newcomer);
        claimed
    }

    pub(super) fn add(&mut self, newcomer: Option<NodeId>) {
        match newcomer {
            Some(newcomer) => self.newcomers.push(newcomer),
            None => self.is_other = true,
        }
    }
}

/// A claim that this node keeps to itself.
#[derive(Clone, Copy)]
struct Wait {
    /// Since which round there have been too few witnesses.
    since: u64,
    /// In which round it is said; none while there are enough.
    due: Option<u64>,
}

/// A type that claims a name, and the lots of those who say that they hold it.
#[derive(Clone)]
struct Rival {
    ty: ObjectType,
    lots: Lots,
}

impl Claims {
    pub(super) fn new() -> Self {
        Self {
            directory: claims_name().id(),
            own: BTreeMap::new(),
            unsaid: BTreeMap::new(),
            doubts: BTreeMap::new(),
            closures: BTreeMap::new(),
            claimed: BTreeSet::new(),
        }
    }

    /// Whether somebody who is up says that he has an object open.
    pub(super) fn is_claimed(&self, object: ObjectId) -> bool {
        self.own.contains_key(&object) || self.claimed.contains(&object)
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
        let mut ours = rivals.remove(&hash(&spec.ty)).map_or(Lots::default(), |same| same.lots);
        ours.insert(self.own_lot(spec));
        let held = strongest(rivals)?;
        (held.ty.is_strong() || held.lots.holders() >= ours.holders()).then_some(held.ty)
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
        let rivals = self.rivals(&spec.name);
        self.claims.own.insert(object, spec);
        self.claims.unsaid.insert(object, Wait { since: self.rounds, due: None });
        self.wait_for_witnesses(object, &rivals);
        let is_due = self.claims.unsaid[&object].due.is_some_and(|due| due <= self.rounds);
        if is_query || is_due {
            self.say_claim(object, io);
        }
        self.doubt_of(object, &rivals);
    }

    fn say_claim(&mut self, object: ObjectId, io: &mut Io<'_>) {
        self.claims.unsaid.remove(&object);
        let (key, ty) = record_of(&self.claims.own[&object]);
        let records = &mut self.shelves.claims.records;
        self.queries.on_claim(&key);
        if !records.write(self.claims.directory, key.clone(), Some(ty), self.rounds) {
            io.count("gossip.records_full");
        }
        self.cut_to_witnesses(object, &key);
    }

    /// Drops claims beside those of the witnesses. This node's own may be one of them. Gives whose
    /// they were.
    fn cut_to_witnesses(&mut self, object: ObjectId, name: &[u8]) -> Vec<NodeId> {
        let cut = self.shelves.claims.records.cut_to_witnesses(self.claims.directory, name);
        if cut.contains(&self.knowledge.members().me()) {
            self.claims.unsaid.insert(object, Wait { since: self.rounds, due: None });
        }
        cut
    }

    /// Finds when to say a claim that this node keeps to itself, if ever.
    fn wait_for_witnesses(&mut self, object: ObjectId, rivals: &BTreeMap<u64, Rival>) {
        let Some(wait) = self.claims.unsaid.get(&object).copied() else { return };
        let spec = &self.claims.own[&object];
        let (none, up) = (Lots::default(), self.cluster_size());
        let lots = rivals.get(&hash(&spec.ty)).map_or(&none, |same| &same.lots);
        let waits = lots.waits(self.own_lot(spec), up);
        let since = if wait.due.is_some() { wait.since } else { self.rounds };
        let wait = Wait { since, due: waits.map(|rounds| since + rounds) };
        self.claims.unsaid.insert(object, wait);
    }

    /// Says the claims that have waited for witnesses in vain.
    fn say_claims(&mut self, io: &mut Io<'_>) {
        let doubts = &self.claims.doubts;
        let is_due = |(object, wait): &(&ObjectId, &Wait)| {
            wait.due.is_some_and(|due| due <= self.rounds) && !doubts.contains_key(object)
        };
        let due = self.claims.unsaid.iter().filter(is_due).map(|(object, _)| *object);
        for object in due.collect::<Vec<_>>() {
            self.say_claim(object, io);
        }
    }

    /// The lot that this node has among the holders of a name.
    fn own_lot(&self, spec: &Spec) -> u64 {
        let own = self.knowledge.members().own().member;
        lot(place(self.claims.directory, spec.name.as_str().as_bytes()), own)
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
        if let Some(spec) = self.claims.own.remove(&object) {
            let key = Bytes::copy_from_slice(spec.name.as_str().as_bytes());
            self.queries.on_claim(&key);
            let records = &mut self.shelves.claims.records;
            if is_said {
                records.withdraw(self.claims.directory, key, self.rounds);
            } else {
                records.drop_own(self.claims.directory, key);
            }
        }
    }

    /// A record changed, or is shown or hidden: if it is a claim, a name may be in doubt.
    pub(super) fn doubt(&mut self, key: &RecordKey) {
        self.doubt_said(key.object, &key.key, Claimed::of(None));
    }

    /// Records under a key were heard of: if they are claims, a name may be in doubt. Those of
    /// newcomers are cut at once beside enough witnesses, and then nothing is other than it was.
    pub(super) fn doubt_said(&mut self, directory: ObjectId, key: &Bytes, mut said: Claimed) {
        let Some(object) = self.object_of(directory, key) else { return };
        let mut cut = self.cut_to_witnesses(object, key);
        cut.sort_unstable();
        said.newcomers.sort_unstable();
        if !said.is_other && cut == said.newcomers {
            // Whoever holds it may still know more of it.
            self.soft.hurry(object);
        } else {
            self.on_claims(object, directory, key);
        }
    }

    /// Which object a record claims, if it does.
    fn object_of(&mut self, directory: ObjectId, key: &Bytes) -> Option<ObjectId> {
        if directory != self.claims.directory {
            return None;
        }
        self.queries.on_claim(key);
        let name = std::str::from_utf8(key).ok().and_then(|text| text.parse().ok());
        name.map(|name: Name| name.id())
    }

    /// Other claims than before are held of an object.
    fn on_claims(&mut self, object: ObjectId, directory: ObjectId, key: &Bytes) {
        let records = &self.shelves.claims.records;
        let is_modest = |node| records.count_of(node) <= CLAIMS_OF_ONE_MAX;
        let is_claimed = records.at(directory, key).any(|claim| is_modest(claim.publisher.node));
        if is_claimed {
            self.claims.claimed.insert(object);
        } else {
            self.claims.claimed.remove(&object);
        }
        // Whoever holds it now may know more of it.
        self.soft.hurry(object);
        if let Some(spec) = self.claims.own.get(&object) {
            let rivals = self.rivals(&spec.name);
            self.doubt_of(object, &rivals);
            self.wait_for_witnesses(object, &rivals);
        }
    }

    /// Settles what was in doubt for long enough.
    pub(super) fn on_round_of_claims(&mut self, now: Time, io: &mut Io<'_>) {
        self.say_claims(io);
        self.aggregates.drop_strays(|object| self.claims.is_claimed(object));
        self.nearest.drop_strays(|object| self.claims.is_claimed(object));
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
            let own = Rival { ty: spec.ty.clone(), lots: Lots::default() };
            let own = all.entry(ours).or_insert(own);
            if !self.claims.unsaid.contains_key(&object) {
                own.lots.insert(self.own_lot(&spec));
            }
            if all.len() == 1 {
                self.claims.doubts.remove(&object);
                continue;
            }
            let theirs = strongest(all).expect("ours is among them").ty;
            if theirs == spec.ty {
                continue;
            }
            let doubt = self.claims.doubts[&object];
            if doubt.confirmed == Some(hash(&theirs)) {
                self.give_up(now, object, theirs, io);
            } else if !doubt.is_asked {
                self.ask_claimant(now, (object, &spec), &theirs, io);
            }
        }
    }

    /// Asks one of those who are said to claim a name for this type. Each node asks another.
    fn ask_claimant(
        &mut self,
        now: Time,
        (object, spec): (ObjectId, &Spec),
        theirs: &ObjectType,
        io: &mut Io<'_>,
    ) {
        let directory = self.claims.directory;
        let (name, _) = record_of(spec);
        let claims = self.shelves.claims.records.at(directory, &name);
        let claims = claims.filter(|claim| type_of(&claim.value).as_ref() == Some(theirs));
        let those: Vec<NodeId> = claims.map(|claim| claim.publisher.node).collect();
        let turn = self.own_lot(spec).wrapping_add(self.rounds) as usize;
        let Some(claimant) = those.get(turn % those.len().max(1)).copied() else { return };
        let key = RecordKey { object: directory, key: name, publisher: claimant };
        if self.put_claim(now, object, key, io) {
            self.doubted(object).is_asked = true;
        }
    }

    /// Whoever was asked claims this, or nothing. If he did not answer what others say in his name
    /// is believed.
    pub(super) fn on_claimant(&mut self, object: ObjectId, claimed: Option<&Record>) {
        if !self.claims.doubts.contains_key(&object) {
            return;
        }
        let value = claimed.and_then(|claim| claim.value.as_deref());
        let doubt = self.doubted(object);
        doubt.is_asked = false;
        doubt.confirmed = value.and_then(type_of).map(|ty| hash(&ty)).or(doubt.confirmed);
    }

    fn doubted(&mut self, object: ObjectId) -> &mut Doubt {
        self.claims.doubts.get_mut(&object).expect("it is in doubt")
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
        self.stop_carrying(now, object, io);
        self.tell_closed(object, theirs, io);
    }

    fn tell_closed(&mut self, object: ObjectId, theirs: ObjectType, io: &mut Io<'_>) {
        let closed = Event::Closed(Closure::TypeConflict { theirs: theirs.clone() });
        if io.emit(object, closed).is_err() {
            self.claims.closures.insert(object, theirs);
        }
    }

    /// A weak object of this node is in doubt if its name is claimed for another type.
    fn doubt_of(&mut self, object: ObjectId, rivals: &BTreeMap<u64, Rival>) {
        let Some(spec) = self.claims.own.get(&object).filter(|spec| !spec.ty.is_strong()) else {
            return;
        };
        let ours = hash(&spec.ty);
        let is_met = rivals.keys().any(|theirs| *theirs != ours);
        let round = self.rounds;
        if !is_met {
            self.claims.doubts.remove(&object);
        } else if let Some(doubt) = self.claims.doubts.get_mut(&object) {
            doubt.changed = round;
        } else {
            let doubt = Doubt { since: round, changed: round, is_asked: false, confirmed: None };
            self.claims.doubts.insert(object, doubt);
        }
    }

    /// The types that other nodes claim a name for, by their hashes.
    fn rivals(&self, name: &Name) -> BTreeMap<u64, Rival> {
        let me = self.knowledge.members().me();
        let (records, key) = (&self.shelves.claims.records, name.as_str().as_bytes());
        let claims = records.lots_at(self.claims.directory, key);
        // Most claim the same: what that is, is found out once.
        let mut by_value: BTreeMap<&Bytes, Lots> = BTreeMap::new();
        for (_, lot, value) in claims.filter(|(claimant, ..)| *claimant != me) {
            by_value.entry(value).or_default().insert(lot);
        }
        let mut rivals: BTreeMap<u64, Rival> = BTreeMap::new();
        for (value, lots) in by_value {
            let Some(ty) = type_of(value) else { continue };
            let rival = Rival { ty, lots: Lots::default() };
            rivals.entry(hash(&rival.ty)).or_insert(rival).lots.merge(&lots);
        }
        rivals
    }
}

/// The key and the value of a claim.
fn record_of(spec: &Spec) -> (Bytes, Bytes) {
    let ty = postcard::to_allocvec(&spec.ty).expect("memory takes every type");
    (Bytes::copy_from_slice(spec.name.as_str().as_bytes()), ty.into())
}

/// The type that is claimed, but for those of later versions, which this one cannot read.
fn type_of(value: &[u8]) -> Option<ObjectType> {
    postcard::from_bytes(value).ok()
}

/// The one that prevails.
fn strongest(rivals: BTreeMap<u64, Rival>) -> Option<Rival> {
    let order =
        |hash: u64, rival: &Rival| (rival.ty.is_strong(), rival.lots.holders(), Reverse(hash));
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

/// What is claimed by whoever claims more than so much is taken for claimed by nobody, where only
/// so much of what others claim is kept.
const CLAIMS_OF_ONE_MAX: usize = 512;

/// How long claims that met have to settle, in rounds after the last change.
const SETTLE_ROUNDS: u64 = 5;

/// How long at most, in rounds after they met.
const SETTLE_ROUNDS_MAX: u64 = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use live_objects::Order;

    fn rivals(of: &[(ObjectType, u64)]) -> BTreeMap<u64, Rival> {
        let rival = |(ty, holders): &(ObjectType, u64)| {
            let lots = (0..*holders).map(|number| u64::MAX / 9 * number).collect();
            (hash(ty), Rival { ty: ty.clone(), lots })
        };
        of.iter().map(rival).collect()
    }

    fn prevails(of: &[(ObjectType, u64)]) -> ObjectType {
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
