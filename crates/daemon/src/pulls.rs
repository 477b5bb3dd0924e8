//! Where images' bytes are: the content store, the layers in the snapshotter, and the puller over both. Here
//! the image and the snapshot engine meet, which do not know each other; and here what nothing needs any
//! more is taken away, never while something is being fetched.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use gantry_image::Puller;
use gantry_image::content::ContentStore;
use gantry_image::import::Importer;
use gantry_image::layers::{LayerFolder, LayerStore, LayerStoreError};
use gantry_image::registry::{Credentials, DockerConfig, RegistryClient, RegistryOptions};
use gantry_image::unpack::UnpackLimits;
use gantry_snapshot::{LayerDir, SnapshotError, SnapshotKind, Snapshotter};
use gantry_types::{Digest, SnapshotKey};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::assemble::with_hint;
use crate::config::Config;
use crate::error::{Chain, Error};
use crate::heap::Heap;

/// Pulls and imports at once.
const FETCHES_MAX: u32 = 64;

/// The image side of the daemon.
#[derive(Debug)]
pub(crate) struct Pulls {
    pub content: Arc<ContentStore>,
    layers: Arc<Layers>,
    pub puller: Puller,
    pub importer: Importer,
    credentials: DockerConfig,
    /// Held by each fetch; all of it by a collection.
    gate: Semaphore,
    /// A collection that found fetches under way.
    put_off: AtomicBool,
    heap: Heap,
}

/// A fetch under way.
#[derive(Debug)]
pub(crate) struct Fetching<'a> {
    _place: SemaphorePermit<'a>,
    heap: &'a Heap,
}

impl Drop for Fetching<'_> {
    fn drop(&mut self) {
        self.heap.used();
    }
}

impl Pulls {
    pub(crate) fn open(
        config: &Config,
        root: &Path,
        snapshotter: Arc<dyn Snapshotter>,
        heap: Heap,
    ) -> anyhow::Result<Self> {
        let content = Arc::new(ContentStore::open(&root.join("content")).map_err(with_hint)?);
        let layers = Arc::new(Layers { snapshotter });
        let options = RegistryOptions {
            insecure: config.images.insecure_registries.iter().cloned().collect(),
            ..RegistryOptions::default()
        };
        let client = RegistryClient::new(options).map_err(with_hint)?;
        let limits = UnpackLimits::default();
        let file = &config.images.credentials_file;
        let credentials = if file.as_os_str().is_empty() {
            DockerConfig::default()
        } else {
            let bytes = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
            DockerConfig::parse(&bytes).map_err(with_hint)?
        };
        let store: Arc<dyn LayerStore> = Arc::clone(&layers) as Arc<dyn LayerStore>;
        Ok(Self {
            importer: Importer::new(Arc::clone(&content), Arc::clone(&store), limits),
            puller: Puller::new(Arc::clone(&content), store, client, limits),
            content,
            layers,
            credentials,
            gate: Semaphore::new(FETCHES_MAX as usize),
            put_off: AtomicBool::new(false),
            heap,
        })
    }

    /// What the configuration knows for this registry.
    pub(crate) fn credentials(&self, registry: &str) -> Result<Option<Credentials>, Error> {
        Ok(self.credentials.credentials(registry)?)
    }

    /// Keeps collections away until it is dropped: what is fetched has no name yet.
    pub(crate) async fn fetching(&self) -> Fetching<'_> {
        let place = self.gate.acquire().await.expect("the gate is never closed");
        Fetching { _place: place, heap: &self.heap }
    }

    /// Takes away what `needed` does not name, unless something is being fetched: then the last fetch does it.
    /// Blocks on the disk. Returns the digests that went.
    pub(crate) fn collect(
        &self,
        needed: impl FnOnce() -> (BTreeSet<String>, BTreeSet<Digest>),
    ) -> Vec<Digest> {
        let Ok(_gate) = self.gate.try_acquire_many(FETCHES_MAX) else {
            self.put_off.store(true, Ordering::SeqCst);
            return Vec::new();
        };
        self.put_off.store(false, Ordering::SeqCst);
        let (layers, blobs) = needed();
        // What cannot be taken away now is found by the next collection.
        if let Err(error) = self.layers.collect(&layers) {
            tracing::warn!(error = %Chain(&error), "unneeded layers were not all taken away");
        }
        match self.collect_blobs(&blobs) {
            Ok(gone) => gone,
            Err(error) => {
                tracing::warn!(error = %Chain(&error), "unneeded blobs were not all taken away");
                Vec::new()
            }
        }
    }

    /// Whether a collection was put off, and nothing is being fetched any more.
    pub(crate) fn collection_is_due(&self) -> bool {
        self.put_off.load(Ordering::SeqCst) && self.gate.available_permits() == FETCHES_MAX as usize
    }

    fn collect_blobs(&self, needed: &BTreeSet<Digest>) -> Result<Vec<Digest>, Error> {
        let mut gone = Vec::new();
        for stored in self.content.list()? {
            if !needed.contains(&stored.digest) {
                self.content.remove(&stored.digest)?;
                gone.push(stored.digest);
            }
        }
        Ok(gone)
    }
}

/// The snapshotter as the image crate sees it.
#[derive(Debug)]
pub(crate) struct Layers {
    snapshotter: Arc<dyn Snapshotter>,
}

impl Layers {
    fn collect(&self, needed: &BTreeSet<String>) -> Result<(), SnapshotError> {
        for listed in self.snapshotter.list()? {
            if listed.kind == SnapshotKind::Layer && !needed.contains(listed.key.as_str()) {
                self.snapshotter.remove(&listed.key)?.finish()?;
            }
        }
        Ok(())
    }
}

impl LayerStore for Layers {
    fn has(&self, key: &SnapshotKey) -> Result<bool, LayerStoreError> {
        Ok(self.snapshotter.kind(key).map_err(boxed)? == Some(SnapshotKind::Layer))
    }

    fn prepare(&self, key: &SnapshotKey) -> Result<Box<dyn LayerFolder>, LayerStoreError> {
        let folder = self.snapshotter.prepare_layer(key).map_err(boxed)?;
        Ok(Box::new(Folder { snapshotter: Arc::clone(&self.snapshotter), folder }))
    }
}

#[derive(Debug)]
struct Folder {
    snapshotter: Arc<dyn Snapshotter>,
    folder: LayerDir,
}

impl LayerFolder for Folder {
    fn root(&self) -> BorrowedFd<'_> {
        self.folder.as_fd()
    }

    fn commit(self: Box<Self>) -> Result<(), LayerStoreError> {
        self.snapshotter.sync().map_err(boxed)?;
        self.snapshotter.commit_layer(self.folder).map_err(boxed)?;
        Ok(())
    }

    fn discard(self: Box<Self>) -> Result<(), LayerStoreError> {
        self.snapshotter.discard_layer(self.folder).map_err(boxed)
    }
}

fn boxed(error: SnapshotError) -> LayerStoreError {
    LayerStoreError(Box::new(error))
}
