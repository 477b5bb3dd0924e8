//! Content digests (OCI image-spec, descriptor.md#digests). A `Digest` that exists is well formed, so it
//! is the only thing that may become part of a blob's path or of a registry's URL.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The hash of a digest. SHA-512 may appear in an index; Gantry itself only makes SHA-256.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    /// SHA-256, 64 hex digits.
    Sha256,
    /// SHA-512, 128 hex digits.
    Sha512,
}

impl Algorithm {
    /// The name in front of the colon.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    fn hex_len(self) -> usize {
        match self {
            Self::Sha256 => 64,
            Self::Sha512 => 128,
        }
    }
}

/// `algorithm:hex`, lower case.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest {
    algorithm: Algorithm,
    hex: Box<str>,
}

/// Why a text is not a digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    /// No colon, or an algorithm other than sha256 and sha512.
    #[error("digest {text:?} does not start with sha256: or sha512:")]
    Algorithm {
        /// What was given.
        text: String,
    },
    /// Wrong length, or something other than lower-case hex digits.
    #[error("digest {text:?} does not have {expected} lower-case hex digits")]
    Hex {
        /// What was given.
        text: String,
        /// How many digits its algorithm has.
        expected: usize,
    },
}

impl crate::Classified for DigestError {
    fn class(&self) -> crate::Class {
        crate::Class::InvalidArgument
    }

    fn reason(&self) -> &'static str {
        "DIGEST_INVALID"
    }
}

impl Digest {
    /// A SHA-256 digest from its 32 bytes.
    pub fn sha256(bytes: &[u8; 32]) -> Self {
        use fmt::Write as _;
        let mut hex = String::with_capacity(64);
        for byte in bytes {
            write!(hex, "{byte:02x}").expect("writing to a String cannot fail");
        }
        Self { algorithm: Algorithm::Sha256, hex: hex.into() }
    }

    /// Its hash.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The digits after the colon.
    pub fn hex(&self) -> &str {
        &self.hex
    }

    /// The first twelve digits, as people are shown them.
    pub fn short(&self) -> &str {
        &self.hex[..12]
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let algorithm = match text.split_once(':') {
            Some(("sha256", _)) => Algorithm::Sha256,
            Some(("sha512", _)) => Algorithm::Sha512,
            _ => return Err(DigestError::Algorithm { text: text.chars().take(160).collect() }),
        };
        let hex = &text[algorithm.as_str().len() + 1..];
        let expected = algorithm.hex_len();
        if hex.len() != expected || !hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(DigestError::Hex { text: text.chars().take(160).collect(), expected });
        }
        Ok(Self { algorithm, hex: hex.into() })
    }
}

impl TryFrom<String> for Digest {
    type Error = DigestError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm.as_str(), self.hex)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_reads_back_as_written() {
        let digest = Digest::sha256(&[0xab; 32]);
        assert_eq!(digest.to_string().parse(), Ok(digest.clone()));
        assert_eq!(digest.short(), "abababababab");
    }

    #[test]
    fn nothing_but_an_algorithm_and_lower_hex_is_a_digest() {
        let upper = format!("sha256:{}", "A".repeat(64));
        let path = format!("sha256:{}../../etc/passwd", "a".repeat(48));
        for text in ["", "sha256", "sha256:", "md5:00", "sha256:zz", upper.as_str(), path.as_str()] {
            assert!(text.parse::<Digest>().is_err(), "{text:?}");
        }
    }
}
