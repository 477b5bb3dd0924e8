//! Pulling an image: name → manifest of one platform → config → layers, side by side. The whole use case reads from top to
//! bottom here; one layer is [`fetch`]'s. When a pull fails or is given up, finished blobs and layers stay and unfinished
//! blobs are taken up by the next pull. Names are the daemon's: a pull returns a record and writes none.

mod error;
mod fetch;

use std::sync::Arc;

use futures_util::StreamExt as _;
use gantry_types::{Digest, PULL_PARALLEL_BLOBS, Platform, Reference};

pub use error::PullError;

use crate::content::{ContentError, ContentStore};
use crate::flight::Flights;
use crate::layers::LayerStore;
use crate::manifest::{ConfigFile, Descriptor, Document, Manifest, ManifestError, chain_ids, choose};
use crate::progress::{BlobKind, BlobProgress, BlobState, Progress};
use crate::record::{ImageRecord, LayerRecord};
use crate::registry::{Credentials, RegistryClient, Repository, Resolved};
use crate::unpack::UnpackLimits;

/// An index may point to an index once.
const INDEX_DEPTH_MAX: usize = 2;

/// Pulls images. One for the whole daemon, because pulls that run at the same time share their blobs through it.
#[derive(Debug, Clone)]
pub struct Puller {
    content: Arc<ContentStore>,
    layers: Arc<dyn LayerStore>,
    client: RegistryClient,
    limits: UnpackLimits,
    flights: Flights,
}

/// What to pull.
#[derive(Clone)]
pub struct PullRequest<'request> {
    /// The image.
    pub reference: &'request Reference,
    /// For which platform.
    pub platform: &'request Platform,
    /// For this registry; the caller has looked them up for exactly this host and port.
    pub credentials: Option<&'request Credentials>,
    /// Whether this registry speaks plain HTTP, as if the configuration had marked it so. TLS is verified always.
    pub insecure: bool,
    /// Who hears how it goes.
    pub progress: Arc<dyn Progress>,
}

impl std::fmt::Debug for PullRequest<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PullRequest").field("reference", &self.reference).finish_non_exhaustive()
    }
}

impl Puller {
    /// A puller over the daemon's stores.
    pub fn new(
        content: Arc<ContentStore>,
        layers: Arc<dyn LayerStore>,
        client: RegistryClient,
        limits: UnpackLimits,
    ) -> Self {
        Self { content, layers, client, limits, flights: Flights::default() }
    }

    /// Pulls one image for one platform. Everything the record names is on disk when this returns. Dropping the future
    /// gives the pull up; layers in work end by themselves.
    pub async fn pull(&self, request: PullRequest<'_>) -> Result<ImageRecord, PullError> {
        let image = request.reference.familiar();
        let unusable = |source| PullError::Manifest { image: image.clone(), source };
        let session = self
            .client
            .repository(request.reference, request.credentials, request.insecure)
            .map_err(|source| PullError::Registry { image: image.clone(), source })?;
        let session = &session;

        let (target, resolved, manifest) = self.manifest(session, &request).await?;
        let config_bytes = self.config(session, &request, &manifest.config).await?;
        let config = ConfigFile::parse(&config_bytes).map_err(unusable)?;
        check(&manifest, &config, request.platform).map_err(unusable)?;

        let mut layers = layer_records(&manifest, &config);
        // Collected first: a lazy closure over two borrows would keep this future from being spawned.
        let each = layers.iter().zip(&manifest.layers);
        let work: Vec<_> =
            each.map(|(layer, descriptor)| self.layer(session, &request, layer, descriptor)).collect();
        let mut work = futures_util::stream::iter(work).buffer_unordered(PULL_PARALLEL_BLOBS);
        // The first failure gives the others up; they keep what they have.
        let mut unpacked = Vec::new();
        while let Some(result) = work.next().await {
            unpacked.extend(result?);
        }
        drop(work);
        for (chain_id, bytes) in unpacked {
            for layer in layers.iter_mut().filter(|layer| layer.chain_id == chain_id) {
                layer.unpacked_bytes = bytes;
            }
        }

        let size = resolved.bytes.len() as u64
            + manifest.config.size
            + layers.iter().map(|layer| layer.size_bytes).sum::<u64>();
        Ok(ImageRecord {
            target: target.digest.clone(),
            target_media_type: target.media_type().to_string(),
            manifest: resolved.digest.clone(),
            config_digest: manifest.config.digest.clone(),
            layers,
            config: config.config,
            platform: config.platform,
            created: config.created,
            size_bytes: size,
        })
    }

