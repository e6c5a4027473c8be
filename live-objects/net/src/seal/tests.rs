//! Two ends and more, whose packets the test carries.

use std::collections::BTreeSet;

use super::*;
use crate::Authority;
use crate::pairs::{FORGOTTEN_MAX, PAIRS_MAX};
use proptest::prelude::{ProptestConfig, prop, prop_assert, proptest};

/// Some time after the nodes have started.
const NOON: Moment = Moment { now: Time::from_nanos(3_600_000_000_000), unix_s: 1_800_000_000 };

/// A node's seals, and what others are told of it.
struct End {
    seals: Seals,
    tally: Tally,
    identity: Identity,
    member: Member,
}

impl End {
    fn new(identity: Identity, life: u8) -> Self {
        let incarnation = Incarnation::from_bytes([life; Incarnation::LEN]);
        let member = Member { node: identity.node(), incarnation };
        let (rng, tally) = (Rng::from_seed([life; 32]), Tally::default());
        let trust = identity.trust().unwrap();
        let seals = Seals::new(member, &identity, trust, rng, tally.clone());
        Self { seals, tally, identity, member }
    }

    fn knows(&mut self, other: &Self) {
        self.seals.introduce(other.member, other.identity.credential.bytes());
    }

    fn seal(&mut self, to: &Self, body: &str) -> Option<Bytes> {
        self.seals.seal(NOON, to.member.node, body.as_bytes())
    }

    fn open(&mut self, packet: &[u8]) -> Outcome {
        self.seals.open(NOON, packet)
    }

    /// Seals for the other, who opens it.
    fn tell(&mut self, other: &mut Self, body: &str) {
        let packet = self.seal(other, body).expect("the peer is known");
        assert_eq!(other.open(&packet), self.said(body));
    }

    /// Seals for the other, who does not open it, and takes in what it answers.
    fn ask(&mut self, other: &mut Self) -> Bytes {
        let packet = self.seal(other, "who am I?").expect("the peer is known");
        let Outcome::Dropped(Some(who)) = other.open(&packet) else { panic!("it asks") };
        assert!(who.len() < packet.len(), "nothing is amplified");
        assert_eq!(self.open(&who), Outcome::Noted);
        packet
    }

    fn said(&self, body: &str) -> Outcome {
        Outcome::Opened { from: self.member.node, body: Bytes::copy_from_slice(body.as_bytes()) }
    }

    fn count(&self, name: &str) -> u64 {
        self.tally.with(&live_objects::Counts::default()).get(name).copied().unwrap_or(0)
    }
}

/// Two nodes of one cluster that were told of each other.
fn pair() -> (End, End) {
    let (mut one, mut other) = strangers();
    one.knows(&other);
    other.knows(&one);
    (one, other)
}

fn strangers() -> (End, End) {
    let authority = Authority::create();
    (End::new(authority.issue(), 1), End::new(authority.issue(), 2))
}

#[test]
fn members_speak_at_once() {
    let (mut one, mut other) = pair();
    let packet = one.seal(&other, "hello").unwrap();
    assert_eq!(packet.len(), 5 + Envelope::SEAL_LEN);
    assert!(is_sealed(&packet));
    assert_eq!(other.open(&packet), one.said("hello"));
    other.tell(&mut one, "hello yourself");
    assert_eq!(one.seals.seal(NOON, one.member.node, b"me"), None, "nobody seals for itself");
    let nobody = NodeId::from_bytes([7; NodeId::LEN]);
    assert_eq!(one.seals.seal(NOON, nobody, b"?"), None);
}

#[test]
fn the_longest_datagram_fits_but_not_with_an_introduction() {
    let (mut one, mut other) = strangers();
    one.knows(&other);
    let longest = "a".repeat(crate::wire::DATAGRAM_BYTES_MAX);
    let packet = one.seal(&other, &longest).unwrap();
    assert_eq!(packet.len(), PACKET_LEN_MAX);
    assert_eq!(one.seal(&other, &(longest.clone() + "a")), None);
    one.ask(&mut other);
    assert_eq!(one.seal(&other, &longest), None, "that takes a link");
    let longest = "a".repeat(PACKET_LEN_MAX - INTRODUCED_LEN - TAG_LEN);
    one.tell(&mut other, &longest);
}

