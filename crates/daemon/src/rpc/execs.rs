//! The methods of `gantry.containers.v1.ContainerService` about execs that nobody is attached to, and the
//! terminal's size. An exec with its streams is in `streams.rs`.

use gantry_api::containers::v1::{
    Exec, GetExecRequest, GetExecResponse, ListExecsRequest, ListExecsResponse, ProcessOptions,
    ResizeTerminalRequest, ResizeTerminalResponse, StartExecRequest, StartExecResponse,
};
use gantry_api::convert::{self, timestamp};
use gantry_types::{ContainerId, ExecId};
use tonic::Status;

use super::Service;
use super::containers::{Named, size};
use crate::error::Error;
use crate::requests::Turn;
use crate::supervisor::{Command, ExecState};

/// `ContainerService.StartExec`
pub(super) async fn start(service: &Service, request: StartExecRequest) -> Result<StartExecResponse, Status> {
    let named = service.named(&request.namespace, &request.container)?;
    let process = Box::new(gantry_types::ProcessOptions::try_from(request.process.unwrap_or_default())?);
    let turn = service.turn(&named.namespace, &request.request_id, "StartExec").await?;
    let exec = match turn {
        Turn::Done(id) => state(service, &named, &id).await?,
        Turn::Work(guard) => {
            let started = service
                .handle(&named)?
                .ask(|reply| Command::Exec { process, streams: None, size: None, reply })
                .await?;
            if let Some(guard) = guard {
                guard.note_alone(&service.daemon, started.state.id.as_str()).await?;
            }
            started.state
        }
    };
    Ok(StartExecResponse { exec: Some(exec_message(&named.id, exec)) })
}

/// `ContainerService.GetExec`
pub(super) async fn get(service: &Service, request: GetExecRequest) -> Result<GetExecResponse, Status> {
    let named = service.named(&request.namespace, &request.container)?;
    let exec = state(service, &named, &request.exec_id).await?;
    Ok(GetExecResponse { exec: Some(exec_message(&named.id, exec)) })
}

/// `ContainerService.ListExecs`
pub(super) async fn list(service: &Service, request: ListExecsRequest) -> Result<ListExecsResponse, Status> {
    let named = service.named(&request.namespace, &request.container)?;
    let execs = service.handle(&named)?.ask(|reply| Command::Execs { reply }).await?;
    let execs = execs.into_iter().map(|exec| exec_message(&named.id, exec)).collect();
    Ok(ListExecsResponse { execs })
}

/// `ContainerService.ResizeTerminal`
pub(super) async fn resize(
    service: &Service,
    request: ResizeTerminalRequest,
) -> Result<ResizeTerminalResponse, Status> {
    let named = service.named(&request.namespace, &request.container)?;
    let exec = match request.exec_id.as_str() {
        "" => None,
        text => Some(convert::id::<ExecId>("exec_id", text)?),
    };
    let Some(size) = size("size", request.size.as_ref())? else {
        return Err(Error::Protocol { rule: "size is needed" }.into());
    };
    service.handle(&named)?.ask(|reply| Command::Resize { exec, size, reply }).await?;
    Ok(ResizeTerminalResponse {})
}

async fn state(service: &Service, named: &Named, id: &str) -> Result<ExecState, Status> {
    let id: ExecId = convert::id("exec_id", id)?;
    let execs = service.handle(named)?.ask(|reply| Command::Execs { reply }).await?;
    if let Some(exec) = execs.into_iter().find(|exec| exec.id == id) {
        return Ok(exec);
    }
    let name = service.daemon.container_record(&named.namespace, &named.id)?.name.clone();
    Err(Error::ExecNotFound { id, name }.into())
}

fn exec_message(container: &ContainerId, exec: ExecState) -> Exec {
    Exec {
        id: exec.id.to_string(),
        container_id: container.to_string(),
        process: Some(ProcessOptions {
            args: exec.args,
            terminal: exec.terminal,
            ..ProcessOptions::default()
        }),
        pid: if exec.exit.is_some() { 0 } else { exec.pid },
        start_time: Some(timestamp(exec.started_unix_ns)),
        exit: exec.exit.map(Into::into),
    }
}
