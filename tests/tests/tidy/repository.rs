//! The files of the repository: what git tracks or would track; without git, what the folder holds.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Every file by its path from the root, with slashes.
#[derive(Default)]
pub(super) struct Repository {
    /// Files that are text.
    texts: BTreeMap<String, String>,
    /// All files, and the folders that hold them.
    paths: BTreeSet<String>,
}

impl Repository {
    pub(super) fn load() -> Self {
        let mut repository = Self::default();
        let root = root();
        for path in listed_by_git(&root).unwrap_or_else(|| walked(&root)) {
            // A file may be deleted and git not told yet.
            let Ok(bytes) = fs::read(root.join(&path)) else { continue };
            repository.add(&path, String::from_utf8(bytes).ok());
        }
        assert!(repository.has("Cargo.toml"), "{} is not the repository", root.display());
        repository
    }

    /// Adds a file; what is not text has none.
    pub(super) fn add(&mut self, path: &str, text: Option<String>) {
        let folders = path.match_indices('/').map(|(end, _)| path[..end].to_owned());
        self.paths.extend(folders);
        self.paths.insert(path.to_owned());
        self.texts.extend(text.map(|text| (path.to_owned(), text)));
    }

    /// Whether a file or a folder has this path.
    pub(super) fn has(&self, path: &str) -> bool {
        self.paths.contains(path)
    }

    /// Whether the path of a file or a folder ends with these segments.
    pub(super) fn has_ending(&self, end: &str) -> bool {
        self.paths.iter().any(|path| Path::new(path).ends_with(end))
    }

    pub(super) fn text(&self, path: &str) -> Option<&str> {
        self.texts.get(path).map(String::as_str)
    }

    /// All texts that people wrote.
    pub(super) fn texts(&self) -> impl Iterator<Item = (&str, &str)> {
        let all = self.texts.iter().map(|(path, text)| (path.as_str(), text.as_str()));
        all.filter(|(path, _)| *path != "Cargo.lock")
    }

    pub(super) fn sources(&self) -> impl Iterator<Item = (&str, &str)> {
        self.texts().filter(|(path, _)| path.ends_with(".rs"))
    }
}

/// The folder of the workspace.
pub(super) fn root() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().expect("this crate is a folder of the workspace").to_owned()
}

/// Tracked files, and new ones that are not ignored: what is about to be committed is checked too.
fn listed_by_git(root: &Path) -> Option<Vec<String>> {
    let list = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
    let output = Command::new("git").args(list).current_dir(root).output().ok()?;
    let text = String::from_utf8(output.stdout).ok().filter(|text| !text.is_empty())?;
    output.status.success().then(|| text.split_terminator('\0').map(str::to_owned).collect())
}

fn walked(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(root.join(&folder)).into_iter().flatten().flatten() {
            let path = folder.join(entry.file_name());
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                let segments: Vec<_> = path.iter().map(|name| name.to_string_lossy()).collect();
                found.push(segments.join("/"));
            } else if !matches!(path.to_str(), Some(".git" | "target")) {
                folders.push(path);
            }
        }
    }
    found.sort();
    found
}

#[test]
fn folders_are_paths_too() {
    let mut repository = Repository::default();
    repository.add("gossip/src/agent.rs", None);
    assert!(repository.has("gossip/src") && repository.has("gossip/src/agent.rs"));
    assert!(repository.has_ending("src/agent.rs") && !repository.has_ending("gent.rs"));
    assert!(!repository.has("gossip/s"));
}

#[test]
fn walking_finds_what_git_lists() {
    let walked = walked(&root());
    for path in listed_by_git(&root()).into_iter().flatten() {
        let is_file = root().join(&path).is_file();
        assert!(!is_file || walked.contains(&path), "{path} was not walked to");
    }
}
