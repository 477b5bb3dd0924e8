//! How is a network's bridge made? Down first, so that its settings hold before it hears its first packet
//! (router advertisements: CVE-2020-13401), with an address of its own that stays when ports come and go, then
//! its gateway addresses, then up. Every step can be repeated.
//!
//! A Linux bridge has 1,023 ports (BR_MAX_PORTS), and a broadcast to more than net.core.netdev_max_backlog of them
//! (1,000) is lost on the way to some. Further *segments* of the same network are bridges of their
//! own (`gbs<number><hash>`), each tied to the first by a pair of links: one Ethernet, one subnet, one gateway.

use std::net::{IpAddr, Ipv6Addr};

use gantry_linux::Errno;
use gantry_types::{InterfaceName, MacAddress};
use ipnet::IpNet;
use rtnetlink::packet_route::RouteNetlinkMessage as Message;
use rtnetlink::packet_route::link::{InfoKind, LinkAttribute, LinkInfo, LinkMessage};
use rtnetlink::{LinkBridge, LinkUnspec, LinkVeth};

use crate::error::{Attempt, NetworkError, Result};
use crate::host::Host;
use crate::netlink::route::{self, Batch};
use crate::netlink::socket::{Connection, Family};
use crate::setting;

/// What a bridge should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BridgeSpec {
    /// Its link's name.
    pub name: InterfaceName,
    /// The addresses that containers send to when they leave the network, with the subnet's prefix length.
    pub gateways: Vec<IpNet>,
    /// Its hardware address, for good: a bridge without one takes the lowest of its ports'.
    pub mac: MacAddress,
    /// Bytes of a packet at the most; `None` means Ethernet's 1,500.
    pub mtu: Option<u32>,
}

/// A bridge that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bridge {
    /// Its link's name.
    pub name: InterfaceName,
    /// Its link's index.
    pub index: u32,
    /// What endpoints send to when they leave the network: the addresses and the one hardware address of the
    /// bridge, of a segment those of the first.
    pub gateways: Vec<IpAddr>,
    /// The gateways' hardware address.
    pub mac: MacAddress,
    /// Whether its ports hear nobody but the bridge itself: endpoints that may not talk to each other. For links
    /// attached from now on; the kernel is not asked.
    pub isolated: bool,
}

/// The group of segments' links ("gS"), by which the rules know their packets from others at the price of a number; which of
/// them are ours is still their names' to say.
pub(crate) const SEGMENT_GROUP: u32 = 0x6753;

/// The endpoints that one segment should take: a broadcast to them, and its answer, fit into the kernel's queue.
pub const SEGMENT_ENDPOINTS_MAX: usize = 900;

impl BridgeSpec {
    /// Whether any gateway is of IPv6.
    fn has_ipv6(&self) -> bool {
        self.gateways.iter().any(|gateway| gateway.addr().is_ipv6())
    }
}

impl Host {
    /// Makes the bridge, or brings the one that is there to what it should be.
    pub fn make_bridge(&self, spec: &BridgeSpec) -> Result<Bridge> {
        self.with(Family::Route, |connection| {
            let mut bridge = make_link(connection, &spec.name, spec.mac, spec.mtu)?;
            bridge.gateways = spec.gateways.iter().map(IpNet::addr).collect();
            set_up(spec)?;
            let mut batch = Batch::default();
            for gateway in &spec.gateways {
                batch.make(
                    Message::NewAddress(route::address(bridge.index, *gateway)),
                    Attempt::AddAddress { address: *gateway, link: spec.name.clone() },
                );
            }
            tolerate(batch.send(connection), Errno::EXIST)?;
            bring_up(connection, &bridge)?;
            if spec.has_ipv6() {
                let loopback = IpNet::new_assert(Ipv6Addr::LOCALHOST.into(), 128);
                let attempt = Attempt::AddRoute { destination: loopback, link: spec.name.clone() };
                let mut batch = Batch::default();
                batch.make(Message::NewRoute(route::loopback6(bridge.index)), attempt);
                tolerate(batch.send(connection), Errno::EXIST)?;
            }
            Ok(bridge)
        })
    }

