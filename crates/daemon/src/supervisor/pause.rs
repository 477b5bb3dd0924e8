//! Holding a container still and letting it go on. Done in the container's task, so that no process is made in it
//! meanwhile: one born into a frozen group would hang its start, and the shim with it. The kernel is asked first
//! and the record follows; a daemon that dies between finds out when it looks again ([`Supervisor::recover`]).

use gantry_runtime::cgroup::Cgroup;
use gantry_types::{ContainerEvent, ContainerState};

use super::Supervisor;
use crate::error::{Chain, Error};
use crate::tables::EventKind;

impl Supervisor {
    /// Freezes every process of it. Paused already is success.
    pub(super) async fn pause(&mut self) -> Result<(), Error> {
        if self.status.state == ContainerState::Paused {
            return Ok(());
        }
        self.running_client()?;
        self.in_cgroup(Cgroup::freeze).await?;
        match self.record(ContainerEvent::Pause, Some(EventKind::ContainerPause), |_| {}) {
            Ok(commit) => self.daemon.durable(commit).await?,
            Err(error) => {
                self.thaw().await;
                return Err(error);
            }
        }
        self.pending.clear();
        Ok(())
    }

    /// Lets them go on. Running is success.
    pub(super) async fn resume(&mut self) -> Result<(), Error> {
        if self.status.state != ContainerState::Paused {
            return self.running_client().map(drop);
        }
        self.in_cgroup(Cgroup::thaw).await?;
        let commit = self.record(ContainerEvent::Resume, Some(EventKind::ContainerResume), |_| {})?;
        self.daemon.durable(commit).await?;
        self.pending.clear();
        Ok(())
    }

    /// Lets a paused container go on because it is to end: version 1's frozen processes do not even die.
    pub(super) async fn resume_to_end(&mut self) {
        if self.status.state == ContainerState::Paused {
            self.thaw().await;
            self.record_lazily(ContainerEvent::Resume, Some(EventKind::ContainerResume), |_| {});
        }
    }

    /// Records what a daemon that ended between the kernel and the record did not.
    pub(super) async fn observe_pause(&mut self) {
        let frozen = match self.in_cgroup(Cgroup::is_frozen).await {
            Ok(frozen) => frozen,
            Err(error) => {
                tracing::debug!(error = %Chain(&error), "nothing tells whether it is paused");
                return;
            }
        };
        match (self.status.state, frozen) {
            (ContainerState::Running, true) => {
                self.record_lazily(ContainerEvent::Pause, Some(EventKind::ContainerPause), |_| {});
            }
            (ContainerState::Paused, false) => {
                self.record_lazily(ContainerEvent::Resume, Some(EventKind::ContainerResume), |_| {});
            }
            (
                ContainerState::Creating
                | ContainerState::Created
                | ContainerState::Starting
                | ContainerState::Running
                | ContainerState::Paused
                | ContainerState::Exited
                | ContainerState::Removing,
                true | false,
            ) => {}
        }
    }

    /// Does something with its control group, on a blocking thread.
    pub(super) async fn in_cgroup<T: Send + 'static, E: Into<Error>>(
        &self,
        work: impl FnOnce(&Cgroup) -> Result<T, E> + Send + 'static,
    ) -> Result<T, Error> {
        let path = self.daemon.cgroup_path(&self.record.namespace, &self.record.id);
        let host = self.daemon.cgroups.clone();
        self.daemon.blocking.run(move || work(&Cgroup::at(&path, &host)?).map_err(Into::into)).await
    }

    async fn thaw(&self) {
        if let Err(error) = self.in_cgroup(Cgroup::thaw).await {
            tracing::warn!(error = %Chain(&error), "a container could not be thawed");
        }
    }
}
