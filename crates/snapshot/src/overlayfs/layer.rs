//! Layers: from a private folder to an immutable one, by one rename.

use rustix::fs::{Mode, OFlags, RenameFlags, fchmod, fsync, mkdirat, openat, renameat_with};
use rustix::io::Errno;

use gantry_types::SnapshotKey;

use super::Overlayfs;
use super::names::{PREPARED, TRASH};
use crate::{Committed, LayerDir, SnapshotError, tree};

const OPEN_FOLDER: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

impl Overlayfs {
    pub(super) fn prepare(&self, key: &SnapshotKey) -> Result<LayerDir, SnapshotError> {
        let name = self.private_name(PREPARED);
        let folder = self.make_open(&name)?;
        mkdirat(&folder, c"fs", Mode::from_raw_mode(0o755))
            .map_err(SnapshotError::io("make folder", &name))?;
        let root = openat(&folder, c"fs", OPEN_FOLDER, Mode::empty())
            .map_err(SnapshotError::io("open folder", &name))?;
        // A layer that says nothing of its root gets 0755, whatever this process's umask is.
        fchmod(&root, Mode::from_raw_mode(0o755)).map_err(SnapshotError::io("set mode of", &name))?;
        Ok(LayerDir { key: key.clone(), name, root })
    }

    pub(super) fn commit(&self, layer: LayerDir) -> Result<Committed, SnapshotError> {
        let key = layer.key.as_str();
        match renameat_with(self.fd(), &layer.name, self.fd(), key, RenameFlags::NOREPLACE) {
            Ok(()) => {
                fsync(self.fd()).map_err(SnapshotError::io("flush the folder of", key))?;
                Ok(Committed::New)
            }
            Err(Errno::EXIST) => {
                // The other commit may still be between its rename and its flush.
                fsync(self.fd()).map_err(SnapshotError::io("flush the folder of", key))?;
                self.discard(&layer)?;
                Ok(Committed::AlreadyThere)
            }
            Err(Errno::NOENT) => Err(SnapshotError::LayerLost { key: layer.key }),
            Err(errno) => Err(SnapshotError::io("rename layer", key)(errno)),
        }
    }

    pub(super) fn discard(&self, layer: &LayerDir) -> Result<(), SnapshotError> {
        self.delete(&layer.name)
    }

    /// Renames `name` out of the way, and returns the new name. The caller deletes it.
    pub(super) fn to_trash(&self, name: &str) -> Result<String, Errno> {
        let trash = self.private_name(TRASH);
        renameat_with(self.fd(), name, self.fd(), &trash, RenameFlags::NOREPLACE)?;
        Ok(trash)
    }

    pub(super) fn delete(&self, name: &str) -> Result<(), SnapshotError> {
        let c_name = std::ffi::CString::new(name).expect("a name read from a folder has no NUL byte");
        tree::remove(self.fd(), &c_name).map_err(SnapshotError::io("delete", name))
    }

    fn make_open(&self, name: &str) -> Result<std::os::fd::OwnedFd, SnapshotError> {
        mkdirat(self.fd(), name, Mode::from_raw_mode(0o700))
            .map_err(SnapshotError::io("make folder", name))?;
        openat(self.fd(), name, OPEN_FOLDER, Mode::empty()).map_err(SnapshotError::io("open folder", name))
    }
}
