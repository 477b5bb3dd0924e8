//! `gantry start`: containers that do not run, again or for the first time.

use std::process::ExitCode;

use gantry_api::containers::v1::{GetContainerRequest, StartContainerRequest};

use super::attach::{Attachment, attach};
use super::each::each;
use crate::failure::Failure;
use crate::parse::keys::{DetachKeys, detach_keys};
use crate::session::Session;
use crate::streams::{Ending, SignalTarget};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Show what it writes and pass signals on, until it exits
    #[arg(short, long)]
    attach: bool,
    /// Pass standard input on
    #[arg(short, long)]
    interactive: bool,
    /// Keys that detach
    #[arg(long, value_name = "KEYS", value_parser = detach_keys)]
    detach_keys: Option<DetachKeys>,
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

pub(crate) async fn run(args: Args, session: &Session) -> Result<ExitCode, Failure> {
    if !args.attach && !args.interactive {
        return each(args.containers, |name| async move {
            start(&name, session).await?;
            Ok(name)
        })
        .await;
    }
    let [name] = args.containers.as_slice() else {
        return Err(Failure::new("only one container can be attached to").hint("leave -a and -i out"));
    };
    let mut client = session.containers().await?;
    let request = GetContainerRequest { namespace: session.namespace(), container: name.clone() };
    let container = client.get_container(request).await?.into_inner().container.unwrap_or_default();
    let target = SignalTarget { client, namespace: session.namespace(), container: container.id.clone() };
    let attachment = Attachment {
        container: container.id.clone(),
        stdin: args.interactive,
        detach_keys: args.detach_keys.unwrap_or_default(),
        sig_proxy: true,
    };
    // Before the start, so that nothing is missed.
    let joined = attach(attachment, session).await?;
    start(&container.id, session).await?;
    match joined.join(Some(target)).await? {
        Ending::Detached => Ok(ExitCode::SUCCESS),
        Ending::Exited(exit) => Ok(ExitCode::from(u8::try_from(exit.code).unwrap_or(u8::MAX))),
    }
}

async fn start(name: &str, session: &Session) -> Result<(), Failure> {
    let request = StartContainerRequest {
        namespace: session.namespace(),
        container: name.to_owned(),
        ..StartContainerRequest::default()
    };
    session.containers().await?.start_container(request).await?;
    Ok(())
}
