//! Rules for Rust sources: what a core may not call, what nobody leaves behind, how a file looks.

use std::collections::BTreeSet;
use std::path::Path;

use super::rust::{Part, code, imports, mentions, parts, tests_begin};
use super::{Finding, NONE, lines};

/// All findings in one source.
pub(super) fn check(path: &str, text: &str) -> Vec<Finding> {
    let mut findings = check_calls(path, text);
    findings.extend(check_leftovers(path, text));
    findings.extend(check_columns(path, text));
    findings.extend(check_opening(path, text));
    findings.extend(check_name(path));
    findings
}

/// A core has no clock, no chance, no order and no I/O but what it is given.
fn check_calls(path: &str, text: &str) -> Vec<Finding> {
    if !CORES.iter().any(|core| path.starts_with(core)) {
        return Vec::new();
    }
    let code = code(text);
    let lines = code.iter().enumerate().map(|(index, line)| (index + 1, line.clone()));
    let mut found = BTreeSet::new();
    for (line, text) in lines.chain(imports(&code)) {
        let banned = BANNED_IN_CORES.iter().filter(|(word, _)| mentions(&text, word));
        found.extend(banned.map(|(word, instead)| (line, word, instead)));
    }
    let finding = |(line, word, instead)| {
        Finding::new(path, line, format!("a core may not use `{word}`: {instead}"))
    };
    found.into_iter().map(finding).collect()
}

/// Nothing is left for later, and no test waits for real time to pass.
fn check_leftovers(path: &str, text: &str) -> Vec<Finding> {
    let code = code(text);
    let tests = match Path::new(path) {
        path if path.iter().any(|name| name == "tests" || name == "tests.rs") => 0,
        _ => tests_begin(&code).unwrap_or(usize::MAX),
    };
    let mut findings = Vec::new();
    for (index, (whole, code)) in text.lines().zip(&code).enumerate() {
        let mut add = |says: String| findings.push(Finding::new(path, index + 1, says));
        for call in ["todo!(", "unimplemented!("].into_iter().filter(|call| mentions(code, call)) {
            add(format!("`{call}` is unfinished: finish it, or return an error that says so"));
        }
        // In two halves, so that this file does not break the rule.
        for mark in [concat!("FIX", "ME"), concat!("XX", "X")] {
            if mentions(whole, mark) {
                add(format!("`{mark}` is for later: do it now, or open an issue"));
            }
        }
        if index >= tests && mentions(code, "sleep(") {
            add("no `sleep` in tests: wait for an event, or run in the simulator's time".into());
        }
    }
    findings
}

/// A line fits its columns, but for its strings and links, which cannot always be broken.
fn check_columns(path: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let parts = parts(text);
    for (index, line) in parts.split(|(char, _)| *char == '\n').enumerate() {
        let whole: String = line.iter().map(|(char, _)| char).collect();
        let columns = line.iter().filter(|(_, part)| *part != Part::Literal).count();
        if columns > COLUMNS_MAX && !whole.contains("://") {
            let says = format!("{columns} columns: break the line at {COLUMNS_MAX}");
            findings.push(Finding::new(path, index + 1, says));
        }
    }
    findings
}

/// A file begins by saying what it is for.
fn check_opening(path: &str, text: &str) -> Option<Finding> {
    let says = "a file opens with a `//!` comment: say what it is for, and what always holds";
    (!text.starts_with("//! ")).then(|| Finding::new(path, 1, says))
}

/// A file is named for the one thing it is about.
fn check_name(path: &str) -> Option<Finding> {
    let words = path.trim_end_matches(".rs").split(['/', '_', '-']);
    let vague = words.into_iter().find(|word| VAGUE.contains(word))?;
    let says = format!("`{vague}` names no concept: name the file for the one that it holds");
    Some(Finding::new(path, 1, says))
}

const CORES: [&str; 3] = ["live-objects/src/", "gossip/src/", "groupcomm/src/"];

const BANNED_IN_CORES: [(&str, &str); 10] = [
    ("Instant::now", "take `now: Time` as an argument"),
    ("SystemTime::now", "take `now: Time`, or `Start::unix_ms` for numbers that grow"),
    ("HashMap", "its order is random: use a BTreeMap"),
    ("HashSet", "its order is random: use a BTreeSet"),
    ("thread_rng", "draw from `io.rng()`"),
    ("rand::rng", "draw from `io.rng()`"),
    ("tokio::", "a core neither waits nor spawns: answer through `Io`"),
    ("std::net::UdpSocket", "send through `Io`; sockets belong to drivers"),
    ("std::fs", "files belong to drivers and commands"),
    ("std::thread", "a core has one owner and no thread"),
];

const VAGUE: [&str; 7] = ["util", "utils", "common", "helper", "helpers", "manager", "misc"];

const COLUMNS_MAX: usize = 100;

#[test]
fn a_core_that_reads_a_clock_is_found() {
    let source = "\
//! Instant::now() in a comment is no call.
use std::collections::{BTreeMap, HashMap};
use std::{
    net::{IpAddr, UdpSocket},
    fs,
};
let now = std::time::Instant::now();
let text = \"SystemTime::now()\";
";
    assert_eq!(lines(check_calls("gossip/src/agent.rs", source)), [2, 3, 3, 7]);
    assert_eq!(lines(check_calls("live-objects/net/src/clock.rs", source)), NONE, "a driver may");
}

#[test]
fn every_banned_word_is_found() {
    for (word, _) in BANNED_IN_CORES {
        let source = format!("//! Bad.\nlet bad = {word}();\n");
        assert_eq!(lines(check_calls("groupcomm/src/group.rs", &source)), [2], "{word}");
    }
}

#[test]
fn what_was_left_for_later_is_found() {
    let source = format!("{}: later\ntodo!()\nunimplemented!(\"x\")\n", concat!("// FIX", "ME"));
    assert_eq!(lines(check_leftovers("a.rs", &source)), [1, 2, 3]);
}

#[test]
fn a_test_that_sleeps_is_found() {
    let source =
        "fn a() { sleep(b) }\n#[cfg(test)]\nmod tests {\n    fn c() { thread::sleep(d) }\n}\n";
    assert_eq!(lines(check_leftovers("src/a.rs", source)), [4]);
    assert_eq!(lines(check_leftovers("src/a/tests.rs", source)), [1, 4]);
}

#[test]
fn a_long_line_is_found_unless_it_cannot_be_broken() {
    let (long, text) = ("x".repeat(COLUMNS_MAX + 1), "é".repeat(COLUMNS_MAX));
    let source = format!("{long}\n{text}\nlet s = \"{long}\";\n// https://{long}\n// {long}");
    assert_eq!(lines(check_columns("a.rs", &source)), [1, 5]);
}

#[test]
fn a_file_that_does_not_say_what_it_is_for_is_found() {
    assert_eq!(lines(check_opening("a.rs", "use b;\n//! Late.")), [1]);
    assert_eq!(lines(check_opening("a.rs", "//! In time.\n")), NONE);
}

#[test]
fn a_vague_name_is_found() {
    for path in ["src/util.rs", "src/view_manager.rs", "src/common/a.rs", "tests/helpers.rs"] {
        assert_eq!(lines(check_name(path)), [1], "{path}");
    }
    assert_eq!(lines(check_name("src/utility.rs")), NONE);
}
