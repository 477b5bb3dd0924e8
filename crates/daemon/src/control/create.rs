//! Creating a container: everything asked is checked, the record is committed with its name and its event,
//! and its folders are made beside the record's way to the disk. A crash in between is finished by the next
//! daemon, forwards: the record says everything that is needed.

use std::sync::Arc;

use gantry_api::convert::ContainerRequest;
use gantry_types::{ContainerId, ContainerState, Labels};

use super::attach_network;
use crate::assemble::Daemon;
use crate::error::Error;
use crate::names;
use crate::requests::Guard;
use crate::supervisor::{self, Found};
use crate::tables::{
    CONTAINER_NAMES, CONTAINER_STATUS, CONTAINERS, ContainerRecord, ContainerStatus, EventKind, IMAGES,
};
use crate::{clock, images, user_namespaces};

impl Daemon {
    /// Returns the new container's id once it survives a power cut.
    pub(crate) async fn create_container(
        self: &Arc<Self>,
        new: ContainerRequest,
        request: Option<&Guard<'_>>,
    ) -> Result<ContainerId, Error> {
        let name_was_asked = new.name.is_some();
        let mut record = self.check(new)?;
        if attach_network::needs_default(record.options.network.attachments()) {
            self.default_network().await?;
        }
        let key = (record.namespace.clone(), record.id.clone());
        let status = ContainerStatus::new(ContainerState::Creating);
        let (record, commit) = self.store.transaction(|tx| {
            let image_key = (record.namespace.clone(), record.image.clone());
            if tx.get(&IMAGES, &image_key).is_none() {
                // Removed since it was looked up, and perhaps its layers with it.
                return Err(Error::ImageNotFound {
                    text: record.image.familiar(),
                    namespace: record.namespace.to_string(),
                });
            }
            if let Some(holder) = tx.get(&CONTAINER_NAMES, &(record.namespace.clone(), record.name.clone())) {
                if name_was_asked {
                    return Err(Error::NameTaken {
                        name: record.name.clone(),
                        holder: (*holder.value).clone(),
                    });
                }
                record.name = names::with_digits(&record.id);
            }
            attach_network::take(tx, &self.networks, &mut record)?;
            user_namespaces::take(tx, self.config.containers.userns_pool, &mut record)?;
            let name_key = (record.namespace.clone(), record.name.clone());
            tx.insert(&CONTAINERS, &key, record.clone())?;
            tx.insert(&CONTAINER_STATUS, &key, status.clone())?;
            tx.insert(&CONTAINER_NAMES, &name_key, record.id.clone())?;
            if let Some(request) = request {
                request.note(tx, record.id.as_str())?;
            }
            let attributes: Labels =
                [("name".into(), record.name.to_string()), ("image".into(), record.image.familiar())].into();
            self.events.append(
                tx,
                &record.namespace,
                EventKind::ContainerCreate,
                record.id.as_str(),
                attributes,
                &record.options.labels,
            )?;
            Ok(record)
        })?;
        let (durable, prepared) = tokio::join!(self.durable(commit), self.prepare_container(&record));
        if let Err(error) = durable.and(prepared) {
            self.unwind(&record).await;
            return Err(error);
        }
        self.events.publish(&self.store);
        let status = ContainerStatus::new(ContainerState::Created);
        let settled = self.store.transaction(|tx| tx.insert(&CONTAINER_STATUS, &key, status.clone()))?;
        settled.1.lazily();
        let id = record.id.clone();
        let handle = supervisor::spawn(self, Arc::new(record), status, Found::Fresh);
        self.containers.insert(&key.0, &id, handle);
        Ok(id)
    }

    /// Finds the image, and refuses here what would only fail at the start.
    fn check(&self, new: ContainerRequest) -> Result<ContainerRecord, Error> {
        let (reference, image) = images::find(&self.store, &new.namespace, &new.image)?;
        let image = &image.value.image;
        if let Some(platform) = &new.platform
            && platform.preference(&image.platform).is_none()
        {
            return Err(Error::ImagePlatform {
                reference: Box::new(reference),
                wanted: Box::new(platform.clone()),
                found: Box::new(image.platform.clone()),
            });
        }
        let id = ContainerId::from_random(&rand::random());
        let name = match new.name {
            Some(name) => name,
            None => names::words(&id),
        };
        let record = ContainerRecord {
            namespace: new.namespace,
            id,
            name,
            image: reference,
            image_digest: image.manifest.clone(),
            image_id: image.config_digest.clone(),
            layers: image.chain(),
            image_config: image.config.clone(),
            options: new.options,
            created_unix_ns: clock::unix_ns(),
        };
        let mut record = record;
        let default = || self.config.containers.default_runtime.clone();
        record.options.runtime.get_or_insert_with(default);
        user_namespaces::resolve(&self.config.containers, &mut record.options.user_namespace)?;
        attach_network::resolve_peer(&self.store, &record.namespace, &mut record.options.network)?;
        self.check_spec(&record)?;
        Ok(record)
    }

    /// Takes a container away whose creation failed.
    async fn unwind(&self, record: &ContainerRecord) {
        let key = (record.namespace.clone(), record.id.clone());
        let removed = self.store.transaction(|tx| {
            tx.remove(&CONTAINERS, &key);
            tx.remove(&CONTAINER_STATUS, &key);
            tx.remove(&CONTAINER_NAMES, &(record.namespace.clone(), record.name.clone()));
            attach_network::give_back(tx, &record.namespace, &record.id);
            user_namespaces::give_back(tx, record);
            Ok::<_, Error>(())
        });
        if let Err(error) = removed {
            tracing::error!(error = %crate::error::Chain(&error), "a failed create could not be taken back");
        }
        if let Err(error) = self.erase_container(record).await {
            tracing::warn!(error = %crate::error::Chain(&error), "a failed create left folders behind");
        }
    }
}
