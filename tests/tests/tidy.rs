//! What must never be is a test: the rules of the repository that no compiler checks.
//!
//! Each rule is a function from a path and its text, or from the crates and their dependencies, to
//! *findings*; it is tried on a bad sample beside it, and on the repository here. A finding says
//! where, which rule, and what to do instead. (The idea is TigerBeetle's `tidy.zig`.)

mod crates;
mod reach;
mod repository;
mod rust;
mod source;
mod words;

use core::fmt;

use self::crates::Workspace;
use self::repository::Repository;

/// A rule that was broken, and where.
#[derive(PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Finding {
    path: String,
    /// Counted from 1.
    line: usize,
    says: String,
}

impl Finding {
    fn new(path: &str, line: usize, says: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, says: says.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.says)
    }
}

fn expect_none(findings: impl IntoIterator<Item = Finding>) {
    let lines: Vec<String> = findings.into_iter().map(|finding| finding.to_string()).collect();
    assert!(lines.is_empty(), "{} findings\n{}\n", lines.len(), lines.join("\n"));
}

/// The lines of findings, for samples.
fn lines(findings: impl IntoIterator<Item = Finding>) -> Vec<usize> {
    findings.into_iter().map(|finding| finding.line).collect()
}

const NONE: [usize; 0] = [];

#[test]
fn crates_import_only_what_they_may() {
    expect_none(crates::check_imports(&Workspace::load().crates));
}

#[test]
fn cores_have_no_io_among_their_dependencies() {
    expect_none(crates::check_cores(&Workspace::load()));
}

#[test]
fn manifests_inherit_from_the_workspace() {
    let workspace = Workspace::load();
    expect_none(workspace.crates.iter().flat_map(|each| crates::check_manifest(&each.manifest)));
}

#[test]
fn sources_keep_the_house_style() {
    let repository = Repository::load();
    expect_none(repository.sources().flat_map(|(path, text)| source::check(path, text)));
}

#[test]
fn every_source_is_compiled() {
    let roots = Workspace::load().roots;
    expect_none(reach::check(&roots, &Repository::load().sources().collect()));
}

#[test]
fn texts_speak_of_the_project_alone() {
    let repository = Repository::load();
    expect_none(repository.texts().flat_map(|(path, text)| words::check_text(path, text)));
}

#[test]
fn documents_are_there_and_their_links_and_maps_lead_somewhere() {
    let repository = Repository::load();
    expect_none(words::check_documents(&repository));
}
