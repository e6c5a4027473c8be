//! Predicates: what must be true of attributes.
//!
//! What is compared with an attribute that is not there, or of another kind, is neither true nor
//! false: it is unknown, as SQL has it, and whatever is unknown in the end does not match.
//!
//! A predicate is kept as it is computed, on a stack, each step after those that it works on: so
//! nobody who reads one from the network can be led into a recursion without end.
//!
//! Invariant: each step finds on the stack what it takes off, and one truth is left in the end.

use core::cmp::Ordering;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::attributes::{AttributeError, Attributes, Scalar, check_name};

/// What must be true of attributes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "Vec<Step>", into = "Vec<Step>")]
pub struct Predicate(Vec<Step>);

/// How an attribute is compared with a value.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Relation {
    /// It is the same.
    Equal,
    /// It is another of the same kind.
    NotEqual,
    /// It is less.
    Less,
    /// It is less, or the same.
    LessOrEqual,
    /// It is greater.
    Greater,
    /// It is greater, or the same.
    GreaterOrEqual,
}

/// Variants are numbered by position on the wire: new ones go last.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
enum Step {
    True,
    Compare(String, Relation, Scalar),
    IsSet(String),
    Not,
    And,
    Or,
}

impl Predicate {
    /// How many steps it has at most: comparisons, and what joins them.
    pub const STEPS_MAX: usize = 64;
    /// The most that the names and values in it take together, in bytes, a number being of eight.
    pub const BYTES_MAX: usize = 512;

    /// What is true of all.
    pub fn all() -> Self {
        Self(vec![Step::True])
    }

    /// An attribute compares so with a value.
    pub fn compare(
        attribute: &str,
        relation: Relation,
        value: impl Into<Scalar>,
    ) -> Result<Self, PredicateError> {
        check_name(attribute)?;
        let value = value.into().checked()?;
        Ok(Self(vec![Step::Compare(attribute.to_owned(), relation, value)]))
    }

