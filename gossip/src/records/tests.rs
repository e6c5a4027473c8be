//! Whose record holds, what is shown, what is forgotten, and every limit.

use std::collections::BTreeSet;

use live_objects::Rng;
use proptest::prelude::*;

use super::record::tests::record as of;
pub(crate) use super::record::tests::{record, records};
use super::witnesses::{UNCOUNTED_MAX, VALUES_MAX, WITNESSES_MAX};
use super::*;
use crate::entry::tests::entry;

/// The table of a node, with nothing in it.
pub(crate) fn table(node: u8) -> Records {
    Records::new(entry(node, 1).member, 1_000, 3, Rng::from_seed([node; 32]))
}

impl Records {
    /// Takes in what was heard.
    pub(crate) fn hear(&mut self, record: Record, hearing: Hearing) -> Merged {
        let hash = record.hash();
        if self.hear_again(&record, hash) {
            return Merged::Known;
        }
        self.merge(record, hash, hearing)
    }
}

/// News of one who is up.
pub(crate) const fn news() -> Hearing {
    Hearing { round: 0, is_up: true, is_watched: true, source: Source::News }
}

fn at(round: u64) -> Hearing {
    Hearing { round, ..news() }
}

fn none() -> BTreeSet<Incarnation> {
    BTreeSet::new()
}

fn withdrawn(record: &Record) -> Record {
    Record { value: None, ..record.clone() }
}

fn keys(found: &[Record]) -> Vec<&[u8]> {
    found.iter().map(|record| &record.key.key[..]).collect()
}

fn find(records: &Records, key: &'static [u8]) -> Vec<Record> {
    records.sought(object(), &Sought::Key(key.into())).collect()
}

fn list(records: &Records, object: ObjectId, prefix: &'static [u8]) -> Vec<Record> {
    records.sought(object, &Sought::Prefix(prefix.into())).collect()
}

fn object() -> ObjectId {
    of(1, b"", 1).key.object
}

/// Few enough that they often meet: two publishers, two lives each, two keys, values or none.
fn some() -> impl Strategy<Value = Record> {
    let versions = u64::from(Version::HEARSAY_MAX) - 2..u64::from(Version::HEARSAY_MAX) + 2;
    (1..3_u8, 1..3_u8, 0..2_usize, versions, prop::option::of(0..3_u8)).prop_map(
        |(publisher, life, key, version, value)| Record {
            incarnation: Incarnation::from_bytes([life; 16]),
            value: value.map(|value| vec![value].into()),
            ..of(publisher, [b"a", b"b"][key], version)
        },
    )
}

proptest! {
    #[test]
    fn in_whatever_order_and_however_often_the_outcome_is_the_same(
        told in prop::collection::vec(some(), 0..20),
        again in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
    ) {
        let (mut forth, mut back) = (table(8), table(9));
        for (one, other) in told.iter().zip(told.iter().rev()) {
            forth.hear(one.clone(), news());
            back.hear(other.clone(), news());
        }
        if !told.is_empty() {
            for index in again {
                prop_assert_eq!(back.hear(index.get(&told).clone(), news()), Merged::Known);
            }
        }
        let all = |records: &Records| -> Vec<Record> {
            records.rows.iter().map(|(key, row)| row.record(key)).collect()
        };
        prop_assert_eq!(all(&forth), all(&back));
        prop_assert_eq!(forth.total, back.total);
        assert_sound(&forth);
    }

    #[test]
    fn whatever_is_heard_and_whoever_goes_all_is_in_its_place(
        steps in prop::collection::vec((some(), 0..7_u8), 0..40),
    ) {
        let mut records = table(1);
        for (record, step) in steps {
            let source = [Source::News, Source::Table, Source::Newcomer][usize::from(step % 3)];
            let Member { node, incarnation } = record.member();
            match step {
                0..3 => drop(records.hear(record, Hearing { source, ..news() })),
                3 => drop(records.on_member(node, Some(incarnation), &none(), 1)),
                5 => records.unwatch(node),
                4 => drop(records.on_member(node, None, &[incarnation].into(), 1)),
                _ => drop(records.pick(&[], 200, 2)),
            }
            assert_sound(&records);
        }
    }
}

