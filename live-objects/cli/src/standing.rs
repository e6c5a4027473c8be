//! How a node stands to the primary partition: in it, cut off from it, or in no view.
//!
//! It follows from the view that is installed and from who of it gossip says is gone. What is worse
//! than before is news once it has lasted a while: changes of views pass through such moments.

use std::collections::BTreeSet;
use std::future::pending;
use std::time::Duration;

use live_objects::{Member, MembersEvent, View};
use tokio::time::{Instant, sleep_until};

/// How a node stands, as far as it was told.
#[derive(Default)]
pub(crate) struct Standing {
    view: Option<View>,
    up: BTreeSet<Member>,
    /// Who was up and is not. Only members of the view count.
    gone: BTreeSet<Member>,
    told: Place,
    differs_since: Option<Instant>,
}

/// Where a node is.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) enum Place {
    /// In a view most of whose members are in reach.
    #[default]
    In,
    /// In a view most of whose members are gone or out of reach.
    CutOff,
    /// In no view.
    Outside,
}

impl Standing {
    /// Takes in what gossip or the agreed members tell.
    pub(crate) fn note(&mut self, event: &MembersEvent) {
        match event {
            MembersEvent::Roster(members) => {
                let up: BTreeSet<Member> = members.iter().copied().collect();
                self.gone.extend(self.up.difference(&up));
                self.gone.retain(|member| !up.contains(member));
                self.up = up;
            }
            MembersEvent::Up(member) | MembersEvent::Cleared(member) => {
                self.up.insert(*member);
                self.gone.remove(member);
            }
            MembersEvent::Down(member, _) => {
                self.up.remove(member);
                self.gone.insert(*member);
            }
            MembersEvent::View(view) => self.view = Some(view.clone()),
            MembersEvent::Outside => self.view = None,
            MembersEvent::Suspect(_)
            | MembersEvent::ForeignCluster(..)
            | MembersEvent::Evidence { .. }
            | MembersEvent::Unclear { .. }
            | MembersEvent::Heard { .. }
            | MembersEvent::MetadataChanged(_)
            | MembersEvent::Metadata { .. } => {}
        }
        match &self.view {
            Some(view) => self.gone.retain(|member| view.has(*member)),
            None => self.gone.clear(),
        }
    }

    /// Where the node is, if that was not told yet and is no passing moment.
    pub(crate) fn news(&mut self, now: Instant) -> Option<Place> {
        let place = self.place();
        if place == self.told {
            self.differs_since = None;
            return None;
        }
        let since = *self.differs_since.get_or_insert(now);
        if place != Place::In && now < since + PATIENCE {
            return None;
        }
        self.differs_since = None;
        self.told = place;
        Some(place)
    }

    /// Waits until there may be [news](Self::news) because something lasts.
    pub(crate) async fn lasts(&self) {
        match self.differs_since {
            Some(since) => sleep_until(since + PATIENCE).await,
            None => pending().await,
        }
    }

    /// The number of the view that is installed.
    pub(crate) fn view(&self) -> Option<u64> {
        self.view.as_ref().map(|view| view.epoch.number)
    }

    fn place(&self) -> Place {
        let Some(view) = &self.view else { return Place::Outside };
        let gone: BTreeSet<_> = self.gone.iter().map(|member| member.node).collect();
        if view.is_quorum(|node| !gone.contains(&node)) { Place::In } else { Place::CutOff }
    }
}

/// How long it must last until it is told.
const PATIENCE: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use super::*;
    use live_objects::{ClusterId, Departure, Epoch, Incarnation, NodeId};

    fn member(number: u8) -> Member {
        Member {
            node: NodeId::from_bytes([number; 16]),
            incarnation: Incarnation::from_bytes([1; 16]),
        }
    }

    fn view(number: u64, members: &[u8]) -> MembersEvent {
        let epoch = Epoch { cluster: ClusterId::from_bytes([1; 16]), number };
        let members = members.iter().map(|number| member(*number)).collect();
        MembersEvent::View(View { epoch, members })
    }

    #[test]
    fn who_loses_most_others_is_cut_off_until_they_are_back() {
        let (mut standing, begin) = (Standing::default(), Instant::now());
        let late = begin + PATIENCE;
        standing.note(&view(1, &[1, 2, 3]));
        standing.note(&MembersEvent::Roster((1..=3).map(member).collect()));
        assert_eq!(standing.news(begin), None);
        standing.note(&MembersEvent::Down(member(2), Departure::Failed));
        assert_eq!(standing.news(begin), None, "two of three are most");
        standing.note(&MembersEvent::Roster(vec![member(1)]));
        assert_eq!(standing.news(begin), None, "it may pass");
        assert_eq!(standing.news(late), Some(Place::CutOff));
        assert_eq!(standing.news(late), None, "it is told once");
        standing.note(&MembersEvent::Up(member(3)));
        assert_eq!(standing.news(late), Some(Place::In));
    }

    #[test]
    fn who_is_in_no_view_is_outside_until_the_next() {
        let (mut standing, begin) = (Standing::default(), Instant::now());
        assert_eq!(standing.news(begin), None, "it has just started");
        assert_eq!(standing.news(begin + PATIENCE), Some(Place::Outside));
        standing.note(&view(1, &[1, 2]));
        assert_eq!(standing.news(begin + PATIENCE), Some(Place::In));
        standing.note(&MembersEvent::Outside);
        assert_eq!(standing.news(begin + PATIENCE), None);
        standing.note(&view(3, &[1, 2]));
        assert_eq!(standing.news(begin + PATIENCE * 3), None, "it was a moment");
    }
}
