//! What `docker save` writes: `manifest.json` names a config and layer tars by path. There is no registry manifest in it,
//! so one is made, in OCI form, over the bytes as they are; making it twice gives the same digest.

use std::fmt::Write as _;

use gantry_types::{Digest, LAYERS_MAX, Reference};
use serde::Deserialize;

use super::spool::Spool;
use super::{Found, IMAGES_MAX, ImportError};
use crate::content::ContentStore;
use crate::manifest::{Document, ManifestError};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
}

/// Every image of the archive.
pub(super) fn images(list: &[u8], spool: &Spool, content: &ContentStore) -> Result<Vec<Found>, ImportError> {
    let listed: Vec<Listed> = serde_json::from_slice(list)
        .map_err(|source| ManifestError::Syntax { kind: "list of a docker archive", source })?;
    if listed.len() > IMAGES_MAX {
        return Err(ImportError::TooMany { count: listed.len(), max: IMAGES_MAX });
    }
    listed.iter().map(|listed| image(listed, spool, content)).collect()
}

fn image(listed: &Listed, spool: &Spool, content: &ContentStore) -> Result<Found, ImportError> {
    let layers = listed.layers.as_deref().unwrap_or_default();
    if layers.len() > LAYERS_MAX {
        return Err(ManifestError::TooManyLayers { count: layers.len(), max: LAYERS_MAX }.into());
    }
    let descriptor = |kind: &str, name: &str| -> Result<String, ImportError> {
        let (digest, size) = spool
            .member(name)
            .ok_or_else(|| ImportError::Missing { name: name.chars().take(160).collect() })?;
        Ok(format!(r#"{{"mediaType":"{kind}","digest":"{digest}","size":{size}}}"#))
    };
    let config = descriptor("application/vnd.oci.image.config.v1+json", &listed.config)?;
    let mut text = format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{config},"layers":["#
    );
    for (at, layer) in layers.iter().enumerate() {
        let missing = || ImportError::Missing { name: layer.chars().take(160).collect() };
        let (digest, _) = spool.member(layer).ok_or_else(missing)?;
        let kind = layer_type(&digest, content)?;
        let separator = if at == 0 { "" } else { "," };
        write!(text, "{separator}{}", descriptor(kind, layer)?).expect("writing to a String cannot fail");
    }
    text.push_str("]}");
    let bytes = text.into_bytes();
    let Document::Manifest(manifest) = Document::parse(&bytes, None)? else {
        return Err(ImportError::Format);
    };
    let tags = listed.repo_tags.iter().flatten().take(IMAGES_MAX);
    let names: Vec<Reference> = tags.filter_map(|name| name.parse().ok()).collect();
    Ok(Found { bytes, manifest, names })
}

/// Plain in old archives; newer ones may hold what was pulled. The first bytes tell.
pub(super) fn layer_type(digest: &Digest, content: &ContentStore) -> Result<&'static str, ImportError> {
    use std::io::Read as _;
    let mut magic = Vec::new();
    let blob = content.blob(digest)?;
    blob.file.take(4).read_to_end(&mut magic).map_err(|source| ImportError::Read { source })?;
    Ok(match magic.as_slice() {
        [0x1f, 0x8b, ..] => "application/vnd.oci.image.layer.v1.tar+gzip",
        [0x28, 0xb5, 0x2f, 0xfd] => "application/vnd.oci.image.layer.v1.tar+zstd",
        _ => "application/vnd.oci.image.layer.v1.tar",
    })
}
