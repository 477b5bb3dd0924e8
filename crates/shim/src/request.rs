//! What each request does, and how it is answered: the table of the protocol. Requests with more to them
//! (Launch, Start, Exec, Release) have files of their own.

use std::os::fd::OwnedFd;

use gantry_api::shim::v1::request::Action;
use gantry_api::shim::v1::response::Result as Answer;
use gantry_api::shim::v1::{
    AttachRequest, AttachResponse, CloseStdinResponse, Failure, FailureKind, HelloRequest, HelloResponse,
    KillRequest, KillResponse, Phase, Request, ResizeRequest, ResizeResponse, Response, StateResponse,
};
use gantry_api::shim::{self};
use gantry_linux::signal::Signal;

use crate::attachment::{Wants, check_socket};
use crate::connection::Connection;
use crate::failure;
use crate::process::{INIT, Process};
use crate::shim::{Life, Shim};
use crate::stdio;
use crate::streams::ATTACHMENTS_MAX;

impl Shim {
    /// Carries a request out and answers it.
    pub(crate) fn respond(&mut self, connection: &mut Connection, request: Request) -> Response {
        let answer = match request.action {
            None => Err(failure::refuse(FailureKind::Unsupported, "this shim does not know the request")),
            Some(Action::Hello(peer)) => hello(connection, &peer).map(Answer::Hello),
            Some(_) if !connection.is_agreed() => {
                Err(failure::refuse(FailureKind::InvalidRequest, "a connection begins with Hello"))
            }
            Some(action) => self.act(connection, action),
        };
        let result = answer.unwrap_or_else(Answer::Failure);
        Response { request_id: request.id, result: Some(result) }
    }

    /// The slot of a process by its exec id; empty is init.
    pub(crate) fn slot_of(&self, exec_id: &str) -> Result<u32, Failure> {
        let wanted = |process: &Process| process.exec_id() == exec_id && !process.is_forgotten();
        let found = self.processes.iter().find(|(_, process)| wanted(process));
        found.map(|(slot, _)| *slot).ok_or_else(|| {
            failure::refuse(FailureKind::NoSuchProcess, "there is no such process in the container")
        })
    }

    fn act(&mut self, connection: &mut Connection, action: Action) -> Result<Answer, Failure> {
        match action {
            Action::Hello(peer) => hello(connection, &peer).map(Answer::Hello),
            Action::Launch(launch) => {
                let network = if launch.network_namespace { connection.descriptor() } else { None };
                self.launch(&launch, network).map(Answer::Launch)
            }
            Action::Start(_) => self.start().map(Answer::Start),
            Action::Kill(kill) => self.kill(&kill).map(Answer::Kill),
            Action::Exec(exec) => {
                let socket = exec.attach.as_ref().and_then(|_| connection.descriptor());
                self.exec(exec, socket).map(Answer::Exec)
            }
            Action::Resize(resize) => self.resize(&resize).map(Answer::Resize),
            Action::Attach(attach) => self.attach(&attach, connection.descriptor()).map(Answer::Attach),
            Action::CloseStdin(close) => self.close_stdin(&close.exec_id).map(Answer::CloseStdin),
            Action::State(_) => Ok(Answer::State(self.state())),
            Action::ReleaseExec(release) => self.release_exec(&release.exec_id).map(Answer::ReleaseExec),
            Action::Release(_) => self.release().map(Answer::Release),
        }
    }

    fn kill(&self, kill: &KillRequest) -> Result<KillResponse, Failure> {
        let invalid = |message| failure::refuse(FailureKind::InvalidRequest, message);
        let signal = Signal::from_number(kill.signal).ok_or_else(|| invalid("signals are 1 to 64"))?;
        if kill.all && !kill.exec_id.is_empty() {
            return Err(invalid("all processes, or one exec: not both"));
        }
        let process = self.process(&kill.exec_id)?;
        match &self.cgroup {
            Some(cgroup) if kill.all && signal == Signal::KILL => {
                cgroup.kill().map_err(|error| failure::cgroup(&error))?;
            }
            Some(cgroup) if kill.all => cgroup.signal_all(signal).map_err(|error| failure::cgroup(&error))?,
            Some(_) | None => match &self.foreign {
                Some(foreign) if kill.exec_id.is_empty() => foreign.kill(process, signal)?,
                Some(_) | None => process.signal(signal)?,
            },
        }

        Ok(KillResponse {})
    }

