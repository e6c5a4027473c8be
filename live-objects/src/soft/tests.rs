//! The laws of merging, whatever was done and heard; what the types do; what is refused.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use proptest::prelude::*;

use super::context::tests::dot;
use super::place::Path;
use super::*;
use crate::event::{Event, ReplicatedEvent};

/// One of each type.
struct Shop {
    stock: Map<String, Counter>,
    open: Set<u32>,
    note: Register<String>,
}

impl Soft for Shop {
    const NAME: &'static str = "Shop";

    fn at(place: &mut Place) -> Self {
        Self { stock: place.field("stock"), open: place.field("open"), note: place.field("note") }
    }
}

/// Something that a holder does.
#[derive(Clone, Debug)]
enum Act {
    Add(u8, i8),
    Drop(u8),
    Insert(u8),
    Remove(u8),
    Note(u8),
    Hear(u8),
}

fn acts() -> impl Strategy<Value = Vec<(usize, Act)>> {
    let act = prop_oneof![
        (0..3_u8, any::<i8>()).prop_map(|(key, amount)| Act::Add(key, amount)),
        (0..3_u8).prop_map(Act::Drop),
        (0..4_u8).prop_map(Act::Insert),
        (0..4_u8).prop_map(Act::Remove),
        any::<u8>().prop_map(Act::Note),
        any::<u8>().prop_map(Act::Hear),
    ];
    prop::collection::vec((0..HOLDERS, act), 0..40)
}

fn write(shop: &Shop, writer: &mut Writer<'_>, act: &Act) {
    match act {
        Act::Add(key, amount) => shop.stock.at(&key.to_string()).add(writer, i64::from(*amount)),
        Act::Drop(key) => shop.stock.remove(writer, &key.to_string()),
        Act::Insert(item) => shop.open.insert(writer, &u32::from(*item)),
        Act::Remove(item) => shop.open.remove(writer, &u32::from(*item)),
        Act::Note(text) => shop.note.set(writer, &text.to_string()),
        Act::Hear(_) => {}
    }
}

/// Holders that did all that, and all their deltas in the order in which they were made.
fn lived(acts: &[(usize, Act)]) -> (Vec<Holder<Shop>>, Vec<Store>) {
    lived_as(0, acts)
}

/// The same, of other authors.
fn lived_as(first: u64, acts: &[(usize, Act)]) -> (Vec<Holder<Shop>>, Vec<Store>) {
    let authors = (first..).take(HOLDERS).map(Author::new);
    let mut holders: Vec<Holder<Shop>> = authors.map(Holder::new).collect();
    let mut deltas: Vec<Store> = Vec::new();
    for (at, act) in acts {
        if let Act::Hear(which) = act {
            if let Some(delta) = deltas.get(usize::from(*which) % deltas.len().max(1)) {
                holders[*at].merge(delta);
            }
            continue;
        }
        let ((), delta) = holders[*at].write(|shop, writer| write(shop, writer, act)).unwrap();
        holders[*at].merge(&delta);
        deltas.push(delta);
    }
    (holders, deltas)
}

fn merged<'a>(stores: impl IntoIterator<Item = &'a Store>) -> Store {
    let mut all = Store::default();
    for store in stores {
        all.merge(store);
    }
    all
}

/// What its dots sum up to and what they count for is what a store made anew has.
fn assert_sound(store: &Store) {
    let bytes = store.encode();
    assert_eq!(&Store::decode(&bytes).unwrap(), store);
    assert!(bytes.len() <= store.size() + 2 * 5, "and how many authors and keys there are");
}

