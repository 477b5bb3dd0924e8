//! The media types that images are made of. What is not here is not an image for Gantry, and is refused by name.

use std::fmt;

/// What a blob says it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MediaType {
    /// `application/vnd.oci.image.index.v1+json`
    OciIndex,
    /// `application/vnd.oci.image.manifest.v1+json`
    OciManifest,
    /// `application/vnd.oci.image.config.v1+json`
    OciConfig,
    /// `application/vnd.oci.image.layer.v1.tar` and its compressed forms.
    OciLayer(Compression),
    /// `application/vnd.oci.image.layer.nondistributable.v1.tar…`: fetched like any other, from this registry only.
    OciForeignLayer(Compression),
    /// `application/vnd.docker.distribution.manifest.list.v2+json`
    DockerIndex,
    /// `application/vnd.docker.distribution.manifest.v2+json`
    DockerManifest,
    /// `application/vnd.docker.container.image.v1+json`
    DockerConfig,
    /// `application/vnd.docker.image.rootfs.diff.tar` and its compressed forms.
    DockerLayer(Compression),
    /// `application/vnd.docker.image.rootfs.foreign.diff.tar.gzip`
    DockerForeignLayer(Compression),
    /// `application/vnd.docker.distribution.manifest.v1+…`: schema 1, which cannot be verified by digest.
    DockerSchema1,
    /// Anything else, cut to 255 bytes.
    Other(Box<str>),
}

/// How a layer's tar is compressed, by its media type. The unpacker looks at the bytes themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip (RFC 1952).
    Gzip,
    /// zstd (RFC 8878).
    Zstd,
}

const TYPES: [(&str, MediaType); 17] = [
    ("application/vnd.oci.image.index.v1+json", MediaType::OciIndex),
    ("application/vnd.oci.image.manifest.v1+json", MediaType::OciManifest),
    ("application/vnd.oci.image.config.v1+json", MediaType::OciConfig),
    ("application/vnd.oci.image.layer.v1.tar", MediaType::OciLayer(Compression::None)),
    ("application/vnd.oci.image.layer.v1.tar+gzip", MediaType::OciLayer(Compression::Gzip)),
    ("application/vnd.oci.image.layer.v1.tar+zstd", MediaType::OciLayer(Compression::Zstd)),
    (
        "application/vnd.oci.image.layer.nondistributable.v1.tar",
        MediaType::OciForeignLayer(Compression::None),
    ),
    (
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        MediaType::OciForeignLayer(Compression::Gzip),
    ),
    (
        "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
        MediaType::OciForeignLayer(Compression::Zstd),
    ),
    ("application/vnd.docker.distribution.manifest.list.v2+json", MediaType::DockerIndex),
    ("application/vnd.docker.distribution.manifest.v2+json", MediaType::DockerManifest),
    ("application/vnd.docker.container.image.v1+json", MediaType::DockerConfig),
    ("application/vnd.docker.image.rootfs.diff.tar", MediaType::DockerLayer(Compression::None)),
    ("application/vnd.docker.image.rootfs.diff.tar.gzip", MediaType::DockerLayer(Compression::Gzip)),
    ("application/vnd.docker.image.rootfs.diff.tar.zstd", MediaType::DockerLayer(Compression::Zstd)),
    (
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        MediaType::DockerForeignLayer(Compression::Gzip),
    ),
    ("application/vnd.docker.distribution.manifest.v1+prettyjws", MediaType::DockerSchema1),
];

/// What a manifest request says it takes.
pub(crate) const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, \
     application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.list.v2+json, \
     application/vnd.docker.distribution.manifest.v2+json";

impl MediaType {
    /// From a header or a document. Parameters behind a semicolon are not part of it; case does not matter.
    pub fn parse(text: &str) -> Self {
        let bare = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        if bare == "application/vnd.docker.distribution.manifest.v1+json" {
            return Self::DockerSchema1;
        }
        match TYPES.iter().find(|(name, _)| *name == bare) {
            Some((_, known)) => known.clone(),
            None => Self::Other(bare.chars().take(255).collect()),
        }
    }

    /// Whether it is an index or a manifest list.
    pub fn is_index(&self) -> bool {
        *self == Self::OciIndex || *self == Self::DockerIndex
    }

    /// Whether it is one image's manifest.
    pub fn is_manifest(&self) -> bool {
        *self == Self::OciManifest || *self == Self::DockerManifest
    }

    /// Whether it is a layer.
    pub fn is_layer(&self) -> bool {
        matches!(
            self,
            Self::OciLayer(_) | Self::OciForeignLayer(_) | Self::DockerLayer(_) | Self::DockerForeignLayer(_)
        )
    }
}

impl fmt::Display for MediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Self::Other(text) = self {
            return f.write_str(text);
        }
        let name = TYPES.iter().find(|(_, known)| known == self).map(|(name, _)| *name);
        f.write_str(name.expect("every known type is in the table"))
    }
}