    /// An attribute has this value.
    ///
    /// ```
    /// use live_objects::{Attributes, Predicate};
    ///
    /// let is_db = Predicate::equal("role", "db")?;
    /// assert!(is_db.matches(&Attributes::default().with("role", "db")?));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn equal(attribute: &str, value: impl Into<Scalar>) -> Result<Self, PredicateError> {
        Self::compare(attribute, Relation::Equal, value)
    }

    /// An attribute is there, whatever its value.
    pub fn is_set(attribute: &str) -> Result<Self, PredicateError> {
        check_name(attribute)?;
        Ok(Self(vec![Step::IsSet(attribute.to_owned())]))
    }

    /// Both are true.
    pub fn and(self, other: Self) -> Result<Self, PredicateError> {
        self.joined(other, Step::And)
    }

    /// One of them is true, or both.
    pub fn or(self, other: Self) -> Result<Self, PredicateError> {
        self.joined(other, Step::Or)
    }

    /// It is false.
    pub fn negated(mut self) -> Result<Self, PredicateError> {
        self.0.push(Step::Not);
        self.0.try_into()
    }

    /// Whether it is true of these.
    pub fn matches(&self, attributes: &Attributes) -> bool {
        self.holds(|name| attributes.get(name))
    }

    /// Whether it is true where names have these values.
    pub fn holds<'a>(&self, value: impl Fn(&str) -> Option<&'a Scalar>) -> bool {
        let truth = self.computed(|step| match step {
            Step::Compare(name, relation, with) => relation.holds(value(name)?.order(with)?),
            Step::IsSet(name) => Some(value(name).is_some()),
            _ => None,
        });
        truth == Some(true)
    }

    /// What is left of it to ask where a name has this value: it is true of the same as before. A
    /// comparison with a value of another kind stays as it is.
    pub fn given(self, name: &str, value: &Scalar) -> Result<Self, PredicateError> {
        let mut steps = Vec::with_capacity(self.0.len());
        for step in self.0 {
            let truth = match &step {
                Step::Compare(of, relation, with) if of == name => {
                    value.order(with).and_then(|order| relation.holds(order))
                }
                Step::IsSet(of) if of == name => Some(true),
                _ => None,
            };
            match truth {
                Some(true) => steps.push(Step::True),
                Some(false) => steps.extend([Step::True, Step::Not]),
                None => steps.push(step),
            }
        }
        steps.try_into()
    }

    /// Whether it may be true of attributes of which only this is known: whether the name has the
    /// value. Never false where it is true.
    pub fn may_match(&self, has: impl Fn(&str, &Scalar) -> bool) -> bool {
        // What is not known for certain not to be true is unknown.
        let truth = self.computed(|step| match step {
            Step::Compare(name, Relation::Equal, value) if !has(name, value) => Some(false),
            _ => None,
        });
        truth != Some(false)
    }

    /// The names of the attributes that it looks at, each as often as it does.
    pub fn attributes(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|step| match step {
            Step::Compare(name, ..) | Step::IsSet(name) => Some(name.as_str()),
            Step::True | Step::Not | Step::And | Step::Or => None,
        })
    }

    /// What names and values take together, in bytes.
    pub fn size(&self) -> usize {
        self.0.iter().map(Step::size).sum()
    }

    fn joined(mut self, other: Self, by: Step) -> Result<Self, PredicateError> {
        self.0.extend(other.0);
        self.0.push(by);
        self.0.try_into()
    }

    /// The truth of the whole, by that of its comparisons.
    fn computed(&self, of: impl Fn(&Step) -> Option<bool>) -> Option<bool> {
        let mut stack: Vec<Option<bool>> = Vec::new();
        for step in &self.0 {
            let mut pop = || stack.pop().expect("a step finds what it takes off");
            let truth = match step {
                Step::True => Some(true),
                Step::Compare(..) | Step::IsSet(_) => of(step),
                Step::Not => pop().map(|truth| !truth),
                Step::And => match (pop(), pop()) {
                    (Some(false), _) | (_, Some(false)) => Some(false),
                    (Some(true), Some(true)) => Some(true),
                    _ => None,
                },
                Step::Or => match (pop(), pop()) {
                    (Some(true), _) | (_, Some(true)) => Some(true),
                    (Some(false), Some(false)) => Some(false),
                    _ => None,
                },
            };
            stack.push(truth);
        }
        stack.pop().expect("one truth is left")
    }
}

impl TryFrom<Vec<Step>> for Predicate {
    type Error = PredicateError;

    fn try_from(steps: Vec<Step>) -> Result<Self, PredicateError> {
        if steps.len() > Self::STEPS_MAX {
            return Err(PredicateError::TooManySteps(steps.len()));
        }
        let mut depth = 0_usize;
        let mut checked = Vec::with_capacity(steps.len());
        for step in steps {
            depth = depth.checked_sub(step.takes()).ok_or(PredicateError::Malformed)? + 1;
            checked.push(step.checked()?);
        }
        let all = Self(checked);
        if depth != 1 {
            return Err(PredicateError::Malformed);
        }
        if all.size() > Self::BYTES_MAX {
            return Err(PredicateError::TooLong(all.size()));
        }
        Ok(all)
    }
}

impl From<Predicate> for Vec<Step> {
    fn from(predicate: Predicate) -> Self {
        predicate.0
    }
}

impl Step {
    /// How many truths it takes off the stack.
    const fn takes(&self) -> usize {
        match self {
            Self::True | Self::Compare(..) | Self::IsSet(_) => 0,
            Self::Not => 1,
            Self::And | Self::Or => 2,
        }
    }

    fn checked(self) -> Result<Self, AttributeError> {
        Ok(match self {
            Self::Compare(name, relation, value) => {
                check_name(&name)?;
                Self::Compare(name, relation, value.checked()?)
            }
            Self::IsSet(name) => {
                check_name(&name)?;
                Self::IsSet(name)
            }
            Self::True | Self::Not | Self::And | Self::Or => self,
        })
    }

