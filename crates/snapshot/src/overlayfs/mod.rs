//! The overlayfs driver: where layers and snapshots lie on disk, and the operations of [`Snapshotter`] on them.
//!
//! ```text
//!   <folder>/                      0700
//!     <chain id>/fs/               a committed layer: no work folder
//!     <container id>/{fs,work}     an active snapshot: upper and work folder of one overlay mount
//!     .prep-<n>-<pid>/fs/          a layer being unpacked; renamed to <chain id> by its commit
//!     .trash-<n>-<pid>/            renamed away, being deleted
//!     .mountpoints/                below the layers of every snapshot: what is mounted over in every container
//! ```
//!
//! A layer is an overlayfs lower folder as it is: whiteouts are character devices 0:0, opaque folders carry
//! `trusted.overlay.opaque`. Names that start with a dot are the driver's; no key can start with one.
//! Lower folders are handed out one by one (`fsconfig lowerdir+`), so the length of their paths is no limit.
//!
//! The mount points are lowest so that an image's own always win; an image has rarely all of them, and making them in the
//! upper folder of each container means to copy its `/etc` up, on the disk and away from it again.
//!
//! [`Snapshotter`]: crate::Snapshotter

mod active;
mod group_sync;
mod layer;
mod mount_points;
mod names;
mod snapshots;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use rustix::fs::{Mode, OFlags, open};

use self::group_sync::GroupSync;
use crate::SnapshotError;

/// The driver over one folder. Cheap to share; holds one descriptor.
#[derive(Debug)]
pub struct Overlayfs {
    path: PathBuf,
    folder: Arc<OwnedFd>,
    sync: GroupSync,
    /// Makes private names unique in this process.
    counter: AtomicU64,
}

impl Overlayfs {
    /// Opens `folder` (`<root>/snapshots/overlayfs`, absolute), and makes it and its parents when missing. Call
    /// [`cleanup`](crate::Snapshotter::cleanup) next.
    pub fn open(folder: &Path) -> Result<Self, SnapshotError> {
        let broken = |source| SnapshotError::Root { path: folder.to_owned(), source };
        let mut builder = std::fs::DirBuilder::new();
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.recursive(true).create(folder).map_err(broken)?;
        let path = folder.canonicalize().map_err(broken)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = open(&path, flags, Mode::empty()).map_err(|errno| broken(errno.into()))?;
        mount_points::make(fd.as_fd()).map_err(|errno| broken(errno.into()))?;
        Ok(Self { path, folder: Arc::new(fd), sync: GroupSync::default(), counter: AtomicU64::new(0) })
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.folder.as_fd()
    }
}
