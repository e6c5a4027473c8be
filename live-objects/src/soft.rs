//! Soft states: states of conflict-free types, which everybody updates at once and all merge.
//!
//! A soft state needs no order and no quorum. An update is made where it is said, at once, and
//! spreads; whoever has taken in the same updates, in whatever order and however often, has the
//! same state (*strong eventual consistency*: Shapiro, Preguiça, Baquero and Zawirski,
//! "Conflict-free replicated data types", SSS 2011). What spreads is what an update changed, a
//! *delta* (Almeida, Shoker and Baquero, "Delta state replicated data types", JPDC 2018).
//!
//! **Promised**, by whoever carries them: what any holder has that stays reaches all holders that
//! stay, once they can reach each other, whoever made it and whether or not that one is still
//! there. **Not promised**: any order between updates; that an update is read at another node by
//! some time; that it outlives a crash before anybody else has it. The state is *soft*: when the
//! last holder closes it or is gone, so is the state.
//!
//! A type of states is put together of [`Register`], [`Counter`], [`Set`] and [`Map`]:
//!
//! ```
//! use live_objects::soft::{Author, Counter, Holder, Map, Place, Register, Soft};
//!
//! struct Cart {
//!     items: Map<String, Counter>,
//!     note: Register<String>,
//! }
//!
//! impl Soft for Cart {
//!     const NAME: &'static str = "Cart";
//!
//!     fn at(place: &mut Place) -> Self {
//!         Self { items: place.field("items"), note: place.field("note") }
//!     }
//! }
//!
//! let (mut one, mut other) = (Holder::<Cart>::new(Author::new(1)), Holder::new(Author::new(2)));
//! let cd = "cd".to_owned();
//! let (_, first) = one.write(|cart, writer| cart.items.at(&cd).add(writer, 2))?;
//! let (_, second) = other.write(|cart: &Cart, writer| cart.items.at(&cd).add(writer, 3))?;
//! for delta in [&second, &first, &second] {
//!     one.merge(delta);
//! }
//! assert_eq!(one.read(|cart, reader| cart.items.at(&cd).value(reader)), 5);
//! # other.merge(&first);
//! # Ok::<(), live_objects::soft::WriteError>(())
//! ```
//!
//! **Bounds.** A state counts for [`Store::BYTES_MAX`] at most, and says so to whoever would make
//! it larger; what takes something out always finds room. States that were updated apart, and come
//! to more than [`Store::MERGED_BYTES_MAX`], are not merged until something is taken out. To what a
//! state counts for belongs what must be known for ever of all who wrote into it, some 30 bytes for
//! each author, which is each opening that writes, and another where somebody spoke in its name: a
//! state into which tens of thousands have written is full, and cannot be made smaller, since
//! somebody may come back who knows no better than before. Whoever holds a state can fill it so,
//! but only up to [`Store::KNOWN_BYTES_MAX`]: others still write then, and hear of whom they know.
//!
//! **Reading order.** `context`: what is known of what was written. `store`: what stands of it, and
//! how two merge. `difference`: how two holders find what one lacks. `place`, `access`: where a
//! value is, and how it is read and written. `register`, `counter`, `set`, `map`: the types.
//! `holder`: an application's copy.

mod access;
mod context;
mod counter;
mod difference;
mod holder;
mod map;
mod place;
mod register;
mod set;
mod store;
#[cfg(test)]
mod tests;

pub use self::access::{Reader, WriteError, Writer};
pub use self::context::{Author, Context, Dot};
pub use self::counter::Counter;
pub use self::difference::{Difference, Summary};
pub use self::holder::Holder;
pub use self::map::Map;
pub use self::place::Place;
use self::place::schema_of;
pub use self::register::Register;
pub use self::set::Set;
pub use self::store::{Store, StoreError};

/// A type of soft states, put together of others. A value of it is no state, but tells where in a
/// state things are, for whoever reads or writes it.
pub trait Soft: Send + Sync + 'static {
    /// What it is called. Nodes that open one name with types of different names, or made of
    /// different things, are told so.
    const NAME: &'static str;

    /// Which version of the type this is.
    const VERSION: u32 = 1;

    /// It, put into a place.
    fn at(place: &mut Place) -> Self;
}
