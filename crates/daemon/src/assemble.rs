//! The composition root: every part of the daemon is constructed here, once, and handed to those who need
//! it. There are no globals.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use gantry_linux::host::{CgroupMode, CgroupMounts};
use gantry_runtime::cgroup;
use gantry_runtime::spec::HostFacts;
use gantry_snapshot::{Overlayfs, Snapshotter};
use gantry_store::{Options, Page, Revision, Schema, Store};
use gantry_types::{BLOCKING_MAX, ContainerId, Namespace};
use tokio::sync::watch;

use crate::blocking::Blocking;
use crate::config::Config;
use crate::containers::Containers;
use crate::durable::watch_durable;
use crate::error::Error;
use crate::events::EventLog;
use crate::heap::Heap;
use crate::layout::Layout;
use crate::metrics::Metrics;
use crate::networks::Networks;
use crate::networks::attachment::ATTACHMENTS;
use crate::networks::tables::{
    ADDRESSES, ENDPOINTS, HOST_PORTS, NETWORK_NAMES, NETWORKS, PUBLISHED, SANDBOXES,
};
use crate::pulls::Pulls;
use crate::requests::Requests;
use crate::supervisor::Nursery;
use crate::tables::{
    CONTAINER_NAMES, CONTAINER_STATUS, CONTAINERS, ContainerRecord, EVENTS, ID_RANGES, IMAGES, LEASES,
    REQUESTS,
};
use crate::tasks::Tasks;
use crate::{clock, filters, host, sweep};

/// The version of the tables.
const SCHEMA_VERSION: u32 = 1;
/// Heaps of the allocator: memory goes back sooner, for a little more waiting (mallopt(3), M_ARENA_MAX).
const HEAPS_MAX: u8 = 2;

/// Everything the daemon is made of.
#[derive(Debug)]
pub(crate) struct Daemon {
    pub config: Config,
    pub layout: Layout,
    pub store: Store,
    /// The newest revision that survives a power cut.
    pub durable: watch::Receiver<Revision>,
    pub events: EventLog,
    pub requests: Requests,
    pub containers: Containers,
    pub snapshotter: Arc<dyn Snapshotter>,
    pub pulls: Arc<Pulls>,
    pub networks: Networks,
    pub filters: filters::Filters,
    pub host: HostFacts,
    pub cgroups: cgroup::Host,
    pub cgroup_mode: Option<CgroupMode>,
    pub shims: Nursery,
    pub blocking: Blocking,
    pub heap: Heap,
    pub tasks: Tasks,
    pub metrics: Metrics,
    pub started_unix_ns: i64,
}

/// The schema of the daemon's store.
pub(crate) fn schema() -> Schema {
    Schema::new(SCHEMA_VERSION)
        .with(&CONTAINERS)
        .with(&CONTAINER_STATUS)
        .with(&CONTAINER_NAMES)
        .with(&IMAGES)
        .with(&EVENTS)
        .with(&LEASES)
        .with(&REQUESTS)
        .with(&ID_RANGES)
        .with(&NETWORKS)
        .with(&NETWORK_NAMES)
        .with(&ENDPOINTS)
        .with(&ADDRESSES)
        .with(&PUBLISHED)
        .with(&HOST_PORTS)
        .with(&SANDBOXES)
        .with(&ATTACHMENTS)
}

/// Constructs the daemon. Nothing runs yet but the store's writer.
pub(crate) fn assemble(config: Config) -> anyhow::Result<Arc<Daemon>> {
    gantry_linux::memory::limit_arenas(HEAPS_MAX);
    let layout = Layout::create(&config.root, &config.state).context("cannot make the daemon's folders")?;
    let store = Store::open(&layout.meta(), schema(), Options::default()).map_err(with_hint)?;
    let durable = watch_durable(&store);
    let snapshotter: Arc<dyn Snapshotter> =
        Arc::new(Overlayfs::open(&layout.root().join("snapshots/overlayfs")).map_err(with_hint)?);
    let blocking = Blocking::new(BLOCKING_MAX);
    let heap = Heap::default();
    let pulls = Arc::new(Pulls::open(&config, layout.root(), Arc::clone(&snapshotter), heap.clone())?);
    let networks = Networks::new(&config.networks, layout.state()).map_err(with_hint)?;
    let host = host::look().map_err(with_hint)?;
    let mounts = CgroupMounts::read().context("cannot read where cgroups are mounted")?;
    let cgroups = cgroup::Host::of(&mounts).map_err(with_hint)?;
    let shims = Nursery::new(seal_shim(&config)?);
    Ok(Arc::new(Daemon {
        durable,
        events: EventLog::new(&store),
        requests: Requests::default(),
        containers: Containers::default(),
        snapshotter,
        pulls,
        networks,
        filters: filters::Filters::default(),
        host,
        cgroups,
        cgroup_mode: mounts.mode(),
        shims,
        blocking,
        heap,
        tasks: Tasks::default(),
        metrics: Metrics::default(),
        started_unix_ns: clock::unix_ns(),
        layout,
        store,
        config,
    }))
}

