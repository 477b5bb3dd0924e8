//! A task per container. It alone changes the container's status, so everything about one container happens
//! in one order and without a lock; whoever wants something sends a [`Command`] and waits for the reply.
//! Long waits (for a stop, for an exit) are the caller's, over [`Handle::status`], so the inbox never stands
//! still for them.
//!
//! What is to be done is decided elsewhere and purely: by the state machine in `gantry_types` and by
//! [`crate::reconcile`]. Here it is only driven.

mod attach;
mod end;
mod exec;
mod foreign;
mod launch;
mod network;
mod nursery;
mod pause;
mod record;
mod scope;
mod shim;
mod spec;
mod update;

use std::collections::HashMap;
use std::sync::Arc;

use gantry_store::STALL_TIMEOUT;
use gantry_types::{ContainerState, EndpointOptions, ExecId, ProcessOptions, PublishedPort, Resources};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot, watch};
use tracing::Instrument;

pub(crate) use attach::{Attachment, Streams, TerminalSize};
pub(crate) use exec::{ExecState, StartedExec};
pub(crate) use nursery::Nursery;
pub(crate) use shim::{ShimClient, ShimConnection, ShimError};

use crate::ask::ask;
use crate::assemble::Daemon;
use crate::error::Error;
use crate::networks::tables::{EndpointRecord, NetworkRecord};
use crate::reconcile::Step;
use crate::tables::{ContainerRecord, ContainerStatus, EventKind};
use record::Pending;

/// Commands that wait for one container's task.
const COMMANDS_QUEUED: usize = 64;

/// Where a command's answer goes. The caller may be gone, which is no concern of the container's.
pub(crate) type Reply<T> = oneshot::Sender<Result<T, Error>>;

/// What can be asked of a container's task.
#[derive(Debug)]
pub(crate) enum Command {
    /// Runs it. Running already is success.
    Start { reply: Reply<ContainerStatus> },
    /// Sends a signal to its init, to one exec, or to all its processes. `ends` says that it is to end by it, so
    /// that a paused one goes on; SIGKILL always means that.
    Signal { exec: Option<ExecId>, signal: u32, all: bool, ends: bool, reply: Reply<()> },
    /// Holds its processes still. Paused already is success.
    Pause { reply: Reply<()> },
    /// Lets them go on. Running is success.
    Resume { reply: Reply<()> },
    /// Changes its resources, unless they are not `from` any more; tells whether it did.
    Update { from: Box<Resources>, to: Box<Resources>, reply: Reply<bool> },
    /// Takes it away; refused while it is alive.
    Remove { reply: Reply<()> },
    /// Joins its streams, before or after it was started.
    Attach { exec: Option<ExecId>, streams: Streams, size: Option<TerminalSize>, reply: Reply<Attachment> },
    /// Runs one more process in it.
    Exec {
        process: Box<ProcessOptions>,
        streams: Option<Streams>,
        size: Option<TerminalSize>,
        reply: Reply<StartedExec>,
    },
    /// Sets the size of a terminal.
    Resize { exec: Option<ExecId>, size: TerminalSize, reply: Reply<()> },
    /// Lists its execs, oldest first.
    Execs { reply: Reply<Vec<ExecState>> },
    /// Gives it a place on one more network.
    Connect { network: Box<NetworkRecord>, options: Box<EndpointOptions>, reply: Reply<EndpointRecord> },
    /// Takes its place on a network away.
    Disconnect { network: Box<NetworkRecord>, reply: Reply<()> },
    /// Has drivers do what a daemon before was cut off in.
    MendLinks { reply: Reply<()> },
    /// Publishes ports and takes others back.
    Ports { add: Vec<PublishedPort>, remove: Vec<PublishedPort>, reply: Reply<Vec<PublishedPort>> },
    /// Takes over a new record: its name changed. Answered when the new name resolves, and the old one does not.
    Renamed { record: Arc<ContainerRecord>, reply: Reply<()> },
}

/// A container's task, seen from outside.
#[derive(Debug, Clone)]
pub(crate) struct Handle {
    inbox: mpsc::Sender<Command>,
    status: watch::Receiver<ContainerStatus>,
}