    /// Resolves the name down to one manifest, and keeps every document on the way.
    async fn manifest(
        &self,
        session: &Repository,
        request: &PullRequest<'_>,
    ) -> Result<(Resolved, Resolved, Manifest), PullError> {
        let image = request.reference.familiar();
        let failed = |source| PullError::Registry { image: image.clone(), source };
        let unusable = |source| PullError::Manifest { image: image.clone(), source };
        let target = session.resolve().await.map_err(failed)?;
        let mut current = target.clone();
        for _ in 0..=INDEX_DEPTH_MAX {
            self.keep(request, &current.bytes).await?;
            let total = current.bytes.len() as u64;
            let kind = if current.media_type().is_index() { BlobKind::Index } else { BlobKind::Manifest };
            report(request, &current.digest, kind, BlobState::Done, total, total);
            let index = match current.document.clone() {
                Document::Manifest(manifest) => return Ok((target, current, manifest)),
                Document::Index(index) => index,
            };
            let entry = choose(&index, request.platform).map_err(unusable)?;
            if entry.descriptor.size > gantry_types::MANIFEST_BYTES_MAX {
                return Err(unusable(ManifestError::Field { kind: "index", field: "size of a manifest" }));
            }
            current = session.document_of(&entry.descriptor).await.map_err(failed)?;
        }
        Err(unusable(ManifestError::TooDeep { max: INDEX_DEPTH_MAX }))
    }

    async fn config(
        &self,
        session: &Repository,
        request: &PullRequest<'_>,
        descriptor: &Descriptor,
    ) -> Result<Vec<u8>, PullError> {
        let (content, digest) = (Arc::clone(&self.content), descriptor.digest.clone());
        let known = blocking(move || content.read(&digest, gantry_types::IMAGE_CONFIG_BYTES_MAX)).await;
        if let Ok(bytes) = known {
            report(
                request,
                &descriptor.digest,
                BlobKind::Config,
                BlobState::Exists,
                descriptor.size,
                descriptor.size,
            );
            return Ok(bytes);
        }
        let bytes = session
            .small_blob(descriptor)
            .await
            .map_err(|source| PullError::Registry { image: request.reference.familiar(), source })?;
        self.keep(request, &bytes).await?;
        report(
            request,
            &descriptor.digest,
            BlobKind::Config,
            BlobState::Done,
            descriptor.size,
            descriptor.size,
        );
        Ok(bytes)
    }

    async fn keep(&self, request: &PullRequest<'_>, bytes: &[u8]) -> Result<Digest, PullError> {
        let (content, bytes) = (Arc::clone(&self.content), bytes.to_vec());
        blocking(move || {
            loop {
                match content.write(&bytes) {
                    // Another pull stores the same document just now.
                    Err(ContentError::Busy { .. }) => std::thread::yield_now(),
                    other => break other,
                }
            }
        })
        .await
        .map_err(|source| PullError::Content { image: request.reference.familiar(), source })
    }
}

/// Runs short disk work off the async threads.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

pub(crate) fn check(
    manifest: &Manifest,
    config: &ConfigFile,
    wanted: &Platform,
) -> Result<(), ManifestError> {
    if config.diff_ids.len() != manifest.layers.len() {
        let (diff_ids, layers) = (config.diff_ids.len(), manifest.layers.len());
        return Err(ManifestError::LayerCount { diff_ids, layers });
    }
    // An image without an index is for one platform, whatever was asked for.
    if wanted.os != config.platform.os || wanted.architecture != config.platform.architecture {
        let offered = vec![config.platform.to_string()];
        return Err(ManifestError::Platform { wanted: wanted.clone(), offered });
    }
    Ok(())
}

pub(crate) fn layer_records(manifest: &Manifest, config: &ConfigFile) -> Vec<LayerRecord> {
    let chain = chain_ids(&config.diff_ids);
    let layers = manifest.layers.iter().zip(&config.diff_ids).zip(chain);
    layers
        .map(|((descriptor, diff_id), chain_id)| LayerRecord {
            blob: descriptor.digest.clone(),
            size_bytes: descriptor.size,
            media_type: descriptor.media_type.to_string(),
            diff_id: diff_id.clone(),
            chain_id,
            unpacked_bytes: 0,
        })
        .collect()
}

fn report(
    request: &PullRequest<'_>,
    digest: &Digest,
    kind: BlobKind,
    state: BlobState,
    offset: u64,
    total: u64,
) {
    request.progress.report(BlobProgress { digest: digest.clone(), kind, state, offset, total });
}
