//! Can every file be read in one sitting? Up to 450 lines is fine, more is printed, and over 700 fails.

use crate::{report, sources};

const LINES_WARN: usize = 450;
const LINES_MAX: usize = 700;

#[test]
#[expect(clippy::print_stdout, reason = "a warning that fails nothing still has to be seen")]
fn files_stay_small() {
    let mut findings = Vec::new();
    for source in
        sources(&["crates", "tests", "proto", "deploy"], &[".rs", ".proto", ".sh", ".py", ".js", ".go", ".c"])
    {
        let lines = source.text.lines().count();
        if lines > LINES_MAX {
            findings.push(format!("{}: {lines} lines", source.path));
        } else if lines > LINES_WARN {
            println!("warning: {} has {lines} lines; split it before it reaches {LINES_MAX}", source.path);
        }
    }
    report("a file answers one question in at most 700 lines:", &findings);
}

#[test]
fn every_source_file_begins_by_saying_what_it_is_for() {
    let mut findings = Vec::new();
    for source in sources(&["crates", "tests"], &[".rs"]) {
        // The tests of a module, moved out of its file, answer to that file's first paragraph.
        if !source.text.starts_with("//! ") && !source.path.ends_with("/tests.rs") {
            findings.push(source.path);
        }
    }
    report("the first paragraph of a file says which question it answers (`//! ...`):", &findings);
}
