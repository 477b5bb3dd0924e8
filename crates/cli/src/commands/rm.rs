//! `gantry rm`: containers with their writable layers and logs.

use std::process::ExitCode;

use gantry_api::containers::v1::RemoveContainerRequest;

use super::each::each;
use crate::failure::Failure;
use crate::session::Session;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Kill it first when it runs; no failure when there is none
    #[arg(short, long)]
    force: bool,
    /// Accepted for docker's sake: what belongs to a container alone always goes with it
    #[arg(short, long)]
    volumes: bool,
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

pub(crate) async fn run(args: Args, session: &Session) -> Result<ExitCode, Failure> {
    let force = args.force;
    each(args.containers, |name| async move {
        let request = RemoveContainerRequest {
            namespace: session.namespace(),
            container: name.clone(),
            force,
            request_id: String::new(),
        };
        match session.containers().await?.remove_container(request).await.map_err(Failure::from) {
            Ok(_) => Ok(name),
            Err(failure) if force && failure.is_not_found() => Ok(String::new()),
            Err(failure) => Err(failure),
        }
    })
    .await
}
