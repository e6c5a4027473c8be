//! Patterns: names in which a star stands for any one segment.
//!
//! Invariant: with a segment for each star it is a name.

use core::fmt;
use core::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::name::{Name, NameError};

/// A name in which segments may be `*`: `/dc/*` is `/dc/ams` and `/dc/fra`, and not `/dc/ams/1`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pattern(String);

impl Pattern {
    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What the stars stand for in a name that fits, with slashes between; the whole name if there
    /// is no star. None if the name does not fit.
    ///
    /// ```
    /// use live_objects::{Name, Pattern};
    ///
    /// let pattern: Pattern = "/dc/*/rack/*".parse()?;
    /// let zone = |name: &str| pattern.zone(&name.parse::<Name>().unwrap());
    /// assert_eq!(zone("/dc/ams/rack/7"), Some("ams/7".to_owned()));
    /// assert_eq!(zone("/dc/ams"), None);
    /// # Ok::<(), live_objects::PatternError>(())
    /// ```
    pub fn zone(&self, name: &Name) -> Option<String> {
        let (mut pattern, mut segments) = (self.0[1..].split('/'), name.segments());
        let mut stars = Vec::new();
        loop {
            match (pattern.next(), segments.next()) {
                (None, None) => break,
                (Some(STAR), Some(segment)) => stars.push(segment),
                (Some(one), Some(other)) if one == other => {}
                _ => return None,
            }
        }
        let is_name = stars.is_empty();
        Some(if is_name { name.as_str().to_owned() } else { stars.join("/") })
    }
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let filled: Vec<&str> =
            text.split('/').map(|segment| if segment == STAR { "x" } else { segment }).collect();
        match filled.join("/").parse::<Name>() {
            Ok(_) => Ok(Self(text.to_owned())),
            Err(NameError::BadSegment(segment)) if segment.contains(STAR) => {
                Err(PatternError::Star(segment))
            }
            // As it was written.
            Err(NameError::Relative(_)) => {
                Err(NameError::Relative(text.chars().take(64).collect()).into())
            }
            Err(error) => Err(error.into()),
        }
    }
}

impl TryFrom<String> for Pattern {
    type Error = PatternError;

    fn try_from(text: String) -> Result<Self, PatternError> {
        text.parse()
    }
}

impl From<Pattern> for String {
    fn from(pattern: Pattern) -> Self {
        pattern.0
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a text is no pattern.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum PatternError {
    /// A star stands beside something else.
    #[error("in {0:?} a star is a part of a segment: it stands for a whole one, as in /dc/*")]
    Star(String),
    /// Without its stars it is no name.
    #[error(transparent)]
    Name(#[from] NameError),
}

const STAR: &str = "*";

#[cfg(test)]
mod tests {
    use super::*;

    fn zone(pattern: &str, name: &str) -> Option<String> {
        pattern.parse::<Pattern>().unwrap().zone(&name.parse().unwrap())
    }

    #[test]
    fn a_star_stands_for_one_segment() {
        assert_eq!(zone("/dc/*", "/dc/ams").as_deref(), Some("ams"));
        assert_eq!(zone("/*/*", "/dc/ams").as_deref(), Some("dc/ams"));
        assert_eq!(zone("/dc/ams", "/dc/ams").as_deref(), Some("/dc/ams"));
        for name in ["/dc", "/dc/ams/1", "/db/ams"] {
            assert_eq!(zone("/dc/*", name), None, "{name}");
        }
    }

    #[test]
    fn what_is_no_pattern_is_told_why() {
        let error = |text: &str| text.parse::<Pattern>().unwrap_err();
        assert_eq!(error("/dc/a*"), PatternError::Star("a*".to_owned()));
        assert_eq!(error("/dc/**"), PatternError::Star("**".to_owned()));
        assert_eq!(error("dc/*"), NameError::Relative("dc/*".to_owned()).into());
        assert_eq!(error("/dc/"), NameError::EmptySegment.into());
        let long = format!("/{}/*", "a".repeat(Name::LEN_MAX - 2));
        assert_eq!(error(&long), NameError::TooLong(Name::LEN_MAX + 1).into());
    }
}
