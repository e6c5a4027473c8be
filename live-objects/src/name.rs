//! Names of objects: absolute paths such as `/shop/eu/prices`.
//!
//! A name is entered step by step, as a file's is: `/shop` then `eu` then `prices`. On the wire an
//! object goes by its [`ObjectId`], the hash of its name, so that a packet's size does not depend
//! on how people call things.

use core::fmt;
use core::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;

/// The name of an object: one or more segments, each led by a slash. A segment is made of lower-
/// and upper-case ASCII letters, digits, `-`, `_` and `.`, and is neither `.` nor `..`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

impl Name {
    /// The longest name, in bytes.
    pub const LEN_MAX: usize = 255;

    /// The name one step below this one.
    pub fn enter(&self, segment: &str) -> Result<Self, NameError> {
        check_segment(segment)?;
        checked_len(format!("{}/{segment}", self.0))
    }

    /// The name as it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The segments, outermost first.
    pub fn segments(&self) -> impl Iterator<Item = &str> {
        self.0[1..].split('/')
    }

    /// What the object goes by on the wire.
    pub fn id(&self) -> ObjectId {
        let hash: [u8; 32] = Sha256::digest(self.0.as_bytes()).into();
        let mut id = [0; ObjectId::LEN];
        id.copy_from_slice(&hash[..ObjectId::LEN]);
        ObjectId(id)
    }
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let Some(path) = text.strip_prefix('/') else {
            return Err(NameError::Relative(excerpt(text)));
        };
        path.split('/').try_for_each(check_segment)?;
        checked_len(text.to_owned())
    }
}

impl TryFrom<String> for Name {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What an object goes by on the wire: the first 16 bytes of the SHA-256 hash of its name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ObjectId([u8; Self::LEN]);

impl ObjectId {
    /// Its length on the wire, in bytes.
    pub const LEN: usize = 16;

    /// An id as it was read from the wire.
    pub const fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    /// The id as it is written to the wire.
    pub const fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }
}

impl fmt::Debug for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..4].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Why a text is not a name. The caller's fault; nothing was opened.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NameError {
    /// It does not begin at the root.
    #[error("the name {0:?} does not begin with a slash: write an absolute path, /shop/prices")]
    Relative(String),
    /// Two slashes follow each other, or the name ends with one.
    #[error("a name has an empty segment: write each segment between single slashes, /shop/prices")]
    EmptySegment,
    /// A segment holds a character that names may not hold, or is `.` or `..`.
    #[error("the segment {0:?} of a name may hold only letters, digits, '-', '_' and '.'")]
    BadSegment(String),
    /// It is longer than [`Name::LEN_MAX`].
    #[error("the name is {0} bytes long, and may have {max} at most", max = Name::LEN_MAX)]
    TooLong(usize),
}

fn check_segment(segment: &str) -> Result<(), NameError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if segment.is_empty() {
        Err(NameError::EmptySegment)
    } else if matches!(segment, "." | "..") || !segment.chars().all(allowed) {
        Err(NameError::BadSegment(excerpt(segment)))
    } else {
        Ok(())
    }
}

fn checked_len(text: String) -> Result<Name, NameError> {
    if text.len() > Name::LEN_MAX { Err(NameError::TooLong(text.len())) } else { Ok(Name(text)) }
}

/// The beginning of a text that may be of any length, for an error message.
fn excerpt(text: &str) -> String {
    text.chars().take(EXCERPT_CHARS_MAX).collect()
}

const EXCERPT_CHARS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Result<Name, NameError> {
        text.parse()
    }

    #[test]
    fn a_path_is_entered_step_by_step() {
        let shop = name("/shop").unwrap();
        let prices = shop.enter("eu").unwrap().enter("prices.ticker").unwrap();
        assert_eq!(prices, name("/shop/eu/prices.ticker").unwrap());
        assert_eq!(prices.segments().collect::<Vec<_>>(), ["shop", "eu", "prices.ticker"]);
        assert_ne!(prices.id(), shop.id());
    }

    #[test]
    fn bad_names_are_told_why() {
        assert_eq!(name("shop"), Err(NameError::Relative("shop".into())));
        assert_eq!(name(""), Err(NameError::Relative(String::new())));
        assert_eq!(name("/"), Err(NameError::EmptySegment));
        assert_eq!(name("/shop//prices"), Err(NameError::EmptySegment));
        assert_eq!(name("/shop/"), Err(NameError::EmptySegment));
        assert_eq!(name("/shop/../till"), Err(NameError::BadSegment("..".into())));
        assert_eq!(name("/shop/a b"), Err(NameError::BadSegment("a b".into())));
        let long = format!("/{}", "a".repeat(Name::LEN_MAX));
        assert_eq!(name(&long), Err(NameError::TooLong(Name::LEN_MAX + 1)));
        assert_eq!(name(&long[..Name::LEN_MAX]).unwrap().as_str().len(), Name::LEN_MAX);
    }

    #[test]
    fn golden_id() {
        assert_eq!(format!("{:?}", name("/shop/eu/prices").unwrap().id()), "c767e660");
    }
}
