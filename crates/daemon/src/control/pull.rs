//! Pulling an image and giving it its name. The name moves at the very end, in one transaction; whatever
//! was fetched by then stays for the next pull.

use std::sync::Arc;

use gantry_image::registry::Credentials;
use gantry_image::{ImageRecord, Progress, PullRequest};
use gantry_store::Page;
use gantry_types::{Labels, Namespace, Platform, Reference};

use crate::assemble::Daemon;
use crate::error::Error;
use crate::tables::{EventKind, IMAGES, ImageRow};
use crate::{clock, images};

/// A checked request.
#[derive(Debug)]
pub(crate) struct Pull {
    pub namespace: Namespace,
    pub reference: Reference,
    pub platform: Platform,
    /// The caller's; without them the configuration's.
    pub credentials: Option<Credentials>,
    pub insecure: bool,
    /// Empty keeps the labels that the name has.
    pub labels: Labels,
}

impl Daemon {
    /// Returns whether the name stood for the same image before.
    pub(crate) async fn pull_image(&self, pull: &Pull, progress: Arc<dyn Progress>) -> Result<bool, Error> {
        let configured = match &pull.credentials {
            Some(_) => None,
            None => self.pulls.credentials(pull.reference.registry())?,
        };
        let fetching = self.pulls.fetching().await;
        let request = PullRequest {
            reference: &pull.reference,
            platform: &pull.platform,
            credentials: pull.credentials.as_ref().or(configured.as_ref()),
            insecure: pull.insecure,
            progress,
        };
        let mut image = self.pulls.puller.pull(request).await?;
        for (_, row) in self.store.scan(&IMAGES, &Page::all()) {
            image.learn_sizes(&row.value.image);
        }
        let up_to_date = self
            .name_image(&pull.namespace, &pull.reference, image, &pull.labels, EventKind::ImagePull)
            .await?;
        drop(fetching);
        self.collect_if_due().await;
        Ok(up_to_date)
    }

    /// Lets `reference` stand for `image`; true when it did before.
    pub(crate) async fn name_image(
        &self,
        namespace: &Namespace,
        reference: &Reference,
        image: ImageRecord,
        labels: &Labels,
        kind: EventKind,
    ) -> Result<bool, Error> {
        let key = (namespace.clone(), reference.clone());
        let (same, commit) = self.store.transaction(|tx| {
            let before = tx.get(&IMAGES, &key);
            let same = before.as_ref().is_some_and(|row| row.value.image.manifest == image.manifest);
            let labels = match &before {
                Some(row) if labels.is_empty() => row.value.labels.clone(),
                Some(_) | None => labels.clone(),
            };
            let created_unix_ns = before.map_or_else(clock::unix_ns, |row| row.value.created_unix_ns);
            let digest = image.manifest.to_string();
            tx.insert(&IMAGES, &key, ImageRow { image, labels: labels.clone(), created_unix_ns })?;
            let attributes = [("name".into(), reference.familiar()), ("digest".into(), digest)].into();
            self.events.append(tx, namespace, kind, &reference.to_string(), attributes, &labels)?;
            Ok::<_, Error>(same)
        })?;
        self.durable(commit).await?;
        self.events.publish(&self.store);
        Ok(same)
    }

    /// Runs the collection that fetches put off, when this was the last of them.
    pub(crate) async fn collect_if_due(&self) {
        if self.pulls.collection_is_due() {
            self.collect().await;
        }
    }

    /// Takes away what no image and no container needs; returns what went.
    pub(crate) async fn collect(&self) -> Vec<gantry_types::Digest> {
        let (pulls, store) = (Arc::clone(&self.pulls), self.store.clone());
        self.blocking.run(move || pulls.collect(|| images::needed(&store))).await
    }
}
