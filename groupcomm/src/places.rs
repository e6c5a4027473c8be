//! All members of a view, each with a place among them: what is kept of thousands of groups names
//! its members by that.

use std::sync::Arc;

use live_objects::{Member, View};

/// Members, in the order of their ids.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Places(Arc<[Member]>);

impl Places {
    pub(crate) fn of_view(view: &View) -> Self {
        let mut members = view.members.clone();
        members.sort_unstable();
        Self(members.into())
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The place of a member, if it is one of these.
    pub(crate) fn of(&self, member: Member) -> Option<u16> {
        let place = self.0.binary_search(&member).ok()?;
        Some(u16::try_from(place).expect("a view has at most 1,024 members"))
    }

    /// Who has a place.
    pub(crate) fn member(&self, place: u16) -> Member {
        self.0[usize::from(place)]
    }
}