    fn resize(&mut self, resize: &ResizeRequest) -> Result<ResizeResponse, Failure> {
        let invalid = |message| failure::refuse(FailureKind::InvalidRequest, message);
        let process = self.process(&resize.exec_id)?;
        let size = resize.console.ok_or_else(|| invalid("a resize needs a size"))?;
        let terminal = process.streams.terminal().ok_or_else(|| invalid("the process has no terminal"))?;
        stdio::resize(terminal, size).map_err(|error| failure::step("resize terminal", "", &error))?;
        Ok(ResizeResponse {})
    }

    fn attach(&mut self, attach: &AttachRequest, socket: Option<OwnedFd>) -> Result<AttachResponse, Failure> {
        let (socket, wants) = attachment(attach, socket)?;
        let slot = self.slot_of(&attach.exec_id)?;
        let over = !matches!(self.life, Life::Launched(_) | Life::Running);
        let process = self.processes.get_mut(&slot).expect("found above");
        if over || process.exit().is_some() {
            return Err(failure::refuse(FailureKind::NoSuchProcess, "the process has ended"));
        }
        if process.streams.attachments() >= ATTACHMENTS_MAX {
            return Err(failure::refuse(
                FailureKind::ResourceExhausted,
                "the process has too many attachments",
            ));
        }
        process.streams.attach(socket, wants, &self.poller);
        Ok(AttachResponse {})
    }

    fn close_stdin(&mut self, exec_id: &str) -> Result<CloseStdinResponse, Failure> {
        let slot = self.slot_of(exec_id)?;
        self.with_streams(slot, |process, context| process.streams.close_input(context.poller));
        Ok(CloseStdinResponse {})
    }

    fn state(&mut self) -> StateResponse {
        self.count_oom_kills();
        let phase = match self.life {
            Life::Born => Phase::Born,
            Life::Launched(_) => Phase::Launched,
            Life::Running => Phase::Running,
            Life::Exited | Life::Released => Phase::Exited,
            Life::Failed => Phase::Failed,
        };
        let settled = matches!(phase, Phase::Exited);
        let init = self.processes.get(&INIT).map(Process::state).map(|mut init| {
            // While the rest of the output is awaited, the end is not yet to be told.
            init.exit = init.exit.filter(|_| settled);
            init
        });
        let execs = self.processes.range(INIT + 1..).filter(|(_, exec)| !exec.is_forgotten());
        StateResponse {
            phase: phase.into(),
            init,
            execs: execs.map(|(_, exec)| exec.state()).collect(),
            log_dropped_bytes: self.log.as_ref().map_or(0, crate::log::Log::dropped_bytes),
            oom_kills: self.memory.kills(),
            failure: self.failure.clone(),
        }
    }

    fn process(&self, exec_id: &str) -> Result<&Process, Failure> {
        let slot = self.slot_of(exec_id)?;
        Ok(self.processes.get(&slot).expect("found above"))
    }
}

/// Agrees on a version with a peer.
fn hello(connection: &mut Connection, peer: &HelloRequest) -> Result<HelloResponse, Failure> {
    let version = shim::negotiate(peer.version_min, peer.version).ok_or_else(|| {
        failure::refuse(FailureKind::Unsupported, "daemon and shim have no protocol version in common")
    })?;
    connection.agree(version);
    Ok(HelloResponse {
        version,
        shim_release: env!("CARGO_PKG_VERSION").to_owned(),
        shim_pid: rustix::process::getpid().as_raw_nonzero().get().unsigned_abs(),
    })
}

/// The socket and the wishes of an attachment, if they make sense.
pub(crate) fn attachment(
    attach: &AttachRequest,
    socket: Option<OwnedFd>,
) -> Result<(OwnedFd, Wants), Failure> {
    let invalid = |message| failure::refuse(FailureKind::InvalidRequest, message);
    let socket = socket.ok_or_else(|| invalid("no descriptor was passed beside the request"))?;
    check_socket(&socket).map_err(|_| invalid("the descriptor is no stream socket"))?;
    let wants = Wants {
        stdin: attach.stdin,
        stdout: attach.stdout,
        stderr: attach.stderr,
        close_stdin_at_detach: attach.close_stdin_at_detach,
    };
    Ok((socket, wants))
}
