//! `#[derive(Live)]`: the schema of a type, from its definition.
//!
//! **It guarantees** that the schema says what serde's own derives do: same order, same names, same
//! forms. Whatever might make it say something else is refused at compile time.
//!
//! **It does not** see an implementation of `Serialize` or `Deserialize` by hand: who has one
//! writes `Live` by hand too.
//!
//! ```
//! use live_objects::Live as _;
//! use live_objects_derive::Live;
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Live, Serialize, Deserialize)]
//! #[live(name = "shop.Price", version = 2, crate = "live_objects")]
//! struct Price {
//!     symbol: String,
//!     cents: u64,
//! }
//!
//! let schema = Price::schema();
//! assert_eq!(schema.to_string(), "shop.Price version 2: { symbol: string, cents: u64 }");
//!
//! let bytes = schema.encode_json(&serde_json::json!({ "symbol": "LOGO", "cents": 99 })).unwrap();
//! let price: Price = postcard::from_bytes(&bytes).unwrap();
//! assert_eq!((price.symbol.as_str(), price.cents), ("LOGO", 99));
//! ```
//!
//! # `#[live(…)]`, on the type
//!
//! | | |
//! |---|---|
//! | `name = "shop.Price"` | what it is called; else as in Rust. Parameters follow: `Pair<u8>` |
//! | `version = 2` | which version of that it is; else 1 |
//! | `crate = "live_objects"` | where `live_objects` is; else `::logo::live_objects` |
//!
//! # `#[serde(…)]`
//!
//! The schema honours `rename = "…"`, `rename_all = "…"` and `rename_all_fields = "…"`;
//! `deny_unknown_fields`, `bound`, `crate` and `expecting` do not matter to it. All others are
//! refused, since bytes or JSON would not be as the schema says:
//!
//! ```compile_fail
//! # use live_objects_derive::Live;
//! # use serde::{Deserialize, Serialize};
//! #[derive(Live, Serialize, Deserialize)]
//! #[live(crate = "live_objects")]
//! struct Price {
//!     #[serde(skip)]
//!     symbol: String,
//! }
//! ```
//! ```compile_fail
//! # use live_objects_derive::Live;
//! # use serde::{Deserialize, Serialize};
//! #[derive(Live, Serialize, Deserialize)]
//! #[live(crate = "live_objects")]
//! #[serde(untagged)]
//! enum Price {
//!     Cents(u64),
//! }
//! ```
//! ```compile_fail
//! # use live_objects_derive::Live;
//! # use serde::{Deserialize, Serialize};
//! #[derive(Live, Serialize, Deserialize)]
//! #[live(crate = "live_objects")]
//! struct Price {
//!     #[serde(rename(serialize = "a", deserialize = "b"))]
//!     cents: u64,
//! }
//! ```
//!
//! # What has no schema
//!
//! Types that contain themselves (`live_objects::Live` says why), unions, types with lifetimes or
//! constant parameters, and fields whose types are not `Live`. Type parameters must be `Live`.
//!
//! ```compile_fail
//! # use live_objects_derive::Live;
//! # use serde::{Deserialize, Serialize};
//! #[derive(Live, Serialize, Deserialize)]
//! #[live(crate = "live_objects")]
//! struct Tree {
//!     below: Vec<Tree>,
//! }
//! ```
//! ```compile_fail,E0391
//! # use live_objects_derive::Live;
//! # use serde::{Deserialize, Serialize};
//! #[derive(Live, Serialize, Deserialize)]
//! #[live(crate = "live_objects")]
//! struct Tree {
//!     below: Vec<Branch>,
//! }
//!
//! #[derive(Live, Serialize, Deserialize)]
//! #[live(crate = "live_objects")]
//! struct Branch(Option<Box<Tree>>);
//! ```
//! ```compile_fail
//! # use live_objects_derive::Live;
//! #[derive(Live)]
//! #[live(crate = "live_objects")]
//! union Price {
//!     cents: u64,
//! }
//! ```
//! ```compile_fail
//! # use live_objects_derive::Live;
//! # use serde::{Deserialize, Serialize};
//! #[derive(Live, Serialize, Deserialize)]
//! #[live(crate = "live_objects")]
//! struct Price<'a> {
//!     symbol: &'a str,
//! }
//! ```
//! ```compile_fail
//! # use live_objects_derive::Live;
//! # use serde::{Deserialize, Serialize};
//! #[derive(Live, Serialize, Deserialize)]
//! #[live(crate = "live_objects", colour = "red")]
//! struct Price {
//!     cents: u64,
//! }
//! ```
//! ```compile_fail
//! # use live_objects_derive::Live;
//! # use serde::{Deserialize, Serialize};
//! #[derive(Live, Serialize, Deserialize)]
//! #[live(crate = "live_objects")]
//! struct Price {
//!     at: std::time::Duration,
//! }
//! ```
//!
//! **Reading order.** `expansion`: what is generated. `attributes`: what the type says of itself.
//! `spelling`: serde's ways of writing names.

mod attributes;
mod expansion;
mod spelling;

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

/// The schema of a struct or an enum that derives serde's `Serialize` and `Deserialize`; see the
/// head of this crate.
#[proc_macro_derive(Live, attributes(live, serde))]
pub fn derive_live(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    expansion::expand(&input).unwrap_or_else(syn::Error::into_compile_error).into()
}
