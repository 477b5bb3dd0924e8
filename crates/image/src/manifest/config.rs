//! The image config (OCI image-spec, config.md). Only what says how to run the image is taken; whatever else it
//! claims, security options for example (CVE-2014-6408), has no place to go.

use std::collections::BTreeMap;

use gantry_types::{
    ARGS_ENV_BYTES_MAX, ARGS_MAX, Digest, ENV_MAX, ImageConfig, LABEL_BYTES_MAX, LABELS_MAX, Platform,
    SnapshotKey,
};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::ManifestError;

const KIND: &str = "image config";
/// Declared volumes, and exposed ports.
const DECLARED_MAX: usize = 1024;

/// A checked image config.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigFile {
    /// What it is made for.
    pub platform: Platform,
    /// When it was made, in the words of the image (RFC 3339 when it keeps to the spec); at most 64 characters.
    pub created: Option<String>,
    /// Digests of the uncompressed layers, base first.
    pub diff_ids: Vec<Digest>,
    /// How to run it.
    pub config: ImageConfig,
}

#[derive(Deserialize)]
struct RawConfig {
    architecture: String,
    os: String,
    #[serde(default)]
    variant: Option<String>,
    created: Option<String>,
    rootfs: RawRootfs,
    #[serde(default)]
    config: Option<RawRun>,
}

#[derive(Deserialize)]
struct RawRootfs {
    #[serde(default)]
    diff_ids: Option<Vec<Digest>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct RawRun {
    user: Option<String>,
    #[expect(clippy::zero_sized_map_values, reason = "the document has a map, and serde reads what it has")]
    exposed_ports: Option<BTreeMap<String, Declared>>,
    env: Option<Vec<String>>,
    entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
    #[expect(clippy::zero_sized_map_values, reason = "the document has a map, and serde reads what it has")]
    volumes: Option<BTreeMap<String, Declared>>,
    working_dir: Option<String>,
    labels: Option<BTreeMap<String, String>>,
    stop_signal: Option<String>,
}

/// The value of a declared volume or port: an empty object, which says nothing.
#[derive(Deserialize)]
struct Declared {}

impl ConfigFile {
    /// Parses and checks a config.
    pub fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        let raw: RawConfig =
            serde_json::from_slice(bytes).map_err(|source| ManifestError::Syntax { kind: KIND, source })?;
        let diff_ids = raw.rootfs.diff_ids.unwrap_or_default();
        if diff_ids.len() > gantry_types::LAYERS_MAX {
            let (count, max) = (diff_ids.len(), gantry_types::LAYERS_MAX);
            return Err(ManifestError::TooManyLayers { count, max });
        }
        let platform =
            Platform { os: raw.os, architecture: raw.architecture, variant: raw.variant.unwrap_or_default() };
        let created = raw.created.filter(|text| text.len() <= 64);
        Ok(Self { platform, created, diff_ids, config: checked(raw.config.unwrap_or_default())? })
    }
}

