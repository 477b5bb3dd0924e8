//! How does a namespace get its link on a network? One message makes both ends where they stay: the inner one in
//! the namespace, with its final name and hardware address, the outer one up and on the bridge (moving a link
//! between namespaces costs 16 ms). A second datagram, sent inside, brings it up and has its addresses and
//! routes: a veth's inner end cannot be opened before the outer one exists (ENOTCONN).
//!
//! A container that ends takes its links with it. Taking one from a *running* container is `detach`, which
//! waits for the kernel (about 20 ms).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsRawFd;

use gantry_linux::Errno;
use gantry_types::{InterfaceName, MacAddress};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use rtnetlink::packet_route::RouteNetlinkMessage as Message;
use rtnetlink::packet_route::link::{
    AfSpecInet6, AfSpecUnspec, In6AddrGenMode, InfoData, InfoVeth, IpVlanMode, LinkAttribute, LinkMessage,
    MacVlanMode,
};
use rtnetlink::{LinkBridgePort, LinkIpVlan, LinkMacVlan, LinkMessageBuilder, LinkUnspec, LinkVeth};
use rustix::net::netdevice;

use crate::bridge::{Bridge, remove_link};
use crate::error::{Attempt, NetworkError, Result, syscall};
use crate::host::Host;
use crate::namespace::Netns;
use crate::netlink::route::{self, Batch};
use crate::netlink::socket::Family;
use crate::setting;

/// A link that a namespace is to get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Its name inside.
    pub name: InterfaceName,
    /// Its hardware address; `None` leaves it to the kernel, and is the only choice for ipvlan.
    pub mac: Option<MacAddress>,
    /// Bytes of a packet at the most; `None` means the kernel's choice.
    pub mtu: Option<u32>,
    /// Its addresses, each with its subnet's prefix length. Those of IPv6 switch IPv6 on for this link.
    pub addresses: Vec<IpNet>,
    /// Its routes.
    pub routes: Vec<Route>,
}

/// A route inside a namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// Where to; [`Route::default_by`] makes that of everything else.
    pub destination: IpNet,
    /// The neighbour that takes the packets further; `None` when they are neighbours themselves.
    pub gateway: Option<IpAddr>,
    /// Among routes to the same destination the lowest is taken; `None` means the kernel's default.
    pub metric: Option<u32>,
}

/// How links on one parent see each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChildMode {
    /// macvlan: directly.
    MacvlanBridge,
    /// macvlan: not at all.
    MacvlanPrivate,
    /// macvlan: through the switch outside.
    MacvlanVepa,
    /// macvlan: there is one link only, and it has the parent to itself.
    MacvlanPassthru,
    /// ipvlan: a switch on addresses.
    IpvlanL2,
    /// ipvlan: a router.
    IpvlanL3,
    /// ipvlan: a router whose packets pass the host's connection tracking.
    IpvlanL3s,
}

impl Interface {
    /// Whether it has IPv6.
    pub fn ipv6(&self) -> bool {
        self.addresses.iter().any(|address| address.addr().is_ipv6())
    }
}

impl Route {
    /// The default route by a gateway of its family.
    pub fn default_by(gateway: IpAddr) -> Self {
        let destination = match gateway {
            IpAddr::V4(_) => IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 0)),
            IpAddr::V6(_) => IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 0)),
        };
        Self { destination, gateway: Some(gateway), metric: None }
    }
}

impl Host {
    /// Gives a namespace a link on a bridge. `port` is the name of the outer end. After an error nothing of
    /// it is left.
    pub fn attach(
        &self,
        bridge: &Bridge,
        port: &InterfaceName,
        netns: &mut Netns,
        interface: &Interface,
    ) -> Result<()> {
        netns.set_ipv6(interface.ipv6())?;
        let attempt = Attempt::MakePair { host: port.clone(), inside: interface.name.clone() };
        let mut inside = inside(interface, netns);
        if let Some(mac) = interface.mac {
            inside = inside.address(mac.octets().to_vec());
        }
        let mut inside = inside.build();
        inside.attributes.extend(ONE_QUEUE);
        let mut pair = LinkVeth::new(port.as_str(), interface.name.as_str())
            .set_info_data(InfoData::Veth(InfoVeth::Peer(inside)))
            .controller(bridge.index)
            .up();
        if let Some(mtu) = interface.mtu {
            pair = pair.mtu(mtu);
        }
        let mut pair = pair.build();
        pair.attributes.extend(ONE_QUEUE);
        let mut made = Batch::default();
        made.make(Message::NewLink(pair), attempt);
        let mut set = Batch::default();
        let settings = port_settings(port, bridge, interface.mtu);
        set.change(Message::NewLink(settings), Attempt::ChangeLink(port.clone()));
        self.with(Family::Route, |connection| {
            made.send(connection)?;
            set.send(connection).inspect_err(|_| drop(remove_link(connection, port)))
        })?;
        netns.configure(interface, Some(bridge)).inspect_err(|_| drop(self.detach(port)))
    }

