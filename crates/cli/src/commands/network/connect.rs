//! `gantry network connect` and `gantry network disconnect`.

use std::process::ExitCode;

use gantry_api::networks::v1::{
    ConnectContainerRequest, DisconnectContainerRequest, EndpointOptions, NetworkAttachment,
};

use crate::failure::Failure;
use crate::session::Session;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Further name there
    #[arg(long, value_name = "NAME")]
    alias: Vec<String>,
    /// IPv4 address
    #[arg(long, value_name = "ADDRESS")]
    ip: Option<String>,
    /// IPv6 address
    #[arg(long, value_name = "ADDRESS")]
    ip6: Option<String>,
    /// Hardware address
    #[arg(long, value_name = "ADDRESS")]
    mac_address: Option<String>,
    /// Name of the link inside
    #[arg(long, value_name = "LINK")]
    interface: Option<String>,
    /// The default route goes to the network of the highest
    #[arg(long, value_name = "NUMBER", default_value_t = 0, allow_negative_numbers = true)]
    gw_priority: i32,
    network: String,
    container: String,
}

#[derive(Debug, clap::Args)]
pub(super) struct DisconnectArgs {
    /// No failure when it has no place there
    #[arg(short, long)]
    force: bool,
    network: String,
    container: String,
}

pub(super) async fn run(args: Args, session: &Session) -> Result<ExitCode, Failure> {
    let options = EndpointOptions {
        aliases: args.alias,
        ipv4: args.ip.unwrap_or_default(),
        ipv6: args.ip6.unwrap_or_default(),
        mac: args.mac_address.unwrap_or_default(),
        interface: args.interface.unwrap_or_default(),
        gateway_priority: args.gw_priority,
    };
    let request = ConnectContainerRequest {
        namespace: session.namespace(),
        container: args.container,
        attachment: Some(NetworkAttachment { network: args.network, options: Some(options) }),
        request_id: String::new(),
    };
    session.networks().await?.connect_container(request).await?;
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn disconnect(args: DisconnectArgs, session: &Session) -> Result<ExitCode, Failure> {
    let request = DisconnectContainerRequest {
        namespace: session.namespace(),
        container: args.container,
        network: args.network,
        request_id: String::new(),
    };
    match session.networks().await?.disconnect_container(request).await.map_err(Failure::from) {
        Ok(_) => Ok(ExitCode::SUCCESS),
        Err(failure) if args.force && failure.is_not_found() => Ok(ExitCode::SUCCESS),
        Err(failure) => Err(failure),
    }
}
