//! Filters: which terms there are in a zone, if one may be wrong now and then and only about what
//! is not there (Bloom, "Space/time trade-offs in hash coding with allowable errors", CACM 1970).
//!
//! A *term* is that a member has an attribute with some value in some catalog. It sets three bits
//! of 4,096; the filter of two zones has the bits of both. Of a zone of so many different terms:
//!
//! | terms | bits set | wrongly there | written, in bytes |
//! |---|---|---|---|
//! | 30 | 2 % | 0.001 % | 95 |
//! | 100 | 7 % | 0.04 % | 290 |
//! | 300 | 20 % | 0.8 % | 513 |
//! | 600 | 36 % | 5 % | 513 |
//! | 1,250 | 60 % | 22 % | 1: it says that any may be there |
//!
//! A node has one or two terms that no other has, as its host's name, so zones of some hundreds
//! have filters that say something; above those a search has to look into several zones anyway,
//! which are few. Twice the bits would save half of that and fill the packet. Four bits a term
//! would be wrong less often where filters are empty enough as it is, and be full sooner.
//!
//! A number is a term only if it is whole: nobody looks for a load of just 0.4137, and a filter
//! that followed it would never rest.
//!
//! Invariant: no more than [`FULL`] bits are set, or the filter says no more than that.

use live_objects::{ObjectId, Scalar};

use crate::digest::{halves, mix};

/// The terms of a zone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Filter {
    /// Those all of whose bits are set.
    Bits(Box<Bits>),
    /// Any.
    Any,
}

type Bits = [u64; WORDS];

/// That somebody is in a catalog, or has an attribute with some value there, as a hash.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Term(u64);

impl Term {
    /// Somebody describes itself in this catalog.
    pub(crate) fn presence(object: ObjectId) -> Self {
        let [high, low] = halves(object.as_bytes());
        Self(mix(high ^ mix(low)))
    }

    /// And has this attribute. None if filters do not tell of such values.
    pub(crate) fn of(object: ObjectId, name: &str, value: &Scalar) -> Option<Self> {
        let (kind, hash) = match value {
            Scalar::Text(text) => (0, hash(text.as_bytes())),
            Scalar::Number(number) if number.fract() == 0.0 => (1, mix(number.to_bits())),
            Scalar::Number(_) => return None,
        };
        let Self(catalog) = Self::presence(object);
        Some(Self(mix(catalog ^ mix(self::hash(name.as_bytes()) ^ mix(hash ^ kind)))))
    }

    /// The places of its bits, twelve bits of its hash each.
    fn places(self) -> [usize; BITS_A_TERM] {
        [0, 1, 2].map(|at| (self.0 >> (12 * at)) as usize % Filter::BITS)
    }
}

impl Default for Filter {
    fn default() -> Self {
        Self::Bits(Box::new([0; WORDS]))
    }
}

impl Filter {
    /// How many bits there are.
    pub(crate) const BITS: usize = 64 * WORDS;

    /// A filter in which these bits are set, some of them twice perhaps.
    pub(crate) fn of_places(places: impl IntoIterator<Item = usize>) -> Self {
        let mut bits = [0; WORDS];
        for place in places {
            bits[place / 64] |= 1 << (place % 64);
        }
        Self::of_bits(bits)
    }

    /// A filter of these bits.
    pub(crate) fn of_bits(bits: Bits) -> Self {
        if count(&bits) > FULL { Self::Any } else { Self::Bits(Box::new(bits)) }
    }

    /// A filter of these terms.
    pub(crate) fn of_terms(terms: impl Iterator<Item = Term>) -> Self {
        Self::of_places(terms.flat_map(Term::places))
    }

    /// Whether a term may be there.
    pub(crate) fn has(&self, term: Term) -> bool {
        match self {
            Self::Bits(bits) => term.places().into_iter().all(|place| is_set(bits, place)),
            Self::Any => true,
        }
    }

    /// Of two zones as one.
    pub(crate) fn merged(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::Bits(one), Self::Bits(other)) => {
                Self::of_bits(std::array::from_fn(|at| one[at] | other[at]))
            }
            (Self::Any, _) | (_, Self::Any) => Self::Any,
        }
    }

    /// Which bits are set, in order, unless it says nothing.
    pub(crate) fn places(&self) -> Option<impl Iterator<Item = usize>> {
        let Self::Bits(bits) = self else { return None };
        Some((0..Self::BITS).filter(|place| is_set(bits, *place)))
    }

    /// By which two that hold it find out that they do. Never 0, which stands for none.
    pub(crate) fn digest(&self) -> u32 {
        let hash = match self {
            Self::Bits(bits) => bits.iter().fold(0, |hash, word| mix(hash ^ word)),
            Self::Any => mix(u64::MAX),
        };
        (hash as u32).max(1)
    }
}

