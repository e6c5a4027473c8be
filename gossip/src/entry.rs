//! What nodes say of each other, and whose word counts more.
//!
//! SWIM (DSN 2002, section 4.2) orders what is said of a member first by the member's *incarnation
//! number*, which only the member itself raises, and then by standing: a suspicion overrides that
//! it is alive, a verdict overrides both. Ours is that order, with three differences:
//!
//! - The number is called *generation*, since an incarnation is something else here: 128 random
//!   bits for one life of a process. A generation goes on growing from one life of a node to the
//!   next.
//! - A verdict is overridden by a higher generation, as a suspicion is. So whoever was thought
//!   dead, by a mistake or beyond a partition, comes back by itself.
//! - Where generation and standing are the same, the greater incarnation wins, so that all nodes
//!   choose alike between two lives that happened to take one number.
//!
//! Invariant: [`Entry::precedence`] is a total order of all that can be said of a node. A table
//! keeps the greatest, so in whatever order and however often things are heard, the outcome is the
//! same.

use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6};
use std::num::NonZeroU32;

use bytes::Bytes;
use live_objects::{CREDENTIAL_BYTES_MAX, Incarnation, Member, NodeId};
use serde::{Deserialize, Serialize, Serializer};
use thiserror::Error;

/// What is said of a node. Only the member itself makes one; others may raise its standing.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) member: Member,
    pub(crate) generation: Generation,
    pub(crate) standing: Standing,
    pub(crate) addresses: Addresses,
    /// What the member shows of itself, of its driver's making: datagrams to it need it.
    pub(crate) credential: Credential,
    /// Of a suspect, and of one that did not object: who suspected it first, as far as it is known
    /// to whoever tells it. It does not count in what is said, and of two accusers each node keeps
    /// the one that it heard of first.
    pub(crate) accuser: Option<Accuser>,
}

impl Entry {
    /// Whether it leaves out where the member is and what it shows. Whoever knows that life of the
    /// member knows it; whoever does not is told nothing by it, unless the member is gone.
    pub(crate) fn is_brief(&self) -> bool {
        self.addresses.iter().next().is_none() && self.credential.bytes().is_empty()
    }

    /// The same, but brief.
    pub(crate) fn brief(&self) -> Self {
        let addresses = Addresses::Some(Box::default());
        Self { addresses, credential: Credential::default(), ..*self }
    }

    /// Whether it says the same of the same member as another, brief or not.
    pub(crate) fn says(&self, other: &Self) -> bool {
        self.member == other.member && self.precedence() == other.precedence()
    }

    /// What it says against the member, if it does.
    pub(crate) fn accusation(&self) -> Option<Accusation> {
        let Self { member, generation, accuser, .. } = *self;
        self.standing.is_accused().then_some(Accusation { member, generation, accuser })
    }

    /// Of two entries about one node the greater holds.
    pub(crate) fn precedence(&self) -> (Generation, Standing, Incarnation) {
        (self.generation, self.standing, self.member.incarnation)
    }
}

/// How much of an entry is news.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Telling {
    /// The member was not known before.
    Whole,
    /// It was: how it stands is enough.
    Brief,
}

impl Telling {
    /// As much of an entry as is told.
    pub(crate) fn of(self, entry: Entry) -> Entry {
        if self == Self::Brief || entry.standing != Standing::Alive { entry.brief() } else { entry }
    }
}

/// How a member stands; numbered as on the wire, of one generation the later overrides.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub(crate) enum Standing {
    /// Nobody doubts it.
    Alive,
    /// It did not answer, and has time to object.
    Suspect,
    /// It did not object in time: the verdict.
    Faulty,
    /// It said good-bye.
    Left,
}

impl Standing {
    /// Whether such a member counts as one.
    pub(crate) const fn is_up(self) -> bool {
        matches!(self, Self::Alive | Self::Suspect)
    }

    /// Whether somebody said so of the member.
    pub(crate) const fn is_accused(self) -> bool {
        matches!(self, Self::Suspect | Self::Faulty)
    }
}

/// What an entry says against a member.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Accusation {
    pub(crate) member: Member,
    pub(crate) generation: Generation,
    pub(crate) accuser: Option<Accuser>,
}

/// Who suspected a member first: the first four bytes of its id, since a crash makes thousands of
/// entries travel. That tells it from all but one in four billion; it counts for nothing but what
/// people are told.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub(crate) struct Accuser(NonZeroU32);

