//! Attach and exec: a gRPC stream on one side, the shim's attachment socket on the other. Two directions,
//! each at the pace of its slower end; beyond a few chunks nothing is buffered here.

use bytes::Bytes;
use futures_util::Stream;
use futures_util::future::BoxFuture;
use gantry_api::containers::v1::{
    AttachContainerRequest, AttachContainerResponse, AttachSelection, Attached, ExecContainerRequest,
    ExecContainerResponse, ExecStart, ExecStarted, OutputChunk, OutputStream, TerminalSize,
    attach_container_request, attach_container_response, exec_container_request, exec_container_response,
};
use gantry_api::shim::stdio::{self, PAYLOAD_BYTES_MAX, StdioReader, Tag};
use gantry_types::{ExecId, Exit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::Service;
use super::containers::size;
use crate::error::Error;
use crate::supervisor::{Command, Handle, Streams};
use crate::tasks::Tasks;

/// Chunks that wait for the client.
const CHUNKS_QUEUED: usize = 4;

/// `ContainerService.AttachContainer`
pub(super) async fn attach(
    service: &Service,
    mut requests: Streaming<AttachContainerRequest>,
) -> Result<impl Stream<Item = Result<AttachContainerResponse, Status>> + use<>, Status> {
    let first = requests.message().await?.and_then(|request| request.message);
    let Some(attach_container_request::Message::Select(selection)) = first else {
        return Err(Error::Protocol { rule: "the first message of an attach must be `select`" }.into());
    };
    let named = service.named(&selection.namespace, &selection.container)?;
    let handle = service.handle(&named)?;
    let size = size("select.size", selection.size.as_ref())?;
    let streams = wanted(&selection);
    let mut status = handle.status();
    let attachment = handle.ask(|reply| Command::Attach { exec: None, streams, size, reply }).await?;
    let attached = Attached {
        container_id: named.id.to_string(),
        terminal: attachment.terminal,
        stdin_open: attachment.stdin_open,
    };
    let exit = Box::pin(async move {
        let ended = status.wait_for(|status| !status.state.is_alive() && status.exit.is_some()).await;
        ended.ok().and_then(|status| status.exit)
    });
    let pump = Pump {
        stream: attachment.stream,
        handle,
        exec: None,
        exit,
        tasks: service.daemon.tasks.clone(),
        response: |output| AttachContainerResponse {
            message: Some(match output {
                Output::Chunk(chunk) => attach_container_response::Message::Output(chunk),
                Output::Exit(exit) => attach_container_response::Message::Exit(exit.into()),
            }),
        },
        input: |request: AttachContainerRequest| match request.message {
            Some(attach_container_request::Message::Stdin(bytes)) => Some(Input::Stdin(bytes)),
            Some(attach_container_request::Message::Resize(size)) => Some(Input::Resize(size)),
            Some(attach_container_request::Message::CloseStdin(_)) => Some(Input::CloseStdin),
            Some(attach_container_request::Message::Select(_)) | None => None,
        },
    };
    let first =
        AttachContainerResponse { message: Some(attach_container_response::Message::Attached(attached)) };
    Ok(pump.start("attachment", first, requests))
}

/// `ContainerService.ExecContainer`
pub(super) async fn exec(
    service: &Service,
    mut requests: Streaming<ExecContainerRequest>,
) -> Result<impl Stream<Item = Result<ExecContainerResponse, Status>> + use<>, Status> {
    let first = requests.message().await?.and_then(|request| request.message);
    let Some(exec_container_request::Message::Start(start)) = first else {
        return Err(Error::Protocol { rule: "the first message of an exec must be `start`" }.into());
    };
    let ExecStart { namespace, container, process, size: wanted } = start;
    let named = service.named(&namespace, &container)?;
    let handle = service.handle(&named)?;
    let size = size("start.size", wanted.as_ref())?;
    let process = Box::new(gantry_types::ProcessOptions::try_from(process.unwrap_or_default())?);
    let streams = Some(Streams { stdin: process.stdin_open, stdout: true, stderr: true });
    let started = handle.ask(|reply| Command::Exec { process, streams, size, reply }).await?;
    let mut ended = started.ended;
    let exit = Box::pin(async move {
        let ended = ended.wait_for(|exec| exec.exit.is_some()).await;
        ended.ok().and_then(|exec| exec.exit)
    });
    let message = ExecStarted { exec_id: started.state.id.to_string(), pid: started.state.pid };
    let pump = Pump {
        stream: started.stream.ok_or(Error::StreamsLost)?,
        handle,
        exec: Some(started.state.id),
        exit,
        tasks: service.daemon.tasks.clone(),
        response: |output| ExecContainerResponse {
            message: Some(match output {
                Output::Chunk(chunk) => exec_container_response::Message::Output(chunk),
                Output::Exit(exit) => exec_container_response::Message::Exit(exit.into()),
            }),
        },
        input: |request: ExecContainerRequest| match request.message {
            Some(exec_container_request::Message::Stdin(bytes)) => Some(Input::Stdin(bytes)),
            Some(exec_container_request::Message::Resize(size)) => Some(Input::Resize(size)),
            Some(exec_container_request::Message::CloseStdin(_)) => Some(Input::CloseStdin),
            Some(exec_container_request::Message::Start(_)) | None => None,
        },
    };
    let first = ExecContainerResponse { message: Some(exec_container_response::Message::Started(message)) };
    Ok(pump.start("exec stream", first, requests))
}

fn wanted(selection: &AttachSelection) -> Streams {
    let both = !selection.stdout && !selection.stderr;
    Streams { stdin: selection.stdin, stdout: selection.stdout || both, stderr: selection.stderr || both }
}

/// What a client sends after its first message.
enum Input {
    Stdin(Bytes),
    Resize(TerminalSize),
    CloseStdin,
}

/// What a client is sent after its first message.
enum Output {
    Chunk(OutputChunk),
    Exit(Exit),
}

/// Both directions of one attachment.
struct Pump<Q, R> {
    stream: UnixStream,
    handle: Handle,
    exec: Option<ExecId>,
    exit: BoxFuture<'static, Option<Exit>>,
    tasks: Tasks,
    response: fn(Output) -> R,
    input: fn(Q) -> Option<Input>,
}

impl<Q: Send + 'static, R: Send + 'static> Pump<Q, R> {
    /// Runs until the process ended, the client is gone, or the daemon ends.
    fn start(
        self,
        name: &'static str,
        first: R,
        requests: Streaming<Q>,
    ) -> impl Stream<Item = Result<R, Status>> + use<Q, R> {
        let (sender, receiver) = mpsc::channel(CHUNKS_QUEUED);
        sender.try_send(Ok(first)).expect("a new channel has room");
        let tasks = self.tasks.clone();
        tasks.spawn(name, async move {
            let Self { stream, handle, exec, exit, tasks, response, input } = self;
            let (reader, writer) = stream.into_split();
            let client = ToShim { writer, handle, exec, input };
            tokio::select! {
                () = to_client(reader, &sender, exit, response) => {}
                () = client.run(requests) => {}
                () = sender.closed() => {}
                () = tasks.cancelled() => {
                    // A client that does not read need not be told.
                    let _full = sender.try_send(Err(Error::ShuttingDown.into()));
                }
            }
        });
        ReceiverStream::new(receiver)
    }
}

/// Passes output on until the process is over, then its exit.
async fn to_client<R>(
    mut reader: OwnedReadHalf,
    sender: &mpsc::Sender<Result<R, Status>>,
    exit: BoxFuture<'static, Option<Exit>>,
    response: fn(Output) -> R,
) {
    let last = match pass_output(&mut reader, sender, response).await {
        Ok(true) => match exit.await {
            Some(exit) => Ok(response(Output::Exit(exit))),
            None => Err(Error::StreamsLost.into()),
        },
        // The shim went away without an end, or the container was never started.
        Ok(false) | Err(_) => Err(Error::StreamsLost.into()),
    };
    // A client that is gone is not an error.
    let _gone = sender.send(last).await;
}

/// Passes output on; true when the process is over, false when the stream ended before.
async fn pass_output<R>(
    reader: &mut OwnedReadHalf,
    sender: &mpsc::Sender<Result<R, Status>>,
    response: fn(Output) -> R,
) -> std::io::Result<bool> {
    let mut frames = StdioReader::new();
    let mut buffer = vec![0; PAYLOAD_BYTES_MAX];
    loop {
        let count = reader.read(&mut buffer).await?;
        if count == 0 {
            return Ok(false);
        }
        frames.extend(&buffer[..count]);
        while let Some((tag, payload)) = frames.next_frame().map_err(std::io::Error::other)? {
            let stream = match tag {
                Tag::Stdout => OutputStream::Stdout,
                Tag::Stderr => OutputStream::Stderr,
                Tag::End => return Ok(true),
                Tag::Stdin | Tag::CloseStdin => continue,
            };
            let chunk = OutputChunk { stream: stream.into(), data: Bytes::copy_from_slice(payload) };
            if sender.send(Ok(response(Output::Chunk(chunk)))).await.is_err() {
                return Ok(false);
            }
        }
    }
}

/// The direction from the client.
struct ToShim<Q> {
    writer: OwnedWriteHalf,
    handle: Handle,
    exec: Option<ExecId>,
    input: fn(Q) -> Option<Input>,
}

impl<Q> ToShim<Q> {
    /// Passes input on. Returns only when the client's side failed: after a plain half-close, or when the
    /// process takes no more, output goes on.
    async fn run(mut self, mut requests: Streaming<Q>) {
        loop {
            let request = match requests.message().await {
                Ok(Some(request)) => request,
                Ok(None) => break,
                Err(_) => return,
            };
            let mut bytes = Vec::new();
            match (self.input)(request) {
                Some(Input::Stdin(data)) => stdio::encode(Tag::Stdin, &data, &mut bytes),
                Some(Input::CloseStdin) => stdio::encode(Tag::CloseStdin, b"", &mut bytes),
                Some(Input::Resize(wanted)) => self.resize(&wanted).await,
                None => {}
            }
            if self.writer.write_all(&bytes).await.is_err() {
                break;
            }
        }
        // Dropping the half would shut the socket's direction, which the shim takes for a detach.
        std::future::pending::<()>().await;
    }

    async fn resize(&self, wanted: &TerminalSize) {
        let Ok(Some(size)) = size("resize", Some(wanted)) else { return };
        let exec = self.exec.clone();
        if let Err(error) = self.handle.ask(|reply| Command::Resize { exec, size, reply }).await {
            tracing::debug!(error = %error, "a terminal was not resized");
        }
    }
}