impl Handle {
    /// Sends the command that `make` makes around the reply, and waits for it.
    pub(crate) async fn ask<T>(&self, make: impl FnOnce(Reply<T>) -> Command) -> Result<T, Error> {
        ask(&self.inbox, make).await.ok_or(Error::ContainerGone)?
    }

    /// The status and its changes; closed when the container is removed.
    pub(crate) fn status(&self) -> watch::Receiver<ContainerStatus> {
        self.status.clone()
    }
}

/// What a container's task holds.
struct Supervisor {
    daemon: Arc<Daemon>,
    record: Arc<ContainerRecord>,
    status: ContainerStatus,
    published: watch::Sender<ContainerStatus>,
    shim: Option<ShimConnection>,
    execs: exec::Execs,
    /// Attachments made before the start.
    waiting_attachments: Vec<attach::Waiting>,
    /// Whether the last recorded change is on disk yet.
    pending: Pending,
    /// What reconcile still wants done once it is.
    steps: std::collections::VecDeque<Step>,
    /// Whether the last shim said that nothing of the container's is left but its bundle.
    shim_left_nothing: bool,
    /// Whether nothing of its last run is left of the network but the namespace.
    network_is_forgotten: bool,
    /// Set when the record is gone, and the task with it.
    erased: bool,
}

/// Starts the task of a container whose record is in the store, with what is left of it on the host.
pub(crate) fn spawn(
    daemon: &Arc<Daemon>,
    record: Arc<ContainerRecord>,
    status: ContainerStatus,
    found: Found,
) -> Handle {
    let (inbox, commands) = mpsc::channel(COMMANDS_QUEUED);
    let (published, watched) = watch::channel(status.clone());
    let span =
        tracing::info_span!(parent: None, "container", namespace = %record.namespace, id = record.id.short());
    let supervisor = Supervisor {
        daemon: Arc::clone(daemon),
        record,
        status,
        published,
        shim: None,
        execs: HashMap::new(),
        waiting_attachments: Vec::new(),
        pending: Pending::none(daemon.durable.clone()),
        steps: std::collections::VecDeque::new(),
        shim_left_nothing: false,
        network_is_forgotten: false,
        erased: false,
    };
    daemon.tasks.spawn("supervisor", supervisor.run(commands, found).instrument(span));
    Handle { inbox, status: watched }
}

/// What the caller knows of the host when it starts a supervisor.
#[derive(Debug)]
pub(crate) enum Found {
    /// Just created: nothing is there and nothing has to be looked for.
    Fresh,
    /// From before the daemon was started: look. The reply is sent when the container is at rest.
    Unknown(oneshot::Sender<()>),
}

impl Supervisor {
    async fn run(mut self, mut commands: mpsc::Receiver<Command>, found: Found) {
        if let Found::Unknown(settled) = found {
            Box::pin(self.recover()).await;
            let _nobody_waits = settled.send(());
        }
        let tasks = self.daemon.tasks.clone();
        while !self.erased {
            tokio::select! {
                biased;
                () = tasks.cancelled() => return,
                // Boxed: a container that only runs does not hold room for the largest thing that could be done with it.
                event = next_event(&mut self.shim) => Box::pin(self.on_shim_event(event)).await,
                on_disk = self.pending.settled(STALL_TIMEOUT), if !self.steps.is_empty() => {
                    if on_disk {
                        Box::pin(self.run_steps()).await;
                    } else {
                        tracing::warn!("the end is not on the disk yet; the shim is kept until it is");
                    }
                }
                command = commands.recv() => match command {
                    Some(command) => Box::pin(self.on_command(command)).await,
                    None => return,
                },
            }
        }
    }

