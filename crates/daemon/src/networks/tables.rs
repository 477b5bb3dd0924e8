//! Rows of networks: what each is, who has a place on it, and who holds which address and which port of the
//! host. An address is taken in the transaction that makes the place, and given back in the one that
//! takes it away; so it stays while a container is stopped, and no two ever have it. Everything here outlives a reboot;
//! what the kernel has of it is made when it is used.
//!
//! ```text
//! networks       id                              NetworkRecord
//! network_names  (namespace, name)               NetworkId
//! endpoints      (owner's id, network)           EndpointRecord
//! addresses      (network, address)              owner's id; by the place's id where addresses are a driver's
//! published      owner's id                      its PublishedPorts, with numbers
//! host_ports     (protocol, first, host address) HostPortRow; and where it goes on, see [`super::taken`]
//! sandboxes      (namespace, id)                 SandboxRecord
//! ```
//!
//! What drivers were asked for is in [`super::attachment`].

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use gantry_store::Table;
use gantry_types::{
    ContainerId, EndpointId, EndpointOptions, InterfaceName, Labels, MacAddress, Namespace, NetworkId,
    NetworkName, NetworkOptions, PortRange, PublishedPort, SandboxId,
};
use serde::{Deserialize, Serialize};

use super::driver::Abilities;

pub(crate) const NETWORKS: Table<NetworkId, NetworkRecord> = Table::new("networks");
pub(crate) const NETWORK_NAMES: Table<(Namespace, NetworkName), NetworkId> = Table::new("network_names");
pub(crate) const ENDPOINTS: Table<(String, NetworkId), EndpointRecord> = Table::new("endpoints");
pub(crate) const ADDRESSES: Table<(NetworkId, String), String> = Table::new("addresses");
pub(crate) const PUBLISHED: Table<String, Vec<PublishedPort>> = Table::new("published");
pub(crate) const HOST_PORTS: Table<(String, u64, String), HostPortRow> = Table::new("host_ports");
pub(crate) const SANDBOXES: Table<(Namespace, SandboxId), SandboxRecord> = Table::new("sandboxes");

/// A network, everything that was left open filled in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NetworkRecord {
    pub namespace: Namespace,
    pub id: NetworkId,
    pub name: NetworkName,
    /// Each family that it has, has a subnet here with a gateway, but for networks on a host link without one.
    pub options: NetworkOptions,
    /// The bridge's name; `None` for networks on a host link.
    pub bridge: Option<InterfaceName>,
    pub is_default: bool,
    /// What its driver can do, where the links are a driver's.
    #[serde(default)]
    pub abilities: Abilities,
    pub created_unix_ns: i64,
}

impl NetworkRecord {
    /// Whether links and addresses are a driver's to make.
    pub(crate) fn is_foreign(&self) -> bool {
        self.options.driver.is_foreign()
    }

    /// Whether ports of the host can lead to its places.
    pub(crate) fn has_way_in(&self) -> bool {
        !self.options.internal && (self.bridge.is_some() || self.abilities.ports)
    }
}

/// Who has a place.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Owner {
    Container(Namespace, ContainerId),
    Sandbox(Namespace, SandboxId),
}

impl Owner {
    /// The text that its rows are found by.
    pub(crate) fn key(&self) -> String {
        match self {
            Self::Container(_, id) => id.to_string(),
            Self::Sandbox(_, id) => id.to_string(),
        }
    }

    /// Whose it is.
    pub(crate) fn namespace(&self) -> &Namespace {
        match self {
            Self::Container(namespace, _) | Self::Sandbox(namespace, _) => namespace,
        }
    }
}

/// A place on a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct EndpointRecord {
    pub id: EndpointId,
    pub owner: Owner,
    pub network: NetworkId,
    pub ipv4: Option<Ipv4Addr>,
    pub ipv6: Option<Ipv6Addr>,
    pub mac: MacAddress,
    /// The link's name inside.
    pub interface: InterfaceName,
    /// Its rank among the owner's, as they were asked for.
    pub rank: u32,
    pub options: EndpointOptions,
}

impl EndpointRecord {
    /// Both, IPv4 first.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = IpAddr> + use<> {
        self.ipv4.map(IpAddr::V4).into_iter().chain(self.ipv6.map(IpAddr::V6))
    }
}

/// Ports of the host that somebody has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HostPortRow {
    pub owner: Owner,
    pub ports: PortRange,
}

/// A sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SandboxRecord {
    pub namespace: Namespace,
    pub id: SandboxId,
    pub labels: Labels,
    pub hostname: String,
    pub created_unix_ns: i64,
}

/// A hardware address made of a random id, for links without an address of their own to be made of; `number` tells
/// several of one id apart.
pub(crate) fn mac_of_id(id: &str, number: u8) -> MacAddress {
    let byte = |index: usize| u8::from_str_radix(&id[index * 2..index * 2 + 2], 16);
    let mut octets: [u8; 6] = std::array::from_fn(|index| byte(index).expect("an id is hex digits"));
    octets[5] = octets[5].wrapping_add(number);
    MacAddress::local(octets)
}
