//! `gantry.containers.v1.ContainerService`.

use std::borrow::Cow;
use std::pin::Pin;

use futures_util::Stream;
use gantry_api::containers::v1::container_service_server::ContainerService;
use gantry_api::containers::v1::{self as pb, *};
use gantry_api::convert::{self, ContainerRequest, timestamp};
use gantry_api::filter::Filter;
use gantry_runtime::spec::Signal;
use gantry_store::{Page, Row};
use gantry_types::{ContainerId, ExecId, Namespace};
use tonic::{Request, Response, Status, Streaming};

use super::{Service, list, logs, streams};
use crate::containers;
use crate::control::folders::snapshot_key;
use crate::control::stop::StopOptions;
use crate::control::wait::WaitCondition as Condition;
use crate::error::Error;
use crate::requests::Turn;
use crate::supervisor::{Command, ExecState, Handle, TerminalSize as Size};
use crate::tables::{CONTAINER_STATUS, CONTAINERS, ContainerRecord, ContainerStatus};

type BoxStream<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// What lists of containers can be filtered by.
const FIELDS: [&str; 6] = ["id", "name", "image", "state", "exit_code", "labels."];

/// A container that a request named.
pub(super) struct Named {
    pub(super) namespace: Namespace,
    pub(super) id: ContainerId,
}

impl Service {
    /// Finds what `container` in `namespace` means.
    pub(super) fn named(&self, namespace: &str, container: &str) -> Result<Named, Status> {
        let namespace = convert::namespace(namespace)?;
        let text = convert::identifier("container", container)?;
        let id = containers::find(&self.daemon.store, &namespace, text)?;
        Ok(Named { namespace, id })
    }

    pub(super) fn handle(&self, named: &Named) -> Result<Handle, Status> {
        Ok(self.daemon.containers.handle(&named.namespace, &named.id)?)
    }

    /// The container as it is now.
    fn container(&self, named: &Named) -> Result<Container, Error> {
        let key = (named.namespace.clone(), named.id.clone());
        let (record, status) =
            self.daemon.store.view(|tx| (tx.get(&CONTAINERS, &key), tx.get(&CONTAINER_STATUS, &key)));
        match (record, status) {
            (Some(record), Some(status)) => Ok(self.to_message(&record, &status)),
            _ => Err(Error::ContainerGone),
        }
    }

    fn to_message(&self, record: &Row<ContainerRecord>, status: &Row<ContainerStatus>) -> Container {
        let revision = record.revision.max(status.revision).0;
        let (record, status) = (&record.value, &status.value);
        Container {
            namespace: record.namespace.to_string(),
            id: record.id.to_string(),
            name: record.name.to_string(),
            labels: record.options.labels.clone(),
            create_time: Some(timestamp(record.created_unix_ns)),
            revision,
            image: record.image.familiar(),
            image_digest: record.image_digest.to_string(),
            image_id: record.image_id.to_string(),
            options: Some((&record.options).into()),
            command: gantry_runtime::spec::command(&record.options.process, &record.image_config),
            state: pb::ContainerState::from(status.state).into(),
            pid: status.pid,
            start_time: (status.started_unix_ns != 0).then(|| timestamp(status.started_unix_ns)),
            exit: status.exit.map(Into::into),
            restart_count: status.restarts.into(),
            error: status.error.clone(),
            hostname: self.daemon.hostname(record),
            snapshot_key: snapshot_key(record).to_string(),
        }
    }
}

fn values_of<'a>(container: &'a Container, field: &str) -> Vec<Cow<'a, str>> {
    match field {
        "id" => vec![Cow::Borrowed(&*container.id)],
        "name" => vec![Cow::Borrowed(&*container.name)],
        "image" => vec![Cow::Borrowed(&*container.image), Cow::Borrowed(&*container.image_id)],
        "state" => {
            container.state().to_state().map(|state| Cow::Borrowed(state.as_str())).into_iter().collect()
        }
        "exit_code" => container.exit.iter().map(|exit| Cow::Owned(exit.code.to_string())).collect(),
        _ => list::label(&container.labels, field),
    }
}

fn signal(text: &str) -> Result<Option<Signal>, Error> {
    if text.is_empty() { Ok(None) } else { Ok(Some(Signal::parse(text)?)) }
}