#[test]
fn each_datagram_is_opened_once_and_in_any_order() {
    let (mut one, mut other) = pair();
    let packets: Vec<_> = (0..100).map(|n| one.seal(&other, &n.to_string()).unwrap()).collect();
    for (n, packet) in packets.iter().enumerate().rev() {
        assert_eq!(other.open(packet), one.said(&n.to_string()));
    }
    for packet in &packets {
        assert_eq!(other.open(packet), Outcome::Dropped(None), "no answer to what is late");
    }
    assert_eq!(other.count("net.seal_replayed"), 100);
}

#[test]
fn nobody_else_opens_it_and_no_byte_of_it_can_be_another() {
    let (mut one, mut other) = pair();
    let mut third = End::new(Authority::create().issue(), 3);
    third.knows(&one);
    let packet = one.seal(&other, "hello").unwrap();
    assert!(matches!(third.open(&packet), Outcome::Dropped(_)));
    for at in 0..packet.len() {
        let mut forged = packet.to_vec();
        forged[at] ^= 1;
        assert!(matches!(other.open(&forged), Outcome::Dropped(_)), "byte {at}");
        assert!(matches!(other.open(&packet[..at]), Outcome::Dropped(_)), "{at} bytes");
    }
    assert_eq!(other.open(&packet), one.said("hello"), "no harm was done");
}

#[test]
fn a_stranger_is_asked_and_introduces_itself_until_it_is_heard() {
    let (mut one, mut other) = strangers();
    one.knows(&other);
    let lost = one.ask(&mut other);
    assert_eq!(other.count("net.seal_unknown"), 1);
    for body in ["a", "b"] {
        let packet = one.seal(&other, body).unwrap();
        assert_eq!((packet[0], packet.len()), (INTRODUCED, 1 + INTRODUCED_LEN + TAG_LEN));
        assert_eq!(other.open(&packet), one.said(body));
        assert_eq!(other.open(&packet), Outcome::Dropped(None));
    }
    other.tell(&mut one, "now I know you");
    assert_eq!(one.seal(&other, "c").unwrap()[0], SEALED);
    assert_eq!(other.open(&lost), one.said("who am I?"), "it was only late");
}

#[test]
fn a_young_node_introduces_itself_unasked() {
    let (mut one, mut other) = strangers();
    one.knows(&other);
    let young = Moment { now: Time::ZERO, ..NOON };
    let mut seal = |body: &str| {
        let sealed = one.seals.seal(young, other.member.node, body.as_bytes());
        sealed.expect("the peer is known")
    };
    let longest = "a".repeat(PACKET_LEN_MAX - SEALED_LEN - TAG_LEN);
    assert_eq!(seal(&longest)[0], SEALED, "there is no room to do so");
    let packets = ["a", "b"].map(seal);
    assert_eq!(packets[1][0], INTRODUCED);
    assert_eq!(other.open(&packets[1]), one.said("b"));
    assert_eq!(other.open(&packets[0]), one.said("a"));
    assert_eq!(other.open(&packets[1]), Outcome::Dropped(None), "it was seen");
    // Who was forgotten must show the epoch, which was drawn since.
    other.seals.forget(one.member.node);
    for packet in &packets {
        assert!(matches!(other.open(packet), Outcome::Dropped(Some(_))));
    }
    other.knows(&one);
    for packet in &packets {
        assert!(matches!(other.open(packet), Outcome::Dropped(Some(_))));
    }
    one.ask(&mut other);
    one.tell(&mut other, "c");
    other.tell(&mut one, "heard");
    let packet = one.seals.seal(young, other.member.node, b"d").unwrap();
    assert_eq!(packet[0], SEALED, "it was heard");
}

