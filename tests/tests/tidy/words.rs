//! Rules for texts: they speak of the project and not of a machine, and their links lead somewhere.

use super::repository::Repository;
use super::rust::mentions;
use super::{Finding, NONE, lines};

/// A clone is the same on every machine, so no text may speak of one's folders.
pub(super) fn check_text(path: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if let Some(folder) = FOLDERS.iter().find(|folder| names_folder(line, folder)) {
            let says = format!("`/{folder}/` is a place on one machine: write paths from the root");
            findings.push(Finding::new(path, index + 1, says));
        }
        if line.contains(OUTSIDE) {
            let says = format!("`{OUTSIDE}` is outside of the repository: say what it says, here");
            findings.push(Finding::new(path, index + 1, says));
        }
    }
    findings
}

/// The documents that a newcomer looks for are there, and their links and maps are right.
pub(super) fn check_documents(repository: &Repository) -> Vec<Finding> {
    let missing = DOCUMENTS.iter().filter(|path| !repository.has(path));
    let mut findings: Vec<Finding> =
        missing.map(|path| Finding::new(path, 1, "missing: every clone has it")).collect();
    for (path, text) in repository.texts().filter(|(path, _)| path.ends_with(".md")) {
        findings.extend(check_links(path, text, repository));
    }
    if let Some(text) = repository.text(ARCHITECTURE) {
        findings.extend(check_map(text, repository));
    }
    findings
}

/// Links from one file of the repository to another.
fn check_links(path: &str, text: &str, repository: &Repository) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (line, prose) in prose(text) {
        for target in targets(&prose) {
            let file = target.split('#').next().unwrap_or_default();
            if file.is_empty() || target.contains(':') {
                continue;
            }
            if !resolve(path, file).is_some_and(|file| repository.has(&file)) {
                let says = format!("the link to `{target}` leads nowhere: mend it");
                findings.push(Finding::new(path, line, says));
            }
        }
    }
    findings
}

/// The paths that the map in ARCHITECTURE.md names: those in backticks, in the section whose
/// heading has the word *map*. They start at the root, or at a crate.
fn check_map(text: &str, repository: &Repository) -> Vec<Finding> {
    let mut findings = Vec::new();
    let (mut depth, mut paths) = (0, 0);
    for (index, line) in text.lines().enumerate() {
        let level = line.chars().take_while(|char| *char == '#').count();
        if level > 0 && (depth == 0 || level <= depth) {
            let is_map = mentions(&line.to_lowercase(), "map");
            depth = if is_map { level } else { 0 };
        }
        if depth == 0 {
            continue;
        }
        for path in line.split('`').skip(1).step_by(2).filter(|span| is_path(span)) {
            paths += 1;
            if !repository.has_ending(path.trim_end_matches('/')) {
                let says = format!("`{path}` of the map is not there: keep the map true");
                findings.push(Finding::new(ARCHITECTURE, index + 1, says));
            }
        }
    }
    if paths == 0 {
        let says = "no map: add a section \"Map\" that names the folders and files in backticks";
        findings.push(Finding::new(ARCHITECTURE, 1, says));
    }
    findings
}

/// Whether a line has an absolute path into this folder: `a/home/b` and `~/home/` are none.
fn names_folder(line: &str, folder: &str) -> bool {
    let path = format!("/{folder}/");
    let is_within = |char: char| char.is_alphanumeric() || "_-.~/}*".contains(char);
    line.match_indices(&path).any(|(start, _)| !line[..start].ends_with(is_within))
}

/// The lines of a document without its code, counted from 1.
fn prose(text: &str) -> Vec<(usize, String)> {
    let mut is_code = false;
    let mut prose = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        if !is_code && !is_fence {
            let spans: Vec<&str> = line.split('`').step_by(2).collect();
            prose.push((index + 1, spans.join("")));
        }
    }
    prose
}