pub(super) fn size(name: &str, size: Option<&TerminalSize>) -> Result<Option<Size>, Status> {
    let size = convert::terminal_size(name, size)?;
    Ok(size.map(|(columns, rows)| Size { columns, rows }))
}

/// Newest first, and by id among those of one instant.
fn newest_first(record: &ContainerRecord) -> String {
    format!("{:020}{}", i64::MAX - record.created_unix_ns, record.id)
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

#[tonic::async_trait]
impl ContainerService for Service {
    type GetContainerLogsStream = BoxStream<GetContainerLogsResponse>;
    type AttachContainerStream = BoxStream<AttachContainerResponse>;
    type ExecContainerStream = BoxStream<ExecContainerResponse>;

    async fn create_container(
        &self,
        request: Request<CreateContainerRequest>,
    ) -> Result<Response<CreateContainerResponse>, Status> {
        let request = ContainerRequest::try_from(request.into_inner())?;
        let namespace = request.namespace.clone();
        let turn = self
            .daemon
            .requests
            .turn(&self.daemon.store, &namespace, request.request_id.clone(), "CreateContainer")
            .await?;
        let id = match turn {
            Turn::Done(id) => id.parse().map_err(Error::Id)?,
            Turn::Work(guard) => self.daemon.create_container(request, guard.as_ref()).await?,
        };
        let container = self.container(&Named { namespace, id })?;
        Ok(Response::new(CreateContainerResponse { container: Some(container), warnings: Vec::new() }))
    }

    async fn start_container(
        &self,
        request: Request<StartContainerRequest>,
    ) -> Result<Response<StartContainerResponse>, Status> {
        let request = request.into_inner();
        let named = self.named(&request.namespace, &request.container)?;
        // A running container is left alone, so a repeat does no work twice without being remembered.
        convert::request_id(&request.request_id)?;
        self.handle(&named)?.ask(|reply| Command::Start { reply }).await?;
        // One that removes itself may be gone by now; that it was started is still true.
        let container = self.container(&named).ok();
        Ok(Response::new(StartContainerResponse { container }))
    }

    async fn stop_container(
        &self,
        request: Request<StopContainerRequest>,
    ) -> Result<Response<StopContainerResponse>, Status> {
        let request = request.into_inner();
        let named = self.named(&request.namespace, &request.container)?;
        let options = StopOptions { timeout_ms: request.timeout_ms, signal: signal(&request.signal)? };
        let daemon = self.daemon.clone();
        let (namespace, id) = (named.namespace.clone(), named.id.clone());
        // In a task of its own, so that it goes on when the caller gives up.
        let stop = self
            .daemon
            .tasks
            .spawn("stop", async move { daemon.stop_container(&namespace, &id, options).await });
        stop.await.map_err(|_| Error::ShuttingDown)??;
        Ok(Response::new(StopContainerResponse { container: self.container(&named).ok() }))
    }

    async fn kill_container(
        &self,
        request: Request<KillContainerRequest>,
    ) -> Result<Response<KillContainerResponse>, Status> {
        let request = request.into_inner();
        let named = self.named(&request.namespace, &request.container)?;
        let signal = signal(&request.signal)?.unwrap_or(Signal::KILL).number().unsigned_abs();
        let turn = self
            .daemon
            .requests
            .turn(
                &self.daemon.store,
                &named.namespace,
                convert::request_id(&request.request_id)?,
                "KillContainer",
            )
            .await?;
        if let Turn::Work(guard) = turn {
            let all = request.all;
            self.handle(&named)?.ask(|reply| Command::Signal { exec: None, signal, all, reply }).await?;
            if let Some(guard) = guard {
                guard.note_alone(&self.daemon.store, named.id.as_str())?;
            }
        }
        Ok(Response::new(KillContainerResponse {}))
    }

    async fn restart_container(
        &self,
        request: Request<RestartContainerRequest>,
    ) -> Result<Response<RestartContainerResponse>, Status> {
        let request = request.into_inner();
        let named = self.named(&request.namespace, &request.container)?;
        let options = StopOptions { timeout_ms: request.timeout_ms, signal: signal(&request.signal)? };
        let turn = self
            .daemon
            .requests
            .turn(
                &self.daemon.store,
                &named.namespace,
                convert::request_id(&request.request_id)?,
                "RestartContainer",
            )
            .await?;
        if let Turn::Work(guard) = turn {
            self.daemon.restart_container(&named.namespace, &named.id, options).await?;
            if let Some(guard) = guard {
                guard.note_alone(&self.daemon.store, named.id.as_str())?;
            }
        }
        Ok(Response::new(RestartContainerResponse { container: Some(self.container(&named)?) }))
    }

    async fn wait_container(
        &self,
        request: Request<WaitContainerRequest>,
    ) -> Result<Response<WaitContainerResponse>, Status> {
        let request = request.into_inner();
        let named = self.named(&request.namespace, &request.container)?;
        let condition = match request.condition() {
            WaitCondition::Unspecified | WaitCondition::NotRunning => Condition::NotRunning,
            WaitCondition::NextExit => Condition::NextExit,
            WaitCondition::Removed => Condition::Removed,
        };
        let waited = tokio::select! {
            waited = self.daemon.wait_container(&named.namespace, &named.id, condition) => waited?,
            () = self.daemon.tasks.cancelled() => return Err(Error::ShuttingDown.into()),
        };
        Ok(Response::new(WaitContainerResponse { exit: waited.exit.map(Into::into), error: waited.error }))
    }

    async fn remove_container(
        &self,
        request: Request<RemoveContainerRequest>,
    ) -> Result<Response<RemoveContainerResponse>, Status> {
        let request = request.into_inner();
        let namespace = convert::namespace(&request.namespace)?;
        let turn = self
            .daemon
            .requests
            .turn(
                &self.daemon.store,
                &namespace,
                convert::request_id(&request.request_id)?,
                "RemoveContainer",
            )
            .await?;
        let id = match turn {
            Turn::Done(id) => id,
            Turn::Work(guard) => {
                let named = self.named(&request.namespace, &request.container)?;
                self.daemon.remove_container(&named.namespace, &named.id, request.force).await?;
                if let Some(guard) = guard {
                    guard.note_alone(&self.daemon.store, named.id.as_str())?;
                }
                named.id.to_string()
            }
        };
        Ok(Response::new(RemoveContainerResponse { id }))
    }

    async fn rename_container(
        &self,
        request: Request<RenameContainerRequest>,
    ) -> Result<Response<RenameContainerResponse>, Status> {
        let request = request.into_inner();
        let named = self.named(&request.namespace, &request.container)?;
        let name = convert::id("new_name", &request.new_name)?;
        self.daemon.rename_container(&named.namespace, &named.id, name).await?;
        Ok(Response::new(RenameContainerResponse { container: Some(self.container(&named)?) }))
    }

    async fn get_container(
        &self,
        request: Request<GetContainerRequest>,
    ) -> Result<Response<GetContainerResponse>, Status> {
        let request = request.into_inner();
        let named = self.named(&request.namespace, &request.container)?;
        Ok(Response::new(GetContainerResponse { container: Some(self.container(&named)?) }))
    }

    async fn list_containers(
        &self,
        request: Request<ListContainersRequest>,
    ) -> Result<Response<ListContainersResponse>, Status> {
        let request = request.into_inner();
        let namespace = convert::namespace(&request.namespace)?;
        let filter = Filter::parse(&request.filter, &FIELDS)?;
        let (revision, rows) = (
            self.daemon.events.latest(),
            self.daemon.store.view(|tx| {
                let records = tx.scan(&CONTAINERS, &Page::prefix(&namespace));
                let statuses = tx.scan(&CONTAINER_STATUS, &Page::prefix(&namespace));
                records.into_iter().zip(statuses).collect::<Vec<_>>()
            }),
        );
        let mut containers: Vec<(String, Container)> = rows
            .into_iter()
            .map(|((_, record), (_, status))| {
                (newest_first(&record.value), self.to_message(&record, &status))
            })
            .collect();
        containers.sort_by(|(a, _), (b, _)| a.cmp(b));
        let (containers, next_page_token) =
            list::page(containers, &filter, values_of, request.page_size, &request.page_token)?;
        Ok(Response::new(ListContainersResponse { containers, next_page_token, revision }))
    }

    async fn get_container_logs(
        &self,
        request: Request<GetContainerLogsRequest>,
    ) -> Result<Response<Self::GetContainerLogsStream>, Status> {
        let request = request.into_inner();
        let named = self.named(&request.namespace, &request.container)?;
        Ok(Response::new(Box::pin(logs::stream(self, &named, &request)?)))
    }

    async fn attach_container(
        &self,
        request: Request<Streaming<AttachContainerRequest>>,
    ) -> Result<Response<Self::AttachContainerStream>, Status> {
        Ok(Response::new(Box::pin(streams::attach(self, request.into_inner()).await?)))
    }

    async fn exec_container(
        &self,
        request: Request<Streaming<ExecContainerRequest>>,
    ) -> Result<Response<Self::ExecContainerStream>, Status> {
        Ok(Response::new(Box::pin(streams::exec(self, request.into_inner()).await?)))
    }

    async fn start_exec(
        &self,
        request: Request<StartExecRequest>,
    ) -> Result<Response<StartExecResponse>, Status> {
        let request = request.into_inner();
        let named = self.named(&request.namespace, &request.container)?;
        let process = Box::new(gantry_types::ProcessOptions::try_from(request.process.unwrap_or_default())?);
        let turn = self
            .daemon
            .requests
            .turn(
                &self.daemon.store,
                &named.namespace,
                convert::request_id(&request.request_id)?,
                "StartExec",
            )
            .await?;
        let exec = match turn {
            Turn::Done(id) => self.exec_state(&named, &id).await?,
            Turn::Work(guard) => {
                let started = self
                    .handle(&named)?
                    .ask(|reply| Command::Exec { process, streams: None, size: None, reply })
                    .await?;
                if let Some(guard) = guard {
                    guard.note_alone(&self.daemon.store, started.state.id.as_str())?;
                }
                started.state
            }
        };
        Ok(Response::new(StartExecResponse { exec: Some(exec_message(&named.id, exec)) }))
    }

    async fn get_exec(&self, request: Request<GetExecRequest>) -> Result<Response<GetExecResponse>, Status> {
        let request = request.into_inner();
        let named = self.named(&request.namespace, &request.container)?;
        let exec = self.exec_state(&named, &request.exec_id).await?;
        Ok(Response::new(GetExecResponse { exec: Some(exec_message(&named.id, exec)) }))
    }

    async fn list_execs(
        &self,
        request: Request<ListExecsRequest>,
    ) -> Result<Response<ListExecsResponse>, Status> {
        let request = request.into_inner();
        let named = self.named(&request.namespace, &request.container)?;
        let execs = self.handle(&named)?.ask(|reply| Command::Execs { reply }).await?;
        let execs = execs.into_iter().map(|exec| exec_message(&named.id, exec)).collect();
        Ok(Response::new(ListExecsResponse { execs }))
    }

    async fn resize_terminal(
        &self,
        request: Request<ResizeTerminalRequest>,
    ) -> Result<Response<ResizeTerminalResponse>, Status> {
        let request = request.into_inner();
        let named = self.named(&request.namespace, &request.container)?;
        let exec = match request.exec_id.as_str() {
            "" => None,
            text => Some(convert::id::<ExecId>("exec_id", text)?),
        };
        let Some(size) = size("size", request.size.as_ref())? else {
            return Err(Error::Protocol { rule: "size is needed" }.into());
        };
        self.handle(&named)?.ask(|reply| Command::Resize { exec, size, reply }).await?;
        Ok(Response::new(ResizeTerminalResponse {}))
    }
}

impl Service {
    async fn exec_state(&self, named: &Named, id: &str) -> Result<ExecState, Status> {
        let id: ExecId = convert::id("exec_id", id)?;
        let execs = self.handle(named)?.ask(|reply| Command::Execs { reply }).await?;
        match execs.into_iter().find(|exec| exec.id == id) {
            Some(exec) => Ok(exec),
            None => {
                let name = self.daemon.container_record(&named.namespace, &named.id)?.name.clone();
                Err(Error::ExecNotFound { id, name }.into())
            }
        }
    }
}
