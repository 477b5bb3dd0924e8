//! The platform an image was made for (OCI image-spec, image-index.md) and the choice among several.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// `os/architecture[/variant]`, in Go's names for them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Platform {
    /// Operating system, `linux` for everything that Gantry runs.
    pub os: String,
    /// Processor, `amd64`, `arm64`…
    pub architecture: String,
    /// Processor variant, `v7`, `v8`…; empty when the architecture has none.
    pub variant: String,
}

/// Why a text is not a platform.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("platform {text:?} is not of the form os/architecture or os/architecture/variant")]
pub struct PlatformError {
    /// What was given.
    pub text: String,
}

impl Platform {
    /// The platform this program was built for.
    pub fn host() -> Self {
        let (architecture, variant) = match std::env::consts::ARCH {
            "x86_64" => ("amd64", ""),
            "x86" => ("386", ""),
            "aarch64" => ("arm64", "v8"),
            "arm" => ("arm", "v7"),
            "powerpc64" => ("ppc64le", ""),
            other => (other, ""),
        };
        Self { os: "linux".into(), architecture: architecture.into(), variant: variant.into() }
    }

    /// How well `offered` serves a wish for `self`: `None` when it cannot, else higher is better.
    /// An empty variant on either side is taken, an equal one is preferred.
    pub fn preference(&self, offered: &Self) -> Option<u32> {
        if self.os != offered.os || self.architecture != offered.architecture {
            return None;
        }
        if self.variant == offered.variant {
            return Some(2);
        }
        if self.variant.is_empty() || offered.variant.is_empty() {
            return Some(1);
        }
        None
    }
}

impl FromStr for Platform {
    type Err = PlatformError;

    fn from_str(text: &str) -> Result<Self, PlatformError> {
        let is_part = |part: &&str| {
            !part.is_empty()
                && part.len() <= 32
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        };
        let parts: Vec<&str> = text.split('/').collect();
        if !(2..=3).contains(&parts.len()) || !parts.iter().all(is_part) {
            return Err(PlatformError { text: text.chars().take(160).collect() });
        }
        Ok(Self {
            os: parts[0].into(),
            architecture: parts[1].into(),
            variant: parts.get(2).copied().unwrap_or_default().into(),
        })
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        if !self.variant.is_empty() {
            write!(f, "/{}", self.variant)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_equal_variant_is_preferred_and_another_architecture_never_serves() {
        let arm: Platform = "linux/arm64".parse().expect("well formed");
        let v8: Platform = "linux/arm64/v8".parse().expect("well formed");
        let amd: Platform = "linux/amd64".parse().expect("well formed");
        assert_eq!(v8.preference(&v8), Some(2));
        assert_eq!(v8.preference(&arm), Some(1));
        assert_eq!(v8.preference(&amd), None);
    }

    #[test]
    fn a_platform_reads_back_as_written() {
        for text in ["linux/amd64", "linux/arm/v7"] {
            assert_eq!(text.parse::<Platform>().map(|p| p.to_string()), Ok(text.to_owned()));
        }
        for text in ["", "linux", "linux/", "a/b/c/d", "linux/amd 64"] {
            assert!(text.parse::<Platform>().is_err(), "{text:?}");
        }
    }
}
