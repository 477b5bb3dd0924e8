//! What registries and archives send: names, digests, manifests, configs, layers.

use std::fs::File;
use std::os::fd::AsFd as _;

use anyhow::{Result, ensure};
use gantry_image::manifest::{ConfigFile, Document, MediaType, chain_ids, choose};
use gantry_image::unpack::{UnpackLimits, decoder, unpack};
use gantry_tests::image::Layer;
use gantry_types::{Digest, Platform, Reference};

use super::{Target, text, texts};

const HEX: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

pub(super) fn all() -> Vec<Target> {
    vec![
        Target {
            name: "reference",
            samples: || {
                texts(&[
                    "redis",
                    "a/b:c",
                    "localhost:5000/x/y:v1",
                    "[::1]:5000/x",
                    &format!("a.b/c@{HEX}"),
                    &format!("x:1@{HEX}"),
                ])
            },
            words: &["@sha256:", "..", "//", ":", "%2e%2e", "LIBRARY/", "docker.io/", "xn--", "[", "]", "_"],
            run: reference,
        },
        Target {
            name: "digest",
            samples: || texts(&[HEX, &format!("sha512:{}", "0123456789abcdef".repeat(8))]),
            words: &["sha512:", "../", ":", "G"],
            run: digest,
        },
        Target { name: "manifest", samples: manifests, words: JSON, run: manifest },
        Target { name: "config", samples: configs, words: JSON, run: config },
        Target {
            name: "layer",
            samples: layers,
            words: &[
                "../",
                ".wh.",
                ".wh..wh..opq",
                "ustar\x0000",
                "ustar  \0",
                "14 path=../../x\n",
                "13 size=99999\n",
            ],
            run: layer,
        },
    ]
}

const JSON: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    "null",
    "true",
    "\"\"",
    ",",
    ":",
    "\"size\":-1",
    "\"manifests\":[]",
    "\"layers\":[]",
    "\"config\":null",
    "\"digest\":\"sha256:../..\"",
    "\"mediaType\":\"application/vnd.oci.image.index.v1+json\"",
    "\\u0000",
    "[[[[[[[[[[",
    "1e400",
    "\"urls\":[\"http://x\"]",
    "\"User\":\"0:0\"",
    "\"Env\":[\"=\"]",
    "\"diff_ids\":[]",
    "\"os\":\"\"",
];

fn reference(bytes: &[u8]) -> Result<bool> {
    let Ok(reference) = text(bytes).parse::<Reference>() else { return Ok(false) };
    for shown in [reference.to_string(), reference.familiar()] {
        ensure!(
            shown.parse::<Reference>().ok().as_ref() == Some(&reference),
            "{shown:?} is not {reference:?} again"
        );
    }
    ensure!(!reference.repository().split('/').any(|part| matches!(part, "" | "." | "..")), "{reference:?}");
    Ok(true)
}

fn digest(bytes: &[u8]) -> Result<bool> {
    let Ok(digest) = text(bytes).parse::<Digest>() else { return Ok(false) };
    ensure!(digest.to_string().as_bytes() == bytes, "{digest} comes from other bytes");
    ensure!(
        digest.hex().bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)),
        "{digest}"
    );
    Ok(true)
}

fn manifests() -> Vec<Vec<u8>> {
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{HEX}","size":7}},"layers":[{{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"{HEX}","size":9}}]}}"#
    );
    let index = format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{HEX}","size":7,"platform":{{"os":"linux","architecture":"amd64","variant":"v2"}}}}]}}"#
    );
    let docker = manifest.replace("vnd.oci.image.manifest.v1", "vnd.docker.distribution.manifest.v2");
    texts(&[&manifest, &index, &docker])
}

fn manifest(bytes: &[u8]) -> Result<bool> {
    for announced in ["application/vnd.oci.image.manifest.v1+json", "application/vnd.oci.image.index.v1+json"]
    {
        // What a header says can only make it be refused, never be something else.
        if let Ok(told) = Document::parse(bytes, Some(&MediaType::parse(announced))) {
            ensure!(Document::parse(bytes, None).ok() == Some(told), "the header changes the document");
        }
    }
    match Document::parse(bytes, None) {
        Ok(Document::Index(index)) => drop(choose(&index, &Platform::host())),
        Ok(Document::Manifest(_)) => {}
        Err(_) => return Ok(false),
    }
    Ok(true)
}

fn configs() -> Vec<Vec<u8>> {
    texts(&[
        &format!(
            r#"{{"architecture":"amd64","os":"linux","config":{{"User":"1:2","Env":["A=b"],"Cmd":["sh"],"Volumes":{{"/x":{{}}}},"ExposedPorts":{{"80/tcp":{{}}}},"Labels":{{"a":"b"}},"StopSignal":"SIGTERM"}},"rootfs":{{"type":"layers","diff_ids":["{HEX}"]}},"history":[{{"created_by":"x"}}]}}"#
        ),
        r#"{"os":"linux","architecture":"arm64","rootfs":{"type":"layers","diff_ids":[]}}"#,
    ])
}

fn config(bytes: &[u8]) -> Result<bool> {
    let Ok(config) = ConfigFile::parse(bytes) else { return Ok(false) };
    let chain = chain_ids(&config.diff_ids);
    ensure!(chain.len() == config.diff_ids.len(), "a layer without a key");
    Ok(true)
}

fn layers() -> Vec<Vec<u8>> {
    let plain = Layer::new()
        .folder("d", 0o755)
        .file("d/a", 0o644, b"text")
        .symlink("d/l", "/etc")
        .file("d/.wh.gone", 0o644, b"")
        .file(&"n".repeat(120), 0o600, &[7; 600])
        .tar()
        .expect("memory takes it");
    vec![gzip(&plain), plain]
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("memory takes it")
}

/// Unpacks beside a canary.
fn layer(bytes: &[u8]) -> Result<bool> {
    let outer = tempfile::Builder::new().prefix("gantry-test-fuzz-").tempdir_in("/dev/shm")?;
    let folder = outer.path().join("layer");
    std::fs::create_dir(&folder)?;
    std::fs::write(outer.path().join("canary"), "alive")?;
    let limits = UnpackLimits { bytes_max: 1 << 20, entries_max: 100 };
    let open = File::open(&folder)?;
    let taken =
        decoder(bytes).is_ok_and(|tar| unpack(std::io::BufReader::new(tar), open.as_fd(), limits).is_ok());
    let outside = std::fs::read_dir(outer.path())?.count();
    ensure!(
        outside == 2 && std::fs::read_to_string(outer.path().join("canary"))? == "alive",
        "something left the layer"
    );
    Ok(taken)
}
