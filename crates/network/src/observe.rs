//! What is there? Links of the host for reconciliation, counters of endpoints, and the subnets that are taken by
//! routes. Reads only.

use gantry_types::InterfaceName;
use ipnet::IpNet;
use rtnetlink::packet_route::RouteNetlinkMessage as Message;
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags, LinkMessage, Stats64};
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteType};

use crate::error::{Attempt, Result};
use crate::host::Host;
use crate::namespace::Netns;
use crate::netlink::route;
use crate::netlink::socket::{Connection, Family};

/// A link that was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its name.
    pub name: InterfaceName,
    /// Its index.
    pub index: u32,
    /// Whether it is up.
    pub up: bool,
    /// The index of the bridge that it is a port of.
    pub bridge: Option<u32>,
    /// What went through it.
    pub counters: Counters,
}

/// What went through a link, as its owner sees it. Of an outer end, `received` is what the container sent:
/// [`Counters::from_inside`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Bytes received.
    pub received_bytes: u64,
    /// Packets received.
    pub received_packets: u64,
    /// Packets lost on the way in.
    pub received_dropped: u64,
    /// Faulty packets on the way in.
    pub received_errors: u64,
    /// Bytes sent.
    pub sent_bytes: u64,
    /// Packets sent.
    pub sent_packets: u64,
    /// Packets lost on the way out.
    pub sent_dropped: u64,
    /// Faulty packets on the way out.
    pub sent_errors: u64,
}

impl Counters {
    /// The other end's view.
    #[must_use]
    pub fn from_inside(self) -> Self {
        Self {
            received_bytes: self.sent_bytes,
            received_packets: self.sent_packets,
            received_dropped: self.sent_dropped,
            received_errors: self.sent_errors,
            sent_bytes: self.received_bytes,
            sent_packets: self.received_packets,
            sent_dropped: self.received_dropped,
            sent_errors: self.received_errors,
        }
    }
}

impl Host {
    /// Every link of the host whose name is one that Gantry could have given. Which are Gantry's, the caller
    /// knows by their names.
    pub fn links(&self) -> Result<Vec<Link>> {
        self.with(Family::Route, links)
    }

    /// One link.
    pub fn link(&self, name: &InterfaceName) -> Result<Option<Link>> {
        self.with(Family::Route, |connection| {
            Ok(route::link(connection, name)?.as_ref().and_then(Link::read))
        })
    }

    /// The subnets that the host reaches by its routes, but for the default routes: a new network must overlap
    /// none of them.
    pub fn routed_subnets(&self) -> Result<Vec<IpNet>> {
        self.with(Family::Route, |connection| {
            let question = Message::GetRoute(RouteMessage::default());
            let messages = route::list(connection, question, Attempt::ListRoutes)?;
            let mut found: Vec<IpNet> = messages.iter().filter_map(subnet_of).collect();
            found.sort_unstable();
            found.dedup();
            Ok(found)
        })
    }
}

impl Netns {
    /// Every link inside.
    pub fn links(&mut self) -> Result<Vec<Link>> {
        links(&mut self.connection)
    }
}

fn links(connection: &mut Connection) -> Result<Vec<Link>> {
    let question = Message::GetLink(LinkMessage::default());
    let messages = route::list(connection, question, Attempt::ListLinks)?;
    Ok(messages.iter().filter_map(route::as_link).filter_map(Link::read).collect())
}

impl Link {
    /// `None` of a link whose name is beyond what Gantry uses.
    fn read(message: &LinkMessage) -> Option<Self> {
        let mut bridge = None;
        let mut counters = Counters::default();
        for attribute in &message.attributes {
            if let LinkAttribute::Controller(index) = attribute {
                bridge = Some(*index).filter(|index| *index != 0);
            } else if let LinkAttribute::Stats64(stats) = attribute {
                counters = Counters::read(stats);
            }
        }
        Some(Self {
            name: route::name_of(message)?.parse().ok()?,
            index: message.header.index,
            up: message.header.flags.contains(LinkFlags::Up),
            bridge,
            counters,
        })
    }
}

impl Counters {
    fn read(stats: &Stats64) -> Self {
        Self {
            received_bytes: stats.rx_bytes,
            received_packets: stats.rx_packets,
            received_dropped: stats.rx_dropped,
            received_errors: stats.rx_errors,
            sent_bytes: stats.tx_bytes,
            sent_packets: stats.tx_packets,
            sent_dropped: stats.tx_dropped,
            sent_errors: stats.tx_errors,
        }
    }
}

fn subnet_of(message: &Message) -> Option<IpNet> {
    let Message::NewRoute(route) = message else { return None };
    let length = route.header.destination_prefix_length;
    if length == 0 || route.header.kind != RouteType::Unicast {
        return None;
    }
    let destination = route.attributes.iter().find_map(|attribute| {
        if let RouteAttribute::Destination(address) = attribute { Some(address) } else { None }
    })?;
    if let RouteAddress::Inet(address) = destination {
        IpNet::new((*address).into(), length).ok()
    } else if let RouteAddress::Inet6(address) = destination {
        let elsewhere = !address.is_unicast_link_local() && !address.is_multicast();
        elsewhere.then(|| IpNet::new((*address).into(), length).ok()).flatten()
    } else {
        None
    }
}
