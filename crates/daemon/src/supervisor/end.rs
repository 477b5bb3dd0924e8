//! How a container comes to rest: when its shim tells or shows that it ended, when the daemon starts and
//! looks, and when it is removed. All three ask [`crate::reconcile`] what to do and do that.

use std::io;
use std::path::Path;
use std::sync::Arc;

use gantry_api::shim::v1::{Phase, ReleaseRequest, StateRequest, StateResponse, event};
use gantry_types::{ContainerEvent, ContainerState, Exit, Labels};
use prost::Message;
use tokio::net::UnixStream;

use super::{ShimConnection, Supervisor};
use crate::control::attach_network;
use crate::error::{Chain, Error};
use crate::reconcile::{self, Host, Step};
use crate::tables::{CONTAINER_NAMES, CONTAINER_STATUS, CONTAINERS, EventKind};
use crate::{clock, sweep, user_namespaces};

/// Exit code of a container that ended unseen: its shim took it along by SIGKILL, or the machine did.
const CODE_LOST: u32 = 137;
/// Bytes of an exit record that are believed.
const EXIT_FILE_BYTES_MAX: u64 = 4096;

impl Supervisor {
    /// Finds out what became of the container while no daemon looked.
    pub(super) async fn recover(&mut self) {
        let host = self.look().await;
        tracing::debug!(?host, state = %self.status.state, "found");
        self.settle(host).await;
    }

    pub(super) async fn on_shim_event(&mut self, event: Option<event::Event>) {
        match event {
            Some(event::Event::Exited(exited)) if exited.exec_id.is_empty() => {
                self.settle(Host::Ended { exit: Some(to_exit(&exited)) }).await;
            }
            Some(event::Event::Exited(exited)) => self.exec_ended(&exited),
            Some(event::Event::OutOfMemory(_)) => self.tell_event(EventKind::ContainerOom, Labels::new()),
            None => {
                self.shim = None;
                let host = self.look().await;
                tracing::debug!(?host, "the shim's connection ended");
                self.settle(host).await;
            }
        }
    }

    /// Takes the container away, if it is not alive. Its record is gone when this returns.
    pub(super) async fn remove(&mut self) -> Result<(), Error> {
        if self.status.state != ContainerState::Removing {
            let commit = self.record(ContainerEvent::Remove, None, |_| {})?;
            self.daemon.durable(commit).await?;
            self.pending.clear();
        }
        let host = match &self.shim {
            Some(_) => Host::Ended { exit: None },
            None => Host::NoShim { exit: None },
        };
        self.settle(host).await;
        if self.erased { Ok(()) } else { Err(Error::RemovalUnfinished { name: self.record.name.clone() }) }
    }

    /// Does everything that lies between `host` and rest.
    pub(super) async fn settle(&mut self, host: Host) {
        self.steps = reconcile::steps(self.status.state, self.record.options.auto_remove, host).into();
        self.run_steps().await;
    }

    /// Goes on with the steps until one has to wait for the disk, or fails.
    pub(super) async fn run_steps(&mut self) {
        while let Some(&step) = self.steps.front() {
            if step == Step::ReleaseShim && !self.pending.is_settled() {
                // Its ports and flows do not wait for the disk: whoever removes it finds this done.
                if let Err(error) = self.forget_network().await {
                    tracing::warn!(error = %Chain(&error), "the sweep takes what is left of the network");
                }
                return;
            }
            self.steps.pop_front();
            if let Err(error) = self.run_step(step).await {
                tracing::error!(error = %Chain(&error), ?step, "a container could not be brought to rest");
                self.steps.clear();
            }
        }
    }

    async fn run_step(&mut self, step: Step) -> Result<(), Error> {
        match step {
            Step::Prepare => {
                self.daemon.prepare_container(&self.record).await?;
                self.record_lazily(ContainerEvent::Prepared, None, |_| {});
            }
            Step::Adopt => {
                if self.status.state == ContainerState::Starting {
                    let (pid, started_unix_ns) = (self.status.pid, self.status.started_unix_ns);
                    self.record_lazily(ContainerEvent::Started, Some(EventKind::ContainerStart), |status| {
                        status.pid = pid;
                        status.started_unix_ns = started_unix_ns;
                    });
                }
                self.observe_pause().await;
            }
            Step::RecordExit(exit) => {
                self.forget_names();
                self.record_exit(exit);
                self.execs_lost();
            }
            Step::RecordStartFailed => {
                self.record_start_failed("the daemon ended while it was started", CODE_LOST);
            }
            Step::RecordLost => {
                self.forget_names();
                self.record_exit(Exit { code: CODE_LOST, at_unix_ns: clock::unix_ns(), oom_killed: false });
                self.execs_lost();
            }
            Step::ReleaseShim => self.release().await,
            Step::Sweep => self.sweep().await?,
            Step::RecordRemoving => {
                let commit = self.record(ContainerEvent::Remove, None, |_| {})?;
                self.daemon.durable(commit).await?;
                self.pending.clear();
            }
            Step::Erase => self.erase().await?,
        }
        Ok(())
    }

