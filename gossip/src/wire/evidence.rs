//! The section of what whoever answers saw of a node, that it was asked about.
//!
//! ```text
//!  tag 41, evidence: pieces of evidence in postcard's form, one after the other …
//! ```
//!
//! These are asked for by people, so the section is written by serde and postcard. Who reads it
//! takes no more than nodes keep of one another, and no helpers or ages that nobody can have had.

use core::time::Duration;

use bytes::{BufMut, BytesMut};
use live_objects::{Evidence, Finding};

use super::{PacketError, SECTION_LEN, put_section};
use crate::config::Config;
use crate::entry::Absurd;
use crate::evidence::OF_MEMBER_MAX;
use crate::probe::HELPED_ATTEMPTS;

/// How long the section is.
pub(crate) fn section_len(evidence: &[Evidence]) -> usize {
    SECTION_LEN + evidence.iter().map(|piece| written(piece).len()).sum::<usize>()
}

pub(super) fn put(out: &mut BytesMut, evidence: &[Evidence]) {
    put_section(out, TAG_EVIDENCE, section_len(evidence) - SECTION_LEN);
    evidence.iter().for_each(|piece| out.put_slice(&written(piece)));
}

pub(super) fn take(body: &mut &[u8]) -> Result<Vec<Evidence>, PacketError> {
    let mut evidence = Vec::new();
    while !body.is_empty() {
        let (piece, rest) = postcard::take_from_bytes(body).map_err(|_| Absurd::Evidence)?;
        if evidence.len() == OF_MEMBER_MAX || !is_possible(&piece) {
            return Err(Absurd::Evidence.into());
        }
        evidence.push(piece);
        *body = rest;
    }
    Ok(evidence)
}

fn is_possible(piece: &Evidence) -> bool {
    let Finding::Suspected { silence: Some(silence), .. } = &piece.finding else {
        return piece.ago <= AGO_MAX;
    };
    let before = silence.before.map(|before| [before.ago, before.took.unwrap_or_default()]);
    let all = [piece.ago, silence.since].into_iter().chain(before.into_iter().flatten());
    silence.helpers.len() <= HELPERS_MAX && all.max() <= Some(AGO_MAX)
}

fn written(piece: &Evidence) -> Vec<u8> {
    postcard::to_allocvec(piece).expect("memory takes every value")
}

pub(super) const TAG_EVIDENCE: u8 = 41;

/// How many helpers are asked about one member at most.
const HELPERS_MAX: usize =
    Config::HELPERS_MAX * (*HELPED_ATTEMPTS.end() - *HELPED_ATTEMPTS.start() + 1);

/// The longest that anything is ago: no node runs for a century.
const AGO_MAX: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::entry::tests::entry;
    use crate::wire::{Leg, Packet, tests::hex};
    use live_objects::{Answered, NodeId, Silence};
    use proptest::prelude::*;

    fn node(number: u8) -> NodeId {
        entry(number, 1).member.node
    }

    fn seen(finding: Finding) -> Evidence {
        Evidence { member: entry(1, 1).member, ago: Duration::from_millis(1_500), finding }
    }

    fn silence(helpers: usize, since: Duration) -> Finding {
        let before = Answered { ago: since, took: Some(Duration::from_millis(7)) };
        let helpers = vec![node(3); helpers];
        let silence = Silence { since, attempts: 5, helpers, before: Some(before) };
        Finding::Suspected { accuser: Some(node(2)), silence: Some(Box::new(silence)) }
    }

    /// Anything that may be seen of a node.
    pub(crate) fn evidence() -> impl Strategy<Value = Vec<Evidence>> {
        let plain = vec![Finding::Refuted, Finding::Faulty, Finding::Left, Finding::Back];
        let hearsay = any::<Option<u8>>()
            .prop_map(|accuser| Finding::Suspected { accuser: accuser.map(node), silence: None });
        let own = (0..=HELPERS_MAX, 0..9_000_000_u64)
            .prop_map(|(helpers, since)| silence(helpers, Duration::from_millis(since)));
        let finding = prop_oneof![prop::sample::select(plain), hearsay, own];
        prop::collection::vec(finding.prop_map(seen), 0..=OF_MEMBER_MAX)
    }

    fn packet(evidence: Vec<Evidence>) -> Packet {
        Packet { evidence: Some(evidence), ..Packet::new(Leg::Answer { number: 7 }) }
    }

    #[test]
    fn golden_bytes() {
        let head = "120000000700100000";
        assert_eq!(hex(&packet(Vec::new()).encode()), format!("{head}290000"));
        let member = "10".repeat(16) + &"01".repeat(16);
        let ago = "0180cab5ee01";
        let left = packet(vec![seen(Finding::Left)]);
        assert_eq!(hex(&left.encode()), format!("{head}290027{member}{ago}03"));
        let accused = Finding::Suspected { accuser: Some(node(2)), silence: None };
        let accused = packet(vec![seen(accused)]);
        let by = "00".to_owned() + "01" + &"20".repeat(16) + "00";
        assert_eq!(hex(&accused.encode()), format!("{head}290039{member}{ago}{by}"));
    }

    #[test]
    fn evidence_that_nobody_can_have_seen_is_refused() {
        let read = |evidence: Vec<Evidence>| Packet::decode(&packet(evidence).encode());
        let refused = Err(PacketError::Absurd(Absurd::Evidence));
        assert!(read(vec![seen(silence(HELPERS_MAX, AGO_MAX))]).is_ok());
        assert_eq!(read(vec![seen(silence(HELPERS_MAX + 1, AGO_MAX))]), refused);
        let longer = AGO_MAX + Duration::from_nanos(1);
        assert_eq!(read(vec![seen(silence(1, longer))]), refused);
        assert_eq!(read(vec![Evidence { ago: longer, ..seen(Finding::Left) }]), refused);
        assert!(read(vec![seen(Finding::Left); OF_MEMBER_MAX]).is_ok());
        assert_eq!(read(vec![seen(Finding::Left); OF_MEMBER_MAX + 1]), refused);
        let mut bytes = packet(vec![seen(Finding::Left)]).encode().to_vec();
        *bytes.last_mut().expect("a finding") = 5;
        assert_eq!(Packet::decode(&bytes), refused, "an unknown finding");
    }
}
