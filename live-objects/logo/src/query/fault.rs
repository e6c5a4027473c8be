//! What is wrong with a query, and where: the line that it is in, with marks under the word.
//!
//! Invariant: what is shown is short, however long the query is.

use core::fmt;

use sqlparser::tokenizer::Span;
use thiserror::Error;

/// Why a text is no query that can be answered, and what would be right. Nothing was asked.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub struct SqlError {
    /// What is wrong, and what would be right.
    pub what: String,
    /// In which line, counted from 1.
    pub line: usize,
    /// From which character of it, counted from 1.
    pub column: usize,
    /// How many characters are meant.
    pub len: usize,
    /// What of the line is shown, and after how many characters of that the word begins.
    excerpt: String,
    before: usize,
}

impl SqlError {
    /// Of what stands at a span of the text. One without a place is of all of it.
    pub(super) fn at(sql: &str, span: Span, what: impl Into<String>) -> Self {
        let place = |of: u64| usize::try_from(of).unwrap_or(usize::MAX);
        let line = place(span.start.line).max(1);
        let column = place(span.start.column).max(1);
        let is_of_line = span.end.line == span.start.line;
        let end = if is_of_line { place(span.end.column) } else { usize::MAX };
        Self::of(sql, line, column, end.saturating_sub(column), what)
    }

    /// Of what ends too early.
    pub(super) fn at_end(sql: &str, what: impl Into<String>) -> Self {
        let text = sql.trim_end();
        let line = text.lines().count().max(1);
        let column = text.lines().next_back().map_or(0, |last| last.chars().count()) + 1;
        Self::of(text, line, column, 1, what)
    }

    /// Of the word that begins at a place.
    pub(super) fn at_word(sql: &str, line: usize, column: usize, what: impl Into<String>) -> Self {
        let text = sql.lines().nth(line.saturating_sub(1)).unwrap_or_default();
        let is_part = |char: &char| char.is_alphanumeric() || *char == '_';
        let len = text.chars().skip(column.saturating_sub(1)).take_while(is_part).count();
        Self::of(sql, line, column, len, what)
    }

    fn of(sql: &str, line: usize, column: usize, len: usize, what: impl Into<String>) -> Self {
        let text = sql.lines().nth(line - 1).unwrap_or_default();
        let chars: Vec<char> =
            text.chars().map(|of| if of.is_control() { ' ' } else { of }).collect();
        let at = (column - 1).min(chars.len());
        let len = len.clamp(1, (chars.len() - at).max(1));
        // The word, with a good part of what stands before it.
        let from = if chars.len() <= SHOWN_MAX { 0 } else { at.saturating_sub(SHOWN_MAX / 2) };
        let until = chars.len().min(from + SHOWN_MAX);
        let shown: String = chars[from..until].iter().collect();
        let [begin, end] = [from > 0, until < chars.len()].map(|is| if is { "…" } else { "" });
        Self {
            what: what.into(),
            line,
            column,
            len,
            excerpt: format!("{begin}{shown}{end}"),
            before: at - from + begin.chars().count(),
        }
    }
}

impl fmt::Display for SqlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, excerpt, before, len, .. } = self;
        let len = (*len).min(excerpt.chars().count().saturating_sub(*before)).max(1);
        write!(f, "{what}\n  {excerpt}\n  {:before$}{}", "", "^".repeat(len))
    }
}

/// Of these names the one that was probably meant.
pub(super) fn nearest<'a>(
    meant: &str,
    names: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let meant: Vec<char> = meant.to_lowercase().chars().take(WORD_MAX).collect();
    // Of short words nearly all are near.
    let apart_max = if meant.len() <= 3 { 1 } else { 2 };
    let apart = |name: &str| apart(&meant, &name.to_lowercase().chars().collect::<Vec<_>>());
    let near = names.into_iter().map(|name| (apart(name), name));
    near.filter(|(apart, _)| *apart <= apart_max).min_by_key(|(apart, _)| *apart).map(|it| it.1)
}

/// How many characters have to be put in, left out, replaced, or exchanged with the next: the
/// optimal string alignment distance.
fn apart(one: &[char], other: &[char]) -> usize {
    let mut rows = vec![vec![0; other.len() + 1]; one.len() + 1];
    for at in 0..=one.len() {
        for of in 0..=other.len() {
            rows[at][of] = if at == 0 || of == 0 {
                at + of
            } else {
                let differs = usize::from(one[at - 1] != other[of - 1]);
                let mut least = (rows[at - 1][of - 1] + differs)
                    .min(rows[at - 1][of] + 1)
                    .min(rows[at][of - 1] + 1);
                let is_exchange = at > 1
                    && of > 1
                    && one[at - 1] == other[of - 2]
                    && one[at - 2] == other[of - 1];
                if is_exchange {
                    least = least.min(rows[at - 2][of - 2] + 1);
                }
                least
            };
        }
    }
    rows[one.len()][other.len()]
}

/// How much of a line is shown.
const SHOWN_MAX: usize = 100;

/// Longer words are not compared to their end.
const WORD_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_found() {
        let of = |meant: &str| nearest(meant, ["avg", "median", "p99", "count"]);
        assert_eq!(of("medain"), Some("median"));
        assert_eq!(of("MEDIA"), Some("median"));
        assert_eq!(of("p98"), Some("p99"));
        assert_eq!(of("coutn"), Some("count"));
        assert_eq!(of("load"), None);
        assert_eq!(of(&"x".repeat(9_999)), None);
    }

    #[test]
    fn of_a_long_line_a_part_is_shown() {
        let sql = format!("{}wrong {}", "a ".repeat(500), "b ".repeat(500));
        let error = SqlError::at_word(&sql, 1, 1_001, "no");
        let shown = error.to_string();
        let lines: Vec<&str> = shown.lines().collect();
        assert!(shown.len() < 260, "{shown}");
        let at = lines[2].find('^').unwrap();
        let word: String = lines[1].chars().skip(at).take(5).collect();
        assert_eq!((word.as_str(), lines[2].trim()), ("wrong", "^^^^^"));
    }

    #[test]
    fn places_beyond_the_text_are_its_end() {
        let error = SqlError::of("SELECT", 7, 9_999, 5, "no");
        assert_eq!(error.to_string(), "no\n  \n  ^");
        assert_eq!(SqlError::at_end("", "nothing").to_string(), "nothing\n  \n  ^");
        assert_eq!(SqlError::at_end("a\nbc \n", "end").to_string(), "end\n  bc\n    ^");
    }
}
