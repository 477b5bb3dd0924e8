//! What a snapshot driver promises. Read this page before a driver, and before code that calls one.
//!
//! # The picture
//!
//! An image is a stack of *layers*, each the difference to the one below. A container needs a folder that
//! looks like the whole stack and can be written to without changing it. A driver keeps both:
//!
//! ```text
//!   prepare_layer ──► LayerDir (private) ──commit_layer──► committed layer (immutable, key = chain id)
//!                        └──discard_layer──► gone              │
//!                                                              │ parents, base first
//!                                                              ▼
//!                                        create ──► active snapshot (writable, key = container id)
//!                                                              │
//!                     describe ──► Rootfs (what to mount)  ◄───┤
//!                                                              └──remove──► gone
//! ```
//!
//! A layer's key is the hex part of its OCI *chain id*, which names it together with everything below it;
//! so a key says the whole content, and two pulls that race for one key bring the same bytes.
//!
//! # Rules that callers keep
//!
//! 1. `commit_layer` comes after [`Snapshotter::sync`] returned, and `sync` after the last write. A committed
//!    layer is believed for ever, so its bytes must be on the disk before its name is.
//! 2. Nobody writes into a committed layer, and nobody removes one that a snapshot stands on. A driver cannot
//!    know that: what stands on what is in the daemon's store, and the driver keeps no second copy of it.
//! 3. [`Snapshotter::cleanup`] runs once, before anything else, when no other process uses the folder.
//!
//! # Rules that drivers keep
//!
//! 1. Layers are independent: a layer may be prepared before its parent is there. A driver that cannot
//!    do this keeps the difference until commit.
//! 2. `commit_layer` is atomic and may be repeated: after a crash the layer is there whole or not at all,
//!    and the loser of a race is told [`Committed::AlreadyThere`], which is a success.
//! 3. `create` is on a container's start path: a handful of system calls, no walk, no flush. It is not atomic
//!    against a crash: half a snapshot is listed as [`SnapshotKind::Incomplete`], and `remove` takes it.
//! 4. `remove` takes the name away at once; the bytes go when the caller finishes the [`Removal`]. A crash between the two
//!    leaves a leftover that `cleanup` finds. Removing what is not there is `NotFound`.
//! 5. Every path is reached beneath the driver's own directory descriptor; a key never becomes a joined string
//!    that the kernel resolves from `/`.
//! 6. Nothing is mounted. [`Rootfs`] says what to mount, and whoever starts the container does it in its own namespace.
//!
//! Deliberately absent: parents, labels and times (the store has them), mounting, quota, and views (a read-only
//! container is the runtime's business).

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use gantry_types::SnapshotKey;

use crate::SnapshotError;

/// A driver. Shared by every task of the daemon, so each method may run at the same time as any other.
pub trait Snapshotter: Send + Sync + fmt::Debug {
    /// The driver's name, which is also its folder's: `overlayfs`.
    fn name(&self) -> &'static str;

    /// A new private folder in which layer `key` is unpacked. Several may be open for one key.
    fn prepare_layer(&self, key: &SnapshotKey) -> Result<LayerDir, SnapshotError>;

    /// Blocks until everything written so far below the driver's folder is on the disk. Calls that come together
    /// share the work. After a failure the layers written meanwhile must be discarded: the kernel may have dropped their pages.
    fn sync(&self) -> Result<(), SnapshotError>;

    /// Makes the layer visible under its key, durably.
    fn commit_layer(&self, layer: LayerDir) -> Result<Committed, SnapshotError>;

    /// Deletes a layer's private folder, when unpacking failed.
    fn discard_layer(&self, layer: LayerDir) -> Result<(), SnapshotError>;

    /// Makes the writable snapshot `key` on `parents`, base first. No parents means an empty root filesystem.
    fn create(&self, key: &SnapshotKey, parents: &[SnapshotKey]) -> Result<Rootfs, SnapshotError>;

    /// What `create` returned, from the same parents. Looks only whether the snapshot itself is there.
    fn describe(&self, key: &SnapshotKey, parents: &[SnapshotKey]) -> Result<Rootfs, SnapshotError>;

    /// What kind of snapshot has this key, `None` when there is none.
    fn kind(&self, key: &SnapshotKey) -> Result<Option<SnapshotKind>, SnapshotError>;

    /// Takes a layer or a snapshot away.
    fn remove(&self, key: &SnapshotKey) -> Result<Removal, SnapshotError>;

    /// Everything there is, in no order.
    fn list(&self) -> Result<Vec<Listed>, SnapshotError>;

    /// Disk space of this layer or snapshot alone, by walking it. Things that vanish meanwhile are not counted.
    fn usage(&self, key: &SnapshotKey) -> Result<Usage, SnapshotError>;

    /// Deletes what crashes left: unfinished layers and half-done removals. Returns how many it took.
    fn cleanup(&self) -> Result<usize, SnapshotError>;
}

/// The private folder of one layer while it is being unpacked.
#[derive(Debug)]
pub struct LayerDir {
    pub(crate) key: SnapshotKey,
    /// The private name beneath the driver's folder.
    pub(crate) name: String,
    /// The layer's root.
    pub(crate) root: OwnedFd,
}

impl LayerDir {
    /// The key it will have.
    pub fn key(&self) -> &SnapshotKey {
        &self.key
    }
}

impl AsFd for LayerDir {
    /// The layer's root directory, to unpack beneath.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }
}

/// How a commit ended; both are successes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Committed {
    /// These bytes are now the layer.
    New,
    /// Somebody else's bytes of the same key were there first; these are deleted.
    AlreadyThere,
}

/// What the runtime needs to mount a root filesystem: the arguments of one overlay mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rootfs {
    /// Read-only folders, **top first**, never empty. Absolute.
    pub lower: Vec<PathBuf>,
    /// Where writes go. Absolute.
    pub upper: PathBuf,
    /// overlayfs's own folder, on the same file system as `upper`. Absolute.
    pub work: PathBuf,
}

/// What a key stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SnapshotKind {
    /// A committed, immutable layer.
    Layer,
    /// A container's writable snapshot.
    Active,
    /// The beginning of a snapshot whose creation a crash cut off; only removal is left.
    Incomplete,
}

/// One line of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The key.
    pub key: SnapshotKey,
    /// What it stands for.
    pub kind: SnapshotKind,
}

/// Disk space.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes of blocks in use; a file with several names is counted once.
    pub bytes: u64,
    /// Inodes, the root directory included.
    pub inodes: u64,
}

/// A snapshot that has lost its name but still has its bytes. Large layers take seconds to delete, so
/// the caller chooses the thread; if it never finishes this, the next `cleanup` does.
#[must_use = "the bytes stay on disk until finish() or the next cleanup()"]
pub struct Removal {
    pub(crate) finish: Box<dyn FnOnce() -> Result<(), SnapshotError> + Send>,
}

impl Removal {
    /// Deletes the bytes.
    pub fn finish(self) -> Result<(), SnapshotError> {
        (self.finish)()
    }
}

impl fmt::Debug for Removal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Removal")
    }
}

impl Rootfs {
    /// The topmost read-only folder, whose root directory the container's root takes after.
    pub fn top(&self) -> &Path {
        &self.lower[0]
    }
}
