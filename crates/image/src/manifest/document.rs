//! A manifest or an index, and never something that could be both: the announced media type, the document's own
//! and its fields must agree (CVE-2021-41190, GHSA-xmmx-7jpf-fx42).

use gantry_types::{Digest, IMAGE_CONFIG_BYTES_MAX, LAYERS_MAX, Labels, Platform};
use serde::Deserialize;

use super::{Descriptor, ManifestError, MediaType};

/// Entries of one index.
const INDEX_ENTRIES_MAX: usize = 1024;

/// What a manifest request may answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Document {
    /// One image.
    Manifest(Manifest),
    /// Several images, one per platform.
    Index(Index),
}

/// One image: its config and its layers, base first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// What the document is.
    pub media_type: MediaType,
    /// The config.
    pub config: Descriptor,
    /// The layers, base first.
    pub layers: Vec<Descriptor>,
}

/// Several images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    /// What the document is.
    pub media_type: MediaType,
    /// The images, in the order given, which is also that of preference.
    pub entries: Vec<IndexEntry>,
}

/// One image of an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexEntry {
    /// Where it is.
    pub descriptor: Descriptor,
    /// What it is made for; `None` when the index does not say.
    pub platform: Option<Platform>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawDocument {
    schema_version: u32,
    #[serde(default)]
    media_type: Option<String>,
    config: Option<RawDescriptor>,
    layers: Option<Vec<RawDescriptor>>,
    manifests: Option<Vec<RawDescriptor>>,
    #[serde(rename = "fsLayers")]
    fs_layers: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawDescriptor {
    media_type: String,
    digest: Digest,
    size: u64,
    #[serde(default)]
    annotations: Option<Labels>,
    platform: Option<RawPlatform>,
}

#[derive(Deserialize)]
struct RawPlatform {
    os: String,
    architecture: String,
    #[serde(default)]
    variant: String,
}

impl Document {
    /// Parses bytes that were announced as `announced`: the `Content-Type`, or the type in the descriptor that
    /// led here. `None` when nothing was announced (a file).
    pub fn parse(bytes: &[u8], announced: Option<&MediaType>) -> Result<Self, ManifestError> {
        if announced == Some(&MediaType::DockerSchema1) {
            return Err(ManifestError::Schema1);
        }
        let raw: RawDocument = serde_json::from_slice(bytes)
            .map_err(|source| ManifestError::Syntax { kind: "manifest", source })?;
        if raw.schema_version == 1 || raw.fs_layers.is_some() {
            return Err(ManifestError::Schema1);
        }
        if raw.manifests.is_some() && (raw.layers.is_some() || raw.config.is_some()) {
            return Err(ManifestError::Ambiguous);
        }
        let media_type = agreed_type(&raw, announced)?;
        match (raw.config, raw.layers, raw.manifests) {
            (Some(config), Some(layers), None) if media_type.is_manifest() => {
                Ok(Self::Manifest(manifest(media_type, config, layers)?))
            }
            (None, None, Some(entries)) if media_type.is_index() => {
                Ok(Self::Index(index(media_type, entries)?))
            }
            _ => Err(ManifestError::NotAnImage { media_type: media_type.to_string() }),
        }
    }
}

/// The one media type that everything agrees on.
fn agreed_type(raw: &RawDocument, announced: Option<&MediaType>) -> Result<MediaType, ManifestError> {
    let inside = raw.media_type.as_deref().map(MediaType::parse);
    match (inside, announced) {
        (Some(inside), Some(outside)) if inside != *outside => Err(ManifestError::MediaTypeDisagrees {
            inside: inside.to_string(),
            outside: outside.to_string(),
        }),
        (Some(inside), _) => Ok(inside),
        (None, Some(outside)) => Ok(outside.clone()),
        // The OCI forms may leave it out.
        (None, None) if raw.manifests.is_some() => Ok(MediaType::OciIndex),
        (None, None) => Ok(MediaType::OciManifest),
    }
}

fn manifest(
    media_type: MediaType,
    config: RawDescriptor,
    layers: Vec<RawDescriptor>,
) -> Result<Manifest, ManifestError> {
    if layers.len() > LAYERS_MAX {
        return Err(ManifestError::TooManyLayers { count: layers.len(), max: LAYERS_MAX });
    }
    let config = descriptor(config);
    if config.media_type != MediaType::OciConfig && config.media_type != MediaType::DockerConfig {
        return Err(ManifestError::NotAnImage { media_type: config.media_type.to_string() });
    }
    if config.size > IMAGE_CONFIG_BYTES_MAX {
        let (digest, size) = (config.digest, config.size);
        return Err(ManifestError::TooLarge { digest, kind: "config", size, max: IMAGE_CONFIG_BYTES_MAX });
    }
    let layers: Vec<Descriptor> = layers.into_iter().map(descriptor).collect();
    if let Some(strange) = layers.iter().find(|layer| !layer.media_type.is_layer()) {
        return Err(ManifestError::NotAnImage { media_type: strange.media_type.to_string() });
    }
    Ok(Manifest { media_type, config, layers })
}

fn index(media_type: MediaType, entries: Vec<RawDescriptor>) -> Result<Index, ManifestError> {
    if entries.len() > INDEX_ENTRIES_MAX {
        return Err(ManifestError::Field { kind: "index", field: "number of entries" });
    }
    let entries = entries
        .into_iter()
        .map(|mut raw| {
            let platform = raw.platform.take().map(|platform| Platform {
                os: platform.os,
                architecture: platform.architecture,
                variant: platform.variant,
            });
            IndexEntry { descriptor: descriptor(raw), platform }
        })
        .collect();
    Ok(Index { media_type, entries })
}

fn descriptor(raw: RawDescriptor) -> Descriptor {
    Descriptor {
        media_type: MediaType::parse(&raw.media_type),
        digest: raw.digest,
        size: raw.size,
        annotations: raw.annotations.unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

    fn descriptor_of(media_type: &str) -> String {
        format!(r#"{{"mediaType":"{media_type}","digest":"{DIGEST}","size":7}}"#)
    }

    fn manifest_with(more: &str) -> String {
        let config = descriptor_of("application/vnd.oci.image.config.v1+json");
        let layer = descriptor_of("application/vnd.oci.image.layer.v1.tar+gzip");
        format!(r#"{{"schemaVersion":2,"config":{config},"layers":[{layer}]{more}}}"#)
    }

    #[test]
    fn a_manifest_parses_with_and_without_its_own_media_type() {
        for more in ["", r#","mediaType":"application/vnd.oci.image.manifest.v1+json","x":{}"#] {
            let document = Document::parse(manifest_with(more).as_bytes(), Some(&MediaType::OciManifest));
            assert!(matches!(document, Ok(Document::Manifest(m)) if m.layers.len() == 1));
        }
    }

    #[test]
    fn a_document_that_is_both_is_refused() {
        let both = manifest_with(r#","manifests":[]"#);
        for announced in [MediaType::OciManifest, MediaType::OciIndex] {
            assert!(matches!(
                Document::parse(both.as_bytes(), Some(&announced)),
                Err(ManifestError::Ambiguous)
            ));
        }
    }

    #[test]
    fn announced_and_own_media_type_must_agree() {
        let own = manifest_with(r#","mediaType":"application/vnd.oci.image.manifest.v1+json""#);
        for announced in [MediaType::OciIndex, MediaType::DockerManifest, MediaType::parse("text/plain")] {
            assert!(matches!(
                Document::parse(own.as_bytes(), Some(&announced)),
                Err(ManifestError::MediaTypeDisagrees { .. })
            ));
        }
        // Without a type of its own the announced one decides, and must fit the fields.
        assert!(Document::parse(manifest_with("").as_bytes(), Some(&MediaType::OciIndex)).is_err());
    }

    #[test]
    fn schema_1_is_refused_by_name() {
        let old = br#"{"schemaVersion":1,"fsLayers":[]}"#;
        assert!(matches!(Document::parse(old, None), Err(ManifestError::Schema1)));
    }

    #[test]
    fn digests_that_are_paths_do_not_parse() {
        let bad = manifest_with("").replace(DIGEST, "sha256:../../../etc/passwd");
        assert!(matches!(Document::parse(bad.as_bytes(), None), Err(ManifestError::Syntax { .. })));
    }
}