/// Each row is found by its publisher and its hash, what travels is there, and sums are right.
fn assert_sound(records: &Records) {
    let shown = records.rows.iter().filter(|(_, row)| row.counts());
    let total = shown.fold(0, |total, (key, row)| total ^ row.record(key).hash());
    assert_eq!(records.total, total);
    assert_eq!(records.sums.iter().fold(0, |total, sum| total ^ sum), total);
    let by_publisher: usize = records.publishers.values().map(Vec::len).sum();
    assert_eq!(by_publisher, records.rows.len());
    assert_eq!(records.hashes.len(), records.rows.len());
    assert!(records.hashes.iter().all(|(hash, key)| records.rows[key].hash == *hash));
    let mut spare = Spare::default();
    records.rows.iter().for_each(|(key, row)| spare.toggle(key, row));
    assert_eq!(records.spare, spare);
    records.queue.offer_uncounted(u32::MAX, |hash| {
        assert!(records.hashes.contains_key(hash));
        false
    });
}

#[test]
fn what_is_found_is_in_order() {
    let mut records = table(9);
    for (publisher, key) in [(2, &b"ab"[..]), (1, b"ab"), (1, b"a"), (1, b"b")] {
        records.hear(of(publisher, Box::leak(key.into()), 1), news());
    }
    assert_eq!(keys(&list(&records, object(), b"a")), [&b"a"[..], b"ab", b"ab"]);
    assert_eq!(keys(&list(&records, object(), b"")), [&b"a"[..], b"ab", b"ab", b"b"]);
    let found = find(&records, b"ab");
    let publishers: Vec<Member> = found.iter().map(Record::member).collect();
    assert_eq!(publishers, [entry(1, 1).member, entry(2, 1).member]);
    assert!(find(&records, b"abc").is_empty());
    assert!(list(&records, ObjectId::from_bytes([4; 16]), b"").is_empty());
}

#[test]
fn what_is_written_again_replaces_and_what_is_withdrawn_is_gone() {
    let mut records = table(9);
    let write = |records: &mut Records, value: &'static [u8]| {
        assert!(records.write(object(), "k".into(), Some(value.into()), 0));
    };
    write(&mut records, b"one");
    write(&mut records, b"two");
    let found = find(&records, b"k");
    assert_eq!((found.len(), found[0].value.as_deref()), (1, Some(&b"two"[..])));
    assert_ne!(records.total, 0);
    records.withdraw(object(), "k".into(), 7);
    records.withdraw(object(), "never published".into(), 7);
    assert!(find(&records, b"k").is_empty());
    assert_eq!((records.total, records.rows.len()), (0, 1), "others may have to be told");
    records.expire(7 + WITHDRAWN_ROUNDS - 1, |_| true);
    assert_eq!(records.rows.len(), 1);
    records.expire(7 + WITHDRAWN_ROUNDS, |_| true);
    assert!(records.rows.is_empty() && records.publishers.is_empty());
    assert_eq!(records.digest(9), None);
}

#[test]
fn an_object_that_is_closed_takes_all_of_its_own_with_it() {
    let mut records = table(9);
    let other = ObjectId::from_bytes([4; 16]);
    for (object, key) in [(object(), "a"), (object(), "b"), (other, "c")] {
        assert!(records.write(object, key.into(), Some("v".into()), 0));
    }
    records.hear(of(1, b"d", 1), news());
    records.withdraw_all(object(), 0);
    assert_eq!(keys(&list(&records, object(), b"")), [b"d"]);
    assert_eq!(keys(&list(&records, other, b"")), [b"c"]);
}

