//! Members that a node knows when it starts.
//!
//! Whoever starts a whole cluster at once may know beforehand who will be in it. With a roster of
//! them each node begins where it would be some time after all had found each other: it keeps all
//! of them, or its part of them (`view`), and has nothing to say of that. Who does not start after
//! all is found out as a crash is, and whoever is not in the roster joins as ever.
//!
//! Those of one neighbourhood keep the same, so that is found once for all of them, and kept once
//! where they are of one process.
//!
//! Invariant: what a roster says of a member is what the member says of itself when it starts with
//! this roster.

use std::net::SocketAddr;
use std::sync::OnceLock;

use bytes::Bytes;
use live_objects::{Member, NodeId};

use crate::entry::{Addresses, Credential, Entry, Generation, Standing};
use crate::members::Common;
use crate::records::affinity::{Depth, Part};
use crate::view::{CONTACTS, rank};

/// Who is in a cluster when it starts.
pub struct Roster {
    /// By id.
    entries: Vec<Entry>,
    /// What each neighbourhood keeps; of neighbourhoods of this size.
    parts: Vec<OnceLock<Kept>>,
    depth: Depth,
}

struct Kept {
    /// Whom, as places in the roster's entries.
    places: Vec<u32>,
    common: Common,
}

impl Roster {
    /// A roster of these members, each with its addresses and what it shows of itself, for a
    /// cluster in which a node keeps all if they are no more than
    /// [`Config::whole_max`](crate::Config::whole_max). Of addresses it keeps four; what is longer
    /// than a credential may be is left out.
    pub fn new(
        members: impl IntoIterator<Item = (Member, Vec<SocketAddr>, Bytes)>,
        whole_max: usize,
    ) -> Self {
        let entry = |(member, mut addresses, credential): (Member, Vec<SocketAddr>, Bytes)| {
            addresses.truncate(Addresses::MAX);
            let addresses = addresses.try_into().expect("no more than MAX are left");
            let credential = Credential::try_from(credential).unwrap_or_default();
            let (generation, standing, accuser) = (Self::GENERATION, Standing::Alive, None);
            Entry { member, generation, standing, addresses, credential, accuser }
        };
        let mut entries: Vec<Entry> = members.into_iter().map(entry).collect();
        entries.sort_by_key(|entry| entry.member);
        entries.dedup_by_key(|entry| entry.member.node);
        let whole = Depth::default();
        let depth = if entries.len() > whole_max { whole.among(entries.len()) } else { whole };
        let parts = (0..depth.groups()).map(|_| OnceLock::new()).collect();
        Self { entries, parts, depth }
    }

    /// How many members are in it.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nobody is in it.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// What members of a roster say of themselves begins so: their clocks do not matter.
    pub(crate) const GENERATION: Generation = Generation::FIRST;

    /// The size of neighbourhoods.
    pub(crate) const fn depth(&self) -> Depth {
        self.depth
    }

    pub(crate) fn has(&self, member: Member) -> bool {
        self.entries.binary_search_by_key(&member, |entry| entry.member).is_ok()
    }

    /// Whom a node keeps, by id.
    pub(crate) fn part_of(&self, node: NodeId) -> impl Iterator<Item = &Entry> {
        self.kept(node).places.iter().map(|at| &self.entries[*at as usize])
    }

    /// The same, as a table.
    pub(crate) fn common(&self, node: NodeId) -> &Common {
        &self.kept(node).common
    }

    /// All in a part of all ids.
    pub(crate) fn those(&self, part: Part) -> &[Entry] {
        let [first, beyond] = self.places(part);
        &self.entries[first..beyond]
    }

    fn kept(&self, node: NodeId) -> &Kept {
        let near = self.depth.part(node);
        let number = u128::from_be_bytes(*near.first.as_bytes());
        let number = number.checked_shr(u128::BITS - self.depth.bits()).unwrap_or(0);
        self.parts[number as usize].get_or_init(|| self.find_kept(near))
    }

    fn find_kept(&self, near: Part) -> Kept {
        let mut places: Vec<u32> = Vec::new();
        for place in self.depth.places() {
            let part = self.depth.part(place);
            let [first, beyond] = self.places(part);
            let mut there: Vec<u32> = (first as u32..beyond as u32).collect();
            if part != near {
                there.sort_by_key(|at| rank(near, self.entries[*at as usize].member.node));
                there.truncate(CONTACTS);
                there.sort_unstable();
            }
            places.extend(there);
        }
        let common = places.iter().map(|at| &self.entries[*at as usize]).collect();
        Kept { places, common }
    }

    fn places(&self, part: Part) -> [usize; 2] {
        let first = self.entries.partition_point(|entry| entry.member.node < part.first);
        [first, self.entries.partition_point(|entry| entry.member.node <= part.last)]
    }
}
