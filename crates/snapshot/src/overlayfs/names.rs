//! The private names in the driver's folder. Keys cannot start with a dot, so these never meet one.

use std::ffi::CString;
use std::sync::atomic::Ordering;

use gantry_types::SnapshotKey;

use super::Overlayfs;

/// A layer being unpacked.
pub(super) const PREPARED: &str = ".prep-";
/// Renamed away, being deleted.
pub(super) const TRASH: &str = ".trash-";
/// The lowest folder of every snapshot.
pub(super) const MOUNT_POINTS: &str = ".mountpoints";

impl Overlayfs {
    /// A name that nothing in the folder has: process ids may come again, but [`cleanup`] has run since.
    ///
    /// [`cleanup`]: crate::Snapshotter::cleanup
    pub(super) fn private_name(&self, prefix: &str) -> String {
        let number = self.counter.fetch_add(1, Ordering::Relaxed);
        format!("{prefix}{number}-{}", std::process::id())
    }
}

/// A key as the kernel takes it.
pub(super) fn c_name(key: &SnapshotKey) -> CString {
    CString::new(key.as_str()).expect("a snapshot key has no NUL byte")
}
