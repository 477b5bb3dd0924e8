//! Who has a network namespace now, and what shall be in it? Asked when the daemon starts: of these, what a daemon that
//! died left half done is mended; first what is made here ([`super::mend`]), then what drivers make ([`super::foreign`]).

use std::fs::File;
use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use gantry_runtime::cgroup::Cgroup;
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
    whose: Whose,
}

#[derive(Debug)]
enum Whose {
    /// With its init.
    Container(Arc<ContainerRecord>, u32),
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

impl Daemon {
    /// The network namespace of a container's init; `None` when that has ended. Its number may be another process's as soon
    /// as its shim has reaped it, and that is before the daemon knows. So who has the number is looked up, in the
    /// container's control group, once the namespace is open.
    pub(crate) fn open_network(
        &self,
        namespace: &Namespace,
        id: &ContainerId,
        init: u32,
    ) -> Result<Option<OwnedFd>, Error> {
        let opened = match File::open(format!("/proc/{init}/ns/net")) {
            Ok(opened) => opened,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(source) => {
                return Err(Error::Io { action: "open the container's network namespace", source });
            }
        };
        let members = Cgroup::at(&self.cgroup_path(namespace, id), &self.cgroups)?.processes()?;
        let is_member = members.iter().any(|member| member.as_raw().unsigned_abs() == init);
        Ok(is_member.then(|| opened.into()))
    }
}

fn container(daemon: &Daemon, key: &(Namespace, ContainerId), status: &ContainerStatus) -> Option<Living> {
    let row = daemon.store.get(&CONTAINERS, key).filter(|_| status.state.is_alive())?;
    Some(Living::new(&daemon.store, Whose::Container(row.value, status.pid)))
}

fn sandbox(daemon: &Daemon, record: Arc<SandboxRecord>) -> Option<Living> {
    let netns = sandbox::path(daemon.layout.state(), &record.id);
    sandbox::is_namespace(&netns).then(|| Living::new(&daemon.store, Whose::Sandbox(record)))
}

impl Living {
    fn new(store: &Store, whose: Whose) -> Self {
        Self { places: whose.places(store), whose }
    }

    /// Its namespace; `None` if it has ended meanwhile.
    pub(crate) fn open_network(&self, daemon: &Daemon) -> Result<Option<OwnedFd>, Error> {
        match &self.whose {
            Whose::Container(record, init) => daemon.open_network(&record.namespace, &record.id, *init),
            Whose::Sandbox(record) => {
                sandbox::open(&sandbox::path(daemon.layout.state(), &record.id)).map(Some)
            }
        }
    }

    pub(super) fn owner(&self) -> Owner {
        match &self.whose {
            Whose::Container(record, _) => facts::owner_of(&record.namespace, &record.id),
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
            Whose::Container(record, _) => daemon.write_files(record),
            Whose::Sandbox(_) => Ok(()),
        }
    }
}

impl Whose {
    fn places(&self, store: &Store) -> Places {
        match self {
            Self::Container(record, _) => facts::of_container(store, record),
            Self::Sandbox(record) => facts::of_sandbox(store, record),
        }
    }
}
