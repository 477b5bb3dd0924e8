//! What the daemon does at its start: take away what crashes left, and find out for every container what
//! became of it. It answers clients only when each is at rest or runs under a supervisor again.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use gantry_network::Netns;
use gantry_store::Page;
use gantry_types::{ContainerId, Namespace, SandboxId};
use tokio::sync::oneshot;

use crate::assemble::{Daemon, with_hint};
use crate::error::Chain;
use crate::networks::living::Living;
use crate::networks::tables::SANDBOXES;
use crate::networks::{foreign, living, sandbox};
use crate::supervisor::{self, Found};
use crate::sweep;
use crate::tables::{CONTAINER_STATUS, CONTAINERS};

/// How long a container's shim may keep the others waiting.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(5);

pub(crate) async fn recover(daemon: &Arc<Daemon>) -> anyhow::Result<()> {
    let mut settling = Vec::new();
    for (key, row) in daemon.store.scan(&CONTAINERS, &Page::all()) {
        let Some(status) = daemon.store.get(&CONTAINER_STATUS, &key) else {
            tracing::error!(namespace = %key.0, id = key.1.short(), "a container has no status; it is left alone");
            continue;
        };
        let (settled, settles) = oneshot::channel();
        let handle = supervisor::spawn(daemon, row.value, (*status.value).clone(), Found::Unknown(settled));
        daemon.containers.insert(&key.0, &key.1, handle);
        settling.push((key, settles));
    }
    let deadline = tokio::time::Instant::now() + SETTLE_TIMEOUT;
    for ((namespace, id), settles) in settling {
        if tokio::time::timeout_at(deadline, settles).await.is_err() {
            tracing::warn!(%namespace, id = id.short(), "a container is still being looked at");
        }
    }
    take_away_leftovers(daemon).await?;
    foreign::mend_foreign(daemon);
    Ok(())
}

/// What the kernel and netd have of containers that do not run, and of sandboxes and networks that are no more; and
/// what they lack of those that are.
fn sweep_networks(daemon: &Daemon) -> anyhow::Result<()> {
    let sandboxes = daemon.store.scan(&SANDBOXES, &Page::all());
    let is_known = |id: &SandboxId| sandboxes.iter().any(|((_, known), _)| known == id);
    let kept = foreign::owners(&daemon.store);
    sandbox::sweep(daemon.layout.state(), is_known, &kept).map_err(with_hint)?;
    let living = living::all(daemon);
    let places = living.iter().flat_map(|living| &living.places.all);
    let alive: HashSet<String> = places.map(|(endpoint, _)| endpoint.id.to_string()).collect();
    let mend = |cut_off: &HashSet<String>| {
        for living in &living {
            if cut_off.contains(&living.places.owner) || !daemon.networks.is_told(&living.places) {
                mend(daemon, living);
            }
        }
    };
    daemon.networks.sweep(&daemon.store, &alive, mend).map_err(with_hint)
}

/// One whose network cannot be mended is told of and runs on: the others wait for the daemon.
fn mend(daemon: &Daemon, living: &Living) {
    let owner = &living.places.owner;
    tracing::info!(owner, "a change of a network was cut off and is done again");
    let mended = || {
        let Some(netns) = living.open_network(daemon)? else { return Ok(()) };
        daemon.networks.mend(&living.places, &mut Netns::from_descriptor(netns)?)?;
        living.write_files(daemon)
    };
    if let Err(error) = mended() {
        tracing::error!(owner, error = %Chain(&error), "a network that was cut off in a change stays as it is");
    }
}

/// Bundles, cgroups and half-done snapshots that no record knows: of creates and removals cut off by a crash.
async fn take_away_leftovers(daemon: &Arc<Daemon>) -> anyhow::Result<()> {
    let worker = Arc::clone(daemon);
    daemon
        .blocking
        .run(move || {
            let taken = worker.snapshotter.cleanup().map_err(with_hint)?;
            if taken > 0 {
                tracing::info!(taken, "half-done snapshots were taken away");
            }
            let is_known = |namespace: &Namespace, id: &ContainerId| {
                worker.store.get(&CONTAINERS, &(namespace.clone(), id.clone())).is_some()
            };
            for (namespace, id) in sweep::bundles(&worker.layout.shims()) {
                if is_known(&namespace, &id) {
                    continue;
                }
                tracing::info!(%namespace, id = id.short(), "a bundle without a container is taken away");
                sweep::sweep(&worker, &namespace, &id, false).map_err(with_hint)?;
            }
            sweep_networks(&worker)
        })
        .await
}
