//! `gantry restart`: stop as `gantry stop` does, with its flags, then start.

use std::process::ExitCode;

use gantry_api::containers::v1::RestartContainerRequest;

use super::each::each;
use super::stop::Args;
use crate::failure::Failure;
use crate::session::Session;

pub(crate) async fn run(args: Args, session: &Session) -> Result<ExitCode, Failure> {
    let (timeout_ms, signal) = (args.timeout_ms, &args.signal.unwrap_or_default());
    each(args.containers, |name| async move {
        let request = RestartContainerRequest {
            namespace: session.namespace(),
            container: name.clone(),
            timeout_ms,
            signal: signal.clone(),
            request_id: String::new(),
        };
        session.containers().await?.restart_container(request).await?;
        Ok(name)
    })
    .await
}
