//! `gantry.containers.v1.ContainerService`.

use std::pin::Pin;

use futures_util::Stream;
use gantry_api::containers::v1::container_service_server::ContainerService;
use gantry_api::containers::v1::{
    AttachContainerRequest, AttachContainerResponse, CreateContainerRequest, CreateContainerResponse,
    ExecContainerRequest, ExecContainerResponse, GetContainerLogsRequest, GetContainerLogsResponse,
    GetContainerRequest, GetContainerResponse, GetContainerStatsRequest, GetContainerStatsResponse,
    GetExecRequest, GetExecResponse, KillContainerRequest, KillContainerResponse,
    ListContainerProcessesRequest, ListContainerProcessesResponse, ListContainersRequest,
    ListContainersResponse, ListExecsRequest, ListExecsResponse, PauseContainerRequest,
    PauseContainerResponse, RemoveContainerRequest, RemoveContainerResponse, RenameContainerRequest,
    RenameContainerResponse, ResizeTerminalRequest, ResizeTerminalResponse, RestartContainerRequest,
    RestartContainerResponse, ResumeContainerRequest, ResumeContainerResponse, StartContainerRequest,
    StartContainerResponse, StartExecRequest, StartExecResponse, StopContainerRequest, StopContainerResponse,
    TerminalSize, UpdateContainerRequest, UpdateContainerResponse, WaitCondition, WaitContainerRequest,
    WaitContainerResponse,
};
use gantry_api::convert::{self, ContainerRequest};
use gantry_runtime::spec::Signal;
use gantry_types::{ContainerId, Namespace};
use tonic::{Request, Response, Status, Streaming};

use super::{Service, container, execs, logs, stats, streams};
use crate::containers;
use crate::control::stop::StopOptions;
use crate::control::wait::WaitCondition as Condition;
use crate::error::Error;
use crate::requests::Turn;
use crate::supervisor::{Command, Handle, TerminalSize as Size};

type BoxStream<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

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
}

fn signal(text: &str) -> Result<Option<Signal>, Error> {
    if text.is_empty() { Ok(None) } else { Ok(Some(Signal::parse(text)?)) }
}

pub(super) fn size(name: &str, size: Option<&TerminalSize>) -> Result<Option<Size>, Status> {
    let size = convert::terminal_size(name, size)?;
    Ok(size.map(|(columns, rows)| Size { columns, rows }))
}

