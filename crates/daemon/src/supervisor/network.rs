//! A container's network, seen from its task: the namespace that its start is given and the links in it, and what
//! changes while it runs. The rows are the store's and the kernel's part is `networks/`; here the two are put in
//! order: rows first, then the kernel, and back again when the kernel refuses.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use gantry_network::Netns;
use gantry_store::Transaction;
use gantry_types::{ContainerId, ContainerState, EndpointOptions, NetworkMode, PublishedPort, UserNamespace};

use super::spec::makes_network;
use super::{ShimError, Supervisor};
use crate::assemble::Daemon;
use crate::control::attach_network;
use crate::error::Error;
use crate::networks::places::Places;
use crate::networks::tables::{EndpointRecord, NetworkRecord, Owner};
use crate::networks::{NetworkProblem, Networks, address, facts, port};
use crate::tables::{CONTAINER_STATUS, ContainerRecord, EventKind};
use crate::{files, tables};

/// What a start needs of the network.
#[derive(Debug)]
pub(super) struct Prepared {
    /// What init joins; `None` for the host's, and where init makes its own.
    pub(super) descriptor: Option<OwnedFd>,
    /// The namespace that still has to get its links.
    pub(super) unconnected: Option<Netns>,
}

impl Daemon {
    /// The namespace for a start, without its links.
    pub(super) async fn prepare_network(
        self: &Arc<Self>,
        record: &ContainerRecord,
    ) -> Result<Prepared, Error> {
        let shared = |descriptor| Prepared { descriptor: Some(descriptor), unconnected: None };
        match &record.options.network {
            NetworkMode::Host => Ok(Prepared { descriptor: None, unconnected: None }),
            _ if makes_network(&record.options) => Ok(Prepared { descriptor: None, unconnected: None }),
            NetworkMode::None | NetworkMode::Networks(_) => {
                let netns = self.take_namespace().await?;
                let copied = netns.descriptor().try_clone_to_owned();
                let copied =
                    copied.map_err(|source| Error::Io { action: "copy a namespace's descriptor", source })?;
                Ok(Prepared { descriptor: Some(copied), unconnected: Some(netns) })
            }
            NetworkMode::Container(peer) => {
                let id: ContainerId = peer.parse()?;
                let key = (record.namespace.clone(), id);
                let peer = self.store.get(&tables::CONTAINERS, &key).ok_or(Error::ContainerGone)?;
                let status = self.store.get(&CONTAINER_STATUS, &key).ok_or(Error::ContainerGone)?;
                let name = || peer.value.name.to_string();
                if !matches!(status.value.state, ContainerState::Running | ContainerState::Paused) {
                    return Err(NetworkProblem::PeerNotRunning { name: name() }.into());
                }
                let (daemon, (namespace, id), init) = (Arc::clone(self), key, status.value.pid);
                let opened = self.blocking.run(move || daemon.open_network(&namespace, &id, init)).await?;
                Ok(shared(opened.ok_or_else(|| NetworkProblem::PeerNotRunning { name: name() })?))
            }
            NetworkMode::Sandbox(id) => {
                let sandbox = attach_network::find_sandbox(&self.store, &record.namespace, id)?;
                Ok(shared(self.open_sandbox(&sandbox).await?))
            }
        }
    }

    /// Gives the namespace its links. Beside the shim's launch. Tells whether drivers gave it addresses that the
    /// container's files do not have yet.
    pub(super) async fn connect_network(
        self: &Arc<Self>,
        record: &ContainerRecord,
        netns: Option<Netns>,
    ) -> Result<bool, Error> {
        let Some(mut netns) = netns else { return Ok(false) };
        let places = facts::of_container(&self.store, record);
        if places.all.is_empty() {
            return Ok(false);
        }
        let daemon = Arc::clone(self);
        if !places.has_foreign() {
            let connect = move || daemon.networks.connect_all(&places, &mut netns).map(|()| false);
            return self.blocking.run(connect).await;
        }
        // Drivers last: what they make has to be undone by them.
        let attach = move || daemon.networks.attach_all(&places, &mut netns).map(|()| (places, netns));
        let (places, netns) = self.blocking.run(attach).await?;
        self.join_all(&places, netns.descriptor()).await?;
        let (daemon, record) = (Arc::clone(self), record.clone());
        let tell = move || daemon.networks.tell_all(None, &facts::of_container(&daemon.store, &record));
        self.blocking.run(tell).await.map(|()| true)
    }

    /// Writes the container's files again.
    pub(super) async fn rewrite_files(self: &Arc<Self>, record: &Arc<ContainerRecord>) -> Result<(), Error> {
        let (daemon, record) = (Arc::clone(self), Arc::clone(record));
        self.blocking.run(move || daemon.write_files(&record)).await
    }