    /// Lets the shim clean up and end. One that does not answer is left to the sweep.
    pub(super) async fn release(&mut self) {
        self.shim_left_nothing = false;
        let Some(shim) = self.shim.take() else { return };
        match shim.client.release(ReleaseRequest {}, None).await {
            Ok(response) => {
                self.shim_left_nothing = response.left.is_empty();
                for left in response.left {
                    tracing::warn!(left, "the shim left something behind");
                }
            }
            Err(error) => tracing::warn!(error = %error, "the shim did not clean up"),
        }
    }

    pub(super) async fn sweep(&mut self) -> Result<(), Error> {
        let bundle = self.daemon.layout.bundle(&self.record.namespace, &self.record.id);
        // As a rule the shim has taken away everything. To look costs less than to hand the look to another thread.
        if self.shim_left_nothing && !bundle.exists() {
            return self.forget_network().await;
        }
        let (daemon, record) = (Arc::clone(&self.daemon), Arc::clone(&self.record));
        let is_gone = self.shim_left_nothing;
        let blocking = daemon.blocking.clone();
        let swept = blocking.run(move || sweep::sweep(&daemon, &record.namespace, &record.id, is_gone));
        // Neither needs the other's result.
        let (forgotten, swept) = tokio::join!(self.forget_network(), swept);
        forgotten.and(swept)
    }

    async fn erase(&mut self) -> Result<(), Error> {
        self.daemon.erase_container(&self.record).await?;
        let record = &self.record;
        let key = (record.namespace.clone(), record.id.clone());
        let name = (record.namespace.clone(), record.name.clone());
        let events = &self.daemon.events;
        let ((), commit) = self.daemon.store.transaction(|tx| {
            tx.remove(&CONTAINERS, &key);
            tx.remove(&CONTAINER_STATUS, &key);
            tx.remove(&CONTAINER_NAMES, &name);
            attach_network::give_back(tx, &record.namespace, &record.id);
            user_namespaces::give_back(tx, record);
            events.append(
                tx,
                &record.namespace,
                EventKind::ContainerRemove,
                record.id.as_str(),
                [("name".to_owned(), record.name.to_string())].into(),
                &record.options.labels,
            )?;
            Ok::<_, Error>(())
        })?;
        commit.lazily();
        events.publish(&self.daemon.store);
        self.daemon.containers.forget(&record.namespace, &record.id);
        self.erased = true;
        Ok(())
    }

    /// What the host has of this container, with a connection to its shim when there is one.
    async fn look(&mut self) -> Host {
        let bundle = self.daemon.layout.bundle(&self.record.namespace, &self.record.id);
        if let Ok(stream) = connect(&bundle.join(gantry_api::shim::SOCKET_FILE)).await {
            let connection = ShimConnection::open(&self.daemon.tasks, stream);
            match connection.client.state(StateRequest {}, None).await {
                Ok(state) => {
                    self.shim = Some(connection);
                    return self.take_state(state);
                }
                Err(error) => tracing::warn!(error = %error, "a shim does not tell its state"),
            }
        }
        let exit =
            self.daemon.blocking.run(move || read_exit(&bundle.join(gantry_api::shim::EXIT_FILE))).await;
        Host::NoShim { exit }
    }

    fn take_state(&mut self, state: StateResponse) -> Host {
        let phase = state.phase();
        let init = state.init.unwrap_or_default();
        match phase {
            Phase::Unspecified | Phase::Born | Phase::Launched => Host::Waiting,
            Phase::Running => {
                self.status.pid = init.pid;
                self.status.started_unix_ns = init.started_at_unix_ns;
                self.take_execs(state.execs);
                Host::Running
            }
            Phase::Exited | Phase::Failed => Host::Ended { exit: init.exit.as_ref().map(to_exit) },
        }
    }
}

fn to_exit(exited: &gantry_api::shim::v1::Exited) -> Exit {
    Exit { code: exited.exit_code, at_unix_ns: exited.at_unix_ns, oom_killed: exited.oom_killed }
}

/// Connects to a socket whose path may be longer than a socket address can hold (107 bytes, unix(7)).
async fn connect(path: &Path) -> io::Result<UnixStream> {
    use std::os::fd::AsRawFd;
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let folder = std::fs::File::open(folder)?;
    let short = Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string()).join(name);
    UnixStream::connect(short).await
}

fn read_exit(path: &Path) -> Option<Exit> {
    use std::io::Read;
    let mut bytes = Vec::new();
    std::fs::File::open(path).ok()?.take(EXIT_FILE_BYTES_MAX).read_to_end(&mut bytes).ok()?;
    gantry_api::shim::v1::Exited::decode(&*bytes).ok().as_ref().map(to_exit)
}
