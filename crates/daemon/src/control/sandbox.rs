//! Sandboxes: a network namespace with places on networks before there is any container, for orchestrators.

use std::sync::Arc;

use gantry_api::convert::SandboxRequest;
use gantry_types::{Namespace, SandboxId};

use super::attach_network;
use crate::assemble::Daemon;
use crate::clock;
use crate::error::Error;
use crate::networks::NetworkProblem;
use crate::networks::tables::{Owner, SANDBOXES, SandboxRecord};
use crate::requests::Guard;

impl Daemon {
    /// Makes a sandbox; its namespace and links are there when this returns.
    pub(crate) async fn create_sandbox(
        self: &Arc<Self>,
        namespace: &Namespace,
        mut asked: SandboxRequest,
        request: Option<&Guard<'_>>,
    ) -> Result<SandboxId, Error> {
        if attach_network::needs_default(&asked.networks) {
            self.default_network().await?;
        }
        let id = SandboxId::from_random(&rand::random());
        let record = SandboxRecord {
            namespace: namespace.clone(),
            hostname: asked.hostname.take().unwrap_or_else(|| id.short().to_owned()),
            id,
            labels: std::mem::take(&mut asked.labels),
            created_unix_ns: clock::unix_ns(),
        };
        let owner = Owner::Sandbox(namespace.clone(), record.id.clone());
        let ((), commit) = self.store.transaction(|tx| {
            attach_network::take_places(tx, &self.networks, &owner, &mut asked.networks)?;
            attach_network::publish(tx, &owner, &asked.ports, None)?;
            tx.insert(&SANDBOXES, &(namespace.clone(), record.id.clone()), record.clone())?;
            if let Some(request) = request {
                request.note(tx, record.id.as_str())?;
            }
            Ok::<_, Error>(())
        })?;
        let (durable, opened) = tokio::join!(self.durable(commit), self.open_sandbox(&record));
        if let Err(error) = durable.and_then(|()| opened.map(drop)) {
            self.take_sandbox_away(&record).await?;
            return Err(error);
        }
        Ok(record.id)
    }

    /// Removes a sandbox that no container uses.
    pub(crate) async fn remove_sandbox(self: &Arc<Self>, record: &SandboxRecord) -> Result<(), Error> {
        let user = self.store.view(|tx| attach_network::user_of_sandbox(tx, &record.namespace, &record.id));
        if let Some(container) = user {
            let id = record.id.short().to_owned();
            return Err(NetworkProblem::SandboxInUse { id, container: container.to_string() }.into());
        }
        self.take_sandbox_away(record).await
    }

    /// The kernel first: the addresses are given back only when nobody answers on them any more.
    async fn take_sandbox_away(self: &Arc<Self>, record: &SandboxRecord) -> Result<(), Error> {
        self.close_sandbox(record).await?;
        let ((), commit) = self.store.transaction(|tx| {
            let owner = Owner::Sandbox(record.namespace.clone(), record.id.clone());
            attach_network::give_all_back(tx, &owner);
            tx.remove(&SANDBOXES, &(record.namespace.clone(), record.id.clone()));
            Ok::<_, Error>(())
        })?;
        self.durable(commit).await
    }
}
