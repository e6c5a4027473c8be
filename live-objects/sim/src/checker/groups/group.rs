//! What all who have an object open must agree on: which views there are, what was sent, and what
//! was delivered where.
//!
//! Of each view only what the first member delivered is kept that went on from it to the next;
//! whoever follows must have delivered the same. Messages are numbered as they were accepted, and a
//! payload is known again by its hash.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use live_objects::{ClusterId, Epoch, Member, Order, View};

/// One object, as all its members together know it.
#[derive(Default)]
pub(super) struct Group {
    /// Every command that was accepted, in that order.
    messages: Vec<Accepted>,
    /// The messages by their identities.
    numbers: BTreeMap<u64, usize>,
    views: BTreeMap<(ClusterId, u64), Installed>,
    /// The last view that each node was told of, and in which life.
    last: BTreeMap<usize, (Member, Epoch)>,
}

/// A command that was accepted.
pub(super) struct Accepted {
    pub(super) from: Member,
    /// Through which opening, and as which of its commands.
    pub(super) opening: u64,
    pub(super) number: u64,
    /// A hash of the sender and the payload.
    pub(super) identity: u64,
    /// The view that it was delivered in, by somebody who went on from there.
    delivered: Option<Epoch>,
}

/// A view, from the first time that anybody is told of it.
struct Installed {
    members: Vec<Member>,
    /// The view that comes right after it, and the first node that went there.
    next: Option<(Epoch, usize)>,
    /// What that node, or the first that had a state, delivered in it: in order, and sorted.
    delivered: Option<(usize, Vec<usize>, Vec<usize>)>,
    /// What is stable of it, as long as nobody went on.
    stable: Vec<usize>,
}

/// What a member leaves behind that goes from a view to the next.
pub(super) struct Left {
    pub(super) epoch: Epoch,
    /// What it delivered there, unless it is a replica that came to no state.
    pub(super) messages: Option<Vec<usize>>,
    pub(super) order: Order,
}

impl Group {
    /// A command is accepted, as one of an opening's. Returns its message, and whether that is new.
    pub(super) fn accept(
        &mut self,
        from: Member,
        (opening, number): (u64, u64),
        bytes: &[u8],
    ) -> (usize, Result<(), String>) {
        let message = self.messages.len();
        let identity = identity(from, bytes);
        let is_new = match self.numbers.insert(identity, message) {
            None => Ok(()),
            Some(before) => Err(format!(
                "the story sends what it sent before, as {}: no message is known again",
                self.describe(before)
            )),
        };
        self.messages.push(Accepted { from, opening, number, identity, delivered: None });
        (message, is_new)
    }

    /// The message that this is.
    pub(super) fn find(&self, from: Member, bytes: &[u8]) -> Option<usize> {
        self.numbers.get(&identity(from, bytes)).copied()
    }

    pub(super) fn accepted(&self, message: usize) -> &Accepted {
        &self.messages[message]
    }

    pub(super) fn describe(&self, message: usize) -> String {
        let Accepted { from, number, .. } = &self.messages[message];
        format!("command {number} of {from:?}")
    }

    /// V1 and V2: a node is told of a view.
    pub(super) fn on_view(&mut self, node: usize, me: Member, view: &View) -> Result<(), String> {
        let epoch = view.epoch;
        let installed = self.views.entry(key(epoch)).or_insert_with(|| Installed {
            members: view.members.clone(),
            next: None,
            delivered: None,
            stable: Vec::new(),
        });
        let before = self.last.insert(node, (me, epoch));
        if !view.has(me) {
            return Err(format!("V1: {me:?} was told of {view:?}, in which it is not"));
        }
        if installed.members != view.members {
            let members = &installed.members;
            return Err(format!("V2: {epoch:?} is {members:?} and {:?}", view.members));
        }
        let Some((life, before)) = before else { return Ok(()) };
        // Only a node that starts again may find itself in another cluster.
        let is_same = before.cluster == epoch.cluster;
        if is_same && before.number >= epoch.number || !is_same && life == me {
            return Err(format!("V2: {epoch:?} after {before:?}"));
        }
        Ok(())
    }