    /// Gives a namespace a link on a link of the host's. The kernel may lack the kind.
    pub fn attach_child(
        &self,
        parent: &InterfaceName,
        mode: ChildMode,
        netns: &mut Netns,
        interface: &Interface,
    ) -> Result<()> {
        netns.set_ipv6(interface.ipv6())?;
        let attempt = Attempt::MakeChild { parent: parent.clone(), inside: interface.name.clone() };
        let answer = self.with(Family::Route, |connection| {
            let parent = route::link(connection, parent)?
                .ok_or_else(|| NetworkError::LinkMissing { link: parent.clone() })?;
            let mut link = child(mode, parent.header.index, interface, netns);
            if !mode.is_ipvlan()
                && let Some(mac) = interface.mac
            {
                link.attributes.push(LinkAttribute::Address(mac.octets().to_vec()));
            }
            let mut batch = Batch::default();
            batch.make(Message::NewLink(link), attempt);
            batch.send(connection)
        });
        match answer {
            Err(error) if error.errno() == Some(Errno::OPNOTSUPP) => {
                let kind = if mode.is_ipvlan() { "ipvlan" } else { "macvlan" };
                return Err(NetworkError::KindMissing { kind });
            }
            other => other?,
        }
        netns.configure(interface, None).inspect_err(|_| drop(netns.remove_link(&interface.name)))
    }

    /// Takes a link from a running container by the name of its outer end; nothing to do when it is gone.
    pub fn detach(&self, port: &InterfaceName) -> Result<()> {
        self.with(Family::Route, |connection| remove_link(connection, port).map(drop))
    }
}

impl Netns {
    /// Takes a link away by its name inside, for links without an outer end; nothing to do when it is gone.
    pub fn remove_link(&mut self, name: &InterfaceName) -> Result<()> {
        remove_link(&mut self.connection, name).map(drop)
    }

    /// Adds routes through a link that is there, and leaves those that are there already: a change of the
    /// network that has the default route.
    pub fn add_routes(&mut self, link: &InterfaceName, routes: &[Route]) -> Result<()> {
        let index = self.index_of(link)?;
        let mut batch = Batch::default();
        for route in routes {
            let message = route::route(index, route.destination, route.gateway, route.metric);
            let attempt = Attempt::AddRoute { destination: route.destination, link: link.clone() };
            batch.make(Message::NewRoute(message), attempt);
        }
        crate::bridge::tolerate(batch.send(&mut self.connection), Errno::EXIST)
    }

    /// Takes routes away; those that are gone are no error.
    pub fn remove_routes(&mut self, link: &InterfaceName, routes: &[Route]) -> Result<()> {
        let index = self.index_of(link)?;
        for route in routes {
            let message = route::route(index, route.destination, route.gateway, route.metric);
            let mut batch = Batch::default();
            let attempt = Attempt::RemoveRoute { destination: route.destination, link: link.clone() };
            batch.change(Message::DelRoute(message), attempt);
            crate::bridge::tolerate(batch.send(&mut self.connection), Errno::SRCH)?;
        }
        Ok(())
    }

    /// Which index a link has. Always asked for (SIOCGIFINDEX, which takes no lock): a veth's inner end gets the kernel's
    /// choice, whatever its message says, unless the outer end's index is chosen too; and to count along is
    /// to be wrong after a refusal, and where tunnels' modules put links into every new namespace.
    fn index_of(&self, link: &InterfaceName) -> Result<u32> {
        match netdevice::name_to_index(&self.connection, link.as_str()) {
            Ok(index) => Ok(index),
            Err(Errno::NODEV) => Err(NetworkError::LinkMissing { link: link.clone() }),
            Err(errno) => {
                Err(NetworkError::Call { attempt: Attempt::ListLinks, source: syscall("ioctl")(errno) })
            }
        }
    }

