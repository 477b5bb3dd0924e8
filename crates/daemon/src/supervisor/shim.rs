//! The daemon's end of one control connection to a shim: requests with their answers, and the events that
//! come unasked. One task owns the socket; whoever calls holds a cheap handle. What the messages mean is
//! written in `proto/gantry/shim/v1/shim.proto`.

use std::collections::HashMap;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use gantry_api::shim::v1::{
    Event, Failure, HelloRequest, Request, Response, ShimMessage, event, request::Action, response,
    shim_message,
};
use gantry_api::shim::{self, FrameReader};
use gantry_runtime::execute::{self, ExecuteError};
use gantry_types::{Class, Classified};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};

use super::foreign;
use crate::ask::ask;
use crate::tasks::Tasks;

/// Requests that wait for the connection's task.
const REQUESTS_QUEUED: usize = 64;
/// Events that wait for the supervisor. A shim that tells more is hung up on and asked for its state anew.
const EVENTS_QUEUED: usize = 4096;
/// How long a shim may take for any answer; a launch with many mounts takes milliseconds.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// Why a request to a shim was not carried out.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum ShimError {
    /// The connection is gone, and most likely the shim with it.
    #[error("the shim cannot be reached")]
    Gone,
    /// It did not answer in time.
    #[error("the shim did not answer within {} s", ANSWER_TIMEOUT.as_secs())]
    Timeout,
    /// It answered something else than was asked.
    #[error("the shim gave an answer of another kind")]
    Answer,
    /// It refused, or the kernel did.
    #[error("{}", .0.message)]
    Failed(Box<Failure>),
}

impl Classified for ShimError {
    fn class(&self) -> Class {
        use gantry_api::shim::v1::FailureKind as Kind;
        match self {
            Self::Gone => Class::Unavailable,
            Self::Timeout => Class::DeadlineExceeded,
            Self::Answer => Class::Internal,
            Self::Failed(failure) => match failure.kind() {
                Kind::Unspecified | Kind::System | Kind::InvalidRequest | Kind::Runtime => Class::Internal,
                Kind::Unsupported => Class::Unimplemented,
                Kind::WrongPhase
                | Kind::NoSuchProcess
                | Kind::CommandNotFound
                | Kind::CommandNotExecutable
                | Kind::IdMap => Class::FailedPrecondition,
                Kind::AlreadyExists => Class::AlreadyExists,
                Kind::ResourceExhausted => Class::ResourceExhausted,
            },
        }
    }

    fn reason(&self) -> &'static str {
        use gantry_api::shim::v1::FailureKind as Kind;
        match self {
            Self::Gone => "SHIM_GONE",
            Self::Timeout => "SHIM_TIMEOUT",
            Self::Answer => "SHIM_ANSWER",
            Self::Failed(failure) => match failure.kind() {
                Kind::Unspecified | Kind::System => "START_FAILED",
                Kind::Runtime => "RUNTIME_FAILED",
                Kind::IdMap => "ID_MAPPING_FAILED",
                Kind::InvalidRequest => "SHIM_REQUEST_INVALID",
                Kind::Unsupported => "SHIM_REQUEST_UNSUPPORTED",
                Kind::WrongPhase => "CONTAINER_STATE",
                Kind::NoSuchProcess => "PROCESS_GONE",
                Kind::AlreadyExists => "EXEC_EXISTS",
                Kind::CommandNotFound => "COMMAND_NOT_FOUND",
                Kind::CommandNotExecutable => "COMMAND_NOT_EXECUTABLE",
                Kind::ResourceExhausted => "LIMIT_REACHED",
            },
        }
    }

    fn hint(&self) -> Option<String> {
        use gantry_api::shim::v1::FailureKind as Kind;
        match self {
            Self::Failed(failure) if failure.kind() == Kind::CommandNotFound => {
                Some("check the command's spelling and that the image has it, or give its full path".into())
            }
            Self::Failed(failure) if failure.kind() == Kind::CommandNotExecutable => Some(
                "check that the file has its execute bit and was built for this machine's processor".into(),
            ),
            Self::Failed(failure) if failure.kind() == Kind::Runtime => Some(
                "these are the runtime's own words; --runtime gantry tells whether another can do it".into(),
            ),
            Self::Failed(failure) => of_operation(failure).hint(),
            Self::Answer => None,
            Self::Gone | Self::Timeout => {
                Some("look at the daemon's log and at the container's state".into())
            }
        }
    }
}

