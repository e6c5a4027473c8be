//! What one application was told through one opening of an object.
//!
//! A *session* runs from the first view, or the first after the node was outside, until the node is
//! outside again. Within it the application hears everything once and in order; what it misses
//! between two sessions it misses.
//!
//! A replica that is told of the next view before it has a state in this one starts a new session
//! with it: the state that it gets covers what it did not hear.

use std::collections::{BTreeMap, BTreeSet};

use live_objects::{Epoch, Kind, Member, ObjectType, Order, View};

use super::group::{Group, Left};

/// One opening of an object, in one life of a node.
pub(super) struct Handle {
    pub(super) me: Member,
    pub(super) order: Order,
    opening: u64,
    is_replicated: bool,
    /// The commands that were accepted, by their numbers.
    commands: Vec<Own>,
    /// How many of them it was told to be stable.
    stable: usize,
    /// Commands before this one may become stable unheard: they were given before the last break
    /// between sessions, in which the others may have delivered them.
    covered: usize,
    /// How many sessions began.
    sessions: u64,
    session: Option<Session>,
}

struct Own {
    message: usize,
    /// In which session and view this very handle heard it last.
    heard: Option<(u64, Epoch)>,
}

/// A stay in the group's views.
pub(super) struct Session {
    pub(super) view: View,
    /// Whether what it hears leads to the state that the others have. Always so of a topic.
    has_state: bool,
    /// What was delivered in this view, in order.
    messages: Vec<usize>,
    /// The sum of their identities.
    mark: u64,
    /// What was delivered in this session.
    heard: BTreeSet<usize>,
    /// The last message of each sender in this session, and the view that it came in.
    last_of: BTreeMap<Member, (usize, Epoch)>,
}

impl Handle {
    pub(super) fn new(me: Member, opening: u64, ty: &ObjectType) -> Self {
        Self {
            me,
            order: ty.properties.order,
            opening,
            is_replicated: ty.kind == Kind::Replicated,
            commands: Vec::new(),
            stable: 0,
            covered: 0,
            sessions: 0,
            session: None,
        }
    }

    /// The session, unless it is outside.
    pub(super) fn session(&self) -> Option<&Session> {
        self.session.as_ref()
    }

    /// How many of its commands are stable, and how many there are.
    pub(super) fn stable(&self) -> (usize, usize) {
        (self.stable, self.commands.len())
    }

    /// The application gave a command.
    pub(super) fn accept(&mut self, group: &mut Group, bytes: &[u8]) -> Result<(), String> {
        let number = self.commands.len() as u64;
        let (message, is_new) = group.accept(self.me, (self.opening, number), bytes);
        self.commands.push(Own { message, heard: None });
        is_new
    }

    /// A view is installed. Returns what is now over, if it comes right after another.
    pub(super) fn enter(&mut self, view: &View) -> Option<Left> {
        let left = self.session.as_mut().map(|session| {
            session.mark = 0;
            let messages = std::mem::take(&mut session.messages);
            let epoch = std::mem::replace(&mut session.view, view.clone()).epoch;
            let messages = session.has_state.then_some(messages);
            Left { epoch, messages, order: self.order }
        });
        if left.as_ref().is_some_and(|left| left.messages.is_none()) {
            self.step_out();
        }
        if self.session.is_none() {
            self.sessions += 1;
            self.session = Some(Session {
                view: view.clone(),
                has_state: !self.is_replicated,
                messages: Vec::new(),
                mark: 0,
                heard: BTreeSet::new(),
                last_of: BTreeMap::new(),
            });
        }
        left
    }

    /// The session is over.
    pub(super) fn step_out(&mut self) {
        self.session = None;
        self.covered = self.commands.len();
    }

    /// A replica has a state, or begins to get one.
    pub(super) fn on_state(&mut self, has_state: bool) {
        if let Some(session) = &mut self.session {
            session.has_state = has_state;
        }
    }