    /// Makes a further segment of a bridge that has no more ports, and ties it to the first.
    pub fn make_segment(
        &self,
        first: &Bridge,
        number: u8,
        mac: MacAddress,
        mtu: Option<u32>,
    ) -> Result<Bridge> {
        let [name, near, far] = segment_names(&first.name, number);
        self.with(Family::Route, |connection| {
            let segment = make_link(connection, &name, mac, mtu)?;
            let segment = Bridge { gateways: first.gateways.clone(), mac: first.mac, ..segment };
            // The segment is a switch alone: without this it would answer for the host's addresses (arp_ignore).
            setting::write_if_there(&format!("ipv6/conf/{name}/disable_ipv6"), "1")?;
            setting::write(&format!("ipv4/conf/{name}/arp_ignore"), "8")?;
            mark(connection, &name)?;
            bring_up(connection, &segment)?;
            tie(connection, first, &segment, &near, &far)?;
            Ok(segment)
        })
    }

    /// Marks a segment that a release without marks made. `make_segment` does it by itself.
    pub fn mark_segment(&self, segment: &InterfaceName) -> Result<()> {
        self.with(Family::Route, |connection| mark(connection, segment))
    }

    /// Removes a bridge and everything tied to it; nothing to do when it is gone. Waits for the kernel (tens
    /// of milliseconds): never on the path of a start.
    pub fn remove_bridge(&self, name: &InterfaceName) -> Result<()> {
        self.with(Family::Route, |connection| {
            for number in 1..=u8::MAX {
                let [segment, near, _] = segment_names(name, number);
                if !remove_link(connection, &segment)? {
                    break;
                }
                remove_link(connection, &near)?;
            }
            remove_link(connection, name).map(drop)
        })
    }

    /// The bridge of that name, if there is one.
    pub fn find_bridge(&self, name: &InterfaceName) -> Result<Option<Bridge>> {
        self.with(Family::Route, |connection| {
            let Some(link) = route::link(connection, name)? else { return Ok(None) };
            let mut bridge = Bridge::of(name, &link)?;
            bridge.gateways = route::addresses(connection, bridge.index)?;
            Ok(Some(bridge))
        })
    }
}

/// The name of a segment of a network, by that of its first bridge.
pub fn segment_name(first: &InterfaceName, number: u8) -> InterfaceName {
    let [segment, _, _] = segment_names(first, number);
    segment
}

