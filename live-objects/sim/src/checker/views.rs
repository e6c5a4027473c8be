//! Checks objects of kind `Members` that agree on views: V1, a member is in its own views; V2,
//! members install the same views in the same order, at most one an epoch; and when faults stop,
//! all who still can are in one view.

use std::collections::BTreeMap;

use live_objects::{
    Agreement, ClusterId, Epoch, Event, Kind, Member, MembersEvent, ObjectId, View,
};

use super::Checker;
use crate::history::{Record, What};

/// Checks every open object of kind `Members` that agrees on views.
#[derive(Default)]
pub struct ViewsChecker {
    /// Who runs at each node.
    running: BTreeMap<usize, Member>,
    /// The view that each node was told of last, through each object of its present life.
    told: BTreeMap<(usize, ObjectId), Told>,
    /// Every view that anybody was told of.
    views: BTreeMap<(ClusterId, u64), Vec<Member>>,
}

#[derive(Default)]
struct Told {
    view: Option<View>,
    /// Whether it was told since that its node is outside.
    is_outside: bool,
}

impl Checker for ViewsChecker {
    fn name(&self) -> &'static str {
        "views"
    }

    fn check(&mut self, record: &Record) -> Result<(), String> {
        match &record.what {
            What::Started(member) => {
                self.running.insert(record.node, *member);
            }
            What::Crashed | What::Stopped => {
                self.running.remove(&record.node);
                self.told.retain(|(node, _), _| *node != record.node);
            }
            What::Opened(object, spec)
                if spec.ty.kind == Kind::Members
                    && spec.ty.properties.agreement == Agreement::Views =>
            {
                self.told.insert((record.node, *object), Told::default());
            }
            What::Closed(object) => {
                self.told.remove(&(record.node, *object));
            }
            What::Event(object, Event::Members(MembersEvent::View(view))) => {
                return self.on_view(record.node, *object, view);
            }
            What::Event(object, Event::Members(MembersEvent::Outside)) => {
                let told = self.told.get_mut(&(record.node, *object)).ok_or("not open")?;
                told.is_outside = true;
            }
            _ => {}
        }
        Ok(())
    }

    /// All who run are in the last view, and only they; unless too many of its members are gone for
    /// another view to follow.
    fn settled(&self, _running: &[(usize, Member)]) -> Result<(), String> {
        let Some(last) = self.last() else {
            return Err("nobody was told of any view".into());
        };
        if self.is_final(&last) {
            return Ok(());
        }
        for ((node, _), told) in &self.told {
            if told.is_outside || told.view.as_ref() != Some(&last) {
                let view = &told.view;
                return Err(format!("node {node} was told of {view:?}, but the last is {last:?}"));
            }
        }
        match last.members.iter().find(|member| !self.runs(**member)) {
            Some(ghost) => Err(format!("{ghost:?} is gone, but in the last view {last:?}")),
            None => Ok(()),
        }
    }

    fn is_lost(&self) -> bool {
        self.last().is_some_and(|last| self.is_final(&last))
    }
}

impl ViewsChecker {
    fn on_view(&mut self, node: usize, object: ObjectId, view: &View) -> Result<(), String> {
        let me = self.running.get(&node).copied().ok_or("a view at a node that does not run")?;
        if !view.has(me) {
            return Err(format!("V1: {me:?} was told of {view:?}, in which it is not"));
        }
        let key = (view.epoch.cluster, view.epoch.number);
        let members = self.views.entry(key).or_insert_with(|| view.members.clone());
        if *members != view.members {
            return Err(format!("V2: {:?} is {members:?} and {:?}", view.epoch, view.members));
        }
        let told = self.told.get_mut(&(node, object)).ok_or("a view of an object not open")?;
        let before = told.view.replace(view.clone());
        let was_outside = std::mem::take(&mut told.is_outside);
        let Some(before) = before else { return Ok(()) };
        if before.epoch.cluster != view.epoch.cluster || before.epoch.number >= view.epoch.number {
            return Err(format!("V2: {:?} after {:?}", view.epoch, before.epoch));
        }
        if !was_outside && before.epoch.number + 1 != view.epoch.number {
            return Err(format!("V2: {:?} right after {:?}", view.epoch, before.epoch));
        }
        Ok(())
    }

    /// The last view that anybody was told of. If clusters were founded apart, the one that got
    /// furthest counts.
    fn last(&self) -> Option<View> {
        let ((cluster, number), members) = self.views.iter().max_by_key(|((_, n), _)| *n)?;
        let epoch = Epoch { cluster: *cluster, number: *number };
        Some(View { epoch, members: members.clone() })
    }

    /// Whether no view can follow: the survivors of the last one are no quorum of it or, if none of
    /// them has heard of it, of the one before.
    fn is_final(&self, last: &View) -> bool {
        let is_told = self.told.values().any(|told| told.view.as_ref() == Some(last));
        let can_decide = |view: &View| {
            let runs = |member: &Member| self.runs(*member);
            let survivors: Vec<_> = view.members.iter().filter(|m| runs(m)).collect();
            view.is_quorum(|node| survivors.iter().any(|member| member.node == node))
        };
        let before = (last.epoch.cluster, last.epoch.number.saturating_sub(1));
        let before = self.views.get(&before).map(|members| {
            let epoch = Epoch { number: before.1, ..last.epoch };
            View { epoch, members: members.clone() }
        });
        !can_decide(last) || !is_told && before.is_some_and(|before| !can_decide(&before))
    }

    fn runs(&self, member: Member) -> bool {
        self.running.values().any(|running| *running == member)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site::Site;
    use live_objects::{Incarnation, Name, ObjectType, Spec, Time};

    fn member(node: usize) -> Member {
        let incarnation = Incarnation::from_bytes([1; Incarnation::LEN]);
        Member { node: Site::new(9).id(node), incarnation }
    }

    /// A checker that saw a view of three nodes installed, and then these crash.
    fn crashed(nodes: &[usize]) -> ViewsChecker {
        let mut checker = ViewsChecker::default();
        let mut saw = |node, what| checker.check(&Record { at: Time::ZERO, node, what }).unwrap();
        let name = "/members".parse::<Name>().unwrap();
        let (object, all) = (name.id(), [0, 1, 2]);
        let epoch = Epoch { cluster: ClusterId::from_bytes([1; 16]), number: 1 };
        let view = View { epoch, members: all.map(member).to_vec() };
        all.iter().for_each(|node| saw(*node, What::Started(member(*node))));
        for node in all {
            let spec = Spec::new(name.clone(), ObjectType::members(Agreement::Views));
            saw(node, What::Opened(object, spec));
            let event = Event::Members(MembersEvent::View(view.clone()));
            saw(node, What::Event(object, event));
        }
        nodes.iter().for_each(|node| saw(*node, What::Crashed));
        checker
    }

    #[test]
    fn without_most_of_the_last_view_all_is_lost() {
        assert!(!ViewsChecker::default().is_lost(), "what was never there is not lost");
        assert!(!crashed(&[]).is_lost());
        assert_eq!(crashed(&[]).settled(&[]), Ok(()));
        assert!(!crashed(&[1]).is_lost());
        assert!(crashed(&[1]).settled(&[]).is_err(), "another view is to come");
        assert!(crashed(&[1, 2]).is_lost());
        assert_eq!(crashed(&[1, 2]).settled(&[]), Ok(()));
    }
}
