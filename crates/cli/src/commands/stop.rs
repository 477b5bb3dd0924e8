//! `gantry stop`: the stop signal, a time to obey it, then SIGKILL.

use std::process::ExitCode;

use gantry_api::containers::v1::StopContainerRequest;

use super::each::each;
use crate::failure::Failure;
use crate::parse::time::seconds_ms;
use crate::session::Session;

/// Of `gantry restart` too.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Seconds until SIGKILL; -1 for never
    #[arg(short, long = "timeout", visible_alias = "time", value_name = "SECONDS", value_parser = seconds_ms,
          allow_hyphen_values = true)]
    pub(super) timeout_ms: Option<u64>,
    /// Signal to send instead of the container's own
    #[arg(short, long)]
    pub(super) signal: Option<String>,
    #[arg(required = true, value_name = "CONTAINER")]
    pub(super) containers: Vec<String>,
}

pub(crate) async fn run(args: Args, session: &Session) -> Result<ExitCode, Failure> {
    let (timeout_ms, signal) = (args.timeout_ms, &args.signal.unwrap_or_default());
    each(args.containers, |name| async move {
        let request = StopContainerRequest {
            namespace: session.namespace(),
            container: name.clone(),
            timeout_ms,
            signal: signal.clone(),
            request_id: String::new(),
        };
        session.containers().await?.stop_container(request).await?;
        Ok(name)
    })
    .await
}
