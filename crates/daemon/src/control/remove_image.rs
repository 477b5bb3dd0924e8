//! Taking an image's name away, and with the last name what nothing else needs.

use gantry_store::Page;
use gantry_types::{ContainerName, Digest, Labels, Namespace, Reference};

use crate::assemble::Daemon;
use crate::error::Error;
use crate::images;
use crate::tables::{CONTAINERS, EventKind, IMAGES};

/// What went.
#[derive(Debug, Default)]
pub(crate) struct Removed {
    /// Names.
    pub untagged: Vec<Reference>,
    /// Digests of content; first the image's own id.
    pub deleted: Vec<Digest>,
}

impl Daemon {
    /// Removes the name that `text` is, or by id all names. An image that a container was made of keeps its
    /// last name, unless `force`.
    pub(crate) async fn remove_image(
        &self,
        namespace: &Namespace,
        text: &str,
        force: bool,
    ) -> Result<Removed, Error> {
        let (reference, row) = images::find(&self.store, namespace, text)?;
        let id = row.value.image.config_digest.clone();
        let by_name = text.parse::<Reference>().is_ok_and(|asked| asked == reference);
        let (untagged, commit) = self.store.transaction(|tx| {
            let names: Vec<Reference> = tx
                .scan(&IMAGES, &Page::prefix(namespace))
                .into_iter()
                .filter(|(_, row)| row.value.image.config_digest == id)
                .map(|((_, name), _)| name)
                .collect();
            let going = if by_name { vec![reference.clone()] } else { names.clone() };
            if !by_name && names.len() > 1 && !force {
                return Err(Error::ImageSeveralNames { text: text.to_owned(), names: names.len() });
            }
            let last = going.len() == names.len();
            if let Some(container) = user_of(tx, namespace, &id).filter(|_| last && !force) {
                return Err(Error::ImageInUse { reference: Box::new(reference.clone()), container });
            }
            for name in &going {
                if tx.remove(&IMAGES, &(namespace.clone(), name.clone())).is_none() {
                    continue;
                }
                let kind = if last { EventKind::ImageRemove } else { EventKind::ImageUntag };
                let attributes =
                    [("name".into(), name.familiar()), ("image_id".into(), id.to_string())].into();
                self.events.append(tx, namespace, kind, &name.to_string(), attributes, &Labels::new())?;
            }
            Ok(going)
        })?;
        self.durable(commit).await?;
        self.events.publish(&self.store);
        let gone = self.collect().await;
        let mut deleted: Vec<Digest> = gone.iter().filter(|digest| **digest == id).cloned().collect();
        deleted.extend(gone.into_iter().filter(|digest| *digest != id));
        Ok(Removed { untagged, deleted })
    }
}

/// A container of the namespace that was made of the image.
fn user_of(tx: &gantry_store::Transaction<'_>, namespace: &Namespace, id: &Digest) -> Option<ContainerName> {
    let containers = tx.scan(&CONTAINERS, &Page::prefix(namespace));
    containers.into_iter().find(|(_, row)| row.value.image_id == *id).map(|(_, row)| row.value.name.clone())
}
