//! Why a layer cannot be unpacked. Names from the archive are shown escaped and cut, because they are hostile too.

use std::io;

use gantry_types::{Class, Classified};

use crate::disk;

/// A refused or failed layer.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// The stream broke: the decompressor or the source failed.
    #[error("the layer cannot be read")]
    Read {
        /// Why.
        source: io::Error,
    },
    /// The stream ends in the middle of an entry.
    #[error("the layer ends in the middle of an entry")]
    Truncated,
    /// A header is damaged.
    #[error("the layer has a damaged header at byte {at}: {field}")]
    Header {
        /// Where in the tar.
        at: u64,
        /// What is wrong.
        field: &'static str,
    },
    /// Readers of tar would disagree on what this entry is, so it is refused.
    #[error("entry {entry:?} of the layer says its {field} twice and differently")]
    Disagreement {
        /// Its name.
        entry: String,
        /// Which property.
        field: &'static str,
    },
    /// A kind of entry that layers do not have.
    #[error("entry {entry:?} of the layer is of the unsupported kind {kind:?}")]
    Kind {
        /// Its name.
        entry: String,
        /// The type flag.
        kind: char,
    },
    /// The name may not be used.
    #[error("entry {entry:?} of the layer has a forbidden name: {rule}")]
    Name {
        /// Its name.
        entry: String,
        /// The rule it breaks.
        rule: &'static str,
    },
    /// A hard link whose target is not an earlier entry of this layer.
    #[error("entry {entry:?} of the layer links to {target:?}, which is not in the layer")]
    LinkTarget {
        /// Its name.
        entry: String,
        /// Its target.
        target: String,
    },
    /// Something other than a folder is where the entry needs one.
    #[error("entry {entry:?} of the layer lies below something that is not a folder")]
    NotAFolder {
        /// Its name.
        entry: String,
    },
    /// The tar is larger than allowed.
    #[error("the layer unpacks to more than {bytes_max} bytes")]
    TooLarge {
        /// The limit.
        bytes_max: u64,
    },
    /// The tar has more entries than allowed.
    #[error("the layer has more than {entries_max} entries")]
    TooMany {
        /// The limit.
        entries_max: u64,
    },
    /// Writing failed.
    #[error("cannot {action} for entry {entry:?} of the layer")]
    Write {
        /// What was done.
        action: &'static str,
        /// The entry's name.
        entry: String,
        /// What the kernel said.
        source: io::Error,
    },
}

/// A name from the archive as it may be shown.
pub(super) fn shown(name: &[u8]) -> String {
    String::from_utf8_lossy(name).chars().take(160).collect()
}

impl UnpackError {
    pub(super) fn write<'name>(
        action: &'static str,
        entry: &'name [u8],
    ) -> impl FnOnce(rustix::io::Errno) -> Self + use<'name> {
        move |errno| Self::Write { action, entry: shown(entry), source: errno.into() }
    }
}

impl Classified for UnpackError {
    fn class(&self) -> Class {
        match self {
            Self::Read { .. }
            | Self::Truncated
            | Self::Header { .. }
            | Self::Disagreement { .. }
            | Self::Name { .. }
            | Self::LinkTarget { .. }
            | Self::NotAFolder { .. } => Class::DataLoss,
            Self::Kind { .. } => Class::Unimplemented,
            Self::TooLarge { .. } | Self::TooMany { .. } => Class::ResourceExhausted,
            Self::Write { source, .. } => disk::class_of(source),
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::Read { .. } | Self::Truncated | Self::Header { .. } => "LAYER_DAMAGED",
            Self::Disagreement { .. } => "LAYER_AMBIGUOUS",
            Self::Kind { .. } => "LAYER_ENTRY_UNSUPPORTED",
            Self::Name { .. } | Self::LinkTarget { .. } | Self::NotAFolder { .. } => "LAYER_ENTRY_FORBIDDEN",
            Self::TooLarge { .. } | Self::TooMany { .. } => "LAYER_TOO_LARGE",
            Self::Write { .. } => "LAYER_WRITE",
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::TooLarge { .. } | Self::TooMany { .. } => {
                Some("if the image is trusted, raise the limit in the configuration".into())
            }
            Self::Disagreement { .. } | Self::Name { .. } | Self::LinkTarget { .. } => {
                Some("the image is broken or malicious; do not use it".into())
            }
            Self::Write { source, .. } => disk::hint_for(source),
            Self::Read { .. }
            | Self::Truncated
            | Self::Header { .. }
            | Self::Kind { .. }
            | Self::NotAFolder { .. } => None,
        }
    }
}
