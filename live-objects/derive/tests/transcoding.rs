//! Derived schemas against serde itself: what `serde_json` and postcard make of a value is what its
//! schema makes of it.

use std::collections::BTreeMap;
use std::fmt::Debug;

use bytes::Bytes;
use live_objects::Live as _;
use live_objects_derive::Live;
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Live, Serialize, Deserialize, PartialEq, Debug, Clone)]
#[live(name = "shop.Price", version = 2, crate = "live_objects")]
struct Price {
    symbol: String,
    cents: u64,
    r#type: Option<char>,
}

#[derive(Live, Serialize, Deserialize, PartialEq, Debug, Clone)]
#[live(crate = "live_objects")]
struct Marker;

#[derive(Live, Serialize, Deserialize, PartialEq, Debug, Clone, PartialOrd, Eq, Ord)]
#[live(crate = "live_objects")]
struct Symbol(String);

#[derive(Live, Serialize, Deserialize, PartialEq, Debug, Clone)]
#[live(crate = "live_objects")]
struct Point(f32, f64);

#[derive(Live, Serialize, Deserialize, PartialEq, Debug, Clone)]
#[live(crate = "live_objects")]
struct Nothing();

#[derive(Live, Serialize, Deserialize, PartialEq, Debug, Clone)]
#[live(crate = "live_objects")]
struct Empty {}

#[derive(Live, Serialize, Deserialize, PartialEq, Debug, Clone)]
#[live(crate = "live_objects")]
#[serde(rename_all = "kebab-case", rename_all_fields = "camelCase", deny_unknown_fields)]
enum Happening {
    MarketOpened,
    #[serde(rename = "SOLD")]
    Sold(Price),
    Swapped(i8, Marker),
    Held {
        until_round: i64,
        #[serde(rename = "why?")]
        reason: Option<Symbol>,
    },
    #[serde(rename_all = "SCREAMING_SNAKE_CASE")]
    Reported {
        all_prices: Vec<Price>,
    },
    NothingAtAll(),
    EmptyToo {},
}

/// Its order as a key is that of its variants, which is not that of their names.
#[derive(Live, Serialize, Deserialize, PartialEq, Eq, PartialOrd, Ord, Debug, Clone, Copy)]
#[live(crate = "live_objects")]
enum Size {
    Small,
    Medium,
    Large,
}

#[derive(Live, Serialize, Deserialize, PartialEq, Debug, Clone)]
#[live(crate = "live_objects")]
struct Pair<A, B: Clone> {
    one: A,
    other: Box<B>,
}

#[derive(Live, Serialize, Deserialize, PartialEq, Debug, Clone)]
#[live(crate = "live_objects")]
#[serde(rename_all = "camelCase")]
struct Shop {
    last_news: Vec<Happening>,
    by_symbol: BTreeMap<Symbol, Price>,
    by_number: BTreeMap<i32, (bool, u8)>,
    by_size: BTreeMap<Size, [i16; 3]>,
    point: Point,
    pair: Pair<u16, Option<i128>>,
    blob: Bytes,
    nothing: (Nothing, Empty, (), Marker),
    count: usize,
    wide: u128,
}

fn price() -> impl Strategy<Value = Price> {
    (".{0,8}", any::<u64>(), any::<Option<char>>()).prop_map(|(symbol, cents, r#type)| Price {
        symbol,
        cents,
        r#type,
    })
}

fn happening() -> impl Strategy<Value = Happening> {
    let reason = prop::option::of(".{0,3}".prop_map(Symbol));
    prop_oneof![
        Just(Happening::MarketOpened),
        price().prop_map(Happening::Sold),
        any::<i8>().prop_map(|number| Happening::Swapped(number, Marker)),
        (any::<i64>(), reason)
            .prop_map(|(until_round, reason)| Happening::Held { until_round, reason }),
        vec(price(), 0..3).prop_map(|all_prices| Happening::Reported { all_prices }),
        Just(Happening::NothingAtAll()),
        Just(Happening::EmptyToo {}),
    ]
}

fn size() -> impl Strategy<Value = Size> {
    prop_oneof![Just(Size::Small), Just(Size::Medium), Just(Size::Large)]
}

prop_compose! {
    fn shop()(
        last_news in vec(happening(), 0..5),
        by_symbol in btree_map(".{0,3}".prop_map(Symbol), price(), 0..4),
        by_number in btree_map(any::<i32>(), any::<(bool, u8)>(), 0..6),
        by_size in btree_map(size(), any::<[i16; 3]>(), 0..4),
        point in (any::<f32>(), any::<f64>()),
        one in any::<u16>(),
        other in any::<Option<i64>>(),
        blob in vec(any::<u8>(), 0..20),
        count in any::<usize>(),
        wide in any::<u64>(),
    ) -> Shop {
        Shop {
            last_news,
            by_symbol,
            by_number,
            by_size,
            point: Point(point.0, point.1),
            pair: Pair { one, other: Box::new(other.map(i128::from)) },
            blob: blob.into(),
            nothing: (Nothing(), Empty {}, (), Marker),
            count,
            wide: wide.into(),
        }
    }
}