impl Daemon {
    /// What was asked of a container.
    pub(crate) fn container_record(
        &self,
        namespace: &Namespace,
        id: &ContainerId,
    ) -> Result<Arc<ContainerRecord>, Error> {
        let key = (namespace.clone(), id.clone());
        self.store.get(&CONTAINERS, &key).map(|row| row.value).ok_or(Error::ContainerGone)
    }
}

/// `gantryd store export`
pub(crate) fn export_store(config: &Config, file: &Path) -> anyhow::Result<()> {
    let summary = gantry_store::export(&config.root.join("meta"), file).map_err(with_hint)?;
    crate::logging::print(&format!("{} rows written to {}\n", summary.rows, file.display()))
}

/// `gantryd store rebuild`
pub(crate) fn rebuild_store(config: &Config, file: Option<&Path>) -> anyhow::Result<()> {
    let folder = config.root.join("meta");
    let kept = gantry_store::kept_export(&folder);
    let file = file.unwrap_or(&kept);
    let rebuilt = gantry_store::rebuild(&folder, file).map_err(with_hint)?;
    let aside =
        rebuilt.aside.map(|path| format!("; the old database is {}", path.display())).unwrap_or_default();
    crate::logging::print(&format!("{} rows rebuilt from {}{aside}\n", rebuilt.summary.rows, file.display()))
}

/// `gantryd networks reset`
pub(crate) fn reset_networks(config: &Config) -> anyhow::Result<()> {
    let layout = Layout::create(&config.root, &config.state).context("cannot make the daemon's folders")?;
    let store = Store::open(&layout.meta(), schema(), Options::default()).map_err(with_hint)?;
    // After a reboot there are no bundles, whatever is recorded.
    let is_alive =
        |key| store.get(&CONTAINER_STATUS, key).is_some_and(|status| status.value.state.is_alive());
    let alive = sweep::bundles(&layout.shims()).iter().filter(|key| is_alive(*key)).count();
    anyhow::ensure!(alive == 0, "{alive} containers are alive: start gantryd, and stop them first");
    let sandboxes = store.scan(&SANDBOXES, &Page::all()).len();
    anyhow::ensure!(sandboxes == 0, "{sandboxes} sandboxes are there: start gantryd, and remove them first");
    let networks = Networks::new(&config.networks, layout.state()).map_err(with_hint)?;
    networks.reset(&store).map_err(with_hint)
}

/// An engine's error, with its hint kept for whoever prints it.
pub(crate) fn with_hint<E: gantry_types::Classified + Send + Sync + 'static>(error: E) -> anyhow::Error {
    let reason = format!("{} ({:?})", error.reason(), error.class());
    anyhow::Error::new(Hinted { reason, hint: error.hint(), error: Box::new(error) })
}

/// An error as it was, what programs know it by, and what a person can do about it.
#[derive(Debug)]
pub(crate) struct Hinted {
    pub(crate) reason: String,
    pub(crate) hint: Option<String>,
    error: Box<dyn std::error::Error + Send + Sync>,
}

impl std::fmt::Display for Hinted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.error.fmt(f)
    }
}

impl std::error::Error for Hinted {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.error.source()
    }
}

/// Reads the shim's file into memory that nothing can change.
fn seal_shim(config: &Config) -> anyhow::Result<OwnedFd> {
    let path = if config.containers.shim.as_os_str().is_empty() {
        let own = std::env::current_exe().context("cannot find the daemon's own file")?;
        own.with_file_name("gantry-shim")
    } else {
        config.containers.shim.clone()
    };
    let open =
        || -> std::io::Result<OwnedFd> { gantry_linux::memfd::seal("gantry-shim", &mut File::open(&path)?) };
    open().with_context(|| {
        format!("cannot read the shim {}; build it with deploy/build, or set containers.shim", path.display())
    })
}