/// No number lies above the last one: a window could not note it.
#[test]
fn the_last_number_is_refused() {
    for is_known in [true, false] {
        let (mut one, mut other) = strangers();
        one.knows(&other);
        if is_known {
            other.knows(&one);
        }
        one.seal(&other, "").unwrap();
        let made = one.seals.pairs.made(other.member.node).unwrap();
        let mut packet = Vec::new();
        put_head(&mut packet, INTRODUCED, one.member.node, u64::MAX);
        packet.extend(UNASKED.to_be_bytes());
        packet.extend(one.member.incarnation.as_bytes());
        packet.extend_from_slice(one.identity.credential.bytes());
        made.keys.seal(u64::MAX, &mut packet, INTRODUCED_LEN);
        assert_eq!(other.open(&packet), Outcome::Dropped(None));
        assert_eq!(other.count("net.seal_replayed"), 1);
    }
}

#[test]
fn an_introduction_is_of_the_sender_alone() {
    let (mut one, mut other) = strangers();
    one.knows(&other);
    one.ask(&mut other);
    let packet = one.seal(&other, "hello").unwrap();
    for at in 1..packet.len() {
        let mut forged = packet.to_vec();
        forged[at] ^= 1;
        assert!(matches!(other.open(&forged), Outcome::Dropped(_)), "byte {at}");
    }
    assert_eq!(other.seals.pairs.len(), 0, "nobody was believed");
    assert_eq!(other.open(&packet), one.said("hello"));
}

#[test]
fn foreigners_and_the_revoked_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut authority = Authority::found(folder.path()).unwrap();
    let bad = End::new(authority.sign(folder.path()).unwrap(), 1);
    authority.revoke(folder.path(), bad.member.node).unwrap();
    let mut other = End::new(authority.issue(), 2);
    for mut bad in [bad, End::new(Authority::create().issue(), 3)] {
        // Each in its way: it does not believe a foreigner either.
        let trust = other.identity.trust().unwrap();
        bad.seals.pairs.trust = trust;
        bad.knows(&other);
        let before = other.count("net.credential_refused");
        bad.ask(&mut other);
        let packet = bad.seal(&other, "let me in").unwrap();
        assert_eq!(other.open(&packet), Outcome::Dropped(None));
        other.knows(&bad);
        assert_eq!(other.seal(&bad, "hello"), None, "nor is it spoken to");
        assert_eq!(other.count("net.credential_refused"), before + 2);
    }
}

#[test]
fn a_credential_ends_with_its_time_and_with_the_authority() {
    let (mut one, mut other) = pair();
    one.tell(&mut other, "hello");
    let far = Moment { unix_s: u64::MAX, ..NOON };
    assert_eq!(one.seals.seal(far, other.member.node, b"late"), None);
    let packet = one.seal(&other, "?");
    assert_eq!(packet, None, "what is refused stays so");
    let (mut one, mut other) = pair();
    one.tell(&mut other, "hello");
    let abroad = Authority::create().issue();
    other.seals.renew(&other.identity.clone(), abroad.trust().unwrap());
    let packet = one.seal(&other, "still there?").unwrap();
    assert!(matches!(other.open(&packet), Outcome::Dropped(_)));
    other.seals.renew(&other.identity.clone(), other.identity.trust().unwrap());
    assert!(matches!(other.open(&packet), Outcome::Dropped(_)), "it must show itself again");
}

#[test]
fn a_renewed_trust_leaves_pairs_as_they_are() {
    let (mut one, mut other) = pair();
    let packet = one.seal(&other, "hello").unwrap();
    assert_eq!(other.open(&packet), one.said("hello"));
    other.seals.renew(&other.identity.clone(), other.identity.trust().unwrap());
    assert_eq!(other.open(&packet), Outcome::Dropped(None), "it was seen");
    one.tell(&mut other, "again");
}

