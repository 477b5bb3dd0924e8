//! Why an archive was not imported.

use std::io;

use gantry_types::{Class, Classified, Digest, Platform};

use crate::content::ContentError;
use crate::layer::LayerError;
use crate::layers::LayerStoreError;
use crate::manifest::ManifestError;
use crate::unpack::UnpackError;

/// A failed import. Blobs that were stored before it stay until nothing wants them.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The stream broke or cannot be decompressed.
    #[error("the archive cannot be read")]
    Read {
        /// Why.
        source: io::Error,
    },
    /// The tar around the image is refused.
    #[error("the archive is not a usable tar")]
    Archive {
        /// Why.
        source: UnpackError,
    },
    /// Neither an OCI layout nor a docker archive.
    #[error("the archive has neither an OCI image layout nor docker's manifest.json in it")]
    Format,
    /// No image for the platform.
    #[error("the archive has no image for {platform}")]
    Empty {
        /// The platform asked for.
        platform: Platform,
    },
    /// More images than one import may bring.
    #[error("the archive has {count} images, more than the {max} allowed")]
    TooMany {
        /// Its images.
        count: usize,
        /// The limit.
        max: usize,
    },
    /// A member has another digest than its name says.
    #[error("member {name:?} of the archive has digest {found}")]
    Member {
        /// Its name.
        name: String,
        /// What its bytes hash to.
        found: Digest,
    },
    /// Something that the archive names is not in it.
    #[error("the archive names {name:?} but does not have it")]
    Missing {
        /// The member.
        name: String,
    },
    /// A document in the archive is refused.
    #[error("a document in the archive is not usable")]
    Manifest {
        /// Why.
        source: ManifestError,
    },
    /// A blob cannot be kept.
    #[error("a blob of the archive cannot be kept")]
    Content {
        /// Why.
        source: ContentError,
    },
    /// A layer cannot be unpacked.
    #[error("a layer of the archive failed")]
    Layer {
        /// Why.
        source: LayerError,
    },
    /// The layer store failed.
    #[error("the layers of the archive cannot be looked up")]
    Layers {
        /// Why.
        source: LayerStoreError,
    },
}

impl From<UnpackError> for ImportError {
    fn from(source: UnpackError) -> Self {
        Self::Archive { source }
    }
}

impl From<ContentError> for ImportError {
    fn from(source: ContentError) -> Self {
        Self::Content { source }
    }
}

impl From<ManifestError> for ImportError {
    fn from(source: ManifestError) -> Self {
        Self::Manifest { source }
    }
}

impl Classified for ImportError {
    fn class(&self) -> Class {
        match self {
            Self::Read { .. } | Self::Member { .. } | Self::Missing { .. } => Class::DataLoss,
            Self::Format | Self::TooMany { .. } => Class::InvalidArgument,
            Self::Empty { .. } => Class::NotFound,
            Self::Archive { source } => source.class(),
            Self::Manifest { source } => source.class(),
            Self::Content { source } => source.class(),
            Self::Layer { source } => source.class(),
            Self::Layers { source } => source.class(),
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::Read { .. } => "ARCHIVE_UNREADABLE",
            Self::Member { .. } => "DIGEST_MISMATCH",
            Self::Missing { .. } => "ARCHIVE_INCOMPLETE",
            Self::Format => "ARCHIVE_FORMAT_UNKNOWN",
            Self::TooMany { .. } => "ARCHIVE_TOO_MANY_IMAGES",
            Self::Empty { .. } => "PLATFORM_NOT_FOUND",
            Self::Archive { source } => source.reason(),
            Self::Manifest { source } => source.reason(),
            Self::Content { source } => source.reason(),
            Self::Layer { source } => source.reason(),
            Self::Layers { source } => source.reason(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Format => {
                Some("make it with docker save, podman save or skopeo copy to oci-archive:".into())
            }
            Self::Read { .. } | Self::Member { .. } | Self::Missing { .. } => {
                Some("the archive is cut off or damaged; make it again".into())
            }
            Self::Empty { .. } | Self::TooMany { .. } => None,
            Self::Archive { source } => source.hint(),
            Self::Manifest { source } => source.hint(),
            Self::Content { source } => source.hint(),
            Self::Layer { source } => source.hint(),
            Self::Layers { source } => source.hint(),
        }
    }
}
