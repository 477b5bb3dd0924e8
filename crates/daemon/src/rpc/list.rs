//! One page of a list: rows in the order of their keys, those that pass the filter, until the page is full.

use std::borrow::Cow;

use gantry_api::filter::Filter;
use gantry_api::page;
use gantry_types::Labels;
use tonic::Status;

use gantry_api::convert::page_size;

/// A page of `rows`, each with the key it is sorted by, and the token of the next one.
pub(super) fn page<T>(
    rows: impl IntoIterator<Item = (String, T)>,
    filter: &Filter,
    values_of: impl for<'a> Fn(&'a T, &str) -> Vec<Cow<'a, str>>,
    size: u32,
    token: &str,
) -> Result<(Vec<T>, String), Status> {
    let after = page::decode(token)?;
    let size = page_size(size);
    let mut found: Vec<(String, T)> = Vec::new();
    let mut more = false;
    for (key, row) in rows {
        if after.as_ref().is_some_and(|after| key <= *after)
            || !filter.matches(|field| values_of(&row, field))
        {
            continue;
        }
        if found.len() == size {
            more = true;
            break;
        }
        found.push((key, row));
    }
    let token = match found.last() {
        Some((key, _)) if more => page::encode(key),
        Some(_) | None => String::new(),
    };
    Ok((found.into_iter().map(|(_, row)| row).collect(), token))
}

/// The label that a field `labels.<key>` names.
pub(super) fn label<'a>(labels: &'a Labels, field: &str) -> Vec<Cow<'a, str>> {
    let value = field.strip_prefix("labels.").and_then(|key| labels.get(key));
    value.map(|value| Cow::Borrowed(value.as_str())).into_iter().collect()
}
