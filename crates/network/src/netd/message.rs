//! The protobuf messages of the files, and the way between them and [`record`](super::record). Addresses are 4 or 16
//! bytes.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use gantry_types::Protocol;
use ipnet::IpNet;

use super::record::{Endpoint, Network, Port, Ruleset};
use super::{NetdError, VERSION};

/// One kind of file.
pub(super) trait Record: Sized {
    /// Its protobuf form.
    type Message: prost::Message + Default;
    /// As a message.
    fn to_message(&self) -> Self::Message;
    /// From the message in the file at `path`, which an error names.
    fn from_message(message: Self::Message, path: &Path) -> Result<Self, NetdError>;
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct RulesetMessage {
    #[prost(uint32, tag = "1")]
    version: u32,
    #[prost(bytes = "vec", tag = "2")]
    rules: Vec<u8>,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct NetworkMessage {
    #[prost(uint32, tag = "1")]
    version: u32,
    #[prost(string, tag = "2")]
    id: String,
    #[prost(string, tag = "3")]
    name: String,
    #[prost(string, tag = "4")]
    bridge: String,
    #[prost(bytes = "vec", repeated, tag = "5")]
    gateways: Vec<Vec<u8>>,
    #[prost(message, repeated, tag = "6")]
    subnets: Vec<SubnetMessage>,
    #[prost(bool, tag = "7")]
    internal: bool,
    #[prost(bool, tag = "8")]
    dns: bool,
    #[prost(bytes = "vec", tag = "9")]
    rules: Vec<u8>,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct SubnetMessage {
    #[prost(bytes = "vec", tag = "1")]
    address: Vec<u8>,
    #[prost(uint32, tag = "2")]
    prefix: u32,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct EndpointMessage {
    #[prost(uint32, tag = "1")]
    version: u32,
    #[prost(string, tag = "2")]
    id: String,
    #[prost(string, tag = "3")]
    network: String,
    #[prost(string, tag = "4")]
    container: String,
    #[prost(bytes = "vec", repeated, tag = "5")]
    addresses: Vec<Vec<u8>>,
    #[prost(string, repeated, tag = "6")]
    names: Vec<String>,
    #[prost(message, repeated, tag = "7")]
    ports: Vec<PortMessage>,
    #[prost(message, repeated, tag = "8")]
    dns_servers: Vec<ServerMessage>,
    #[prost(bytes = "vec", tag = "9")]
    rules: Vec<u8>,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct PortMessage {
    #[prost(string, tag = "1")]
    name: String,
    /// As in the protocol field of an IP header.
    #[prost(uint32, tag = "2")]
    protocol: u32,
    #[prost(uint32, tag = "3")]
    number: u32,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct ServerMessage {
    #[prost(bytes = "vec", tag = "1")]
    address: Vec<u8>,
    #[prost(uint32, tag = "2")]
    port: u32,
}

impl Record for Ruleset {
    type Message = RulesetMessage;

    fn to_message(&self) -> RulesetMessage {
        RulesetMessage { version: VERSION, rules: self.rules.clone() }
    }

    fn from_message(message: RulesetMessage, path: &Path) -> Result<Self, NetdError> {
        check_version(message.version, path)?;
        Ok(Self { rules: message.rules })
    }
}

impl Record for Network {
    type Message = NetworkMessage;

    fn to_message(&self) -> NetworkMessage {
        let subnet = |subnet: &IpNet| SubnetMessage {
            address: octets(subnet.addr()),
            prefix: u32::from(subnet.prefix_len()),
        };
        NetworkMessage {
            version: VERSION,
            id: self.id.clone(),
            name: self.name.clone(),
            bridge: self.bridge.clone(),
            gateways: self.gateways.iter().copied().map(octets).collect(),
            subnets: self.subnets.iter().map(subnet).collect(),
            internal: self.internal,
            dns: self.dns,
            rules: self.rules.clone(),
        }
    }

    fn from_message(message: NetworkMessage, path: &Path) -> Result<Self, NetdError> {
        check_version(message.version, path)?;
        let field = |field| NetdError::Field { path: path.to_owned(), field };
        let subnet = |subnet: &SubnetMessage| {
            let prefix = u8::try_from(subnet.prefix).ok()?;
            IpNet::new(address(&subnet.address)?, prefix).ok()
        };
        Ok(Self {
            gateways: addresses(&message.gateways).ok_or_else(|| field("gateway"))?,
            subnets: message
                .subnets
                .iter()
                .map(subnet)
                .collect::<Option<_>>()
                .ok_or_else(|| field("subnet"))?,
            id: message.id,
            name: message.name,
            bridge: message.bridge,
            internal: message.internal,
            dns: message.dns,
            rules: message.rules,
        })
    }
}

impl Record for Endpoint {
    type Message = EndpointMessage;

    fn to_message(&self) -> EndpointMessage {
        let port = |port: &Port| PortMessage {
            name: port.name.clone(),
            protocol: protocol_number(port.protocol),
            number: u32::from(port.number),
        };
        let server = |server: &SocketAddr| ServerMessage {
            address: octets(server.ip()),
            port: u32::from(server.port()),
        };
        EndpointMessage {
            version: VERSION,
            id: self.id.clone(),
            network: self.network.clone(),
            container: self.container.clone(),
            addresses: self.addresses.iter().copied().map(octets).collect(),
            names: self.names.clone(),
            ports: self.ports.iter().map(port).collect(),
            dns_servers: self.dns_servers.iter().map(server).collect(),
            rules: self.rules.clone(),
        }
    }

    fn from_message(message: EndpointMessage, path: &Path) -> Result<Self, NetdError> {
        check_version(message.version, path)?;
        let field = |field| NetdError::Field { path: path.to_owned(), field };
        let server = |server: &ServerMessage| {
            Some(SocketAddr::new(address(&server.address)?, u16::try_from(server.port).ok()?))
        };
        let ports = message.ports.into_iter().map(port).collect::<Option<_>>();
        let servers = message.dns_servers.iter().map(server).collect::<Option<_>>();
        Ok(Self {
            addresses: addresses(&message.addresses).ok_or_else(|| field("address"))?,
            ports: ports.ok_or_else(|| field("port"))?,
            dns_servers: servers.ok_or_else(|| field("dns server"))?,
            id: message.id,
            network: message.network,
            container: message.container,
            names: message.names,
            rules: message.rules,
        })
    }
}

pub(super) fn check_version(found: u32, path: &Path) -> Result<(), NetdError> {
    if (1..=VERSION).contains(&found) {
        return Ok(());
    }
    Err(NetdError::Version { path: path.to_owned(), found })
}

pub(super) fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

pub(super) fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
        _ => None,
    }
}

fn addresses(list: &[Vec<u8>]) -> Option<Vec<IpAddr>> {
    list.iter().map(|bytes| address(bytes)).collect()
}

fn port(message: PortMessage) -> Option<Port> {
    Some(Port {
        protocol: protocol(message.protocol)?,
        number: u16::try_from(message.number).ok()?,
        name: message.name,
    })
}

fn protocol_number(protocol: Protocol) -> u32 {
    match protocol {
        Protocol::Tcp => 6,
        Protocol::Udp => 17,
        Protocol::Sctp => 132,
    }
}

fn protocol(number: u32) -> Option<Protocol> {
    match number {
        6 => Some(Protocol::Tcp),
        17 => Some(Protocol::Udp),
        132 => Some(Protocol::Sctp),
        _ => None,
    }
}