    /// Up, addresses, routes and the bridge as a neighbour for good, in one datagram: the first packet out waits
    /// for nobody's answer, no neighbour can claim to be the gateway, and a thousand containers are not
    /// woken by the question.
    fn configure(&mut self, interface: &Interface, bridge: Option<&Bridge>) -> Result<()> {
        let mut batch = Batch::default();
        let link = &interface.name;
        let index = self.index_of(link)?;
        let up = LinkUnspec::new_with_index(index).up().build();
        batch.change(Message::SetLink(up), Attempt::ChangeLink(link.clone()));
        for address in &interface.addresses {
            let attempt = Attempt::AddAddress { address: *address, link: link.clone() };
            batch.make(Message::NewAddress(route::address(index, *address)), attempt);
        }
        for route in &interface.routes {
            let message = route::route(index, route.destination, route.gateway, route.metric);
            let attempt = Attempt::AddRoute { destination: route.destination, link: link.clone() };
            batch.make(Message::NewRoute(message), attempt);
        }
        let known = bridge
            .into_iter()
            .flat_map(|bridge| bridge.gateways.iter().map(|address| (*address, bridge.mac)));
        for (address, mac) in known.filter(|(address, _)| address.is_ipv4() || interface.ipv6()) {
            let attempt = Attempt::AddNeighbour { address, link: link.clone() };
            batch.make(Message::NewNeighbour(route::neighbour(index, address, mac)), attempt);
        }
        batch.send(&mut self.connection)
    }
}

impl ChildMode {
    fn is_ipvlan(self) -> bool {
        match self {
            Self::IpvlanL2 | Self::IpvlanL3 | Self::IpvlanL3s => true,
            Self::MacvlanBridge | Self::MacvlanPrivate | Self::MacvlanVepa | Self::MacvlanPassthru => false,
        }
    }
}

/// One queue each way, which is all that a veth uses unless somebody asks for more (ethtool -L). The kernel would make one
/// for each processor, with its folders in sysfs, and take all but one away again.
const ONE_QUEUE: [LinkAttribute; 2] = [LinkAttribute::NumTxQueues(1), LinkAttribute::NumRxQueues(1)];

/// The settings of a bridge's port, which it can only have once it is one. A published port that leads back to its own
/// container leaves by the port it came from, when br_netfilter translates on the bridge. And no address of
/// its own, for it never speaks for itself: otherwise each new one asks the whole network whether anybody has
/// its address, and joins its groups.
fn port_settings(port: &InterfaceName, bridge: &Bridge, mtu: Option<u32>) -> LinkMessage {
    /// RFC 8200 5: the kernel gives links below it no IPv6 at all, and then refuses to be told how to (EAFNOSUPPORT).
    const IPV6_MTU_MIN: u32 = 1280;
    let mut settings =
        LinkBridgePort::new(0).name(port.as_str()).hairpin(true).isolated(bridge.isolated).build();
    if setting::has_ipv6() && mtu.is_none_or(|mtu| mtu >= IPV6_MTU_MIN) {
        let mode = vec![AfSpecInet6::AddrGenMode(In6AddrGenMode::None)];
        settings.attributes.push(LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet6(mode)]));
    }
    settings
}

/// The end of a link that is in the namespace.
fn inside(interface: &Interface, netns: &Netns) -> LinkMessageBuilder<LinkUnspec> {
    let link = LinkUnspec::new_with_name(interface.name.as_str()).setns_by_fd(netns.descriptor().as_raw_fd());
    match interface.mtu {
        Some(mtu) => link.mtu(mtu),
        None => link,
    }
}

fn child(mode: ChildMode, parent: u32, interface: &Interface, netns: &Netns) -> LinkMessage {
    let name = interface.name.as_str();
    let of_kind = match mode {
        ChildMode::MacvlanBridge => LinkMacVlan::new(name, parent, MacVlanMode::Bridge).build(),
        ChildMode::MacvlanPrivate => LinkMacVlan::new(name, parent, MacVlanMode::Private).build(),
        ChildMode::MacvlanVepa => LinkMacVlan::new(name, parent, MacVlanMode::Vepa).build(),
        ChildMode::MacvlanPassthru => LinkMacVlan::new(name, parent, MacVlanMode::Passthrough).build(),
        ChildMode::IpvlanL2 => LinkIpVlan::new(name, parent, IpVlanMode::L2).build(),
        ChildMode::IpvlanL3 => LinkIpVlan::new(name, parent, IpVlanMode::L3).build(),
        ChildMode::IpvlanL3s => LinkIpVlan::new(name, parent, IpVlanMode::L3S).build(),
    };
    let mut link = inside(interface, netns).build();
    // Name and parent come with the kind; the name is there once already.
    let rest = of_kind.attributes.into_iter().filter(|a| !matches!(a, LinkAttribute::IfName(_)));
    link.attributes.extend(rest);
    link
}
