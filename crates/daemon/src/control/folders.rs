//! A container's folders that outlive a reboot: its snapshot, and the folder of its log. Making and taking
//! away can both be repeated, because a crash may come at any point.

use std::io;
use std::path::Path;

use gantry_snapshot::{Removal, SnapshotError, Snapshotter};
use gantry_types::SnapshotKey;
use tokio::sync::oneshot;

use crate::assemble::Daemon;
use crate::error::{Chain, Error};
use crate::tables::ContainerRecord;

/// The key of a container's writable snapshot: its id.
pub(crate) fn snapshot_key(record: &ContainerRecord) -> SnapshotKey {
    record.id.as_str().parse().expect("64 hex digits are a snapshot key")
}

impl Daemon {
    /// Makes what is missing of the container's folders.
    pub(crate) async fn prepare_container(&self, record: &ContainerRecord) -> Result<(), Error> {
        let (key, layers) = (snapshot_key(record), record.layers.clone());
        let folder = self.layout.container(&record.namespace, &record.id);
        let snapshotter = self.snapshotter.clone();
        self.blocking
            .run(move || {
                use std::os::unix::fs::DirBuilderExt;
                std::fs::DirBuilder::new()
                    .recursive(true)
                    .mode(0o700)
                    .create(&folder)
                    .map_err(|source| Error::Io { action: "make the container's folder", source })?;
                if snapshotter.kind(&key)?.is_some_and(|kind| kind != gantry_snapshot::SnapshotKind::Active) {
                    snapshotter.remove(&key)?.finish()?;
                }
                match snapshotter.create(&key, &layers) {
                    Ok(_) | Err(SnapshotError::AlreadyExists { .. }) => Ok(()),
                    Err(error) => Err(error.into()),
                }
            })
            .await
    }

    /// Takes the container's folders away. When this returns its snapshot has lost its name; its bytes are deleted by the
    /// same thread: beside the answer while few do, and before it when deleting does not keep up. A daemon that ends in
    /// between leaves them to the next one's start.
    pub(crate) async fn erase_container(&self, record: &ContainerRecord) -> Result<(), Error> {
        let key = snapshot_key(record);
        let folder = self.layout.container(&record.namespace, &record.id);
        let snapshotter = self.snapshotter.clone();
        let (told, erased) = oneshot::channel();
        let (blocking, deletes_first) = (self.blocking.clone(), self.blocking.is_busy());
        let work = move || {
            let (erased, removal) = match set_aside(snapshotter.as_ref(), &key, &folder) {
                Ok(removal) => (Ok(()), removal),
                Err(error) => (Err(error), None),
            };
            if deletes_first {
                delete(removal);
                // Who asked may be gone, which is no concern of the folders'.
                let _gone = told.send(erased);
            } else {
                let _gone = told.send(erased);
                delete(removal);
            }
        };
        self.tasks.spawn("erase", async move { blocking.run(work).await });
        // Only a daemon that ends drops the work.
        erased.await.unwrap_or(Err(Error::ShuttingDown))
    }
}

/// Takes the snapshot's name away, and the log.
fn set_aside(
    snapshotter: &dyn Snapshotter,
    key: &SnapshotKey,
    folder: &Path,
) -> Result<Option<Removal>, Error> {
    let removal = match snapshotter.remove(key) {
        Ok(removal) => Some(removal),
        Err(SnapshotError::NotFound { .. }) => None,
        Err(error) => return Err(error.into()),
    };
    match std::fs::remove_dir_all(folder) {
        Ok(()) => Ok(removal),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(removal),
        Err(source) => Err(Error::Io { action: "remove the container's folder", source }),
    }
}

fn delete(removal: Option<Removal>) {
    if let Some(Err(error)) = removal.map(Removal::finish) {
        tracing::warn!(error = %Chain(&error), "a removed snapshot's bytes are left to the next start");
    }
}
