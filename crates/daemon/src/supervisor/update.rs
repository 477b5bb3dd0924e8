//! Changing a container's resources: in its control group when it is alive, and in its record for every start from
//! now on. A refusal of the kernel's is undone there and nothing is recorded.

use std::sync::Arc;

use gantry_runtime::cgroup::{self, CgroupUpdate};
use gantry_runtime::systemd::Systemd;
use gantry_runtime::user::ResolvedUser;
use gantry_types::Resources;
use oci_spec::runtime::LinuxResources;

use super::Supervisor;
use crate::assemble::Daemon;
use crate::error::{Chain, Error};
use crate::tables::{CONTAINERS, ContainerRecord, EventKind};

impl Supervisor {
    /// Changes the resources to `to`, unless they are not `from` any more: then nothing happens and the answer
    /// is false.
    pub(super) async fn update(&mut self, from: &Resources, to: Resources) -> Result<bool, Error> {
        if self.record.options.resources != *from {
            return Ok(false);
        }
        let mut wanted = (*self.record).clone();
        wanted.options.resources = to.clone();
        let (old, mut new) = (self.daemon.resources(&self.record)?, self.daemon.resources(&wanted)?);
        if let Some(memory) = *new.memory() {
            // Version 2 would rather kill than refuse.
            let mut memory = memory;
            memory.set_check_before_update(Some(true));
            new.set_memory(Some(memory));
        }
        let path = self.daemon.cgroup_path(&self.record.namespace, &self.record.id);
        let host = &self.daemon.cgroups;
        // What no start could take is refused now.
        cgroup::plan(Some(&new), &path, host)?;
        if self.status.state.is_alive() {
            let forth = cgroup::update(&old, &new, &path, host)?;
            let back = cgroup::update(&new, &old, &path, host);
            if let Err(error) = self.apply(forth).await {
                self.undo(back.map_err(Error::from)).await;
                return Err(error);
            }
        }
        self.record_resources(to).await?;
        Ok(true)
    }

    /// Writes limits into the group's files, and tells systemd of them if it made the group.
    pub(super) async fn apply(&self, update: CgroupUpdate) -> Result<(), Error> {
        if update.is_empty() {
            return Ok(());
        }
        let scope = self.daemon.scope(&self.record.namespace, &self.record.id);
        self.in_cgroup(move |cgroup| {
            cgroup.update(&update)?;
            match scope {
                Some(scope) => Ok(Systemd::connect()?.limit(&scope.unit, &update.folders)?),
                None => Ok::<_, Error>(()),
            }
        })
        .await
    }

    async fn undo(&self, back: Result<CgroupUpdate, Error>) {
        let undone = match back {
            Ok(back) => self.apply(back).await,
            Err(error) => Err(error),
        };
        if let Err(error) = undone {
            tracing::warn!(error = %Chain(&error), "a refused update could not be undone whole");
        }
    }

    /// Only the resources: whatever else of the row changed meanwhile stays.
    async fn record_resources(&mut self, resources: Resources) -> Result<(), Error> {
        let key = (self.record.namespace.clone(), self.record.id.clone());
        let events = &self.daemon.events;
        let (record, commit) = self.daemon.store.transaction(|tx| {
            let row = tx.get(&CONTAINERS, &key).ok_or(Error::ContainerGone)?;
            let mut record = (*row.value).clone();
            record.options.resources = resources;
            tx.insert(&CONTAINERS, &key, record.clone())?;
            events.append(
                tx,
                &record.namespace,
                EventKind::ContainerUpdate,
                record.id.as_str(),
                [("name".to_owned(), record.name.to_string())].into(),
                &record.options.labels,
            )?;
            Ok::<_, Error>(record)
        })?;
        self.record = Arc::new(record);
        events.publish(&self.daemon.store);
        self.daemon.durable(commit).await
    }
}

impl Daemon {
    /// The resources of the container's spec. Who it runs as has no part in them.
    fn resources(&self, record: &ContainerRecord) -> Result<LinuxResources, Error> {
        let nobody = ResolvedUser { uid: 0, gid: 0, groups: Vec::new(), home: "/".into() };
        let spec = self.build_spec(record, &nobody)?;
        Ok(spec.linux().as_ref().and_then(|linux| linux.resources().clone()).unwrap_or_default())
    }
}