proptest! {
    #[test]
    fn merging_has_no_order_and_takes_nothing_twice(acts in acts(), turn in 0..40_usize) {
        let (holders, deltas) = lived(&acts);
        let [one, other, third] = [0, 1, 2].map(|at| holders[at].store());
        prop_assert_eq!(merged([one, other]), merged([other, one]));
        let all = merged([one, other, third]);
        prop_assert_eq!(&merged([one, &merged([other, third])]), &all);
        prop_assert_eq!(&merged([&all, one, &all]), &all);
        // The deltas alone give the same, in whatever order and however often they are heard.
        let mut shuffled: Vec<&Store> = deltas.iter().chain(&deltas).collect();
        shuffled.rotate_left(turn % deltas.len().max(1));
        prop_assert_eq!(&merged(shuffled.iter().copied()), &all);
        prop_assert_eq!(&merged(shuffled.into_iter().rev()), &all);
        assert_sound(&all);
        prop_assert!(all.size() <= merged([one, other]).size_with(third));
    }

    /// Whoever has no room for more authors takes in what those wrote whom it knows.
    #[test]
    fn what_some_authors_wrote_is_a_delta(acts in acts(), more in acts()) {
        let (holders, _) = lived(&acts);
        let (others, _) = lived_as(1, &more);
        let (mut one, both) = (holders[0].store().clone(), merged([holders[1].store()]));
        let both = merged([&both, others[2].store()]);
        let some = both.of_authors(one.context());
        assert_sound(&some);
        let known = |dot: &Dot| one.context().last(dot.author) > 0;
        let dots = |store: &Store| store.dots().map(|(dot, ..)| dot).collect::<Vec<_>>();
        let expected: Vec<Dot> = dots(&both).into_iter().filter(known).collect();
        prop_assert_eq!(dots(&some), expected);
        let whole = merged([&one, &both]);
        one.merge(&some);
        one.merge(&both);
        prop_assert_eq!(one, whole);
    }

    #[test]
    fn a_merge_tells_whether_it_was_news(acts in acts()) {
        let (holders, _) = lived(&acts);
        let (mut one, other) = (holders[0].store().clone(), holders[1].store());
        let before = one.clone();
        prop_assert_eq!(one.merge(other), one != before);
        prop_assert_eq!(one.digest() == before.digest(), one == before);
        prop_assert!(!one.merge(other));
    }

    /// Who is answered has all that the other has, as if they had merged.
    #[test]
    fn an_answer_to_a_summary_is_all_that_is_missing(acts in acts(), more in acts()) {
        let (holders, _) = lived(&acts);
        let (mut asks, answers) = (holders[0].store().clone(), holders[1].store());
        let asked = Summary::of(&asks);
        let bytes = postcard::to_allocvec(&asked.answer(answers)).unwrap();
        let answer: Difference = postcard::from_bytes(&bytes).unwrap();
        // What happened meanwhile does no harm.
        let (later, _) = lived_as(100, &more);
        let meanwhile = (more.len() % 2 == 1).then(|| later[2].store().clone());
        if let Some(later) = &meanwhile {
            asks.merge(later);
        }
        let all = merged([&asks, answers]);
        let delta = answer.delta(&asks);
        asks.merge(&delta);
        if meanwhile.is_none() {
            prop_assert_eq!(&asks, &all);
        }
        // Whatever was missed of what came meanwhile, the next answer has.
        let delta = Summary::of(&asks).answer(answers).delta(&asks);
        asks.merge(&delta);
        prop_assert_eq!(&asks, &all);
        assert_sound(&asks);
    }

    #[test]
    fn pieces_fit_and_merge_to_the_whole(acts in acts(), bytes_max in 90..400_usize) {
        let (holders, _) = lived(&acts);
        let store = holders[0].store();
        let pieces = store.pieces(bytes_max);
        prop_assert!(pieces.iter().all(|piece| piece.len() <= bytes_max));
        let pieces: Vec<Store> = pieces.iter().map(|it| Store::decode(it).unwrap()).collect();
        prop_assert_eq!(&merged(&pieces), store);
    }

    #[test]
    fn all_is_read_as_written_and_damage_never_panics(
        acts in acts(),
        at: prop::sample::Index,
        bits in 1..=255_u8,
        noise: Vec<u8>,
    ) {
        let (holders, _) = lived(&acts);
        let store = holders[0].store();
        assert_sound(store);
        let summary = Summary::of(store);
        let bytes = postcard::to_allocvec(&summary).unwrap();
        prop_assert_eq!(postcard::from_bytes(&bytes), Ok(summary.clone()));
        let answer = postcard::to_allocvec(&summary.answer(holders[1].store())).unwrap();
        for bytes in [store.encode().to_vec(), bytes, answer, noise] {
            let mut bytes = bytes;
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] ^= bits;
            }
            if let Ok(damaged) = Store::decode(&bytes) {
                assert_sound(&damaged);
            }
            let _ = postcard::from_bytes::<Summary>(&bytes);
            if let Ok(answer) = postcard::from_bytes::<Difference>(&bytes) {
                answer.delta(store);
            }
        }
    }

    /// Nobody took anything out, so a counter is what all added.
    #[test]
    fn counters_are_exact(
        added in prop::collection::vec((0..HOLDERS, 0..3_u8, any::<i8>()), 0..40),
    ) {
        let acts: Vec<_> =
            added.iter().map(|(at, key, amount)| (*at, Act::Add(*key, *amount))).collect();
        let (mut holders, deltas) = lived(&acts);
        let mut sums: BTreeMap<String, i64> = BTreeMap::new();
        for (_, key, amount) in &added {
            *sums.entry(key.to_string()).or_default() += i64::from(*amount);
        }
        deltas.iter().for_each(|delta| holders[0].merge(delta));
        let values = holders[0].read(|shop, reader| {
            let value = |key: String| (key.clone(), shop.stock.at(&key).value(reader));
            shop.stock.keys(reader).into_iter().map(value).collect::<BTreeMap<_, _>>()
        });
        prop_assert_eq!(values, sums);
    }
}

