//! Rules for crates, from `cargo metadata`: who may import whom, and what a core may not depend on.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, PackageId};

use super::repository::root;
use super::{Finding, NONE, lines};

/// The crates of the workspace and what they take from outside.
pub(super) struct Workspace {
    pub(super) crates: Vec<Crate>,
    /// The sources where targets begin.
    pub(super) roots: Vec<String>,
    /// What each package, ours or not, needs to be built into a program.
    needs: Needs,
}

type Needs = BTreeMap<String, BTreeSet<String>>;

/// A crate of the workspace.
pub(super) struct Crate {
    name: String,
    pub(super) manifest: Manifest,
    /// The crates of the workspace that it names, and how.
    imports: Vec<(String, DependencyKind)>,
}

/// A manifest by its path from the root.
pub(super) struct Manifest {
    path: String,
    text: String,
}

impl Workspace {
    pub(super) fn load() -> Self {
        let mut command = MetadataCommand::new();
        let metadata = command.manifest_path(root().join("Cargo.toml")).exec();
        Self::of(&metadata.expect("cargo, which runs this, can describe the workspace"))
    }

    fn of(metadata: &Metadata) -> Self {
        let from_root = |path: &cargo_metadata::camino::Utf8Path| {
            let inside = path.strip_prefix(&metadata.workspace_root);
            inside.expect("members lie in the workspace").as_str().replace('\\', "/")
        };
        let members = metadata.workspace_packages();
        let names: BTreeSet<&str> = members.iter().map(|member| member.name.as_str()).collect();
        let crates = members.iter().map(|member| {
            let imports = member.dependencies.iter().filter(|it| names.contains(it.name.as_str()));
            Crate {
                name: member.name.to_string(),
                manifest: Manifest {
                    path: from_root(&member.manifest_path),
                    text: fs::read_to_string(&member.manifest_path).expect("cargo has read it"),
                },
                imports: imports.map(|import| (import.name.clone(), import.kind)).collect(),
            }
        });
        let targets = members.iter().flat_map(|member| &member.targets);
        Self {
            crates: crates.collect(),
            roots: targets.map(|target| from_root(&target.src_path)).collect(),
            needs: needs(metadata),
        }
    }
}

fn needs(metadata: &Metadata) -> Needs {
    let name = |id: &PackageId| metadata[id].name.to_string();
    let mut needs = Needs::new();
    for node in &metadata.resolve.as_ref().expect("dependencies were asked for").nodes {
        let built_in = node.deps.iter().filter(|dependency| {
            dependency.dep_kinds.iter().any(|kind| kind.kind == DependencyKind::Normal)
        });
        needs.entry(name(&node.id)).or_default().extend(built_in.map(|it| name(&it.pkg)));
    }
    needs
}

/// Imports go one way: everything stands on the foundation, and what stands beside another on it
/// does not know the other.
pub(super) fn check_imports(crates: &[Crate]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for Crate { name, manifest, imports } in crates {
        let mut add = |line, says| findings.push(Finding::new(&manifest.path, line, says));
        let Some(allowed) = allowed_imports(name, &manifest.path) else {
            add(1, format!("`{name}` has no place among the crates: give it one in this test"));
            continue;
        };
        for (import, kind) in imports {
            let in_tests = *kind == DependencyKind::Development && import == SIMULATOR;
            if !in_tests && !allowed.covers(import) {
                let says = format!(
                    "`{name}` may not import `{import}`: siblings meet in `live-objects`, by a \
                     signal or a trait"
                );
                add(manifest.line_of(import), says);
            }
        }
    }
    findings
}

/// A core's I/O is its driver's, which the compiler can only see to if the core has no way to it.
pub(super) fn check_cores(workspace: &Workspace) -> Vec<Finding> {
    let mut findings = Vec::new();
    let cores = workspace.crates.iter().filter(|each| CORES.contains(&each.name.as_str()));
    for Crate { name, manifest, .. } in cores {
        for banned in BANNED_IN_CORES {
            if let Some(way) = way_to(banned, name, &workspace.needs) {
                let line = manifest.line_of(&way[1]);
                let says = format!(
                    "a core may not depend on `{banned}` ({}): leave it to the driver",
                    way.join(" -> ")
                );
                findings.push(Finding::new(&manifest.path, line, says));
            }
        }
    }
    findings
}

/// Versions and lints stand once, in the workspace.
pub(super) fn check_manifest(manifest: &Manifest) -> Vec<Finding> {
    let Manifest { path, text } = manifest;
    let mut findings = Vec::new();
    let (mut table, mut inherits_lints) = ("", false);
    for (index, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        let mut add = |says: &str| findings.push(Finding::new(path, index + 1, says));
        if let Some(header) = line.strip_prefix('[') {
            table = header.trim_end_matches(']');
            if table.contains("dependencies.") {
                add("a dependency of its own table: write `name = { workspace = true, … }`");
            }
        } else if table.ends_with("dependencies") && line.contains('=') {
            if !is_inherited(line) {
                add(
                    "a version of its own: put it in the workspace and take `name.workspace = true`",
                );
            }
        } else if table == "lints" {
            inherits_lints |= is_inherited(line);
        }
    }
    if !inherits_lints {
        findings.push(Finding::new(path, 1, "lints of its own: add `[lints]` `workspace = true`"));
    }
    findings
}

