//! Image references in the familiar form, `[host[:port]/]path[:tag][@digest]`, made whole the way docker
//! does: no host means Docker Hub, one path component there means `library/`, no tag and no digest means
//! `latest`. The grammar is distribution's (<https://github.com/distribution/reference>).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Digest;

const HUB: &str = "docker.io";
const NAME_MAX: usize = 255;
const TAG_MAX: usize = 128;

/// A complete image reference.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Reference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// Why a text is not an image reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// The repository is empty, too long, or has a character it may not have.
    #[error(
        "image name {text:?} is not valid: it needs lower-case path components of letters, digits, '.', '_' and '-'"
    )]
    Repository {
        /// What was given.
        text: String,
    },
    /// The part before the first slash is no host name.
    #[error("registry {text:?} is not a host name with an optional port")]
    Registry {
        /// What was given.
        text: String,
    },
    /// The tag is empty, too long, or has a character it may not have.
    #[error("tag {text:?} is not valid: it needs 1 to 128 letters, digits, '_', '.' or '-'")]
    Tag {
        /// What was given.
        text: String,
    },
    /// What follows the `@` is no digest.
    #[error("the part after '@' is not a digest")]
    Digest(#[from] crate::DigestError),
}

impl crate::Classified for ReferenceError {
    fn class(&self) -> crate::Class {
        crate::Class::InvalidArgument
    }

    fn reason(&self) -> &'static str {
        "REFERENCE_INVALID"
    }

    fn hint(&self) -> Option<String> {
        Some("write it as name, name:tag, host:port/path/name:tag or name@sha256:…".into())
    }
}

impl Reference {
    /// The registry's host and optional port, `docker.io` for Docker Hub.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The path within the registry.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag; `None` only when there is a digest.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest it is pinned to.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// What goes into `/v2/<name>/manifests/<this>`: the digest when there is one, else the tag.
    pub fn manifest_selector(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.clone(),
            (None, None) => unreachable!("a reference without a digest always has a tag"),
        }
    }

    /// The short form that people write, without `docker.io/` and `library/` where it still means the same.
    pub fn familiar(&self) -> String {
        let suffix = self.suffix();
        let official = self.repository.strip_prefix("library/").filter(|name| !name.contains('/'));
        match official {
            Some(name) if self.registry == HUB => format!("{name}{suffix}"),
            // Docker Hub may have a repository whose first part would be taken for a registry.
            Some(_) | None if self.registry == HUB && split_registry(&self.repository).0 == HUB => {
                format!("{}{suffix}", self.repository)
            }
            Some(_) | None => format!("{}/{}{suffix}", self.registry, self.repository),
        }
    }

    /// The short form of the name alone, without tag and digest.
    pub fn familiar_name(&self) -> String {
        Self { tag: None, digest: None, ..self.clone() }.familiar()
    }

    /// Tag and digest, each with its mark.
    fn suffix(&self) -> String {
        let tag = self.tag.iter().map(|tag| format!(":{tag}"));
        tag.chain(self.digest.iter().map(|digest| format!("@{digest}"))).collect()
    }
}

/// Splits off the registry: the first component is one when it has a dot or a port, or is `localhost`.
fn split_registry(name: &str) -> (&str, &str) {
    match name.split_once('/') {
        Some((first, rest))
            if first == "localhost"
                || first.contains(['.', ':'])
                || first.chars().any(char::is_uppercase) =>
        {
            (first, rest)
        }
        _ => (HUB, name),
    }
}

fn is_registry(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (text, None),
    };
    let host_ok = match host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
        Some(v6) => v6.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            host.len() <= 253
                && host.split('.').all(|label| {
                    !label.is_empty()
                        && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
                        && !label.starts_with('-')
                        && !label.ends_with('-')
                })
        }
    };
    host_ok
        && port.is_none_or(|p| p.parse::<u16>().is_ok_and(|n| n > 0) && p.bytes().all(|b| b.is_ascii_digit()))
}

/// One path component: runs of `[a-z0-9]` joined by `.`, `_`, `__` or any number of `-`.
fn is_component(text: &str) -> bool {
    let is_edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    if !is_edge(text.bytes().next()) || !is_edge(text.bytes().last()) {
        return false;
    }
    text.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        .all(|separator| matches!(separator, "" | "." | "_" | "__") || separator.bytes().all(|b| b == b'-'))
}

