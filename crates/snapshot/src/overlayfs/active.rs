//! Active snapshots: three folders, made on a container's start path. Counted: three `mkdirat`, one `statx` per
//! parent, one `openat`, one `fchmod`, and one `fchown` when the image's root is not root's.
//!
//! The root of an overlay mount takes mode and owner from the *upper* folder alone, so `fs` is made like the
//! root folder of the topmost layer; otherwise `/` of every container would be root's 0755 whatever its image says.

use std::path::PathBuf;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, chmodat, chownat, mkdirat, statat};
use rustix::io::Errno;

use gantry_types::SnapshotKey;

use super::Overlayfs;
use super::names::MOUNT_POINTS;
use crate::{Rootfs, SnapshotError};

impl Overlayfs {
    pub(super) fn create_active(
        &self,
        key: &SnapshotKey,
        parents: &[SnapshotKey],
    ) -> Result<Rootfs, SnapshotError> {
        let top = self.check_parents(key, parents)?;
        let name = key.as_str();
        match mkdirat(self.fd(), name, Mode::from_raw_mode(0o700)) {
            Ok(()) => {}
            Err(Errno::EXIST) => return Err(SnapshotError::AlreadyExists { key: key.clone() }),
            Err(errno) => return Err(SnapshotError::io("make folder", name)(errno)),
        }
        let made = self.fill_active(name, top.as_ref());
        if let Err(errno) = made {
            // Best effort: what stays is listed as incomplete, and the first failure is the one to tell.
            let _ = self.delete(name);
            return Err(SnapshotError::io("make folder", name)(errno));
        }
        Ok(self.rootfs(key, parents))
    }

    pub(super) fn rootfs(&self, key: &SnapshotKey, parents: &[SnapshotKey]) -> Rootfs {
        let fs = |name: &str| -> PathBuf { self.path.join(name).join("fs") };
        let layers = parents.iter().rev().map(|parent| fs(parent.as_str()));
        let lower = layers.chain([self.path.join(MOUNT_POINTS)]).collect();
        Rootfs { lower, upper: fs(key.as_str()), work: self.path.join(key.as_str()).join("work") }
    }

    /// Every parent is a committed layer; returns the topmost one's root.
    fn check_parents(
        &self,
        key: &SnapshotKey,
        parents: &[SnapshotKey],
    ) -> Result<Option<Stat>, SnapshotError> {
        let mut top = None;
        for parent in parents {
            let missing = || SnapshotError::Parent { key: key.clone(), parent: parent.clone() };
            let stat = self.stat_fs(parent).map_err(SnapshotError::io("look at", parent.as_str()))?;
            top = Some(stat.ok_or_else(missing)?);
        }
        // A container's snapshot is not a layer. Checked for the top only: the store vouches for the chain, this
        // catches a caller who confused the two kinds of keys.
        if let Some(parent) = parents.last()
            && statat(self.fd(), format!("{parent}/work"), AtFlags::SYMLINK_NOFOLLOW).is_ok()
        {
            return Err(SnapshotError::Parent { key: key.clone(), parent: parent.clone() });
        }
        Ok(top)
    }

    fn fill_active(&self, name: &str, top: Option<&Stat>) -> Result<(), Errno> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let folder = rustix::fs::openat(self.fd(), name, flags, Mode::empty())?;
        // In this order, so that `fs` without `work` is never anything but a layer.
        mkdirat(&folder, c"work", Mode::from_raw_mode(0o700))?;
        mkdirat(&folder, c"fs", Mode::from_raw_mode(0o755))?;
        let (mode, uid, gid) =
            top.map_or((0o755, 0, 0), |stat| (stat.st_mode & 0o7777, stat.st_uid, stat.st_gid));
        if (uid, gid) != (0, 0) {
            let (uid, gid) = (rustix::fs::Uid::from_raw(uid), rustix::fs::Gid::from_raw(gid));
            chownat(&folder, c"fs", Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
        }
        // After the owner, because changing that clears set-user-id bits; and always, because of the umask.
        chmodat(&folder, c"fs", Mode::from_raw_mode(mode), AtFlags::empty())
    }

    /// The `fs` folder of a key, `None` when there is none.
    pub(super) fn stat_fs(&self, key: &SnapshotKey) -> Result<Option<Stat>, Errno> {
        match statat(self.fd(), format!("{key}/fs"), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => Ok(Some(stat)),
            Ok(_) | Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(errno) => Err(errno),
        }
    }
}
