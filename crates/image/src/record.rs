//! What a pull or an import found out about an image. The daemon stores it under a name and starts containers from
//! it without reading a manifest again.

use gantry_types::{Digest, ImageConfig, Platform, SnapshotKey};
use serde::{Deserialize, Serialize};

/// One image, for one platform, whole on this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageRecord {
    /// What the name points to: the index when there is one, else the manifest.
    pub target: Digest,
    /// The target's media type.
    pub target_media_type: String,
    /// The manifest of this platform.
    pub manifest: Digest,
    /// Its config; its digest is what docker calls the image's id.
    pub config_digest: Digest,
    /// The layers, base first.
    pub layers: Vec<LayerRecord>,
    /// How to run it.
    pub config: ImageConfig,
    /// What it is made for.
    pub platform: Platform,
    /// When it was made, in the image's own words; at most 64 characters.
    pub created: Option<String>,
    /// Bytes of manifest, config and compressed layers together.
    pub size_bytes: u64,
}

/// One layer of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerRecord {
    /// The compressed blob, as the manifest names it.
    pub blob: Digest,
    /// Bytes of the blob.
    pub size_bytes: u64,
    /// Its media type.
    pub media_type: String,
    /// Digest of the uncompressed tar.
    pub diff_id: Digest,
    /// The key of its folder: the hex part of the OCI chain id.
    pub chain_id: SnapshotKey,
    /// Bytes of the uncompressed tar; 0 when the folder was there before and nothing was unpacked.
    #[serde(default)]
    pub unpacked_bytes: u64,
}

impl ImageRecord {
    /// Keys of the layers, base first: what a container's snapshot stands on.
    pub fn chain(&self) -> Vec<SnapshotKey> {
        self.layers.iter().map(|layer| layer.chain_id.clone()).collect()
    }

    /// Takes over the unpacked sizes that an earlier record of the same layers knows: a pull that found a folder in its
    /// place did not unpack it and so cannot say.
    pub fn learn_sizes(&mut self, earlier: &Self) {
        for layer in self.layers.iter_mut().filter(|layer| layer.unpacked_bytes == 0) {
            let known = earlier.layers.iter().find(|known| known.chain_id == layer.chain_id);
            layer.unpacked_bytes = known.map_or(0, |known| known.unpacked_bytes);
        }
    }

    /// Every blob the image needs to be kept and pushed. A layer's blob may be missing from the content store when its
    /// folder was known before the pull.
    pub fn blobs(&self) -> Vec<Digest> {
        let mut blobs = vec![self.target.clone(), self.manifest.clone(), self.config_digest.clone()];
        blobs.extend(self.layers.iter().map(|layer| layer.blob.clone()));
        blobs.dedup();
        blobs
    }
}
