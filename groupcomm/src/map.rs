//! The group map: which groups there are, of what type, and who is in them.
//!
//! It is a state machine that every member of the configuration runs. Changes of it come in the
//! total order of the view's streams, so all members pass through the same maps, which are
//! numbered. Groups are light: a join or a leave is one small message among others, and stops
//! nobody (QSM and Spread make process groups out of a few heavy ones in the same way).
//!
//! A name belongs to the group that has members; whoever opens it with another type is refused.
//! The high half of a map's number is the number of the view, so that numbers grow even if a map is
//! lost with all who held it. It also says in which region each group is (`cover`).
//!
//! Of a replicated state the map says who *holds* it. If the last holder goes while others are
//! still fetching it, the group is *orphaned*: each who is left says whether it has got it after
//! all, and only when nobody has does the state begin anew (it is *founded*).
//!
//! The map also keeps, of members that a view left out, where their streams ended (`fates`).
//! Whoever was cut off and returns learns from it which of its messages were delivered without it,
//! and says only the others again.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Deref;
use std::sync::Arc;

use bytes::Bytes;
use live_objects::{Kind, Member, ObjectId, ObjectType, View};
use serde::{Deserialize, Serialize};

use crate::cover::{Cover, Region};
use crate::places::Places;

/// One opening of an object by one node.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub(crate) struct Speaker {
    pub(crate) member: Member,
    /// Which of the openings in this member's life.
    pub(crate) session: u32,
}

/// What a member asks the map to become.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum Change {
    /// The sender opened an object.
    Join { object: ObjectId, ty: ObjectType, session: u32 },
    /// The sender closed it.
    Leave { object: ObjectId, session: u32 },
    /// The sender holds the group's state from now on.
    Restored { group: u32 },
    /// The sender does not hold the state of a group that is orphaned since this map.
    Bereft { group: u32, since: u64 },
    /// The sender needs a snapshot of the group's state as it is now: those made before are gone.
    Cut { group: u32 },
}

/// What a change did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Effect {
    /// A group has other members from now on.
    Regrouped(Regrouped),
    /// An object has another type than this speaker opened it with.
    Refused { object: ObjectId, by: Speaker, held: ObjectType },
    /// A snapshot of a group's state is wanted.
    Cut { group: u32, by: Member },
    /// A group is orphaned: its members are to say whether they hold its state.
    Orphaned { group: u32 },
    /// All members of a group hold its state: no snapshot is needed any more.
    Complete { group: u32 },
    /// A group is in another region from now on, with the same members.
    Moved { group: u32, from: u32, to: u32 },
    /// There is another region: all its members have part in it, whatever groups they are in.
    Opened { region: u32 },
    /// No group is in a region any more.
    Idle { region: u32 },
}

/// A change of a group's members.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Regrouped {
    pub(crate) group: u32,
    /// The map's number.
    pub(crate) number: u64,
    pub(crate) before: Arc<[Member]>,
    pub(crate) after: Arc<[Member]>,
    /// In which region it was, and is, if it had and has members.
    pub(crate) from: Option<u32>,
    pub(crate) to: Option<u32>,
    /// Those that joined need a snapshot.
    pub(crate) snapshot: bool,
    /// Nobody holds a state: all begin with the initial one.
    pub(crate) founded: bool,
}

/// Who was in the groups that are changed, before they were.
type Before = BTreeMap<u32, Vec<Speaker>>;

/// The groups, at one point of the total order.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Map {
    number: u64,
    next_group: u32,
    /// All who can be in groups.
    #[serde(skip)]
    places: Places,
    groups: BTreeMap<u32, Group>,
    cover: Cover,
    /// Of members that were left out, the last of them last.
    fates: VecDeque<Fate>,
    /// Where streams of members ended that are in the view: they may be cut off since before it.
    ended: Vec<Ended>,
    /// The groups by their objects.
    #[serde(skip)]
    numbers: BTreeMap<ObjectId, u32>,
}

