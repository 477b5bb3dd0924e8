//! To which daemon and in which namespace a command speaks. The connection is made at the first call, so that
//! a command that fails before it never opens one.

use clap::Args;
use gantry_api::connect::{self, Address};
use gantry_api::containers::v1::container_service_client::ContainerServiceClient;
use gantry_api::events::v1::event_service_client::EventServiceClient;
use gantry_api::images::v1::image_service_client::ImageServiceClient;
use gantry_api::networks::v1::network_service_client::NetworkServiceClient;
use gantry_api::system::v1::system_service_client::SystemServiceClient;
use gantry_types::MESSAGE_BYTES_MAX;
use tokio::sync::OnceCell;
use tonic::transport::Channel;

use crate::failure::Failure;
use crate::tls::Tls;

/// Flags that every command takes.
#[derive(Debug, Args)]
pub(crate) struct Connection {
    /// Address of the daemon: unix:///path or tcp://host:port [env: GANTRY_HOST]
    #[arg(short = 'H', long, global = true, value_name = "ADDRESS")]
    host: Option<String>,
    /// Namespace of containers and images; -n before the command [env: GANTRY_NAMESPACE] [default: default]
    #[arg(long, global = true, value_name = "NAME")]
    namespace: Option<String>,
    /// The same, before the command only: some commands have a -n of docker's.
    #[arg(short = 'n', value_name = "NAME", hide = true, conflicts_with = "namespace")]
    namespace_short: Option<String>,
    #[command(flatten)]
    tls: Tls,
}

/// One command's connection.
#[derive(Debug)]
pub(crate) struct Session {
    connection: Connection,
    namespace: String,
    channel: OnceCell<Channel>,
}

impl Session {
    pub(crate) fn new(connection: Connection) -> Self {
        let given = connection.namespace.as_ref().or(connection.namespace_short.as_ref()).cloned();
        let namespace = given.or_else(|| variable("GANTRY_NAMESPACE")).unwrap_or_default();
        Self { connection, namespace, channel: OnceCell::new() }
    }

    /// The namespace of every request; empty means the daemon's default.
    pub(crate) fn namespace(&self) -> String {
        self.namespace.clone()
    }

    pub(crate) async fn containers(&self) -> Result<ContainerServiceClient<Channel>, Failure> {
        Ok(ContainerServiceClient::new(self.channel().await?)
            .max_decoding_message_size(4 * MESSAGE_BYTES_MAX))
    }

    pub(crate) async fn images(&self) -> Result<ImageServiceClient<Channel>, Failure> {
        Ok(ImageServiceClient::new(self.channel().await?).max_decoding_message_size(4 * MESSAGE_BYTES_MAX))
    }

    pub(crate) async fn networks(&self) -> Result<NetworkServiceClient<Channel>, Failure> {
        Ok(NetworkServiceClient::new(self.channel().await?))
    }

    pub(crate) async fn events(&self) -> Result<EventServiceClient<Channel>, Failure> {
        Ok(EventServiceClient::new(self.channel().await?))
    }

    pub(crate) async fn system(&self) -> Result<SystemServiceClient<Channel>, Failure> {
        Ok(SystemServiceClient::new(self.channel().await?))
    }

    async fn channel(&self) -> Result<Channel, Failure> {
        self.channel.get_or_try_init(|| self.connect()).await.cloned()
    }

    async fn connect(&self) -> Result<Channel, Failure> {
        let host = self.connection.host.clone().or_else(|| variable("GANTRY_HOST"));
        let address: Address = match host {
            Some(text) => text.parse()?,
            None => Address::Unix(connect::DEFAULT_SOCKET.into()),
        };
        let tls = match &address {
            Address::Unix(_) => None,
            Address::Tcp(_) => Some(self.connection.tls.materials(&address.to_string())?),
        };
        Ok(connect::connect(&address, tls.as_ref()).await?)
    }
}

/// An environment variable that is set and not empty.
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
