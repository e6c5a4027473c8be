//! What is written is read again, and what is damaged makes a fault and no panic.

use super::*;
use crate::wire::{Leg, PACKET_LEN_MAX, Packet};
use crate::zones::row::tests::{ALL, round, rows as rows_of, summaries};
use live_objects::sketch::TopK;
use live_objects::{NodeId, Share};
use proptest::prelude::*;

fn titles() -> impl Strategy<Value = Title> {
    let parts = any::<prop::sample::Index>();
    (any::<[u8; 16]>(), summaries(), parts, 0..4_u16).prop_map(|(object, summary, part, way)| {
        let part = part.index(summary.parts().into()) as u8;
        let subject = Subject { part, ..Subject::new(ObjectId::from_bytes(object), summary) };
        match way {
            0 => Title::Full(subject),
            1.. if !summary.has_sketches() => Title::Place(way, summary),
            _ => Title::Handle(7, summary),
        }
    })
}

fn rounds() -> impl Strategy<Value = Round> {
    (0..=u64::from(Round::MAX)).prop_map(round)
}

pub(crate) fn rows() -> impl Strategy<Value = Rows> {
    let mark = rows_of(Summary::Count).prop_map(|row| row.mark);
    let told = titles().prop_flat_map(|title| {
        (Just(title), rows_of(title.summary()), any::<bool>(), any::<bool>())
    });
    (rounds(), any::<u64>(), mark, prop::collection::vec(told, 0..9)).prop_map(
        |(round, subjects, mark, told)| {
            let mut rows = Rows::new(round, [subjects].into_iter().collect(), mark);
            for (title, mut row, is_common, do_all_share) in told {
                if is_common {
                    (row.mark, row.count) = (mark, row.count.min(mark.leaves));
                }
                if do_all_share && row.count > 0 {
                    row.count = row.mark.leaves;
                }
                assert!(rows.add(title, row, usize::MAX));
            }
            rows
        },
    )
}

fn subject() -> Subject {
    Subject::new(ObjectId::from_bytes([0xab; 16]), Summary::Average)
}

fn hex(packet: &Packet) -> String {
    packet.encode().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn golden_bytes() {
    let mark = Mark { stamps: 2 * 300 - 5, leaves: 2 };
    let mut rows = Rows::new(round(300), Subjects([1, 2, 3, 4, 5, 6]), mark);
    let all = Row { mark, count: 2, least: 297, body: Body::Number(1.5) };
    let none = Row { mark: Mark { stamps: 200 * 300 + 64, leaves: 200 }, ..Row::default() };
    let one = Row { mark, count: 1, least: 300, body: Body::Number(0.0) };
    assert!(rows.add(Title::Full(subject()), all, 99));
    assert!(rows.add(Title::Handle(0xcdcdcdcd, Summary::Sum), none, 99));
    assert!(rows.add(Title::Handle(0xcdcdcdcd, Summary::Count), one, 99));
    let mut probe = Packet::new(Leg::Probe { number: 1 });
    probe.round = round(300);
    probe.rows = Some(rows);
    let object = "ab".repeat(16);
    let golden = format!(
        "01000000010000012c 08 0033 010203040506 0209 50 {object} 06 3ff8000000000000 \
         21 cdcdcdcd c8018001 00 02 cdcdcdcd 01 00"
    );
    assert_eq!(hex(&probe), golden.replace(' ', ""));
}

/// The codes of summaries, and their bodies.
#[test]
fn golden_bodies() {
    let mark = Mark { stamps: 300, leaves: 1 };
    let me = NodeId::from_bytes([7; 16]);
    let two = Share::new(2.0).unwrap();
    let golden = |share: &Share, summary: Summary, bytes: &str| {
        let mut rows = Rows::new(round(300), Subjects([1, 2, 3, 4, 5, 6]), mark);
        let part = Body::of(share, summary, me).unwrap().remove(0);
        let row = Row { mark, count: 1, least: 300, body: part };
        assert!(rows.add(Title::Handle(0xcdcdcdcd, summary), row, 99));
        let mut out = BytesMut::new();
        rows.put(&mut out);
        let hex: String = out[3 + 6 + 2..].iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, bytes.replace(' ', ""));
    };
    assert_eq!(ALL.map(code), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13]);
    golden(&two, Summary::Variance, "45 cdcdcdcd 00 4000000000000000 0000000000000000");
    golden(&two, Summary::Rate, "4b cdcdcdcd 00 4000000000000000");
    let weighted = Share::weighted(2.0, 0.5).unwrap();
    let of = Summary::WeightedAverage;
    golden(&weighted, of, "4d cdcdcdcd 00 3ff0000000000000 3fe0000000000000");
    golden(&two, Summary::Quantiles, "46 cdcdcdcd 00 01 00");
    let seven = "07".repeat(16);
    golden(&two, Summary::Highest, &format!("49 cdcdcdcd 00 18 4000000000000000 {seven}"));
}

