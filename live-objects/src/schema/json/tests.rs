//! Transcoding by schemas that no Rust type has, and what is refused. Types that derive their
//! schema are tried in `live-objects/derive/tests`.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::schema::tests::any_schema;
use crate::schema::{Field, Live};

fn schema(shape: Shape) -> Schema {
    Schema::new("test", 1, shape).unwrap()
}

/// What encoding says that is wrong.
fn refused<T: Live>(json: Value) -> String {
    T::schema().encode_json(&json).unwrap_err().to_string()
}

/// What decoding says that is wrong.
fn broken<T: Live>(bytes: &[u8]) -> String {
    T::schema().decode_json(bytes).unwrap_err().to_string()
}

fn both_ways<T: Live>(value: &T, json: &Value) {
    let bytes = postcard::to_allocvec(value).unwrap();
    assert_eq!(T::schema().decode_json(&bytes).as_ref(), Ok(json));
    assert_eq!(T::schema().encode_json(json), Ok(bytes));
}

fn cart() -> Schema {
    let field = |name: &str, shape| Field { name: name.to_owned(), shape };
    let fields = vec![field("price", u32::shape()), field("note", <Option<String>>::shape())];
    let item = Shape::Struct(Fields::Named(fields));
    let items = field("items", Shape::Sequence(Box::new(item)));
    schema(Shape::Struct(Fields::Named(vec![items])))
}

#[test]
fn errors_say_where() {
    let refused = |json: Value| cart().encode_json(&json).unwrap_err().to_string();
    let good = json!({ "price": 1, "note": null });
    let items = json!({ "items": [good, good, good, { "price": "x", "note": null }] });
    assert_eq!(refused(items), ".items[3].price: expected an unsigned 32-bit number, got \"x\"");
    assert_eq!(refused(json!({})), ".: the field `items` is missing");
    let unknown = json!({ "items": [{ "price": 1, "weight": 2 }] });
    assert_eq!(refused(unknown), ".items[0]: there is no field `weight`");
    let missing = json!({ "items": [good, { "note": "n" }] });
    assert_eq!(refused(missing), ".items[1]: the field `price` is missing");
    assert_eq!(refused(json!([])), ".: expected an object, got an array");
    let cut = cart().decode_json(&[2, 7, 0, 8]).unwrap_err();
    assert_eq!(cut.to_string(), ".items[1].note: the bytes end within whether there is a value");
}

#[test]
fn a_field_that_may_be_none_may_be_missing() {
    assert_eq!(cart().encode_json(&json!({ "items": [{ "price": 7 }] })), Ok(vec![1, 7, 0]));
}

#[test]
fn numbers_out_of_range_are_refused() {
    assert_eq!(refused::<u8>(json!(256)), ".: expected an unsigned 8-bit number, got 256");
    assert_eq!(refused::<u8>(json!(-1)), ".: expected an unsigned 8-bit number, got -1");
    assert_eq!(refused::<i16>(json!(32768)), ".: expected a signed 16-bit number, got 32768");
    assert_eq!(refused::<u32>(json!(1.5)), ".: expected an unsigned 32-bit number, got 1.5");
    assert_eq!(refused::<u32>(json!("1")), ".: expected an unsigned 32-bit number, got \"1\"");
    assert_eq!(
        refused::<u64>(json!("18446744073709551616")),
        ".: expected an unsigned 64-bit number, got \"18446744073709551616\""
    );
    assert_eq!(
        refused::<f32>(json!(1e39)),
        ".: expected a 32-bit floating-point number, got 1e+39"
    );
}

#[test]
fn long_numbers_stay_exact() {
    both_ways(&u64::MAX, &json!(u64::MAX));
    both_ways(&i64::MIN, &json!(i64::MIN));
    both_ways(&u128::from(u64::MAX), &json!(u64::MAX));
    both_ways(&u128::MAX, &json!("340282366920938463463374607431768211455"));
    both_ways(&i128::MIN, &json!("-170141183460469231731687303715884105728"));
    both_ways(&i128::from(u64::MAX), &json!(u64::MAX));
    let text = u64::schema().encode_json(&json!("9007199254740993"));
    assert_eq!(text, u64::schema().encode_json(&json!(9_007_199_254_740_993_u64)));
}

#[test]
fn numbers_that_are_not_finite_are_refused() {
    for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let bytes = postcard::to_allocvec(&vec![1.0, number]).unwrap();
        let error = <Vec<f64>>::schema().decode_json(&bytes).unwrap_err();
        assert_eq!(error.to_string(), format!("[1]: {number} has no form in JSON"));
        let bytes = postcard::to_allocvec(&(number as f32)).unwrap();
        assert!(f32::schema().decode_json(&bytes).is_err());
    }
    assert_eq!(refused::<f64>(json!(null)), ".: expected a 64-bit floating-point number, got null");
}

#[test]
fn bytes_are_an_array_of_numbers() {
    both_ways(&bytes::Bytes::from_static(&[0, 127, 255]), &json!([0, 127, 255]));
    let says = refused::<bytes::Bytes>(json!([256]));
    assert_eq!(says, ".: expected bytes as an array of numbers, got an array");
}

