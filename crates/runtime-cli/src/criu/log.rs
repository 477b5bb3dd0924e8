//! What CRIU's log says went wrong: the last lines that it marked as errors, or its very last ones. The log is as long
//! as the container is large; only its end is read.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::fd::OwnedFd;
use std::path::Path;

/// Bytes read from the end of a log.
const END_BYTES: u64 = 64 << 10;
/// Lines that are told.
const LINES_MAX: usize = 4;
/// Bytes of one of them.
const LINE_BYTES_MAX: usize = 300;

/// The complaint at the end of a log, in one line; `None` when it says nothing, or is not there.
pub(super) fn complaint(path: &Path) -> Option<String> {
    end_of(File::open(path).ok()?).ok().and_then(|text| complaint_in(&text))
}

/// As [`complaint`], for an open file.
pub(super) fn complaint_of(file: &OwnedFd) -> Option<String> {
    end_of(File::from(file.try_clone().ok()?)).ok().and_then(|text| complaint_in(&text))
}

fn end_of(mut file: File) -> io::Result<String> {
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(END_BYTES)))?;
    let mut bytes = Vec::new();
    file.take(END_BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn complaint_in(text: &str) -> Option<String> {
    let errors: Vec<&str> = text.lines().filter(|line| line.contains("Error (")).collect();
    let lines = if errors.is_empty() { text.lines().collect() } else { errors };
    let told = lines[lines.len().saturating_sub(LINES_MAX)..].iter().map(|line| {
        let end = line.char_indices().map(|(at, _)| at).find(|at| *at > LINE_BYTES_MAX);
        line[..end.unwrap_or(line.len())].trim()
    });
    let told: Vec<&str> = told.filter(|line| !line.is_empty()).collect();
    (!told.is_empty()).then(|| told.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_errors_are_told() {
        let log = "(00.1) Warn  (a.c:1): w\n(00.2) Error (b.c:2): no x\n(00.3) fine\n(00.4) Error (c.c:3): failed\n";
        let told = complaint_in(log).expect("errors");
        assert_eq!(told, "(00.2) Error (b.c:2): no x; (00.4) Error (c.c:3): failed");
        assert_eq!(complaint_in("one\ntwo\n").as_deref(), Some("one; two"));
        assert_eq!(complaint_in("\n"), None);
    }

    #[test]
    fn a_long_line_and_a_long_log_are_cut() {
        let line = format!("Error (x): {}\n", "é".repeat(1000));
        let told = complaint_in(&line.repeat(9)).expect("errors");
        assert!(told.len() < LINES_MAX * (LINE_BYTES_MAX + 8), "{} bytes", told.len());
        assert_eq!(complaint(Path::new("/nonexistent/dump.log")), None);
    }
}
