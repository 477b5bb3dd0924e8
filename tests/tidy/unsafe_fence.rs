//! Is unsafe code behind the fence? Only `crates/linux` may have any, and there every block says why it is sound.
//!
//! The compiler's `unsafe_code = "forbid"` holds the first half in every crate that inherits the workspace's lints; so
//! the test also asks that they all do.

use std::fs;

use crate::{report, sources, top};

#[test]
fn only_the_linux_crate_has_unsafe_code() {
    let mut findings = Vec::new();
    for source in sources(&["crates", "tests"], &[".rs"]) {
        if source.path.starts_with("crates/linux/") || source.path.starts_with("tests/tidy/") {
            continue;
        }
        for (number, line) in code_lines(&source.text) {
            if line.contains("unsafe {") || line.contains("unsafe fn") || line.contains("unsafe impl") {
                findings.push(format!("{}:{number}", source.path));
            }
        }
    }
    report("unsafe code lives in crates/linux only:", &findings);
}

#[test]
fn every_other_crate_inherits_the_lints_that_forbid_it() {
    let mut findings = Vec::new();
    let crates = fs::read_dir(top().join("crates")).expect("crates/ is there").flatten();
    for folder in crates.map(|entry| entry.path()).chain([top().join("tests")]) {
        let manifest = fs::read_to_string(folder.join("Cargo.toml")).expect("every crate has a manifest");
        let table: toml::Table = manifest.parse().expect("cargo has read the manifest before");
        let inherits =
            table.get("lints").and_then(|lints| lints.get("workspace")) == Some(&toml::Value::Boolean(true));
        if !inherits && !folder.ends_with("linux") {
            findings.push(folder.display().to_string());
        }
    }
    report("a manifest says `[lints] workspace = true`:", &findings);
}

#[test]
fn every_unsafe_block_has_a_safety_note() {
    /// The note may be a few lines long, and a statement may begin before the block does.
    const LINES_ABOVE: usize = 8;
    let mut findings = Vec::new();
    for source in sources(&["crates/linux"], &[".rs"]) {
        let lines: Vec<&str> = source.text.lines().collect();
        for (number, line) in code_lines(&source.text) {
            if line.contains("unsafe {") || line.contains("unsafe impl") {
                let above = &lines[number.saturating_sub(LINES_ABOVE)..number];
                if !above.iter().any(|line| line.contains("SAFETY:")) {
                    findings.push(format!("{}:{number}", source.path));
                }
            }
        }
    }
    report("a `SAFETY:` note above an unsafe block names the invariant and who upholds it:", &findings);
}

/// The lines that are not comments, numbered from one.
fn code_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .map(|(index, line)| (index + 1, line))
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
}
