//! `gantry run`: create, attach, start, and stay until the end. Attaching comes before starting, so that no
//! output is missed; the container's exit code becomes ours.

use std::process::ExitCode;

use gantry_api::containers::v1::{
    Container, RemoveContainerRequest, StartContainerRequest, WaitCondition, WaitContainerRequest,
};

use super::attach::{Attachment, attach};
use super::create::Making;
use crate::failure::Failure;
use crate::options::ContainerFlags;
use crate::output;
use crate::parse::keys::{DetachKeys, detach_keys};
use crate::session::Session;
use crate::streams::{self, Ending, SignalTarget};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    flags: ContainerFlags,
    /// Print the container's id and leave it running
    #[arg(short, long)]
    detach: bool,
    /// Keys that detach
    #[arg(long, value_name = "KEYS", value_parser = detach_keys)]
    detach_keys: Option<DetachKeys>,
    /// Pass signals on to the container
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set,
          num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    sig_proxy: bool,
    /// The image, and the command with its arguments instead of the image's
    #[arg(required = true, num_args = 1.., trailing_var_arg = true, value_names = ["IMAGE", "COMMAND"])]
    image_and_command: Vec<String>,
}

pub(crate) async fn run(args: Args, session: &Session) -> Result<ExitCode, Failure> {
    run_container(args, session).await.map_err(|failure| {
        // What a closed pipe or a signal says is ours, not a failure to run.
        if failure.code == 1 { failure.of_run() } else { failure }
    })
}

async fn run_container(args: Args, session: &Session) -> Result<ExitCode, Failure> {
    let (interactive, terminal) = (args.flags.process.interactive, args.flags.process.tty);
    if interactive && terminal && !args.detach && !streams::is_terminal() {
        return Err(Failure::new("standard input is not a terminal").hint("leave -t out"));
    }
    let auto_remove = args.flags.rm;
    let making = Making::new(&args.flags)?;
    let request = args.flags.request(args.image_and_command, session)?;
    let container = making.create(request, session).await?;
    let result = if args.detach {
        start(&container, session).await.map(|()| None)
    } else {
        let attachment = Attachment {
            container: container.id.clone(),
            stdin: interactive,
            detach_keys: args.detach_keys.unwrap_or_default(),
            sig_proxy: args.sig_proxy,
        };
        foreground(&container, attachment, session).await.map(Some)
    };
    match result {
        Ok(None) => {
            output::line(container.id)?;
            Ok(ExitCode::SUCCESS)
        }
        Ok(Some(Ending::Detached)) => Ok(ExitCode::SUCCESS),
        Ok(Some(Ending::Exited(exit))) => {
            if auto_remove {
                streams::until_signalled(removed(&container, session)).await?;
            }
            Ok(ExitCode::from(u8::try_from(exit.code).unwrap_or(u8::MAX)))
        }
        Err(failure) => {
            // Only what never ran is ours to take away; a lost stream leaves the container alone.
            if auto_remove && failure.reason.starts_with("COMMAND_") {
                take_away(&container, session).await;
            }
            Err(failure)
        }
    }
}

async fn start(container: &Container, session: &Session) -> Result<(), Failure> {
    let request = StartContainerRequest {
        namespace: session.namespace(),
        container: container.id.clone(),
        ..StartContainerRequest::default()
    };
    session.containers().await?.start_container(request).await?;
    Ok(())
}

async fn foreground(
    container: &Container,
    attachment: Attachment,
    session: &Session,
) -> Result<Ending, Failure> {
    let target = attachment.sig_proxy.then_some(SignalTarget {
        client: session.containers().await?,
        namespace: session.namespace(),
        container: container.id.clone(),
    });
    let joined = attach(attachment, session).await?;
    start(container, session).await?;
    joined.join(target).await
}

/// Sees to it that the container is gone when the command ends, as `--rm` promises. The daemon would do it by
/// itself, but only when it next writes to its disk; asking for it is not waiting for that.
async fn removed(container: &Container, session: &Session) -> Result<(), Failure> {
    let mut client = session.containers().await?;
    let request = RemoveContainerRequest {
        namespace: session.namespace(),
        container: container.id.clone(),
        ..RemoveContainerRequest::default()
    };
    match client.remove_container(request.clone()).await.map_err(Failure::from) {
        // The last of the output may be here before the exit is recorded there.
        Err(failure) if failure.reason == "CONTAINER_STATE" => {
            let waiting = WaitContainerRequest {
                namespace: session.namespace(),
                container: container.id.clone(),
                condition: WaitCondition::NotRunning.into(),
            };
            gone(client.wait_container(waiting).await)?;
            gone(client.remove_container(request).await)
        }
        Err(failure) if failure.is_not_found() => Ok(()),
        Err(failure) => Err(failure),
        Ok(_) => Ok(()),
    }
}

/// Whether a call succeeded, or found that there is nothing left to do.
fn gone<T>(answer: Result<T, tonic::Status>) -> Result<(), Failure> {
    match answer.map_err(Failure::from) {
        Err(failure) if !failure.is_not_found() => Err(failure),
        Err(_) | Ok(_) => Ok(()),
    }
}

/// Removes a container that never ran. What is in the way of that is told by the failure that led here.
async fn take_away(container: &Container, session: &Session) {
    let request = RemoveContainerRequest {
        namespace: session.namespace(),
        container: container.id.clone(),
        force: true,
        ..RemoveContainerRequest::default()
    };
    if let Ok(mut client) = session.containers().await {
        let _ = client.remove_container(request).await;
    }
}
