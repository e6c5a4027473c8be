//! Dead files: sources that no crate compiles, because no `mod` leads to them.

use std::collections::{BTreeMap, BTreeSet};

use super::Finding;
use super::rust::modules;

/// The sources that are reached from none of the targets' roots.
pub(super) fn check(roots: &[String], sources: &BTreeMap<&str, &str>) -> Vec<Finding> {
    let reached = reached(roots, sources);
    let says = "no crate compiles this file: declare it by `mod`, or delete it";
    let dead = sources.keys().filter(|path| !reached.contains(**path));
    dead.map(|path| Finding::new(path, 1, says)).collect()
}

fn reached(roots: &[String], sources: &BTreeMap<&str, &str>) -> BTreeSet<String> {
    let mut reached = BTreeSet::new();
    // Each with the folder in which its modules lie.
    let mut ahead: Vec<(String, String)> =
        roots.iter().map(|root| (root.clone(), folder(root))).collect();
    while let Some((path, modules_in)) = ahead.pop() {
        let Some(text) = sources.get(path.as_str()) else { continue };
        for module in modules(text) {
            let beneath = format!("{modules_in}{module}/");
            ahead.push((format!("{modules_in}{module}.rs"), beneath.clone()));
            ahead.push((format!("{beneath}mod.rs"), beneath));
        }
        reached.insert(path);
    }
    reached
}

/// All of a path but its last segment.
fn folder(path: &str) -> String {
    path.rfind('/').map_or_else(String::new, |end| path[..=end].to_owned())
}

#[test]
fn a_file_that_no_module_names_is_found() {
    let sources = BTreeMap::from([
        ("a/src/lib.rs", "mod b;\nmod c;\n// mod dead;\n"),
        ("a/src/b.rs", "mod d;"),
        ("a/src/b/d.rs", ""),
        ("a/src/c/mod.rs", "mod e;"),
        ("a/src/c/e.rs", ""),
        ("a/src/d.rs", ""),
        ("a/src/dead.rs", "mod grave;"),
        ("a/src/dead/grave.rs", ""),
        ("a/build.rs", ""),
    ]);
    let roots = ["a/src/lib.rs", "a/build.rs"].map(str::to_owned);
    let dead: Vec<_> = check(&roots, &sources).into_iter().map(|finding| finding.path).collect();
    assert_eq!(dead, ["a/src/d.rs", "a/src/dead.rs", "a/src/dead/grave.rs"]);
}