#[test]
fn keys_of_maps_are_text_in_the_order_of_their_type() {
    let numbers = BTreeMap::from([(-2_i32, 'a'), (9, 'b'), (10, 'c')]);
    both_ways(&numbers, &json!({ "-2": "a", "9": "b", "10": "c" }));
    both_ways(&BTreeMap::from([(false, 0_u8), (true, 1)]), &json!({ "false": 0, "true": 1 }));
    let wide = BTreeMap::from([(2_u128, ()), (u128::MAX, ())]);
    both_ways(&wide, &json!({ "2": null, "340282366920938463463374607431768211455": null }));
    let says = refused::<BTreeMap<u8, u8>>(json!({ "+1": 1 }));
    assert_eq!(says, ".: expected a key of u8, got \"+1\"");
    let says = refused::<BTreeMap<u8, u8>>(json!({ "256": 1 }));
    assert_eq!(says, ".: expected an unsigned 8-bit number, got 256");
    assert_eq!(
        refused::<BTreeMap<u8, bool>>(json!({ "1": 1 })),
        ".1: expected true or false, got 1"
    );
    let says = refused::<BTreeMap<(u8, u8), u8>>(json!({}));
    assert_eq!(says, ".: a map by (u8, u8) has no form in JSON, where keys are text");
    assert!(broken::<BTreeMap<Option<u8>, u8>>(&[0]).contains("a map by u8? has no form"));
}

#[test]
fn variants_are_told_by_name() {
    let variant = |name: &str, fields| Variant { name: name.to_owned(), fields };
    let newtype = Fields::Newtype(Box::new(u8::shape()));
    let side = schema(Shape::Enum(vec![variant("Buy", Fields::Unit), variant("Sell", newtype)]));
    let refused = |json: Value| side.encode_json(&json).unwrap_err().to_string();
    assert_eq!(refused(json!("Keep")), ".: expected one of Buy, Sell, got \"Keep\"");
    assert_eq!(
        refused(json!({ "Sell": 256 })),
        ".Sell: expected an unsigned 8-bit number, got 256"
    );
    assert_eq!(refused(json!("Sell")), ".: expected {\"Sell\": …} with fields, got \"Sell\"");
    let says = refused(json!({ "Buy": null }));
    assert_eq!(says, ".: expected just \"Buy\", which has no fields, got an object");
    assert_eq!(refused(json!({})), ".: expected one of Buy, Sell, got an object");
    assert!(side.decode_json(&[2]).unwrap_err().to_string().contains("a variant's number"));
}

#[test]
fn lengths_are_exact() {
    assert_eq!(refused::<(u8, u8)>(json!([1])), ".: expected 2 elements, got 1");
    assert_eq!(refused::<[u8; 2]>(json!([1, 2, 3])), ".: expected 2 elements, got 3");
    assert_eq!(broken::<u8>(&[1, 2]), ".: 1 bytes are left over");
    assert_eq!(broken::<char>(&[1, 0xff]), ".: the bytes are not those of one character");
    assert_eq!(refused::<char>(json!("ab")), ".: expected one character, got \"ab\"");
}

#[test]
fn what_an_error_shows_is_short() {
    let says = refused::<u8>(json!("é".repeat(1_000_000)));
    assert!(says.ends_with("…") && says.len() < 200, "{says}");
}

/// Units take no bytes, so that any number of them can be promised.
#[test]
fn promises_are_not_believed() {
    const PROMISE: [u8; 10] = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1];
    assert_eq!(broken::<Vec<()>>(&PROMISE), "[4175]: the bytes stand for too many values");
    assert!(broken::<Vec<u8>>(&PROMISE).contains("[0]: the bytes end"));
    assert!(broken::<String>(&PROMISE).contains("the bytes end"));
    assert!(broken::<bytes::Bytes>(&PROMISE).contains("the bytes end"));
    assert!(broken::<BTreeMap<String, u8>>(&PROMISE).contains("the bytes end"));
    let unit = Shape::Primitive(Primitive::Unit);
    let row = |of| Shape::Array { of: Box::new(of), length: u32::MAX };
    let error = schema(row(row(row(unit)))).decode_json(&[]).unwrap_err();
    assert_eq!(error.problem, JsonProblem::TooMany);
    both_ways(&vec![(); 1000], &json!(vec![(); 1000]));
}

proptest! {
    /// What bytes stand for, if anything, has bytes that stand for the same.
    #[test]
    fn bytes_that_can_be_read_can_be_written(
        schema in any_schema(),
        bytes in prop_oneof![
            prop::collection::vec(0_u8..4, 0..40),
            prop::collection::vec(any::<u8>(), 0..100),
        ],
    ) {
        // What is left over of random bytes is cut off, so that more of them can be read.
        let mut read = schema.decode_json(&bytes);
        if let Err(JsonError { problem: JsonProblem::LeftOver(left), .. }) = read {
            read = schema.decode_json(&bytes[..bytes.len() - left]);
        }
        if let Ok(json) = read {
            let written = schema.encode_json(&json);
            prop_assert!(written.is_ok(), "{json}: {written:?}");
            prop_assert_eq!(schema.decode_json(&written.unwrap()), Ok(json));
        }
    }
}
