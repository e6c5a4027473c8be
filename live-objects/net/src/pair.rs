//! What two nodes that never spoke can seal for each other: keys, numbers, and which were seen.
//!
//! The secret of a pair is X25519 (RFC 7748) of keys that both have anyway: those of their
//! identities, moved from Edwards' curve to Montgomery's. One key for signatures and for agreement
//! is sound, if both hash the secret apart as Ed25519 does (Thormarker, "On using the same key pair
//! for Ed25519 and an X25519 based KEM", 2021). HKDF (RFC 5869) makes two keys of the secret, one a
//! direction, with both nodes and their incarnations in it: what was sealed for a former life
//! opens in no later one, and what a node sealed does not come back as a peer's.
//!
//! The cipher is ChaCha20-Poly1305 (RFC 8439), since its key is 32 bytes and needs no preparation:
//! AES-GCM would take half a kilobyte more a direction, for each of tens of thousands of peers.
//!
//! Invariant: a key seals nothing under a number that it sealed under before. A [`Numbers`] goes up
//! within a *stretch*, and no two of a process begin with the same one.

use curve25519_dalek::edwards::CompressedEdwardsY;
use live_objects::Member;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::digest::{SHA512, digest};
use ring::hkdf::{HKDF_SHA256, Salt};
use rustls::pki_types::PrivateKeyDer;

use crate::credential::Key;

/// The half of an identity's key that agrees on secrets. It is not shown.
#[derive(Clone)]
pub(crate) struct Secret([u8; 32]);

impl Secret {
    /// Of a private key, if it is one of Ed25519.
    pub(crate) fn of_key(key: &PrivateKeyDer<'_>) -> Option<Self> {
        let PrivateKeyDer::Pkcs8(key) = key else { return None };
        // PKCS #8, version 1 or 2 (RFC 8410, section 7): the seed comes first.
        let (begin, rest) = key.secret_pkcs8_der().split_first_chunk::<PKCS8_LEN>()?;
        let is_ours = begin[..4] == [0x30, begin[1], 2, 1] && begin[5..] == PKCS8_ED25519;
        let seed: &[u8; 32] = rest.first_chunk()?;
        let hash = digest(&SHA512, seed);
        is_ours.then_some(Self(*hash.as_ref().first_chunk()?))
    }

    /// What only the holders of both keys can compute, if the other is a key at all.
    fn agree(&self, key: &Key) -> Option<[u8; 32]> {
        let point = CompressedEdwardsY(*key).decompress()?.to_montgomery();
        let agreed = point.mul_clamped(self.0).to_bytes();
        // A point of small order makes a secret that everybody knows.
        (agreed != [0; 32]).then_some(agreed)
    }
}

/// The keys of a pair, as one of the two has them.
pub(crate) struct Keys {
    sealing: [u8; 32],
    opening: [u8; 32],
}

impl Keys {
    /// Those of this node and a peer that has this public key, each in one life.
    pub(crate) fn agree(secret: &Secret, me: Member, peer: Member, key: &Key) -> Option<Self> {
        let extracted = Salt::new(HKDF_SHA256, SALT).extract(&secret.agree(key)?);
        let derive = |from: Member, to: Member| {
            let info = [from, to].map(|it| [*it.node.as_bytes(), *it.incarnation.as_bytes()]);
            let info = [info.as_flattened().as_flattened()];
            let mut derived = [0; 32];
            let filled =
                extracted.expand(&info, HKDF_SHA256).and_then(|key| key.fill(&mut derived));
            filled.expect("32 bytes are what is derived");
            derived
        };
        Some(Self { sealing: derive(me, peer), opening: derive(peer, me) })
    }

    /// Seals what is in `packet` behind `clear_len`, in place, and adds the tag. What is before
    /// stays readable, and whoever opens the rest knows that it is as it was.
    pub(crate) fn seal(&self, number: u64, packet: &mut Vec<u8>, clear_len: usize) {
        let (clear, body) = packet.split_at_mut(clear_len);
        let sealed = cipher(&self.sealing).seal_in_place_separate_tag(
            nonce(number),
            Aad::from(&*clear),
            body,
        );
        let tag = sealed.expect("a datagram is no longer than the cipher takes");
        packet.extend_from_slice(tag.as_ref());
    }

