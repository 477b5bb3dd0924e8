//! Does the house keep its rules? What can be checked by reading the files is checked here: the arrows between crates,
//! the sizes of files, the fence around unsafe code, names, and what may lie at the top.
//!
//! Every rule says what to do instead when it fails. Style that a compiler lint can check is in the root manifest.

mod advisories;
mod arrows;
mod names;
mod sizes;
mod unsafe_fence;

use std::fs;
use std::path::{Path, PathBuf};

/// The top folder of the repository.
fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the repository").to_owned()
}

/// A source file: its path below the top folder, and its text.
struct Source {
    path: String,
    text: String,
}

/// All files below `folders` whose name ends in one of `endings`.
fn sources(folders: &[&str], endings: &[&str]) -> Vec<Source> {
    let top = top();
    let mut found = Vec::new();
    let mut rest: Vec<PathBuf> = folders.iter().map(|folder| top.join(folder)).collect();
    while let Some(folder) = rest.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            if path.is_dir() && !["target", "node_modules", ".venv"].contains(&name.as_str()) {
                rest.push(path);
            } else if endings.iter().any(|ending| name.ends_with(ending)) {
                let text = fs::read_to_string(&path).expect("sources are readable text");
                let path = path.strip_prefix(&top).expect("found below the top").display().to_string();
                found.push(Source { path, text });
            }
        }
    }
    found.sort_by(|one, other| one.path.cmp(&other.path));
    assert!(!found.is_empty(), "no sources in {folders:?}: the walk is broken");
    found
}

/// Fails with all findings at once, so that one run shows them all.
fn report(rule: &str, findings: &[String]) {
    assert!(findings.is_empty(), "{rule}\n    {}\n", findings.join("\n    "));
}