fn is_as_serde_has_it<T: live_objects::Live + Debug>(value: &T) -> Result<(), TestCaseError> {
    let bytes = postcard::to_allocvec(value).expect("postcard knows it");
    let json = serde_json::to_value(value).expect("JSON can say it");
    let schema = T::schema();
    prop_assert_eq!(schema.decode_json(&bytes), Ok(json.clone()));
    prop_assert_eq!(schema.encode_json(&json), Ok(bytes));
    Ok(())
}

proptest! {
    #[test]
    fn shops(shop in shop().prop_filter("serde_json makes null of NaN", |shop| {
        shop.point.0.is_finite() && shop.point.1.is_finite()
    })) {
        is_as_serde_has_it(&shop)?;
    }

    #[test]
    fn happenings(happening in happening()) {
        is_as_serde_has_it(&happening)?;
    }

    #[test]
    fn arrays_options_and_tuples(
        value in any::<(Option<u8>, [Option<bool>; 4], (char, (i8,)), Vec<Vec<u16>>)>(),
    ) {
        is_as_serde_has_it(&value)?;
    }

    /// Bytes that were damaged on the way, or never were a shop's.
    #[test]
    fn no_bytes_panic(
        shop in shop(),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        length in any::<prop::sample::Index>(),
        noise in vec(any::<u8>(), 0..200),
    ) {
        let mut bytes = postcard::to_allocvec(&shop).unwrap();
        for (index, byte) in damage {
            let at = index.index(bytes.len());
            bytes[at] = byte;
        }
        let schema = Shop::schema();
        for bytes in [&bytes[..], &bytes[..length.index(bytes.len())], &noise] {
            if let Ok(json) = schema.decode_json(bytes) {
                prop_assert!(schema.encode_json(&json).is_ok(), "{json}");
            }
        }
    }
}

/// Ids are compared between nodes of different builds: a change here is a change of every schema.
#[test]
fn golden_ids() {
    assert_eq!(Price::schema().id().to_string(), "shop.Price version 2 (cfe48213bae1e252)");
    assert_eq!(Shop::schema().id().to_string(), "Shop version 1 (f9b149a8ff070f52)");
}

#[test]
fn schemas_say_what_types_say() {
    let price = "{ symbol: string, cents: u64, type: char? }";
    assert_eq!(Price::schema().to_string(), format!("shop.Price version 2: {price}"));
    assert_eq!(
        Happening::schema().to_string(),
        format!(
            "Happening version 1: enum {{ market-opened, SOLD({price}), swapped(i8, ()), held {{ \
             untilRound: i64, why?: string? }}, reported {{ ALL_PRICES: [{price}] }}, \
             nothing-at-all(), empty-too {{ }} }}"
        )
    );
    assert_eq!(
        <Pair<Symbol, Vec<Size>>>::schema().to_string(),
        "Pair<Symbol, [Size]> version 1: { one: string, other: [enum { Small, Medium, Large }] }"
    );
}

#[test]
fn every_spelling_is_serdes() {
    macro_rules! spelt {
        ($($spelling:literal)*) => { $({
            #[derive(Live, Serialize, Deserialize, Debug)]
            #[live(crate = "live_objects")]
            #[serde(rename_all = $spelling)]
            enum Letter {
                A,
                BestOffer { x: u8 },
                HTTPError,
                With2Digits,
            }

            #[derive(Live, Serialize, Deserialize, Debug)]
            #[live(crate = "live_objects")]
            #[serde(rename_all = $spelling)]
            struct Envelope {
                letter: Letter,
                _best_offer: u8,
                at_2nd_place: u8,
                x: u8,
            }

            let letters = [Letter::A, Letter::BestOffer { x: 1 }, Letter::HTTPError];
            for letter in letters.into_iter().chain([Letter::With2Digits]) {
                let envelope = Envelope { letter, _best_offer: 2, at_2nd_place: 3, x: 4 };
                is_as_serde_has_it(&envelope).unwrap();
            }
        })* };
    }
    spelt!(
        "lowercase" "UPPERCASE" "PascalCase" "camelCase" "snake_case" "SCREAMING_SNAKE_CASE"
        "kebab-case" "SCREAMING-KEBAB-CASE"
    );
}

/// Sizes are known when a type is compiled, and are what is counted when a schema is made.
#[test]
fn sizes_count_shapes_and_variants() {
    assert_eq!(<Size as live_objects::Live>::SIZE, 1 + 3);
    assert_eq!(<Price as live_objects::Live>::SIZE, 1 + 1 + 1 + 2);
    assert_eq!(<Symbol as live_objects::Live>::SIZE, 1 + 1);
}