fn is_set(bits: &Bits, place: usize) -> bool {
    bits[place / 64] >> (place % 64) & 1 == 1
}

fn count(bits: &Bits) -> u32 {
    bits.iter().map(|word| word.count_ones()).sum()
}

/// All nodes must hash alike.
fn hash(bytes: &[u8]) -> u64 {
    let word = |chunk: &[u8]| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        u64::from_le_bytes(word)
    };
    bytes.chunks(8).map(word).fold(mix(bytes.len() as u64), |hash, word| mix(hash ^ word))
}

const WORDS: usize = 64;

const BITS_A_TERM: usize = 3;

/// With more bits set a filter would be wrong about more than one term in five, for as much room.
const FULL: u32 = (Filter::BITS * 6 / 10) as u32;

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    fn term(number: u64) -> Term {
        Term(mix(number))
    }

    /// Filters of any load.
    pub(crate) fn filters() -> impl Strategy<Value = Filter> {
        (any::<u64>(), prop_oneof![0..40_u64, 0..2_000_u64]).prop_map(|(salt, count)| {
            Filter::of_terms((0..count).map(|number| term(mix(salt) ^ number)))
        })
    }

    proptest! {
        #[test]
        fn what_is_there_is_found(terms: Vec<u64>, others: Vec<u64>) {
            let of = |numbers: &[u64]| Filter::of_terms(numbers.iter().map(|it| term(*it)));
            let (one, other) = (of(&terms), of(&others));
            let both = one.merged(&other);
            prop_assert_eq!(&both, &of(&[terms.clone(), others.clone()].concat()));
            prop_assert!(terms.iter().chain(&others).all(|it| both.has(term(*it))));
        }

        #[test]
        fn merging_is_a_union(one in filters(), two in filters(), three in filters()) {
            let merged = one.merged(&two);
            prop_assert_eq!(&merged, &two.merged(&one));
            prop_assert_eq!(merged.merged(&three), one.merged(&two.merged(&three)));
            prop_assert_eq!(&merged.merged(&one), &merged);
            prop_assert_eq!(merged.digest() == one.digest(), merged == one);
        }

        #[test]
        fn places_say_all(filter in filters()) {
            if let Some(places) = filter.places() {
                prop_assert_eq!(&Filter::of_places(places), &filter);
            }
        }
    }

    /// As the table says: (1 - e^(-3n/m))^3.
    #[test]
    fn it_is_wrong_as_seldom_as_theory_has_it() {
        for terms in [30, 100, 300, 600, 1_000] {
            let filter = Filter::of_terms((0..terms).map(term));
            let load = 1.0 - (-3.0 * terms as f64 / Filter::BITS as f64).exp();
            let set = filter.places().expect("not full").count() as f64 / Filter::BITS as f64;
            assert!((set - load).abs() < 0.02, "{set} for {load}");
            let others = 100_000;
            let wrong = (1 << 32..(1 << 32) + others).filter(|it| filter.has(term(*it))).count();
            let (wrong, theory) = (wrong as f64 / others as f64, load.powi(3));
            assert!((wrong - theory).abs() < 0.1 * theory + 2e-4, "{wrong} for {theory}");
        }
        assert_eq!(Filter::of_terms((0..1_400).map(term)), Filter::Any);
    }

    #[test]
    fn full_is_as_full_as_can_be() {
        let most = Filter::of_places(0..FULL as usize);
        assert_ne!(most, Filter::Any);
        assert_eq!(Filter::of_places(0..=FULL as usize), Filter::Any);
        assert_eq!(most.merged(&Filter::of_places([4_095])), Filter::Any);
    }

    /// Nodes of two builds that hash differently would not find each other.
    #[test]
    fn golden_terms() {
        let object = ObjectId::from_bytes([3; ObjectId::LEN]);
        let of = |name: &str, value: Scalar| Term::of(object, name, &value);
        let role = of("role", "db".into()).expect("texts are terms");
        assert_eq!(role.0, 0xa1d2_f7ef_5874_f9f6);
        assert_eq!(of("cores", 64.0.into()).map(|it| it.0), Some(0xd4f4_ff00_3e61_652d));
        assert_eq!(Term::presence(object).0, 0xe3d5_a3c5_c639_7531);
        assert_eq!(of("load", 0.5.into()), None);
        assert_ne!(of("db", "role".into()), Some(role));
        assert_ne!(of("role", "db\0".into()), Some(role));
    }
}
