//! Why an operation on a snapshot failed. One enum for all drivers, because callers treat them alike.

use std::io;
use std::path::PathBuf;

use gantry_types::{Class, Classified, Resource, SnapshotKey};

/// A failed operation on a snapshot.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The driver's folder cannot be opened or made.
    #[error("the snapshot folder {} cannot be used", path.display())]
    Root {
        /// The folder.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// There is no snapshot of that key.
    #[error("snapshot {key} does not exist")]
    NotFound {
        /// The key asked for.
        key: SnapshotKey,
    },
    /// A snapshot of that key is there already.
    #[error("snapshot {key} exists already")]
    AlreadyExists {
        /// The key asked for.
        key: SnapshotKey,
    },
    /// The parent is missing, or is a container's snapshot instead of a committed layer.
    #[error("snapshot {key} cannot stand on {parent}, which is no committed layer")]
    Parent {
        /// The snapshot asked for.
        key: SnapshotKey,
        /// The layer that is not there.
        parent: SnapshotKey,
    },
    /// The layer's private folder went away before its commit.
    #[error("the folder in which layer {key} was unpacked is gone")]
    LayerLost {
        /// The layer.
        key: SnapshotKey,
    },
    /// A system call failed.
    #[error("cannot {action} {name}")]
    Io {
        /// The verb and the noun: `make folder`, `rename`…
        action: &'static str,
        /// The name beneath the driver's folder.
        name: String,
        /// What the kernel said.
        source: io::Error,
    },
}

impl SnapshotError {
    pub(crate) fn io(
        action: &'static str,
        name: impl Into<String>,
    ) -> impl FnOnce(rustix::io::Errno) -> Self {
        let name = name.into();
        move |errno| Self::Io { action, name, source: errno.into() }
    }
}

fn class_of(source: &io::Error) -> Class {
    if source.kind() == io::ErrorKind::StorageFull || source.kind() == io::ErrorKind::QuotaExceeded {
        Class::ResourceExhausted
    } else if source.kind() == io::ErrorKind::PermissionDenied {
        Class::PermissionDenied
    } else {
        Class::Internal
    }
}

impl Classified for SnapshotError {
    fn class(&self) -> Class {
        match self {
            Self::Root { source, .. } | Self::Io { source, .. } => class_of(source),
            Self::NotFound { .. } => Class::NotFound,
            Self::AlreadyExists { .. } => Class::AlreadyExists,
            Self::Parent { .. } => Class::FailedPrecondition,
            Self::LayerLost { .. } => Class::Aborted,
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::Root { .. } => "SNAPSHOT_FOLDER_UNUSABLE",
            Self::NotFound { .. } => "SNAPSHOT_NOT_FOUND",
            Self::AlreadyExists { .. } => "SNAPSHOT_EXISTS",
            Self::Parent { .. } => "SNAPSHOT_PARENT_MISSING",
            Self::LayerLost { .. } => "LAYER_FOLDER_LOST",
            Self::Io { .. } => "SNAPSHOT_IO",
        }
    }

    fn resource(&self) -> Option<Resource> {
        let name = match self {
            Self::Root { .. } | Self::Io { .. } => return None,
            Self::NotFound { key }
            | Self::AlreadyExists { key }
            | Self::Parent { key, .. }
            | Self::LayerLost { key } => key.to_string(),
        };
        Some(Resource { kind: "snapshot", name })
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Root { path, .. } => {
                Some(format!("check that {} is a folder owned by root", path.display()))
            }
            Self::Parent { .. } => Some("pull the image again; a layer of it is missing".into()),
            Self::LayerLost { .. } => Some("try again; something removed the folder meanwhile".into()),
            Self::Io { source, .. } if class_of(source) == Class::ResourceExhausted => {
                Some("free disk space, for example with gantry rmi".into())
            }
            Self::NotFound { .. } | Self::AlreadyExists { .. } | Self::Io { .. } => None,
        }
    }
}