impl Accuser {
    pub(crate) fn of(node: NodeId) -> Self {
        let [a, b, c, d, ..] = *node.as_bytes();
        Self(NonZeroU32::new(u32::from_be_bytes([a, b, c, d])).unwrap_or(NonZeroU32::MIN))
    }

    /// The ids, first and last, of nodes of which it may be one.
    pub(crate) fn ids(self) -> [NodeId; 2] {
        let first = if self.0 == NonZeroU32::MIN { 0 } else { self.0.get() };
        [(first, 0), (self.0.get(), 0xff)].map(|(head, fill)| {
            let mut id = [fill; NodeId::LEN];
            id[..4].copy_from_slice(&head.to_be_bytes());
            NodeId::from_bytes(id)
        })
    }

    /// As it is written: 0 is nobody.
    pub(crate) fn number(accuser: Option<Self>) -> u32 {
        accuser.map_or(0, |accuser| accuser.0.get())
    }

    /// As it was read.
    pub(crate) fn numbered(number: u32) -> Option<Self> {
        NonZeroU32::new(number).map(Self)
    }
}

/// The number that a member raises to override what is said of it.
///
/// A node begins with its clock's milliseconds, so that its next life begins higher; if the clock
/// was set back it hears of its former life, and goes above that. What is above [`Generation::MAX`]
/// is refused by everybody: a number that could not be raised would lock its node out forever. A
/// clock gone mad begins at half of that, which leaves more suspicions to answer than any node will
/// live to see.
///
/// What is above that half is taken from the member itself alone ([`Generation::HEARSAY_MAX`]):
/// else somebody could say of a node that it left, at the highest generation there is, and nothing
/// that the node says would ever be believed again. So whatever others make up the node can
/// override, though it has to say so to each of them itself, from there on. Of itself a node
/// believes what a former life may have said there ([`Generation::of_former_life_max`]), and no
/// more, so that nobody leads it to the end either.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub(crate) struct Generation(u64);

impl Generation {
    /// The highest that is accepted: 146 million years, in milliseconds.
    pub(crate) const MAX: Self = Self(1 << 62);

    /// The highest that a node is believed to have by what others say.
    pub(crate) const HEARSAY_MAX: Self = Self(Self::MAX.0 / 2);

    /// The highest that a former life may have come to by a time: some of what others made it raise
    /// its number to may have been just as high, so it may have gone on from there.
    pub(crate) fn of_former_life_max(unix_ms: u64) -> Self {
        let later = unix_ms.saturating_add(YEAR_MS).min(Self::HEARSAY_MAX.0 / 2);
        Self(Self::HEARSAY_MAX.0 + later)
    }

    /// Where a node's life begins.
    pub(crate) const FIRST: Self = Self(1);

    /// Where a node begins whose clock says so.
    pub(crate) fn at_start(unix_ms: u64) -> Self {
        Self(unix_ms.min(Self::HEARSAY_MAX.0))
    }

    /// One higher than this one, unless this is the highest.
    pub(crate) fn raised(self) -> Self {
        Self(self.0 + 1).min(Self::MAX)
    }
}

/// By so much a clock may have been set back from one life to the next, if others lied meanwhile.
const YEAR_MS: u64 = 365 * 24 * 3_600_000;

impl TryFrom<u64> for Generation {
    type Error = Absurd;

    fn try_from(number: u64) -> Result<Self, Absurd> {
        if number > Self::MAX.0 { Err(Absurd::Generation(number)) } else { Ok(Self(number)) }
    }
}

impl From<Generation> for u64 {
    fn from(generation: Generation) -> Self {
        generation.0
    }
}

/// Where a member is reached, the best first. Most have one IPv4 address: that takes no allocation,
/// and the type no more than 16 bytes, as a table may hold many thousands.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "Vec<SocketAddr>", into = "Vec<SocketAddr>")]
pub(crate) enum Addresses {
    One(SocketAddrV4),
    Some(Box<[SocketAddr]>),
}

impl Addresses {
    /// The most addresses of a member.
    pub(crate) const MAX: usize = 4;

    pub(crate) fn iter(&self) -> impl Iterator<Item = SocketAddr> {
        let (one, some) = match self {
            Self::One(one) => (Some(SocketAddr::V4(*one)), [].as_slice()),
            Self::Some(some) => (None, some.as_ref()),
        };
        one.into_iter().chain(some.iter().copied())
    }
}

impl TryFrom<Vec<SocketAddr>> for Addresses {
    type Error = Absurd;

