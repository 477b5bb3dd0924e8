//! Why the content store failed.

use std::io;
use std::path::PathBuf;

use gantry_types::{Class, Classified, Digest, Resource};

use crate::disk;

/// A failed operation on stored bytes.
#[derive(Debug, thiserror::Error)]
pub enum ContentError {
    /// The store's folder cannot be opened or made.
    #[error("the content folder {} cannot be used", path.display())]
    Root {
        /// The folder.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The blob is not stored here.
    #[error("blob {digest} is not stored here")]
    NotFound {
        /// The blob.
        digest: Digest,
    },
    /// A digest algorithm that is not stored.
    #[error("digest {digest} uses an algorithm that is not stored here")]
    Algorithm {
        /// The digest.
        digest: Digest,
    },
    /// Bytes that came in do not have the digest they were promised under.
    #[error("the bytes received have digest {found} instead of {expected}")]
    DigestMismatch {
        /// What was promised.
        expected: Digest,
        /// What came.
        found: Digest,
    },
    /// More or fewer bytes came in than were promised.
    #[error("{found} bytes received for {name} instead of {expected}")]
    SizeMismatch {
        /// What was being stored.
        name: String,
        /// Bytes promised.
        expected: u64,
        /// Bytes that came.
        found: u64,
    },
    /// A stored blob no longer has its digest.
    #[error("stored blob {digest} is damaged: its bytes have digest {found}")]
    Corrupt {
        /// The blob.
        digest: Digest,
        /// What its bytes hash to now.
        found: Digest,
    },
    /// A document is larger than anything of its kind may be.
    #[error("blob {digest} has {size} bytes, more than the {bytes_max} allowed for its kind")]
    TooLarge {
        /// The blob.
        digest: Digest,
        /// Its bytes.
        size: u64,
        /// The limit.
        bytes_max: u64,
    },
    /// Another download writes the same ingest.
    #[error("ingest {id} is being written already")]
    Busy {
        /// The ingest.
        id: String,
    },
    /// A system call on one blob or ingest failed.
    #[error("cannot {action} {name}")]
    Io {
        /// The verb.
        action: &'static str,
        /// The blob or ingest.
        name: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// A system call on a folder of the store failed.
    #[error("cannot {action}")]
    Folder {
        /// Verb and noun.
        action: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

impl ContentError {
    pub(crate) fn io(
        action: &'static str,
        name: &(impl ToString + ?Sized),
    ) -> impl FnOnce(io::Error) -> Self {
        let name = name.to_string();
        move |source| Self::Io { action, name, source }
    }

    pub(crate) fn folder(action: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Folder { action, source }
    }
}

impl Classified for ContentError {
    fn class(&self) -> Class {
        match self {
            Self::NotFound { .. } => Class::NotFound,
            Self::Algorithm { .. } => Class::Unimplemented,
            Self::DigestMismatch { .. } | Self::SizeMismatch { .. } | Self::Corrupt { .. } => Class::DataLoss,
            Self::TooLarge { .. } => Class::InvalidArgument,
            Self::Busy { .. } => Class::Aborted,
            Self::Root { source, .. } | Self::Io { source, .. } | Self::Folder { source, .. } => {
                disk::class_of(source)
            }
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::Root { .. } => "CONTENT_FOLDER_UNUSABLE",
            Self::NotFound { .. } => "BLOB_NOT_FOUND",
            Self::Algorithm { .. } => "DIGEST_ALGORITHM_UNSUPPORTED",
            Self::DigestMismatch { .. } => "DIGEST_MISMATCH",
            Self::SizeMismatch { .. } => "SIZE_MISMATCH",
            Self::Corrupt { .. } => "BLOB_CORRUPT",
            Self::TooLarge { .. } => "BLOB_TOO_LARGE",
            Self::Busy { .. } => "INGEST_BUSY",
            Self::Io { .. } | Self::Folder { .. } => "CONTENT_IO",
        }
    }

    fn resource(&self) -> Option<Resource> {
        match self {
            Self::NotFound { digest }
            | Self::Algorithm { digest }
            | Self::Corrupt { digest, .. }
            | Self::TooLarge { digest, .. } => Some(Resource { kind: "content", name: digest.to_string() }),
            Self::DigestMismatch { expected, .. } => {
                Some(Resource { kind: "content", name: expected.to_string() })
            }
            Self::Root { .. }
            | Self::SizeMismatch { .. }
            | Self::Busy { .. }
            | Self::Io { .. }
            | Self::Folder { .. } => None,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::DigestMismatch { .. } | Self::SizeMismatch { .. } => Some(
                "the registry or something on the way changed the bytes; try again or use another registry"
                    .into(),
            ),
            Self::Corrupt { .. } => Some("the disk lost bytes; remove the image and pull it again".into()),
            Self::Root { path, .. } => {
                Some(format!("check that {} is a folder owned by root", path.display()))
            }
            Self::Io { source, .. } | Self::Folder { source, .. } => disk::hint_for(source),
            Self::NotFound { .. } | Self::Algorithm { .. } | Self::TooLarge { .. } | Self::Busy { .. } => {
                None
            }
        }
    }
}