/// A group.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Group {
    pub(crate) object: ObjectId,
    pub(crate) ty: ObjectType,
    seats: Vec<Seat>,
    /// Since which map nobody is known to hold its state.
    orphaned: Option<u64>,
}

/// What became of a member that a view left out.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Fate {
    member: Member,
    /// Its streams, by region, each with the last of its frames that were delivered.
    ends: VecDeque<(u32, u64)>,
}

/// Where a stream of a member ended with a view.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Ended {
    pub(crate) member: Member,
    pub(crate) region: u32,
    pub(crate) last: u64,
}

/// A group, with the names of its members.
#[derive(Clone, Copy)]
pub(crate) struct Seated<'a> {
    group: &'a Group,
    places: &'a Places,
}

/// One opening of a group's object. There may be millions.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Seat {
    /// Whose, by place in the view.
    place: u16,
    session: u32,
    standing: Standing,
}

/// What a member of a group has of its state.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
enum Standing {
    /// It fetches it.
    Lacks,
    /// It does not have it, and has said so since the last holder went; or nobody had it when it
    /// came.
    Bereft,
    /// It has it. So have all members of a group that has none.
    Holds,
}

impl Map {
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    pub(crate) fn group(&self, group: u32) -> Option<Seated<'_>> {
        self.groups.get(&group).map(|group| self.seated(group))
    }

    fn seated<'a>(&'a self, group: &'a Group) -> Seated<'a> {
        Seated { group, places: &self.places }
    }

    /// The place of a member in the view.
    pub(crate) fn place(&self, member: Member) -> Option<usize> {
        self.places.of(member).map(usize::from)
    }

    /// In which region a group is.
    pub(crate) fn region_of(&self, group: u32) -> Option<u32> {
        self.cover.region_of(group)
    }

    pub(crate) fn region(&self, region: u32) -> Option<&Region> {
        self.cover.region(region)
    }

    /// Writes it, for whoever joins.
    pub(crate) fn to_bytes(&self) -> Bytes {
        postcard::to_allocvec(self).expect("memory takes a map").into()
    }

    /// Reads one, of the beginning of this view. None if it is none, or if what it says of groups
    /// and regions does not fit together: nothing behind this need think of that.
    pub(crate) fn from_bytes(bytes: &[u8], view: &View) -> Option<Self> {
        let mut map: Self = postcard::from_bytes(bytes).ok()?;
        map.numbers = map.groups.iter().map(|(number, group)| (group.object, *number)).collect();
        map.places = Places::of_view(view);
        let mut seats = map.groups.values().flat_map(|group| &group.seats);
        let is_sane = map.number == view.epoch.number << 32
            && map.numbers.len() == map.groups.len()
            && map.groups.keys().all(|number| *number < map.next_group)
            && seats.all(|seat| usize::from(seat.place) < map.places.len());
        if !is_sane {
            return None;
        }
        let Self { groups, cover, places, .. } = &mut map;
        let groups = groups.iter().map(|(number, group)| (*number, Seated { group, places }));
        let fits = cover.complete(view, groups.map(|(number, group)| (number, group.members())));
        fits.then_some(map)
    }

    /// All openings of a member.
    pub(crate) fn seats_of(&self, member: Member) -> Vec<(ObjectId, u32)> {
        let Some(place) = self.places.of(member) else { return Vec::new() };
        let seats = self.groups.values().filter_map(|group| {
            let seat = group.seats.iter().find(|seat| seat.place == place)?;
            Some((group.object, seat.session))
        });
        seats.collect()
    }

    /// Whether somebody has joined a group whose state this member holds, and not got it yet.
    pub(crate) fn awaits_state_of(&self, member: Member) -> bool {
        let place = self.places.of(member);
        let mut incomplete = self.groups.values().filter(|group| !group.is_complete());
        incomplete.any(|group| group.holders().any(|holder| Some(holder) == place))
    }

    /// The last frame that was delivered of a member's stream in a region without it, if that is
    /// known.
    pub(crate) fn fate(&self, member: Member, region: u32) -> Option<u64> {
        let fate = self.fates.iter().find(|fate| fate.member == member)?;
        fate.ends.iter().find(|(of, _)| *of == region).map(|(_, last)| *last)
    }

    /// Applies what members ask for, one after the other, and all at once.
    pub(crate) fn apply(&mut self, changes: &[(Member, Vec<Change>)]) -> Vec<Effect> {
        self.number += 1;
        let mut effects = Vec::new();
        let mut before = Before::new();
        let mut cuts = Vec::new();
        let mut restored = BTreeSet::new();
        let each = changes.iter().flat_map(|(by, changes)| changes.iter().map(|it| (*by, it)));
        for (by, change) in each {
            let place = self.places.of(by).expect("only members of the view say something");
            match change {
                Change::Join { object, ty, session } => {
                    if let Err(held) = self.join(*object, ty, (place, *session), &mut before) {
                        let by = Speaker { member: by, session: *session };
                        effects.push(Effect::Refused { object: *object, by, held });
                    }
                }
                Change::Leave { object, session } => {
                    self.leave(*object, (place, *session), &mut before);
                }
                Change::Restored { group } => {
                    let Some(held) = self.groups.get_mut(group) else { continue };
                    held.stand(place, Standing::Holds);
                    held.orphaned = None;
                    for seat in held.seats.iter_mut().filter(|it| it.standing == Standing::Bereft) {
                        seat.standing = Standing::Lacks;
                    }
                    restored.insert(*group);
                }
                Change::Bereft { group, since } => {
                    let Some(held) = self.groups.get_mut(group) else { continue };
                    if held.orphaned == Some(*since) {
                        held.stand(place, Standing::Bereft);
                        before.entry(*group).or_insert_with(|| speakers(held, &self.places));
                    }
                }
                Change::Cut { group } => cuts.push((*group, by)),
            }
        }
        self.regroup(before, &mut effects);
        let is_complete = |group: &u32| self.groups.get(group).is_some_and(Group::is_complete);
        let complete = restored.into_iter().filter(is_complete);
        effects.extend(complete.map(|group| Effect::Complete { group }));
        effects.extend(cuts.into_iter().map(|(group, by)| Effect::Cut { group, by }));
        effects
    }

    /// A view is installed, with which these streams ended. Whoever is not in it is in no group.
    pub(crate) fn install(&mut self, view: &View, ended: &[Ended]) -> Vec<Effect> {
        self.number = view.epoch.number << 32;
        // Nodes that have started again do not come back for what they said before.
        let is_replaced = |member: Member| {
            view.members.iter().any(|other| other.node == member.node && *other != member)
        };
        self.fates.retain(|fate| !is_replaced(fate.member));
        // Whoever is in a view had installed the one before that, if not more.
        let before = std::mem::take(&mut self.ended);
        for ended in before.iter().filter(|ended| !view.has(ended.member)).chain(ended) {
            if view.has(ended.member) {
                self.ended.push(*ended);
            } else if !is_replaced(ended.member) {
                self.note_fate(*ended);
            }
        }
        let mut effects = Vec::new();
        let mut before = Before::new();
        let lost = self.cover.install(view);
        let old = std::mem::replace(&mut self.places, Places::of_view(view));
        let places = (0..old.len()).map(|place| self.places.of(old.member(place as u16)));
        let places: Vec<Option<u16>> = places.collect();
        let place = |seat: &Seat| places[usize::from(seat.place)];
        for (number, group) in &mut self.groups {
            let is_smaller = group.seats.iter().any(|seat| place(seat).is_none());
            if is_smaller {
                before.insert(*number, speakers(group, &old));
                group.seats.retain(|seat| place(seat).is_some());
            }
            for seat in &mut group.seats {
                seat.place = place(seat).expect("the others are gone");
            }
            if !is_smaller && lost.contains(number) {
                let members = Seated { group, places: &self.places }.members();
                self.cover.place(*number, &members, self.number);
            }
        }
        self.regroup(before, &mut effects);
        effects
    }

    /// A stream of a member that is left out ended there.
    fn note_fate(&mut self, Ended { member, region, last }: Ended) {
        let known = self.fates.iter().position(|fate| fate.member == member);
        let known = known.and_then(|place| self.fates.remove(place));
        let mut ends = known.map_or_else(VecDeque::new, |fate| fate.ends);
        ends.push_back((region, last));
        if ends.len() > ENDS_MAX {
            ends.pop_front();
        }
        self.fates.push_back(Fate { member, ends });
        if self.fates.len() > FATES_MAX {
            self.fates.pop_front();
        }
    }

    /// Somebody opened an object, who has this place and says which opening it is; the type that it
    /// has, if that is another.
    fn join(
        &mut self,
        object: ObjectId,
        ty: &ObjectType,
        (place, session): (u16, u32),
        before: &mut Before,
    ) -> Result<(), ObjectType> {
        let number = match self.numbers.get(&object) {
            Some(number) if self.groups[number].ty != *ty => {
                return Err(self.groups[number].ty.clone());
            }
            Some(number) => *number,
            None => {
                let number = self.next_group;
                self.next_group += 1;
                self.groups.insert(number, Group::new(object, ty.clone()));
                self.numbers.insert(object, number);
                number
            }
        };
        let group = self.groups.get_mut(&number).expect("found or made");
        if group.seats.iter().any(|seat| (seat.place, seat.session) == (place, session)) {
            return Ok(());
        }
        before.entry(number).or_insert_with(|| speakers(group, &self.places));
        group.seats.retain(|seat| seat.place != place);
        let standing = match ty.kind {
            Kind::Replicated if group.holders().next().is_some() => Standing::Lacks,
            Kind::Replicated => Standing::Bereft,
            _ => Standing::Holds,
        };
        group.seats.push(Seat { place, session, standing });
        Ok(())
    }

    fn leave(&mut self, object: ObjectId, (place, session): (u16, u32), before: &mut Before) {
        let Some(number) = self.numbers.get(&object) else { return };
        let group = self.groups.get_mut(number).expect("it has a number");
        let is_it = |seat: &Seat| (seat.place, seat.session) == (place, session);
        if group.seats.iter().any(is_it) {
            before.entry(*number).or_insert_with(|| speakers(group, &self.places));
            group.seats.retain(|seat| !is_it(seat));
        }
    }

    /// Says what became of groups, and forgets those that nobody is in.
    fn regroup(&mut self, before: Before, effects: &mut Vec<Effect>) {
        let mut regrouped = Vec::new();
        for (group, before) in before {
            let held = self.groups.get_mut(&group).expect("it was changed just now");
            let founded = !held.seats.is_empty()
                && held.seats.iter().all(|it| it.standing == Standing::Bereft);
            if founded {
                held.seats.iter_mut().for_each(|seat| seat.standing = Standing::Holds);
            }
            let after = Seated { group: held, places: &self.places }.members();
            let number = self.number;
            let is_changed = speakers(held, &self.places) != before;
            let before = before.into_iter().map(|speaker| speaker.member).collect();
            if is_changed {
                self.cover.place(group, &after, number);
            }
            let snapshot = !held.is_complete();
            let is_orphaned = !after.is_empty() && held.holders().next().is_none();
            held.orphaned = is_orphaned.then(|| held.orphaned.unwrap_or(number));
            if after.is_empty() {
                self.numbers.remove(&held.object);
                self.groups.remove(&group);
            }
            if is_changed || founded {
                let (from, to, after) = (None, None, after.into());
                let it = Regrouped { group, number, before, after, from, to, snapshot, founded };
                regrouped.push((it, is_orphaned));
            }
        }
        // In which region each is now depends on all of them.
        let opened = self.cover.opened().into_iter();
        effects.extend(opened.map(|region| Effect::Opened { region }));
        let mut moved = self.cover.moved();
        for (mut regrouped, is_orphaned) in regrouped {
            let group = regrouped.group;
            regrouped.to = self.cover.region_of(group);
            regrouped.from = moved.remove(&group).unwrap_or(regrouped.to);
            effects.push(Effect::Regrouped(regrouped));
            if is_orphaned {
                effects.push(Effect::Orphaned { group });
            }
        }
        let moved = moved.into_iter().filter_map(|(group, from)| {
            let (from, to) = from.zip(self.cover.region_of(group))?;
            (from != to).then_some(Effect::Moved { group, from, to })
        });
        effects.extend(moved);
        effects.extend(self.cover.idle().into_iter().map(|region| Effect::Idle { region }));
    }
}