/// Removes a link; false when there was none.
pub(crate) fn remove_link(connection: &mut Connection, name: &InterfaceName) -> Result<bool> {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::IfName(name.to_string()));
    let mut batch = Batch::default();
    batch.change(Message::DelLink(message), Attempt::RemoveLink(name.clone()));
    match batch.send(connection) {
        Ok(()) => Ok(true),
        Err(error) if error.errno() == Some(Errno::NODEV) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Success too when the kernel says that it is so already.
pub(crate) fn tolerate(answer: Result<()>, tolerated: Errno) -> Result<()> {
    match answer {
        Err(error) if error.errno() == Some(tolerated) => Ok(()),
        other => other,
    }
}

fn make_link(
    connection: &mut Connection,
    name: &InterfaceName,
    mac: MacAddress,
    mtu: Option<u32>,
) -> Result<Bridge> {
    // Without spanning tree a port forwards at once whatever the delay says.
    let mut message = LinkBridge::new(name.as_str()).address(mac.octets().to_vec());
    if let Some(mtu) = mtu {
        message = message.mtu(mtu);
    }
    let mut batch = Batch::default();
    batch.make(Message::NewLink(message.build()), Attempt::MakeBridge(name.clone()));
    tolerate(batch.send(connection), Errno::EXIST)?;
    let link =
        route::link(connection, name)?.ok_or_else(|| NetworkError::LinkMissing { link: name.clone() })?;
    Bridge::of(name, &link)
}

impl Bridge {
    /// Without its gateways, which are no part of the link.
    fn of(name: &InterfaceName, link: &LinkMessage) -> Result<Self> {
        let mac = link.attributes.iter().find_map(|attribute| {
            let LinkAttribute::Address(address) = attribute else { return None };
            let digits: Vec<String> = address.iter().map(|octet| format!("{octet:02x}")).collect();
            digits.join(":").parse().ok()
        });
        match mac.filter(|_| is_bridge(link)) {
            Some(mac) => Ok(Self {
                name: name.clone(),
                index: link.header.index,
                gateways: Vec::new(),
                mac,
                isolated: false,
            }),
            None => Err(NetworkError::NotABridge { link: name.clone() }),
        }
    }
}

fn is_bridge(link: &LinkMessage) -> bool {
    link.attributes.iter().any(|attribute| {
        matches!(attribute, LinkAttribute::LinkInfo(infos)
            if infos.iter().any(|info| matches!(info, LinkInfo::Kind(InfoKind::Bridge))))
    })
}

/// The settings of a bridge, before it is up: nobody on it configures the host, and it forwards.
fn set_up(spec: &BridgeSpec) -> Result<()> {
    let name = &spec.name;
    for (family, setting, value) in [
        ("ipv6", "accept_ra", "0"),
        ("ipv6", "autoconf", "0"),
        ("ipv6", "accept_redirects", "0"),
        ("ipv6", "accept_dad", "0"),
        ("ipv6", "disable_ipv6", if spec.has_ipv6() { "0" } else { "1" }),
        ("ipv6", "forwarding", if spec.has_ipv6() { "1" } else { "0" }),
        // It answers for its own addresses, not for the host's others.
        ("ipv4", "arp_ignore", "1"),
        ("ipv4", "accept_redirects", "0"),
        ("ipv4", "send_redirects", "0"),
        ("ipv4", "forwarding", "1"),
        // Published ports answer on 127.0.0.1 too; the table's guard drops what containers send there.
        ("ipv4", "route_localnet", "1"),
    ] {
        setting::write_if_there(&format!("{family}/conf/{name}/{setting}"), value)?;
    }
    Ok(())
}

fn bring_up(connection: &mut Connection, bridge: &Bridge) -> Result<()> {
    let mut batch = Batch::default();
    let up = LinkUnspec::new_with_index(bridge.index).up().build();
    batch.change(Message::SetLink(up), Attempt::ChangeLink(bridge.name.clone()));
    batch.send(connection)
}

/// Puts a segment's link into its group.
fn mark(connection: &mut Connection, segment: &InterfaceName) -> Result<()> {
    let mut message = LinkUnspec::new_with_name(segment.as_str()).build();
    message.attributes.push(LinkAttribute::Group(SEGMENT_GROUP));
    let mut batch = Batch::default();
    batch.change(Message::SetLink(message), Attempt::ChangeLink(segment.clone()));
    batch.send(connection)
}

fn tie(
    connection: &mut Connection,
    first: &Bridge,
    segment: &Bridge,
    near: &InterfaceName,
    far: &InterfaceName,
) -> Result<()> {
    let attempt = || Attempt::MakePair { host: near.clone(), inside: far.clone() };
    let mut batch = Batch::default();
    let pair = LinkVeth::new(near.as_str(), far.as_str()).controller(first.index).up().build();
    batch.make(Message::NewLink(pair), attempt());
    tolerate(batch.send(connection), Errno::EXIST)?;
    let mut batch = Batch::default();
    let other = LinkUnspec::new_with_name(far.as_str()).controller(segment.index).up().build();
    batch.change(Message::SetLink(other), attempt());
    batch.send(connection)
}

/// The names of a segment, of its tie's end at the first bridge, and of the end at the segment.
fn segment_names(first: &InterfaceName, number: u8) -> [InterfaceName; 3] {
    // FNV-1a, 40 bits of it: names of links are too short for two names in one.
    let hash = first.as_str().bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    }) >> 24;
    ["gbs", "gbn", "gbf"].map(|kind| {
        format!("{kind}{number:02x}{hash:010x}").parse().expect("15 letters and digits are a link's name")
    })
}
