//! Fields that every request has: namespace, identifiers, labels, request id, page size.

use gantry_types::{LABEL_BYTES_MAX, LABELS_MAX, Labels, Namespace, PAGE_SIZE_MAX, Platform, RequestId};

use super::check;
use super::field::{FieldProblem, InvalidField};
use crate::containers::v1;

/// The tenant; empty means `default`.
pub fn namespace(text: &str) -> Result<Namespace, InvalidField> {
    if text.is_empty() { Ok(Namespace::default()) } else { id("namespace", text) }
}

/// The caller's name for the request; empty means none.
pub fn request_id(text: &str) -> Result<Option<RequestId>, InvalidField> {
    if text.is_empty() { Ok(None) } else { id("request_id", text).map(Some) }
}

/// Any identifier of the vocabulary, in the field called `name`.
pub fn id<T>(name: &str, text: &str) -> Result<T, InvalidField>
where
    T: std::str::FromStr<Err = gantry_types::IdError>,
{
    if text.is_empty() {
        return Err(InvalidField::new(name, FieldProblem::Missing));
    }
    text.parse().map_err(|error| InvalidField::new(name, FieldProblem::Identifier(error)))
}

/// A text that names a resource in one of several ways (id, beginning of an id, name), in the field `name`.
pub fn identifier<'a>(name: &str, text: &'a str) -> Result<&'a str, InvalidField> {
    const MAX: usize = 512;
    if text.is_empty() {
        return Err(InvalidField::new(name, FieldProblem::Missing));
    }
    if text.len() > MAX {
        return Err(InvalidField::new(name, FieldProblem::TooLong { bytes: text.len(), max: MAX }));
    }
    Ok(text)
}

/// A platform; empty means none in particular.
pub fn platform(text: &str) -> Result<Option<Platform>, InvalidField> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|error| InvalidField::new("platform", FieldProblem::Platform(error)))
}

/// The caller's labels, in the field `labels`.
pub fn labels(given: Labels) -> Result<Labels, InvalidField> {
    bounded_map("labels", given)
}

/// A map within the bounds of labels, in the field called `name`.
pub(super) fn bounded_map(name: &str, given: Labels) -> Result<Labels, InvalidField> {
    if given.len() > LABELS_MAX {
        let problem = FieldProblem::TooMany { count: given.len(), max: LABELS_MAX };
        return Err(InvalidField::new(name, problem));
    }
    for (key, value) in &given {
        check::text(name, key.clone(), LABEL_BYTES_MAX)?;
        let bytes = key.len() + value.len();
        if bytes > LABEL_BYTES_MAX {
            let path = format!("{name}[{key:?}]");
            return Err(InvalidField::new(path, FieldProblem::TooLong { bytes, max: LABEL_BYTES_MAX }));
        }
    }
    Ok(given)
}

/// How many resources a page may have; 0 and more than the most mean the most.
pub fn page_size(given: u32) -> usize {
    match usize::try_from(given) {
        Ok(size) if (1..=PAGE_SIZE_MAX).contains(&size) => size,
        Ok(_) | Err(_) => PAGE_SIZE_MAX,
    }
}

/// Columns and rows of a terminal, in the field called `name`.
pub fn terminal_size(
    name: &str,
    size: Option<&v1::TerminalSize>,
) -> Result<Option<(u16, u16)>, InvalidField> {
    let Some(size) = size else { return Ok(None) };
    let cells = |field: &str, number: u32| {
        u16::try_from(number).map_err(|_| {
            let problem =
                FieldProblem::OutOfRange { number: number.into(), min: 0, max: u64::from(u16::MAX) };
            InvalidField::new(field, problem).inside(name)
        })
    };
    Ok(Some((cells("columns", size.columns)?, cells("rows", size.rows)?)))
}