#[test]
fn a_senders_next_life_introduces_itself() {
    let (mut one, mut other) = pair();
    one.tell(&mut other, "first life");
    let old = one.seal(&other, "late").unwrap();
    let mut again = End::new(one.identity.clone(), 9);
    again.knows(&other);
    again.ask(&mut other);
    assert_eq!(other.count("net.seal_broken"), 1);
    again.tell(&mut other, "second life");
    assert!(matches!(other.open(&old), Outcome::Dropped(_)));
    other.tell(&mut again, "welcome back");
}

#[test]
fn a_receivers_next_life_takes_a_link_or_the_membership() {
    let (mut one, other) = pair();
    let mut again = End::new(other.identity, 9);
    again.knows(&one);
    one.ask(&mut again);
    one.ask(&mut again);
    assert_eq!(one.seal(&again, "?"), None, "an introduction is in vain");
    // The handshake of a link tells which life the peer lives.
    one.seals.meet(again.member);
    one.tell(&mut again, "hello");
}

/// Three datagrams are asked about at once: only the first is news.
#[test]
fn what_was_asked_before_is_no_refusal() {
    let (mut one, mut other) = strangers();
    one.knows(&other);
    let packets = [(); 3].map(|()| one.seal(&other, "?").unwrap());
    for packet in packets {
        let Outcome::Dropped(Some(who)) = other.open(&packet) else { panic!("it asks") };
        assert_eq!(one.open(&who), Outcome::Noted);
    }
    one.tell(&mut other, "hello");
}

#[test]
fn nobody_can_ask_about_what_was_not_sent() {
    let (mut one, other) = pair();
    let sent = one.seal(&other, "hello").unwrap();
    let mut who = Vec::new();
    put_head(&mut who, WHO, other.member.node, 1 << 40);
    who.extend([7; EPOCH_LEN]);
    assert_eq!(one.open(&who), Outcome::Dropped(None));
    put_head(&mut who, WHO, one.member.node, number_of(sent.first_chunk().unwrap()));
    assert_eq!(one.open(&who[SEALED_LEN + EPOCH_LEN..]), Outcome::Dropped(None));
    assert_eq!(one.seal(&other, "hello").unwrap()[0], SEALED);
}

/// Whoever records all packets of two nodes gains nothing when one forgets the other.
#[test]
fn what_was_opened_opens_no_second_time_though_it_was_forgotten() {
    let (mut one, mut other) = pair();
    let mut recorded = vec![one.seal(&other, "plain").unwrap()];
    assert_eq!(other.open(&recorded[0]), one.said("plain"));
    let forget = |other: &mut End, one: &End| {
        other.seals.forget(one.member.node);
        other.knows(one);
    };
    for round in 0..3 {
        forget(&mut other, &one);
        for packet in &recorded {
            assert!(matches!(other.open(packet), Outcome::Dropped(_)), "round {round}");
        }
        recorded.push(one.ask(&mut other));
        let introduced = one.seal(&other, "introduced").unwrap();
        assert_eq!(other.open(&introduced), one.said("introduced"));
        recorded.push(introduced);
        other.tell(&mut one, "heard");
        one.tell(&mut other, "plain again");
    }
}

#[test]
fn a_sender_that_forgets_takes_other_numbers() {
    let (mut one, mut other) = pair();
    let mut numbers = BTreeSet::new();
    for _ in 0..3 {
        let packet = one.seal(&other, "hello").unwrap();
        assert_eq!(other.open(&packet), one.said("hello"));
        assert!(numbers.insert(packet[..SEALED_LEN].to_vec()));
        one.seals.forget(other.member.node);
        one.knows(&other);
    }
}

