//! The peers of a node that it can seal for: a bounded table, and what it must not forget of those
//! that it forgets.
//!
//! A pair is *made* when it is first needed: a credential is verified and keys are agreed on then,
//! and not when a table of the membership brings tens of thousands at once.
//!
//! With a pair goes its window, which knows what was opened. So that nothing is opened a second
//! time the table has an *epoch*, 64 bits of chance, drawn again whenever a window goes, and
//! remembers whose went: a pair of one of those lives is *doubted* when it is made again, and opens
//! nothing until its peer has shown the epoch (`seal`). If they are too many to remember all are
//! doubted.
//!
//! Invariants: each pair is in `uses` once. A life whose window went is in `forgotten`.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use live_objects::{Incarnation, Member, NodeId, Rng};
use rand::RngExt;

use crate::credential::{Credential, Trust};
use crate::pair::{Keys, Numbers, Secret, Stretches, Window};
use crate::tally::Tally;

/// Whom a node can seal for.
pub(crate) struct Pairs {
    me: Member,
    secret: Secret,
    pub(crate) trust: Trust,
    pairs: BTreeMap<NodeId, Pair>,
    /// Who was last spoken to or heard, the longest ago first.
    uses: BTreeMap<u64, NodeId>,
    use_count: u64,
    stretches: Stretches,
    epoch: u64,
    /// Those whose windows went. None, if they were too many to know.
    forgotten: Option<BTreeSet<Member>>,
    rng: Rng,
    tally: Tally,
}

/// A peer in one life.
struct Pair {
    incarnation: Incarnation,
    /// As it was told.
    credential: Bytes,
    state: State,
    used: u64,
}

enum State {
    New,
    /// Its credential is not believed.
    Refused,
    Made(Box<Made>),
}

pub(crate) struct Made {
    pub(crate) keys: Keys,
    pub(crate) numbers: Numbers,
    pub(crate) window: Window,
    pub(crate) credential: Credential,
    /// Since this node's trust last changed.
    pub(crate) is_checked: bool,
    /// Of this life was forgotten what was opened: an introduction must come first.
    pub(crate) is_doubted: bool,
    pub(crate) asked: Asked,
}

/// Whether the peer asked who this node is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Asked {
    No,
    /// In this epoch of the peer's. Introductions go out from this number on.
    Who {
        epoch: u64,
        since: u64,
    },
    /// It asks again of what was introduced.
    InVain,
}

impl Pairs {
    pub(crate) fn new(
        me: Member,
        secret: Secret,
        trust: Trust,
        mut rng: Rng,
        tally: Tally,
    ) -> Self {
        Self {
            me,
            secret,
            trust,
            pairs: BTreeMap::new(),
            uses: BTreeMap::new(),
            use_count: 0,
            stretches: Stretches::new(rng.random()),
            epoch: epoch(&mut rng),
            forgotten: Some(BTreeSet::new()),
            rng,
            tally,
        }
    }

    /// What whoever was forgotten must show.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Whether the window of a peer's life may have gone.
    pub(crate) fn is_forgotten(&self, peer: Member) -> bool {
        self.forgotten.as_ref().is_none_or(|all| all.contains(&peer))
    }

    /// Believes others from now on. Windows stay.
    pub(crate) fn renew(&mut self, trust: Trust) {
        self.trust = trust;
        for pair in self.pairs.values_mut() {
            match &mut pair.state {
                State::New => {}
                State::Refused => pair.state = State::New,
                State::Made(made) => made.is_checked = false,
            }
        }
    }

    /// A member, and what it is said to show of itself.
    pub(crate) fn introduce(&mut self, member: Member, credential: &Bytes) {
        self.meet(member);
        match self.pairs.get_mut(&member.node) {
            // What the member itself has shown is no older.
            Some(Pair { state: State::Made(_), .. }) => {}
            Some(pair) if pair.credential == *credential => {}
            Some(pair) => {
                pair.credential = credential.clone();
                pair.state = State::New;
            }
            None => self.insert(member, credential.clone(), State::New),
        }
    }

    /// What a peer shows, or is said to.
    pub(crate) fn credential(&self, node: NodeId) -> Option<&Bytes> {
        self.pairs.get(&node).map(|pair| match &pair.state {
            State::Made(made) => made.credential.bytes(),
            State::New | State::Refused => &pair.credential,
        })
    }

    /// A peer is known for certain to live this life. If it is known at all, this is its pair now.
    pub(crate) fn meet(&mut self, Member { node, incarnation }: Member) {
        let Some(pair) = self.pairs.get_mut(&node) else { return };
        if pair.incarnation != incarnation {
            self.unmake(node, State::New);
            self.pairs.get_mut(&node).expect("it is still there").incarnation = incarnation;
        } else if let State::Made(made) = &mut pair.state {
            made.asked = Asked::No;
        }
    }

    /// A node is not to be sealed for any more.
    pub(crate) fn forget(&mut self, node: NodeId) {
        if self.pairs.contains_key(&node) {
            self.unmake(node, State::New);
            let pair = self.pairs.remove(&node).expect("it was just there");
            self.uses.remove(&pair.used);
        }
    }

    /// A peer that has shown its credential and its life, and keys that it agreed on.
    pub(crate) fn put(&mut self, peer: Member, made: Made) {
        self.forget(peer.node);
        let shown = made.credential.bytes().clone();
        self.insert(peer, shown, State::Made(Box::new(made)));
    }