/// The runtime's error, which the shim told of; one without an operation where it was another's.
fn of_operation(failure: &Failure) -> ExecuteError {
    let (operation, object, errno) = (failure.operation, failure.object.clone(), failure.errno);
    execute::Failure { operation, object, errno }.into()
}

/// A handle on one connection. The connection ends when the last handle is dropped.
#[derive(Debug, Clone)]
pub(crate) struct ShimClient {
    requests: mpsc::Sender<Call>,
}

/// A connection: the handle, and what comes unasked. `events` ends when the connection does.
#[derive(Debug)]
pub(crate) struct ShimConnection {
    pub client: ShimClient,
    pub events: mpsc::Receiver<event::Event>,
}

#[derive(Debug)]
struct Call {
    // Boxed, because an inbox keeps room for 32 of the largest action, and there is one per running container.
    action: Box<Action>,
    descriptor: Option<OwnedFd>,
    reply: oneshot::Sender<Result<response::Result, ShimError>>,
}

impl ShimConnection {
    /// Takes over a connected, non-blocking socket and says Hello on it. The answer to Hello is waited for
    /// together with the first other answer: the shim refuses everything if the versions do not meet.
    pub(crate) fn open(tasks: &Tasks, stream: UnixStream) -> Self {
        let (requests, calls) = mpsc::channel(REQUESTS_QUEUED);
        let (event_sender, events) = mpsc::channel(EVENTS_QUEUED);
        let connection = Connection {
            stream,
            reader: FrameReader::new(),
            pending: HashMap::new(),
            next_id: 1,
            events: event_sender,
        };
        tasks.spawn("shim connection", connection.run(calls));
        Self { client: ShimClient { requests }, events }
    }
}

impl ShimClient {
    /// Sends `action`, with `descriptor` passed beside it, and waits for its answer.
    pub(crate) async fn call(
        &self,
        action: Action,
        descriptor: Option<OwnedFd>,
    ) -> Result<response::Result, ShimError> {
        let asked = ask(&self.requests, |reply| Call { action: Box::new(action), descriptor, reply });
        match tokio::time::timeout(ANSWER_TIMEOUT, asked).await {
            Ok(answer) => answer.unwrap_or(Err(ShimError::Gone)),
            Err(_) => Err(ShimError::Timeout),
        }
    }
}

/// Declares the typed calls: one request message in, its own response message out.
macro_rules! calls {
    ($($name:ident, $action:ident, $request:ident => $response:ident;)*) => {
        impl ShimClient {
            $(
                pub(crate) async fn $name(
                    &self,
                    request: gantry_api::shim::v1::$request,
                    descriptor: Option<OwnedFd>,
                ) -> Result<gantry_api::shim::v1::$response, ShimError> {
                    match self.call(Action::$action(request), descriptor).await? {
                        response::Result::$action(answer) => Ok(answer),
                        _ => Err(ShimError::Answer),
                    }
                }
            )*
        }
    };
}

calls! {
    launch, Launch, LaunchRequest => LaunchResponse;
    start, Start, StartRequest => StartResponse;
    kill, Kill, KillRequest => KillResponse;
    exec, Exec, ExecRequest => ExecResponse;
    resize, Resize, ResizeRequest => ResizeResponse;
    attach, Attach, AttachRequest => AttachResponse;
    state, State, StateRequest => StateResponse;
    release, Release, ReleaseRequest => ReleaseResponse;
}

struct Connection {
    stream: UnixStream,
    reader: FrameReader,
    pending: HashMap<u64, oneshot::Sender<Result<response::Result, ShimError>>>,
    next_id: u64,
    events: mpsc::Sender<event::Event>,
}

impl Connection {
    /// Serves the connection until either side is gone; callers that still wait are told `Gone`.
    async fn run(mut self, mut calls: mpsc::Receiver<Call>) {
        if self.send(hello(), None, None).await.is_err() {
            return;
        }
        loop {
            let outcome = tokio::select! {
                call = calls.recv() => match call {
                    Some(call) => self.send(*call.action, call.descriptor, Some(call.reply)).await,
                    None => return,
                },
                ready = self.stream.readable() => match ready.and_then(|()| self.receive()) {
                    Ok(true) => Ok(()),
                    Ok(false) => return,
                    Err(error) => Err(error),
                },
            };
            if let Err(error) = outcome {
                tracing::warn!(error = %error, "a shim's control connection ended");
                return;
            }
        }
    }

