//! Joining a container's streams. The shim gets one end of a socket pair and the caller the other; bytes do
//! not pass through the container's task. Before the start the shim's end waits here.

use gantry_api::shim::v1::{AttachRequest, ConsoleSize};
use gantry_types::{ContainerState, ExecId};
use tokio::net::UnixStream;

use super::{Supervisor, stream_pair};
use crate::error::Error;

/// Which streams a caller wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Streams {
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
}

/// The size of a terminal, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TerminalSize {
    pub columns: u16,
    pub rows: u16,
}

impl From<TerminalSize> for ConsoleSize {
    fn from(size: TerminalSize) -> Self {
        Self { columns: size.columns.into(), rows: size.rows.into() }
    }
}

/// A caller's end of an attachment; frames flow as `gantry_api::shim::stdio` says.
#[derive(Debug)]
pub(crate) struct Attachment {
    pub stream: UnixStream,
    pub terminal: bool,
    pub stdin_open: bool,
}

/// An attachment that waits for the start.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) request: AttachRequest,
    pub(super) descriptor: std::os::fd::OwnedFd,
    pub(super) size: Option<TerminalSize>,
}

impl Streams {
    pub(super) fn request(self, exec: Option<&ExecId>) -> AttachRequest {
        AttachRequest {
            exec_id: exec.map(ToString::to_string).unwrap_or_default(),
            stdin: self.stdin,
            stdout: self.stdout,
            stderr: self.stderr,
            close_stdin_at_detach: false,
        }
    }
}

impl Supervisor {
    pub(super) async fn attach(
        &mut self,
        exec: Option<ExecId>,
        streams: Streams,
        size: Option<TerminalSize>,
    ) -> Result<Attachment, Error> {
        let process = &self.record.options.process;
        let (terminal, stdin_open) = (process.terminal, process.stdin_open);
        let (stream, descriptor) = stream_pair()?;
        let request = streams.request(exec.as_ref());
        match (&self.shim, self.status.state) {
            (Some(shim), ContainerState::Running | ContainerState::Paused) => {
                shim.client.attach(request, Some(descriptor)).await?;
                if let Some(size) = size.filter(|_| terminal) {
                    self.resize(exec.as_ref(), size).await?;
                }
            }
            (_, ContainerState::Created | ContainerState::Exited) if exec.is_none() => {
                // Those who gave up since have closed their end.
                self.waiting_attachments.retain(|waiting| !is_hung_up(&waiting.descriptor));
                if self.waiting_attachments.len() >= gantry_types::EXECS_MAX {
                    return Err(Error::TooManyAttachments { name: self.record.name.clone() });
                }
                self.waiting_attachments.push(Waiting { request, descriptor, size });
            }
            (
                _,
                state @ (ContainerState::Creating
                | ContainerState::Created
                | ContainerState::Starting
                | ContainerState::Running
                | ContainerState::Paused
                | ContainerState::Exited
                | ContainerState::Removing),
            ) => return Err(Error::NotRunning { name: self.record.name.clone(), state }),
        }
        Ok(Attachment { stream, terminal, stdin_open })
    }
}

fn is_hung_up(descriptor: &std::os::fd::OwnedFd) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let mut descriptors = [PollFd::new(descriptor, PollFlags::empty())];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut descriptors, Some(&now)).is_ok() && descriptors[0].revents().contains(PollFlags::HUP)
}
