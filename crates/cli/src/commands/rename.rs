//! `gantry rename`.

use std::process::ExitCode;

use gantry_api::containers::v1::RenameContainerRequest;

use crate::failure::Failure;
use crate::session::Session;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    container: String,
    new_name: String,
}

pub(crate) async fn run(args: Args, session: &Session) -> Result<ExitCode, Failure> {
    let request = RenameContainerRequest {
        namespace: session.namespace(),
        container: args.container,
        new_name: args.new_name,
        request_id: String::new(),
    };
    session.containers().await?.rename_container(request).await?;
    Ok(ExitCode::SUCCESS)
}