    /// V5 and V6: a message is delivered.
    pub(super) fn deliver(
        &mut self,
        group: &Group,
        from: Member,
        own: Option<u64>,
        bytes: &[u8],
    ) -> Result<(), String> {
        let Some(message) = group.find(from, bytes) else {
            return Err(format!("V5: {from:?} never sent {}", abridged(bytes)));
        };
        let accepted = group.accepted(message);
        let what = || group.describe(message);
        let Some(session) = &mut self.session else {
            return Err(format!("V5: {} is delivered in no view", what()));
        };
        let number = (accepted.opening == self.opening).then_some(accepted.number);
        if let Some(number) = number {
            let heard = Some((self.sessions, session.view.epoch));
            self.commands[number as usize].heard = heard;
        }
        session.deliver(group, message, self.order, from == self.me)?;
        if own != number {
            return Err(format!("V5: {} is told as own {own:?}, not {number:?}", what()));
        }
        Ok(())
    }

    /// V7: own commands up to and with this one are stable. What it heard of them in this session,
    /// whoever goes on from that view must have heard there.
    pub(super) fn on_stable(&mut self, group: &mut Group, message: u64) -> Result<(), String> {
        let given = self.commands.len();
        let Some(end) = usize::try_from(message).ok().filter(|number| *number < given) else {
            return Err(format!("V7: command {message} is stable, but only {given} were given"));
        };
        let start = self.stable.min(end + 1);
        self.stable = self.stable.max(end + 1);
        let mut result = Ok(());
        for (number, own) in self.commands.iter().enumerate().take(end + 1).skip(start) {
            let is_right = match own.heard {
                Some((session, epoch)) if self.session.is_some() && session == self.sessions => {
                    group.on_stable(own.message, epoch)
                }
                None if number >= self.covered => {
                    let what = group.describe(own.message);
                    Err(format!("V7: {what} is stable, but was not delivered at its sender"))
                }
                _ => Ok(()),
            };
            result = result.and(is_right);
        }
        result
    }
}

impl Session {
    /// What was delivered in the view, in order.
    pub(super) fn messages(&self) -> &[usize] {
        &self.messages
    }

    /// The same for two that delivered the same messages in any order.
    pub(super) fn mark(&self) -> u64 {
        self.mark
    }

    fn deliver(
        &mut self,
        group: &Group,
        message: usize,
        order: Order,
        is_own: bool,
    ) -> Result<(), String> {
        let accepted = group.accepted(message);
        let epoch = self.view.epoch;
        if !self.heard.insert(message) {
            return Err(format!("V5: {} is delivered twice", group.describe(message)));
        }
        self.messages.push(message);
        self.mark = self.mark.wrapping_add(accepted.identity);
        let before = self.last_of.insert(accepted.from, (message, epoch));
        if !self.view.has(accepted.from) {
            let what = group.describe(message);
            return Err(format!("V5: {what} is delivered in {:?}", self.view));
        }
        let Some((last, at)) = before.filter(|_| order >= Order::Fifo) else { return Ok(()) };
        if last > message {
            let (what, last) = (group.describe(message), group.describe(last));
            return Err(format!("V6: {what} comes after {last}"));
        }
        // From one view to the next the sender may have been outside, whether its application has
        // read so or not. A sender that hears itself was not: its session would be over.
        let is_whole = at == epoch || is_own;
        let before = group.accepted(last);
        let is_next = accepted.number == before.number + 1;
        if is_whole && accepted.opening == before.opening && !is_next {
            let (what, last) = (group.describe(message), group.describe(last));
            return Err(format!("V6: {what} comes right after {last}"));
        }
        Ok(())
    }
}

fn abridged(bytes: &[u8]) -> String {
    let end = bytes.len().min(ABRIDGED_BYTES);
    format!("{} bytes beginning with {}", bytes.len(), bytes[..end].escape_ascii())
}

/// So much of a payload is shown.
const ABRIDGED_BYTES: usize = 16;
