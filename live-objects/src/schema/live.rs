//! Types that know their schema: `#[derive(Live)]` for an application's own, and Rust's plain ones.
//!
//! **A type that contains itself has no schema**, and does not compile: [`Live::SIZE`] of such a
//! type depends on itself, which the compiler reports as a cycle. How deep its values are nested
//! would be up to their sender, and serde reads them by recursion, so that a small message could
//! exhaust a receiver's stack. Send a sequence of parts that name each other by position instead.
//!
//! Invariant: `SIZE` counts what `shape()` is made of as [`Schema::SIZE_MAX`] does.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Schema;
use super::shape::{Primitive, Shape};

/// A type whose values can be messages, updates or values of objects, also for those who do not
/// have the type. Derive it; by hand, describe exactly what serde does.
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no schema",
    note = "add `#[derive(Live, Serialize, Deserialize)]` to a type of your own"
)]
pub trait Live: Serialize + DeserializeOwned + Send + 'static {
    /// Which version of the type this is.
    const VERSION: u32 = 1;

    /// How many shapes and variants it is made of.
    const SIZE: usize;

    /// What it is called.
    fn name() -> String;

    /// What its values are made of.
    fn shape() -> Shape;

    /// Name, version and shape in one.
    ///
    /// # Panics
    ///
    /// If shapes are nested deeper than [`Schema::DEPTH_MAX`], or a name is longer than
    /// [`Schema::NAME_LEN_MAX`], which is known when a program first runs.
    fn schema() -> Schema {
        const { assert!(Self::SIZE <= Schema::SIZE_MAX, "the type has too many parts") };
        match Schema::new(Self::name(), Self::VERSION, Self::shape()) {
            Ok(schema) => schema,
            Err(error) => panic!("{} has no schema: {error}", core::any::type_name::<Self>()),
        }
    }
}

macro_rules! primitives {
    ($($ty:ty = $name:literal, $primitive:ident;)*) => { $(
        impl Live for $ty {
            const SIZE: usize = 1;

            fn name() -> String {
                $name.to_owned()
            }

            fn shape() -> Shape {
                Shape::Primitive(Primitive::$primitive)
            }
        }
    )* };
}

// `usize` and `isize` go over the wire in 64 bits, on every machine.
primitives! {
    () = "()", Unit;
    bool = "bool", Bool;
    u8 = "u8", U8;
    u16 = "u16", U16;
    u32 = "u32", U32;
    u64 = "u64", U64;
    u128 = "u128", U128;
    usize = "u64", U64;
    i8 = "i8", I8;
    i16 = "i16", I16;
    i32 = "i32", I32;
    i64 = "i64", I64;
    i128 = "i128", I128;
    isize = "i64", I64;
    f32 = "f32", F32;
    f64 = "f64", F64;
    char = "char", Char;
    String = "string", String;
    Bytes = "bytes", Bytes;
}

/// In JSON `null` is `None`, so that `Some(None)` and `Some(())` cannot be told from it there.
impl<T: Live> Live for Option<T> {
    const SIZE: usize = 1 + T::SIZE;

    fn name() -> String {
        format!("{}?", T::name())
    }

    fn shape() -> Shape {
        Shape::Option(Box::new(T::shape()))
    }
}

impl<T: Live> Live for Vec<T> {
    const SIZE: usize = 1 + T::SIZE;

    fn name() -> String {
        format!("[{}]", T::name())
    }

    fn shape() -> Shape {
        Shape::Sequence(Box::new(T::shape()))
    }
}

/// Arrays of the lengths that serde knows, 0 to 32.
impl<T: Live, const N: usize> Live for [T; N]
where
    [T; N]: Serialize + DeserializeOwned,
{
    const SIZE: usize = 1 + T::SIZE;

    fn name() -> String {
        format!("[{}; {N}]", T::name())
    }

    fn shape() -> Shape {
        let length = u32::try_from(N).expect("serde's arrays are short");
        Shape::Array { of: Box::new(T::shape()), length }
    }
}

/// Keys are text in JSON: text, characters, whole numbers, `bool`, variants without fields, and
/// structs of one such field. Maps with other keys have a schema, but no form in JSON.
impl<K: Live + Ord, V: Live> Live for BTreeMap<K, V> {
    const SIZE: usize = 1 + K::SIZE + V::SIZE;

    fn name() -> String {
        format!("{{{}: {}}}", K::name(), V::name())
    }

    fn shape() -> Shape {
        Shape::Map { key: Box::new(K::shape()), value: Box::new(V::shape()) }
    }
}

impl<T: Live> Live for Box<T> {
    const VERSION: u32 = T::VERSION;

    const SIZE: usize = T::SIZE;

    fn name() -> String {
        T::name()
    }

    fn shape() -> Shape {
        T::shape()
    }
}

macro_rules! tuples {
    ($(($($ty:ident),+);)*) => { $(
        impl<$($ty: Live),+> Live for ($($ty,)+) {
            const SIZE: usize = 1 $(+ $ty::SIZE)+;

            fn name() -> String {
                format!("({})", [$($ty::name()),+].join(", "))
            }

            fn shape() -> Shape {
                Shape::Tuple(vec![$($ty::shape()),+])
            }
        }
    )* };
}

tuples! {
    (A);
    (A, B);
    (A, B, C);
    (A, B, C, D);
    (A, B, C, D, E);
    (A, B, C, D, E, F);
}