/// Where the links of a line lead: `[text](target)`, and `[text]: target` at its beginning.
fn targets(line: &str) -> Vec<&str> {
    let inline = line.split("](").skip(1);
    let define = line.trim_start().strip_prefix('[').and_then(|rest| rest.split_once("]:"));
    let all = inline.chain(define.map(|(_, target)| target.trim_start()));
    let target = |text: &'_ str| text.find([')', ' ']).unwrap_or(text.len());
    all.map(|text| &text[..target(text)]).collect()
}

/// The path from the root of what a link in the file `from` leads to, if it stays within.
fn resolve(from: &str, link: &str) -> Option<String> {
    let mut segments: Vec<&str> = from.split('/').collect();
    segments.pop();
    for segment in link.trim_end_matches('/').split('/') {
        match segment {
            "." => (),
            ".." => drop(segments.pop()?),
            _ => segments.push(segment),
        }
    }
    Some(segments.join("/"))
}

/// Whether a text looks like the path of a file here: names of objects begin with a slash.
fn is_path(text: &str) -> bool {
    let is_spelt = |char: char| char.is_ascii_alphanumeric() || "_-./".contains(char);
    let is_one = text.contains('/') || text.ends_with(".rs");
    is_one && !text.starts_with('/') && text.chars().all(is_spelt)
}

const ARCHITECTURE: &str = "ARCHITECTURE.md";

const DOCUMENTS: [&str; 5] =
    ["README.md", ARCHITECTURE, "CHANGELOG.md", "LICENSE-MIT", "LICENSE-APACHE"];

/// Where the machines of those who work on this keep their files.
const FOLDERS: [&str; 6] = ["home", "root", "Users", "work", "mnt", "tmp"];

/// In two halves, so that this file does not break the rule.
const OUTSIDE: &str = concat!("../", "shared");

#[test]
fn a_path_of_a_machine_is_found() {
    for folder in FOLDERS {
        let line = format!("see /{folder}/notes.md");
        assert_eq!(lines(check_text("a.md", &line)), [1], "{line}");
        let line = format!("see a/{folder}/notes.md and ~/{folder}/");
        assert_eq!(lines(check_text("a.md", &line)), NONE, "{line}");
    }
    let outside = format!("run {OUTSIDE}/prepare\n");
    assert_eq!(lines(check_text("a.md", &outside)), [1]);
}

#[cfg(test)]
fn sample() -> Repository {
    let mut repository = Repository::default();
    for path in ["README.md", "docs/wire.md", "gossip/src/agent.rs"] {
        repository.add(path, None);
    }
    repository
}

#[test]
fn a_missing_document_is_found() {
    let missing = check_documents(&sample());
    let missing: Vec<_> = missing.iter().map(|finding| finding.path.as_str()).collect();
    assert_eq!(missing, ["ARCHITECTURE.md", "CHANGELOG.md", "LICENSE-MIT", "LICENSE-APACHE"]);
}

#[test]
fn a_link_to_nowhere_is_found() {
    let good = "[a](../README.md#top) [b](https://x.org/y) [c](#d) ![e](wire.md) `[f](g)`\n\
        ```\n[h](i)\n```\n[j]: ../gossip/\n";
    assert_eq!(lines(check_links("docs/wire.md", good, &sample())), NONE);
    let bad = "[a](README.md) [b](../../README.md)\n\n[c]: gone.md\n";
    assert_eq!(lines(check_links("docs/wire.md", bad, &sample())), [1, 1, 3]);
}

#[test]
fn a_map_of_what_is_not_there_is_found() {
    let found = |text| lines(check_map(text, &sample()));
    let good =
        "## A map\n`gossip/`: `src/agent.rs`, `agent.rs`, `/shop/prices`, `Time`\n## B\n`c/d`";
    assert_eq!(found(good), NONE);
    assert_eq!(found("# Map\n## Within\n`gossip/`\n`gossip/src/gone.rs`\n"), [4]);
    assert_eq!(found("# No such section\n`gossip/`"), [1]);
}