/// Whatever is in it, a row fits into a packet that has what every packet must have.
#[test]
fn any_row_fits() {
    let rows = Rows::new(Round::MAX, Subjects::NONE, Mark { stamps: 1, leaves: 1 });
    let subject = Subject { part: 1, ..Subject::new(ObjectId::from_bytes([1; 16]), Summary::TopK) };
    let mark = Mark { stamps: Row::STAMPS_MAX, leaves: Row::LEAVES_MAX };
    let empty = Body::Sketch(Arc::new(Sketch::TopK(TopK::new())));
    let row = Row { mark, count: Row::LEAVES_MAX - 1, least: 0, body: empty };
    let beside = rows.section_len() + rows.row_len(Title::Full(subject), &row);
    let mut packet = Packet::new(Leg::Probe { number: 1 });
    packet.digest = Some(1);
    assert!(packet.encoded_len() + beside + Sketch::LEN_MAX <= PACKET_LEN_MAX);
}

#[test]
fn what_does_not_fit_is_not_added() {
    let mark = Mark { stamps: 300, leaves: 1 };
    let mut rows = Rows::new(round(300), Subjects::NONE, mark);
    let row = Row { mark, count: 1, least: 300, body: Body::Number(1.0) };
    let len = rows.section_len();
    assert!(!rows.add(Title::Full(subject()), row.clone(), len + 1 + 16 + 1 + 8 - 1));
    assert_eq!((rows.section_len(), rows.told.len()), (len, 0));
    assert!(rows.add(Title::Handle(1, Summary::Sum), row, len + 1 + 4 + 1 + 8));
}

/// So many as one row, a mark, and eight bytes for each.
#[test]
fn those_named_by_their_places_are_runs() {
    let mark = Mark { stamps: 2 * 300 - 5, leaves: 2 };
    let mut rows = Rows::new(round(300), Subjects([1, 2, 3, 4, 5, 6]), mark);
    let row = |number: f64| Row { mark, count: 2, least: 297, body: Body::Number(number) };
    let head = rows.section_len();
    for place in 200..203 {
        assert!(rows.add(Title::Place(place, Summary::Average), row(1.5), 99));
    }
    assert_eq!(rows.section_len(), head + 1 + 1 + 2 + 1 + 3 * 8);
    // Another summary, a place further on, another stamp: each begins another.
    assert!(rows.add(Title::Place(203, Summary::Count), row(0.0), 99));
    assert!(rows.add(Title::Place(205, Summary::Count), row(0.0), 99));
    let late = Row { least: 298, ..row(0.0) };
    assert!(rows.add(Title::Place(206, Summary::Count), late, 99));
    let mut out = BytesMut::new();
    rows.put(&mut out);
    let hex: String = out[head..].iter().map(|byte| format!("{byte:02x}")).collect();
    let runs = format!(
        "c0 03 c801 06 {} c2 01 cb01 06 c2 01 cd01 06 c2 01 ce01 04",
        "3ff8000000000000".repeat(3)
    );
    assert_eq!(hex, runs.replace(' ', ""));
    assert_eq!(Rows::take(&mut &out[3..], round(300)), Ok(rows));
}

#[test]
fn a_run_and_a_section_have_so_many_rows() {
    let mark = Mark { stamps: 300, leaves: 1 };
    let mut rows = Rows::new(round(300), Subjects::NONE, mark);
    let row = Row { mark, count: 1, least: 300, body: Body::default() };
    let mut place = 0;
    while rows.add(Title::Place(place, Summary::Count), row.clone(), PACKET_LEN_MAX) {
        place += 1;
    }
    assert_eq!((usize::from(place), rows.told.len()), (ROWS_MAX, ROWS_MAX));
    let mut out = BytesMut::new();
    rows.put(&mut out);
    let last = ROWS_MAX % RUN_MAX;
    assert_eq!(out.iter().filter(|byte| **byte == RUN | ALL_SHARE | 2).count(), 5);
    assert_eq!(Rows::take(&mut &out[3..], round(300)), Ok(rows));
    let more = [&out[3..], &[RUN | ALL_SHARE | 2, 1, 0, 0][..]].concat();
    assert_eq!(Rows::take(&mut &more[..], round(300)), Err(Absurd::Run(1).into()));
    assert_eq!(last, 4);
}

fn take(body: &[u8]) -> Result<Rows, PacketError> {
    Rows::take(&mut &body[..], round(1))
}

