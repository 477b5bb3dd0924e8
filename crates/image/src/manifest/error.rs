//! Why a document is not an image that Gantry takes.

use gantry_types::{Class, Classified, Digest, Platform};

/// A document that is refused.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// It is no JSON of the expected shape.
    #[error("the {kind} does not parse")]
    Syntax {
        /// `manifest`, `index`, `image config`…
        kind: &'static str,
        /// Where and why.
        source: serde_json::Error,
    },
    /// It could be read as a manifest and as an index (CVE-2021-41190).
    #[error("the document has both layers and manifests, so it could be read as two different images")]
    Ambiguous,
    /// Its own media type is not the one it was announced as.
    #[error("the document says it is {inside:?} but was announced as {outside:?}")]
    MediaTypeDisagrees {
        /// The document's `mediaType`.
        inside: String,
        /// The `Content-Type`, or the descriptor's media type.
        outside: String,
    },
    /// Neither an image manifest nor an index.
    #[error("{media_type:?} is not an image")]
    NotAnImage {
        /// What it is.
        media_type: String,
    },
    /// Docker's schema 1.
    #[error("the image has the old format schema 1, which nothing makes any more")]
    Schema1,
    /// A digest, a size or a count in it is not valid.
    #[error("the {kind} has an invalid {field}")]
    Field {
        /// The document.
        kind: &'static str,
        /// The field.
        field: &'static str,
    },
    /// More layers than a root filesystem may have.
    #[error("the image has {count} layers, more than the {max} allowed")]
    TooManyLayers {
        /// Its layers.
        count: usize,
        /// The limit.
        max: usize,
    },
    /// Something in it is larger than allowed.
    #[error("{digest} says it has {size} bytes, more than the {max} allowed for a {kind}")]
    TooLarge {
        /// The blob.
        digest: Digest,
        /// What kind of blob.
        kind: &'static str,
        /// Its size.
        size: u64,
        /// The limit.
        max: u64,
    },
    /// No entry of the index serves the platform.
    #[error("the image is not made for {wanted}, only for {}", .offered.join(", "))]
    Platform {
        /// The platform asked for.
        wanted: Platform,
        /// What there is.
        offered: Vec<String>,
    },
    /// The config does not have one diff id per layer.
    #[error("the image config names {diff_ids} layers and the manifest {layers}")]
    LayerCount {
        /// Layers in the config.
        diff_ids: usize,
        /// Layers in the manifest.
        layers: usize,
    },
    /// An index inside an index inside an index.
    #[error("indexes are nested deeper than {max}")]
    TooDeep {
        /// The limit.
        max: usize,
    },
}

impl Classified for ManifestError {
    fn class(&self) -> Class {
        match self {
            Self::Syntax { .. }
            | Self::Ambiguous
            | Self::MediaTypeDisagrees { .. }
            | Self::Field { .. }
            | Self::LayerCount { .. } => Class::DataLoss,
            Self::NotAnImage { .. } | Self::Schema1 => Class::Unimplemented,
            Self::TooManyLayers { .. } | Self::TooLarge { .. } | Self::TooDeep { .. } => {
                Class::InvalidArgument
            }
            Self::Platform { .. } => Class::NotFound,
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::Syntax { .. } | Self::Field { .. } | Self::LayerCount { .. } => "MANIFEST_INVALID",
            Self::Ambiguous => "MANIFEST_AMBIGUOUS",
            Self::MediaTypeDisagrees { .. } => "MEDIA_TYPE_DISAGREES",
            Self::NotAnImage { .. } => "NOT_AN_IMAGE",
            Self::Schema1 => "MANIFEST_SCHEMA1",
            Self::TooManyLayers { .. } => "TOO_MANY_LAYERS",
            Self::TooLarge { .. } => "MANIFEST_TOO_LARGE",
            Self::Platform { .. } => "PLATFORM_NOT_FOUND",
            Self::TooDeep { .. } => "INDEX_TOO_DEEP",
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Platform { offered, .. } if !offered.is_empty() => {
                Some(format!("ask for one of them with --platform, for example {}", offered[0]))
            }
            Self::Schema1 => Some("push the image again with a current tool".into()),
            Self::NotAnImage { .. } => {
                Some("it may be a chart or another artifact kept in the registry".into())
            }
            Self::Syntax { .. }
            | Self::Ambiguous
            | Self::MediaTypeDisagrees { .. }
            | Self::Field { .. }
            | Self::TooManyLayers { .. }
            | Self::TooLarge { .. }
            | Self::Platform { .. }
            | Self::LayerCount { .. }
            | Self::TooDeep { .. } => None,
        }
    }
}
