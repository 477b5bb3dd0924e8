//! A container's folders that outlive a reboot: its snapshot, and the folder of its log. Making and taking
//! away can both be repeated, because a crash may come at any point.

use std::io;

use gantry_snapshot::SnapshotError;
use gantry_types::SnapshotKey;

use crate::assemble::Daemon;
use crate::error::Error;
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

    /// Takes the container's folders away. The bytes of its snapshot may go a little later.
    pub(crate) async fn erase_container(&self, record: &ContainerRecord) -> Result<(), Error> {
        let key = snapshot_key(record);
        let folder = self.layout.container(&record.namespace, &record.id);
        let snapshotter = self.snapshotter.clone();
        self.blocking
            .run(move || {
                match snapshotter.remove(&key) {
                    Ok(removal) => removal.finish()?,
                    Err(SnapshotError::NotFound { .. }) => {}
                    Err(error) => return Err(error.into()),
                }
                match std::fs::remove_dir_all(&folder) {
                    Ok(()) => Ok(()),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                    Err(source) => Err(Error::Io { action: "remove the container's folder", source }),
                }
            })
            .await
    }
}
