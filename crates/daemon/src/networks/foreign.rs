//! Links that drivers make, in an order that a crash at any moment cannot break:
//!
//! ```text
//! join   pin the namespace ─ record that it is asked (flush) ─ ask ─ record the answer (flush)
//! leave  ask ─ forget the record ─ unpin the namespace with the last one
//! ```
//!
//! The namespace is pinned at `<state>/netns/<owner>` until the last driver is done with it, so that what a driver takes
//! away is still there when it is asked, even after the shim was killed; after a reboot there is none, and drivers give
//! back what else they hold. A link that a driver does not take away keeps its row: it is asked again when the owner
//! starts next, when the daemon does, and when the network is to be removed.

mod recover;

use std::collections::HashSet;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};

use gantry_store::Store;
use gantry_types::{NetworkDriver, NetworkId, NetworkName, NetworkOptions};

use super::attachment::{self, AttachmentRecord};
use super::driver::{self, Link};
use super::places::Places;
use super::problem::NetworkProblem;
use super::tables::{EndpointRecord, NETWORKS, NetworkRecord, Owner};
use super::{record, sandbox};
use crate::assemble::Daemon;
use crate::error::{Chain, Error};

pub(crate) use recover::mend_foreign;

/// Who has links that are a driver's.
pub(crate) fn owners(store: &Store) -> HashSet<String> {
    attachment::all(store).iter().map(|record| record.owner.key()).collect()
}

impl Daemon {
    /// The options of a network with what its driver needs to have said before it is recorded.
    pub(crate) async fn settle_options(
        self: &Arc<Self>,
        name: &NetworkName,
        options: NetworkOptions,
    ) -> Result<NetworkOptions, Error> {
        match options.driver {
            NetworkDriver::Bridge | NetworkDriver::External => Ok(options),
            NetworkDriver::Macvlan | NetworkDriver::Ipvlan => {
                let daemon = Arc::clone(self);
                let work = move || daemon.networks.try_parent(&options).map(|()| options);
                self.blocking.run(work).await
            }
            NetworkDriver::Cni => {
                let (daemon, name) = (Arc::clone(self), name.to_string());
                let work = move || driver::settle(options, &name, &daemon.networks.config.cni_config_dirs);
                self.blocking.run(work).await
            }
        }
    }

    /// Asks a new network's driver what it can do.
    pub(crate) async fn ask_abilities(&self, network: &mut NetworkRecord) -> Result<(), Error> {
        if let Some(driver) = self.networks.driver(network)? {
            network.abilities = driver.abilities().await?;
        }
        Ok(())
    }

    /// Tells a network's driver of it, once since this daemon started.
    pub(crate) async fn announce(&self, network: &NetworkRecord) -> Result<(), Error> {
        let Some(driver) = self.networks.driver(network)? else { return Ok(()) };
        let is_known =
            self.networks.announced.lock().unwrap_or_else(PoisonError::into_inner).contains(&network.id);
        if !is_known {
            driver.create(network).await?;
            let mut announced = self.networks.announced.lock().unwrap_or_else(PoisonError::into_inner);
            announced.insert(network.id.clone());
        }
        Ok(())
    }

    /// Takes what a driver has of a network that nobody has a place on.
    pub(crate) async fn renounce(&self, network: &NetworkRecord) -> Result<(), Error> {
        if !network.is_foreign() {
            return Ok(());
        }
        let left = attachment::all(&self.store).into_iter().filter(|record| record.network == network.id);
        for record in left.collect::<Vec<_>>() {
            self.leave(&record).await?;
            self.unpin_if_last(&record.owner).await?;
        }
        let driver = match self.networks.driver(network) {
            Ok(Some(driver)) => driver,
            Ok(None) => return Ok(()),
            // Who takes a driver out of the configuration has nobody to tell.
            Err(error) => {
                tracing::warn!(error = %Chain(&error), network = %network.name, "a network's driver is not there to be told of its end");
                return Ok(());
            }
        };
        self.networks.announced.lock().unwrap_or_else(PoisonError::into_inner).remove(&network.id);
        driver.remove(network).await
    }