fn is_tag(text: &str) -> bool {
    let mut bytes = text.bytes();
    text.len() <= TAG_MAX
        && bytes.next().is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

fn cut(text: &str) -> String {
    text.chars().take(160).collect()
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.parse::<Digest>()?)),
            None => (text, None),
        };
        // A colon after the last slash starts the tag; before it, a port.
        let slash = rest.rfind('/').map_or(0, |at| at + 1);
        let (name, tag) = match rest[slash..].find(':') {
            Some(colon) => (&rest[..slash + colon], Some(&rest[slash + colon + 1..])),
            None => (rest, None),
        };
        let (registry, path) = split_registry(name);
        if !is_registry(registry) {
            return Err(ReferenceError::Registry { text: cut(registry) });
        }
        if let Some(tag) = tag
            && !is_tag(tag)
        {
            return Err(ReferenceError::Tag { text: cut(tag) });
        }
        let registry = if registry == "index.docker.io" { HUB } else { registry };
        let repository =
            if registry == HUB && !path.contains('/') { format!("library/{path}") } else { path.to_owned() };
        if path.is_empty()
            || repository.len() + registry.len() >= NAME_MAX
            || !repository.split('/').all(is_component)
        {
            return Err(ReferenceError::Repository { text: cut(name) });
        }
        let tag = match (tag, &digest) {
            (Some(tag), _) => Some(tag.to_owned()),
            (None, None) => Some("latest".to_owned()),
            (None, Some(_)) => None,
        };
        Ok(Self { registry: registry.to_owned(), repository, tag, digest })
    }
}

impl TryFrom<String> for Reference {
    type Error = ReferenceError;

    fn try_from(text: String) -> Result<Self, ReferenceError> {
        text.parse()
    }
}

impl From<Reference> for String {
    fn from(reference: Reference) -> Self {
        reference.to_string()
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}{}", self.registry, self.repository, self.suffix())
    }
}

impl fmt::Debug for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_are_made_whole_and_shown_short_again() {
        for (given, whole, familiar) in [
            ("redis", "docker.io/library/redis:latest", "redis:latest"),
            ("redis:7", "docker.io/library/redis:7", "redis:7"),
            ("me/app", "docker.io/me/app:latest", "me/app:latest"),
            // Shown shorter, these would be another repository or another registry.
            ("library/a/b", "docker.io/library/a/b:latest", "library/a/b:latest"),
            ("docker.io/a.b/c", "docker.io/a.b/c:latest", "docker.io/a.b/c:latest"),
            ("localhost/app", "localhost/app:latest", "localhost/app:latest"),
            ("127.0.0.1:5000/a/b:v1", "127.0.0.1:5000/a/b:v1", "127.0.0.1:5000/a/b:v1"),
            ("[::1]:5000/a", "[::1]:5000/a:latest", "[::1]:5000/a:latest"),
            ("ghcr.io/o/r", "ghcr.io/o/r:latest", "ghcr.io/o/r:latest"),
            ("index.docker.io/redis", "docker.io/library/redis:latest", "redis:latest"),
        ] {
            let reference: Reference = given.parse().expect(given);
            assert_eq!(reference.to_string(), whole);
            assert_eq!(reference.familiar(), familiar);
            assert_eq!(whole.parse::<Reference>(), Ok(reference));
        }
    }

    #[test]
    fn a_digest_pins_and_needs_no_tag() {
        let text = format!("redis@sha256:{}", "0".repeat(64));
        let reference: Reference = text.parse().expect("well formed");
        assert_eq!(reference.tag(), None);
        assert!(reference.manifest_selector().starts_with("sha256:"));
        let both: Reference = format!("redis:7@sha256:{}", "0".repeat(64)).parse().expect("well formed");
        assert_eq!(both.tag(), Some("7"));
        assert!(both.manifest_selector().starts_with("sha256:"));
    }

    #[test]
    fn names_outside_the_grammar_are_refused() {
        for text in [
            "",
            ":",
            "/",
            "a//b",
            "A",
            "a/B",
            "a:",
            "a:!",
            "a@b",
            "../a",
            "a/../b",
            "a b",
            "-a",
            "a-",
            "a___b",
            "host:99999/a",
            "-h.io/a",
            "a\n",
            "a:b:c",
            "docker.io/",
        ] {
            assert!(text.parse::<Reference>().is_err(), "{text:?}");
        }
    }
}
