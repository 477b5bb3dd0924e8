//! Small images to serve and to import.

use std::fmt::Write as _;

use gantry_types::Digest;
use sha2::Digest as _;

use crate::archive::{Archive, gzip};

pub(crate) const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const INDEX_TYPE: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG_TYPE: &str = "application/vnd.oci.image.config.v1+json";
const LAYER_TYPE: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// An image in memory.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    pub(crate) manifest: Vec<u8>,
    pub(crate) config: Vec<u8>,
    /// Compressed layers, base first.
    pub(crate) layers: Vec<Vec<u8>>,
    /// Their tars.
    pub(crate) tars: Vec<Vec<u8>>,
}

pub(crate) fn digest(bytes: &[u8]) -> Digest {
    Digest::sha256(&sha2::Sha256::digest(bytes).into())
}

/// Bytes that do not compress.
pub(crate) fn noise(bytes: usize, seed: u64) -> String {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut text = String::with_capacity(bytes + 16);
    while text.len() < bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        write!(text, "{state:016x}").expect("a String takes it");
    }
    text
}

impl Sample {
    /// An image with these tars as layers.
    pub(crate) fn of(tars: Vec<Vec<u8>>) -> Self {
        let layers: Vec<Vec<u8>> = tars.iter().map(|tar| gzip(tar)).collect();
        let architecture = gantry_types::Platform::host().architecture;
        let diff_ids: Vec<String> = tars.iter().map(|tar| format!("\"{}\"", digest(tar))).collect();
        let config = format!(
            r#"{{"architecture":"{architecture}","os":"linux","created":"2026-01-02T03:04:05Z",
            "config":{{"Cmd":["/hello"],"Env":["PATH=/bin"]}},"rootfs":{{"type":"layers","diff_ids":[{}]}}}}"#,
            diff_ids.join(",")
        );
        let descriptor = |kind: &str, bytes: &[u8]| {
            format!(r#"{{"mediaType":"{kind}","digest":"{}","size":{}}}"#, digest(bytes), bytes.len())
        };
        let layer_descriptors: Vec<String> =
            layers.iter().map(|layer| descriptor(LAYER_TYPE, layer)).collect();
        let manifest = format!(
            r#"{{"schemaVersion":2,"mediaType":"{MANIFEST_TYPE}","config":{},"layers":[{}]}}"#,
            descriptor(CONFIG_TYPE, config.as_bytes()),
            layer_descriptors.join(",")
        );
        Self { manifest: manifest.into_bytes(), config: config.into_bytes(), layers, tars }
    }

    /// Two layers; the second one is large enough to be cut.
    pub(crate) fn small() -> Self {
        Self::of(vec![
            Archive::default().folder("bin").file("hello", "hello").finish(),
            Archive::default().file("large", &noise(3 << 20, 7)).file(".wh.hello", "").finish(),
        ])
    }

    /// An index that points to the manifest for this machine, and to one that is not there for another.
    pub(crate) fn index(&self) -> Vec<u8> {
        let architecture = gantry_types::Platform::host().architecture;
        format!(
            r#"{{"schemaVersion":2,"mediaType":"{INDEX_TYPE}","manifests":[
            {{"mediaType":"{MANIFEST_TYPE}","digest":"sha256:{}","size":5,"platform":{{"os":"linux","architecture":"mips"}}}},
            {{"mediaType":"{MANIFEST_TYPE}","digest":"{}","size":{},"platform":{{"os":"linux","architecture":"{architecture}"}}}}]}}"#,
            "0".repeat(64),
            digest(&self.manifest),
            self.manifest.len()
        )
        .into_bytes()
    }
}
