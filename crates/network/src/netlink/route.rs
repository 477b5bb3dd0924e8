//! Which messages does the engine send about links, addresses and routes? Each with what it attempts, collected
//! into one datagram. The bytes are `netlink-packet-route`'s; its breaking changes end in this file.

use std::net::IpAddr;

use gantry_linux::Errno;
use gantry_types::{InterfaceName, MacAddress};
use ipnet::IpNet;
use rtnetlink::packet_core::{NetlinkHeader, NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::address::{
    AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressScope,
};
use rtnetlink::packet_route::link::{LinkAttribute, LinkMessage};
use rtnetlink::packet_route::neighbour::{NeighbourAttribute, NeighbourMessage, NeighbourState};
use rtnetlink::packet_route::route::{RouteAttribute, RouteMessage, RouteScope, RouteType};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage as Message};
use rtnetlink::{AddressMessageBuilder, RouteMessageBuilder};

use super::socket::{ACK, CREATE, Connection, DUMP, EXCL, HEADER, REQUEST, Refusal};
use crate::error::{Attempt, NetworkError, Result};

/// Messages for one datagram.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    bytes: Vec<u8>,
    attempts: Vec<Attempt>,
}

impl Batch {
    /// Makes what must not exist yet.
    pub(crate) fn make(&mut self, message: Message, attempt: Attempt) {
        self.push(message, REQUEST | ACK | CREATE | EXCL, attempt);
    }

    /// Changes or removes what exists.
    pub(crate) fn change(&mut self, message: Message, attempt: Attempt) {
        self.push(message, REQUEST | ACK, attempt);
    }

    /// Sends everything. The messages are independent: a refused one does not stop those behind it.
    pub(crate) fn send(mut self, connection: &mut Connection) -> Result<()> {
        if self.attempts.is_empty() {
            return Ok(());
        }
        connection.talk(&mut self.bytes).map_err(|refusal| {
            let place = usize::try_from(refusal.place).unwrap_or(usize::MAX);
            let attempt = self.attempts.into_iter().nth(place).unwrap_or(Attempt::Connect);
            refusal.of(attempt)
        })
    }

    fn push(&mut self, message: Message, flags: u16, attempt: Attempt) {
        append(&mut self.bytes, message, flags);
        self.attempts.push(attempt);
    }
}

fn append(bytes: &mut Vec<u8>, message: Message, flags: u16) {
    let mut header = NetlinkHeader::default();
    header.flags = flags;
    let mut message = NetlinkMessage::new(header, NetlinkPayload::from(message));
    message.finalize();
    let start = bytes.len();
    bytes.resize(start + message.buffer_len(), 0);
    message.serialize(&mut bytes[start..]);
}

/// Asks for a list and reads each message of it.
pub(crate) fn list(connection: &mut Connection, question: Message, attempt: Attempt) -> Result<Vec<Message>> {
    ask(connection, question, DUMP, attempt)
}