fn pair() -> [Holder<Shop>; 2] {
    [1, 2].map(|number| Holder::new(Author::new(number)))
}

fn act(holder: &mut Holder<Shop>, act: impl FnOnce(&Shop, &mut Writer<'_>)) -> Store {
    let ((), delta) = holder.write(act).unwrap();
    holder.merge(&delta);
    delta
}

#[test]
fn of_putting_in_and_taking_out_at_once_the_first_wins() {
    let [mut one, mut other] = pair();
    let put = act(&mut one, |shop, writer| shop.open.insert(writer, &7));
    other.merge(&put);
    let again = act(&mut one, |shop, writer| shop.open.insert(writer, &7));
    let taken = act(&mut other, |shop, writer| shop.open.remove(writer, &7));
    for (holder, delta) in [(&mut one, &taken), (&mut other, &again)] {
        holder.merge(delta);
        assert!(holder.read(|shop, reader| shop.open.contains(reader, &7)));
    }
    assert_eq!(one.store(), other.store());
    act(&mut one, |shop, writer| shop.open.clear(writer));
    assert_eq!(one.read(|shop, reader| shop.open.items(reader)), BTreeSet::new());
}

#[test]
fn a_register_keeps_what_was_written_unseen_and_all_choose_the_same() {
    let [mut one, mut other] = pair();
    let set = |text: &'static str| {
        move |shop: &Shop, writer: &mut Writer<'_>| shop.note.set(writer, &text.to_owned())
    };
    let (first, second) = (act(&mut one, set("one")), act(&mut other, set("other")));
    one.merge(&second);
    other.merge(&first);
    let all = |holder: &Holder<Shop>| holder.read(|shop, reader| shop.note.all(reader));
    assert_eq!(all(&one), ["other", "one"], "of as many writes, by their author");
    assert_eq!(all(&one), all(&other));
    // What has seen both replaces both, and comes after either.
    let third = act(&mut one, set("third"));
    act(&mut other, set("fourth"));
    other.merge(&third);
    assert_eq!(all(&other), ["fourth", "third"]);
    act(&mut other, |shop, writer| shop.note.clear(writer));
    assert_eq!(other.read(|shop, reader| shop.note.get(reader)), None);
}

#[test]
fn what_was_written_shows_to_the_same_writer_and_to_nobody_before_it_is_merged() {
    let [mut one, _] = pair();
    act(&mut one, |shop, writer| {
        shop.open.insert(writer, &1);
        shop.open.insert(writer, &2);
        shop.stock.at(&"cd".to_owned()).add(writer, 1);
    });
    let read = one.write(|shop, writer| {
        shop.open.remove(writer, &1);
        shop.open.insert(writer, &3);
        let cds = shop.stock.at(&"cd".to_owned());
        cds.add(writer, 2);
        cds.add(writer, -5);
        let reader = writer.reader();
        (shop.open.items(reader), cds.value(reader), shop.open.contains(reader, &1))
    });
    let (read, delta) = read.unwrap();
    assert_eq!(read, (BTreeSet::from([2, 3]), -2, false));
    assert_eq!(one.read(|shop, reader| shop.open.items(reader)), BTreeSet::from([1, 2]));
    one.merge(&delta);
    assert_eq!(one.read(|shop, reader| shop.open.items(reader)), BTreeSet::from([2, 3]));
}

