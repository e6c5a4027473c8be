//! Schemas as values: what is hashed and sent, and what is refused.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::Value;

use super::*;

fn unit() -> Shape {
    Shape::Primitive(Primitive::Unit)
}

fn named(fields: &[(&str, Shape)]) -> Fields {
    let field =
        |(name, shape): &(&str, Shape)| Field { name: (*name).to_owned(), shape: shape.clone() };
    Fields::Named(fields.iter().map(field).collect())
}

fn order() -> Schema {
    let price = Shape::Option(Box::new(u64::shape()));
    let variant = |name: &str, fields| Variant { name: name.to_owned(), fields };
    let side = Shape::Enum(vec![
        variant("Buy", Fields::Unit),
        variant("Sell", Fields::Newtype(Box::new(bool::shape()))),
        variant("Swap", Fields::Tuple(vec![u8::shape(), u8::shape()])),
        variant("Hold", named(&[("until", i64::shape())])),
    ]);
    let of = Box::new(f32::shape());
    let fields = [
        ("symbol", String::shape()),
        ("price", price),
        ("side", side),
        ("notes", <Vec<(char, [u8; 3])>>::shape()),
        ("odds", Shape::Map { key: Box::new(u16::shape()), value: of }),
    ];
    Schema::new("shop.Order", 3, Shape::Struct(named(&fields))).unwrap()
}

/// Ids are compared between nodes of different builds: a change here is a change of every schema.
#[test]
fn golden_ids() {
    assert_eq!(u32::schema().id().to_string(), "u32 version 1 (59897ab9e28fcd39)");
    assert_eq!(order().id().to_string(), "shop.Order version 3 (1a89a88f615e8821)");
}

/// So are schemas themselves.
#[test]
fn golden_bytes() {
    let golden = |schema: Schema, bytes: &[u8]| {
        assert_eq!(postcard::to_allocvec(&schema).unwrap(), bytes);
        assert_eq!(postcard::from_bytes(bytes), Ok(schema));
    };
    golden(u32::schema(), b"\x03u32\x01\x01\x00\x04");
    golden(
        order(),
        b"\x0ashop.Order\x03\x11\
          \x06\x03\x05\x06symbol\x05price\x04side\x05notes\x04odds\
          \x00\x0f\
          \x01\x00\x05\
          \x07\x04\x03Buy\x00\x04Sell\x01\x04Swap\x02\x02\x04Hold\x03\x01\x05until\
          \x00\x01\x00\x02\x00\x02\x00\x0a\
          \x02\x05\x02\x00\x0e\x03\x03\x00\x02\
          \x04\x00\x03\x00\x0c",
    );
}

#[test]
fn a_schema_reads_like_rust() {
    assert_eq!(
        order().to_string(),
        "shop.Order version 3: { symbol: string, price: u64?, side: enum { Buy, Sell(bool), \
         Swap(u8, u8), Hold { until: i64 } }, notes: [(char, [u8; 3])], odds: {u16: f32} }"
    );
}

#[test]
fn an_id_tells_names_versions_and_shapes_apart() {
    let id = |name, version, shape| Schema::new(name, version, shape).unwrap().id();
    let first = id("a", 1, Shape::Struct(named(&[("x", u8::shape()), ("y", u8::shape())])));
    let swapped = id("a", 1, Shape::Struct(named(&[("y", u8::shape()), ("x", u8::shape())])));
    assert_ne!(first.hash, swapped.hash, "fields of one shape that changed places");
    assert_ne!(id("a", 1, unit()), id("a", 2, unit()));
    assert_ne!(id("a", 1, unit()).hash, id("b", 1, unit()).hash);
}

#[test]
fn what_is_beyond_the_limits_is_refused() {
    let refused = |shape| Schema::new("a", 1, shape).unwrap_err();
    assert_eq!(Schema::new("", 1, unit()), Err(SchemaError::Name(String::new())));
    let long = "n".repeat(Schema::NAME_LEN_MAX);
    assert!(Schema::new(long.clone(), 1, unit()).is_ok());
    assert!(matches!(Schema::new(long + "n", 1, unit()), Err(SchemaError::Name(_))));
    assert_eq!(refused(Shape::Struct(named(&[("", unit())]))), SchemaError::Name(String::new()));
    let twice = Shape::Struct(named(&[("x", unit()), ("x", unit())]));
    assert_eq!(refused(twice), SchemaError::SameName("x".to_owned()));

    let nested = |depth| (1..depth).fold(unit(), |inner, _| Shape::Option(Box::new(inner)));
    assert!(Schema::new("a", 1, nested(Schema::DEPTH_MAX)).is_ok());
    assert_eq!(refused(nested(Schema::DEPTH_MAX + 1)), SchemaError::TooDeep);

    let wide = |size| Shape::Tuple(vec![unit(); size - 1]);
    assert!(Schema::new("a", 1, wide(Schema::SIZE_MAX)).is_ok());
    assert_eq!(refused(wide(Schema::SIZE_MAX + 1)), SchemaError::TooLarge);
}

