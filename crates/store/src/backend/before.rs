//! sled's files as they were before an open that may spoil them. An open zeroes every part of the log that its snapshot
//! says is not needed; when it fails, the next has only this to go by. Beside sled's folder, in `sled.before`, and not
//! synced: it is for an open that fails, not for one that is cut off.

use std::path::{Path, PathBuf};

use super::BackendError;
use crate::folder::{io, log_in};

/// How sled's snapshot files begin.
const SNAPSHOT: &str = "snap.";

/// A copy of a database's log and snapshots, for as long as this value lives.
#[derive(Debug)]
pub(super) struct Before {
    folder: PathBuf,
    copy: PathBuf,
    snapshots: Vec<String>,
}

impl Before {
    /// Copies what is in `folder`; `None` if there is no database in it.
    pub(super) fn of(folder: &Path) -> Result<Option<Self>, BackendError> {
        if !log_in(folder).exists() {
            return Ok(None);
        }
        let before = Self {
            folder: folder.to_owned(),
            copy: folder.with_extension("before"),
            snapshots: snapshots(folder)?,
        };
        remove(&before.copy)?;
        std::fs::create_dir(&before.copy).map_err(io("make", &before.copy))?;
        copy(&log_in(folder), &log_in(&before.copy))?;
        for name in &before.snapshots {
            copy(&folder.join(name), &before.copy.join(name))?;
        }
        Ok(Some(before))
    }

    pub(super) fn has_snapshots(&self) -> bool {
        !self.snapshots.is_empty()
    }

    /// Puts the log back, as a file of its own: threads of the failed open may still have the other.
    pub(super) fn put_back_log(&self) -> Result<(), BackendError> {
        let (log, new) = (log_in(&self.folder), self.copy.join("db.new"));
        copy(&log_in(&self.copy), &new)?;
        std::fs::rename(&new, &log).map_err(io("put back", &log))?;
        for name in snapshots(&self.folder)? {
            let path = self.folder.join(name);
            std::fs::remove_file(&path).map_err(io("remove", &path))?;
        }
        Ok(())
    }

    /// Puts all of it back.
    pub(super) fn put_back(&self) -> Result<(), BackendError> {
        self.put_back_log()?;
        self.snapshots.iter().try_for_each(|name| copy(&self.copy.join(name), &self.folder.join(name)))
    }
}

impl Drop for Before {
    fn drop(&mut self) {
        // What stays is removed by the next one.
        let _ = remove(&self.copy);
    }
}

fn snapshots(folder: &Path) -> Result<Vec<String>, BackendError> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(io("list", folder))? {
        let name = entry.map_err(io("list", folder))?.file_name().to_string_lossy().into_owned();
        if name.starts_with(SNAPSHOT) {
            names.push(name);
        }
    }
    Ok(names)
}

fn copy(from: &Path, to: &Path) -> Result<(), BackendError> {
    std::fs::copy(from, to).map(drop).map_err(io("copy", from))
}

fn remove(folder: &Path) -> Result<(), BackendError> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(io("remove", folder)(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}
