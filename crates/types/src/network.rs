//! What a caller asks of a network, and of a container's place in it, in domain terms. Stored as it is and
//! checked for form where it enters; whether an address is free or a subnet clashes is the daemon's to say.
//! Deliberately absent: how any of it is done (netlink, nftables), which is the network crate's.

mod interface;
mod port;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

pub use interface::{InterfaceName, InterfaceNameError, MacAddress, MacAddressError};
pub use port::{ExposedPort, PortError, PortRange, Protocol, PublishedPort};

use crate::Labels;

/// The default network as people call it; its bridge is `gantry0`.
pub const DEFAULT_NETWORK: &str = "bridge";
/// The bridge of the default network.
pub const DEFAULT_BRIDGE: &str = "gantry0";

/// What makes a network a network.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NetworkDriver {
    /// A Linux bridge of its own, reached from outside through address translation.
    #[default]
    Bridge,
    /// Links with addresses of their own on a host link, by MAC address.
    Macvlan,
    /// Links with addresses of their own on a host link, sharing its MAC address.
    Ipvlan,
    /// Links that CNI plugins make.
    Cni,
    /// Links that another program makes.
    External,
}

impl NetworkDriver {
    /// Its name as people write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bridge => "bridge",
            Self::Macvlan => "macvlan",
            Self::Ipvlan => "ipvlan",
            Self::Cni => "cni",
            Self::External => "external",
        }
    }

    /// Whether links and addresses are somebody else's to make.
    pub fn is_foreign(self) -> bool {
        match self {
            Self::Cni | Self::External => true,
            Self::Bridge | Self::Macvlan | Self::Ipvlan => false,
        }
    }
}

/// Everything asked of a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NetworkOptions {
    /// What makes it.
    pub driver: NetworkDriver,
    /// Whether endpoints get an IPv4 address.
    pub ipv4: bool,
    /// Whether endpoints get an IPv6 address.
    pub ipv6: bool,
    /// At most one for each family; one that is missing is taken from the configured pools.
    pub subnets: Vec<Subnet>,
    /// Whether nothing goes in or out but between its own endpoints.
    pub internal: bool,
    /// Bytes of a packet at the most; `None` means the configured default.
    pub mtu: Option<u32>,
    /// What only bridges have.
    pub bridge: BridgeOptions,
    /// What only macvlan and ipvlan have.
    pub parent: ParentOptions,
    /// What only CNI networks have.
    pub cni: CniOptions,
    /// What only networks of external drivers have.
    pub external: ExternalOptions,
    /// The caller's labels; the only thing that may change later.
    pub labels: Labels,
}

impl Default for NetworkOptions {
    fn default() -> Self {
        Self {
            driver: NetworkDriver::default(),
            ipv4: true,
            ipv6: false,
            subnets: Vec::new(),
            internal: false,
            mtu: None,
            bridge: BridgeOptions::default(),
            parent: ParentOptions::default(),
            cni: CniOptions::default(),
            external: ExternalOptions::default(),
            labels: Labels::new(),
        }
    }
}

/// Addresses of a network, of one family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Subnet {
    /// All of them, with no bit set behind the prefix.
    pub prefix: IpNet,
    /// The bridge's own address; `None` means the first usable one.
    pub gateway: Option<IpAddr>,
    /// The part that endpoints are given addresses from when they ask for none; `None` means all of it.
    pub range: Option<IpNet>,
}

/// What is asked of a bridge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BridgeOptions {
    /// The link's name; `None` means one made of the network's id.
    pub name: Option<InterfaceName>,
    /// Whether its endpoints may talk to each other.
    pub inter_container: bool,
    /// Whether packets that leave it get the host's address.
    pub masquerade: bool,
    /// Host address that ports are published on when the request names none; `None` means all.
    pub host_address: Option<IpAddr>,
}

impl Default for BridgeOptions {
    fn default() -> Self {
        Self { name: None, inter_container: true, masquerade: true, host_address: None }
    }
}

/// What is asked of a network on a host link.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ParentOptions {
    /// The host link; needed by macvlan and ipvlan.
    pub link: Option<InterfaceName>,
    /// How endpoints see each other; `None` means `bridge` of macvlan, `l2` of ipvlan.
    pub mode: Option<ParentMode>,
}