/// Asks for one link by name.
pub(crate) fn link(connection: &mut Connection, name: &InterfaceName) -> Result<Option<LinkMessage>> {
    let mut question = LinkMessage::default();
    question.attributes.push(LinkAttribute::IfName(name.to_string()));
    match ask(connection, Message::GetLink(question), 0, Attempt::ListLinks) {
        Ok(answers) => Ok(answers.iter().find_map(as_link).cloned()),
        Err(NetworkError::Refused { errno: Errno::NODEV, .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

fn ask(connection: &mut Connection, question: Message, flags: u16, attempt: Attempt) -> Result<Vec<Message>> {
    let mut bytes = Vec::new();
    append(&mut bytes, question, REQUEST | flags);
    let mut found = Vec::new();
    let mut readable = true;
    let answer = connection.list(&mut bytes, &mut |kind, body| match read(kind, body) {
        Some(message) => found.push(message),
        None => readable = false,
    });
    match answer {
        Err(refusal) => Err(Refusal::of(refusal, attempt)),
        Ok(()) if !readable => Err(NetworkError::Unreadable { attempt }),
        Ok(()) => Ok(found),
    }
}

fn read(kind: u16, body: &[u8]) -> Option<Message> {
    let mut bytes = vec![0; HEADER];
    bytes.extend_from_slice(body);
    let length = u32::try_from(bytes.len()).ok()?;
    bytes[..4].copy_from_slice(&length.to_ne_bytes());
    bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
    if let NetlinkPayload::InnerMessage(message) =
        NetlinkMessage::<Message>::deserialize(&bytes).ok()?.payload
    {
        Some(message)
    } else {
        None
    }
}

/// A link's name.
pub(crate) fn name_of(link: &LinkMessage) -> Option<&str> {
    link.attributes.iter().find_map(|attribute| {
        if let LinkAttribute::IfName(name) = attribute { Some(name.as_str()) } else { None }
    })
}

/// A link of a list.
pub(crate) fn as_link(message: &Message) -> Option<&LinkMessage> {
    if let Message::NewLink(link) = message { Some(link) } else { None }
}

/// An address on a link, usable at once: nobody else can have an address that the network gave out, so
/// duplicates are not looked for (RFC 4862 5.4 would cost a second).
pub(crate) fn address(index: u32, address: IpNet) -> AddressMessage {
    match address {
        IpNet::V4(net) => AddressMessageBuilder::<std::net::Ipv4Addr>::new()
            .index(index)
            .address(net.addr(), net.prefix_len())
            .build(),
        IpNet::V6(net) => {
            let mut message = AddressMessageBuilder::<std::net::Ipv6Addr>::new()
                .index(index)
                .address(net.addr(), net.prefix_len())
                .build();
            message.header.flags = AddressHeaderFlags::Nodad;
            message.header.scope = AddressScope::Universe;
            message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
            message
        }
    }
}

/// A route through a link, by a gateway or to neighbours on the link itself.
pub(crate) fn route(
    index: u32,
    destination: IpNet,
    gateway: Option<IpAddr>,
    metric: Option<u32>,
) -> RouteMessage {
    let mut message = match destination {
        IpNet::V4(net) => RouteMessageBuilder::<std::net::Ipv4Addr>::new()
            .destination_prefix(net.network(), net.prefix_len())
            .build(),
        IpNet::V6(net) => RouteMessageBuilder::<std::net::Ipv6Addr>::new()
            .destination_prefix(net.network(), net.prefix_len())
            .build(),
    };
    match gateway {
        Some(IpAddr::V4(gateway)) => message.attributes.push(RouteAttribute::Gateway(gateway.into())),
        Some(IpAddr::V6(gateway)) => message.attributes.push(RouteAttribute::Gateway(gateway.into())),
        None => message.header.scope = RouteScope::Link,
    }
    message.attributes.push(RouteAttribute::Oif(index));
    if let Some(metric) = metric {
        message.attributes.push(RouteAttribute::Priority(metric));
    }
    message
}

/// A neighbour that is known for good: nobody is asked, and nobody else's answer is believed.
pub(crate) fn neighbour(index: u32, address: IpAddr, mac: MacAddress) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    message.header.ifindex = index;
    message.header.state = NeighbourState::Permanent;
    message.header.kind = RouteType::Unicast;
    message.attributes.push(NeighbourAttribute::Destination(address.into()));
    message.attributes.push(NeighbourAttribute::LinkLayerAddress(mac.octets().to_vec()));
    message
}

/// The addresses of a link that are not the kernel's own choice.
pub(crate) fn addresses(connection: &mut Connection, index: u32) -> Result<Vec<IpAddr>> {
    let question = Message::GetAddress(AddressMessage::default());
    let messages = list(connection, question, Attempt::ListAddresses)?;
    let mine = messages
        .iter()
        .filter_map(|message| if let Message::NewAddress(address) = message { Some(address) } else { None });
    let found = mine.filter(|message| message.header.index == index).filter_map(|message| {
        message.attributes.iter().find_map(|attribute| {
            if let AddressAttribute::Address(address) = attribute { Some(*address) } else { None }
        })
    });
    Ok(found.filter(|address| !matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local())).collect())
}

/// A way for answers to `::1` to come in through a bridge: the kernel takes loopback's address from its own link
/// alone (RT6_LOOKUP_F_IFACE). Packets that *arrive* for `::1` it drops before anything else, so that this
/// opens nothing. The metric keeps the host's own route first, and differs between bridges, which would share one
/// route otherwise.
pub(crate) fn loopback6(index: u32) -> RouteMessage {
    /// RT_TABLE_LOCAL.
    const TABLE_LOCAL: u8 = 255;
    let mut message = RouteMessageBuilder::<std::net::Ipv6Addr>::new()
        .destination_prefix(std::net::Ipv6Addr::LOCALHOST, 128)
        .output_interface(index)
        .priority(4096 + index)
        .kind(RouteType::Local)
        .build();
    message.header.table = TABLE_LOCAL;
    message
}