/// A key goes with all that is in it, but for what was written there unseen.
#[test]
fn a_key_that_is_taken_out_takes_what_was_seen_with_it() {
    let [mut one, mut other] = pair();
    let (cd, lp) = ("cd".to_owned(), "lp".to_owned());
    let seen = act(&mut one, |shop, writer| {
        shop.stock.at(&cd).add(writer, 3);
        shop.stock.at(&lp).add(writer, 1);
    });
    other.merge(&seen);
    let more = act(&mut other, |shop, writer| shop.stock.at(&cd).add(writer, 4));
    act(&mut one, |shop, writer| shop.stock.remove(writer, &cd));
    assert!(!one.read(|shop, reader| shop.stock.contains(reader, &cd)));
    assert_eq!(one.read(|shop, reader| shop.stock.keys(reader)), BTreeSet::from([lp]));
    one.merge(&more);
    assert_eq!(one.read(|shop, reader| shop.stock.at(&cd).value(reader)), 4);
}

#[test]
fn what_is_too_long_is_not_written() {
    let [mut one, _] = pair();
    let fault = |holder: &Holder<Shop>, key: usize, text: usize| {
        let written = holder.write(|shop, writer| {
            shop.open.insert(writer, &1);
            shop.stock.at(&"k".repeat(key)).add(writer, 1);
            shop.note.set(writer, &"t".repeat(text));
        });
        written.map(drop).unwrap_err().to_string()
    };
    assert!(fault(&one, Store::KEY_BYTES_MAX, 1).contains("1024 at most"));
    assert!(fault(&one, 1, Store::VALUE_BYTES_MAX).contains("keep it in parts"));
    // Up to its bound a state grows; then it only shrinks.
    act(&mut one, |shop, writer| shop.open.insert(writer, &1));
    let text = "t".repeat(Store::VALUE_BYTES_MAX - 100);
    let keep = |number: usize| {
        let text = text.clone();
        move |_: &Shop, writer: &mut Writer<'_>| {
            let path = Path::ROOT.then_key(&number);
            writer.write(&path, &[], &text);
        }
    };
    let mut kept = 0;
    let full = loop {
        match one.write(keep(kept)) {
            Ok(((), delta)) => one.merge(&delta),
            Err(error) => break error,
        }
        kept += 1;
    };
    assert!(matches!(full, WriteError::Full { bytes } if bytes > Store::BYTES_MAX), "{full}");
    assert!(one.store().size() <= Store::BYTES_MAX && kept >= 16);
    // Even the least item finds room for its end.
    while let Ok(((), delta)) =
        one.write(|shop, writer| shop.open.insert(writer, &(2 + kept as u32)))
    {
        one.merge(&delta);
        kept += 1;
    }
    act(&mut one, |shop, writer| shop.open.remove(writer, &1));
    act(&mut one, |_, writer| writer.clear(&Path::ROOT.then_key(&0_usize)));
    assert!(one.write(keep(0)).is_ok());
}

/// The author, the number and the value.
type FlatDot<'a> = (u32, u64, &'a [u8]);