    async fn send(
        &mut self,
        action: Action,
        descriptor: Option<OwnedFd>,
        reply: Option<oneshot::Sender<Result<response::Result, ShimError>>>,
    ) -> io::Result<()> {
        let id = self.next_id;
        self.next_id += 1;
        let mut bytes = Vec::new();
        if shim::encode(&Request { id, action: Some(action) }, &mut bytes).is_err() {
            if let Some(reply) = reply {
                // The caller may have gone, which is as good as told.
                let _gone = reply.send(Err(ShimError::Answer));
            }
            return Ok(());
        }
        if let Some(reply) = reply {
            self.pending.insert(id, reply);
        }
        let mut sent = 0;
        while sent < bytes.len() {
            let descriptor = if sent == 0 { descriptor.as_ref().map(AsFd::as_fd) } else { None };
            sent += self
                .stream
                .async_io(Interest::WRITABLE, || send_once(&self.stream, &bytes[sent..], descriptor))
                .await?;
        }
        Ok(())
    }

    /// Reads what is there; false when the shim has closed its end. The bytes are on the stack, because between two reads
    /// a connection that has nothing to say should cost nothing.
    fn receive(&mut self) -> io::Result<bool> {
        let mut bytes = [0; 4096];
        match self.stream.try_read(&mut bytes) {
            Ok(0) => Ok(false),
            Ok(count) => self.take(&bytes[..count]).map(|()| true),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(true),
            Err(error) => Err(error),
        }
    }

    fn take(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.reader.extend(bytes);
        while let Some(message) =
            self.reader.next_message::<ShimMessage>().map_err(|error| io::Error::other(error.to_string()))?
        {
            match message.message {
                Some(shim_message::Message::Response(response)) => self.answer(response),
                Some(shim_message::Message::Event(Event { event: Some(event) })) => {
                    self.events.try_send(event).map_err(|_| io::Error::other("too many events wait"))?;
                }
                Some(shim_message::Message::Event(Event { event: None })) | None => {}
            }
        }
        Ok(())
    }

    fn answer(&mut self, response: Response) {
        let result = match response.result {
            Some(response::Result::Failure(failure)) => {
                Err(ShimError::Failed(Box::new(foreign::explain(failure))))
            }
            Some(result) => Ok(result),
            None => Err(ShimError::Answer),
        };
        match self.pending.remove(&response.request_id) {
            // The caller may have given up in between.
            Some(reply) => drop(reply.send(result)),
            None => {
                if let Err(error) = result {
                    tracing::warn!(error = %error, "the shim refused the daemon's hello");
                }
            }
        }
    }
}

/// What a connection begins with.
pub(super) fn hello() -> Action {
    Action::Hello(HelloRequest {
        version: shim::VERSION,
        version_min: shim::VERSION_MIN,
        daemon_release: env!("CARGO_PKG_VERSION").into(),
    })
}

fn send_once(stream: &UnixStream, bytes: &[u8], descriptor: Option<BorrowedFd<'_>>) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let descriptors = descriptor.map(|descriptor| [descriptor]);
    if let Some(descriptors) = &descriptors {
        assert!(ancillary.push(SendAncillaryMessage::ScmRights(descriptors)), "room for one was made");
    }
    Ok(rustix::net::sendmsg(stream, &[IoSlice::new(bytes)], &mut ancillary, SendFlags::NOSIGNAL)?)
}

#[cfg(test)]
mod tests {
    use gantry_api::shim::v1::FailureKind;
    use gantry_runtime::execute::Operation;

    use super::*;

    #[test]
    fn what_the_runtime_advises_is_passed_on_and_a_failure_of_another_kind_has_no_such_advice() {
        let hint = |kind: FailureKind, operation: i32| {
            let failure = Failure { kind: kind.into(), operation, errno: 22, ..Failure::default() };
            ShimError::Failed(Box::new(failure)).hint()
        };
        let advice = hint(FailureKind::IdMap, Operation::IdMap.into()).expect("advice");
        assert!(advice.contains("id-mapped mounts"), "{advice}");
        let advice = hint(FailureKind::System, Operation::Propagation.into()).expect("advice");
        assert!(advice.contains("mount --bind"), "{advice}");
        assert_eq!(hint(FailureKind::System, 0), None);
        assert_eq!(hint(FailureKind::System, 1_000_000), None, "from a newer shim");
    }
}
