//! What are test images made of? Layers built in memory and a config written as JSON, pushed to a registry as OCI
//! documents: every image of the suite is made at run time, from the machine's own Debian packages.

use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use tar::{Builder, EntryType, Header};

use crate::http;
use crate::registry::Registry;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// One layer under construction: a tar archive in memory.
#[derive(Debug)]
pub struct Layer {
    archive: Vec<(Header, String, Vec<u8>)>,
}

impl Default for Layer {
    fn default() -> Self {
        Self::new()
    }
}

impl Layer {
    /// An empty layer.
    #[must_use]
    pub fn new() -> Self {
        Self { archive: Vec::new() }
    }

    /// Adds a file with these mode bits.
    #[must_use]
    pub fn file(self, path: &str, mode: u32, content: &[u8]) -> Self {
        self.entry(EntryType::Regular, path, mode, content.to_vec(), None)
    }

    /// Adds a copy of a file of this machine.
    pub fn copy(self, from: &Path, to: &str) -> Result<Self> {
        let content = std::fs::read(from).with_context(|| format!("reading {}", from.display()))?;
        Ok(self.file(to, 0o755, &content))
    }

    /// Adds copies of the regular files of a folder of this machine, the folders between them, until `left` bytes are
    /// used up.
    pub fn copy_tree(mut self, from: &Path, left: &mut u64) -> Result<Self> {
        self = self.folder(from.to_string_lossy().trim_start_matches('/'), 0o755);
        let mut entries: Vec<_> = std::fs::read_dir(from)?.collect::<Result<_, _>>()?;
        entries.sort_by_key(std::fs::DirEntry::file_name);
        for entry in entries {
            let meta = entry.metadata()?;
            let path = entry.path();
            let name = path.to_string_lossy().trim_start_matches('/').to_owned();
            if meta.is_dir() {
                self = self.copy_tree(&path, left)?;
            } else if meta.is_file() && meta.len() <= *left {
                *left -= meta.len();
                self = self.copy(&path, &name)?;
            }
        }
        Ok(self)
    }

    /// Adds a folder.
    #[must_use]
    pub fn folder(self, path: &str, mode: u32) -> Self {
        self.entry(EntryType::Directory, path, mode, Vec::new(), None)
    }

    /// Adds a symbolic link.
    #[must_use]
    pub fn symlink(self, path: &str, target: &str) -> Self {
        self.entry(EntryType::Symlink, path, 0o777, Vec::new(), Some(target))
    }

    /// Hides a path of the layers below (OCI image-spec, layer.md, whiteouts).
    #[must_use]
    pub fn whiteout(self, path: &str) -> Self {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        let joint = if folder.is_empty() { "" } else { "/" };
        self.file(&format!("{folder}{joint}.wh.{name}"), 0, b"")
    }

    /// Hides everything the layers below have in a folder.
    #[must_use]
    pub fn opaque(self, folder: &str) -> Self {
        self.file(&format!("{folder}/.wh..wh..opq"), 0, b"")
    }

    fn entry(mut self, kind: EntryType, path: &str, mode: u32, content: Vec<u8>, link: Option<&str>) -> Self {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(content.len() as u64);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_700_000_000);
        if let Some(link) = link {
            header.set_link_name(link).expect("link targets of fixtures are short");
        }
        self.archive.push((header, path.to_owned(), content));
        self
    }

    /// The layer as a tar, not compressed.
    pub fn tar(&self) -> Result<Vec<u8>> {
        let mut builder = Builder::new(Vec::new());
        for (header, path, content) in &self.archive {
            builder.append_data(&mut header.clone(), path, content.as_slice())?;
        }
        Ok(builder.into_inner()?)
    }
}

/// An image under construction.
#[derive(Debug)]
pub struct Image {
    layers: Vec<Vec<u8>>,
    config: Value,
}

/// What pushing an image made.
#[derive(Debug, Clone)]
pub struct Pushed {
    /// `host/repository:tag`.
    pub reference: String,
    /// `host/repository`.
    pub repository: String,
    /// The digest of the manifest (or of the index).
    pub digest: String,
    /// The digests of the layers, lowest first.
    pub layers: Vec<String>,
}

impl Image {
    /// An image without a layer, whose config is `config` (the `config` member of the OCI image configuration).
    #[must_use]
    pub fn new(config: Value) -> Self {
        Self { layers: Vec::new(), config }
    }