#[test]
fn records_of_the_departed_are_hidden_and_come_back_with_them() {
    let mut records = table(9);
    let record = of(1, b"k", 1);
    records.hear(record.clone(), news());
    let total = records.total;
    let (node, life) = (record.key.publisher, record.incarnation);
    let hidden = records.on_member(node, None, &none(), 5);
    assert_eq!(hidden, std::slice::from_ref(&record.key));
    assert!(records.on_member(node, None, &none(), 6).is_empty(), "it was hidden before");
    assert!(find(&records, b"k").is_empty());
    assert_eq!(records.total, 0);
    // As long as its tombstone is there the record stays.
    records.expire(9_999, |_| true);
    drop(records.on_member(node, Some(life), &none(), 6));
    assert_eq!((find(&records, b"k").len(), records.total), (1, total));
    // Another life ends it.
    let next = Incarnation::from_bytes([77; 16]);
    drop(records.on_member(node, Some(next), &[life].into(), 7));
    assert!(records.rows.is_empty());
}

#[test]
fn records_of_nobody_known_are_kept_for_a_while() {
    let mut records = table(9);
    records.hear(of(1, b"k", 1), Hearing { is_up: false, ..at(5) });
    assert!(find(&records, b"k").is_empty());
    records.expire(5 + UNKNOWN_ROUNDS - 1, |_| false);
    assert_eq!(records.rows.len(), 1);
    records.expire(5 + UNKNOWN_ROUNDS, |_| false);
    assert!(records.rows.is_empty());
}

#[test]
fn nobody_else_writes_in_this_nodes_name() {
    let mut records = table(9);
    let me = records.me.incarnation;
    assert!(records.write(object(), "k".into(), Some("mine".into()), 0));
    let forged = Record { incarnation: me, ..of(9, b"k", 5_000) };
    assert_eq!(records.hear(forged.clone(), news()), Merged::Overruled);
    let own = records.record(&forged.key).unwrap();
    assert!(own.precedence() > forged.precedence());
    assert_eq!(own.value, Some("mine".into()));
    // What it has forgotten to have withdrawn, it withdraws again.
    let forgotten = Record { incarnation: me, ..of(9, b"old", 6_000) };
    assert_eq!(records.hear(forgotten.clone(), news()), Merged::Overruled);
    assert_eq!(records.record(&forgotten.key).unwrap().value, None);
    // What a former life published ends with it, but must not stand in the way of this one.
    let former = Incarnation::from_bytes([77; 16]);
    let stale = Record { incarnation: former, ..of(9, b"former", 7_000) };
    assert_eq!(records.hear(stale.clone(), news()), Merged::Known);
    let in_the_way = Record { incarnation: former, ..of(9, b"k", 8_000) };
    assert_eq!(records.hear(in_the_way.clone(), news()), Merged::Overruled);
    assert!(records.record(&in_the_way.key).unwrap().precedence() > in_the_way.precedence());
}

#[test]
fn who_tells_of_what_was_withdrawn_is_told_so() {
    let mut records = table(9);
    let live = of(1, b"k", 1);
    let gone = withdrawn(&of(1, b"k", 2));
    records.hear(gone.clone(), news());
    for _ in 0..3 {
        assert_eq!(records.pick(&[], 999, 3), std::slice::from_ref(&gone));
    }
    assert_eq!(records.pick(&[], 999, 3), []);
    let mended = Hearing { source: Source::Table, ..news() };
    assert_eq!(records.hear(live, mended), Merged::Known);
    assert_eq!(records.pick(&[], 999, 3), std::slice::from_ref(&gone));
    assert_eq!(table(8).hear(gone, mended), Merged::Known, "it needs no telling");
}

/// It would take somebody long to find such. That costs the two, and nobody else.
#[test]
fn two_with_one_hash_break_nothing() {
    let live = of(1, b"k", 1);
    let gone = withdrawn(&of(1, b"k", 2));
    let (twin, hash) = (of(2, b"t", 1), gone.hash());
    let mended = Hearing { source: Source::Table, ..news() };

    let mut records = table(9);
    records.hear(gone.clone(), news());
    assert_eq!(records.merge(twin.clone(), hash, news()), Merged::Changed);
    assert_eq!(records.pick(&[], 999, 3), std::slice::from_ref(&gone), "it came first");
    drop(records.on_member(twin.member().node, None, &[twin.incarnation].into(), 1));
    assert_eq!(records.hear(live.clone(), mended), Merged::Known);
    assert_eq!(records.pick(&[], 999, 3), std::slice::from_ref(&gone), "it came first");

    // What came second has no place, not even when the first is gone.
    let mut records = table(9);
    records.merge(twin.clone(), hash, news());
    assert_eq!(records.hear(gone, news()), Merged::Changed);
    drop(records.on_member(twin.member().node, None, &[twin.incarnation].into(), 1));
    assert_eq!(records.hear(live, mended), Merged::Known);
    assert_eq!(records.hear(of(3, b"k", 1), news()), Merged::Changed);
    assert_eq!(records.pick(&[], 999, 3), [of(3, b"k", 1)]);
}

