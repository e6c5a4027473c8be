//! Attributes: how a holder of a catalog describes itself, in names with values.
//!
//! They go over the wire as they are, so all of them together fit into one packet. A name is what
//! SQL takes for one without quotes.
//!
//! Invariant: numbers are finite, and a zero is not below zero, so that equal values are written
//! alike.

use core::cmp::Ordering;
use core::fmt;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Values by name, each name once.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<String, Scalar>", into = "BTreeMap<String, Scalar>")]
pub struct Attributes(BTreeMap<String, Scalar>);

/// A text or a number.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum Scalar {
    /// A text.
    Text(String),
    /// A finite number.
    Number(f64),
}

/// A number is never NaN.
impl Eq for Scalar {}

impl Attributes {
    /// How many there are at most.
    pub const COUNT_MAX: usize = 32;
    /// The longest name, in bytes.
    pub const NAME_LEN_MAX: usize = 32;
    /// The longest text, in bytes.
    pub const TEXT_LEN_MAX: usize = 128;
    /// The most that names and values take together, in bytes, a number being of eight.
    pub const BYTES_MAX: usize = 512;

    /// Sets an attribute, in place of what it was.
    pub fn set(&mut self, name: &str, value: impl Into<Scalar>) -> Result<(), AttributeError> {
        check_name(name)?;
        let value = value.into().checked()?;
        let before = self.0.insert(name.to_owned(), value);
        let checked = self.check();
        if checked.is_err() {
            match before {
                Some(before) => self.0.insert(name.to_owned(), before),
                None => self.0.remove(name),
            };
        }
        checked
    }

    /// These and one more.
    ///
    /// ```
    /// use live_objects::Attributes;
    ///
    /// let attributes = Attributes::default().with("role", "db")?.with("load", 0.4)?;
    /// assert_eq!(attributes.get("role"), Some(&"db".into()));
    /// # Ok::<(), live_objects::AttributeError>(())
    /// ```
    pub fn with(mut self, name: &str, value: impl Into<Scalar>) -> Result<Self, AttributeError> {
        self.set(name, value)?;
        Ok(self)
    }

    /// The value of an attribute.
    pub fn get(&self, name: &str) -> Option<&Scalar> {
        self.0.get(name)
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Scalar)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What names and values take together, in bytes.
    pub fn size(&self) -> usize {
        self.0.iter().map(|(name, value)| name.len() + value.size()).sum()
    }

    fn check(&self) -> Result<(), AttributeError> {
        let (count, size) = (self.0.len(), self.size());
        if count > Self::COUNT_MAX {
            return Err(AttributeError::TooMany(count));
        }
        if size > Self::BYTES_MAX {
            return Err(AttributeError::TooLong(size));
        }
        Ok(())
    }
}

impl TryFrom<BTreeMap<String, Scalar>> for Attributes {
    type Error = AttributeError;

    fn try_from(values: BTreeMap<String, Scalar>) -> Result<Self, AttributeError> {
        values.keys().try_for_each(|name| check_name(name))?;
        let checked = values.into_iter().map(|(name, value)| Ok((name, value.checked()?)));
        let all = Self(checked.collect::<Result<_, AttributeError>>()?);
        all.check().map(|()| all)
    }
}

impl From<Attributes> for BTreeMap<String, Scalar> {
    fn from(attributes: Attributes) -> Self {
        attributes.0
    }
}

impl Scalar {
    /// The number, if it is one.
    pub const fn number(&self) -> Option<f64> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Text(_) => None,
        }
    }

    /// The text, if it is one.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Number(_) => None,
        }
    }

    /// Which of two is greater, where they are of one kind: numbers by size, texts by bytes.
    pub fn order(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Number(one), Self::Number(other)) => one.partial_cmp(other),
            (Self::Text(one), Self::Text(other)) => Some(one.cmp(other)),
            (Self::Number(_), Self::Text(_)) | (Self::Text(_), Self::Number(_)) => None,
        }
    }

    /// How it is kept and sent, if it can be.
    pub(crate) fn checked(self) -> Result<Self, AttributeError> {
        match self {
            Self::Number(number) if !number.is_finite() => Err(AttributeError::NotFinite(number)),
            // Of two zeros one.
            Self::Number(number) => Ok(Self::Number(number + 0.0)),
            Self::Text(text) if text.len() > Attributes::TEXT_LEN_MAX => {
                Err(AttributeError::LongText(text.len()))
            }
            Self::Text(text) => Ok(Self::Text(text)),
        }
    }

    pub(crate) fn size(&self) -> usize {
        match self {
            Self::Number(number) => size_of_val(number),
            Self::Text(text) => text.len(),
        }
    }
}

