//! A layer store over a plain folder: what the daemon does with a snapshot driver, small enough to be seen through.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use gantry_image::layers::{LayerFolder, LayerStore, LayerStoreError};
use gantry_types::{Class, Classified, SnapshotKey};

#[derive(Debug)]
pub(crate) struct Folders {
    root: PathBuf,
    next: AtomicU64,
}

#[derive(Debug)]
struct Folder {
    open: File,
    path: PathBuf,
    done: PathBuf,
}

#[derive(Debug, thiserror::Error)]
#[error("a folder of the test failed")]
struct Failed {
    source: io::Error,
}

impl Classified for Failed {
    fn class(&self) -> Class {
        Class::Internal
    }

    fn reason(&self) -> &'static str {
        "TEST"
    }
}

fn failed(source: io::Error) -> LayerStoreError {
    LayerStoreError(Box::new(Failed { source }))
}

impl Folders {
    pub(crate) fn new(root: &Path) -> Self {
        std::fs::create_dir_all(root).expect("a folder");
        Self { root: root.to_owned(), next: AtomicU64::new(0) }
    }

    pub(crate) fn path(&self, key: &SnapshotKey) -> PathBuf {
        self.root.join(key.as_str())
    }
}

impl LayerStore for Folders {
    fn has(&self, key: &SnapshotKey) -> Result<bool, LayerStoreError> {
        Ok(self.path(key).exists())
    }

    fn prepare(&self, key: &SnapshotKey) -> Result<Box<dyn LayerFolder>, LayerStoreError> {
        let path = self.root.join(format!(".prep-{}", self.next.fetch_add(1, Ordering::Relaxed)));
        std::fs::create_dir(&path).map_err(failed)?;
        let open = File::open(&path).map_err(failed)?;
        Ok(Box::new(Folder { open, path, done: self.path(key) }))
    }
}

impl LayerFolder for Folder {
    fn root(&self) -> BorrowedFd<'_> {
        self.open.as_fd()
    }

    fn commit(self: Box<Self>) -> Result<(), LayerStoreError> {
        rustix::fs::syncfs(&self.open).map_err(|errno| failed(errno.into()))?;
        match std::fs::rename(&self.path, &self.done) {
            Err(error) if self.done.exists() => {
                std::fs::remove_dir_all(&self.path).map_err(failed)?;
                tracing::debug!(%error, "lost a race");
                Ok(())
            }
            other => other.map_err(failed),
        }
    }

    fn discard(self: Box<Self>) -> Result<(), LayerStoreError> {
        std::fs::remove_dir_all(&self.path).map_err(failed)
    }
}