#[test]
fn news_is_told_so_often_and_not_to_who_knows() {
    let mut records = table(9);
    let record = of(1, b"k", 1);
    records.hear(record.clone(), news());
    assert!(!records.digest(3).unwrap().is_quiet);
    assert_eq!(records.pick(std::slice::from_ref(&record), 999, 3), []);
    assert_eq!(records.pick(&[], record.encoded_len() - 1, 3), []);
    assert_eq!(records.pick(&[], record.encoded_len(), 3), std::slice::from_ref(&record));
    records.all_known();
    assert!(!records.digest(3).unwrap().is_quiet, "sent once, known once");
    records.all_known();
    assert_eq!(records.pick(&[], 999, 3), []);
    assert!(records.digest(3).unwrap().is_quiet);
    let newcomer = Hearing { source: Source::Newcomer, ..news() };
    assert_eq!(records.hear(of(1, b"other", 1), newcomer), Merged::Changed);
    assert_eq!(records.pick(&[], 999, 3), [], "what a newcomer lacked is no news");
}

#[test]
fn a_publisher_and_all_together_have_so_many() {
    let mut records = table(9);
    let numbered = |publisher: usize, number: usize| {
        let mut record = of(publisher as u8, b"", 1);
        record.key.key = number.to_be_bytes().to_vec().into();
        record
    };
    for publisher in 1..=Records::MAX / Records::PUBLISHER_MAX {
        for number in 0..Records::PUBLISHER_MAX {
            assert_eq!(records.hear(numbered(publisher, number), news()), Merged::Changed);
        }
        if publisher == 1 {
            let more = numbered(1, Records::PUBLISHER_MAX);
            assert_eq!(records.hear(more, news()), Merged::Refused);
        }
    }
    assert_eq!(records.rows.len(), Records::MAX);
    assert_eq!(records.hear(numbered(77, 0), news()), Merged::Refused);
    assert!(!records.write(object(), "k".into(), Some("v".into()), 0));
    let newer = Record { version: Version::MAX, ..numbered(1, 0) };
    assert_eq!(records.hear(newer, news()), Merged::Changed, "it takes no room");
}

/// Records of those whom nobody here knows fill a part of the table. They give way to each other,
/// and to others.
#[test]
fn what_may_be_of_nobody_gives_way() {
    let mut records = table(9);
    let numbered = |publisher: u8, number: usize| {
        let mut record = of(publisher, b"", 1);
        record.key.key = number.to_be_bytes().to_vec().into();
        record
    };
    let unknown = |round: u64| Hearing { is_watched: false, ..at(round) };
    for number in 0..Records::STRANGERS_MAX {
        let publisher = 10 + (number / Records::STRANGER_MAX) as u8;
        assert_eq!(records.hear(numbered(publisher, number), unknown(0)), Merged::Changed);
    }
    let more = numbered(10, Records::MAX);
    assert_eq!(records.hear(more, unknown(0)), Merged::Refused, "of one there are so many");
    let first = numbered(10, 0).key;
    assert!(records.record(&first).is_some() && records.take_given_way().is_empty());
    assert_eq!(records.hear(numbered(7, 0), unknown(1)), Merged::Changed);
    assert_eq!(records.take_given_way().len(), 1, "the oldest gives way");
    assert_eq!(records.len(), Records::STRANGERS_MAX);
    // What is published again was counted before, or is one more.
    let again = Record { version: Version::HEARSAY_MAX, ..numbered(7, 0) };
    assert_eq!(records.hear(withdrawn(&of(7, b"", 1)), unknown(1)), Merged::Changed);
    assert_eq!(records.hear(again, unknown(1)), Merged::Changed);
    assert_eq!(records.take_given_way(), []);
    // There is room for others, in the end in place of strangers.
    for number in 0..Records::MAX {
        let publisher = 100 + (number / Records::PUBLISHER_MAX) as u8;
        assert_eq!(records.hear(numbered(publisher, number), news()), Merged::Changed);
    }
    assert_eq!(records.take_given_way().len(), Records::STRANGERS_MAX);
    assert_eq!(records.hear(numbered(99, 0), unknown(2)), Merged::Refused);
    assert_eq!(records.len(), Records::MAX);
    // Whoever is a contact no more is a stranger.
    records.unwatch(numbered(100, 0).key.publisher);
    assert_eq!(records.hear(numbered(99, 0), news()), Merged::Changed);
    assert!(records.count_of(numbered(100, 0).key.publisher) < Records::PUBLISHER_MAX);
    let life = numbered(100, 0).incarnation;
    drop(records.on_member(numbered(100, 0).key.publisher, Some(life), &none(), 0));
    assert_eq!(records.hear(numbered(99, 1), news()), Merged::Refused);
}

