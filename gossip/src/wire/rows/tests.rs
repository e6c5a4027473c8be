//! What is written is read again, and what is damaged makes a fault and no panic.

use super::*;
use crate::wire::{Leg, Packet};
use crate::zones::row::tests::{round, rows, summaries};
use proptest::prelude::*;

fn subjects() -> impl Strategy<Value = Subject> {
    (any::<[u8; 16]>(), summaries())
        .prop_map(|(object, summary)| Subject { object: ObjectId::from_bytes(object), summary })
}

fn rounds() -> impl Strategy<Value = Round> {
    (0..=u64::from(Round::MAX)).prop_map(round)
}

pub(crate) fn digests() -> impl Strategy<Value = Digests> {
    let mark = rows(Summary::Count).prop_map(|row| row.mark);
    let mark = prop_oneof![Just(Mark::default()), mark];
    let level = prop::collection::vec(mark, FANOUT).prop_map(|marks| marks.try_into().unwrap());
    let levels = prop::collection::vec(level, 0..4);
    let object = (subjects(), any::<bool>(), levels)
        .prop_map(|(subject, introduces, levels)| Digest { subject, introduces, levels });
    (rounds(), prop::collection::vec(object, 0..3))
        .prop_map(|(round, objects)| Digests { round, objects })
}

pub(crate) fn answers() -> impl Strategy<Value = Answers> {
    let object = subjects().prop_flat_map(|subject| {
        let rows = prop::collection::btree_map(0..FANOUT as u8, rows(subject.summary), 0..FANOUT);
        let shelf = (0..DIGITS as u8, any::<u16>(), rows).prop_map(|(level, wanted, rows)| {
            let rows = rows.into_iter().collect();
            Shelf { level, wanted, rows }
        });
        prop::collection::vec(shelf, 0..4).prop_map(move |shelves| Answer { subject, shelves })
    });
    (rounds(), prop::collection::vec(object, 0..3))
        .prop_map(|(round, objects)| Answers { round, objects })
}

fn subject() -> Subject {
    Subject { object: ObjectId::from_bytes([0xab; 16]), summary: Summary::Average }
}

fn hex(packet: &Packet) -> String {
    packet.encode().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn golden_bytes() {
    let mut probe = Packet::new(Leg::Probe { number: 1 });
    let mut level = [Mark::default(); FANOUT];
    level[1] = Mark { stamps: 2 * 300 - 5, leaves: 2 };
    level[15] = Mark { stamps: 200 * 300 + 64, leaves: 200 };
    let digest = Digest { subject: subject(), introduces: true, levels: vec![level] };
    probe.digests = Some(Digests { round: round(300), objects: vec![digest] });
    let object = "ab".repeat(16);
    assert_eq!(
        hex(&probe),
        format!("010000000108001c ac02 {object} 80 01 8002 0209 c8018001").replace(' ', "")
    );

    let mut ack = Packet::new(Leg::Ack { number: 1 });
    let row = Row { mark: level[1], count: 1, least: 297, number: 1.5 };
    let relay = Row { mark: Mark { stamps: 300, leaves: 1 }, ..Row::default() };
    let shelf = Shelf { level: 3, wanted: 0x8000, rows: vec![(0, relay), (4, row)] };
    let answer = Answer { subject: subject(), shelves: vec![shelf] };
    ack.answers = Some(Answers { round: round(300), objects: vec![answer] });
    let golden = format!(
        "0200000001090028 ac02 {object} 00 01 03 8000 0011 010000 0209 01 06 3ff8000000000000"
    );
    assert_eq!(hex(&ack), golden.replace(' ', ""));
}

fn take_answers(body: &[u8]) -> Result<Answers, PacketError> {
    Answers::take(&mut &body[..])
}

/// An answer of round 1, with a shelf of one row that has these bytes.
fn with_row(row: &[u8]) -> Vec<u8> {
    [&[1][..], &[7; 16], &[1, 1, 0, 0, 0, 0, 1], row].concat()
}

#[test]
fn each_fault_has_its_name() {
    let number = |number: f64| [&[1, 0, 1, 0][..], &number.to_be_bytes()].concat();
    let fault = |row: &[u8]| take_answers(&with_row(row)).expect_err("damaged");
    assert!(take_answers(&with_row(&number(2.0))).is_ok());
    assert_eq!(fault(&number(f64::NAN)), Absurd::Number.into());
    assert_eq!(fault(&number(f64::INFINITY)), Absurd::Number.into());
    assert_eq!(fault(&[0, 0, 0]), Absurd::Leaves(0).into());
    assert_eq!(fault(&[0xff, 0xff, 0xff, 0x01, 0]), Absurd::Leaves((1 << 22) - 1).into());
    assert_eq!(fault(&[1, 1, 0]), Absurd::Stamps.into(), "a sum of 0");
    assert_eq!(fault(&[1, 3, 0]), Absurd::Stamps.into(), "a sum below 0");
    assert_eq!(fault(&[1, 0, 2]), Absurd::Count(2).into());
    assert_eq!(fault(&[1, 0, 1, 4]), Absurd::Stamps.into(), "a stamp below 0");
    assert_eq!(fault(&[0xff; 11]), Absurd::Varint.into());
    assert_eq!(fault(&[1]), PacketError::Truncated);
    let mut body = with_row(&[1, 0, 0]);
    body[17] = 5;
    assert_eq!(take_answers(&body), Err(PacketError::UnknownSummary(5)));
    body[17] = 0;
    body[19] = DIGITS as u8;
    assert_eq!(take_answers(&body), Err(Absurd::Level(DIGITS).into()));
    let digest = [&[1][..], &[7; 16], &[0, DIGITS as u8 + 1]].concat();
    assert_eq!(Digests::take(&mut &digest[..]), Err(Absurd::Level(DIGITS + 1).into()));
    let absurd = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
    assert!(matches!(take_answers(&absurd), Err(PacketError::Absurd(Absurd::Round(_)))));
}

proptest! {
    #[test]
    fn integers_are_as_long_as_they_say(number: u64, shift in 0..64_u32) {
        let number = number >> shift;
        let mut out = BytesMut::new();
        put_varint(&mut out, number);
        prop_assert_eq!(out.len(), varint_len(number));
        prop_assert_eq!(take_varint(&mut &out[..]), Ok(number));
    }

    #[test]
    fn never_panics(body: Vec<u8>, row: Vec<u8>) {
        let _ = take_answers(&body);
        let _ = take_answers(&with_row(&row));
        let _ = Digests::take(&mut &body[..]);
    }
}
