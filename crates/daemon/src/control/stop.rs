//! Stop: the stop signal, a wait, SIGKILL, a last wait. And restart, which is a stop and a start.
//!
//! The waits are here and not in the container's task, which goes on answering everybody meanwhile.

use std::time::Duration;

use gantry_runtime::spec::{Signal, stop_signal};
use gantry_types::{ContainerId, ContainerState, Namespace};

use crate::assemble::Daemon;
use crate::error::Error;
use crate::supervisor::{Command, Handle, ShimError};
use crate::tables::ContainerStatus;

/// How long a process may take to end after SIGKILL; one that hangs in the kernel takes for ever.
const KILL_TIMEOUT: Duration = Duration::from_secs(10);

/// How a stop is to be done; `None` means as the container, the image or the daemon says.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct StopOptions {
    pub timeout_ms: Option<u64>,
    pub signal: Option<Signal>,
}

impl Daemon {
    /// Stops the container; one that is not alive is left as it is. `None` when it was removed on its exit.
    pub(crate) async fn stop_container(
        &self,
        namespace: &Namespace,
        id: &ContainerId,
        options: StopOptions,
    ) -> Result<Option<ContainerStatus>, Error> {
        let record = self.container_record(namespace, id)?;
        let handle = self.containers.handle(namespace, id)?;
        let signal = match options.signal {
            Some(signal) => signal,
            None => stop_signal(&record.options, &record.image_config)?,
        };
        let timeout_ms = options
            .timeout_ms
            .or(record.options.stop_timeout_ms)
            .unwrap_or(self.config.containers.stop_timeout_ms);
        if let Some(ended) = signal_and_wait(&handle, signal, Duration::from_millis(timeout_ms)).await? {
            return Ok(ended.into());
        }
        match signal_and_wait(&handle, Signal::KILL, KILL_TIMEOUT).await? {
            Some(ended) => Ok(ended.into()),
            None => Err(Error::StopUnfinished { name: record.name.clone() }),
        }
    }

    /// Stops the container if it is alive, and starts it.
    pub(crate) async fn restart_container(
        &self,
        namespace: &Namespace,
        id: &ContainerId,
        options: StopOptions,
    ) -> Result<ContainerStatus, Error> {
        self.stop_container(namespace, id, options).await?;
        self.containers.handle(namespace, id)?.ask(|reply| Command::Start { reply }).await
    }
}

/// How a container ended.
enum Ended {
    /// It is there and not alive.
    Rests(ContainerStatus),
    /// It is there no more.
    Removed,
}

impl From<Ended> for Option<ContainerStatus> {
    fn from(ended: Ended) -> Self {
        match ended {
            Ended::Rests(status) => Some(status),
            Ended::Removed => None,
        }
    }
}

/// Sends `signal` and waits until the container is not alive; `None` when it still is after `timeout`.
async fn signal_and_wait(handle: &Handle, signal: Signal, timeout: Duration) -> Result<Option<Ended>, Error> {
    let mut status = handle.status();
    let current = status.borrow().clone();
    if !current.state.is_alive() {
        return Ok(Some(Ended::Rests(current)));
    }
    let sent = handle
        .ask(|reply| Command::Signal {
            exec: None,
            signal: signal.number().unsigned_abs(),
            all: false,
            ends: true,
            reply,
        })
        .await;
    match sent {
        // It ended by itself while the signal was on its way.
        Ok(())
        | Err(
            Error::NotRunning { .. }
            | Error::ContainerGone
            | Error::Shim(ShimError::Failed(_) | ShimError::Gone),
        ) => {}
        Err(error) => return Err(error),
    }
    let waited = tokio::time::timeout(timeout, status.wait_for(|status| !is_alive(status.state))).await;
    Ok(match waited {
        Ok(Ok(status)) => Some(Ended::Rests(status.clone())),
        Ok(Err(_)) => Some(Ended::Removed),
        Err(_) => None,
    })
}

fn is_alive(state: ContainerState) -> bool {
    state.is_alive()
}