/// Whatever the order, those with the lowest lots are left, and own records are kept back.
#[test]
fn of_many_who_publish_the_same_some_are_left() {
    let numbers: Vec<u8> = (1..=40).collect();
    let mut rounds = [numbers.clone(), numbers.iter().rev().copied().collect()].into_iter();
    let mut left = |me: u8| {
        let mut table = table(me);
        for publisher in rounds.next().expect("two orders") {
            if publisher == me {
                assert!(table.write(object(), "key".into(), Some("value".into()), 0));
            } else {
                table.hear(of(publisher, b"key", 1), news());
            }
            table.cut_to_witnesses(object(), b"key");
        }
        table.hear(of(50, b"keys", 1), news());
        let found = find(&table, b"key").into_iter().map(|record| record.key.publisher);
        (table.len(), found.filter(|node| *node != entry(me, 1).member.node).collect::<Vec<_>>())
    };
    let [(len, first), (_, second)] = [left(1), left(2)];
    assert!((WITNESSES_MAX + 1..=WITNESSES_MAX + 2).contains(&len));
    let others = |nodes: Vec<NodeId>| {
        let own = [1, 2].map(|own| entry(own, 1).member.node);
        nodes.into_iter().filter(|node| !own.contains(node)).collect::<BTreeSet<_>>()
    };
    assert!(first.len() + 1 >= WITNESSES_MAX);
    assert_eq!(others(first), others(second));
}

/// However many members somebody makes up, and for whatever they publish a key: what is kept of it
/// is soon gone through.
#[test]
fn of_what_a_key_is_published_for_some_is_left() {
    let claim = |number: u32, hearing: Hearing, tables: [&mut Records; 2]| {
        let mut claim = of(1, b"key", 1);
        claim.key.publisher = NodeId::from_public_key(&number.to_be_bytes());
        claim.value = Some(Bytes::copy_from_slice(&number.to_be_bytes()));
        for table in tables {
            table.hear(claim.clone(), hearing);
            table.cut_to_witnesses(object(), b"key");
        }
    };
    let (mut forth, mut back, mut other) = (table(8), table(9), table(10));
    for number in 0..500 {
        claim(number, news(), [&mut forth, &mut other]);
        claim(499 - number, news(), [&mut back, &mut other]);
    }
    assert_eq!((forth.len(), back.len()), (VALUES_MAX, VALUES_MAX));
    assert!(forth.total == back.total && forth.total == other.total, "all keep the same");
    for number in 1_000..1_000 + 2 * UNCOUNTED_MAX as u32 {
        claim(number, Hearing { is_up: false, ..at(number.into()) }, [&mut forth, &mut other]);
        assert!(forth.len() <= VALUES_MAX + UNCOUNTED_MAX);
    }
    assert_eq!(forth.total, back.total, "what is not shown does not count");
}

