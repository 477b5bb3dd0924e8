//! Is the table of advisories true? A test that docs/security.md names must exist under that name: a page about safety that
//! speaks of tests nobody runs is worse than none.

use std::fs;

use crate::{report, sources, top};

/// Shorter words in back quotes are programs, keys and calls.
const NAME_BYTES_MIN: usize = 14;

#[test]
fn every_test_that_the_table_of_advisories_names_exists() {
    let page = fs::read_to_string(top().join("docs/security.md")).expect("docs/security.md is there");
    let rows = page.lines().filter(|line| line.starts_with("| ") && line.contains('`'));
    let named = rows.flat_map(|row| row.split('`').skip(1).step_by(2));
    let is_name = |word: &&str| {
        word.len() >= NAME_BYTES_MIN
            && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
    };
    let named: Vec<&str> = named.filter(is_name).collect();
    assert!(named.len() > 20, "the page has {} names: it is read wrongly", named.len());
    let sources = sources(&["crates", "tests"], &[".rs"]);
    let exists = |name: &str| sources.iter().any(|source| source.text.contains(&format!("fn {name}(")));
    let missing = named.into_iter().filter(|name| !exists(name)).map(str::to_owned).collect::<Vec<_>>();
    report("docs/security.md names tests that do not exist:", &missing);
}
