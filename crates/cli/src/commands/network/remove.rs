//! `gantry network rm` and `gantry network prune`.

use std::process::ExitCode;

use gantry_api::networks::v1::{PruneNetworksRequest, RemoveNetworkRequest};

use super::list::FILTERS;
use crate::commands::each::each;
use crate::failure::Failure;
use crate::output;
use crate::parse::filter::filter;
use crate::session::Session;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// No failure when there is none
    #[arg(short, long)]
    force: bool,
    #[arg(required = true, value_name = "NETWORK")]
    networks: Vec<String>,
}

#[derive(Debug, clap::Args)]
pub(super) struct PruneArgs {
    /// Accepted for docker's sake: nothing is asked
    #[arg(short, long)]
    force: bool,
    /// Only those with: id, name, driver, label
    #[arg(long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
}

pub(super) async fn run(args: Args, session: &Session) -> Result<ExitCode, Failure> {
    let force = args.force;
    each(args.networks, |name| async move {
        let request = RemoveNetworkRequest {
            namespace: session.namespace(),
            network: name.clone(),
            request_id: String::new(),
        };
        match session.networks().await?.remove_network(request).await.map_err(Failure::from) {
            Ok(_) => Ok(name),
            Err(failure) if force && failure.is_not_found() => Ok(String::new()),
            Err(failure) => Err(failure),
        }
    })
    .await
}

pub(super) async fn prune(args: PruneArgs, session: &Session) -> Result<ExitCode, Failure> {
    let request =
        PruneNetworksRequest { namespace: session.namespace(), filter: filter(&args.filter, &FILTERS)? };
    let answer = session.networks().await?.prune_networks(request).await?.into_inner();
    for name in answer.removed {
        output::line(name)?;
    }
    Ok(ExitCode::SUCCESS)
}