    fn try_from(mut addresses: Vec<SocketAddr>) -> Result<Self, Absurd> {
        // Scope and flow mean nothing at another node, and do not travel.
        for address in &mut addresses {
            if let SocketAddr::V6(v6) = address {
                *v6 = SocketAddrV6::new(*v6.ip(), v6.port(), 0, 0);
            }
        }
        match addresses.as_slice() {
            [SocketAddr::V4(one)] => Ok(Self::One(*one)),
            some if some.len() <= Self::MAX => Ok(Self::Some(addresses.into_boxed_slice())),
            more => Err(Absurd::Addresses(more.len())),
        }
    }
}

impl From<Addresses> for Vec<SocketAddr> {
    fn from(addresses: Addresses) -> Self {
        addresses.iter().collect()
    }
}

/// What a member shows of itself ([`Start::credential`]). Its bytes are shared by whoever keeps it,
/// table and driver alike. It is not hashed: a member that showed another would raise its
/// generation.
///
/// [`Start::credential`]: live_objects::Start::credential
#[derive(Clone, PartialEq, Eq, Default, Debug, Deserialize)]
#[serde(try_from = "Bytes")]
pub(crate) struct Credential(Bytes);

impl Credential {
    pub(crate) fn bytes(&self) -> &Bytes {
        &self.0
    }
}

impl TryFrom<Bytes> for Credential {
    type Error = Absurd;

    fn try_from(bytes: Bytes) -> Result<Self, Absurd> {
        let is_bounded = bytes.len() <= CREDENTIAL_BYTES_MAX;
        if is_bounded { Ok(Self(bytes)) } else { Err(Absurd::Credential(bytes.len())) }
    }
}

impl Serialize for Credential {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

/// What no node that keeps to the protocol says. The peer's fault; nothing changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub(crate) enum Absurd {
    #[error("generation {0} is above all that a node can reach")]
    Generation(u64),
    #[error("{0} addresses, more than the {max} of a member", max = Addresses::MAX)]
    Addresses(usize),
    #[error("a credential of {0} bytes, longer than any")]
    Credential(usize),
    #[error("round {0} is above all that nodes can reach")]
    Round(u64),
    #[error("a zone of {0} leaves")]
    Leaves(u64),
    #[error("{0} shares, more than there are leaves")]
    Count(u64),
    #[error("stamps that nobody can have made")]
    Stamps,
    #[error("a number that nobody can have summed up")]
    Number,
    #[error("part {0} of a summary that has fewer")]
    Part(u8),
    #[error("a run of {0} rows that cannot be one")]
    Run(u64),
    #[error("an integer longer than 64 bits")]
    Varint,
    #[error("a reach of {0} bits, longer than an id")]
    Reach(u8),
    #[error("a load that is no number, or below 0")]
    Load,
    #[error("bit {0} of a filter that has fewer")]
    Bit(u64),
    #[error("a neighbourhood of {0} bits, smaller than any")]
    Depth(u8),
    #[error("a filter written in a way of {0}")]
    Way(u8),
    #[error("level {0} behind level {1}")]
    Level(u8, u8),
    #[error("attributes or a predicate that nobody can have given")]
    Attributes,
    #[error("evidence that nobody can have seen")]
    Evidence,
    #[error("a profile of no numbers, or too many, or one that is not finite")]
    Profile,
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// An entry like most: alive, with one address. It shows nothing, of which others show more.
    pub(crate) fn entry(node: u8, generation: u64) -> Entry {
        let address: SocketAddr = format!("10.0.0.{node}:7000").parse().unwrap();
        Entry {
            member: Member {
                // Spread over the buckets, which go by the first digit.
                node: NodeId::from_bytes([node.rotate_left(4); NodeId::LEN]),
                incarnation: Incarnation::from_bytes([node; Incarnation::LEN]),
            },
            generation: Generation::try_from(generation).unwrap(),
            standing: Standing::Alive,
            addresses: vec![address].try_into().unwrap(),
            credential: Credential::default(),
            accuser: None,
        }
    }

    impl Entry {
        pub(crate) fn as_standing(&self, standing: Standing) -> Self {
            Self { standing, ..self.clone() }
        }
    }

    pub(crate) fn standings() -> impl Strategy<Value = Standing> {
        use Standing::{Alive, Faulty, Left, Suspect};
        prop::sample::select(vec![Alive, Suspect, Faulty, Left])
    }

