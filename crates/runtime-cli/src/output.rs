//! What commands print on standard output. A reader that has gone away is nobody's failure.

use std::io::{self, Write as _};

use serde::Serialize;

use crate::failure::Failure;

/// Prints text as it is.
pub(crate) fn text(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::file("write", "standard output", error))
        }
        _ => Ok(()),
    }
}

/// Prints JSON for people.
pub(crate) fn pretty(value: &impl Serialize) -> Result<(), Failure> {
    let line =
        serde_json::to_string_pretty(value).map_err(|error| Failure::json("standard output", error))?;
    text(&(line + "\n"))
}

/// Prints JSON on one line.
pub(crate) fn compact(value: &impl Serialize) -> Result<(), Failure> {
    let line = serde_json::to_string(value).map_err(|error| Failure::json("standard output", error))?;
    text(&(line + "\n"))
}