    /// Has drivers make the links of an owner's places on their networks.
    pub(crate) async fn join_all(&self, places: &Places, netns: BorrowedFd<'_>) -> Result<(), Error> {
        for (endpoint, network) in places.all.iter().filter(|(_, network)| network.is_foreign()) {
            self.join(places, endpoint, network, netns).await?;
        }
        Ok(())
    }

    /// Has a driver make the link of one place.
    pub(crate) async fn join(
        &self,
        places: &Places,
        endpoint: &EndpointRecord,
        network: &NetworkRecord,
        netns: BorrowedFd<'_>,
    ) -> Result<(), Error> {
        let asked = &AttachmentRecord::new(places, endpoint, network);
        let key = asked.owner.key();
        // What a driver did not take away when it was asked to.
        for left in attachment::of_owner(&self.store, &key) {
            if left.network == asked.network {
                self.leave(&left).await?;
            }
        }
        self.announce(network).await?;
        let path = sandbox::path_of(self.layout.state(), &key);
        let copied = netns.try_clone_to_owned();
        let copied =
            copied.map_err(|source| Error::Io { action: "copy a namespace's descriptor", source })?;
        let pinned = path.clone();
        self.blocking.run(move || sandbox::pin_anew(&copied, &pinned)).await?;
        self.write_attachment(asked).await?;
        let driver = self.networks.driver(network)?.expect("the network is a driver's");
        let made = driver.join(&Link { network, attachment: asked, netns: Some(path) }).await?;
        self.write_attachment(&AttachmentRecord { made: Some(made), ..asked.clone() }).await
    }

    /// Has drivers take an owner's links away, or the one on `network`. What fails is tried again another time, and
    /// the first failure is told.
    pub(crate) async fn leave_all(&self, owner: &Owner, network: Option<&NetworkId>) -> Result<(), Error> {
        let rows = attachment::of_owner(&self.store, &owner.key());
        if rows.is_empty() {
            return Ok(());
        }
        let mut first = Ok(());
        for record in rows.iter().filter(|record| network.is_none_or(|network| record.network == *network)) {
            let left = self.leave(record).await;
            first = first.and(left);
        }
        first.and(self.unpin_if_last(owner).await)
    }

    /// What drivers find wrong with an owner's link on a network.
    pub(crate) async fn check_link(&self, owner: &str, network: &NetworkRecord) -> Result<(), Error> {
        let Some(driver) = self.networks.driver(network)? else { return Ok(()) };
        let rows = attachment::of_owner(&self.store, owner);
        match rows.iter().find(|record| record.network == network.id && record.made.is_some()) {
            Some(attachment) => driver.check(&Link { network, attachment, netns: self.pinned(owner) }).await,
            None => Ok(()),
        }
    }

    pub(super) async fn leave(&self, record: &AttachmentRecord) -> Result<(), Error> {
        // A network outlives its links.
        let network = record::get(&self.store, &record.network)?;
        let driver = self.networks.driver(&network)?.expect("the network is a driver's");
        let netns = self.pinned(&record.owner.key());
        driver.leave(&Link { network: &network, attachment: record, netns }).await?;
        let ((), commit) = self.store.transaction(|tx| {
            attachment::forget(tx, record);
            Ok::<_, Error>(())
        })?;
        commit.lazily();
        Ok(())
    }

    async fn write_attachment(&self, record: &AttachmentRecord) -> Result<(), Error> {
        let ((), commit) = self.store.transaction(|tx| {
            if tx.get(&NETWORKS, &record.network).is_none() {
                let text = record.network.to_string();
                return Err(NetworkProblem::NotFound { text, namespace: String::new() }.into());
            }
            attachment::write(tx, record)
        })?;
        self.durable(commit).await
    }

    fn pinned(&self, owner: &str) -> Option<PathBuf> {
        let path = sandbox::path_of(self.layout.state(), owner);
        sandbox::is_namespace(&path).then_some(path)
    }

    /// A sandbox's namespace is its own, and stays.
    pub(super) async fn unpin_if_last(&self, owner: &Owner) -> Result<(), Error> {
        let key = owner.key();
        if matches!(owner, Owner::Sandbox(..)) || !attachment::of_owner(&self.store, &key).is_empty() {
            return Ok(());
        }
        let path = sandbox::path_of(self.layout.state(), &key);
        self.blocking.run(move || sandbox::unpin(&path)).await
    }
}
