//! `#[derive(Live)]` where an application writes it: all that it has of ours is the crate `logo`,
//! whose prelude brings the trait and the derive under one name. This crate plays `logo`.

extern crate self as logo;

pub use live_objects;

mod prelude {
    pub(crate) use live_objects::Live;
    pub(crate) use live_objects_derive::Live;
}

use prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Live, Serialize, Deserialize)]
struct Reading<T> {
    celsius: Option<T>,
}

#[test]
fn the_prelude_is_enough() {
    assert_eq!(<Reading<i8>>::schema().to_string(), "Reading<i8> version 1: { celsius: i8? }");
}
