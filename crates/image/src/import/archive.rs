//! Where a member of an archive belongs, by its name alone. Names are compared, never joined to a path of ours.

use gantry_types::Digest;

/// What to do with a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Belongs {
    /// A document kept in memory, by its whole name.
    Document,
    /// A blob of an OCI layout.
    Blob(Digest),
    /// A config or layer of a docker archive, which its manifest.json names by path.
    Member,
    /// Old docker's extra files.
    Nowhere,
}

/// Decides by name.
pub(super) fn belongs(name: &str) -> Belongs {
    match name {
        "index.json" | "oci-layout" | "manifest.json" => return Belongs::Document,
        "repositories" => return Belongs::Nowhere,
        _ => {}
    }
    if let Some(hex) = name.strip_prefix("blobs/sha256/") {
        return format!("sha256:{hex}").parse().map_or(Belongs::Nowhere, Belongs::Blob);
    }
    let ends = |end: &str| name.len() > end.len() && name.ends_with(end);
    if ends("/VERSION") || ends("/json") { Belongs::Nowhere } else { Belongs::Member }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_told_apart_by_name() {
        let hex = "a".repeat(64);
        let digest = format!("sha256:{hex}").parse().expect("a digest");
        assert_eq!(belongs(&format!("blobs/sha256/{hex}")), Belongs::Blob(digest));
        assert_eq!(belongs("blobs/sha256/../../x"), Belongs::Nowhere);
        assert_eq!(belongs("index.json"), Belongs::Document);
        assert_eq!(belongs(&format!("{hex}/layer.tar")), Belongs::Member);
        assert_eq!(belongs(&format!("{hex}/json")), Belongs::Nowhere);
    }
}
