//! The store's folder and the few file operations everything in it goes by.
//!
//! ```text
//! <folder>/                0700
//!   lock                   locked by whoever has the store open
//!   founded                there once the database has been: one that is empty then has lost everything
//!   clean                  there only after an orderly close, removed by the next open
//!   sled/                  sled's own: conf, db (its log), snap.*, blobs/; and journal, what it does not have yet
//!   sled.before/           sled's files as an open found them that is at work, or was cut off
//!   sled.new/              a rebuild that did not finish
//!   sled.damaged.<n>/      what a rebuild put aside
//!   export.jsonl           every row as of some minutes ago at the most, with a checksum
//! ```

use std::fs::{DirBuilder, File, TryLockError};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use crate::backend::BackendError;
use crate::error::StoreError;

/// The name of the export that the store keeps by itself.
pub const EXPORT: &str = "export.jsonl";
const LOCK: &str = "lock";
const CLEAN: &str = "clean";
const FOUNDED: &str = "founded";
const SLED: &str = "sled";
const SLED_NEW: &str = "sled.new";

/// The database's log file in a store's folder, for naming it to people.
pub fn database_file(folder: &Path) -> PathBuf {
    log_in(&folder.join(SLED))
}

/// The export that a store keeps by itself, in its folder.
pub fn kept_export(folder: &Path) -> PathBuf {
    folder.join(EXPORT)
}

/// sled's log in sled's folder.
pub(crate) fn log_in(sled: &Path) -> PathBuf {
    sled.join("db")
}

/// A folder that this process alone has, for as long as this value lives.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    /// Locked; the kernel unlocks it when it is closed, however that comes about.
    lock: File,
}

impl Folder {
    /// Makes the folder if it is missing and takes its lock.
    pub(crate) fn take(path: &Path) -> Result<Self, StoreError> {
        let fail = |operation| move |source| StoreError::Io { operation, path: path.to_owned(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(fail("make folder"))?;
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path.join(LOCK))
            .map_err(fail("make the lock file in"))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StoreError::InUse { path: path.to_owned() }),
            Err(TryLockError::Error(source)) => return Err(fail("lock")(source)),
        }
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            sync_path(parent)?;
        }
        Ok(Self { path: path.to_owned(), lock })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A descriptor on the folder's disk.
    pub(crate) fn lock(&self) -> &File {
        &self.lock
    }

    /// sled's own folder.
    pub(crate) fn sled(&self) -> PathBuf {
        self.path.join(SLED)
    }

    /// Whether there has been a database here.
    pub(crate) fn is_founded(&self) -> bool {
        self.path.join(FOUNDED).exists()
    }

    /// Records that there is a database here.
    pub(crate) fn set_founded(&self) -> Result<(), StoreError> {
        if self.is_founded() { Ok(()) } else { self.mark(FOUNDED) }
    }

    /// Whether the last stop was orderly. Asking takes the mark away, durably, because from here on it would lie.
    pub(crate) fn take_clean_mark(&self) -> Result<bool, StoreError> {
        let mark = self.path.join(CLEAN);
        match std::fs::remove_file(&mark) {
            Ok(()) => {
                sync_path(&self.path)?;
                Ok(true)
            }
            Err(reason) if reason.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(source) => Err(StoreError::Io { operation: "remove", path: mark, source }),
        }
    }

    fn mark(&self, name: &str) -> Result<(), StoreError> {
        let mark = self.path.join(name);
        File::create(&mark).map_err(|source| StoreError::Io { operation: "make", path: mark, source })?;
        sync_path(&self.path)?;
        Ok(())
    }

    /// Lets others take the folder from here on.
    pub(crate) fn leave(&self, in_order: bool) -> Result<(), StoreError> {
        if in_order {
            self.mark(CLEAN)?;
        }
        self.lock.unlock().map_err(|source| StoreError::Io {
            operation: "unlock",
            path: self.path.join(LOCK),
            source,
        })
    }

    /// An empty folder for a new database, which [`Folder::adopt`] puts in the old one's place.
    pub(crate) fn fresh_sled(&self) -> Result<PathBuf, StoreError> {
        let new = self.path.join(SLED_NEW);
        if new.exists() {
            std::fs::remove_dir_all(&new).map_err(|source| StoreError::Io {
                operation: "remove",
                path: new.clone(),
                source,
            })?;
        }
        Ok(new)
    }

    /// Puts the new database in place. Returns where the old one is now, if there was one.
    pub(crate) fn adopt(&self) -> Result<Option<PathBuf>, StoreError> {
        let rename = |from: &Path, to: &Path| {
            std::fs::rename(from, to).map_err(|source| StoreError::Io {
                operation: "put aside or in place",
                path: from.to_owned(),
                source,
            })
        };
        let old = self.sled();
        let mut aside = None;
        if old.exists() {
            let free = (1_u32..).map(|n| self.path.join(format!("{SLED}.damaged.{n}")));
            let to = free.into_iter().find(|path| !path.exists()).expect("some number is free");
            rename(&old, &to)?;
            aside = Some(to);
        }
        rename(&self.path.join(SLED_NEW), &old)?;
        sync_path(&self.path)?;
        Ok(aside)
    }
}

/// Syncs a file or a folder by its path.
pub(crate) fn sync_path(path: &Path) -> Result<(), BackendError> {
    File::open(path).and_then(|file| file.sync_all()).map_err(io("sync", path))
}

/// An I/O error with what was being done to which file.
pub(crate) fn io(operation: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> BackendError {
    let path = path.to_owned();
    move |source| BackendError::Io { operation, path, source }
}
