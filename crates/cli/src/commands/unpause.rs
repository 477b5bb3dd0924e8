//! `gantry unpause`: they go on.

use std::process::ExitCode;

use gantry_api::containers::v1::ResumeContainerRequest;

use super::each::each;
use crate::failure::Failure;
use crate::session::Session;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

pub(crate) async fn run(args: Args, session: &Session) -> Result<ExitCode, Failure> {
    each(args.containers, |name| async move {
        let request = ResumeContainerRequest { namespace: session.namespace(), container: name.clone() };
        session.containers().await?.resume_container(request).await?;
        Ok(name)
    })
    .await
}
