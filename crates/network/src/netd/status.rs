//! What netd says of itself, for `gantryd` to show: where it listens and why it does not, how often it has put the rules
//! back, and what it had to leave out. Written when something of it changes, never in between.

use std::net::SocketAddr;
use std::path::Path;

use prost::Message as _;

use super::NetdError;
use super::message::{Record, address, check_version, octets};

/// A netd's account of itself. It is true while [`super::running`] gives its pid.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    /// Its process id.
    pub pid: u32,
    /// Every address of every network that has DNS.
    pub listeners: Vec<ListenerStatus>,
    /// How often it put the rules back, since its start; the one at its start counts.
    pub heals: u64,
    /// Microseconds from the notice to the answer of the kernel, the last time.
    pub last_heal_us: u64,
    /// Why the rules could not be put back, the last time; empty when they could.
    pub heal_failure: String,
    /// Files that were left out, each with its reason.
    pub left_out: Vec<String>,
    /// The resolvers that unknown names are asked of, from the host's resolv.conf.
    pub upstreams: Vec<SocketAddr>,
}

/// One address that netd listens on, or should.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerStatus {
    /// The network's id.
    pub network: String,
    /// The address and port.
    pub address: SocketAddr,
    /// Why it is not listened on; empty when it is. It is tried again every second.
    pub failure: String,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct StatusMessage {
    #[prost(uint32, tag = "1")]
    version: u32,
    #[prost(uint32, tag = "2")]
    pid: u32,
    #[prost(message, repeated, tag = "3")]
    listeners: Vec<ListenerMessage>,
    #[prost(uint64, tag = "4")]
    heals: u64,
    #[prost(uint64, tag = "5")]
    last_heal_us: u64,
    #[prost(string, tag = "6")]
    heal_failure: String,
    #[prost(string, repeated, tag = "7")]
    left_out: Vec<String>,
    #[prost(message, repeated, tag = "8")]
    upstreams: Vec<AddressMessage>,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
struct ListenerMessage {
    #[prost(string, tag = "1")]
    network: String,
    #[prost(message, optional, tag = "2")]
    address: Option<AddressMessage>,
    #[prost(string, tag = "3")]
    failure: String,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
struct AddressMessage {
    #[prost(bytes = "vec", tag = "1")]
    address: Vec<u8>,
    #[prost(uint32, tag = "2")]
    port: u32,
}

impl Record for Status {
    type Message = StatusMessage;

    fn to_message(&self) -> StatusMessage {
        StatusMessage {
            version: super::VERSION,
            pid: self.pid,
            listeners: self.listeners.iter().map(listener_message).collect(),
            heals: self.heals,
            last_heal_us: self.last_heal_us,
            heal_failure: self.heal_failure.clone(),
            left_out: self.left_out.clone(),
            upstreams: self.upstreams.iter().copied().map(socket_message).collect(),
        }
    }

    fn from_message(message: StatusMessage, path: &Path) -> Result<Self, NetdError> {
        check_version(message.version, path)?;
        let field = |field| NetdError::Field { path: path.to_owned(), field };
        let listeners = message.listeners.into_iter().map(listener).collect::<Option<_>>();
        let upstreams = message.upstreams.iter().map(socket).collect::<Option<_>>();
        Ok(Self {
            pid: message.pid,
            listeners: listeners.ok_or_else(|| field("listener"))?,
            heals: message.heals,
            last_heal_us: message.last_heal_us,
            heal_failure: message.heal_failure,
            left_out: message.left_out,
            upstreams: upstreams.ok_or_else(|| field("upstream"))?,
        })
    }
}

impl Status {
    /// Bytes of its file, to see whether it changed.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.to_message().encode_to_vec()
    }
}

fn listener_message(listener: &ListenerStatus) -> ListenerMessage {
    ListenerMessage {
        network: listener.network.clone(),
        address: Some(socket_message(listener.address)),
        failure: listener.failure.clone(),
    }
}

fn listener(message: ListenerMessage) -> Option<ListenerStatus> {
    let address = socket(message.address.as_ref()?)?;
    Some(ListenerStatus { network: message.network, address, failure: message.failure })
}

fn socket_message(address: SocketAddr) -> AddressMessage {
    AddressMessage { address: octets(address.ip()), port: u32::from(address.port()) }
}

fn socket(message: &AddressMessage) -> Option<SocketAddr> {
    Some(SocketAddr::new(address(&message.address)?, u16::try_from(message.port).ok()?))
}