#[test]
fn pairs_are_bounded_and_the_least_used_goes() {
    let (mut one, mut other) = pair();
    one.tell(&mut other, "hello");
    let number = |number: u64| {
        let mut node = [0; NodeId::LEN];
        node[..8].copy_from_slice(&number.to_be_bytes());
        let incarnation = Incarnation::from_bytes([1; Incarnation::LEN]);
        Member { node: NodeId::from_bytes(node), incarnation }
    };
    let credential = Bytes::from_static(&[7]);
    for count in 1..PAIRS_MAX as u64 {
        one.seals.introduce(number(count), &credential);
        if count == 1_000 {
            one.tell(&mut other, "still in use");
        }
    }
    assert_eq!(one.seals.pairs.len(), PAIRS_MAX);
    for count in 0..1_000 {
        one.seals.introduce(number(1 << 32 | count), &credential);
    }
    assert_eq!(one.seals.pairs.len(), PAIRS_MAX);
    assert_eq!(one.count("net.pair_forgotten"), 1_000);
    assert!(!one.seals.pairs.has(number(1_000).node));
    one.tell(&mut other, "nothing was lost");
}

#[test]
fn when_too_many_were_forgotten_all_introduce_themselves() {
    let (mut one, mut other) = pair();
    let nobody = |number: usize| {
        let mut node = [0xff; NodeId::LEN];
        node[..8].copy_from_slice(&number.to_be_bytes());
        Member { node: NodeId::from_bytes(node), ..one.member }
    };
    other.seals.pairs.forget_others((0..FORGOTTEN_MAX).map(nobody));
    one.tell(&mut other, "hello");
    other.seals.forget(one.member.node);
    assert!(other.seals.pairs.is_forgotten(other.member), "anybody may be");
    let mut third = End::new(one.identity.clone(), 3);
    third.knows(&other);
    other.knows(&third);
    third.ask(&mut other);
    third.tell(&mut other, "hello");
}

#[test]
fn strangers_have_so_much_asked_and_verified_a_second() {
    let (mut one, mut other) = strangers();
    one.knows(&other);
    let answers = (0..2 * ALLOWED_MAX).filter(|_| {
        let packet = one.seal(&other, "?").unwrap();
        matches!(other.open(&packet), Outcome::Dropped(Some(_)))
    });
    assert_eq!(answers.count(), ALLOWED_MAX as usize);
    let packet = one.seal(&other, "?").unwrap();
    let later = Moment { now: NOON.now + Duration::from_secs(1), ..NOON };
    assert!(matches!(other.seals.open(later, &packet), Outcome::Dropped(Some(_))));
    other.seals.checks = Allowance { second: Some(NOON.now), taken: ALLOWED_MAX };
    let mut asked = Vec::new();
    put_head(&mut asked, WHO, other.member.node, number_of(packet.first_chunk().unwrap()));
    asked.extend(other.seals.pairs.epoch().to_be_bytes());
    assert_eq!(one.open(&asked), Outcome::Noted);
    let packet = one.seal(&other, "hello").unwrap();
    assert_eq!(other.open(&packet), Outcome::Dropped(None));
    assert_eq!(other.count("net.seal_crowded"), 1);
    assert_eq!(other.seals.open(later, &packet), one.said("hello"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn garbage_never_panics(kind in 0..0x40_u8, bytes: Vec<u8>, known: bool) {
        let (mut one, mut other) = pair();
        one.tell(&mut other, "hello");
        let mut packet = vec![kind];
        if known {
            packet = vec![SEALED + kind % 3];
            packet.extend(handle_of(one.member.node));
        }
        packet.extend(&bytes);
        let outcome = other.open(&packet);
        let is_opened = matches!(outcome, Outcome::Opened { .. });
        prop_assert!(!is_opened);
        one.tell(&mut other, "still there");
    }

    #[test]
    fn damage_never_panics(at: prop::sample::Index, bits in 1..=255_u8, cut: bool) {
        let (mut one, mut other) = strangers();
        one.knows(&other);
        one.ask(&mut other);
        let mut packet = one.seal(&other, "hello").unwrap().to_vec();
        let at = at.index(packet.len());
        packet[at] ^= bits;
        if cut {
            packet.truncate(at);
        }
        let outcome = other.open(&packet);
        let is_opened = matches!(outcome, Outcome::Opened { .. });
        prop_assert!(!is_opened);
    }
}
