//! `gantry kill`: one signal, without waiting for what it does.

use std::process::ExitCode;

use gantry_api::containers::v1::KillContainerRequest;

use super::each::each;
use crate::failure::Failure;
use crate::session::Session;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Signal, by name or number
    #[arg(short, long, default_value = "KILL")]
    signal: String,
    /// Send it to every process of the container
    #[arg(short, long)]
    all: bool,
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

pub(crate) async fn run(args: Args, session: &Session) -> Result<ExitCode, Failure> {
    let (all, signal) = (args.all, &args.signal);
    each(args.containers, |name| async move {
        let request = KillContainerRequest {
            namespace: session.namespace(),
            container: name.clone(),
            signal: signal.clone(),
            all,
            request_id: String::new(),
        };
        session.containers().await?.kill_container(request).await?;
        Ok(name)
    })
    .await
}
