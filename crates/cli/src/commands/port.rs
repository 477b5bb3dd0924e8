//! `gantry port`: the published ports of a container, shown as docker does, added and taken back while it runs.

use std::process::ExitCode;

use gantry_api::containers::v1::GetContainerRequest;
use gantry_api::networks::v1::{AddPortsRequest, PublishedPort, RemovePortsRequest};

use crate::failure::Failure;
use crate::output;
use crate::parse::port::{exposed, published};
use crate::session::Session;
use crate::show::port::lines;

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[arg(required = true)]
    container: Option<String>,
    /// Only this one of the container's
    #[arg(value_name = "PORT[/PROTOCOL]")]
    port: Option<String>,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Publish further ports of a container, running or not
    Add(ChangeArgs),
    /// Take published ports back
    #[command(visible_alias = "remove")]
    Rm(ChangeArgs),
}

#[derive(Debug, clap::Args)]
struct ChangeArgs {
    container: String,
    #[arg(required = true, value_name = "[ADDRESS:][HOST:]CONTAINER[/PROTOCOL]", value_parser = published)]
    ports: Vec<PublishedPort>,
}

pub(crate) async fn run(args: Args, session: &Session) -> Result<ExitCode, Failure> {
    match args.command {
        Some(Command::Add(change)) => {
            let request = AddPortsRequest {
                namespace: session.namespace(),
                container: change.container,
                ports: change.ports,
                request_id: String::new(),
            };
            print(&session.networks().await?.add_ports(request).await?.into_inner().ports)?;
        }
        Some(Command::Rm(change)) => {
            let request = RemovePortsRequest {
                namespace: session.namespace(),
                container: change.container,
                ports: change.ports,
                request_id: String::new(),
            };
            session.networks().await?.remove_ports(request).await?;
        }
        None => return list(args.container.unwrap_or_default(), args.port.as_deref(), session).await,
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(container: String, port: Option<&str>, session: &Session) -> Result<ExitCode, Failure> {
    let wanted = port.map(exposed).transpose().map_err(Failure::new)?;
    let request = GetContainerRequest { namespace: session.namespace(), container: container.clone() };
    let answer = session.containers().await?.get_container(request).await?.into_inner();
    let ports = answer.container.unwrap_or_default().ports;
    let Some(wanted) = wanted else {
        print(&ports)?;
        return Ok(ExitCode::SUCCESS);
    };
    let of_port = lines(&ports)
        .into_iter()
        .filter(|line| line.protocol == wanted.protocol() && line.container_port == wanted.port);
    let mut any = false;
    for line in of_port {
        output::line(line.host)?;
        any = true;
    }
    if any {
        return Ok(ExitCode::SUCCESS);
    }
    Err(Failure::new(format!("no public port {:?} published for {container}", port.unwrap_or_default()))
        .hint(format!("'gantry port {container}' lists those that are")))
}

fn print(ports: &[PublishedPort]) -> Result<(), Failure> {
    for line in lines(ports) {
        output::line(format_args!("{} -> {}", line.container(), line.host))?;
    }
    Ok(())
}