    /// Writes the container's hosts, host name and resolver files, into those that are there.
    pub(crate) fn write_files(&self, record: &ContainerRecord) -> Result<(), Error> {
        let bundle = self.layout.bundle(&record.namespace, &record.id);
        let hostname = self.hostname(record);
        let options = &record.options;
        let owner = options.own_user_namespace().and_then(UserNamespace::root);
        let places = match &options.network {
            NetworkMode::Container(peer) => {
                let id: ContainerId = peer.parse()?;
                let from = self.layout.bundle(&record.namespace, &id);
                return files::copy(&from, &bundle, &hostname, owner)
                    .map_err(|source| Error::Io { action: "copy the shared network's files", source });
            }
            NetworkMode::Sandbox(id) => {
                let sandbox = attach_network::find_sandbox(&self.store, &record.namespace, id)?;
                facts::of_sandbox(&self.store, &sandbox)
            }
            NetworkMode::None | NetworkMode::Host | NetworkMode::Networks(_) => {
                facts::of_container(&self.store, record)
            }
        };
        let facts = facts::of_files(&places, self.networks.config.dns);
        files::write(&bundle, &hostname, options, &facts, owner)
            .map_err(|source| Error::Io { action: "write the container's files", source })
    }
}

impl Supervisor {
    /// The namespace of the container's init, of this number; `None` when it has ended.
    async fn open_network(&self, init: u32) -> Result<Option<Netns>, Error> {
        let (daemon, record) = (Arc::clone(&self.daemon), Arc::clone(&self.record));
        let open = move || {
            let opened = daemon.open_network(&record.namespace, &record.id, init)?;
            Ok(opened.map(Netns::from_descriptor).transpose()?)
        };
        self.daemon.blocking.run(open).await
    }

    /// The namespace that the container's init, of this number, has made.
    pub(super) async fn made_network(&self, init: u32) -> Result<Netns, Error> {
        Ok(self.open_network(init).await?.ok_or(ShimError::Gone)?)
    }

    /// Takes what the kernel and netd have of the container's places, if that was not done since its end. The addresses
    /// stay its own.
    pub(super) async fn forget_network(&mut self) -> Result<(), Error> {
        if self.network_is_forgotten {
            return Ok(());
        }
        let places = facts::of_container(&self.daemon.store, &self.record);
        let left = self.daemon.leave_all(&self.owner(), None).await;
        if let Err(error) = &left {
            // It is tried again before the next start, when the daemon starts, or the network is to be removed.
            tracing::warn!(error = %crate::error::Chain(error), "a link is still its driver's");
        }
        if !places.all.is_empty() {
            let daemon = Arc::clone(&self.daemon);
            self.daemon.blocking.run(move || daemon.networks.forget_all(&places)).await?;
        }
        self.network_is_forgotten = left.is_ok();
        Ok(())
    }

    /// Takes the container's names away at once: who is told of its end finds them no more.
    pub(super) fn forget_names(&self) {
        let places = facts::of_container(&self.daemon.store, &self.record);
        // The sweep takes them away with the rest.
        if let Err(error) = self.daemon.networks.forget_names(&places) {
            tracing::warn!(error = %crate::error::Chain(&error), "the names of a container that ended stay for now");
        }
    }

    /// Gives the container a place on one more network.
    pub(super) async fn connect(
        &mut self,
        network: NetworkRecord,
        options: EndpointOptions,
    ) -> Result<EndpointRecord, Error> {
        self.check_own_network()?;
        let owner = self.owner();
        let before = self.places();
        let (endpoint, commit) = self.daemon.store.transaction(|tx| {
            let endpoint = address::take(tx, &self.daemon.networks.cursors, &owner, &network, &options)?;
            self.network_event(tx, &network, EventKind::NetworkConnect)?;
            Ok::<_, Error>(endpoint)
        })?;
        self.daemon.durable(commit).await?;
        let attached = match self.join(&endpoint, &network).await {
            Ok(()) => {
                let (endpoint, network) = (endpoint.clone(), network.clone());
                self.change(before, move |daemon, before, now, netns| {
                    daemon.networks.attach(now, &endpoint, &network, netns, false)?;
                    Networks::move_routes(before, now, netns)
                })
                .await
            }
            Err(error) => Err(error),
        };
        self.daemon.events.publish(&self.daemon.store);
        if let Err(error) = attached {
            let with = self.places();
            let ((), commit) = self.daemon.store.transaction(|tx| {
                address::give_back(tx, &endpoint);
                Ok::<_, Error>(())
            })?;
            commit.lazily();
            let left = self.daemon.leave_all(&owner, Some(&network.id)).await;
            let undone = self.change(with, move |daemon, before, now, netns| {
                daemon.networks.detach(&endpoint, &network, netns)?;
                Networks::move_routes(before, now, netns)
            });
            if let Err(error) = undone.await.and(left) {
                tracing::warn!(error = %crate::error::Chain(&error), "a refused connection left something behind");
            }
            return Err(error);
        }
        Ok(endpoint)
    }

