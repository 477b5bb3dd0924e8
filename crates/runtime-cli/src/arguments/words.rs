//! One word at a time: text, paths, numbers, durations and flags.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use lexopt::Parser;

use crate::failure::Failure;

/// A word as text.
pub(super) fn string(word: OsString) -> Result<String, Failure> {
    word.into_string().map_err(|word| Failure::usage(format!("{} is not UTF-8", word.display())))
}

/// An option's value.
pub(super) fn text(parser: &mut Parser) -> Result<String, Failure> {
    string(parser.value().map_err(refused)?)
}

/// An option's value as a path.
pub(super) fn path(parser: &mut Parser) -> Result<PathBuf, Failure> {
    Ok(PathBuf::from(parser.value().map_err(refused)?))
}

/// An option's value as a number.
pub(super) fn number(parser: &mut Parser, name: &str) -> Result<u32, Failure> {
    let word = text(parser)?;
    word.parse().map_err(|_| Failure::usage(format!("--{name}: {word:?} is not a number")))
}

/// An option without a value: it is on, unless `=false` says otherwise.
pub(super) fn flag(parser: &mut Parser) -> Result<bool, Failure> {
    let Some(value) = parser.optional_value() else { return Ok(true) };
    match string(value)?.as_str() {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        other => Err(Failure::usage(format!("{other:?} is neither true nor false"))),
    }
}

/// `5s`, `250ms`, `1m`, `1h`; a number alone is seconds.
pub(super) fn duration(word: &str) -> Result<Duration, Failure> {
    let refused = || Failure::usage(format!("{word:?} is not a duration"));
    let digits = word.find(|c: char| !c.is_ascii_digit()).unwrap_or(word.len());
    let (count, unit) = word.split_at(digits);
    let count: u64 = count.parse().map_err(|_| refused())?;
    let unit_ms = match unit {
        "ms" => 1,
        "s" | "" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(refused()),
    };
    let total = count.checked_mul(unit_ms).filter(|total| *total > 0).ok_or_else(refused)?;
    Ok(Duration::from_millis(total))
}

/// What the scanner refuses.
#[expect(clippy::needless_pass_by_value, reason = "a function for map_err")]
pub(super) fn refused(error: lexopt::Error) -> Failure {
    Failure::usage(error.to_string())
}
