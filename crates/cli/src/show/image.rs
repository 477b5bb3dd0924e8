//! Images in docker's words: a row of `images`, and the document of `inspect`.

use gantry_api::images::v1::Image;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{bytes, moment};

/// The fields of one row; `truncate` shortens ids.
pub(crate) fn row(image: &Image, now: Timestamp, truncate: bool) -> Value {
    let (repository, tag) = split(&image.familiar_name);
    let created = image.build_time.or(image.create_time).unwrap_or_default();
    json!({
        "ID": if truncate { short(&image.id) } else { &image.id },
        "Repository": repository, "Tag": tag, "Digest": image.digest,
        "CreatedAt": moment::rfc3339(&created), "CreatedSince": format!("{} ago", moment::since(&created, now)),
        "Size": bytes::decimal(image.size_bytes), "Platform": image.platform,
    })
}

/// The header above a field of a row.
pub(crate) fn header(field: &str) -> String {
    match field {
        "ID" => "IMAGE ID".into(),
        "CreatedSince" => "CREATED".into(),
        "CreatedAt" => "CREATED AT".into(),
        other => other.to_uppercase(),
    }
}

/// The document of `inspect`.
pub(crate) fn document(image: &Image) -> Value {
    let config = image.config.clone().unwrap_or_default();
    let set = |items: &[String]| items.iter().map(|item| (item.clone(), json!({}))).collect::<Map<_, _>>();
    let time = |time: Option<prost_types::Timestamp>| time.as_ref().map(moment::rfc3339);
    let mut platform = image.platform.split('/');
    json!({
        "Id": image.id, "RepoTags": image.names, "RepoDigests": image.repo_digests, "Name": image.name,
        "Digest": image.digest, "Namespace": image.namespace, "Revision": image.revision, "Labels": image.labels,
        "Created": time(image.build_time), "Pulled": time(image.create_time), "Size": image.size_bytes,
        "ContentSize": image.content_bytes, "MediaType": image.media_type, "Os": platform.next(),
        "Architecture": platform.next(), "Variant": platform.next(), "Snapshot": image.snapshot_key,
        "Config": {
            "Entrypoint": config.entrypoint, "Cmd": config.command, "Env": config.env, "User": config.user,
            "WorkingDir": config.working_dir, "StopSignal": config.stop_signal, "Labels": config.labels,
            "Volumes": set(&config.volumes), "ExposedPorts": set(&config.exposed_ports),
        },
        "RootFS": {
            "Type": "layers",
            "Layers": image.layers.iter().map(|layer| &layer.diff_id).collect::<Vec<_>>(),
        },
        "Layers": image.layers.iter().map(|layer| {
            json!({"Digest": layer.digest, "MediaType": layer.media_type, "Size": layer.size_bytes})
        }).collect::<Vec<_>>(),
    })
}

/// The repository and the tag of a familiar name; `<none>` when it is pinned by digest alone.
fn split(name: &str) -> (&str, &str) {
    let name = name.split_once('@').map_or(name, |(name, _)| name);
    match name.rsplit_once(':') {
        // A colon before the last slash is a port's.
        Some((repository, tag)) if !tag.contains('/') => (repository, tag),
        Some(_) | None => (name, "<none>"),
    }
}

/// The first twelve digits of an id.
fn short(id: &str) -> &str {
    let hex = id.split_once(':').map_or(id, |(_, hex)| hex);
    hex.get(..12).unwrap_or(hex)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_no_tag_and_a_digest_neither() {
        assert_eq!(split("redis:7"), ("redis", "7"));
        assert_eq!(split("localhost:5000/a"), ("localhost:5000/a", "<none>"));
        assert_eq!(split("localhost:5000/a:b@sha256:0"), ("localhost:5000/a", "b"));
    }
}
