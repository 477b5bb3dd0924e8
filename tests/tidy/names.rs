//! Are things called what they are? Names that say nothing are banned, notes for later have an issue, and the top folder
//! holds what the plan says and nothing else.

use std::fs;
use std::process::Command;

use crate::{report, sources, top};

/// Words that hide what a file or a type is for.
const BANNED: &[&str] = &["manager", "handler", "helper", "util", "utils", "common", "inner"];

/// What may lie in the top folder, in git.
const TOP: &[&str] = &[
    ".ci",
    ".clippy.toml",
    ".deny.toml",
    ".gitignore",
    ".rustfmt.toml",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "buf.yaml",
    "crates",
    "deploy",
    "docs",
    "proto",
    "tests",
];

#[test]
fn no_file_or_type_has_a_name_that_says_nothing() {
    let mut findings = Vec::new();
    for source in sources(&["crates", "tests", "proto"], &[".rs", ".proto", ".py", ".js", ".go"]) {
        let stem = source.path.rsplit('/').next().and_then(|name| name.split('.').next()).unwrap_or_default();
        if stem.split(['_', '-']).any(|word| BANNED.contains(&word)) {
            findings.push(source.path.clone());
        }
        for (index, line) in source.text.lines().enumerate() {
            if let Some(name) = defined_name(line)
                && BANNED.iter().any(|word| words(name).iter().any(|part| part == word))
            {
                findings.push(format!("{}:{}: {name}", source.path, index + 1));
            }
        }
    }
    report(&format!("names come from the field's vocabulary, none of {BANNED:?}:"), &findings);
}

/// The name of the type or module that a line defines.
fn defined_name(line: &str) -> Option<&str> {
    let mut words = line.split_whitespace().filter(|word| !word.starts_with("pub"));
    matches!(words.next()?, "struct" | "enum" | "trait" | "mod" | "message" | "service").then_some(())?;
    words.next()?.split(|letter: char| !letter.is_alphanumeric() && letter != '_').next()
}

/// The words of a name in either case style, in small letters.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    for letter in name.chars() {
        if letter == '_' || letter.is_uppercase() {
            words.push(String::new());
        }
        if letter != '_' {
            words.last_mut().expect("there is always one").extend(letter.to_lowercase());
        }
    }
    words
}

#[test]
fn every_note_for_later_names_an_issue() {
    let mut findings = Vec::new();
    // Written in two parts, so that this file does not find itself.
    let marks = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];
    for source in sources(
        &["crates", "tests", "proto", "deploy", "docs"],
        &[".rs", ".proto", ".md", ".py", ".js", ".go", ".c"],
    ) {
        for (index, line) in source.text.lines().enumerate() {
            let marked = marks
                .iter()
                .any(|mark| line.split(|letter: char| !letter.is_alphanumeric()).any(|word| word == *mark));
            if marked && !line.contains('#') {
                findings.push(format!("{}:{}", source.path, index + 1));
            }
        }
    }
    report("a note for later names its issue (`#12`):", &findings);
}

#[test]
fn the_top_folder_holds_what_the_plan_says() {
    let listed = Command::new("git").arg("-C").arg(top()).args(["ls-tree", "--name-only", "HEAD"]).output();
    // A source archive has no git: then everything but build output counts.
    let names: Vec<String> = match listed {
        Ok(output) if output.status.success() => {
            String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
        }
        Ok(_) | Err(_) => fs::read_dir(top())
            .expect("the top folder is readable")
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .filter(|name| name != "target")
            .collect(),
    };
    let findings: Vec<String> = names.into_iter().filter(|name| !TOP.contains(&name.as_str())).collect();
    report(
        "the top folder holds Cargo.toml proto/ crates/ deploy/ tests/ README.md LICENSE buf.yaml docs/:",
        &findings,
    );
}
