//! How a container comes into its scope, where systemd makes control groups. systemd makes no scope without a
//! process in it, so that until the container is born there a placeholder is: one more shim, which is never told to launch
//! anything. It ends when its connection does, and so with the daemon at the latest; a scope without a process is gone.
//!
//! ```text
//!  placeholder ── scope ── Launch: born into it ── placeholder ends ── number of processes limited ── Start
//! ```
//!
//! The sweep of the bundle ends it. Another runtime makes and ends its container's scope itself; the sweep takes away what
//! it leaves.

use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use gantry_api::shim::v1::{Request, Response, ShimMessage, response, shim_message};
use gantry_api::shim::{self, FrameReader};
use gantry_linux::Pid;
use gantry_linux::event::wait_readable;
use gantry_linux::wait::open_pidfd;
use gantry_runtime::cgroup::CgroupUpdate;
use gantry_runtime::plan::Plan;
use gantry_runtime::systemd::Systemd;

use super::shim::{ShimError, hello};
use super::{Nursery, Supervisor};
use crate::assemble::Daemon;
use crate::error::Error;
use crate::tables::ContainerRecord;

/// How long a placeholder may take to say who it is, and to end.
const PLACEHOLDER_TIMEOUT: Duration = Duration::from_secs(10);

/// A scope that is there for a container that is not yet.
#[derive(Debug)]
pub(super) struct Begun {
    placeholder: Placeholder,
    /// What is limited when the placeholder has gone.
    last: CgroupUpdate,
}

/// A process that is in a scope before its container.
#[derive(Debug)]
struct Placeholder {
    connection: UnixStream,
    pid: Pid,
    pidfd: OwnedFd,
}

impl Daemon {
    /// Makes the container's scope, where systemd makes control groups, and the plan one for it.
    pub(super) fn begin_scope(
        &self,
        record: &ContainerRecord,
        plan: &mut Plan,
    ) -> Result<Option<Begun>, Error> {
        let Some(scope) = self.scope(&record.namespace, &record.id) else { return Ok(None) };
        let name = format!("container {}/{}", record.namespace, record.name);
        let placeholder = Placeholder::start(&self.shims, &name)?;
        let last = Systemd::connect()?.start(&scope, &name, plan, placeholder.pid)?;
        Ok(Some(Begun { placeholder, last }))
    }
}

impl Supervisor {
    /// The container is in its scope: the placeholder goes, and the last limit is set.
    pub(super) async fn settle_scope(&self, begun: Begun) -> Result<(), Error> {
        let Begun { placeholder, last } = begun;
        self.daemon.blocking.run(move || placeholder.end()).await;
        self.apply(last).await
    }
}

impl Placeholder {
    fn start(nursery: &Nursery, name: &str) -> Result<Self, Error> {
        let mut connection = nursery.shim(name)?;
        let failed = |source| Error::Io { action: "ask a shim who it is", source };
        connection.set_nonblocking(false).map_err(failed)?;
        connection.set_read_timeout(Some(PLACEHOLDER_TIMEOUT)).map_err(failed)?;
        let mut bytes = Vec::new();
        shim::encode(&Request { id: 1, action: Some(hello()) }, &mut bytes).map_err(|_| ShimError::Answer)?;
        connection.write_all(&bytes).map_err(failed)?;
        let pid = pid_of(&mut connection)?;
        // It lives as long as the connection does, so that this is nobody else's number.
        let pidfd = open_pidfd(pid)?;
        Ok(Self { connection, pid, pidfd })
    }

    /// Waits for its end.
    fn end(self) {
        drop(self.connection);
        // One that takes longer only counts as a process for that long.
        let _ended = wait_readable(self.pidfd.as_fd(), Some(PLACEHOLDER_TIMEOUT));
    }
}

/// Who answers the Hello.
fn pid_of(connection: &mut UnixStream) -> Result<Pid, Error> {
    let mut reader = FrameReader::new();
    let mut bytes = [0; 512];
    loop {
        let count = connection
            .read(&mut bytes)
            .map_err(|source| Error::Io { action: "ask a shim who it is", source })?;
        if count == 0 {
            return Err(ShimError::Gone.into());
        }
        reader.extend(&bytes[..count]);
        let message = reader.next_message::<ShimMessage>().map_err(|_| ShimError::Answer)?;
        let Some(message) = message else { continue };
        let Some(shim_message::Message::Response(Response {
            result: Some(response::Result::Hello(hello)),
            ..
        })) = message.message
        else {
            return Err(ShimError::Answer.into());
        };
        let pid = i32::try_from(hello.shim_pid).ok().and_then(Pid::from_raw);
        return Ok(pid.ok_or(ShimError::Answer)?);
    }
}
