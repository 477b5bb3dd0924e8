//! An image from a tar: an OCI image layout (image-spec, image-layout.md), what `docker save` writes, or a plain root
//! filesystem. The first two in one pass
//! over the stream: members that are blobs go to ingests by name, small documents are kept in memory, and once the stream has
//! ended the images are put together. The archive's own names for its images are reported and never used: a name is given
//! by the caller (CVE-2026-50195).

mod archive;
mod docker_archive;
mod error;
mod format;
mod oci_layout;
mod rootfs;
mod spool;

use std::io::{BufReader, Read};
use std::sync::Arc;

use gantry_types::{ImageConfig, Platform, Reference, RequestId};

pub use error::ImportError;
pub use format::ImportFormat;

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

/// How to import.
#[derive(Debug, Clone, Copy)]
pub struct ImportOptions<'options> {
    /// What the archive is.
    pub format: ImportFormat,
    /// The platform wanted of an image archive, or that of a root filesystem.
    pub platform: &'options Platform,
    /// How to run a root filesystem; image archives have their own.
    pub config: Option<&'options ImageConfig>,
    /// When a root filesystem was made (RFC 3339); this crate has no clock.
    pub created: Option<&'options str>,
    /// Tells this import from others that run at the same time: an operation's id, letters, digits and dashes.
    pub id: &'options RequestId,
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

    /// Reads the archive to its end, and unpacks its images for the platform; images for other platforms are left out.
    pub fn import(
        &self,
        archive: impl Read + Send,
        options: &ImportOptions<'_>,
        progress: &dyn Progress,
    ) -> Result<Vec<Imported>, ImportError> {
        let (is_images, archive) =
            format::detect(options.format, archive).map_err(|source| ImportError::Read { source })?;
        let found = if is_images {
            self.images(archive, options)?
        } else {
            vec![rootfs::image(archive, &self.content, self.limits, options)?]
        };
        if found.is_empty() {
            return Err(ImportError::Empty { platform: options.platform.clone() });
        }
        found.into_iter().map(|found| self.image(found, options.platform, progress)).collect()
    }

    fn images(
        &self,
        archive: impl Read + Send,
        options: &ImportOptions<'_>,
    ) -> Result<Vec<Found>, ImportError> {
        let ImportOptions { platform, id, .. } = options;
        let source = decoder(BufReader::with_capacity(256 << 10, archive))
            .map_err(|source| ImportError::Read { source })?;
        let spool = Spool::read(source, &self.content, self.limits, id.as_str())?;
        match (spool.document("index.json"), spool.document("manifest.json")) {
            // docker save writes both since version 25; the layout is the better described one.
            (Some(index), _) if spool.document("oci-layout").is_some() => {
                oci_layout::images(index, &self.content, platform)
            }
            (_, Some(list)) => docker_archive::images(list, &spool, &self.content),
            (_, None) => Err(ImportError::Format),
        }
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
        let mut layers = layer_records(&manifest, &config);
        for layer in &mut layers {
            let (blob, total) = (layer.blob.clone(), layer.size_bytes);
            let report = |state| {
                let digest = blob.clone();
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
            let done = done.unwrap_or(Err(crate::LayerError::GivenUp));
            layer.unpacked_bytes = done.map_err(failed)?.bytes;
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
