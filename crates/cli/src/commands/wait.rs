//! `gantry wait`: the exit codes of containers, once they have one.

use std::process::ExitCode;

use gantry_api::containers::v1::{WaitCondition, WaitContainerRequest};

use super::each::each;
use crate::failure::Failure;
use crate::session::Session;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What to wait for
    #[arg(long, value_enum, default_value_t = Condition::NotRunning)]
    condition: Condition,
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Condition {
    /// It does not run, perhaps not any more.
    NotRunning,
    /// It exits from now on.
    NextExit,
    /// It is removed.
    Removed,
}

pub(crate) async fn run(args: Args, session: &Session) -> Result<ExitCode, Failure> {
    let condition = match args.condition {
        Condition::NotRunning => WaitCondition::NotRunning,
        Condition::NextExit => WaitCondition::NextExit,
        Condition::Removed => WaitCondition::Removed,
    };
    each(args.containers, |name| async move {
        let request = WaitContainerRequest {
            namespace: session.namespace(),
            container: name,
            condition: condition.into(),
        };
        let answer = session.containers().await?.wait_container(request).await?.into_inner();
        Ok(answer.exit.map_or(0, |exit| exit.code).to_string())
    })
    .await
}