#[tonic::async_trait]
impl ContainerService for Service {
    type GetContainerStatsStream = BoxStream<GetContainerStatsResponse>;
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
            Turn::Done(id) => id.parse().map_err(Error::from)?,
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
        let service = self.clone();
        let container = self.to_the_end("stop", async move {
            service.daemon.stop_container(&named.namespace, &named.id, options).await?;
            Ok(service.container(&named).ok())
        });
        Ok(Response::new(StopContainerResponse { container: container.await? }))
    }

    async fn kill_container(
        &self,
        request: Request<KillContainerRequest>,
    ) -> Result<Response<KillContainerResponse>, Status> {
        let request = request.into_inner();
        let named = self.named(&request.namespace, &request.container)?;
        let signal = signal(&request.signal)?.unwrap_or(Signal::KILL).number().unsigned_abs();
        let service = self.clone();
        let killed = self.to_the_end("kill", async move {
            let turn = service.turn(&named.namespace, &request.request_id, "KillContainer").await?;
            if let Turn::Work(guard) = turn {
                let all = request.all;
                service
                    .handle(&named)?
                    .ask(|reply| Command::Signal { exec: None, signal, all, ends: false, reply })
                    .await?;
                if let Some(guard) = guard {
                    guard.note_alone(&service.daemon, named.id.as_str()).await?;
                }
            }
            Ok(KillContainerResponse {})
        });
        Ok(Response::new(killed.await?))
    }

    async fn restart_container(
        &self,
        request: Request<RestartContainerRequest>,
    ) -> Result<Response<RestartContainerResponse>, Status> {
        let request = request.into_inner();
        let named = self.named(&request.namespace, &request.container)?;
        let options = StopOptions { timeout_ms: request.timeout_ms, signal: signal(&request.signal)? };
        let service = self.clone();
        let restarted = self.to_the_end("restart", async move {
            let turn = service.turn(&named.namespace, &request.request_id, "RestartContainer").await?;
            if let Turn::Work(guard) = turn {
                service.daemon.restart_container(&named.namespace, &named.id, options).await?;
                if let Some(guard) = guard {
                    guard.note_alone(&service.daemon, named.id.as_str()).await?;
                }
            }
            Ok(RestartContainerResponse { container: Some(service.container(&named)?) })
        });
        Ok(Response::new(restarted.await?))
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
        let service = self.clone();
        let id = self.to_the_end("remove", async move {
            let turn = service.turn(&namespace, &request.request_id, "RemoveContainer").await?;
            let guard = match turn {
                Turn::Done(id) => return Ok(id),
                Turn::Work(guard) => guard,
            };
            let named = service.named(&request.namespace, &request.container)?;
            service.daemon.remove_container(&named.namespace, &named.id, request.force).await?;
            if let Some(guard) = guard {
                guard.note_alone(&service.daemon, named.id.as_str()).await?;
            }
            Ok(named.id.to_string())
        });
        Ok(Response::new(RemoveContainerResponse { id: id.await? }))
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
        Ok(Response::new(container::list_containers(self, &request.into_inner())?))
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
        Ok(Response::new(execs::start(self, request.into_inner()).await?))
    }

    async fn get_exec(&self, request: Request<GetExecRequest>) -> Result<Response<GetExecResponse>, Status> {
        Ok(Response::new(execs::get(self, request.into_inner()).await?))
    }

    async fn list_execs(
        &self,
        request: Request<ListExecsRequest>,
    ) -> Result<Response<ListExecsResponse>, Status> {
        Ok(Response::new(execs::list(self, request.into_inner()).await?))
    }

    async fn pause_container(
        &self,
        request: Request<PauseContainerRequest>,
    ) -> Result<Response<PauseContainerResponse>, Status> {
        let request = request.into_inner();
        let named = self.named(&request.namespace, &request.container)?;
        self.handle(&named)?.ask(|reply| Command::Pause { reply }).await?;
        Ok(Response::new(PauseContainerResponse { container: Some(self.container(&named)?) }))
    }

    async fn resume_container(
        &self,
        request: Request<ResumeContainerRequest>,
    ) -> Result<Response<ResumeContainerResponse>, Status> {
        let request = request.into_inner();
        let named = self.named(&request.namespace, &request.container)?;
        self.handle(&named)?.ask(|reply| Command::Resume { reply }).await?;
        Ok(Response::new(ResumeContainerResponse { container: Some(self.container(&named)?) }))
    }

    async fn update_container(
        &self,
        request: Request<UpdateContainerRequest>,
    ) -> Result<Response<UpdateContainerResponse>, Status> {
        let request = request.into_inner();
        let named = self.named(&request.namespace, &request.container)?;
        let handle = self.handle(&named)?;
        loop {
            let record = self.daemon.container_record(&named.namespace, &named.id)?;
            let from = Box::new(record.options.resources.clone());
            let (change, mask) = (request.resources.as_ref(), request.update_mask.as_ref());
            let to = Box::new(convert::changed_resources(&from, change, mask)?);
            // Another update may have come between the reading and this.
            if handle.ask(|reply| Command::Update { from, to, reply }).await? {
                break;
            }
        }
        Ok(Response::new(UpdateContainerResponse { container: Some(self.container(&named)?) }))
    }

    async fn get_container_stats(
        &self,
        request: Request<GetContainerStatsRequest>,
    ) -> Result<Response<Self::GetContainerStatsStream>, Status> {
        let request = request.into_inner();
        let named = self.named(&request.namespace, &request.container)?;
        Ok(Response::new(Box::pin(stats::stream(self, named, &request).await?)))
    }

    async fn list_container_processes(
        &self,
        request: Request<ListContainerProcessesRequest>,
    ) -> Result<Response<ListContainerProcessesResponse>, Status> {
        Ok(Response::new(stats::processes(self, &request.into_inner()).await?))
    }

    async fn resize_terminal(
        &self,
        request: Request<ResizeTerminalRequest>,
    ) -> Result<Response<ResizeTerminalResponse>, Status> {
        Ok(Response::new(execs::resize(self, request.into_inner()).await?))
    }
}