    async fn on_command(&mut self, command: Command) {
        // A caller that gave up while its command was carried out is not an error.
        match command {
            Command::Start { reply } => drop(reply.send(self.start().await)),
            Command::Signal { exec, signal, all, ends, reply } => {
                drop(reply.send(self.signal(exec.as_ref(), signal, all, ends).await));
            }
            Command::Pause { reply } => drop(reply.send(self.pause().await)),
            Command::Resume { reply } => drop(reply.send(self.resume().await)),
            Command::Update { from, to, reply } => drop(reply.send(self.update(&from, *to).await)),
            Command::Remove { reply } => drop(reply.send(self.remove().await)),
            Command::Attach { exec, streams, size, reply } => {
                drop(reply.send(self.attach(exec, streams, size).await));
            }
            Command::Exec { process, streams, size, reply } => {
                drop(reply.send(self.exec(*process, streams, size).await));
            }
            Command::Resize { exec, size, reply } => drop(reply.send(self.resize(exec.as_ref(), size).await)),
            Command::Execs { reply } => drop(reply.send(Ok(self.list_execs()))),
            Command::Connect { network, options, reply } => {
                drop(reply.send(self.connect(*network, *options).await));
            }
            Command::Disconnect { network, reply } => drop(reply.send(self.disconnect(*network).await)),
            Command::MendLinks { reply } => {
                drop(reply.send(self.daemon.mend_links(&self.owner()).await));
            }
            Command::Ports { add, remove, reply } => drop(reply.send(self.change_ports(add, remove).await)),
            Command::Renamed { record, reply } => {
                let before = self.places();
                // Only the name: the rest of the row may have changed since.
                Arc::make_mut(&mut self.record).name.clone_from(&record.name);
                if let Err(error) = self.retell(before).await {
                    tracing::warn!(error = %crate::error::Chain(&error), "a new name does not resolve yet");
                }
                drop(reply.send(Ok(())));
            }
        }
    }

    async fn signal(
        &mut self,
        exec: Option<&ExecId>,
        signal: u32,
        all: bool,
        ends: bool,
    ) -> Result<(), Error> {
        const SIGKILL: u32 = 9;
        let client = self.live_client()?;
        let exec_id = exec.map(ToString::to_string).unwrap_or_default();
        let request = gantry_api::shim::v1::KillRequest { exec_id, signal, all };
        client.kill(request, None).await?;
        if exec.is_none() && (ends || signal == SIGKILL) {
            self.resume_to_end().await;
        }
        self.tell_event(EventKind::ContainerKill, [("signal".to_owned(), signal.to_string())].into());
        Ok(())
    }

    async fn resize(&mut self, exec: Option<&ExecId>, size: TerminalSize) -> Result<(), Error> {
        let client = self.live_client()?;
        let exec_id = exec.map(ToString::to_string).unwrap_or_default();
        let request = gantry_api::shim::v1::ResizeRequest { exec_id, console: Some(size.into()) };
        client.resize(request, None).await?;
        Ok(())
    }

    /// The shim of a container that runs or is paused; anything else is the caller's error.
    fn live_client(&self) -> Result<ShimClient, Error> {
        match (&self.shim, self.status.state) {
            (Some(shim), ContainerState::Paused) => Ok(shim.client.clone()),
            _ => self.running_client(),
        }
    }

    /// The shim of a container that runs; anything else is the caller's error.
    fn running_client(&self) -> Result<ShimClient, Error> {
        match (&self.shim, self.status.state) {
            (Some(shim), ContainerState::Running) => Ok(shim.client.clone()),
            (_, state) => Err(Error::NotRunning { name: self.record.name.clone(), state }),
        }
    }
}

/// What the shim tells next; `None` when its connection ended. Never resolves without a shim. Cancel safe.
async fn next_event(shim: &mut Option<ShimConnection>) -> Option<gantry_api::shim::v1::event::Event> {
    match shim {
        Some(shim) => shim.events.recv().await,
        None => std::future::pending().await,
    }
}

/// The daemon's end of a socket pair whose other end goes to the shim.
fn stream_pair() -> Result<(UnixStream, std::os::fd::OwnedFd), Error> {
    let (ours, theirs) =
        UnixStream::pair().map_err(|source| Error::Io { action: "make a socket pair", source })?;
    let theirs = theirs.into_std().map_err(|source| Error::Io { action: "make a socket pair", source })?;
    Ok((ours, theirs.into()))
}