impl Group {
    fn new(object: ObjectId, ty: ObjectType) -> Self {
        Self { object, ty, seats: Vec::new(), orphaned: None }
    }

    /// Who holds its state, by place.
    fn holders(&self) -> impl Iterator<Item = u16> {
        let holders = self.seats.iter().filter(|seat| seat.standing == Standing::Holds);
        holders.map(|seat| seat.place)
    }

    fn is_complete(&self) -> bool {
        self.seats.iter().all(|seat| seat.standing == Standing::Holds)
    }

    fn stand(&mut self, place: u16, standing: Standing) {
        if let Some(seat) = self.seats.iter_mut().find(|seat| seat.place == place) {
            seat.standing = standing;
        }
    }

    /// What a member is to say, if nobody is known to hold the state and not all have said that
    /// they do not.
    pub(crate) fn answer(&self, group: u32, holds_state: bool) -> Option<Change> {
        let since = self.orphaned?;
        let bereft = Change::Bereft { group, since };
        Some(if holds_state { Change::Restored { group } } else { bereft })
    }
}

impl<'a> Seated<'a> {
    /// Who is in it, by seniority.
    pub(crate) fn members(self) -> Vec<Member> {
        self.group.seats.iter().map(|seat| self.places.member(seat.place)).collect()
    }

