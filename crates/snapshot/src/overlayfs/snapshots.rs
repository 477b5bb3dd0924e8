//! The driver's [`Snapshotter`] operations, in the trait's order. What they share lies beside this file.

use std::sync::Arc;

use rustix::fs::{AtFlags, Mode, OFlags, openat, statat};
use rustix::io::Errno;

use gantry_types::SnapshotKey;

use super::Overlayfs;
use super::names::{PREPARED, TRASH, c_name};
use crate::{
    Committed, LayerDir, Listed, Removal, Rootfs, SnapshotError, SnapshotKind, Snapshotter, Usage, tree,
};

impl Snapshotter for Overlayfs {
    fn name(&self) -> &'static str {
        "overlayfs"
    }

    fn prepare_layer(&self, key: &SnapshotKey) -> Result<LayerDir, SnapshotError> {
        self.prepare(key)
    }

    fn sync(&self) -> Result<(), SnapshotError> {
        self.sync.sync(self.fd()).map_err(SnapshotError::io("flush the file system of", "overlayfs"))
    }

    fn commit_layer(&self, layer: LayerDir) -> Result<Committed, SnapshotError> {
        self.commit(layer)
    }

    fn discard_layer(&self, layer: LayerDir) -> Result<(), SnapshotError> {
        self.discard(&layer)
    }

    fn create(&self, key: &SnapshotKey, parents: &[SnapshotKey]) -> Result<Rootfs, SnapshotError> {
        self.create_active(key, parents)
    }

    fn describe(&self, key: &SnapshotKey, parents: &[SnapshotKey]) -> Result<Rootfs, SnapshotError> {
        match self.kind(key)? {
            Some(SnapshotKind::Active) => Ok(self.rootfs(key, parents)),
            Some(SnapshotKind::Layer | SnapshotKind::Incomplete) | None => {
                Err(SnapshotError::NotFound { key: key.clone() })
            }
        }
    }

    fn kind(&self, key: &SnapshotKey) -> Result<Option<SnapshotKind>, SnapshotError> {
        let failed = |errno| SnapshotError::io("look at", key.as_str())(errno);
        let exists = |name: String| match statat(self.fd(), name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => Ok(true),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(false),
            Err(errno) => Err(failed(errno)),
        };
        let has_fs = self.stat_fs(key).map_err(failed)?.is_some();
        // A snapshot gets `work` before `fs`, and a layer its name only when it is whole; so `fs` alone is a layer.
        if has_fs {
            let is_active = exists(format!("{key}/work"))?;
            return Ok(Some(if is_active { SnapshotKind::Active } else { SnapshotKind::Layer }));
        }
        Ok(exists(key.to_string())?.then_some(SnapshotKind::Incomplete))
    }

    fn remove(&self, key: &SnapshotKey) -> Result<Removal, SnapshotError> {
        let trash = match self.to_trash(key.as_str()) {
            Ok(trash) => trash,
            Err(Errno::NOENT) => return Err(SnapshotError::NotFound { key: key.clone() }),
            Err(errno) => return Err(SnapshotError::io("rename", key.as_str())(errno)),
        };
        let folder = Arc::clone(&self.folder);
        Ok(Removal {
            finish: Box::new(move || {
                let name = std::ffi::CString::new(trash.as_str()).expect("a private name has no NUL byte");
                tree::remove(std::os::fd::AsFd::as_fd(&*folder), &name)
                    .map_err(SnapshotError::io("delete", trash))
            }),
        })
    }

    fn list(&self) -> Result<Vec<Listed>, SnapshotError> {
        let mut listed = Vec::new();
        for name in self.names()? {
            // Private names start with a dot and so are no keys.
            let Ok(key) = name.parse::<SnapshotKey>() else { continue };
            if let Some(kind) = self.kind(&key)? {
                listed.push(Listed { key, kind });
            }
        }
        Ok(listed)
    }

    fn usage(&self, key: &SnapshotKey) -> Result<Usage, SnapshotError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let root = match openat(self.fd(), c_name(key).as_c_str(), flags, Mode::empty()) {
            Ok(root) => root,
            Err(Errno::NOENT) => return Err(SnapshotError::NotFound { key: key.clone() }),
            Err(errno) => return Err(SnapshotError::io("open folder", key.as_str())(errno)),
        };
        tree::usage(std::os::fd::AsFd::as_fd(&root)).map_err(SnapshotError::io("walk", key.as_str()))
    }

    fn cleanup(&self) -> Result<usize, SnapshotError> {
        let mut taken = 0;
        let mut first_failure = None;
        for name in self.names()? {
            if name.starts_with(PREPARED) || name.starts_with(TRASH) {
                match self.delete(&name) {
                    Ok(()) => taken += 1,
                    // One undeletable leftover must not keep the others.
                    Err(error) => first_failure = first_failure.or(Some(error)),
                }
            }
        }
        first_failure.map_or(Ok(taken), Err)
    }
}

impl Overlayfs {
    fn names(&self) -> Result<Vec<String>, SnapshotError> {
        let entries = tree::entries(self.fd()).map_err(SnapshotError::io("read the folder", "overlayfs"))?;
        Ok(entries.into_iter().filter_map(|(name, _)| name.into_string().ok()).collect())
    }
}