    /// A number that was not sealed under before.
    pub(crate) fn take_number(&mut self, node: NodeId) -> Option<u64> {
        let made = self.pairs.get_mut(&node)?.made()?;
        Some(made.numbers.take(&mut self.stretches))
    }

    /// Sees that a peer's credential was verified and keys were agreed on. False if it is not
    /// known, or not believed.
    pub(crate) fn make(&mut self, node: NodeId, unix_s: u64) -> bool {
        let Some(pair) = self.pairs.get_mut(&node) else { return false };
        match &mut pair.state {
            State::Refused => false,
            State::Made(made) if made.credential.is_over(unix_s) => self.refuse(node),
            State::Made(made) if made.is_checked => true,
            State::Made(made) => match self.trust.check(&made.credential, unix_s) {
                Ok(()) => {
                    made.is_checked = true;
                    true
                }
                Err(_) => self.refuse(node),
            },
            State::New => {
                let peer = Member { node, incarnation: pair.incarnation };
                let credential = Credential::read(&pair.credential).ok().filter(|credential| {
                    credential.node() == node && self.trust.check(credential, unix_s).is_ok()
                });
                match credential.and_then(|credential| self.agree(peer, credential)) {
                    Some(made) => {
                        let pair = self.pairs.get_mut(&node).expect("it was just there");
                        pair.state = State::Made(Box::new(made));
                        true
                    }
                    None => self.refuse(node),
                }
            }
        }
    }

    fn refuse(&mut self, node: NodeId) -> bool {
        self.tally.add("net.credential_refused");
        self.unmake(node, State::Refused);
        false
    }

    /// The keys that this node has with a peer, if the credential has a key to agree with.
    pub(crate) fn agree(&mut self, peer: Member, credential: Credential) -> Option<Made> {
        let keys = Keys::agree(&self.secret, self.me, peer, credential.key())?;
        Some(Made {
            keys,
            numbers: Numbers::new(&mut self.stretches),
            window: Window::default(),
            credential,
            is_checked: true,
            is_doubted: self.is_forgotten(peer),
            asked: Asked::No,
        })
    }

    /// Lets go of a pair's keys, and of what was opened with them.
    fn unmake(&mut self, node: NodeId, state: State) {
        let pair = self.pairs.get_mut(&node).expect("whose keys go is known");
        let incarnation = pair.incarnation;
        let State::Made(made) = std::mem::replace(&mut pair.state, state) else { return };
        if made.window.is_empty() {
            return;
        }
        self.epoch = epoch(&mut self.rng);
        if let Some(forgotten) = &mut self.forgotten {
            forgotten.insert(Member { node, incarnation });
            if forgotten.len() > FORGOTTEN_MAX {
                self.forgotten = None;
            }
        }
    }

    fn insert(&mut self, Member { node, incarnation }: Member, credential: Bytes, state: State) {
        if self.pairs.len() == PAIRS_MAX
            && let Some((_, oldest)) = self.uses.first_key_value()
        {
            let oldest = *oldest;
            self.tally.add("net.pair_forgotten");
            self.forget(oldest);
        }
        let used = self.use_count;
        self.use_count += 1;
        self.uses.insert(used, node);
        let before = self.pairs.insert(node, Pair { incarnation, credential, state, used });
        assert!(before.is_none(), "whoever is put in was not there");
    }

    /// Was spoken to or heard just now.
    pub(crate) fn touch(&mut self, node: NodeId) {
        let pair = self.pairs.get_mut(&node).expect("whoever is used is known");
        self.uses.remove(&pair.used);
        pair.used = self.use_count;
        self.use_count += 1;
        self.uses.insert(pair.used, node);
    }

    /// What was made, in whichever life the peer is known to live.
    pub(crate) fn made(&mut self, node: NodeId) -> Option<&mut Made> {
        self.pairs.get_mut(&node)?.made()
    }

    /// The first nodes by id of this range, both ends included.
    pub(crate) fn between(&self, from: NodeId, to: NodeId) -> impl Iterator<Item = NodeId> {
        self.pairs.range(from..=to).map(|(node, _)| *node)
    }

    /// What was made with a peer in just this life.
    pub(crate) fn made_in(&mut self, peer: Member) -> Option<&mut Made> {
        let pair = self.pairs.get_mut(&peer.node)?;
        if pair.incarnation == peer.incarnation { pair.made() } else { None }
    }
}

impl Pair {
    fn made(&mut self) -> Option<&mut Made> {
        match &mut self.state {
            State::Made(made) => Some(made),
            State::New | State::Refused => None,
        }
    }
}

/// An epoch, which is not 0.
fn epoch(rng: &mut Rng) -> u64 {
    rng.random_range(1..=u64::MAX)
}

/// As many as the members of the largest membership: who is forgotten for others has gone.
pub(crate) const PAIRS_MAX: usize = 65_536;
pub(crate) const FORGOTTEN_MAX: usize = 65_536;

#[cfg(test)]
impl Pairs {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        assert_eq!(self.pairs.len(), self.uses.len());
        self.pairs.len()
    }

    pub(crate) fn has(&self, node: NodeId) -> bool {
        self.pairs.contains_key(&node)
    }

    /// As if the windows of so many others had gone.
    pub(crate) fn forget_others(&mut self, others: impl Iterator<Item = Member>) {
        self.forgotten = Some(others.collect());
    }
}
