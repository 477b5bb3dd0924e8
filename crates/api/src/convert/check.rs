//! Checks of single fields, shared by the conversions beside this file.

use super::field::{FieldProblem, InvalidField};

/// `text` when it is not empty, has no NUL and at most `max` bytes.
pub(super) fn text(name: &str, text: String, max: usize) -> Result<String, InvalidField> {
    if text.is_empty() {
        return Err(InvalidField::new(name, FieldProblem::Missing));
    }
    optional_text(name, text, max)
}

/// `text` when it has no NUL and at most `max` bytes.
pub(super) fn optional_text(name: &str, text: String, max: usize) -> Result<String, InvalidField> {
    if text.len() > max {
        return Err(InvalidField::new(name, FieldProblem::TooLong { bytes: text.len(), max }));
    }
    must(name, text, "free of NUL bytes", |text| !text.contains('\0'))
}

/// `text` when `holds` says so; `rule` completes "it is not …".
pub(super) fn must(
    name: &str,
    text: String,
    rule: &'static str,
    holds: impl Fn(&str) -> bool,
) -> Result<String, InvalidField> {
    if holds(&text) {
        Ok(text)
    } else {
        let text = text.chars().take(160).collect();
        Err(InvalidField::new(name, FieldProblem::Malformed { text, rule }))
    }
}

/// An absolute path of at most the kernel's 4096 bytes.
pub(super) fn absolute_path(name: &str, path: String) -> Result<String, InvalidField> {
    must(name, text(name, path, 4095)?, "an absolute path", |path| path.starts_with('/'))
}

/// A list of at most `max` elements, each converted.
pub(super) fn list<A, B>(
    name: &str,
    items: Vec<A>,
    max: usize,
    convert: impl Fn(A) -> Result<B, InvalidField>,
) -> Result<Vec<B>, InvalidField> {
    if items.len() > max {
        return Err(InvalidField::new(name, FieldProblem::TooMany { count: items.len(), max }));
    }
    items
        .into_iter()
        .enumerate()
        .map(|(index, item)| convert(item).map_err(|error| error.at(name, index)))
        .collect()
}

/// A list of texts, none empty.
pub(super) fn texts(name: &str, items: Vec<String>, max: usize) -> Result<Vec<String>, InvalidField> {
    list(name, items, max, |item| text("", item, 4096))
}

/// A number within a range.
pub(super) fn within(
    name: &str,
    number: Option<u64>,
    range: std::ops::RangeInclusive<u64>,
) -> Result<Option<u64>, InvalidField> {
    match number {
        Some(number) if !range.contains(&number) => {
            let (min, max) = range.into_inner();
            Err(InvalidField::new(name, FieldProblem::OutOfRange { number, min, max }))
        }
        other => Ok(other),
    }
}

/// A known value of an enum.
pub(super) fn known<E: TryFrom<i32>>(name: &str, kind: &'static str, number: i32) -> Result<E, InvalidField> {
    E::try_from(number).map_err(|_| InvalidField::new(name, FieldProblem::UnknownValue { number, kind }))
}
