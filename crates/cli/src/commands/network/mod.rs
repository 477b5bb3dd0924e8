//! `gantry network`: networks, and containers' places on them.

mod connect;
mod create;
mod list;
mod remove;

use std::process::ExitCode;

use gantry_api::networks::v1::{GetNetworkRequest, Network, UpdateNetworkRequest};
use serde_json::Value;

use crate::failure::Failure;
use crate::output;
use crate::parse::pair::loose;
use crate::session::Session;
use crate::show::network::document;
use crate::show::template::Template;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Make a network
    Create(Box<create::Args>),
    /// List networks
    #[command(visible_alias = "list")]
    Ls(list::Args),
    /// Show everything about networks, their containers too
    Inspect(InspectArgs),
    /// Remove networks that nobody has a place on
    #[command(visible_alias = "remove")]
    Rm(remove::Args),
    /// Remove every network that nobody has a place on
    Prune(remove::PruneArgs),
    /// Give a container a place on a network, running or not
    Connect(connect::Args),
    /// Take a container's place on a network away
    Disconnect(connect::DisconnectArgs),
    /// Replace a network's labels
    Update(UpdateArgs),
}

#[derive(Debug, clap::Args)]
struct InspectArgs {
    /// Format: json or a template
    #[arg(short, long)]
    format: Option<String>,
    #[arg(required = true, value_name = "NETWORK")]
    networks: Vec<String>,
}

#[derive(Debug, clap::Args)]
struct UpdateArgs {
    /// Label from now on; without any it has none
    #[arg(short, long, value_name = "KEY[=VALUE]", value_parser = loose)]
    label: Vec<(String, String)>,
    network: String,
}

pub(crate) async fn run(args: Args, session: &Session) -> Result<ExitCode, Failure> {
    match args.command {
        Command::Create(args) => create::run(*args, session).await,
        Command::Ls(args) => list::run(args, session).await,
        Command::Inspect(args) => inspect(args, session).await,
        Command::Rm(args) => remove::run(args, session).await,
        Command::Prune(args) => remove::prune(args, session).await,
        Command::Connect(args) => connect::run(args, session).await,
        Command::Disconnect(args) => connect::disconnect(args, session).await,
        Command::Update(args) => update(args, session).await,
    }
}

async fn inspect(args: InspectArgs, session: &Session) -> Result<ExitCode, Failure> {
    let template = args.format.as_deref().map(Template::parse).transpose()?;
    let mut documents = Vec::new();
    let mut failed = false;
    for network in args.networks {
        let request = GetNetworkRequest { namespace: session.namespace(), network };
        match session.networks().await?.get_network(request).await.map_err(Failure::from) {
            Ok(answer) => documents.push(document(&answer.into_inner().network.unwrap_or_default())),
            Err(failure) => {
                failure.tell();
                failed = true;
            }
        }
    }
    match template {
        Some(template) => {
            for document in &documents {
                output::line(template.render(document)?)?;
            }
        }
        None => output::line(format_args!("{:#}", Value::Array(documents)))?,
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

async fn update(args: UpdateArgs, session: &Session) -> Result<ExitCode, Failure> {
    let request = UpdateNetworkRequest {
        namespace: session.namespace(),
        network: args.network,
        labels: args.label.into_iter().collect(),
    };
    let answer = session.networks().await?.update_network(request).await?.into_inner();
    let Network { name, .. } = answer.network.unwrap_or_default();
    output::line(name)?;
    Ok(ExitCode::SUCCESS)
}