    /// Any entry at all.
    pub(crate) fn entries() -> impl Strategy<Value = Entry> {
        let v4 =
            any::<(u32, u16)>().prop_map(|(ip, port)| SocketAddr::from((ip.to_be_bytes(), port)));
        let v6 = any::<([u8; 16], u16)>().prop_map(SocketAddr::from);
        let addresses = prop::collection::vec(prop_oneof![v4, v6], 0..=Addresses::MAX);
        let credential = prop::collection::vec(any::<u8>(), 0..=CREDENTIAL_BYTES_MAX);
        let said = (addresses, credential, any::<u32>());
        (any::<[[u8; 16]; 2]>(), 0..=Generation::MAX.0, standings(), said).prop_map(
            |([node, incarnation], generation, standing, (addresses, credential, by))| Entry {
                member: Member {
                    node: NodeId::from_bytes(node),
                    incarnation: Incarnation::from_bytes(incarnation),
                },
                generation: Generation(generation),
                standing,
                addresses: addresses.try_into().unwrap(),
                credential: Bytes::from(credential).try_into().unwrap(),
                accuser: Accuser::numbered(by).filter(|_| standing.is_accused()),
            },
        )
    }

    #[test]
    fn generation_then_standing_then_incarnation() {
        let alive = entry(1, 7);
        let faulty = alive.as_standing(Standing::Faulty);
        assert!(alive.as_standing(Standing::Suspect).precedence() > alive.precedence());
        assert!(faulty.precedence() > alive.as_standing(Standing::Suspect).precedence());
        assert!(alive.as_standing(Standing::Left).precedence() > faulty.precedence());
        assert!(entry(1, 8).precedence() > faulty.precedence(), "a verdict can be overridden");
        let mut other_life = alive.clone();
        other_life.member.incarnation = Incarnation::from_bytes([2; 16]);
        assert!(other_life.precedence() > alive.precedence());
        assert!(faulty.precedence() > other_life.precedence());
    }

    #[test]
    fn no_generation_is_beyond_reach() {
        assert_eq!(Generation::try_from(u64::MAX), Err(Absurd::Generation(u64::MAX)));
        assert!(Generation::try_from(Generation::MAX.0 + 1).is_err());
        let mad_clock = Generation::at_start(u64::MAX);
        assert!(mad_clock.raised() > mad_clock);
        assert_eq!(Generation::MAX.raised(), Generation::MAX, "no overflow");
        let former = Generation::of_former_life_max;
        assert!(former(1) > Generation::HEARSAY_MAX && former(2) > former(1));
        assert!(former(u64::MAX) < Generation::MAX);
    }

    #[test]
    fn an_accuser_is_known_by_how_its_id_begins() {
        for node in [0, 1, 0x2b] {
            let node = entry(node, 1).member.node;
            let [first, last] = Accuser::of(node).ids();
            assert!((first..=last).contains(&node));
            assert!(!(first..=last).contains(&entry(3, 1).member.node));
        }
        let accuser = Some(Accuser::of(entry(2, 1).member.node));
        assert_eq!(Accuser::number(accuser), 0x2020_2020);
        assert_eq!(Accuser::numbered(0x2020_2020), accuser);
        assert_eq!((Accuser::number(None), Accuser::numbered(0)), (0, None));
    }

    #[test]
    fn an_entry_is_small() {
        assert_eq!(size_of::<Addresses>(), 16);
        assert_eq!(size_of::<Credential>(), 32);
        assert_eq!(size_of::<Entry>(), 96);
    }

    #[test]
    fn a_credential_is_short() {
        let longest = Bytes::from(vec![7; CREDENTIAL_BYTES_MAX]);
        assert_eq!(Credential::try_from(longest.clone()).unwrap().bytes(), &longest);
        let longer = Bytes::from(vec![7; CREDENTIAL_BYTES_MAX + 1]);
        assert_eq!(Credential::try_from(longer), Err(Absurd::Credential(129)));
    }

    #[test]
    fn addresses_are_few_and_without_scope() {
        let address: SocketAddr = "10.0.0.1:1".parse().unwrap();
        assert_eq!(Addresses::try_from(vec![address; 5]), Err(Absurd::Addresses(5)));
        let scoped = SocketAddr::V6(SocketAddrV6::new([9; 8].into(), 7, 3, 4));
        let plain = SocketAddr::V6(SocketAddrV6::new([9; 8].into(), 7, 0, 0));
        let addresses = Addresses::try_from(vec![scoped, address]).unwrap();
        assert_eq!(addresses.iter().collect::<Vec<_>>(), [plain, address]);
    }
}