/// A section of round 1, whose rows have mostly a leaf, with a row that has these bytes.
fn with_row(row: &[u8]) -> Vec<u8> {
    [&[0, 0, 0, 0, 0, 0, 1, 0][..], row].concat()
}

#[test]
fn each_fault_has_its_name() {
    let number = |number: f64| [&[ALL_SHARE, 0, 0, 0, 7, 0][..], &number.to_be_bytes()].concat();
    let fault = |row: &[u8]| take(&with_row(row)).expect_err("damaged");
    assert!(take(&with_row(&number(2.0))).is_ok());
    assert_eq!(fault(&number(f64::NAN)), Absurd::Number.into());
    assert_eq!(fault(&number(f64::INFINITY)), Absurd::Number.into());
    let mark = |mark: &[u8]| [&[OWN_MARK, 0, 0, 0, 7][..], mark].concat();
    assert_eq!(fault(&mark(&[0, 0, 0])), Absurd::Leaves(0).into());
    assert_eq!(fault(&mark(&[0xff, 0xff, 0xff, 0x01, 0])), Absurd::Leaves((1 << 22) - 1).into());
    assert_eq!(fault(&mark(&[1, 1, 0])), Absurd::Stamps.into(), "a sum of 0");
    assert_eq!(fault(&mark(&[1, 3, 0])), Absurd::Stamps.into(), "a sum below 0");
    assert_eq!(fault(&[0, 0, 0, 0, 7, 2]), Absurd::Count(2).into());
    assert_eq!(fault(&[0, 0, 0, 0, 7, 1, 4]), Absurd::Stamps.into(), "a stamp below 0");
    assert_eq!(fault(&mark(&[0xff; 11])), Absurd::Varint.into());
    assert_eq!(fault(&[0, 0]), PacketError::Truncated);
    assert_eq!(fault(&[14, 0, 0, 0, 7, 0]), PacketError::UnknownSummary(14));
    let variance = |squares: f64| {
        [&[ALL_SHARE | 5, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0][..], &squares.to_be_bytes()]
            .concat()
    };
    assert!(take(&with_row(&variance(1.0))).is_ok());
    assert_eq!(fault(&variance(-1.0)), Absurd::Number.into());
    let mut weighted = variance(-1.0);
    weighted[0] = ALL_SHARE | 13;
    assert_eq!(fault(&weighted), Absurd::Number.into(), "a weight below 0");
    let part = |part: u8| [&[ALL_SHARE | IN_FULL | 7][..], &[1; 16], &[part, 0, 1, 0]].concat();
    assert!(take(&with_row(&part(2))).is_ok());
    assert_eq!(fault(&part(3)), Absurd::Part(3).into());
    let run = |summary: u8, head: &[u8]| [&[RUN | ALL_SHARE | summary][..], head].concat();
    assert!(take(&with_row(&run(2, &[2, 9, 0]))).is_ok());
    assert_eq!(fault(&run(2, &[0, 9, 0])), Absurd::Run(0).into());
    assert_eq!(fault(&run(2, &[0x80, 1, 9, 0])), Absurd::Run(128).into());
    assert_eq!(fault(&run(2, &[2, 0xff, 0xff, 3, 0])), Absurd::Run(2).into(), "no place");
    let last = take(&with_row(&run(2, &[1, 0xff, 0xff, 3, 0]))).unwrap();
    assert_eq!(last.told.len(), 1, "the last place there is");
    assert_eq!(fault(&run(6, &[1, 9, 0, 0])), Absurd::Run(1).into(), "of sketches");
    assert_eq!(fault(&run(IN_FULL, &[1, 9, 0])), Absurd::Run(1).into());
    assert_eq!(fault(&run(0, &[1, 9, 0])), PacketError::Truncated);
    assert_eq!(fault(&[ALL_SHARE | 7, 0, 0, 0, 7, 0, 2, 0]), PacketError::Truncated);
    let sketch = fault(&[ALL_SHARE | 7, 0, 0, 0, 7, 0, 1, 9]);
    assert!(matches!(sketch, PacketError::Sketch(_)), "{sketch}");
}

proptest! {
    #[test]
    fn reads_what_it_wrote(rows in rows()) {
        let mut packet = Packet::new(Leg::Ack { number: 7 });
        packet.round = rows.round;
        packet.rows = Some(rows);
        prop_assert_eq!(Packet::decode(&packet.encode()), Ok(packet));
    }

    #[test]
    fn never_panics(body: Vec<u8>, row: Vec<u8>) {
        let _ = take(&body);
        let _ = take(&with_row(&row));
    }
}
