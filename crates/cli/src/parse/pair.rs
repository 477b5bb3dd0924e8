//! Pairs of a name and a value: labels, annotations, sysctls, host names.

use std::collections::BTreeMap;

use gantry_api::containers::v1::HostEntry;

use crate::failure::Failure;

/// `key=value`, or `key` alone for an empty value.
pub(crate) fn loose(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    if key.is_empty() {
        return Err(format!("{text:?} is not of the form key=value"));
    }
    Ok((key.to_owned(), value.to_owned()))
}

/// `key=value`.
pub(crate) fn strict(text: &str) -> Result<(String, String), String> {
    if text.contains('=') { loose(text) } else { Err(format!("{text:?} is not of the form key=value")) }
}

/// `name:address` or `name=address`.
pub(crate) fn host(text: &str) -> Result<HostEntry, String> {
    let at = text.find(['=', ':']).ok_or_else(|| format!("{text:?} is not of the form name:address"))?;
    let address = text[at + 1..].trim_start_matches('[').trim_end_matches(']');
    Ok(HostEntry { name: text[..at].to_owned(), address: address.to_owned() })
}

/// Labels from files, then those of flags, which win.
pub(crate) fn labels(
    files: &[String],
    flags: Vec<(String, String)>,
) -> Result<BTreeMap<String, String>, Failure> {
    let mut labels = BTreeMap::new();
    for path in files {
        let text = std::fs::read_to_string(path)
            .map_err(|error| Failure::io(&format!("cannot read {path}"), &error))?;
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (key, value) = loose(line).map_err(|problem| Failure::new(format!("{path}: {problem}")))?;
            labels.insert(key, value);
        }
    }
    labels.extend(flags);
    Ok(labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_may_have_equal_signs_and_a_label_no_value() {
        assert_eq!(loose("a=b=c"), Ok(("a".into(), "b=c".into())));
        assert_eq!(loose("a"), Ok(("a".into(), String::new())));
        assert!(loose("=b").is_err() && strict("a").is_err());
    }

    #[test]
    fn an_address_of_version_6_keeps_its_colons() {
        let entry = host("db:::1").expect("well formed");
        assert_eq!((entry.name.as_str(), entry.address.as_str()), ("db", "::1"));
        assert_eq!(host("db=10.0.0.1").expect("well formed").address, "10.0.0.1");
        assert!(host("db").is_err());
    }
}
