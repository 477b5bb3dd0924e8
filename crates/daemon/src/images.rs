//! How a caller's words (a name, an id, the beginning of an id) find an image, and what stands on what.

use std::collections::BTreeSet;

use gantry_store::{Page, Row, Store};
use gantry_types::{Digest, Namespace, Reference};

use crate::clock;
use crate::error::Error;
use crate::tables::{CONTAINERS, IMAGES, ImageRow, LEASES};

/// Digits below which a text is not taken for the beginning of an id.
const ID_PREFIX_MIN: usize = 4;

/// The image that `text` means: a name, else the only id that begins so.
pub(crate) fn find(
    store: &Store,
    namespace: &Namespace,
    text: &str,
) -> Result<(Reference, Row<ImageRow>), Error> {
    if let Ok(reference) = text.parse::<Reference>()
        && let Some(row) = store.get(&IMAGES, &(namespace.clone(), reference.clone()))
    {
        return Ok((reference, row));
    }
    let mut matches =
        by_id(store, namespace, text).or_else(|| by_digest(store, namespace, text)).unwrap_or_default();
    let ids: BTreeSet<&Digest> = matches.iter().map(|(_, row)| &row.value.image.config_digest).collect();
    match ids.len() {
        0 => Err(Error::ImageNotFound {
            text: text.chars().take(160).collect(),
            namespace: namespace.to_string(),
        }),
        1 => Ok(matches.swap_remove(0)),
        _ => Err(Error::ImageAmbiguous { text: text.to_owned() }),
    }
}

/// Every name of the image whose id is `id`.
pub(crate) fn names(store: &Store, namespace: &Namespace, id: &Digest) -> Vec<(Reference, Row<ImageRow>)> {
    list(store, namespace).into_iter().filter(|(_, row)| row.value.image.config_digest == *id).collect()
}

/// All images of a namespace, by name.
pub(crate) fn list(store: &Store, namespace: &Namespace) -> Vec<(Reference, Row<ImageRow>)> {
    let rows = store.scan(&IMAGES, &Page::prefix(namespace));
    rows.into_iter().map(|((_, reference), row)| (reference, row)).collect()
}

/// What images, containers and leases of all namespaces stand on: layers' keys and blobs.
pub(crate) fn needed(store: &Store) -> (BTreeSet<String>, BTreeSet<Digest>) {
    let mut layers = BTreeSet::new();
    let mut blobs = BTreeSet::new();
    let now = clock::unix_ns();
    store.view(|tx| {
        let images = tx.scan(&IMAGES, &Page::all());
        for (_, row) in &images {
            layers.extend(row.value.image.chain().iter().map(ToString::to_string));
            blobs.extend(row.value.image.blobs());
        }
        for (_, row) in tx.scan(&CONTAINERS, &Page::all()) {
            layers.extend(row.value.layers.iter().map(ToString::to_string));
        }
        for (_, row) in tx.scan(&LEASES, &Page::all()).iter().filter(|(_, row)| row.value.is_alive(now)) {
            for resource in &row.value.resources {
                match resource.split_once(':') {
                    Some(("snapshot", key)) => _ = layers.insert(key.to_owned()),
                    Some(("blob", digest)) => blobs.extend(digest.parse::<Digest>()),
                    Some(_) | None => {}
                }
            }
        }
    });
    (layers, blobs)
}

/// Images whose id is or begins with `text`, with or without `sha256:`; `None` when `text` is no such thing.
fn by_id(store: &Store, namespace: &Namespace, text: &str) -> Option<Vec<(Reference, Row<ImageRow>)>> {
    let digits = text.strip_prefix("sha256:").unwrap_or(text);
    let is_hex = digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if !is_hex || !(ID_PREFIX_MIN..=64).contains(&digits.len()) {
        return None;
    }
    let matches: Vec<_> = list(store, namespace)
        .into_iter()
        .filter(|(_, row)| row.value.image.config_digest.hex().starts_with(digits))
        .collect();
    (!matches.is_empty()).then_some(matches)
}

/// Images of a repository whose manifest or index has the digest that `text` pins.
fn by_digest(store: &Store, namespace: &Namespace, text: &str) -> Option<Vec<(Reference, Row<ImageRow>)>> {
    let wanted = text.parse::<Reference>().ok()?;
    let digest = wanted.digest()?;
    let matches = list(store, namespace).into_iter().filter(|(name, row)| {
        let image = &row.value.image;
        name.familiar_name() == wanted.familiar_name()
            && (image.target == *digest || image.manifest == *digest)
    });
    Some(matches.collect())
}
