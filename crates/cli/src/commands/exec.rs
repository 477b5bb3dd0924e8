//! `gantry exec`: one more process in a running container, with its exit code as ours.

use std::process::ExitCode;

use gantry_api::containers::v1::exec_container_request::Message as Sent;
use gantry_api::containers::v1::exec_container_response::Message as Received;
use gantry_api::containers::v1::{
    CloseStdin, ExecContainerRequest, ExecContainerResponse, ExecStart, ProcessOptions, StartExecRequest,
};

use crate::failure::Failure;
use crate::options::ProcessFlags;
use crate::parse::keys::{DetachKeys, detach_keys};
use crate::session::Session;
use crate::streams::{self, Ending, Incoming, Local, Outgoing, Wire};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    process: ProcessFlags,
    /// Leave it running and do not show what it writes
    #[arg(short, long)]
    detach: bool,
    /// Every capability and no seccomp filter
    #[arg(long)]
    privileged: bool,
    /// Keys that detach
    #[arg(long, value_name = "KEYS", value_parser = detach_keys)]
    detach_keys: Option<DetachKeys>,
    /// The container, and the command with its arguments
    #[arg(required = true, num_args = 2.., trailing_var_arg = true, value_names = ["CONTAINER", "COMMAND"])]
    container_and_command: Vec<String>,
}

pub(crate) async fn run(args: Args, session: &Session) -> Result<ExitCode, Failure> {
    exec(args, session).await.map_err(|failure| match failure.command_code() {
        Some(code) => Failure { code, ..failure },
        None => failure,
    })
}

async fn exec(args: Args, session: &Session) -> Result<ExitCode, Failure> {
    let mut words = args.container_and_command.into_iter();
    let container = words.next().unwrap_or_default();
    let process = args.process.process(words.collect())?;
    let process = ProcessOptions { privileged: args.privileged, ..process };
    let mut client = session.containers().await?;
    if args.detach {
        let request = StartExecRequest {
            namespace: session.namespace(),
            container,
            process: Some(process),
            request_id: String::new(),
        };
        client.start_exec(request).await?;
        return Ok(ExitCode::SUCCESS);
    }
    let (stdin, terminal) = (args.process.interactive, args.process.tty);
    if stdin && terminal && !streams::is_terminal() {
        return Err(Failure::new("standard input is not a terminal").hint("leave -t out"));
    }
    let start = ExecStart {
        namespace: session.namespace(),
        container,
        process: Some(process),
        size: streams::size(),
    };
    let (sender, requests) = streams::outgoing(ExecContainerRequest { message: Some(Sent::Start(start)) });
    let mut responses = client.exec_container(requests).await?.into_inner();
    streams::ready::<ExecWire>(&mut responses).await?;
    let detach_keys = args.detach_keys.unwrap_or_default();
    let local = Local { stdin, terminal, detach_keys, signals: None };
    match streams::join::<ExecWire>(sender, responses, local).await? {
        Ending::Detached => Ok(ExitCode::SUCCESS),
        Ending::Exited(exit) => Ok(ExitCode::from(u8::try_from(exit.code).unwrap_or(u8::MAX))),
    }
}

/// The messages of an execution.
struct ExecWire;

impl Wire for ExecWire {
    type Request = ExecContainerRequest;
    type Response = ExecContainerResponse;

    fn request(outgoing: Outgoing) -> ExecContainerRequest {
        let message = match outgoing {
            Outgoing::Stdin(bytes) => Sent::Stdin(bytes),
            Outgoing::Resize(size) => Sent::Resize(size),
            Outgoing::CloseStdin => Sent::CloseStdin(CloseStdin {}),
        };
        ExecContainerRequest { message: Some(message) }
    }

    fn incoming(response: ExecContainerResponse) -> Option<Incoming> {
        match response.message? {
            Received::Started(_) => Some(Incoming::Ready),
            Received::Output(chunk) => Some(Incoming::Output(chunk)),
            Received::Exit(exit) => Some(Incoming::Exit(exit)),
        }
    }
}