    /// The same, by place in the view.
    pub(crate) fn places(self) -> impl Iterator<Item = usize> + use<'a> {
        self.group.seats.iter().map(|seat| seat.place.into())
    }

    /// Who holds its state.
    pub(crate) fn holders(self) -> impl Iterator<Item = Member> + use<'a> {
        self.group.holders().map(move |place| self.places.member(place))
    }

    /// In which opening a member is in it.
    pub(crate) fn session_of(self, member: Member) -> Option<u32> {
        Some(self.seat(member)?.session)
    }

    /// Whether this opening is in it.
    pub(crate) fn has(self, speaker: Speaker) -> bool {
        self.session_of(speaker.member) == Some(speaker.session)
    }

    /// Whether this member is to fetch the state.
    pub(crate) fn lacks(self, member: Member) -> bool {
        let is_lacking = |seat: Seat| seat.standing == Standing::Lacks;
        self.group.orphaned.is_none() && self.seat(member).is_some_and(is_lacking)
    }

    fn seat(self, member: Member) -> Option<Seat> {
        let place = self.places.of(member)?;
        self.group.seats.iter().find(|seat| seat.place == place).copied()
    }
}

impl Deref for Seated<'_> {
    type Target = Group;

    fn deref(&self) -> &Group {
        self.group
    }
}

