//! What can be wrong with what is asked of networks. What the kernel refuses has words of its own, the network
//! crate's.

use std::net::IpAddr;

use gantry_types::{Class, Classified, PortRange, Protocol, Resource};
use ipnet::IpNet;

/// Why a network, a place on one or a port cannot be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NetworkProblem {
    #[error("no network {text:?} in namespace {namespace:?}")]
    NotFound { text: String, namespace: String },
    #[error("{text:?} is the beginning of several network ids")]
    Ambiguous { text: String },
    #[error("network name {name} is taken")]
    NameTaken { name: String },
    #[error("network {name} has {endpoints} endpoints")]
    InUse { name: String, endpoints: usize },
    #[error("network {name} is the default network")]
    IsDefault { name: String },
    #[error("subnet {prefix} overlaps {other}, which {holder} has")]
    SubnetOverlaps { prefix: IpNet, other: IpNet, holder: String },
    #[error("subnet {prefix} has no room for a gateway and an endpoint")]
    SubnetTooSmall { prefix: IpNet },
    #[error("no configured pool has a free subnet")]
    PoolsExhausted,
    #[error("link {link} is the bridge of network {name}")]
    LinkTaken { link: String, name: String },
    #[error("network {name} has no free address in {prefix}")]
    AddressesExhausted { name: String, prefix: IpNet },
    #[error("address {address} of network {name} is taken")]
    AddressInUse { address: IpAddr, name: String },
    #[error("address {address} is none that an endpoint of network {name} can have")]
    AddressOutside { address: IpAddr, name: String },
    #[error("there are two places on network {name}")]
    EndpointExists { name: String },
    #[error("there is no place on network {name}")]
    EndpointNotFound { name: String },
    #[error("link name {interface} is taken in the container")]
    InterfaceTaken { interface: String },
    #[error("port {ports}/{protocol} of the host is taken by {holder}")]
    PortInUse { ports: PortRange, protocol: Protocol, holder: String },
    #[error("no free port of the host is left for {count} of {protocol}")]
    PortsExhausted { count: u32, protocol: Protocol },
    #[error("ports cannot be published: {why}")]
    NoWayIn { why: &'static str },
    #[error("port {port} is not published")]
    PortNotFound { port: String },
    #[error("the container shares the network of {what}")]
    Shared { what: &'static str },
    #[error("container {name}, whose network is to be shared, does not run")]
    PeerNotRunning { name: String },
    #[error("container {name} has no network namespace of its own to share")]
    PeerHasNone { name: String },
    #[error("no sandbox {text:?} in namespace {namespace:?}")]
    SandboxNotFound { text: String, namespace: String },
    #[error("sandbox {id} is used by container {container}")]
    SandboxInUse { id: String, container: String },
    #[error("the networks of this network namespace are another daemon's{}", by(holder.as_deref()))]
    NamespaceTaken { holder: Option<String> },
    #[error("a network namespace cannot be {action}")]
    NamespaceFile { action: &'static str, source: std::io::Error },
    #[error("gantry-netd runs on as process {pid}")]
    NetdStays { pid: u32 },
}

/// Whose it is, where it says so.
fn by(holder: Option<&str>) -> String {
    holder.map(|holder| format!(": {holder}")).unwrap_or_default()
}

impl NetworkProblem {
    fn verdict(&self) -> (Class, &'static str) {
        match self {
            Self::NotFound { .. } => (Class::NotFound, "NETWORK_NOT_FOUND"),
            Self::Ambiguous { .. } => (Class::FailedPrecondition, "NETWORK_AMBIGUOUS"),
            Self::NameTaken { .. } => (Class::AlreadyExists, "NETWORK_NAME_TAKEN"),
            Self::InUse { .. } => (Class::FailedPrecondition, "NETWORK_IN_USE"),
            Self::IsDefault { .. } => (Class::FailedPrecondition, "NETWORK_DEFAULT"),
            Self::SubnetOverlaps { .. } => (Class::FailedPrecondition, "SUBNET_OVERLAPS"),
            Self::SubnetTooSmall { .. } => (Class::InvalidArgument, "SUBNET_TOO_SMALL"),
            Self::PoolsExhausted => (Class::ResourceExhausted, "POOLS_EXHAUSTED"),
            Self::LinkTaken { .. } => (Class::AlreadyExists, "LINK_TAKEN"),
            Self::AddressesExhausted { .. } => (Class::ResourceExhausted, "ADDRESSES_EXHAUSTED"),
            Self::AddressInUse { .. } => (Class::FailedPrecondition, "ADDRESS_IN_USE"),
            Self::AddressOutside { .. } => (Class::InvalidArgument, "ADDRESS_OUTSIDE_SUBNET"),
            Self::EndpointExists { .. } => (Class::AlreadyExists, "ENDPOINT_EXISTS"),
            Self::EndpointNotFound { .. } => (Class::NotFound, "ENDPOINT_NOT_FOUND"),
            Self::InterfaceTaken { .. } => (Class::AlreadyExists, "INTERFACE_TAKEN"),
            Self::PortInUse { .. } => (Class::FailedPrecondition, "PORT_IN_USE"),
            Self::PortsExhausted { .. } => (Class::ResourceExhausted, "PORTS_EXHAUSTED"),
            Self::NoWayIn { .. } => (Class::FailedPrecondition, "NO_WAY_IN"),
            Self::PortNotFound { .. } => (Class::NotFound, "PORT_NOT_FOUND"),
            Self::Shared { .. } => (Class::FailedPrecondition, "NETWORK_MODE"),
            Self::PeerNotRunning { .. } | Self::PeerHasNone { .. } => {
                (Class::FailedPrecondition, "NETWORK_CONTAINER")
            }
            Self::SandboxNotFound { .. } => (Class::NotFound, "SANDBOX_NOT_FOUND"),
            Self::SandboxInUse { .. } => (Class::FailedPrecondition, "SANDBOX_IN_USE"),
            Self::NamespaceTaken { .. } => (Class::FailedPrecondition, "NETWORK_NAMESPACE_TAKEN"),
            Self::NamespaceFile { .. } => (Class::Internal, "NETWORK_NAMESPACE"),
            Self::NetdStays { .. } => (Class::FailedPrecondition, "NETD_STAYS"),
        }
    }
}

impl Classified for NetworkProblem {
    fn class(&self) -> Class {
        self.verdict().0
    }

    fn reason(&self) -> &'static str {
        self.verdict().1
    }

    fn resource(&self) -> Option<Resource> {
        let (kind, name) = match self {
            Self::NotFound { text, .. } | Self::Ambiguous { text } => ("network", text.clone()),
            Self::NameTaken { name }
            | Self::InUse { name, .. }
            | Self::IsDefault { name }
            | Self::LinkTaken { name, .. }
            | Self::AddressesExhausted { name, .. }
            | Self::AddressInUse { name, .. }
            | Self::AddressOutside { name, .. }
            | Self::EndpointExists { name }
            | Self::EndpointNotFound { name } => ("network", name.clone()),
            Self::PeerNotRunning { name } | Self::PeerHasNone { name } => ("container", name.clone()),
            Self::SandboxNotFound { text, .. } => ("sandbox", text.clone()),
            Self::SandboxInUse { id, .. } => ("sandbox", id.clone()),
            Self::PortNotFound { port } => ("port", port.clone()),
            Self::SubnetOverlaps { .. }
            | Self::SubnetTooSmall { .. }
            | Self::PoolsExhausted
            | Self::InterfaceTaken { .. }
            | Self::PortInUse { .. }
            | Self::PortsExhausted { .. }
            | Self::NoWayIn { .. }
            | Self::Shared { .. }
            | Self::NamespaceTaken { .. }
            | Self::NamespaceFile { .. }
            | Self::NetdStays { .. } => return None,
        };
        Some(Resource { kind, name })
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NotFound { text, .. } => {
                format!("`gantry network ls` lists all networks; `gantry network create {text}` makes it")
            }
            Self::Ambiguous { .. } => "give more digits, or the name".into(),
            Self::NameTaken { name } => {
                format!("choose another name, or remove the other: `gantry network rm {name}`")
            }
            Self::InUse { name, .. } => {
                format!("`gantry network inspect {name}` tells whose they are; remove or disconnect them first")
            }
            Self::IsDefault { .. } => "it takes up nothing that is not used".into(),
            Self::SubnetOverlaps { .. } => "choose another subnet, or none to be given a free one".into(),
            Self::PoolsExhausted => {
                "remove networks that are not used: `gantry network prune`, or configure more: networks.ipv4_pools"
                    .into()
            }
            Self::AddressesExhausted { .. } => "remove containers, or use a network with a larger subnet".into(),
            Self::AddressOutside { .. } => "leave it out to be given a free one".into(),
            Self::PortInUse { .. } => "choose another port, or leave the host's port out to be given a free one".into(),
            Self::NoWayIn { .. } => "connect it to a bridge network that is not internal".into(),
            Self::PortNotFound { .. } => "`gantry port CONTAINER` lists those that are".into(),
            Self::Shared { .. } => "connect or publish on the one that has it".into(),
            Self::PeerNotRunning { name } => format!("start it first: `gantry start {name}`"),
            Self::SandboxInUse { container, .. } => {
                format!("remove the container first: `gantry rm {container}`")
            }
            Self::NetdStays { .. } => "stop what starts it again, such as systemd's gantry-netd.service".into(),
            Self::NamespaceTaken { .. } => {
                "one daemon has the bridges and the nftables table of a network namespace: run this one in a namespace \
                 of its own (`ip netns add NAME`, `ip netns exec NAME gantryd`), or remove the other's containers, \
                 stop it, and have it give them up (`gantryd networks reset`)"
                    .into()
            }
            Self::SubnetTooSmall { .. }
            | Self::LinkTaken { .. }
            | Self::AddressInUse { .. }
            | Self::EndpointExists { .. }
            | Self::EndpointNotFound { .. }
            | Self::InterfaceTaken { .. }
            | Self::PortsExhausted { .. }
            | Self::PeerHasNone { .. }
            | Self::SandboxNotFound { .. }
            | Self::NamespaceFile { .. } => return None,
        })
    }
}
