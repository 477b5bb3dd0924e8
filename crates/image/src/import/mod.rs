//! An image from a tar: an OCI image layout (image-spec, image-layout.md) or what `docker save` writes. Both in one pass
//! over the stream: members that are blobs go to ingests by name, small documents are kept in memory, and once the stream has
//! ended the images are put together. The archive's own names for its images are reported and never used: a name is given
//! by the caller (CVE-2026-50195).

mod archive;
mod docker_archive;
mod error;
mod oci_layout;
mod spool;

use std::io::{BufReader, Read};
use std::sync::Arc;

use gantry_types::{Platform, Reference};

pub use error::ImportError;

use crate::content::ContentStore;
use crate::layer::{replay_blob, unpacking};
use crate::layers::LayerStore;
use crate::manifest::{ConfigFile, Manifest};
use crate::progress::{BlobKind, BlobProgress, BlobState, Progress};
use crate::pull::{check, layer_records};
use crate::record::ImageRecord;
use crate::unpack::{UnpackLimits, decoder};

use self::spool::Spool;

/// Images of one archive.
const IMAGES_MAX: usize = 64;

/// Imports archives. Blocks, so it belongs on a thread for blocking work.
#[derive(Debug, Clone)]
pub struct Importer {
    content: Arc<ContentStore>,
    layers: Arc<dyn LayerStore>,
    limits: UnpackLimits,
}

/// One image of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// The image, whole on this machine.
    pub record: ImageRecord,
    /// What the archive calls it; for the caller to show or to confirm.
    pub names: Vec<Reference>,
}

/// A manifest that was found or made, and what the archive calls it.
#[derive(Debug)]
struct Found {
    bytes: Vec<u8>,
    manifest: Manifest,
    names: Vec<Reference>,
}

impl Importer {
    /// An importer over the daemon's stores.
    pub fn new(content: Arc<ContentStore>, layers: Arc<dyn LayerStore>, limits: UnpackLimits) -> Self {
        Self { content, layers, limits }
    }

    /// Reads the archive to its end, and unpacks its images for `platform`; images for other platforms are left out. `id`
    /// tells this import from others that run at the same time (an operation's id: letters, digits and dashes).
    pub fn import(
        &self,
        archive: impl Read + Send,
        platform: &Platform,
        id: &str,
        progress: &dyn Progress,
    ) -> Result<Vec<Imported>, ImportError> {
        let source = decoder(BufReader::with_capacity(256 << 10, archive))
            .map_err(|source| ImportError::Read { source })?;
        let spool = Spool::read(source, &self.content, self.limits, id)?;
        let found = match (spool.document("index.json"), spool.document("manifest.json")) {
            // docker save writes both since version 25; the layout is the better described one.
            (Some(index), _) if spool.document("oci-layout").is_some() => {
                oci_layout::images(index, &self.content, platform)?
            }
            (_, Some(list)) => docker_archive::images(list, &spool, &self.content)?,
            (_, None) => return Err(ImportError::Format),
        };
        if found.is_empty() {
            return Err(ImportError::Empty { platform: platform.clone() });
        }
        found.into_iter().map(|found| self.image(found, platform, progress)).collect()
    }

    fn image(
        &self,
        found: Found,
        platform: &Platform,
        progress: &dyn Progress,
    ) -> Result<Imported, ImportError> {
        let Found { bytes, manifest, names } = found;
        let config_bytes = self
            .content
            .read(&manifest.config.digest, gantry_types::IMAGE_CONFIG_BYTES_MAX)
            .map_err(|source| ImportError::Content { source })?;
        let unusable = |source| ImportError::Manifest { source };
        let config = ConfigFile::parse(&config_bytes).map_err(unusable)?;
        check(&manifest, &config, platform).map_err(unusable)?;
        let digest = self.content.write(&bytes).map_err(|source| ImportError::Content { source })?;
        let layers = layer_records(&manifest, &config);
        for layer in &layers {
            let report = |state| {
                let (digest, total) = (layer.blob.clone(), layer.size_bytes);
                progress.report(BlobProgress { digest, kind: BlobKind::Layer, state, offset: total, total });
            };
            if self.layers.has(&layer.chain_id).map_err(|source| ImportError::Layers { source })? {
                report(BlobState::Exists);
                continue;
            }
            report(BlobState::Unpacking);
            let failed = |source| ImportError::Layer { source };
            let folder =
                self.layers.prepare(&layer.chain_id).map_err(|source| ImportError::Layers { source })?;
            let unpacker = unpacking(folder, layer.diff_id.clone(), self.limits, ()).map_err(failed)?;
            let read = replay_blob(&self.content, &layer.blob, &unpacker.bytes);
            drop(unpacker.bytes);
            let done = unpacker.done.blocking_recv();
            read.map_err(|source| ImportError::Content { source })?;
            done.unwrap_or(Err(crate::LayerError::GivenUp)).map_err(failed)?;
            report(BlobState::Done);
        }
        let layer_bytes: u64 = layers.iter().map(|layer| layer.size_bytes).sum();
        let record = ImageRecord {
            target: digest.clone(),
            target_media_type: manifest.media_type.to_string(),
            manifest: digest,
            config_digest: manifest.config.digest.clone(),
            layers,
            config: config.config,
            platform: config.platform,
            created: config.created,
            size_bytes: bytes.len() as u64 + config_bytes.len() as u64 + layer_bytes,
        };
        Ok(Imported { record, names })
    }
}
