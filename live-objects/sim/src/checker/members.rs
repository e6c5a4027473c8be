//! Checks objects of kind `Members`: whoever is told of was alive once, changes make sense one
//! after another, and when faults stop everybody knows exactly who runs.

use std::collections::{BTreeMap, BTreeSet};

use live_objects::{Agreement, Event, Kind, Member, MembersEvent, NodeId, ObjectId};

use super::Checker;
use crate::history::{Record, What};

/// Checks every open object of kind `Members` that tells of the whole cluster.
#[derive(Default)]
pub struct MembersChecker {
    /// Everybody who ever started.
    born: BTreeSet<Member>,
    /// What each node was told through each object in its present life.
    rosters: BTreeMap<(usize, ObjectId), Roster>,
}

/// Who is up, and whether suspected, as an application that applied every event believes.
#[derive(Default)]
struct Roster {
    is_told: bool,
    up: BTreeMap<NodeId, (Member, bool)>,
}

impl Checker for MembersChecker {
    fn name(&self) -> &'static str {
        "members"
    }

    fn check(&mut self, record: &Record) -> Result<(), String> {
        match &record.what {
            What::Started(member) => {
                self.born.insert(*member);
            }
            What::Crashed | What::Stopped => {
                self.rosters.retain(|(node, _), _| *node != record.node);
            }
            What::Opened(object, spec)
                if spec.ty.kind == Kind::Members
                    && spec.ty.properties.agreement == Agreement::Eventual =>
            {
                self.rosters.insert((record.node, *object), Roster::default());
            }
            What::Closed(object) => {
                self.rosters.remove(&(record.node, *object));
            }
            What::Event(
                _,
                Event::Members(
                    MembersEvent::View(_)
                    | MembersEvent::Outside
                    | MembersEvent::ForeignCluster(..),
                ),
            ) => {}
            What::Event(object, Event::Members(event)) => {
                let roster = self.rosters.entry((record.node, *object)).or_default();
                roster.apply(event, &self.born)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn settled(&self, running: &[(usize, Member)]) -> Result<(), String> {
        let truth: BTreeSet<Member> = running.iter().map(|(_, member)| *member).collect();
        for ((node, object), roster) in &self.rosters {
            if !roster.is_told {
                return Err(format!("node {node} was told nothing by {object:?}"));
            }
            let believed: BTreeSet<Member> =
                roster.up.values().map(|(member, _)| *member).collect();
            let missing: Vec<_> = truth.difference(&believed).collect();
            let ghosts: Vec<_> = believed.difference(&truth).collect();
            if !missing.is_empty() || !ghosts.is_empty() {
                return Err(format!(
                    "node {node} was told by {object:?} of all but {missing:?}, and of {ghosts:?}, \
                     who are gone"
                ));
            }
            if let Some((member, _)) = roster.up.values().find(|(_, is_suspected)| *is_suspected) {
                return Err(format!("node {node} still suspects {member:?}"));
            }
        }
        Ok(())
    }
}

impl Roster {
    fn apply(&mut self, event: &MembersEvent, born: &BTreeSet<Member>) -> Result<(), String> {
        match event {
            MembersEvent::Roster(members) => {
                self.is_told = true;
                let up = members.iter().map(|member| (member.node, (*member, false)));
                self.up = up.collect();
                if self.up.len() < members.len() {
                    return Err("a roster names a node twice".into());
                }
                members.iter().try_for_each(|member| was_born(*member, born))
            }
            _ if !self.is_told => Err(format!("{event:?} before the first roster")),
            MembersEvent::Up(member) => {
                was_born(*member, born)?;
                match self.up.insert(member.node, (*member, false)) {
                    Some((before, _)) => {
                        Err(format!("{member:?} is up, but {before:?} is not down"))
                    }
                    None => Ok(()),
                }
            }
            MembersEvent::Suspect(member) => self.expect(member, false, true),
            MembersEvent::Cleared(member) => self.expect(member, true, false),
            MembersEvent::Down(member, _) => match self.up.remove(&member.node) {
                Some((before, _)) if before == *member => Ok(()),
                before => Err(format!("{member:?} is down, but up was {before:?}")),
            },
            MembersEvent::Evidence { .. }
            | MembersEvent::Unclear { .. }
            | MembersEvent::Heard { .. }
            | MembersEvent::MetadataChanged(_)
            | MembersEvent::Metadata { .. } => Ok(()),
            MembersEvent::View(_) | MembersEvent::Outside | MembersEvent::ForeignCluster(..) => {
                Err(format!("{event:?} of an object that agrees on no views"))
            }
        }
    }

    /// The member is up and `was` suspected or not; from now on it `is`.
    fn expect(&mut self, member: &Member, was: bool, is: bool) -> Result<(), String> {
        match self.up.get_mut(&member.node) {
            Some(known) if *known == (*member, was) => {
                known.1 = is;
                Ok(())
            }
            other => Err(format!("{member:?} is suspected: {is}, but before it was {other:?}")),
        }
    }
}

fn was_born(member: Member, born: &BTreeSet<Member>) -> Result<(), String> {
    if born.contains(&member) { Ok(()) } else { Err(format!("{member:?} never started")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site::Site;
    use live_objects::{Departure, Incarnation, Name, ObjectType, Spec, Time};

    fn member(node: usize, life: u8) -> Member {
        let incarnation = Incarnation::from_bytes([life; Incarnation::LEN]);
        Member { node: Site::new(9).id(node), incarnation }
    }

    /// A checker that saw nodes 0 and 1 start, and node 0 be told these events.
    fn told(events: &[MembersEvent]) -> (MembersChecker, Result<(), String>) {
        let mut checker = MembersChecker::default();
        let name = "/members".parse::<Name>().unwrap();
        let object = name.id();
        let spec = Spec::new(name, ObjectType::members(Agreement::Eventual));
        let born = [0, 1].map(|node| (node, What::Started(member(node, 1))));
        let opened = (0, What::Opened(object, spec));
        let told = events.iter().map(|e| (0, What::Event(object, Event::Members(e.clone()))));
        let records = born.into_iter().chain([opened]).chain(told);
        let mut records = records.map(|(node, what)| Record { at: Time::ZERO, node, what });
        let result = records.try_for_each(|record| checker.check(&record));
        (checker, result)
    }

    fn both() -> MembersEvent {
        MembersEvent::Roster(vec![member(0, 1), member(1, 1)])
    }

    #[test]
    fn a_sensible_history_passes() {
        let suspect = MembersEvent::Suspect(member(1, 1));
        let down = MembersEvent::Down(member(1, 1), Departure::Failed);
        let up = MembersEvent::Up(member(1, 1));
        let (checker, result) = told(&[both(), suspect, down, up]);
        assert_eq!(result, Ok(()));
        assert_eq!(checker.settled(&[(0, member(0, 1)), (1, member(1, 1))]), Ok(()));
    }

    #[test]
    fn nonsense_is_named() {
        let bad = |events: &[MembersEvent]| told(events).1.unwrap_err();
        assert!(bad(&[MembersEvent::Up(member(1, 1))]).contains("before the first roster"));
        assert!(bad(&[both(), MembersEvent::Up(member(1, 1))]).contains("is not down"));
        assert!(bad(&[both(), MembersEvent::Up(member(2, 1))]).contains("never started"));
        assert!(bad(&[both(), MembersEvent::Cleared(member(1, 1))]).contains("but before it was"));
        let other_life = MembersEvent::Down(member(1, 2), Departure::Left);
        assert!(bad(&[both(), other_life]).contains("but up was"));
    }

    #[test]
    fn silence_ghosts_missing_and_suspected_members_are_not_settled() {
        let all = [(0, member(0, 1)), (1, member(1, 1))];
        let (checker, _) = told(&[]);
        assert!(checker.settled(&all).unwrap_err().contains("was told nothing"));
        let (checker, _) = told(&[both()]);
        assert!(checker.settled(&all[..1]).unwrap_err().contains("who are gone"));
        let (checker, _) = told(&[MembersEvent::Roster(vec![member(0, 1)])]);
        assert!(checker.settled(&all).is_err());
        let (checker, _) = told(&[both(), MembersEvent::Suspect(member(1, 1))]);
        assert!(checker.settled(&all).unwrap_err().contains("still suspects"));
    }
}