#[test]
fn what_is_no_store_is_refused() {
    let [mut one, _] = pair();
    let delta = act(&mut one, |shop, writer| shop.open.insert(writer, &1));
    let mut bytes = delta.encode().to_vec();
    bytes.push(0);
    assert_eq!(Store::decode(&bytes), Err(StoreError::Overlong));
    let author = Author::new(1);
    let flat = |spans: &[(u64, u64)], entries: &[(&[u8], &[FlatDot<'_>])]| {
        postcard::to_allocvec(&(vec![(author, spans)], entries)).unwrap()
    };
    assert!(Store::decode(&flat(&[(1, 2)], &[(b"k", &[(0, 1, b""), (0, 2, b"")])])).is_ok());
    let refused = |bytes: Vec<u8>| assert_eq!(Store::decode(&bytes), Err(StoreError::Malformed));
    refused(flat(&[(1, 2)], &[(b"k", &[(0, 3, b"")])]));
    refused(flat(&[(1, 2)], &[(b"k", &[(1, 1, b"")])]));
    refused(flat(&[(1, 2)], &[(b"k", &[(0, 1, b"")]), (b"l", &[(0, 1, b"")])]));
    refused(flat(&[(1, 2)], &[(b"k", &[(0, 1, b"")]), (b"k", &[(0, 2, b"")])]));
    refused(flat(&[(1, 2)], &[(&[0; Store::KEY_BYTES_MAX + 1], &[(0, 1, b"")])]));
    let long = vec![0; Store::VALUE_BYTES_MAX + 1];
    refused(flat(&[(1, 2)], &[(b"k", &[(0, 1, &long)])]));
    for sums in [0, 3, 2 * Summary::BUCKETS_MAX] {
        let flat = postcard::to_allocvec(&(Context::default(), vec![7_u64; sums])).unwrap();
        assert!(postcard::from_bytes::<Summary>(&flat).is_err(), "{sums} sums");
    }
}

/// One after the other, each dot would move all that were read before: hundreds of gigabytes.
#[test]
fn dots_with_gaps_are_read_in_any_order() {
    let flat = |count: u64| {
        let dots: Vec<FlatDot<'_>> = (0..count).rev().map(|at| (0, 2 * at + 1, &b""[..])).collect();
        let context = vec![(Author::new(1), vec![(1_u64, 2 * count)])];
        postcard::to_allocvec(&(context, vec![(&b""[..], dots)])).unwrap()
    };
    let store = Store::decode(&flat(200_000)).unwrap();
    assert_eq!(store.dots().count(), 200_000);
    // Nor does it take longer to merge it with another, to compare it, or to take all of it out.
    let mut odd = Store::default();
    odd.merge(&store);
    assert_eq!(odd, store);
    let [mut holder, _] = pair();
    holder.merge(&store);
    let ((), cleared) = holder.write(|_, writer| writer.clear(&Path::ROOT)).unwrap();
    assert!(odd.merge(&cleared) && odd.dots().next().is_none());
    let gone = Summary::of(holder.store()).answer(&odd).delta(holder.store());
    assert_eq!(gone, cleared);
    // What is more than any delta is not read.
    assert_eq!(Store::decode(&flat(800_000)), Err(StoreError::Malformed));
}

/// The wire and what two nodes compare: a change here is one for all.
#[test]
fn golden_bytes() {
    let mut store = Store::default();
    store.insert(Bytes::from_static(b"k"), dot(1, 1), Bytes::from_static(b"v"));
    store.insert(Bytes::from_static(b"k"), dot(2, 5), Bytes::from_static(b"w"));
    let golden = b"\x02\0\0\0\0\0\0\0\x01\x01\x01\x01\0\0\0\0\0\0\0\x02\x01\x05\x05\
                   \x01\x01k\x02\x00\x01\x01v\x01\x05\x01w";
    assert_eq!(&store.encode()[..], golden);
    assert_eq!(store.digest(), GOLDEN_DIGEST);
    assert_eq!(Holder::<Shop>::object_type().schema.unwrap().hash, GOLDEN_SHAPE);
}

/// What a type is made of counts, and so does what it is called.
#[test]
fn types_of_other_fields_are_others() {
    struct Other;
    impl Soft for Other {
        const NAME: &'static str = "Shop";

        fn at(place: &mut Place) -> Self {
            let _: Map<String, Counter> = place.field("stock");
            let _: Set<u32> = place.field("open");
            let _: Register<u32> = place.field("note");
            Self
        }
    }
    /// One that contains itself.
    struct Tree;
    impl Soft for Tree {
        const NAME: &'static str = "Tree";

        fn at(place: &mut Place) -> Self {
            let _: Map<String, Self> = place.field("branches");
            Self
        }
    }
    let all = [
        Holder::<Shop>::object_type(),
        Holder::<Other>::object_type(),
        Holder::<Tree>::object_type(),
        Holder::<Counter>::object_type(),
    ];
    let different: BTreeSet<String> = all.iter().map(ToString::to_string).collect();
    assert_eq!(different.len(), all.len(), "{different:?}");
    assert!(different.iter().all(|ty| ty.contains("delivery: epidemic")));
}

#[test]
fn a_holder_hears_deltas_and_nothing_else() {
    let [mut one, mut other] = pair();
    let delta = act(&mut one, |shop, writer| shop.open.insert(writer, &1)).encode();
    let merge = |delta: &Bytes| Event::Replicated(ReplicatedEvent::Merge { delta: delta.clone() });
    assert!(other.on_event(&merge(&delta)));
    assert!(!other.on_event(&merge(&delta)), "it is no news");
    assert!(!other.on_event(&merge(&delta.slice(1..))));
    assert!(!other.on_event(&Event::Opened));
    assert_eq!(one.store(), other.store());
}

const HOLDERS: usize = 3;
const GOLDEN_DIGEST: u64 = 2_417_321_242_694_058_003;
const GOLDEN_SHAPE: u64 = 929_440_008_532_456_646;