#[test]
fn sizes_count_what_shapes_are_made_of() {
    fn check<T: Live>() {
        let steps = Step::of(&T::shape()).len();
        assert_eq!(T::SIZE, steps, "{}", T::name());
    }
    check::<()>();
    check::<Vec<Option<Box<u8>>>>();
    check::<(u8, [Vec<char>; 3], BTreeMap<String, (bool,)>)>();
}

/// A peer's schema is read without recursion, and none of its numbers is believed.
#[test]
fn hostile_schemas_are_refused() {
    let refused = |name_and_steps: &[u8]| postcard::from_bytes::<Schema>(name_and_steps).is_err();
    let mut deep = b"\x01a\x01\xc0\x84\x3d".to_vec();
    deep.extend([1; 1_000_000]);
    assert!(refused(&deep), "a million options within each other");
    assert!(refused(b"\x01a\x01\x01\x05\xff\xff\xff\xff\x0f"), "a tuple of 2^32 - 1");
    assert!(refused(b"\x01a\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), "2^64 - 1 steps");
    assert!(refused(b"\x01a\x01\x02\x00\x00\x00\x00"), "a shape too many");
    assert!(refused(b"\x01a\x01\x01\x01"), "an option of nothing");
    assert!(refused(b"\x01a\x01\x00"), "no shape at all");
}

pub(super) fn any_schema() -> impl Strategy<Value = Schema> {
    let primitive = (0_u8..17).prop_map(|number| {
        Shape::Primitive(postcard::from_bytes(&[number]).expect("there are 17"))
    });
    let shape = primitive.prop_recursive(5, 40, 5, |inner| {
        let one = inner.clone().prop_map(Box::new);
        let some = prop::collection::vec(inner, 0..5);
        let by_name = |shapes: Vec<Shape>| {
            let names = ["a", "b", "c", "d", "e"].map(str::to_owned);
            let fields = names.into_iter().zip(shapes);
            Fields::Named(fields.map(|(name, shape)| Field { name, shape }).collect())
        };
        let fields = prop_oneof![
            Just(Fields::Unit),
            one.clone().prop_map(Fields::Newtype),
            some.clone().prop_map(Fields::Tuple),
            some.clone().prop_map(by_name),
        ];
        let variants = prop::collection::vec(fields.clone(), 0..4).prop_map(|forms| {
            let names = ["A", "B", "C", "D"].map(str::to_owned);
            let variants = names.into_iter().zip(forms);
            variants.map(|(name, fields)| Variant { name, fields }).collect()
        });
        prop_oneof![
            one.clone().prop_map(Shape::Option),
            one.clone().prop_map(Shape::Sequence),
            (one.clone(), any::<u32>()).prop_map(|(of, length)| Shape::Array { of, length }),
            (one.clone(), 0_u32..4).prop_map(|(of, length)| Shape::Array { of, length }),
            (one.clone(), one).prop_map(|(key, value)| Shape::Map { key, value }),
            some.prop_map(Shape::Tuple),
            fields.prop_map(Shape::Struct),
            variants.prop_map(Shape::Enum),
        ]
    });
    shape.prop_map(|shape| Schema::new("any", 1, shape).expect("within the limits"))
}

proptest! {
    #[test]
    fn schemas_come_back_as_they_were_sent(schema in any_schema()) {
        let bytes = postcard::to_allocvec(&schema).unwrap();
        prop_assert_eq!(postcard::from_bytes::<Schema>(&bytes), Ok(schema.clone()));
        let json = serde_json::to_value(&schema).unwrap();
        prop_assert_eq!(serde_json::from_value::<Schema>(json).unwrap(), schema);
    }

    #[test]
    fn no_bytes_of_a_schema_panic(bytes in prop::collection::vec(0_u8..20, 0..200)) {
        let mut schema = b"\x01a\x01".to_vec();
        schema.extend(bytes);
        if let Ok(schema) = postcard::from_bytes::<Schema>(&schema) {
            let _: Result<Value, _> = schema.decode_json(&[0; 8]);
        }
    }
}