    /// Takes the container's place on a network away.
    pub(super) async fn disconnect(&mut self, network: NetworkRecord) -> Result<(), Error> {
        self.check_own_network()?;
        let before = self.places();
        let name = || network.name.to_string();
        let found = before.all.iter().find(|(_, other)| other.id == network.id);
        let Some((endpoint, _)) = found.cloned() else {
            return Err(NetworkProblem::EndpointNotFound { name: name() }.into());
        };
        let ((), commit) = self.daemon.store.transaction(|tx| {
            address::give_back(tx, &endpoint);
            self.network_event(tx, &network, EventKind::NetworkDisconnect)
        })?;
        self.daemon.durable(commit).await?;
        self.daemon.events.publish(&self.daemon.store);
        let left = self.daemon.leave_all(&self.owner(), Some(&network.id)).await;
        let changed = self.change(before, move |daemon, before, now, netns| {
            daemon.networks.detach(&endpoint, &network, netns)?;
            Networks::move_routes(before, now, netns)
        });
        changed.await.and(left)
    }

    /// Has a driver make a link in the running container, if the network has one.
    async fn join(&self, endpoint: &EndpointRecord, network: &NetworkRecord) -> Result<(), Error> {
        if !network.is_foreign() || !self.is_connected() {
            return Ok(());
        }
        match self.open_network(self.status.pid).await? {
            Some(netns) => self.daemon.join(&self.places(), endpoint, network, netns.descriptor()).await,
            None => Ok(()),
        }
    }

    /// Publishes ports and takes others back, all or none.
    pub(super) async fn change_ports(
        &mut self,
        add: Vec<PublishedPort>,
        remove: Vec<PublishedPort>,
    ) -> Result<Vec<PublishedPort>, Error> {
        self.check_own_network()?;
        let owner = self.owner();
        let before = self.places();
        if self.is_connected() && before.has_foreign_way_in() {
            let why = "the driver of the container's network is told of ports when the container starts: stop it first";
            return Err(NetworkProblem::NoWayIn { why }.into());
        }
        let (ports, commit) = self.daemon.store.transaction(|tx| {
            port::give_back(tx, &owner, &remove)?;
            attach_network::publish(tx, &owner, &add, None)?;
            Ok::<_, Error>(port::of_owner(tx, &owner))
        })?;
        self.daemon.durable(commit).await?;
        self.retell(before).await?;
        Ok(ports)
    }

    /// Tells netd and the table what changed of the rows or the name, if the container runs.
    pub(super) async fn retell(&self, before: Places) -> Result<(), Error> {
        let now = self.places();
        if !self.is_connected() || now.all.is_empty() {
            return Ok(());
        }
        let daemon = Arc::clone(&self.daemon);
        self.daemon.blocking.run(move || daemon.networks.tell_all(Some(&before), &now)).await
    }

    /// What the rows say of the container's network.
    pub(super) fn places(&self) -> Places {
        facts::of_container(&self.daemon.store, &self.record)
    }

    fn network_event(
        &self,
        tx: &mut Transaction<'_>,
        network: &NetworkRecord,
        kind: EventKind,
    ) -> Result<(), Error> {
        let attributes = [
            ("name".to_owned(), network.name.to_string()),
            ("container".to_owned(), self.record.id.to_string()),
        ];
        let (events, labels) = (&self.daemon.events, &network.options.labels);
        events.append(tx, &self.record.namespace, kind, network.id.as_str(), attributes.into(), labels)
    }

    pub(super) fn owner(&self) -> Owner {
        Owner::Container(self.record.namespace.clone(), self.record.id.clone())
    }

    fn is_connected(&self) -> bool {
        matches!(self.status.state, ContainerState::Running | ContainerState::Paused)
    }

    /// Changes the links of a running container, then everything that tells of them.
    async fn change(
        &self,
        before: Places,
        links: impl FnOnce(&Daemon, &Places, &Places, &mut Netns) -> Result<(), Error> + Send + 'static,
    ) -> Result<(), Error> {
        if !self.is_connected() {
            return Ok(());
        }
        let (daemon, record, now) = (Arc::clone(&self.daemon), Arc::clone(&self.record), self.places());
        // It has ended, and its links with it.
        let Some(mut netns) = self.open_network(self.status.pid).await? else { return Ok(()) };
        self.daemon
            .blocking
            .run(move || {
                links(&daemon, &before, &now, &mut netns)?;
                daemon.write_files(&record)?;
                // Last: by netd's files the next daemon knows whether this was done to its end.
                daemon.networks.tell_all(Some(&before), &now)
            })
            .await
    }

    fn check_own_network(&self) -> Result<(), Error> {
        let what = match &self.record.options.network {
            NetworkMode::None | NetworkMode::Networks(_) => return Ok(()),
            NetworkMode::Host => "the host",
            NetworkMode::Container(_) => "another container",
            NetworkMode::Sandbox(_) => "a sandbox",
        };
        Err(NetworkProblem::Shared { what }.into())
    }
}
