//! How much is pulled, in all, of what one teller announced, and of what one origin said.
//!
//! A teller has its part so that the links to others are of use too, an origin so that it does not
//! have the parts of all who tell of it. Whoever makes up many origins has more than one part: so
//! what is slow gives way ([`Parts::replace`]).

use std::collections::BTreeMap;

use live_objects::NodeId;

use super::{ONE_OF, PULLED_LEN_MAX, PULLS_MAX};

/// What is pulled.
#[derive(Default)]
pub(super) struct Parts {
    all: Taken,
    tellers: BTreeMap<NodeId, Taken>,
    origins: BTreeMap<NodeId, Taken>,
}

/// What one payload takes, and of whose part.
#[derive(Clone, Copy)]
pub(super) struct Share {
    pub(super) teller: NodeId,
    pub(super) origin: NodeId,
    pub(super) len: usize,
}

/// How many are pulled, and how long they are together, in bytes.
#[derive(Clone, Copy, Default)]
struct Taken {
    count: usize,
    len: usize,
}

impl Taken {
    fn fits(&self, len: usize, part: usize) -> bool {
        self.count < PULLS_MAX / part && self.len + len <= PULLED_LEN_MAX / part
    }

    fn add(&mut self, len: usize) {
        (self.count, self.len) = (self.count + 1, self.len + len);
    }

    fn remove(&mut self, len: usize) {
        (self.count, self.len) = (self.count - 1, self.len - len);
    }
}

impl Parts {
    /// Whether one more has room.
    pub(super) fn fits(&self, share: &Share) -> bool {
        self.all.fits(share.len, 1) && self.teller_fits(share) && self.origin_fits(share)
    }

    fn teller_fits(&self, Share { teller, len, .. }: &Share) -> bool {
        self.tellers.get(teller).copied().unwrap_or_default().fits(*len, ONE_OF)
    }

    fn origin_fits(&self, Share { origin, len, .. }: &Share) -> bool {
        self.origins.get(origin).copied().unwrap_or_default().fits(*len, ONE_OF)
    }

    pub(super) fn add(&mut self, share: &Share) {
        self.all.add(share.len);
        self.tellers.entry(share.teller).or_default().add(share.len);
        self.origins.entry(share.origin).or_default().add(share.len);
    }

    fn remove(&mut self, share: &Share) {
        self.all.remove(share.len);
        self.tellers.get_mut(&share.teller).expect("it was added").remove(share.len);
        self.origins.get_mut(&share.origin).expect("it was added").remove(share.len);
    }

    /// Makes room for one more, if it has room in the place of some of these, which are pulled: the
    /// first of them that help. Says which, by their places. What its own origin said stays, so
    /// that the messages of one sender wait for each other as they do without others.
    pub(super) fn replace(&mut self, share: &Share, slow: &[Share]) -> Option<Vec<usize>> {
        if !self.origin_fits(share) {
            return None;
        }
        let mut gone = Vec::new();
        for (place, it) in slow.iter().enumerate() {
            if self.fits(share) {
                break;
            }
            let helps = self.teller_fits(share) || it.teller == share.teller;
            if helps && it.origin != share.origin {
                self.remove(it);
                gone.push(place);
            }
        }
        if !self.fits(share) {
            gone.iter().for_each(|place| self.add(&slow[*place]));
            return None;
        }
        self.add(share);
        Some(gone)
    }
}