    /// Adds a layer on top.
    pub fn layer(mut self, layer: &Layer) -> Result<Self> {
        self.layers.push(layer.tar()?);
        Ok(self)
    }

    /// Adds a layer that was made elsewhere, as an uncompressed tar.
    #[must_use]
    pub fn tar(mut self, tar: Vec<u8>) -> Self {
        self.layers.push(tar);
        self
    }

    /// Pushes the image, wrapped in an index for this machine's platform and one nobody has.
    pub fn push(&self, registry: &Registry, repository: &str, tag: &str) -> Result<Pushed> {
        let (manifest, layers) = self.upload(registry, repository)?;
        let size = manifest.len();
        let digest = registry.push_manifest(repository, "", MANIFEST, &manifest)?;
        let platform = json!({"os": "linux", "architecture": architecture()});
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [
            {"mediaType": MANIFEST, "digest": digest, "size": size, "platform": platform},
        ]});
        let digest = registry.push_manifest(repository, tag, INDEX, &serde_json::to_vec(&index)?)?;
        Ok(pushed(registry, repository, tag, digest, layers))
    }

    /// Pushes the image as a bare manifest.
    pub fn push_bare(&self, registry: &Registry, repository: &str, tag: &str) -> Result<Pushed> {
        let (manifest, layers) = self.upload(registry, repository)?;
        let digest = registry.push_manifest(repository, tag, MANIFEST, &manifest)?;
        Ok(pushed(registry, repository, tag, digest, layers))
    }

    /// Writes the image as a tar of an OCI image layout (image-spec, image-layout.md) that names it `name`.
    pub fn write_archive(&self, file: &Path, name: &str) -> Result<()> {
        let mut blobs = Vec::new();
        let (manifest, _) = self.documents(|bytes| {
            blobs.push(bytes.to_vec());
            Ok(http::sha256(bytes))
        })?;
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [{
            "mediaType": MANIFEST, "digest": http::sha256(&manifest), "size": manifest.len(),
            "annotations": {"org.opencontainers.image.ref.name": name, "io.containerd.image.name": name},
        }]});
        blobs.push(manifest);
        let mut archive = Layer::new().file("oci-layout", 0o644, br#"{"imageLayoutVersion":"1.0.0"}"#).file(
            "index.json",
            0o644,
            &serde_json::to_vec(&index)?,
        );
        for blob in blobs {
            let digest = http::sha256(&blob);
            archive =
                archive.file(&format!("blobs/sha256/{}", digest.trim_start_matches("sha256:")), 0o644, &blob);
        }
        Ok(std::fs::write(file, archive.tar()?)?)
    }

    fn upload(&self, registry: &Registry, repository: &str) -> Result<(Vec<u8>, Vec<String>)> {
        self.documents(|bytes| registry.push_blob(repository, bytes))
    }

    /// Makes the blobs and hands each to `keep`, which answers its digest; answers the manifest and the layers' digests.
    fn documents(&self, mut keep: impl FnMut(&[u8]) -> Result<String>) -> Result<(Vec<u8>, Vec<String>)> {
        let mut descriptors = Vec::new();
        let mut digests = Vec::new();
        for layer in &self.layers {
            let blob = gzip(layer)?;
            let digest = keep(&blob)?;
            descriptors.push(json!({"mediaType": LAYER, "digest": digest, "size": blob.len()}));
            digests.push(digest);
        }
        let config = json!({
            "architecture": architecture(), "os": "linux", "config": self.config,
            "rootfs": {"type": "layers", "diff_ids": self.layers.iter().map(|tar| http::sha256(tar)).collect::<Vec<_>>()},
        });
        let config = serde_json::to_vec(&config)?;
        let digest = keep(&config)?;
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "layers": descriptors,
            "config": {"mediaType": CONFIG, "digest": digest, "size": config.len()},
        });
        Ok((serde_json::to_vec(&manifest)?, digests))
    }
}

fn pushed(registry: &Registry, repository: &str, tag: &str, digest: String, layers: Vec<String>) -> Pushed {
    let repository = registry.reference(repository);
    Pushed { reference: format!("{repository}:{tag}"), repository, digest, layers }
}

fn gzip(tar: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(tar)?;
    Ok(encoder.finish()?)
}

/// The machine's architecture in OCI's (Go's) words.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
