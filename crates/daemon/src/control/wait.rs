//! Waiting for a container to end, to end again, or to be gone.

use gantry_types::{ContainerId, Exit, Namespace};

use crate::assemble::Daemon;
use crate::error::Error;

/// What to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WaitCondition {
    /// No process of it is alive.
    NotRunning,
    /// It ends after the call began.
    NextExit,
    /// Its record is gone.
    Removed,
}

/// What became of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Waited {
    /// How it last ended; `None` when it never ran.
    pub exit: Option<Exit>,
    /// Why its last start failed, empty when it did not.
    pub error: String,
}

impl Daemon {
    pub(crate) async fn wait_container(
        &self,
        namespace: &Namespace,
        id: &ContainerId,
        condition: WaitCondition,
    ) -> Result<Waited, Error> {
        let mut status = self.containers.handle(namespace, id)?.status();
        let mut last = Waited::default();
        let before = status.borrow_and_update().exit;
        loop {
            let current = status.borrow_and_update().clone();
            let alive = current.state.is_alive();
            if !alive && (current.exit.is_some() || !current.error.is_empty()) {
                last = Waited { exit: current.exit, error: current.error };
            }
            let holds = match condition {
                WaitCondition::NotRunning => !alive,
                WaitCondition::NextExit => !alive && last.exit.is_some() && last.exit != before,
                WaitCondition::Removed => false,
            };
            if holds {
                return Ok(last);
            }
            if status.changed().await.is_err() {
                return match condition {
                    WaitCondition::Removed => Ok(last),
                    // It ended and was removed between two looks; its end is what was asked for.
                    WaitCondition::NotRunning | WaitCondition::NextExit if last.exit.is_some() => Ok(last),
                    WaitCondition::NotRunning | WaitCondition::NextExit => Err(Error::ContainerGone),
                };
            }
        }
    }
}