impl Manifest {
    /// Where a dependency is named.
    fn line_of(&self, dependency: &str) -> usize {
        let is_named = |line: &str| {
            let rest = line.trim_start().strip_prefix(dependency);
            rest.is_some_and(|rest| rest.starts_with(['.', ' ', '=']))
        };
        self.text.lines().position(is_named).map_or(1, |index| index + 1)
    }
}

enum Allowed {
    Nothing,
    Foundation,
    Everything,
}

impl Allowed {
    fn covers(&self, import: &str) -> bool {
        match self {
            Self::Nothing => false,
            Self::Foundation => import == FOUNDATION,
            Self::Everything => true,
        }
    }
}

fn allowed_imports(name: &str, manifest: &str) -> Option<Allowed> {
    Some(match name {
        FOUNDATION => Allowed::Nothing,
        "gossip" | "groupcomm" | "live-objects-derive" | "live-objects-net" | SIMULATOR => {
            Allowed::Foundation
        }
        _ if manifest.starts_with("plugins/") => Allowed::Foundation,
        "logo" | "logo-cli" | "examples" | "tests" => Allowed::Everything,
        _ => return None,
    })
}

/// The shortest chain of dependencies that leads to a package.
fn way_to(to: &str, from: &str, needs: &Needs) -> Option<Vec<String>> {
    let mut seen = BTreeSet::from([from]);
    let mut ways = VecDeque::from([vec![from]]);
    while let Some(way) = ways.pop_front() {
        let end = way.last().expect("a way has a beginning");
        if *end == to {
            return Some(way.into_iter().map(str::to_owned).collect());
        }
        for next in needs.get(*end).into_iter().flatten() {
            if seen.insert(next) {
                ways.push_back(way.iter().copied().chain([next.as_str()]).collect());
            }
        }
    }
    None
}

fn is_inherited(line: &str) -> bool {
    let compact: String = line.split_whitespace().collect();
    compact.contains("workspace=true")
}

const FOUNDATION: &str = "live-objects";
const SIMULATOR: &str = "live-objects-sim";
const CORES: [&str; 3] = [FOUNDATION, "gossip", "groupcomm"];
const BANNED_IN_CORES: [&str; 4] = ["tokio", "quinn", "socket2", "rustls"];

#[cfg(test)]
fn sample(name: &str, imports: &[(&str, DependencyKind)]) -> Crate {
    let text = imports.iter().map(|(import, _)| format!("{import}.workspace = true\n")).collect();
    let manifest = Manifest { path: format!("{name}/Cargo.toml"), text };
    let imports = imports.iter().map(|(import, kind)| ((*import).to_owned(), *kind)).collect();
    Crate { name: name.to_owned(), manifest, imports }
}

#[test]
fn an_import_of_a_sibling_is_found() {
    use DependencyKind::{Development, Normal};
    let found = |name: &str, imports: &[_]| lines(check_imports(&[sample(name, imports)]));
    assert_eq!(found("gossip", &[(FOUNDATION, Normal), (SIMULATOR, Development)]), NONE);
    assert_eq!(found("tests", &[("gossip", Normal), ("logo", Normal)]), NONE);
    assert_eq!(found("gossip", &[(FOUNDATION, Normal), ("groupcomm", Normal)]), [2]);
    assert_eq!(found("gossip", &[("groupcomm", Development)]), [1], "in tests neither");
    assert_eq!(found("groupcomm", &[(SIMULATOR, Normal)]), [1], "but in tests");
    assert_eq!(found("live-objects-net", &[("logo", Normal)]), [1]);
    assert_eq!(found("plugins/web", &[(FOUNDATION, Normal), ("gossip", Normal)]), [2]);
    assert_eq!(found(FOUNDATION, &[(SIMULATOR, Development), ("gossip", Normal)]), [2]);
    assert_eq!(found("newcomer", &[]), [1]);
}

#[test]
fn a_core_that_leads_to_a_socket_is_found() {
    let needs =
        [("gossip", "codec"), ("codec", "runtime"), ("runtime", "tokio"), ("tests", "quinn")];
    let needs = needs.map(|(from, to)| (from.to_owned(), BTreeSet::from([to.to_owned()])));
    let crates = [("gossip", "codec"), ("tests", "quinn")]
        .map(|(name, import)| sample(name, &[(import, DependencyKind::Normal)]));
    let roots = Vec::new();
    let found = check_cores(&Workspace { crates: crates.into(), roots, needs: needs.into() });
    assert_eq!(found.len(), 1);
    assert!(found[0].says.contains("gossip -> codec -> runtime -> tokio"), "{}", found[0]);
}

#[test]
fn a_version_or_lints_of_a_crates_own_are_found() {
    let found = |text: &str| {
        let (path, text) = ("a/Cargo.toml".to_owned(), text.to_owned());
        lines(check_manifest(&Manifest { path, text }))
    };
    let good = "[lints]\nworkspace = true\n[dev-dependencies]\na.workspace = true # here\n\
        b = { workspace = true, features = [\"c\"] }\n[features]\nd = [\"dep:b\"]\n";
    assert_eq!(found(good), NONE);
    let bad = "[package]\n[dependencies]\na = \"1\"\n[dependencies.b]\nversion = \"1\"\n\
        [target.'cfg(unix)'.dependencies]\nc = { path = \"../c\" }\n";
    assert_eq!(found(bad), [3, 4, 7, 1]);
}