    fn size(&self) -> usize {
        match self {
            Self::Compare(name, _, value) => name.len() + value.size(),
            Self::IsSet(name) => name.len(),
            Self::True | Self::Not | Self::And | Self::Or => 0,
        }
    }
}

impl Relation {
    /// Whether it holds of an attribute that compares so with the value.
    const fn holds(self, order: Ordering) -> Option<bool> {
        Some(match self {
            Self::Equal => order.is_eq(),
            Self::NotEqual => order.is_ne(),
            Self::Less => order.is_lt(),
            Self::LessOrEqual => order.is_le(),
            Self::Greater => order.is_gt(),
            Self::GreaterOrEqual => order.is_ge(),
        })
    }
}

/// Why something is no predicate.
#[derive(Clone, PartialEq, Debug, Error)]
pub enum PredicateError {
    /// A name or a value in it can be no attribute's.
    #[error(transparent)]
    Attribute(#[from] AttributeError),
    /// It has too many steps.
    #[error(
        "the predicate has {0} comparisons and what joins them, and may have {max}: ask in \
         two steps",
        max = Predicate::STEPS_MAX
    )]
    TooManySteps(usize),
    /// It is too long.
    #[error(
        "names and values of the predicate take {0} bytes, and may take {max}: shorten it",
        max = Predicate::BYTES_MAX
    )]
    TooLong(usize),
    /// Its steps do not fit together, as it came from the network.
    #[error("the steps of the predicate do not fit together")]
    Malformed,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample() -> Attributes {
        let attributes = Attributes::default().with("role", "db").unwrap();
        attributes.with("load", 0.5).unwrap()
    }

    fn compare(name: &str, relation: Relation, value: impl Into<Scalar>) -> Predicate {
        Predicate::compare(name, relation, value).unwrap()
    }

    #[test]
    fn what_is_not_there_neither_matches_nor_is_it_negated() {
        let of = sample();
        assert!(Predicate::all().matches(&of));
        assert!(compare("load", Relation::LessOrEqual, 0.5).matches(&of));
        assert!(!compare("load", Relation::Less, 0.5).matches(&of));
        assert!(compare("role", Relation::NotEqual, "web").matches(&of));
        for unknown in [
            compare("zone", Relation::Equal, "ams"),
            compare("zone", Relation::NotEqual, "ams"),
            compare("role", Relation::NotEqual, 7.0),
        ] {
            assert!(!unknown.matches(&of));
            assert!(!unknown.clone().negated().unwrap().matches(&of));
            assert!(unknown.clone().or(Predicate::all()).unwrap().matches(&of));
            assert!(!unknown.and(Predicate::all()).unwrap().matches(&of));
        }
        assert!(Predicate::is_set("load").unwrap().matches(&of));
        assert!(Predicate::is_set("zone").unwrap().negated().unwrap().matches(&of));
    }

    #[test]
    fn bounds() {
        let one = || Predicate::equal("role", "db").unwrap();
        let mut long = one();
        (0..31).for_each(|_| long = long.clone().or(one()).unwrap());
        assert_eq!(long.clone().negated().map(|all| all.0.len()), Ok(64));
        assert_eq!(long.or(one()), Err(PredicateError::TooManySteps(65)));
        let text = "x".repeat(Attributes::TEXT_LEN_MAX);
        let wide = || Predicate::equal("role", text.as_str()).unwrap();
        let three = wide().or(wide()).and_then(|two| two.or(wide())).unwrap();
        assert_eq!(three.or(wide()), Err(PredicateError::TooLong(4 * (4 + 128))));
        assert!(matches!(Predicate::equal("Role", 1.0), Err(PredicateError::Attribute(_))));
    }

    /// Predicates go over the wire in postcard's form.
    #[test]
    fn golden_bytes_and_malformed_ones() {
        let both = Predicate::equal("role", "db").unwrap();
        let both = both.and(compare("load", Relation::Less, 1.0)).unwrap().negated().unwrap();
        let bytes = postcard::to_allocvec(&both).unwrap();
        let golden = b"\x04\x01\x04role\x00\x00\x02db\x01\x04load\x02\x01\0\0\0\0\0\0\xf0?\x04\x03";
        assert_eq!(bytes, golden);
        assert_eq!(postcard::from_bytes(&bytes), Ok(both));
        for steps in [&[][..], &[3], &[0, 0], &[0, 4]] {
            let bytes = [&[steps.len() as u8], steps].concat();
            assert!(postcard::from_bytes::<Predicate>(&bytes).is_err(), "{steps:?}");
        }
    }

    fn predicates() -> impl Strategy<Value = Predicate> {
        let relations = prop::sample::select(vec![
            Relation::Equal,
            Relation::NotEqual,
            Relation::Less,
            Relation::GreaterOrEqual,
        ]);
        let names = prop::sample::select(vec!["role", "load", "zone"]);
        let values = prop::sample::select(vec![
            Scalar::from("db"),
            Scalar::from("web"),
            Scalar::from(0.5),
            Scalar::from(0.0),
        ]);
        let leaf = (names, relations, values)
            .prop_map(|(name, relation, value)| compare(name, relation, value));
        leaf.prop_recursive(4, 16, 2, |inner| {
            prop_oneof![
                (inner.clone(), inner.clone()).prop_map(|(one, two)| one.and(two).unwrap()),
                (inner.clone(), inner.clone()).prop_map(|(one, two)| one.or(two).unwrap()),
                inner.prop_map(|one| one.negated().unwrap()),
            ]
        })
    }

    #[test]
    fn what_is_given_is_asked_no_more() {
        let (ams, db) = (Scalar::from("ams"), Attributes::default().with("role", "db").unwrap());
        let zone = |relation| Predicate::compare("zone", relation, "ams").unwrap();
        let is_db = || Predicate::equal("role", "db").unwrap();
        for (asked, holds) in [
            (zone(Relation::Equal).and(is_db()).unwrap(), true),
            (zone(Relation::Less).or(is_db()).unwrap(), true),
            (zone(Relation::NotEqual).and(is_db()).unwrap(), false),
            (zone(Relation::Equal).negated().unwrap(), false),
            (Predicate::is_set("zone").unwrap(), true),
            (Predicate::equal("zone", 7.0).unwrap(), false),
            (Predicate::equal("zone", 7.0).unwrap().negated().unwrap(), false),
        ] {
            let both = |name: &str| if name == "zone" { Some(&ams) } else { db.get(name) };
            assert_eq!(asked.holds(both), holds, "{asked:?}");
            let given = asked.clone().given("zone", &ams).unwrap();
            assert_eq!(given.matches(&db), holds, "{asked:?}");
        }
        let many = |count: usize| {
            (1..count).fold(zone(Relation::Less), |all, _| all.or(zone(Relation::Less)).unwrap())
        };
        let over = many(Predicate::STEPS_MAX / 2).given("zone", &ams);
        assert!(matches!(over, Err(PredicateError::TooManySteps(_))), "{over:?}");
    }

    proptest! {
        #[test]
        fn what_matches_may_match(predicate in predicates()) {
            let of = sample();
            if predicate.matches(&of) {
                prop_assert!(predicate.may_match(|name, value| of.get(name) == Some(value)));
            }
        }

        #[test]
        fn it_reads_back_what_it_writes(predicate in predicates()) {
            let bytes = postcard::to_allocvec(&predicate).unwrap();
            prop_assert_eq!(postcard::from_bytes(&bytes), Ok(predicate));
        }

        #[test]
        fn garbage_is_no_reason_to_panic(bytes: Vec<u8>) {
            drop(postcard::from_bytes::<Predicate>(&bytes));
            drop(postcard::from_bytes::<Attributes>(&bytes));
        }
    }
}
