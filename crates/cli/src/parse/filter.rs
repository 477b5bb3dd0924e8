//! Docker's `--filter key=value` in the words of the API's filter. Of one key several values are alternatives;
//! of labels all are needed.

use std::collections::BTreeMap;

use gantry_api::filter::quote;

use crate::failure::Failure;

/// What a key of `--filter` means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// The field is one of the values.
    Is(&'static str),
    /// The field contains one of the values.
    Contains(&'static str),
    /// The map has the key, or the key with the value.
    Map(&'static str),
}

/// The API's filter for docker's ones. `known` has the keys that the list takes.
pub(crate) fn filter(given: &[String], known: &[(&str, Meaning)]) -> Result<String, Failure> {
    let mut fields: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut terms = Vec::new();
    for text in given {
        let (key, value) = text.split_once('=').ok_or_else(|| {
            Failure::new(format!("filter {text:?} is not of the form key=value")).hint(keys(known))
        })?;
        let meaning = known.iter().find(|(name, _)| *name == key.trim()).map(|(_, meaning)| *meaning);
        match meaning.ok_or_else(|| Failure::new(format!("there is no filter {key:?}")).hint(keys(known)))? {
            Meaning::Is(field) => fields.entry(format!("{field}==")).or_default().push(quote(value)),
            Meaning::Contains(field) => fields.entry(format!("{field}~=")).or_default().push(quote(value)),
            Meaning::Map(field) => terms.push(match value.split_once('=') {
                Some((key, value)) => format!("{field}.{key}=={}", quote(value)),
                None => format!("{field}.{value}"),
            }),
        }
    }
    terms.extend(fields.into_iter().map(|(field, values)| field + &values.join("|")));
    Ok(terms.join(","))
}

fn keys(known: &[(&str, Meaning)]) -> String {
    let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
    format!("the keys are {}", names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [(&str, Meaning); 3] = [
        ("status", Meaning::Is("state")),
        ("name", Meaning::Contains("name")),
        ("label", Meaning::Map("labels")),
    ];

    #[test]
    fn values_of_one_key_are_alternatives_and_labels_are_all_needed() {
        let given = ["status=running", "label=a", "status=exited", "label=b=c,d"].map(str::to_owned);
        let filter = filter(&given, &KNOWN).expect("known");
        assert_eq!(filter, "labels.a,labels.b==\"c,d\",state==\"running\"|\"exited\"");
    }

    #[test]
    fn an_unknown_key_is_told_with_the_known_ones() {
        let failure = filter(&["colour=red".to_owned()], &KNOWN).expect_err("unknown");
        assert!(failure.hint.expect("a hint").contains("status, name, label"));
    }
}
