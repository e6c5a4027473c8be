//! What the parser could not read: where that is, and what was probably meant.
//!
//! The parser takes a keyword that is misspelt for a name, and stumbles over what comes after it;
//! so the words on both sides of where it stopped are compared with all keywords.

use sqlparser::parser::ParserError;

use super::fault::{SqlError, nearest};

/// What the parser could not read.
pub(super) fn misread(sql: &str, error: ParserError) -> SqlError {
    if let Some((line, column)) = path_without_quotes(sql) {
        let what = "a path stands in quotes, as in FROM '/dc/*'";
        return SqlError::at_word(sql, line, column, what);
    }
    let said = match error {
        ParserError::RecursionLimitExceeded => {
            return SqlError::at_word(sql, 1, 1, "the query is nested too deep: make it flat");
        }
        ParserError::TokenizerError(said) | ParserError::ParserError(said) => said,
    };
    let Some((said, place)) = said.rsplit_once(" at Line: ") else {
        let said = said.replace("Expected: ", "expected ");
        return SqlError::at_end(sql, said.replace(", found: EOF", ", and the query ends here"));
    };
    let mut numbers = place.split(", Column: ").map(|number| number.trim().parse().unwrap_or(1));
    let (line, column) = (numbers.next().unwrap_or(1), numbers.next().unwrap_or(1));
    // A keyword that is misspelt is taken for a name, and what follows is not understood.
    let text = sql.lines().nth(line - 1).unwrap_or_default();
    let before: String = text.chars().take(column - 1).collect();
    let word_at = |at: usize| -> String {
        text.chars().skip(at).take_while(|of| of.is_alphanumeric() || *of == '_').collect()
    };
    let last = before.trim_end().chars().count();
    let is_part = |of: &char| of.is_alphanumeric() || *of == '_';
    let len = before.trim_end().chars().rev().take_while(is_part).count();
    for at in [column - 1, last - len] {
        let word = word_at(at);
        let is_keyword = KEYWORDS.iter().any(|keyword| keyword.eq_ignore_ascii_case(&word));
        if let Some(meant) = nearest(&word, KEYWORDS).filter(|_| !word.is_empty() && !is_keyword) {
            let what = format!("`{word}` is not known here: did you mean {meant}?");
            return SqlError::at_word(sql, line, at + 1, what);
        }
    }
    let said = match said {
        "Unterminated string literal" => {
            "a text begins here and does not end: close it with a single quote".to_owned()
        }
        said => said.replace("Expected: ", "expected ").replace(", found: ", ", found "),
    };
    SqlError::at_word(sql, line, column, said)
}

/// Where a path stands that was not quoted: its slash and its star begin a comment.
fn path_without_quotes(sql: &str) -> Option<(usize, usize)> {
    sql.lines().enumerate().find_map(|(line, text)| {
        let lower = text.to_ascii_lowercase();
        let at = lower.find("from ")?;
        let rest = &lower[at + "from ".len()..];
        let path = rest.len() - rest.trim_start().len();
        rest.trim_start().starts_with('/').then(|| {
            let before = &text[..at + "from ".len() + path];
            (line + 1, before.chars().count() + 1)
        })
    })
}

/// The words of SQL that may be meant where something is misspelt.
pub(super) const KEYWORDS: [&str; 15] = [
    "SELECT", "FROM", "WHERE", "GROUP", "ORDER", "BY", "LIMIT", "AND", "OR", "NOT", "BETWEEN",
    "DESC", "AS", "NULL", "HAVING",
];