/// What was kept back is told again when it is published again, and nobody hears of its end.
#[test]
fn what_is_kept_back_is_nothing_to_others() {
    let mut table = table(1);
    let own = RecordKey { object: object(), key: "key".into(), publisher: table.me.node };
    for publisher in 2..=60 {
        table.hear(of(publisher, b"key", 1), news());
    }
    assert!(table.write(object(), "key".into(), Some("value".into()), 0));
    if !table.cut_to_witnesses(object(), b"key").contains(&table.me.node) {
        table.keep_back(&own);
    }
    let digest = table.digest(1);
    assert!(find(&table, b"key").iter().any(|record| record.key == own), "it is there");
    table.drop_own(object(), "key".into());
    assert_eq!(table.digest(1), digest);
    assert!(!find(&table, b"key").iter().any(|record| record.key == own));
    assert!(table.write(object(), "key".into(), Some("value".into()), 0));
    assert_ne!(table.digest(1), digest);
}

/// What is shown finds room among what is not, however much of that somebody told of.
#[test]
fn what_is_not_shown_gives_way_to_what_is() {
    let mut records = table(9);
    let nobody = Hearing { is_up: false, ..news() };
    let numbered = |publisher: u32, key: u32| {
        let mut numbered = of(1, b"", 5);
        numbered.key.key = Bytes::copy_from_slice(&key.to_be_bytes());
        numbered.key.publisher = NodeId::from_public_key(&publisher.to_be_bytes());
        numbered
    };
    for number in 0..Records::MAX as u32 {
        assert_eq!(records.hear(numbered(number % 99, number), nobody), Merged::Changed);
    }
    assert_eq!(records.hear(numbered(100, 0), nobody), Merged::Refused);
    assert_eq!(records.hear(of(1, b"shown", 5), news()), Merged::Changed);
    assert!(records.write(object(), "own".into(), Some("value".into()), 0));
    assert!(records.len() <= Records::MAX && !find(&records, b"shown").is_empty());
}

/// And so do the oldest of a publisher that were withdrawn, if he has too many.
#[test]
fn what_was_withdrawn_gives_way_to_what_is_published() {
    let mut records = table(9);
    let key = |number: u32| Bytes::from(number.to_be_bytes().to_vec());
    for number in 0..2 * Records::PUBLISHER_MAX as u32 {
        let round = number.into();
        assert!(records.write(object(), key(number), Some("value".into()), round));
        assert!(records.withdraw(object(), key(number), round));
    }
    assert!(records.count_of(records.me.node) <= Records::PUBLISHER_MAX);
    let last = RecordKey {
        object: object(),
        key: key(2 * Records::PUBLISHER_MAX as u32 - 1),
        publisher: records.me.node,
    };
    assert!(records.record(&last).is_some(), "the oldest go first");
    let shown = Records::PUBLISHER_MAX as u32;
    (0..shown).for_each(|it| assert!(records.write(object(), key(it), Some("v".into()), 9_999)));
    assert!(!records.write(object(), "more".into(), Some("v".into()), 9_999));
}

/// However high the version that others make up, what the publisher says of other keys is not
/// beyond what all believe of him; and what he withdraws all pass on.
#[test]
fn what_is_overruled_raises_its_own_version_alone() {
    let mut records = table(1);
    let me = records.me;
    let said = |value: Option<&'static str>| Record {
        incarnation: me.incarnation,
        version: Version::HEARSAY_MAX,
        value: value.map(Bytes::from),
        key: RecordKey { object: object(), key: "k".into(), publisher: me.node },
    };
    let (key, other) = (said(None).key, entry(2, 1).member.node);
    assert!(!said(Some("zzz")).is_forged(other, None));
    assert_eq!(records.hear(said(Some("zzz")), news()), Merged::Overruled);
    let overruling = records.record(&key).unwrap();
    assert_eq!(overruling, said(None));
    assert!(!overruling.is_forged(other, None), "others pass it on");
    assert!(overruling.precedence() > said(Some("zzz")).precedence());
    let later_life =
        Record { incarnation: Incarnation::from_bytes([255; 16]), ..said(Some("zzz")) };
    assert!(overruling.precedence() > later_life.precedence());
    assert_eq!(records.hear(said(Some("zzzz")), news()), Merged::Known);
    // He is not kept busy by what he cannot go above.
    let in_no_life = Record { value: None, ..later_life };
    assert_eq!(records.hear(in_no_life, news()), Merged::Known);
    assert!(records.write(object(), "other".into(), Some("v".into()), 0));
    let beside = RecordKey { key: "other".into(), ..key.clone() };
    assert!(records.record(&beside).unwrap().version < Version::HEARSAY_MAX);
    assert!(records.write(object(), "k".into(), Some("v".into()), 0));
    let written = records.record(&key).unwrap();
    assert!(written.version > overruling.version);
    assert!(written.is_forged(other, Some(Version::HEARSAY_MAX)));
    assert!(!written.is_forged(other, Some(written.version)), "it is known");
    assert!(!written.is_forged(me.node, None), "he says it himself");
}

