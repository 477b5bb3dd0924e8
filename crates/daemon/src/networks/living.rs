//! Who has a network namespace now, and what shall be in it? Asked when the daemon starts: of these, what a daemon that
//! died left half done is mended; first what is made here ([`super::mend`]), then what drivers make ([`super::foreign`]).

use std::path::PathBuf;
use std::sync::Arc;

use gantry_store::{Page, Store};
use gantry_types::{ContainerId, Namespace};

use super::places::Places;
use super::tables::{Owner, SANDBOXES, SandboxRecord};
use super::{facts, sandbox};
use crate::assemble::Daemon;
use crate::error::Error;
use crate::tables::{CONTAINER_STATUS, CONTAINERS, ContainerRecord, ContainerStatus};

/// A container that is alive, or a sandbox that is pinned.
#[derive(Debug)]
pub(crate) struct Living {
    pub places: Places,
    pub netns: PathBuf,
    whose: Whose,
}

#[derive(Debug)]
enum Whose {
    Container(Arc<ContainerRecord>),
    Sandbox(Arc<SandboxRecord>),
}

/// All of them.
pub(crate) fn all(daemon: &Daemon) -> Vec<Living> {
    let containers = daemon.store.scan(&CONTAINER_STATUS, &Page::all());
    let containers =
        containers.into_iter().filter_map(|(key, status)| container(daemon, &key, &status.value));
    let sandboxes = daemon.store.scan(&SANDBOXES, &Page::all());
    let sandboxes = sandboxes.into_iter().filter_map(|(_, row)| sandbox(daemon, row.value));
    containers.chain(sandboxes).collect()
}

/// One of them.
pub(super) fn of_owner(daemon: &Daemon, owner: &Owner) -> Option<Living> {
    match owner.clone() {
        Owner::Container(namespace, id) => {
            let key = (namespace, id);
            let status = daemon.store.get(&CONTAINER_STATUS, &key)?;
            container(daemon, &key, &status.value)
        }
        Owner::Sandbox(namespace, id) => {
            sandbox(daemon, daemon.store.get(&SANDBOXES, &(namespace, id))?.value)
        }
    }
}

fn container(daemon: &Daemon, key: &(Namespace, ContainerId), status: &ContainerStatus) -> Option<Living> {
    let row = daemon.store.get(&CONTAINERS, key).filter(|_| status.state.is_alive())?;
    let netns = facts::namespace_of(status.pid);
    Some(Living::new(&daemon.store, Whose::Container(row.value), netns))
}

fn sandbox(daemon: &Daemon, record: Arc<SandboxRecord>) -> Option<Living> {
    let netns = sandbox::path(daemon.layout.state(), &record.id);
    sandbox::is_namespace(&netns).then(|| Living::new(&daemon.store, Whose::Sandbox(record), netns))
}

impl Living {
    fn new(store: &Store, whose: Whose, netns: PathBuf) -> Self {
        Self { places: whose.places(store), netns, whose }
    }

    pub(super) fn owner(&self) -> Owner {
        match &self.whose {
            Whose::Container(record) => facts::owner_of(&record.namespace, &record.id),
            Whose::Sandbox(record) => Owner::Sandbox(record.namespace.clone(), record.id.clone()),
        }
    }

    /// The places as the rows have them by now.
    pub(super) fn places_now(&self, store: &Store) -> Places {
        self.whose.places(store)
    }

    /// Writes a container's files again; a sandbox has none of its own.
    pub(crate) fn write_files(&self, daemon: &Daemon) -> Result<(), Error> {
        match &self.whose {
            Whose::Container(record) => daemon.write_files(record),
            Whose::Sandbox(_) => Ok(()),
        }
    }
}

impl Whose {
    fn places(&self, store: &Store) -> Places {
        match self {
            Self::Container(record) => facts::of_container(store, record),
            Self::Sandbox(record) => facts::of_sandbox(store, record),
        }
    }
}