/// The openings of a group's object.
fn speakers(group: &Group, places: &Places) -> Vec<Speaker> {
    let speaker =
        |seat: &Seat| Speaker { member: places.member(seat.place), session: seat.session };
    group.seats.iter().map(speaker).collect()
}

/// Of how many members that were left out a map remembers what became of them, and of how many
/// streams of each.
const FATES_MAX: usize = 1_024;
const ENDS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use live_objects::{ClusterId, Epoch, Incarnation, Name, NodeId, Order};

    fn member(node: u8) -> Member {
        let incarnation = Incarnation::from_bytes([node; Incarnation::LEN]);
        Member { node: NodeId::from_bytes([node; NodeId::LEN]), incarnation }
    }

    fn object(name: &str) -> ObjectId {
        name.parse::<Name>().unwrap().id()
    }

    fn join(name: &str, ty: ObjectType) -> Change {
        Change::Join { object: object(name), ty, session: 0 }
    }

    /// That of a cluster of nine members in which nobody has said anything.
    fn empty() -> Map {
        let mut map = Map::default();
        map.install(&view(0, &[1, 2, 3, 4, 5, 6, 7, 8, 9]), &[]);
        map
    }

    /// What one member asks for.
    fn apply(map: &mut Map, node: u8, changes: impl IntoIterator<Item = Change>) -> Vec<Effect> {
        map.apply(&[(member(node), changes.into_iter().collect())])
    }

    fn view(number: u64, members: &[u8]) -> View {
        let epoch = Epoch { cluster: ClusterId::from_bytes([9; 16]), number };
        View { epoch, members: members.iter().map(|node| member(*node)).collect() }
    }

    fn regrouped(mut effects: Vec<Effect>) -> Regrouped {
        effects.retain(|it| !matches!(it, Effect::Opened { .. } | Effect::Idle { .. }));
        let [Effect::Regrouped(regrouped)] = &effects[..] else { panic!("{effects:?}") };
        regrouped.clone()
    }

    #[test]
    fn a_group_begins_with_its_first_member_and_ends_with_its_last() {
        let mut map = empty();
        let topic = ObjectType::topic(Order::Fifo);
        let first = regrouped(apply(&mut map, 1, [join("/a", topic.clone())]));
        let (before, after) = (first.before.to_vec(), first.after.to_vec());
        assert_eq!((first.number, before, after), (1, vec![], vec![member(1)]));
        let second = regrouped(apply(&mut map, 2, [join("/a", topic.clone())]));
        assert_eq!((second.before.to_vec(), second.after.len()), (vec![member(1)], 2));
        assert_eq!(apply(&mut map, 2, [join("/a", topic)]), [], "said twice, joined once");
        for node in [1, 2] {
            apply(&mut map, node, [Change::Leave { object: object("/a"), session: 0 }]);
        }
        assert_eq!((map.number(), map.numbers.get(&object("/a"))), (5, None));
    }

    #[test]
    fn who_leaves_and_joins_at_once_is_in_anew() {
        let mut map = empty();
        let ty = ObjectType::topic(Order::Fifo);
        apply(&mut map, 1, [join("/a", ty.clone())]);
        let leave = Change::Leave { object: object("/a"), session: 0 };
        let again = Change::Join { object: object("/a"), ty, session: 1 };
        let regrouped = regrouped(apply(&mut map, 1, [leave, again]));
        assert_eq!(regrouped.before, regrouped.after);
        assert_eq!(map.group(regrouped.group).unwrap().session_of(member(1)), Some(1));
    }

    #[test]
    fn a_name_has_one_type() {
        let mut map = empty();
        let fifo = ObjectType::topic(Order::Fifo);
        apply(&mut map, 1, [join("/a", fifo.clone())]);
        let by = Speaker { member: member(2), session: 0 };
        let refused = Effect::Refused { object: object("/a"), by, held: fifo };
        assert_eq!(apply(&mut map, 2, [join("/a", ObjectType::replicated())]), [refused]);
        map.install(&view(7, &[2]), &[]);
        let joined = regrouped(apply(&mut map, 2, [join("/a", ObjectType::replicated())]));
        assert!(joined.founded, "the name is free when nobody has it open");
        assert_eq!(joined.number, (7 << 32) + 1);
    }

    /// A state that the first of three members holds, and the group's number.
    fn state_of_three() -> (Map, u32) {
        let mut map = empty();
        let ty = ObjectType::replicated();
        let first = regrouped(apply(&mut map, 1, [join("/s", ty.clone())]));
        assert!(first.founded && !first.snapshot);
        apply(&mut map, 2, [join("/s", ty.clone())]);
        let third = regrouped(apply(&mut map, 3, [join("/s", ty)]));
        assert!(third.snapshot && !third.founded);
        (map, third.group)
    }

    #[test]
    fn a_state_is_complete_when_all_hold_it() {
        let (mut map, group) = state_of_three();
        assert!(map.awaits_state_of(member(1)) && !map.awaits_state_of(member(2)));
        assert_eq!(apply(&mut map, 2, [Change::Restored { group }]), []);
        let complete = [Effect::Complete { group }];
        assert_eq!(apply(&mut map, 3, [Change::Restored { group }]), complete);
        assert!(!regrouped(map.install(&view(2, &[2]), &[])).founded, "others hold it");
    }

    #[test]
    fn an_orphaned_state_is_founded_when_nobody_has_it_after_all() {
        let (mut map, group) = state_of_three();
        let effects = map.install(&view(2, &[2, 3]), &[]);
        let [_, Effect::Regrouped(regroup), orphaned] = &effects[..] else { panic!("{effects:?}") };
        assert!(!regroup.founded);
        assert_eq!(*orphaned, Effect::Orphaned { group });
        let mut restored = map.clone();
        let bereft = |since| [Change::Bereft { group, since }];
        assert_eq!(apply(&mut map, 2, bereft(2 << 32)), []);
        assert_eq!(apply(&mut map, 3, bereft(1)), [], "that was of an earlier time");
        let founded = regrouped(apply(&mut map, 3, bereft(2 << 32)));
        assert!(founded.founded);
        assert_eq!(founded.before, founded.after);
        apply(&mut restored, 3, bereft(2 << 32));
        assert!(!restored.group(group).unwrap().lacks(member(3)), "nobody has it");
        assert_eq!(apply(&mut restored, 2, [Change::Restored { group }]), []);
        assert!(restored.group(group).unwrap().lacks(member(3)));
        let complete = [Effect::Complete { group }];
        assert_eq!(apply(&mut restored, 3, [Change::Restored { group }]), complete);
    }

    #[test]
    fn what_became_of_an_absent_one_is_remembered_until_its_node_starts_again() {
        let mut map = empty();
        let [one, two] = [1, 2].map(member);
        let ended = |region, last| Ended { member: two, region, last };
        map.install(&view(2, &[1, 3]), &[ended(7, 8)]);
        assert_eq!([one, two].map(|it| map.fate(it, 7)), [None, Some(8)]);
        map.install(&view(3, &[1, 2, 3]), &[]);
        map.install(&view(4, &[1, 3]), &[ended(9, 5)]);
        assert_eq!([7, 9, 10].map(|region| map.fate(two, region)), [Some(8), Some(5), None]);
        let mut again = view(5, &[1, 3]);
        let incarnation = Incarnation::from_bytes([99; Incarnation::LEN]);
        again.members.push(Member { incarnation, ..two });
        map.install(&again, &[ended(10, 1)]);
        assert_eq!([7, 9, 10].map(|region| map.fate(two, region)), [None; 3]);
    }

    #[test]
    fn a_map_that_is_read_finds_what_was_written() {
        let mut map = empty();
        apply(&mut map, 1, [join("/a", ObjectType::topic(Order::Fifo))]);
        apply(&mut map, 1, [join("/b", ObjectType::replicated())]);
        apply(&mut map, 1, [Change::Leave { object: object("/a"), session: 0 }]);
        assert_eq!(map.numbers.get(&object("/a")), None);
        let view = view(2, &[1]);
        map.install(&view, &[]);
        let read = |map: &Map| Map::from_bytes(&map.to_bytes(), &view);
        assert_eq!(read(&map).unwrap().numbers[&object("/b")], 1);
        assert_eq!(read(&map).unwrap(), map);
        assert_eq!(Map::from_bytes(b"no map", &view), None);
    }

    #[test]
    fn a_map_that_does_not_fit_together_is_refused() {
        let mut map = empty();
        apply(&mut map, 1, [join("/a", ObjectType::topic(Order::Fifo))]);
        apply(&mut map, 2, [join("/a", ObjectType::topic(Order::Fifo))]);
        let present = view(2, &[1, 2]);
        map.install(&present, &[]);
        let is_refused = |spoil: fn(&mut Map), view: &View| {
            let mut map = map.clone();
            spoil(&mut map);
            Map::from_bytes(&map.to_bytes(), view).is_none()
        };
        assert!(!is_refused(|_| {}, &present));
        assert!(is_refused(|_| {}, &view(3, &[1, 2])), "of another view");
        assert!(is_refused(|_| {}, &view(2, &[1])), "of members that are not in it");
        let in_two = |map: &mut Map| {
            map.next_group = 8;
            map.groups.insert(7, map.groups[&0].clone());
        };
        assert!(is_refused(in_two, &present), "one object in two groups");
        assert!(is_refused(|map| map.next_group = 0, &present), "a number that is given again");
        assert!(is_refused(|map| map.cover = Cover::default(), &present), "a group in no region");
        assert!(is_refused(|map| map.groups.get_mut(&0).unwrap().seats.clear(), &present));
        assert!(is_refused(|map| map.groups.clear(), &present), "a region of no group");
    }

    #[test]
    fn what_is_placed_anew_in_a_view_may_widen_a_region_that_goes_on() {
        let mut map = empty();
        let ty = ObjectType::topic(Order::Fifo);
        for node in 1..=9 {
            apply(&mut map, node, [join("/a", ty.clone())]);
        }
        for node in 1..=7 {
            apply(&mut map, node, [join("/b", ty.clone())]);
        }
        let from = map.region_of(1).unwrap();
        assert_ne!(map.region_of(0), Some(from));
        let effects = map.install(&view(2, &[1, 2, 3, 4, 5, 6, 7, 8]), &[]);
        let to = map.region_of(0).unwrap();
        assert_eq!(map.region_of(1), Some(to));
        for effect in [
            Effect::Opened { region: to },
            Effect::Moved { group: 1, from, to },
            Effect::Idle { region: from },
        ] {
            assert!(effects.contains(&effect), "{effect:?} of {effects:?}");
        }
    }

    /// It was to be in the second view, but never heard of it.
    #[test]
    fn who_is_left_out_may_be_a_view_behind() {
        let mut map = empty();
        let ended = |region| [Ended { member: member(2), region, last: 5 }];
        map.install(&view(2, &[1, 2]), &ended(7));
        assert_eq!(map.fate(member(2), 7), None);
        map.install(&view(3, &[1]), &ended(9));
        assert_eq!([7, 9].map(|region| map.fate(member(2), region)), [Some(5), Some(5)]);
        map.install(&view(4, &[1, 2]), &[]);
        map.install(&view(5, &[1, 2]), &ended(11));
        map.install(&view(6, &[1, 2]), &ended(12));
        map.install(&view(7, &[1]), &[]);
        assert_eq!([11, 12].map(|region| map.fate(member(2), region)), [None, Some(5)]);
    }

    #[test]
    fn the_fates_of_those_who_are_away_are_bounded() {
        let mut map = empty();
        let absent = |number: usize| Member {
            node: NodeId::from_public_key(&number.to_be_bytes()),
            incarnation: Incarnation::from_bytes([1; Incarnation::LEN]),
        };
        for number in 0..=FATES_MAX {
            for _ in 0..=ENDS_MAX {
                let ended = Ended { member: absent(number), region: 3, last: 1 };
                map.install(&view(2, &[1]), &[ended]);
            }
        }
        assert_eq!(map.fates.len(), FATES_MAX);
        assert!(map.fates.iter().all(|fate| fate.ends.len() == ENDS_MAX));
        assert_eq!([0, 1].map(|number| map.fate(absent(number), 3)), [None, Some(1)]);
    }
}
