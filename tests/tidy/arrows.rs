//! Which crate may use which? This table, drawn in docs/architecture.md. A new arrow needs a decision record and its line
//! here.

use std::collections::BTreeSet;
use std::fs;

use crate::{report, top};

/// A crate's folder, and the crates it may depend on (its development dependencies too).
const ARROWS: &[(&str, &[&str])] = &[
    // vocabulary
    ("types", &[]),
    // edges
    ("linux", &["types"]),
    ("api", &["types"]),
    // engines
    ("store", &["types"]),
    ("image", &["types", "linux"]),
    ("snapshot", &["types", "linux"]),
    ("runtime", &["types", "linux"]),
    ("network", &["types", "linux"]),
    // processes
    ("shim", &["types", "linux", "api", "runtime"]),
    ("runtime-cli", &["types", "linux", "runtime"]),
    ("netd", &["types", "linux", "network"]),
    ("daemon", &["types", "linux", "api", "store", "image", "snapshot", "runtime", "network"]),
    ("cli", &["types", "api"]),
];

#[test]
fn crates_depend_on_each_other_only_along_the_arrows() {
    let mut findings = Vec::new();
    for folder in folders() {
        let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == folder) else {
            findings.push(format!("crates/{folder} has no line in the table"));
            continue;
        };
        for used in dependencies(&folder) {
            if !allowed.contains(&used.as_str()) {
                findings.push(format!("crates/{folder} may not use {used}"));
            }
        }
    }
    report("arrows between crates go down (docs/architecture.md):", &findings);
}

#[test]
fn only_the_store_names_sled_and_only_the_fence_names_libc() {
    let mut findings = Vec::new();
    for folder in folders() {
        let manifest = manifest(&folder);
        for (library, owner) in [("sled", "store"), ("libc", "linux")] {
            let named = ["dependencies", "dev-dependencies"]
                .iter()
                .any(|table| manifest.get(*table).and_then(|table| table.get(library)).is_some());
            if named && folder != owner {
                findings.push(format!("crates/{folder} names {library}, which belongs to crates/{owner}"));
            }
        }
    }
    report("some libraries have one owner:", &findings);
}

fn folders() -> BTreeSet<String> {
    let entries = fs::read_dir(top().join("crates")).expect("crates/ is there");
    entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

fn manifest(folder: &str) -> toml::Table {
    let path = top().join("crates").join(folder).join("Cargo.toml");
    let text = fs::read_to_string(&path).expect("every crate has a manifest");
    text.parse().expect("cargo has read the manifest before")
}

/// The folders of the workspace's crates that a manifest names, in any kind of dependency.
fn dependencies(folder: &str) -> BTreeSet<String> {
    let manifest = manifest(folder);
    let targets = manifest.get("target").and_then(toml::Value::as_table).into_iter().flatten();
    let tables = targets.filter_map(|(_, target)| target.as_table()).chain([&manifest]);
    let mut found = BTreeSet::new();
    for table in tables {
        for kind in ["dependencies", "dev-dependencies", "build-dependencies"] {
            let names = table.get(kind).and_then(toml::Value::as_table).into_iter().flatten();
            found.extend(names.filter_map(|(name, _)| name.strip_prefix("gantry-").map(str::to_owned)));
        }
    }
    found
}