impl From<&str> for Scalar {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Scalar {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<f64> for Scalar {
    fn from(number: f64) -> Self {
        Self::Number(number)
    }
}

/// As SQL writes it.
impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Text(text) => write!(f, "'{}'", text.replace('\'', "''")),
        }
    }
}

pub(crate) fn check_name(name: &str) -> Result<(), AttributeError> {
    let is_part = |byte: u8| byte == b'_' || byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let begins_well = name.bytes().next().is_some_and(|first| first.is_ascii_lowercase());
    if !begins_well || !name.bytes().all(is_part) || name.len() > Attributes::NAME_LEN_MAX {
        // Whoever wrote it finds it by its beginning.
        return Err(AttributeError::Name(name.chars().take(Attributes::NAME_LEN_MAX).collect()));
    }
    Ok(())
}

/// Why something cannot be an attribute. Nothing changed.
#[derive(Clone, PartialEq, Debug, Error)]
pub enum AttributeError {
    /// It is no name.
    #[error(
        "{0:?} is no name of an attribute: use lower-case letters, digits and _, a letter first, \
         {max} characters at most",
        max = Attributes::NAME_LEN_MAX
    )]
    Name(String),
    /// The number is NaN or infinite.
    #[error("{0} cannot be the value of an attribute: set a finite number")]
    NotFinite(f64),
    /// The text is too long.
    #[error(
        "the text is {0} bytes long, and may have {max}: shorten it",
        max = Attributes::TEXT_LEN_MAX
    )]
    LongText(usize),
    /// There are too many.
    #[error("these are {0} attributes, and there may be {max}", max = Attributes::COUNT_MAX)]
    TooMany(usize),
    /// All together are too long.
    #[error(
        "the attributes take {0} bytes together, and may take {max}: shorten them, or keep what \
         is long in a directory",
        max = Attributes::BYTES_MAX
    )]
    TooLong(usize),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_an_attribute_is_refused_and_changes_nothing() {
        let mut held = Attributes::default().with("role", "db").unwrap();
        let before = held.clone();
        let long = "x".repeat(Attributes::TEXT_LEN_MAX + 1);
        for name in ["", "Role", "9lives", "a b", "ro-le", &long] {
            assert!(matches!(held.set(name, 1.0), Err(AttributeError::Name(_))), "{name}");
        }
        for number in [f64::NAN, f64::INFINITY] {
            assert!(matches!(held.set("load", number), Err(AttributeError::NotFinite(_))));
        }
        assert_eq!(held.set("role", long), Err(AttributeError::LongText(129)));
        assert_eq!(held, before);
        let text = "x".repeat(Attributes::TEXT_LEN_MAX);
        (0..3).for_each(|at| held.set(&format!("t{at}"), text.as_str()).unwrap());
        let full = held.clone();
        assert_eq!(held.set("role", text), Err(AttributeError::TooLong(522)));
        assert_eq!(held, full, "what was there is there still");
        let mut many = Attributes::default();
        let set = |many: &mut Attributes, at: usize| many.set(&format!("n{at}"), 0.0);
        (0..Attributes::COUNT_MAX).for_each(|at| set(&mut many, at).unwrap());
        assert_eq!(set(&mut many, 99), Err(AttributeError::TooMany(33)));
    }

    #[test]
    fn what_comes_from_others_is_checked_too() {
        let held = Attributes::default().with("load", -0.0).unwrap().with("role", "db").unwrap();
        let bytes = postcard::to_allocvec(&held).unwrap();
        assert_eq!(bytes, b"\x02\x04load\x01\0\0\0\0\0\0\0\0\x04role\x00\x02db");
        assert_eq!(postcard::from_bytes(&bytes), Ok(held));
        let other = |value: f64| BTreeMap::from([("load", Scalar::Number(value))]);
        let read = |value| {
            postcard::from_bytes::<Attributes>(&postcard::to_allocvec(&other(value)).unwrap())
        };
        assert!(read(1.0).is_ok() && read(f64::NAN).is_err());
    }

    #[test]
    fn only_what_is_of_one_kind_has_an_order() {
        let [db, two]: [Scalar; 2] = ["db".into(), 2.0.into()];
        assert_eq!(db.order(&"web".into()), Some(Ordering::Less));
        assert_eq!(two.order(&1.5.into()), Some(Ordering::Greater));
        assert_eq!((db.order(&two), two.order(&db)), (None, None));
        assert_eq!(Scalar::from("it's").to_string(), "'it''s'");
    }
}
