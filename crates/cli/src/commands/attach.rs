//! `gantry attach`: the streams of a container that runs. `run` and `start` join theirs with the same steps.

use std::process::ExitCode;

use gantry_api::containers::v1::attach_container_request::Message as Sent;
use gantry_api::containers::v1::attach_container_response::Message as Received;
use gantry_api::containers::v1::{
    AttachContainerRequest, AttachContainerResponse, AttachSelection, Attached, CloseStdin,
    GetContainerRequest,
};
use tokio::sync::mpsc;
use tonic::Streaming;

use crate::failure::Failure;
use crate::parse::keys::{DetachKeys, detach_keys};
use crate::session::Session;
use crate::streams::{self, Ending, Incoming, Local, Outgoing, SignalTarget, Wire};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Do not pass standard input on
    #[arg(long)]
    no_stdin: bool,
    /// Keys that detach
    #[arg(long, value_name = "KEYS", value_parser = detach_keys)]
    detach_keys: Option<DetachKeys>,
    /// Pass signals on to the container
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set,
          num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    sig_proxy: bool,
    container: String,
}

pub(crate) async fn run(args: Args, session: &Session) -> Result<ExitCode, Failure> {
    let mut client = session.containers().await?;
    let request = GetContainerRequest { namespace: session.namespace(), container: args.container.clone() };
    let container = client.get_container(request).await?.into_inner().container.unwrap_or_default();
    if container.pid == 0 {
        return Err(Failure::new(format!("container {} is not running", args.container))
            .hint("start it first, or see what it wrote with 'gantry logs'"));
    }
    let target = args.sig_proxy.then_some(SignalTarget {
        client,
        namespace: session.namespace(),
        container: container.id.clone(),
    });
    let attachment = Attachment {
        container: container.id,
        stdin: !args.no_stdin,
        detach_keys: args.detach_keys.unwrap_or_default(),
        sig_proxy: args.sig_proxy,
    };
    let joined = attach(attachment, session).await?;
    match joined.join(target).await? {
        Ending::Detached => Ok(ExitCode::SUCCESS),
        Ending::Exited(exit) => Ok(ExitCode::from(u8::try_from(exit.code).unwrap_or(u8::MAX))),
    }
}

/// What is asked of an attachment.
#[derive(Debug)]
pub(super) struct Attachment {
    pub(super) container: String,
    pub(super) stdin: bool,
    pub(super) detach_keys: DetachKeys,
    pub(super) sig_proxy: bool,
}

/// An attachment that stands.
#[derive(Debug)]
pub(super) struct Joined {
    sender: mpsc::Sender<AttachContainerRequest>,
    responses: Streaming<AttachContainerResponse>,
    attached: Attached,
    attachment: Attachment,
}

/// Attaches; nothing the container writes is missed from then on.
pub(super) async fn attach(attachment: Attachment, session: &Session) -> Result<Joined, Failure> {
    let selection = AttachSelection {
        namespace: session.namespace(),
        container: attachment.container.clone(),
        stdin: attachment.stdin,
        size: streams::size(),
        ..AttachSelection::default()
    };
    let first = AttachContainerRequest { message: Some(Sent::Select(selection)) };
    let (sender, requests) = streams::outgoing(first);
    let mut responses = session.containers().await?.attach_container(requests).await?.into_inner();
    match responses.message().await?.and_then(|response| response.message) {
        Some(Received::Attached(attached)) => Ok(Joined { sender, responses, attached, attachment }),
        Some(Received::Output(_) | Received::Exit(_)) | None => {
            Err(Failure::new("the daemon answered out of order"))
        }
    }
}

impl Joined {
    /// Stays until the container exits or the detach keys are pressed.
    pub(super) async fn join(self, signals: Option<SignalTarget>) -> Result<Ending, Failure> {
        let local = Local {
            stdin: self.attachment.stdin && self.attached.stdin_open,
            terminal: self.attached.terminal,
            detach_keys: self.attachment.detach_keys,
            signals,
        };
        streams::join::<AttachWire>(self.sender, self.responses, local).await
    }
}

/// The messages of an attachment.
struct AttachWire;

impl Wire for AttachWire {
    type Request = AttachContainerRequest;
    type Response = AttachContainerResponse;

    fn request(outgoing: Outgoing) -> AttachContainerRequest {
        let message = match outgoing {
            Outgoing::Stdin(bytes) => Sent::Stdin(bytes),
            Outgoing::Resize(size) => Sent::Resize(size),
            Outgoing::CloseStdin => Sent::CloseStdin(CloseStdin {}),
        };
        AttachContainerRequest { message: Some(message) }
    }

    fn incoming(response: AttachContainerResponse) -> Option<Incoming> {
        match response.message? {
            Received::Attached(_) => Some(Incoming::Ready),
            Received::Output(chunk) => Some(Incoming::Output(chunk)),
            Received::Exit(exit) => Some(Incoming::Exit(exit)),
        }
    }
}