    /// Opens what the peer sealed under this number, if it did.
    pub(crate) fn open(&self, number: u64, packet: &[u8], clear_len: usize) -> Option<Vec<u8>> {
        let (clear, sealed) = packet.split_at_checked(clear_len)?;
        let mut sealed = sealed.to_vec();
        let opened =
            cipher(&self.opening).open_in_place(nonce(number), Aad::from(clear), &mut sealed);
        let opened_len = opened.ok()?.len();
        sealed.truncate(opened_len);
        Some(sealed)
    }
}

fn cipher(key: &[u8; 32]) -> LessSafeKey {
    let key = UnboundKey::new(&CHACHA20_POLY1305, key).expect("the cipher's keys are so long");
    LessSafeKey::new(key)
}

fn nonce(number: u64) -> Nonce {
    let mut nonce = [0; NONCE_LEN];
    nonce[NONCE_LEN - 8..].copy_from_slice(&number.to_be_bytes());
    Nonce::assume_unique_for_key(nonce)
}

/// The stretches of a process, each handed out once.
pub(crate) struct Stretches(u32);

impl Stretches {
    /// From a number that is hard to guess for those who do not see what is sent.
    pub(crate) fn new(chance: u32) -> Self {
        Self(chance >> 1)
    }

    fn next(&mut self) -> u32 {
        self.0 = self.0.checked_add(1).expect("no process makes two thousand million pairs");
        self.0
    }
}

/// The numbers that are sealed under for one peer: a stretch, then a count.
pub(crate) struct Numbers {
    /// The next.
    next: u64,
}

impl Numbers {
    pub(crate) fn new(stretches: &mut Stretches) -> Self {
        Self { next: u64::from(stretches.next()) << 32 }
    }

    pub(crate) fn take(&mut self, stretches: &mut Stretches) -> u64 {
        let number = self.next;
        self.next += 1;
        if self.next.trailing_zeros() >= 32 {
            *self = Self::new(stretches);
        }
        assert!(self.next > number, "no key seals twice under one number");
        number
    }

    /// The next that will be taken, unless the stretch ends.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// Whether this number was taken a little while ago.
    pub(crate) fn is_recent(&self, number: u64) -> bool {
        number < self.next && self.next - number <= RECENT && number >> 32 == self.next >> 32
    }
}

/// Which numbers of a peer were seen (RFC 4303, section 3.4.3): the highest, and which of those
/// before it. What lies further back counts as seen.
#[derive(Default)]
pub(crate) struct Window {
    /// One above the highest.
    end: u64,
    /// The lowest bit is the highest number.
    seen: u128,
}

impl Window {
    pub(crate) fn is_empty(&self) -> bool {
        self.seen == 0
    }

    /// Whether this number is new.
    pub(crate) fn takes(&self, number: u64) -> bool {
        match self.end.checked_sub(number) {
            None | Some(0) => number != u64::MAX,
            Some(back) => back <= Self::LEN && self.seen >> (back - 1) & 1 == 0,
        }
    }

    /// Notes a number that is new.
    pub(crate) fn note(&mut self, number: u64) {
        assert!(self.takes(number), "what was seen is not opened again");
        if number >= self.end {
            let ahead = number - self.end + 1;
            let shift = u32::try_from(ahead).ok().filter(|ahead| u64::from(*ahead) < Self::LEN);
            self.seen = shift.map_or(0, |shift| self.seen << shift);
            self.end = number + 1;
        }
        self.seen |= 1 << (self.end - 1 - number);
    }

    /// How far back it knows what was seen.
    const LEN: u64 = 128;
}

/// For how many datagrams a peer may still ask who sent them.
const RECENT: u64 = 64;
const SALT: &[u8] = b"LO/GO pair of nodes, version 1";
/// What stands before the seed in a private key, and all of it that does not depend on its version.
const PKCS8_LEN: usize = 16;
const PKCS8_ED25519: [u8; 11] = [0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];

#[cfg(test)]
mod tests {
    use super::*;
    use live_objects::{Incarnation, NodeId};
    use proptest::prelude::*;
    use rcgen::{KeyPair, PKCS_ED25519};

    struct Node {
        member: Member,
        secret: Secret,
        key: Key,
    }

