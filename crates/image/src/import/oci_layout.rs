//! An OCI image layout: `index.json` points to manifests and indexes, which lie among the blobs.

use gantry_types::{MANIFEST_BYTES_MAX, Platform, Reference};

use super::{Found, IMAGES_MAX, ImportError};
use crate::content::ContentStore;
use crate::manifest::{Descriptor, Document, IndexEntry, ManifestError, choose};

/// A short name or tag (image-spec, annotations.md).
const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// containerd's and docker's note of the whole name.
const IMAGE_NAME: &str = "io.containerd.image.name";
const DEPTH_MAX: usize = 2;

/// Every image for `platform`.
pub(super) fn images(
    index: &[u8],
    content: &ContentStore,
    platform: &Platform,
) -> Result<Vec<Found>, ImportError> {
    let Document::Index(index) = Document::parse(index, None)? else {
        return Err(ImportError::Format);
    };
    if index.entries.len() > IMAGES_MAX {
        return Err(ImportError::TooMany { count: index.entries.len(), max: IMAGES_MAX });
    }
    let mut found = Vec::new();
    for entry in &index.entries {
        if !serves(entry, platform) {
            continue;
        }
        match image(&entry.descriptor, content, platform) {
            Ok(mut image) => {
                image.names = names(&entry.descriptor);
                found.push(image);
            }
            // An index in the layout for other platforms only.
            Err(ImportError::Manifest { source: ManifestError::Platform { .. } }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

/// Follows indexes down to one manifest.
fn image(descriptor: &Descriptor, content: &ContentStore, platform: &Platform) -> Result<Found, ImportError> {
    let mut descriptor = descriptor.clone();
    for _ in 0..=DEPTH_MAX {
        let Some(_) = content.size(&descriptor.digest)? else {
            return Err(ImportError::Missing { name: descriptor.digest.to_string() });
        };
        let bytes = content.read(&descriptor.digest, MANIFEST_BYTES_MAX)?;
        match Document::parse(&bytes, Some(&descriptor.media_type))? {
            Document::Manifest(manifest) => return Ok(Found { bytes, manifest, names: Vec::new() }),
            Document::Index(index) => descriptor = choose(&index, platform)?.descriptor.clone(),
        }
    }
    Err(ManifestError::TooDeep { max: DEPTH_MAX }.into())
}

fn serves(entry: &IndexEntry, platform: &Platform) -> bool {
    let is_image = entry.descriptor.media_type.is_manifest() || entry.descriptor.media_type.is_index();
    is_image && entry.platform.as_ref().is_none_or(|offered| platform.preference(offered).is_some())
}

fn names(descriptor: &Descriptor) -> Vec<Reference> {
    let whole = descriptor.annotations.get(IMAGE_NAME);
    let short = descriptor.annotations.get(REF_NAME).filter(|name| name.contains([':', '/']));
    whole.or(short).and_then(|name| name.parse().ok()).into_iter().collect()
}