/// What somebody said in another's name is withdrawn everywhere before he says what he published,
/// and as long as he lives nobody brings it back.
#[test]
fn what_is_published_is_said_again_when_the_lie_is_withdrawn() {
    let mut records = table(1);
    let said = |key: &'static str, value: Option<&'static str>| Record {
        version: Version::HEARSAY_MAX,
        value: value.map(Bytes::from),
        incarnation: entry(1, 1).member.incarnation,
        key: RecordKey { key: key.into(), ..of(1, b"", 1).key },
    };
    for key in ["a", "b", "c", "d"] {
        assert!(records.write(object(), key.into(), Some("true".into()), 0));
    }
    for key in ["a", "b", "c"] {
        assert_eq!(records.hear(said(key, Some("lie")), at(10)), Merged::Overruled);
        assert_eq!(records.record(&said(key, None).key), Some(said(key, None)));
    }
    // Where nobody says anything else but that it is withdrawn, it is said at once.
    assert_eq!(records.hear(said("d", None), at(10)), Merged::Overruled);
    assert_eq!(keys(&find(&records, b"d")), [b"d"]);
    // Meanwhile the application goes on.
    assert!(records.write(object(), "b".into(), Some("new".into()), 11));
    assert!(records.withdraw(object(), "c".into(), 11));
    assert_eq!(records.restate(10), []);
    assert_eq!(records.restate(20), [said("a", None).key]);
    assert_eq!(records.restate(20), []);
    let found = list(&records, object(), b"");
    let values: Vec<_> = found.iter().filter_map(|it| it.value.as_deref()).collect();
    assert_eq!(values, [&b"true"[..], b"new", b"true"]);
    assert!(found.iter().all(|record| record.version > Version::HEARSAY_MAX));

    let mut other = table(2);
    other.hear(said("c", Some("lie")), news());
    assert_eq!(other.hear(said("c", None), news()), Merged::Changed);
    other.expire(9_999, |_| true);
    assert_eq!(other.hear(said("c", Some("lie")), at(9_999)), Merged::Known);
    other.expire(9_999, |_| false);
    assert_eq!(other.len(), 0);
}

/// Whoever is at his limit may ask for room as often as he likes: what gives way is not searched
/// for, which took half a millisecond each time.
#[test]
fn who_is_at_his_limit_costs_no_more_than_others() {
    let mut records = table(9);
    let numbered = |number: usize| {
        let mut record = of(1, b"", 1);
        record.key.key = number.to_be_bytes().to_vec().into();
        record
    };
    for number in 0..Records::PUBLISHER_MAX {
        assert_eq!(records.hear(numbered(number), news()), Merged::Changed);
    }
    for number in 0..50_000 {
        let more = numbered(Records::PUBLISHER_MAX + number);
        assert_eq!(records.hear(more, news()), Merged::Refused);
    }
    let withdrawn = Record { version: Version::HEARSAY_MAX, ..withdrawn(&numbered(7)) };
    assert_eq!(records.hear(withdrawn, news()), Merged::Changed);
    assert_eq!(records.hear(numbered(Records::PUBLISHER_MAX), news()), Merged::Changed);
    assert_eq!(records.count_of(numbered(0).key.publisher), Records::PUBLISHER_MAX);
    assert!(records.record(&numbered(7).key).is_none(), "what he withdrew gave way");
}
