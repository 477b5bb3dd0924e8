//! What the files say, in types. Ids are text here: whoever writes them has parsed them, and for netd they are names of
//! files and nothing more.

use std::net::{IpAddr, SocketAddr};

use gantry_types::Protocol;
use ipnet::IpNet;

/// What the nftables table has before there is any network: its sets, maps, base chains and their rules.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ruleset {
    /// Encoded nf_tables messages; see [`crate::netd`].
    pub rules: Vec<u8>,
}

/// A network that is up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// Its id, the file's name.
    pub id: String,
    /// Its name: `<container>.<name>` resolves, and reverse look-ups answer so.
    pub name: String,
    /// The bridge's interface, that the listeners are bound to; empty where there is none and nothing can be listened on.
    pub bridge: String,
    /// The host's own addresses on the bridge, IPv4 and IPv6: what netd listens on.
    pub gateways: Vec<IpAddr>,
    /// Its subnets. A query from outside them gets no answer.
    pub subnets: Vec<IpNet>,
    /// Whether there is no way out: then no query of a container that is on internal networks alone leaves the machine.
    pub internal: bool,
    /// Whether netd answers on this network at all.
    pub dns: bool,
    /// Encoded nf_tables messages; see [`crate::netd`].
    pub rules: Vec<u8>,
}

/// A container's place on a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Its id, the file's name.
    pub id: String,
    /// The network's id. An endpoint whose network has no file is known to nobody.
    pub network: String,
    /// The container's id: endpoints of one container see the names of all its networks.
    pub container: String,
    /// Its addresses, of either family.
    pub addresses: Vec<IpAddr>,
    /// What it is called on this network: the container's name first (reverse look-ups answer with it), then aliases,
    /// short id, id, service name. A name that several endpoints have is answered with all of them, in turn. What is no
    /// [`name`](super::is_name) is passed over.
    pub names: Vec<String>,
    /// Ports that it serves, for SRV queries.
    pub ports: Vec<Port>,
    /// Whom to ask instead of the host's resolvers; empty means the host's.
    pub dns_servers: Vec<SocketAddr>,
    /// Encoded nf_tables messages; see [`crate::netd`].
    pub rules: Vec<u8>,
}

/// A port that a container serves: `_<name>._<protocol>.<container>`, and `_<number>._<protocol>.<container>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// The service's name; empty where it has none but its number.
    pub name: String,
    /// The protocol.
    pub protocol: Protocol,
    /// The port's number.
    pub number: u16,
}
