//! What a daemon that died in the middle of a driver's work leaves: links that were asked for and not answered, places
//! whose driver was not asked yet, links whose place is gone. Drivers may take their time, so this goes on beside
//! everything else; what belongs to containers that do not run, their own tasks have seen to.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use gantry_store::Page;

use super::super::attachment::{self, AttachmentRecord};
use super::super::living::{self, Living};
use super::super::places::Places;
use super::super::tables::{ENDPOINTS, EndpointRecord, NETWORKS, NetworkRecord};
use crate::assemble::Daemon;
use crate::error::{Chain, Error};

/// Mends in the background.
pub(crate) fn mend_foreign(daemon: &Arc<Daemon>) {
    let has_foreign =
        daemon.store.scan(&NETWORKS, &Page::all()).iter().any(|(_, row)| row.value.is_foreign());
    if !has_foreign {
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
    let unmended = |living: &Living| unanswered(daemon, &living.places).next().is_some();
    for living in living::all(daemon).into_iter().filter(unmended) {
        let owner = living.places.owner.clone();
        if let Err(error) = mend(daemon, living).await {
            tracing::error!(owner, error = %Chain(&error), "a driver's link that was cut off stays as it is");
        }
    }
}

fn has_place(daemon: &Daemon, record: &AttachmentRecord) -> bool {
    let row = daemon.store.get(&ENDPOINTS, &(record.owner.key(), record.network.clone()));
    row.is_some_and(|row| row.value.id == record.endpoint)
}

fn unanswered<'a>(daemon: &Daemon, places: &'a Places) -> impl Iterator<Item = &'a Place> {
    let foreign = places.all.iter().filter(|(_, network)| network.is_foreign());
    foreign.filter(|(endpoint, _)| daemon.store.view(|tx| attachment::made(tx, endpoint).is_none()))
}

type Place = (EndpointRecord, NetworkRecord);

async fn mend(daemon: &Arc<Daemon>, living: Living) -> Result<(), Error> {
    tracing::info!(owner = living.places.owner, "a driver that was cut off is asked again");
    let path = living.netns.clone();
    let failed = |source| Error::Io { action: "open a network namespace", source };
    let netns: OwnedFd = daemon.blocking.run(move || File::open(path)).await.map_err(failed)?.into();
    for (endpoint, network) in unanswered(daemon, &living.places) {
        daemon.join(&living.places, endpoint, network, netns.as_fd()).await?;
    }
    let worker = Arc::clone(daemon);
    let tell = move || {
        worker.networks.tell_all(None, &living.places_now(&worker.store))?;
        living.write_files(&worker)
    };
    daemon.blocking.run(tell).await
}
