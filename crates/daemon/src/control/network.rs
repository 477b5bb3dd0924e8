//! Making, changing and removing networks. A network is rows first; the kernel has it from its first use on (from
//! the start where its bridge was named, because somebody waits for that link), until it is removed.

use std::sync::Arc;

use gantry_types::{Labels, Namespace, NetworkId, NetworkName, NetworkOptions};

use crate::assemble::Daemon;
use crate::error::{Chain, Error};
use crate::networks::tables::{NETWORK_NAMES, NETWORKS, NetworkRecord};
use crate::networks::{NetworkProblem, record};
use crate::requests::Guard;
use crate::tables::EventKind;

impl Daemon {
    /// Makes a network.
    pub(crate) async fn create_network(
        self: &Arc<Self>,
        namespace: &Namespace,
        name: NetworkName,
        options: NetworkOptions,
        request: Option<&Guard<'_>>,
    ) -> Result<NetworkId, Error> {
        let made_at_once = options.bridge.name.is_some();
        let options = self.settle_options(&name, options).await?;
        let mut new = record::new(namespace.clone(), name, options);
        self.ask_abilities(&mut new).await?;
        let record = self.insert_network(new, request).await?;
        if let Err(error) = self.announce(&record).await {
            self.forget_network(&record).await?;
            return Err(error);
        }
        if made_at_once {
            let (daemon, worker) = (Arc::clone(self), record.clone());
            let up = self.blocking.run(move || daemon.networks.bring_up(&worker)).await;
            if let Err(error) = up {
                self.remove_network(&record).await?;
                return Err(error);
            }
        }
        Ok(record.id)
    }

    /// The default network, made if it was never used.
    pub(crate) async fn default_network(self: &Arc<Self>) -> Result<NetworkRecord, Error> {
        if let Some(row) = self.store.get(&NETWORKS, &record::default_id()) {
            return Ok((*row.value).clone());
        }
        match self.insert_network(record::new_default(&self.networks.config), None).await {
            Ok(record) => Ok(record),
            // Somebody else was first.
            Err(error) => match self.store.get(&NETWORKS, &record::default_id()) {
                Some(row) => Ok((*row.value).clone()),
                None => Err(error),
            },
        }
    }

    /// Replaces the labels.
    pub(crate) async fn update_network(&self, id: &NetworkId, labels: Labels) -> Result<(), Error> {
        let (_, commit) = self.store.transaction(|tx| {
            Ok::<_, Error>(tx.update(&NETWORKS, id, |network| network.options.labels = labels)?)
        })?;
        self.durable(commit).await
    }

    /// Removes a network that nobody has a place on.
    pub(crate) async fn remove_network(self: &Arc<Self>, network: &NetworkRecord) -> Result<(), Error> {
        if network.is_default {
            return Err(NetworkProblem::IsDefault { name: network.name.to_string() }.into());
        }
        if self.store.view(|tx| record::addresses_taken(tx, &network.id).is_empty()) {
            self.renounce(network).await?;
        }
        self.forget_network(network).await
    }

    /// Removes its rows, and what the kernel has of it.
    async fn forget_network(self: &Arc<Self>, network: &NetworkRecord) -> Result<(), Error> {
        let ((), commit) = self.store.transaction(|tx| {
            let endpoints = record::addresses_taken(tx, &network.id).len();
            if endpoints > 0 {
                return Err(NetworkProblem::InUse { name: network.name.to_string(), endpoints }.into());
            }
            tx.remove(&NETWORKS, &network.id);
            tx.remove(&NETWORK_NAMES, &(network.namespace.clone(), network.name.clone()));
            self.network_event(tx, network, EventKind::NetworkRemove)
        })?;
        self.durable(commit).await?;
        self.events.publish(&self.store);
        let (daemon, worker) = (Arc::clone(self), network.clone());
        let down = self.blocking.run(move || daemon.networks.bring_down(&worker)).await;
        if let Err(error) = down {
            // The record is gone, and the next start of the daemon sweeps what the kernel still has.
            tracing::error!(error = %Chain(&error), network = %network.name, "a network's link was not removed");
        }
        Ok(())
    }

    /// Removes every network of the namespace that nobody has a place on and that `chosen` says yes to.
    pub(crate) async fn prune_networks(
        self: &Arc<Self>,
        namespace: &Namespace,
        chosen: impl Fn(&NetworkRecord) -> bool,
    ) -> Result<Vec<String>, Error> {
        let unused = self.store.view(|tx| {
            let all = record::all_of(tx, namespace).into_iter();
            all.filter(|network| !network.is_default && record::addresses_taken(tx, &network.id).is_empty())
                .collect::<Vec<_>>()
        });
        let mut removed = Vec::new();
        for network in unused.into_iter().filter(|network| chosen(network)) {
            match self.remove_network(&network).await {
                Ok(()) => removed.push(network.name.to_string()),
                // Somebody took a place on it in between.
                Err(error) => tracing::debug!(error = %Chain(&error), "a network was not pruned"),
            }
        }
        Ok(removed)
    }

    async fn insert_network(
        self: &Arc<Self>,
        new: NetworkRecord,
        request: Option<&Guard<'_>>,
    ) -> Result<NetworkRecord, Error> {
        let daemon = Arc::clone(self);
        let routed = self.blocking.run(move || daemon.networks.routed()).await?;
        let (record, commit) = self.store.transaction(|tx| {
            let record = record::insert(tx, new, &self.networks.config, &routed)?;
            if let Some(request) = request {
                request.note(tx, record.id.as_str())?;
            }
            self.network_event(tx, &record, EventKind::NetworkCreate)?;
            Ok::<_, Error>(record)
        })?;
        self.durable(commit).await?;
        self.events.publish(&self.store);
        Ok(record)
    }

    fn network_event(
        &self,
        tx: &mut gantry_store::Transaction<'_>,
        network: &NetworkRecord,
        kind: EventKind,
    ) -> Result<(), Error> {
        let attributes = [("name".to_owned(), network.name.to_string())].into();
        let labels = &network.options.labels;
        self.events.append(tx, &network.namespace, kind, network.id.as_str(), attributes, labels)
    }
}
