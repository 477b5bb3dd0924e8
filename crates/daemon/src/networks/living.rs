//! Who has a network namespace now, and what shall be in it? Asked when the daemon starts: of these, what a daemon that
//! died left half done is mended; first what is made here ([`super::mend`]), then what drivers make ([`super::foreign`]).

use std::path::PathBuf;
use std::sync::Arc;

use gantry_store::{Page, Store};

use super::places::Places;
use super::tables::{SANDBOXES, SandboxRecord};
use super::{facts, sandbox};
use crate::assemble::Daemon;
use crate::error::Error;
use crate::tables::{CONTAINER_STATUS, CONTAINERS, ContainerRecord};

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
    let mut living = Vec::new();
    for (key, status) in daemon.store.scan(&CONTAINER_STATUS, &Page::all()) {
        if status.value.state.is_alive()
            && let Some(row) = daemon.store.get(&CONTAINERS, &key)
        {
            let netns = facts::namespace_of(status.value.pid);
            living.push(Living::new(&daemon.store, Whose::Container(row.value), netns));
        }
    }
    for (_, row) in daemon.store.scan(&SANDBOXES, &Page::all()) {
        let netns = sandbox::path(daemon.layout.state(), &row.value.id);
        if sandbox::is_namespace(&netns) {
            living.push(Living::new(&daemon.store, Whose::Sandbox(row.value), netns));
        }
    }
    living
}

impl Living {
    fn new(store: &Store, whose: Whose, netns: PathBuf) -> Self {
        Self { places: whose.places(store), netns, whose }
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