    fn node(life: u8) -> Node {
        let pair = KeyPair::generate_for(&PKCS_ED25519).unwrap();
        let secret = Secret::of_key(&PrivateKeyDer::Pkcs8(pair.serialize_der().into())).unwrap();
        let key: Key = pair.public_key_raw().try_into().unwrap();
        let incarnation = Incarnation::from_bytes([life; Incarnation::LEN]);
        Node { member: Member { node: NodeId::from_public_key(&key), incarnation }, secret, key }
    }

    fn keys(of: &Node, with: &Node) -> Keys {
        Keys::agree(&of.secret, of.member, with.member, &with.key).unwrap()
    }

    #[test]
    fn a_pair_agrees_and_nobody_else_does() {
        let (one, other, third) = (node(1), node(2), node(3));
        let secret = one.secret.agree(&other.key).unwrap();
        assert_eq!(other.secret.agree(&one.key), Some(secret));
        assert_ne!(third.secret.agree(&one.key), Some(secret));
        // The neutral point, and one that is none.
        let mut neutral = [0; 32];
        neutral[0] = 1;
        assert_eq!(one.secret.agree(&neutral), None);
        assert_eq!(one.secret.agree(&[2; 32]), None);
    }

    #[test]
    fn what_one_seals_the_other_opens() {
        let (one, other) = (node(1), node(2));
        let (ours, theirs) = (keys(&one, &other), keys(&other, &one));
        let mut packet = b"clearsecret".to_vec();
        ours.seal(7, &mut packet, 5);
        assert_eq!(packet.len(), 5 + 6 + 16);
        assert!(packet.starts_with(b"clear"));
        assert_eq!(theirs.open(7, &packet, 5), Some(b"secret".to_vec()));
        assert_eq!(theirs.open(8, &packet, 5), None, "under another number");
        assert_eq!(ours.open(7, &packet, 5), None, "back to the sender");
        for at in 0..packet.len() {
            let mut forged = packet.clone();
            forged[at] ^= 1;
            assert_eq!(theirs.open(7, &forged, 5), None, "byte {at}");
        }
        assert_eq!(theirs.open(7, &packet[..20], 5), None);
        assert_eq!(theirs.open(7, &packet[..4], 5), None);
    }

    #[test]
    fn another_life_has_other_keys() {
        let (one, mut other) = (node(1), node(2));
        let mut packet = b"secret".to_vec();
        keys(&one, &other).seal(7, &mut packet, 0);
        other.member.incarnation = Incarnation::from_bytes([3; Incarnation::LEN]);
        assert_eq!(keys(&other, &one).open(7, &packet, 0), None);
    }

    #[test]
    fn no_number_is_taken_twice() {
        let mut stretches = Stretches::new(u32::MAX);
        let mut numbers = Numbers::new(&mut stretches);
        let first = numbers.take(&mut stretches);
        assert!(numbers.is_recent(first) && !numbers.is_recent(numbers.next()));
        numbers.next |= u64::from(u32::MAX);
        let last = numbers.take(&mut stretches);
        assert!(numbers.next() > last && numbers.next() as u32 == 0, "a stretch of its own");
        assert!(Numbers::new(&mut stretches).next() > numbers.next());
    }

    #[test]
    fn what_was_seen_is_not_new() {
        let mut window = Window::default();
        for number in [5, 3, 4, 200, 199, 73] {
            assert!(window.takes(number), "{number}");
            window.note(number);
            assert!(!window.takes(number), "{number}");
        }
        assert!(!window.takes(72), "too far back");
        assert!(window.takes(74) && window.takes(201) && window.takes(u64::MAX - 1));
        assert!(!window.takes(u64::MAX));
    }

    proptest! {
        #[test]
        fn each_number_is_new_once(numbers in prop::collection::vec(0..300_u64, 0..200)) {
            let (mut window, mut seen) = (Window::default(), std::collections::BTreeSet::new());
            for number in numbers {
                let highest = seen.last().copied().unwrap_or(0);
                let is_new = !seen.contains(&number) && number + Window::LEN > highest;
                prop_assert_eq!(window.takes(number), is_new);
                if is_new {
                    window.note(number);
                    seen.insert(number);
                }
            }
        }
    }
}
