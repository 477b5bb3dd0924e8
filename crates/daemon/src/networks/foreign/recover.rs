//! What a daemon that died in the middle of a driver's work leaves: links that were asked for and not answered, places
//! whose driver was not asked yet, links whose place is gone. Drivers may take their time, so this goes on beside
//! everything else; what belongs to containers that do not run, their own tasks have seen to.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;

use gantry_store::Page;

use super::super::attachment::{self, AttachmentRecord};
use super::super::places::Places;
use super::super::tables::{ENDPOINTS, Owner, SANDBOXES};
use super::super::{facts, sandbox};
use crate::assemble::Daemon;
use crate::error::{Chain, Error};
use crate::tables::{CONTAINER_STATUS, CONTAINERS, ContainerRecord};

/// Somebody who has a network namespace now.
struct Living {
    places: Places,
    netns: PathBuf,
    container: Option<Arc<ContainerRecord>>,
}

/// Mends in the background.
pub(crate) fn mend_foreign(daemon: &Arc<Daemon>) {
    if attachment::all(&daemon.store).is_empty() && living(daemon).is_empty() {
        return;
    }
    let mending = Arc::clone(daemon);
    daemon.tasks.spawn("drivers' leftovers", async move {
        tokio::select! {
            () = mending.tasks.cancelled() => {}
            () = mend_all(&mending) => {}
        }
    });
}

async fn mend_all(daemon: &Arc<Daemon>) {
    for record in attachment::all(&daemon.store) {
        if has_place(daemon, &record) {
            continue;
        }
        tracing::info!(endpoint = record.endpoint.short(), "a link without a place is taken away");
        let left = daemon.leave(&record).await;
        if let Err(error) = left.and(daemon.unpin_if_last(&record.owner).await) {
            tracing::warn!(error = %Chain(&error), "a link that nobody has is still its driver's");
        }
    }
    for living in living(daemon) {
        if let Err(error) = mend(daemon, &living).await {
            let owner = &living.places.owner;
            tracing::error!(owner, error = %Chain(&error), "a driver's link that was cut off stays as it is");
        }
    }
}

fn has_place(daemon: &Daemon, record: &AttachmentRecord) -> bool {
    let row = daemon.store.get(&ENDPOINTS, &(record.owner.key(), record.network.clone()));
    row.is_some_and(|row| row.value.id == record.endpoint)
}

/// Those who run and have places that drivers never answered for.
fn living(daemon: &Daemon) -> Vec<Living> {
    let mut living = Vec::new();
    for (key, status) in daemon.store.scan(&CONTAINER_STATUS, &Page::all()) {
        if status.value.state.is_alive()
            && let Some(row) = daemon.store.get(&CONTAINERS, &key)
        {
            let places = facts::of_container(&daemon.store, &row.value);
            let netns = facts::namespace_of(status.value.pid);
            living.push(Living { places, netns, container: Some(row.value) });
        }
    }
    for (_, row) in daemon.store.scan(&SANDBOXES, &Page::all()) {
        let netns = sandbox::path(daemon.layout.state(), &row.value.id);
        if sandbox::is_namespace(&netns) {
            living.push(Living {
                places: facts::of_sandbox(&daemon.store, &row.value),
                netns,
                container: None,
            });
        }
    }
    living.retain(|living| unanswered(daemon, &living.places).next().is_some());
    living
}

fn unanswered<'a>(daemon: &Daemon, places: &'a Places) -> impl Iterator<Item = &'a Place> {
    let foreign = places.all.iter().filter(|(_, network)| network.is_foreign());
    foreign.filter(|(endpoint, _)| daemon.store.view(|tx| attachment::made(tx, endpoint).is_none()))
}

type Place = (super::super::tables::EndpointRecord, super::super::tables::NetworkRecord);

async fn mend(daemon: &Arc<Daemon>, living: &Living) -> Result<(), Error> {
    let places = &living.places;
    tracing::info!(owner = places.owner, "a driver that was cut off is asked again");
    let path = living.netns.clone();
    let failed = |source| Error::Io { action: "open a network namespace", source };
    let netns: OwnedFd = daemon.blocking.run(move || File::open(path)).await.map_err(failed)?.into();
    for (endpoint, network) in unanswered(daemon, places) {
        daemon.join(places, endpoint, network, netns.as_fd()).await?;
    }
    let (worker, container) = (Arc::clone(daemon), living.container.clone());
    let sandbox = match &places.all[0].0.owner {
        Owner::Sandbox(namespace, id) => daemon.store.get(&SANDBOXES, &(namespace.clone(), id.clone())),
        Owner::Container(..) => None,
    };
    let tell = move || match (container, sandbox) {
        (Some(record), _) => {
            worker.networks.tell_all(None, &facts::of_container(&worker.store, &record))?;
            worker.write_files(&record)
        }
        (None, Some(row)) => worker.networks.tell_all(None, &facts::of_sandbox(&worker.store, &row.value)),
        (None, None) => Ok(()),
    };
    daemon.blocking.run(tell).await
}
