//! A plain root filesystem as an image of one layer: the archive as it is becomes the layer's blob, and the documents
//! around it are made here.

use std::io::{self, BufReader, Read};

use serde_json::{Map, Value, json};

use super::{Found, ImportError, ImportOptions};
use crate::content::{ContentStore, Sha256Writer};
use crate::manifest::Document;
use crate::unpack::{UnpackError, UnpackLimits, decoder};

/// Stores the archive and makes config and manifest for it.
pub(super) fn image(
    mut archive: impl Read,
    content: &ContentStore,
    limits: UnpackLimits,
    options: &ImportOptions<'_>,
) -> Result<Found, ImportError> {
    let mut ingest = content.ingest_afresh(&format!("import-{}", options.id))?;
    let mut piece = vec![0; 256 << 10];
    loop {
        match archive.read(&mut piece) {
            Ok(0) => break,
            Ok(count) => ingest.write(&piece[..count])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(source) => return Err(ImportError::Read { source }),
        }
        if ingest.offset() > limits.bytes_max {
            return Err(UnpackError::TooLarge { bytes_max: limits.bytes_max }.into());
        }
    }
    let size = ingest.offset();
    let blob = ingest.commit(None, None)?;

    let read = |source| ImportError::Read { source };
    let mut tar =
        decoder(BufReader::new(content.blob(&blob)?.file)).map_err(read)?.take(limits.bytes_max + 1);
    let mut hasher = Sha256Writer::new(io::sink());
    if io::copy(&mut tar, &mut hasher).map_err(read)? > limits.bytes_max {
        return Err(UnpackError::TooLarge { bytes_max: limits.bytes_max }.into());
    }
    let diff_id = hasher.finish();

    let config = config(options, &diff_id.to_string()).to_string().into_bytes();
    let config_digest = content.write(&config)?;
    let kind = super::docker_archive::layer_type(&blob, content)?;
    let bytes = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": config_digest.to_string(),
            "size": config.len(),
        },
        "layers": [{ "mediaType": kind, "digest": blob.to_string(), "size": size }],
    })
    .to_string()
    .into_bytes();
    let Document::Manifest(manifest) = Document::parse(&bytes, None)? else {
        return Err(ImportError::Format);
    };
    Ok(Found { bytes, manifest, names: Vec::new() })
}

/// The image config, with no field that is empty.
fn config(options: &ImportOptions<'_>, diff_id: &str) -> Value {
    let run = options.config.cloned().unwrap_or_default();
    let set = |names: &std::collections::BTreeSet<String>| -> Value {
        names.iter().map(|name| (name.clone(), json!({}))).collect::<Map<_, _>>().into()
    };
    let mut inner = json!({
        "Entrypoint": run.entrypoint,
        "Cmd": run.command,
        "Env": run.env,
        "WorkingDir": run.working_dir,
        "User": run.user,
        "StopSignal": run.stop_signal,
        "Volumes": set(&run.volumes),
        "ExposedPorts": set(&run.exposed_ports),
        "Labels": run.labels,
    });
    if let Some(fields) = inner.as_object_mut() {
        fields.retain(|_, value| !is_empty(value));
    }
    let mut whole = json!({
        "architecture": options.platform.architecture,
        "os": options.platform.os,
        "variant": options.platform.variant,
        "created": options.created.unwrap_or_default(),
        "config": inner,
        "rootfs": { "type": "layers", "diff_ids": [diff_id] },
    });
    if let Some(fields) = whole.as_object_mut() {
        fields.retain(|name, value| name == "config" || !is_empty(value));
    }
    whole
}

fn is_empty(value: &Value) -> bool {
    value.as_str().is_some_and(str::is_empty)
        || value.as_array().is_some_and(Vec::is_empty)
        || value.as_object().is_some_and(Map::is_empty)
}
