//! Writing to standard output, where programs read: a closed reader ends the command quietly.

use std::io::{self, Write as _};

use crate::failure::Failure;

/// One line.
pub(crate) fn line(text: impl std::fmt::Display) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{text}").map_err(|error| lost(&error))
}

/// Text as it is.
pub(crate) fn text(text: &str) -> Result<(), Failure> {
    bytes(text.as_bytes())
}

/// Bytes as they are, at once.
pub(crate) fn bytes(bytes: &[u8]) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes).and_then(|()| stdout.flush()).map_err(|error| lost(&error))
}

/// Bytes to standard error, at once.
pub(crate) fn error_bytes(bytes: &[u8]) -> Result<(), Failure> {
    let mut stderr = io::stderr().lock();
    stderr.write_all(bytes).and_then(|()| stderr.flush()).map_err(|error| lost(&error))
}

/// A line of progress or warning, for people.
pub(crate) fn note(text: impl std::fmt::Display) {
    // Nothing can be done about a standard error that is gone.
    let _ = writeln!(io::stderr().lock(), "{text}");
}

fn lost(error: &io::Error) -> Failure {
    Failure::io("cannot write the output", error)
}
