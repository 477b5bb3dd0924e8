//! Why a layer did not become a folder.

use std::io;

use gantry_types::{Class, Classified, Digest};

use crate::content::ContentError;
use crate::layers::LayerStoreError;
use crate::unpack::UnpackError;

/// A layer that failed.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    /// Its tar is refused or cannot be written.
    #[error("layer {diff_id} cannot be unpacked")]
    Unpack {
        /// The layer, by the digest of its tar.
        diff_id: Digest,
        /// Why.
        source: UnpackError,
    },
    /// Its tar is not the one that the config names.
    #[error("the layer unpacks to {found} instead of {expected}")]
    DiffId {
        /// What the config names.
        expected: Digest,
        /// What the tar is.
        found: Digest,
    },
    /// Its folder cannot be made or committed.
    #[error("layer {diff_id} cannot be kept")]
    Store {
        /// The layer.
        diff_id: Digest,
        /// Why.
        source: LayerStoreError,
    },
    /// Its blob cannot be kept.
    #[error("blob {digest} cannot be kept")]
    Content {
        /// The blob.
        digest: Digest,
        /// Why.
        source: ContentError,
    },
    /// A thread cannot be started.
    #[error("no thread can be started for a layer")]
    Thread {
        /// What the kernel said.
        source: io::Error,
    },
    /// The work was given up before it was done.
    #[error("the work on the layer was given up")]
    GivenUp,
}

impl Classified for LayerError {
    fn class(&self) -> Class {
        match self {
            Self::Unpack { source, .. } => source.class(),
            Self::DiffId { .. } => Class::DataLoss,
            Self::Store { source, .. } => source.class(),
            Self::Content { source, .. } => source.class(),
            // Threads fail for want of memory or because of a limit on processes.
            Self::Thread { .. } => Class::ResourceExhausted,
            Self::GivenUp => Class::Cancelled,
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::Unpack { source, .. } => source.reason(),
            Self::DiffId { .. } => "DIFF_ID_MISMATCH",
            Self::Store { source, .. } => source.reason(),
            Self::Content { source, .. } => source.reason(),
            Self::Thread { .. } => "THREAD_FAILED",
            Self::GivenUp => "GIVEN_UP",
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Unpack { source, .. } => source.hint(),
            Self::DiffId { .. } => Some("the image is broken or malicious; do not use it".into()),
            Self::Store { source, .. } => source.hint(),
            Self::Content { source, .. } => source.hint(),
            Self::Thread { .. } => Some("the machine's limit of threads or memory is reached".into()),
            Self::GivenUp => None,
        }
    }
}
