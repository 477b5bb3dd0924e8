//! Removing a container, by force when asked to.

use gantry_types::{ContainerId, Namespace};

use super::stop::StopOptions;
use crate::assemble::Daemon;
use crate::error::Error;
use crate::supervisor::Command;

impl Daemon {
    /// Takes the container away with its root filesystem and its log. One that is alive is refused, or with
    /// `force` killed first.
    pub(crate) async fn remove_container(
        &self,
        namespace: &Namespace,
        id: &ContainerId,
        force: bool,
    ) -> Result<(), Error> {
        let handle = self.containers.handle(namespace, id)?;
        if force {
            self.stop_container(namespace, id, StopOptions { timeout_ms: Some(0), signal: None }).await?;
        } else {
            let state = handle.status().borrow().state;
            if state.is_alive() {
                let name = self.container_record(namespace, id)?.name.clone();
                return Err(Error::StillAlive { name, state });
            }
        }
        match handle.ask(|reply| Command::Remove { reply }).await {
            // Removed on its exit, or by somebody else at the same time: gone, as was asked.
            Err(Error::ContainerGone) => Ok(()),
            outcome => outcome,
        }
    }
}