    /// V2, V3, V4, V6 and V7: a member goes from one view to the next.
    pub(super) fn on_gone_on(&mut self, node: usize, left: Left, to: Epoch) -> Result<(), String> {
        let epoch = left.epoch;
        let view = self.views.get_mut(&key(epoch)).expect("who leaves it was told of it");
        let (next, first) = *view.next.get_or_insert((to, node));
        if next != to {
            return Err(format!(
                "V2: from {epoch:?} node {first} went to {next:?}, node {node} to {to:?}"
            ));
        }
        let Some(messages) = left.messages else { return Ok(()) };
        let mut sorted = messages.clone();
        sorted.sort_unstable();
        if view.delivered.is_none() {
            let stable = std::mem::take(&mut view.stable);
            let lost = stable.into_iter().find(|message| sorted.binary_search(message).is_err());
            view.delivered = Some((node, messages, sorted));
            let lost = lost.map_or(Ok(()), |lost| Err(self.lost(lost, epoch, node)));
            return lost.and(self.place(epoch));
        }
        let delivered = &self.views[&key(epoch)].delivered;
        let (first, in_order, known) = delivered.as_ref().expect("it was just seen");
        if *known != sorted {
            let (who, message) = only_one_has((*first, known), (node, &sorted));
            let what = self.describe(message);
            return Err(format!(
                "V3: nodes {first} and {node} went from {epoch:?} to {to:?}, but only node {who} \
                 delivered {what}"
            ));
        }
        let mut pairs = in_order.iter().zip(&messages).filter(|(one, other)| one != other);
        if let (Order::Total, Some((one, other))) = (left.order, pairs.next()) {
            let (one, other) = (self.describe(*one), self.describe(*other));
            return Err(format!(
                "V6: in {epoch:?} node {first} delivered {one}, node {node} {other}"
            ));
        }
        Ok(())
    }

    /// V7: what was delivered at its sender in this view is stable.
    pub(super) fn on_stable(&mut self, message: usize, epoch: Epoch) -> Result<(), String> {
        let view = self.views.get_mut(&key(epoch)).expect("it was delivered in it");
        let Some((node, _, sorted)) = &view.delivered else {
            view.stable.push(message);
            return Ok(());
        };
        let (node, is_held) = (*node, sorted.binary_search(&message).is_ok());
        if is_held { Ok(()) } else { Err(self.lost(message, epoch, node)) }
    }

    /// V4: whether none of these, which are delivered in a view, were delivered in another.
    pub(super) fn is_in_place(&self, messages: &[usize], epoch: Epoch) -> Result<(), String> {
        for &message in messages {
            let other = self.messages[message].delivered.filter(|other| *other != epoch);
            // A group that everybody left and somebody opened anew remembers nothing.
            if let Some(other) = other.filter(|other| self.are_linked(*other, epoch)) {
                let what = self.describe(message);
                return Err(format!("V4: {what} is delivered in {epoch:?} and {other:?}"));
            }
        }
        Ok(())
    }

    /// What the first member delivered in a view that it went on from was delivered there.
    fn place(&mut self, epoch: Epoch) -> Result<(), String> {
        let (_, messages, _) =
            self.views[&key(epoch)].delivered.as_ref().expect("somebody went on");
        let result = self.is_in_place(messages, epoch);
        for &message in messages {
            self.messages[message].delivered.get_or_insert(epoch);
        }
        result
    }

    /// Whether members went on from one of these views to the other.
    fn are_linked(&self, one: Epoch, other: Epoch) -> bool {
        let (mut at, to) = if one.number < other.number { (one, other) } else { (other, one) };
        while at.number < to.number {
            let next = self.views.get(&key(at)).and_then(|view| view.next);
            // In a history that makes no sense a lower view may follow.
            let Some((next, _)) = next.filter(|(next, _)| next.number > at.number) else { break };
            at = next;
        }
        at == to
    }

    fn lost(&self, message: usize, epoch: Epoch, node: usize) -> String {
        let what = self.describe(message);
        format!("V7: {what} is stable in {epoch:?}, but node {node} went on without it")
    }
}

/// A message that only one of two nodes delivered, and which. They are sorted and not the same.
fn only_one_has(one: (usize, &[usize]), other: (usize, &[usize])) -> (usize, usize) {
    let lacks = |has: &[usize], lacks: &[usize]| {
        has.iter().copied().find(|message| lacks.binary_search(message).is_err())
    };
    let first = lacks(one.1, other.1).map(|message| (one.0, message));
    let second = || lacks(other.1, one.1).map(|message| (other.0, message));
    first.or_else(second).expect("nothing is in either twice, and they are not the same")
}

fn identity(from: Member, bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    from.hash(&mut hasher);
    bytes.hash(&mut hasher);
    hasher.finish()
}

fn key(epoch: Epoch) -> (ClusterId, u64) {
    (epoch.cluster, epoch.number)
}
