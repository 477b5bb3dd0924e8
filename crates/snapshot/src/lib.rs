//! The folders that containers' root filesystems are made of. [`Snapshotter`] is the contract, and reads
//! as a text; [`Overlayfs`] is the driver for overlayfs. What exists *and is wanted* is the daemon's store's
//! business; a driver only knows its folders. Blocking throughout, no clock, no global state.

mod error;
mod overlayfs;
mod snapshotter;
mod tree;

pub use error::SnapshotError;
pub use overlayfs::Overlayfs;
pub use snapshotter::{Committed, LayerDir, Listed, Removal, Rootfs, SnapshotKind, Snapshotter, Usage};