/// What is asked of a CNI network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CniOptions {
    /// The configuration's name. In a request without a configuration the one to look for.
    pub name: String,
    /// The configuration, in JSON; in a request empty for one to be looked for.
    pub configuration: String,
}

/// What is asked of a network of an external driver.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ExternalOptions {
    /// The driver's name in the daemon's configuration.
    pub driver: String,
    /// What the driver is given.
    pub options: BTreeMap<String, String>,
}

/// Modes of macvlan and ipvlan links (ip-link(8)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ParentMode {
    /// macvlan: endpoints talk to each other directly.
    Bridge,
    /// macvlan: endpoints never talk to each other.
    Private,
    /// macvlan: what endpoints say to each other goes through the switch outside.
    Vepa,
    /// macvlan: one endpoint has the host link to itself.
    Passthru,
    /// ipvlan: a switch on addresses.
    L2,
    /// ipvlan: a router.
    L3,
    /// ipvlan: a router whose packets pass the host's connection tracking.
    L3s,
}

/// Which network a container gets.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NetworkMode {
    /// A network namespace of its own with nothing but loopback.
    #[default]
    None,
    /// The host's network namespace.
    Host,
    /// Another container's. In a request its name, id or the beginning of its id; in the store the id.
    Container(String),
    /// That of a sandbox. In a request its id or the beginning of it; in the store the id.
    Sandbox(String),
    /// A namespace of its own, with an endpoint on each of these; never empty. The order is that of the links.
    Networks(Vec<NetworkAttachment>),
}

impl NetworkMode {
    /// Whether the container has a network namespace to itself.
    pub fn is_private(&self) -> bool {
        match self {
            Self::None | Self::Networks(_) => true,
            Self::Host | Self::Container(_) | Self::Sandbox(_) => false,
        }
    }

    /// The networks asked for.
    pub fn attachments(&self) -> &[NetworkAttachment] {
        match self {
            Self::Networks(attachments) => attachments,
            Self::None | Self::Host | Self::Container(_) | Self::Sandbox(_) => &[],
        }
    }
}

/// A place on one network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkAttachment {
    /// Which one. In a request its name, id or the beginning of its id; in the store the id.
    pub network: String,
    /// What is asked of the place.
    #[serde(default)]
    pub options: EndpointOptions,
}

/// What is asked of a container's place on one network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EndpointOptions {
    /// Further names that resolve to it on this network, each a name of [`is_dns_name`].
    pub aliases: Vec<String>,
    /// The IPv4 address; `None` means a free one.
    pub ipv4: Option<Ipv4Addr>,
    /// The IPv6 address; `None` means a free one.
    pub ipv6: Option<Ipv6Addr>,
    /// The link's hardware address; `None` means one made of the endpoint's id.
    pub mac: Option<MacAddress>,
    /// The link's name inside; `None` means the first free `eth<n>`.
    pub interface: Option<InterfaceName>,
    /// The default route goes to the network of the highest; among equals to the first that has a way out.
    pub gateway_priority: i32,
}

/// Whether `text` can be a host name in `/etc/hosts` and in DNS: labels of 1 to 63 letters, digits, `-` and
/// `_`, joined by dots, at most 253 bytes. The underscore is against RFC 1123 and in daily use.
pub fn is_dns_name(text: &str) -> bool {
    text.len() <= 253
        && text.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_break_a_hosts_file_is_no_name() {
        for text in ["", ".", "a..b", "a b", "a\nb", "a\tb", "#a", "-a", "a-", "é", "a.", "a\0"] {
            assert!(!is_dns_name(text), "{text:?}");
        }
        for text in ["db", "my_db", "a.b.c", "0a", "x--y"] {
            assert!(is_dns_name(text), "{text:?}");
        }
    }

    #[test]
    fn rows_of_older_releases_are_read() {
        let read = |text: &str| serde_json::from_str::<NetworkMode>(text).expect("it was valid");
        assert_eq!(read("\"none\""), NetworkMode::None);
        assert_eq!(read("\"host\""), NetworkMode::Host);
    }
}
