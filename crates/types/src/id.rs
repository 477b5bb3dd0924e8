//! Identifiers. Each is its own type, checked once where it enters, so that below the edge no bare text
//! ever becomes part of a path, a key or a cgroup name.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Why a text is not an identifier of its kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} {text:?} is not valid: {rule}")]
pub struct IdError {
    /// Which identifier was meant: `namespace`, `container name`…
    pub kind: &'static str,
    /// What was given, cut to 160 characters.
    pub text: String,
    /// The rule it breaks.
    pub rule: &'static str,
}

impl IdError {
    fn new(kind: &'static str, text: &str, rule: &'static str) -> Self {
        Self { kind, text: text.chars().take(160).collect(), rule }
    }
}

impl crate::Classified for IdError {
    fn class(&self) -> crate::Class {
        crate::Class::InvalidArgument
    }

    fn reason(&self) -> &'static str {
        "IDENTIFIER_INVALID"
    }
}

/// Declares a text identifier that is valid exactly when `$check` says so.
macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $rule:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Box<str>);

        impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                let check: fn(&str) -> bool = $check;
                if check(text) {
                    Ok(Self(text.into()))
                } else {
                    Err(IdError::new($kind, text, $rule))
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;

            fn try_from(text: String) -> Result<Self, IdError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0.into()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }
    };
}

/// A first character from `first`, then at most `max - 1` letters, digits, `_`, `.` and `-`.
fn is_name(text: &str, max: usize) -> bool {
    let mut bytes = text.bytes();
    text.len() <= max
        && bytes.next().is_some_and(|b| b.is_ascii_alphanumeric())
        && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

fn is_hex(text: &str, len: usize) -> bool {
    text.len() == len && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

text_id! {
    /// The tenant a resource belongs to, as in containerd. `default` when a request leaves it empty.
    Namespace, "namespace",
    "1 to 63 letters, digits, '_', '.' or '-', starting with a letter or a digit",
    |text| is_name(text, 63)
}

text_id! {
    /// Which OCI runtime makes a container: a name of the daemon's configuration, a well-known one, a programme's path, or
    /// [`Self::OWN`].
    RuntimeName, "runtime",
    "1 to 63 letters, digits, '_', '.' or '-', starting with a letter or a digit, or an absolute path",
    |text| is_name(text, 63) || (text.starts_with('/') && text.len() < 4096 && !text.contains('\0'))
}

impl RuntimeName {
    /// Gantry's own runtime.
    pub const OWN: &str = "gantry";

    /// Whether it is Gantry's own.
    pub fn is_own(&self) -> bool {
        self.as_str() == Self::OWN
    }

    /// Whether it is a programme's path.
    pub fn is_path(&self) -> bool {
        self.as_str().starts_with('/')
    }
}

impl Default for RuntimeName {
    fn default() -> Self {
        Self(Self::OWN.into())
    }
}

impl Default for Namespace {
    fn default() -> Self {
        Self("default".into())
    }
}

/// Declares an identifier of 64 hex digits that is made from 32 random bytes.
macro_rules! random_id {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        text_id! {
            $(#[$doc])*
            $name, $kind, "64 lower-case hex digits", |text| is_hex(text, 64)
        }

        impl $name {
            /// From 32 random bytes.
            pub fn from_random(bytes: &[u8; 32]) -> Self {
                Self(crate::Digest::sha256(bytes).hex().into())
            }

            /// The first twelve digits, as people are shown them and as links are named.
            pub fn short(&self) -> &str {
                &self.0[..12]
            }
        }
    };
}

random_id! {
    /// A container's id: 64 hex digits from 32 random bytes; the short form is also its default host name.
    ContainerId, "container id"
}

text_id! {
    /// A container's name, unique in its namespace.
    ContainerName, "container name",
    "2 to 128 letters, digits, '_', '.' or '-', starting with a letter or a digit",
    |text| text.len() >= 2 && is_name(text, 128)
}

random_id! {
    /// One execution inside a container.
    ExecId, "exec id"
}

text_id! {
    /// The key of a snapshot: a container's id, or a chain of layers (`sha256` hex of the OCI chain id).
    SnapshotKey, "snapshot key",
    "1 to 128 letters, digits, '_', '.' or '-', starting with a letter or a digit",
    |text| is_name(text, 128)
}

text_id! {
    /// A caller's own name for one mutating request, so that a retry joins it (AIP-155).
    RequestId, "request id",
    "1 to 64 letters, digits, '_', '.' or '-', starting with a letter or a digit",
    |text| is_name(text, 64)
}

text_id! {
    /// A lease: what it names is not collected while it lives.
    LeaseId, "lease id",
    "1 to 128 letters, digits, '_', '.' or '-', starting with a letter or a digit",
    |text| is_name(text, 128)
}

random_id! {
    /// A network's id.
    NetworkId, "network id"
}

random_id! {
    /// The id of a container's or sandbox's place on one network.
    EndpointId, "endpoint id"
}

random_id! {
    /// A sandbox: a network namespace with endpoints that containers join.
    SandboxId, "sandbox id"
}

text_id! {
    /// A network's name, unique in its namespace.
    NetworkName, "network name",
    "1 to 128 letters, digits, '_', '.' or '-', starting with a letter or a digit",
    |text| is_name(text, 128)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_leave_their_folder_are_refused() {
        for text in ["", ".", "..", "../x", "a/b", "-a", "a b", "a\0b", "a\nb", "é"] {
            assert!(text.parse::<Namespace>().is_err(), "{text:?}");
            assert!(text.parse::<ContainerName>().is_err(), "{text:?}");
            assert!(text.parse::<SnapshotKey>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn an_id_shows_its_first_twelve_digits() {
        let id = ContainerId::from_random(&[1; 32]);
        assert_eq!(id.short(), "010101010101");
        assert_eq!(id.as_str().parse(), Ok(id.clone()));
    }
}
