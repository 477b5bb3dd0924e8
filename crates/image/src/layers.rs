//! Where unpacked layers go: the seam between this crate and the snapshot driver, which the daemon joins (engines
//! never meet). Forty lines over a driver implement it; this crate's tests implement it over a plain folder.

use std::fmt;
use std::os::fd::BorrowedFd;

use gantry_types::{Class, Classified, Resource, SnapshotKey};

/// An error of the other side, kept whole: it says of itself what the other side's error says.
#[derive(Debug)]
pub struct LayerStoreError(pub Box<dyn Classified + Send + Sync>);

impl fmt::Display for LayerStoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl std::error::Error for LayerStoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source()
    }
}

impl Classified for LayerStoreError {
    fn class(&self) -> Class {
        self.0.class()
    }

    fn reason(&self) -> &'static str {
        self.0.reason()
    }

    fn resource(&self) -> Option<Resource> {
        self.0.resource()
    }

    fn hint(&self) -> Option<String> {
        self.0.hint()
    }
}

/// Keeps layer folders by chain id. Every method blocks, and may run at the same time as any other.
pub trait LayerStore: Send + Sync + fmt::Debug {
    /// Whether the layer is committed.
    fn has(&self, key: &SnapshotKey) -> Result<bool, LayerStoreError>;

    /// A private folder to unpack the layer in.
    fn prepare(&self, key: &SnapshotKey) -> Result<Box<dyn LayerFolder>, LayerStoreError>;
}

/// A layer's private folder.
pub trait LayerFolder: Send + fmt::Debug {
    /// Its root directory.
    fn root(&self) -> BorrowedFd<'_>;

    /// Flushes what was written and makes the layer visible under its key, durably. Somebody else's layer of the same
    /// key being there first is a success.
    fn commit(self: Box<Self>) -> Result<(), LayerStoreError>;

    /// Deletes it.
    fn discard(self: Box<Self>) -> Result<(), LayerStoreError>;
}
