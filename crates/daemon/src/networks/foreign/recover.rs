//! What a daemon that died in the middle of a driver's work leaves: links that were asked for and not answered, places
//! whose driver was not asked yet, links whose place is gone. Drivers may take their time, so this goes on beside
//! everything else; what belongs to containers that do not run, their own tasks have seen to.

use std::os::fd::AsFd;
use std::sync::Arc;

use super::super::attachment::{self, AttachmentRecord};
use super::super::living::{self, Living};
use super::super::places::Places;
use super::super::tables::{ENDPOINTS, EndpointRecord, NetworkRecord, Owner};
use crate::assemble::Daemon;
use crate::error::{Chain, Error};
use crate::supervisor::Command;

/// Mends in the background. Whom is found out now, while nobody else changes anything.
pub(crate) fn mend_foreign(daemon: &Arc<Daemon>) {
    let owners = unmended(daemon);
    if owners.is_empty() {
        return;
    }
    let mending = Arc::clone(daemon);
    daemon.tasks.spawn("drivers' leftovers", async move {
        tokio::select! {
            () = mending.tasks.cancelled() => {}
            () = mend_all(&mending, owners) => {}
        }
    });
}

/// First those with links to give back, which others may be given.
fn unmended(daemon: &Daemon) -> Vec<Owner> {
    let left = attachment::all(&daemon.store).into_iter().filter(|record| !has_place(daemon, record));
    let is_cut_off = |living: &Living| unanswered(daemon, &living.places).next().is_some();
    let cut_off = living::all(daemon).into_iter().filter(is_cut_off);
    let mut owners: Vec<Owner> = Vec::new();
    for owner in left.map(|record| record.owner).chain(cut_off.map(|living| living.owner())) {
        if !owners.contains(&owner) {
            owners.push(owner);
        }
    }
    owners
}

async fn mend_all(daemon: &Arc<Daemon>, owners: Vec<Owner>) {
    for owner in owners {
        if let Err(error) = mend_in_turn(daemon, &owner).await {
            tracing::error!(owner = owner.key(), error = %Chain(&error), "what a driver was cut off in stays as it is");
        }
    }
}

/// A container's task does it, as everything else with its links: a user may ask for the same ones meanwhile.
async fn mend_in_turn(daemon: &Arc<Daemon>, owner: &Owner) -> Result<(), Error> {
    if let Owner::Container(namespace, id) = owner
        && let Ok(handle) = daemon.containers.handle(namespace, id)
    {
        return match handle.ask(|reply| Command::MendLinks { reply }).await {
            // It was removed, and its links before it.
            Err(Error::ContainerGone) => Ok(()),
            mended => mended,
        };
    }
    daemon.mend_links(owner).await
}

impl Daemon {
    /// Has drivers take an owner's links without a place, and make those that it has a place for.
    pub(crate) async fn mend_links(self: &Arc<Self>, owner: &Owner) -> Result<(), Error> {
        let mut left = Ok(());
        for record in attachment::of_owner(&self.store, &owner.key()) {
            if !has_place(self, &record) {
                tracing::info!(endpoint = record.endpoint.short(), "a link without a place is taken away");
                left = left.and(self.leave(&record).await);
            }
        }
        left = left.and(self.unpin_if_last(owner).await);
        match living::of_owner(self, owner) {
            Some(living) if unanswered(self, &living.places).next().is_some() => {
                left.and(mend(self, living).await)
            }
            Some(_) | None => left,
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
    let living = Arc::new(living);
    let (worker, opened) = (Arc::clone(daemon), Arc::clone(&living));
    let netns = daemon.blocking.run(move || opened.open_network(&worker)).await?;
    let Some(netns) = netns else { return Ok(()) };
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