fn checked(raw: RawRun) -> Result<ImageConfig, ManifestError> {
    let config = ImageConfig {
        entrypoint: raw.entrypoint.unwrap_or_default(),
        command: raw.cmd.unwrap_or_default(),
        env: raw.env.unwrap_or_default(),
        working_dir: raw.working_dir.unwrap_or_default(),
        user: raw.user.unwrap_or_default(),
        stop_signal: raw.stop_signal.unwrap_or_default(),
        volumes: raw.volumes.unwrap_or_default().into_keys().collect(),
        exposed_ports: raw.exposed_ports.unwrap_or_default().into_keys().collect(),
        labels: raw.labels.unwrap_or_default(),
    };
    let refuse = |field| ManifestError::Field { kind: KIND, field };
    let strings = || config.entrypoint.iter().chain(&config.command).chain(&config.env);
    if config.entrypoint.len() + config.command.len() > ARGS_MAX || config.env.len() > ENV_MAX {
        return Err(refuse("number of arguments or variables"));
    }
    if strings().map(String::len).sum::<usize>() > ARGS_ENV_BYTES_MAX {
        return Err(refuse("size of arguments and variables"));
    }
    if strings()
        .chain([&config.working_dir, &config.user, &config.stop_signal])
        .any(|text| text.contains('\0'))
    {
        return Err(refuse("text with a NUL byte"));
    }
    if config.working_dir.len() > 4096 || config.user.len() > 256 || config.stop_signal.len() > 64 {
        return Err(refuse("length of WorkingDir, User or StopSignal"));
    }
    if config.volumes.len() > DECLARED_MAX || config.exposed_ports.len() > DECLARED_MAX {
        return Err(refuse("number of Volumes or ExposedPorts"));
    }
    let label_bytes = |(key, value): (&String, &String)| key.len() + value.len();
    // Images made by build systems carry larger labels than callers may set; the sum is bounded all the same.
    if config.labels.len() > LABELS_MAX * 4
        || config.labels.iter().map(label_bytes).sum::<usize>() > LABELS_MAX * LABEL_BYTES_MAX
    {
        return Err(refuse("size of Labels"));
    }
    Ok(config)
}

/// The chain id of every layer, base first (OCI image-spec, config.md#layer-chainid), as snapshot keys.
///
/// # Panics
/// Never: hex digits are a snapshot key.
pub fn chain_ids(diff_ids: &[Digest]) -> Vec<SnapshotKey> {
    let mut chain: Vec<Digest> = Vec::with_capacity(diff_ids.len());
    for diff_id in diff_ids {
        let next = match chain.last() {
            None => diff_id.clone(),
            Some(below) => Digest::sha256(&Sha256::digest(format!("{below} {diff_id}")).into()),
        };
        chain.push(next);
    }
    chain.iter().map(|id| id.hex().parse().expect("hex digits are a snapshot key")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_config_gives_only_what_runs_an_image() {
        let text = br#"{"architecture":"amd64","os":"linux","created":"2026-01-02T03:04:05Z","rootfs":{"type":"layers",
            "diff_ids":["sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"]},
            "config":{"Env":["A=b"],"Cmd":null,"Entrypoint":["/x"],"Volumes":{"/data":{}},"ExposedPorts":{"80/tcp":{}},
            "Privileged":true,"SecurityOpt":["seccomp=unconfined"]},"history":[{}]}"#;
        let parsed = ConfigFile::parse(text).expect("parses");
        assert_eq!(parsed.config.entrypoint, ["/x"]);
        assert!(parsed.config.command.is_empty());
        assert!(parsed.config.volumes.contains("/data"));
        assert_eq!(chain_ids(&parsed.diff_ids)[0].as_str(), "a".repeat(64));
    }

    #[test]
    fn chain_ids_hash_what_lies_below() {
        let id = |digit: &str| format!("sha256:{}", digit.repeat(64)).parse::<Digest>().expect("a digest");
        let two = chain_ids(&[id("a"), id("b")]);
        let expected = Sha256::digest(format!("{} {}", id("a"), id("b")));
        assert_eq!(two[1].as_str(), Digest::sha256(&expected.into()).hex());
        assert_ne!(chain_ids(&[id("b"), id("a")])[1], two[1]);
    }

    #[test]
    fn texts_with_nul_bytes_and_endless_lists_are_refused() {
        let with = |run: &str| {
            ConfigFile::parse(
                format!(r#"{{"architecture":"a","os":"linux","rootfs":{{}},"config":{run}}}"#).as_bytes(),
            )
        };
        assert!(with(r#"{"Env":["A=\u0000"]}"#).is_err());
        let many = vec!["\"x\""; ARGS_MAX + 1].join(",");
        assert!(with(&format!(r#"{{"Cmd":[{many}]}}"#)).is_err());
        assert!(with("{}").is_ok());
    }
}
