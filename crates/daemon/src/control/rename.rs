//! Giving a container another name.

use std::sync::Arc;

use gantry_types::{ContainerId, ContainerName, Namespace};

use crate::assemble::Daemon;
use crate::error::Error;
use crate::supervisor::Command;
use crate::tables::{CONTAINER_NAMES, CONTAINERS, EventKind};

impl Daemon {
    pub(crate) async fn rename_container(
        &self,
        namespace: &Namespace,
        id: &ContainerId,
        name: ContainerName,
    ) -> Result<(), Error> {
        let key = (namespace.clone(), id.clone());
        let (record, commit) = self.store.transaction(|tx| {
            let row = tx.get(&CONTAINERS, &key).ok_or(Error::ContainerGone)?;
            let mut record = (*row.value).clone();
            let new_key = (namespace.clone(), name.clone());
            if let Some(holder) = tx.get(&CONTAINER_NAMES, &new_key)
                && *holder.value != *id
            {
                return Err(Error::NameTaken { name: name.clone(), holder: (*holder.value).clone() });
            }
            let old_name = std::mem::replace(&mut record.name, name.clone());
            tx.remove(&CONTAINER_NAMES, &(namespace.clone(), old_name.clone()));
            tx.insert(&CONTAINER_NAMES, &new_key, id.clone())?;
            tx.insert(&CONTAINERS, &key, record.clone())?;
            let attributes =
                [("name".to_owned(), name.to_string()), ("old_name".to_owned(), old_name.to_string())];
            self.events.append(
                tx,
                namespace,
                EventKind::ContainerRename,
                id.as_str(),
                attributes.into(),
                &record.options.labels,
            )?;
            Ok(record)
        })?;
        self.durable(commit).await?;
        self.events.publish(&self.store);
        if let Ok(handle) = self.containers.handle(namespace, id) {
            match handle.ask(|reply| Command::Renamed { record: Arc::new(record), reply }).await {
                // One that was removed meanwhile has no names.
                Err(Error::ContainerGone) => {}
                renamed => renamed?,
            }
        }
        Ok(())
    }
}
