//! Starting a container, from the client's request to the running programme:
//!
//! ```text
//! record Starting ──────────────── flush ───────────┐
//!    ├─ bundle, spec, plan, spawn the shim ─ Launch ┼─ attachments ─ Start ─ record Running
//!    └─ namespace from the pool ─ links, addresses ─┘
//! ```
//!
//! The record's way to the disk and everything up to the programme's exec go side by side; the exec waits
//! for both. Whatever fails, the same steps as after an ordinary end clean up.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use gantry_api::shim::v1::{FailureKind, LaunchRequest, LogLimits, StartRequest, StartResponse, Stdio};
use gantry_types::{ContainerEvent, ContainerState, Exit};

use super::spec::makes_network;
use super::{ShimConnection, ShimError, Supervisor};
use crate::clock;
use crate::error::{Chain, Error};
use crate::reconcile::Host;
use crate::tables::{ContainerStatus, EventKind};

/// Exit codes that a shell gives for a command that is missing or cannot be executed, and docker's for an
/// engine that failed (docker-run(1)).
const CODE_NOT_FOUND: u32 = 127;
const CODE_NOT_EXECUTABLE: u32 = 126;
const CODE_ENGINE: u32 = 125;

impl Supervisor {
    /// Runs the container; one that runs already is left alone.
    pub(super) async fn start(&mut self) -> Result<ContainerStatus, Error> {
        if self.status.state == ContainerState::Running {
            return Ok(self.status.clone());
        }
        if self.status.state == ContainerState::Paused {
            let name = self.record.name.clone();
            return Err(Error::NotRunning { name, state: ContainerState::Paused });
        }
        let began = clock::monotonic();
        let commit = self.record(ContainerEvent::Start, None, |status| {
            status.exit = None;
            status.error.clear();
        })?;
        // What the run before left: its exit is on disk no later than this start is.
        self.steps.clear();
        let daemon = Arc::clone(&self.daemon);
        let durable = daemon.durable(commit);
        let launched = if self.shim.is_some() {
            let durable = durable.await;
            self.release().await;
            match durable.and(self.sweep().await) {
                Ok(()) => self.launch().await,
                Err(error) => Err(error),
            }
        } else {
            let (durable, launched) = tokio::join!(durable, self.launch());
            durable.and(launched)
        };
        self.pending.clear();
        let started = match launched {
            Ok(()) => self.release_programme().await,
            Err(error) => Err(error),
        };
        let metrics = &daemon.metrics;
        match started {
            Ok(started) => {
                self.record_lazily(ContainerEvent::Started, Some(EventKind::ContainerStart), |status| {
                    status.pid = started.pid;
                    status.started_unix_ns = started.started_at_unix_ns;
                });
                metrics.container_starts.inc();
                metrics.container_start_seconds.observe(began.elapsed().as_secs_f64());
                Ok(self.status.clone())
            }
            Err(error) => {
                metrics.container_start_failures.inc();
                self.record_start_failed(&Chain(&error).to_string(), exit_code(&error));
                self.waiting_attachments.clear();
                self.settle(match self.shim {
                    Some(_) => Host::Ended { exit: None },
                    None => Host::NoShim { exit: None },
                })
                .await;
                Err(error)
            }
        }
    }

    pub(super) fn record_start_failed(&mut self, why: &str, code: u32) {
        let exit = Exit { code, at_unix_ns: clock::unix_ns(), oom_killed: false };
        self.record_lazily(ContainerEvent::StartFailed, Some(EventKind::ContainerExit), |status| {
            status.pid = 0;
            status.exit = Some(exit);
            why.clone_into(&mut status.error);
        });
    }

    /// Everything up to the programme's exec: the network's links beside the shim's work.
    async fn launch(&mut self) -> Result<(), Error> {
        self.network_is_forgotten = false;
        let prepared = self.daemon.prepare_network(&self.record).await?;
        let (daemon, record) = (Arc::clone(&self.daemon), Arc::clone(&self.record));
        let rewrites = if makes_network(&record.options) {
            let pid = self.launch_shim(None).await?;
            let made = self.made_network(pid).await?;
            daemon.connect_network(&record, Some(made)).await?
        } else {
            let connected = daemon.connect_network(&record, prepared.unconnected);
            let (launched, connected) = tokio::join!(self.launch_shim(prepared.descriptor), connected);
            launched.and(connected)?
        };
        if rewrites { self.daemon.rewrite_files(&self.record).await } else { Ok(()) }
    }

    /// Returns the process id of the container's init.
    async fn launch_shim(&mut self, network: Option<OwnedFd>) -> Result<u32, Error> {
        let launch = self.daemon.prepare_launch(&self.record).await?;
        let connection = ShimConnection::open(&self.daemon.tasks, launch.socket);
        let client = connection.client.clone();
        self.shim = Some(connection);
        let process = &self.record.options.process;
        let console = self.waiting_attachments.iter().rev().find_map(|waiting| waiting.size);
        let config = &self.daemon.config.containers;
        let layout = &self.daemon.layout;
        let request = LaunchRequest {
            plan: launch.plan,
            bundle_dir: layout.bundle(&self.record.namespace, &self.record.id).to_string_lossy().into_owned(),
            log_dir: layout.container(&self.record.namespace, &self.record.id).to_string_lossy().into_owned(),
            log_limits: Some(LogLimits {
                segment_bytes: config.log_segment_bytes,
                segments_max: config.log_segments_max,
            }),
            stdio: Some(Stdio {
                terminal: process.terminal,
                stdin_open: process.stdin_open,
                console: console.map(Into::into),
            }),
            network_namespace: network.is_some(),
            foreign: launch.foreign,
        };
        let pid = client.launch(request, network).await?.pid;
        if let Some(begun) = launch.begun {
            self.settle_scope(begun).await?;
        }
        Ok(pid)
    }

    /// Attaches those who wait, and lets the programme go.
    async fn release_programme(&mut self) -> Result<StartResponse, Error> {
        let client = self.shim.as_ref().map(|shim| shim.client.clone()).ok_or(ShimError::Gone)?;
        for waiting in std::mem::take(&mut self.waiting_attachments) {
            // One who hung up in between must not keep the container from starting.
            if let Err(error) = client.attach(waiting.request, Some(waiting.descriptor)).await {
                tracing::debug!(error = %error, "an early attachment was not made");
            }
        }
        Ok(client.start(StartRequest {}, None).await?)
    }
}

/// What the container's exit code says of a start that failed, as shells and Docker have it.
fn exit_code(error: &Error) -> u32 {
    let Error::Shim(ShimError::Failed(failure)) = error else { return CODE_ENGINE };
    match failure.kind() {
        FailureKind::CommandNotFound => CODE_NOT_FOUND,
        FailureKind::CommandNotExecutable => CODE_NOT_EXECUTABLE,
        FailureKind::Unspecified
        | FailureKind::InvalidRequest
        | FailureKind::Unsupported
        | FailureKind::WrongPhase
        | FailureKind::NoSuchProcess
        | FailureKind::AlreadyExists
        | FailureKind::ResourceExhausted
        | FailureKind::Runtime
        | FailureKind::IdMap
        | FailureKind::System => CODE_ENGINE,
    }
}
