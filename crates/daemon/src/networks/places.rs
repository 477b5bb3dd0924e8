//! What does an owner's having several places lead to: which one has the default route, which one published ports lead
//! to, what each link is to be inside, what it resolves by? Pure; the kernel hears of it from [`super::kernel`].

use std::net::IpAddr;

use gantry_network::nftables::PortForward;
use gantry_network::{Interface, Route, netd};
use gantry_types::{EndpointId, NetworkDriver, PublishedPort};
use ipnet::IpNet;

use super::tables::{EndpointRecord, NetworkRecord};

/// Ports of one range that have SRV records, at the most.
const SERVICES_PER_RANGE_MAX: usize = 16;

/// An owner's places and everything that decides what the kernel has of them.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    /// In the order of the links.
    pub all: Vec<(EndpointRecord, NetworkRecord)>,
    pub ports: Vec<PublishedPort>,
    /// The container's or sandbox's id, by which netd knows whose a place is.
    pub owner: String,
    /// What its places resolve by, the name first.
    pub names: Vec<String>,
    /// Whom netd asks for it instead of the host's resolvers.
    pub dns: Vec<IpAddr>,
    /// Whom drivers say it is to ask.
    pub resolvers: Vec<IpAddr>,
}

impl Places {
    /// The place whose network has the default route, by family.
    pub(crate) fn gateway(&self, ipv6: bool) -> Option<&(EndpointRecord, NetworkRecord)> {
        let can = |(_, network): &&(EndpointRecord, NetworkRecord)| {
            !network.options.internal && gateway_of(network, ipv6).is_some()
        };
        let mut best: Option<&(EndpointRecord, NetworkRecord)> = None;
        for place in self.all.iter().filter(can) {
            let better =
                best.is_none_or(|best| place.0.options.gateway_priority > best.0.options.gateway_priority);
            if better {
                best = Some(place);
            }
        }
        best
    }

    /// The place that published ports lead to, by family.
    pub(super) fn way_in(&self, ipv6: bool) -> Option<&(EndpointRecord, NetworkRecord)> {
        let can = |(_, network): &(EndpointRecord, NetworkRecord)| network.bridge.is_some();
        self.gateway(ipv6).filter(|place| can(place)).or_else(|| {
            self.all
                .iter()
                .find(|place| can(place) && !place.1.options.internal && gateway_of(&place.1, ipv6).is_some())
        })
    }

    /// Whether published ports are this place's driver's to lead: its network is the first that can, and no bridge
    /// does.
    pub(super) fn is_foreign_way_in(&self, endpoint: &EndpointId) -> bool {
        self.foreign_way_in().is_some_and(|(record, _)| record.id == *endpoint)
    }

    /// Whether published ports are a driver's to lead.
    pub(crate) fn has_foreign_way_in(&self) -> bool {
        self.foreign_way_in().is_some()
    }

    fn foreign_way_in(&self) -> Option<&(EndpointRecord, NetworkRecord)> {
        if self.way_in(false).or_else(|| self.way_in(true)).is_some() {
            return None;
        }
        self.all.iter().find(|(_, network)| network.is_foreign() && network.has_way_in())
    }

    /// Whether some links are a driver's to make.
    pub(crate) fn has_foreign(&self) -> bool {
        self.all.iter().any(|(_, network)| network.is_foreign())
    }

    pub(super) fn forwards(&self, endpoint: &EndpointId) -> Vec<PortForward> {
        let mut forwards = Vec::new();
        for ipv6 in [false, true] {
            let Some((record, network)) = self.way_in(ipv6).filter(|(record, _)| record.id == *endpoint)
            else {
                continue;
            };
            let address = if ipv6 { record.ipv6.map(IpAddr::V6) } else { record.ipv4.map(IpAddr::V4) };
            let Some(address) = address else { continue };
            forwards.extend(self.ports.iter().filter_map(|port| {
                let at = port.host_address.or(network.options.bridge.host_address);
                let first = port.container_ports.first();
                PortForward::new(port.protocol, at, port.host_ports?, address, first)
            }));
        }
        forwards
    }

    /// The ports that SRV questions are answered with: the published ones. Of a long range only the first, because
    /// nobody looks a range up by name.
    pub(super) fn services(&self) -> Vec<netd::Port> {
        let all = self.ports.iter().flat_map(|port| {
            let (first, last) = (port.container_ports.first(), port.container_ports.last());
            (first..=last).take(SERVICES_PER_RANGE_MAX).map(move |number| (port.protocol, number))
        });
        all.map(|(protocol, number)| netd::Port { name: String::new(), protocol, number }).collect()
    }

    /// The link of a place, as it is to be inside.
    pub(super) fn interface(&self, endpoint: &EndpointRecord, network: &NetworkRecord) -> Interface {
        let addresses = network.options.subnets.iter().filter_map(|subnet| {
            let ipv6 = subnet.prefix.addr().is_ipv6();
            let address = if ipv6 { endpoint.ipv6.map(IpAddr::V6) } else { endpoint.ipv4.map(IpAddr::V4) };
            IpNet::new(address?, subnet.prefix.prefix_len()).ok()
        });
        let is_ipvlan = network.options.driver == NetworkDriver::Ipvlan;
        Interface {
            name: endpoint.interface.clone(),
            mac: (!is_ipvlan).then_some(endpoint.mac),
            mtu: network.options.mtu,
            addresses: addresses.collect(),
            routes: self.default_routes(&endpoint.id),
        }
    }

    /// The default routes that lead through a place.
    fn default_routes(&self, endpoint: &EndpointId) -> Vec<Route> {
        [false, true]
            .into_iter()
            .filter_map(|ipv6| {
                let (record, network) = self.gateway(ipv6)?;
                (record.id == *endpoint).then(|| gateway_of(network, ipv6).map(Route::default_by))?
            })
            .collect()
    }
}

/// A network's gateway of one family.
pub(crate) fn gateway_of(network: &NetworkRecord, ipv6: bool) -> Option<IpAddr> {
    let subnet = network.options.subnets.iter().find(|subnet| subnet.prefix.addr().is_ipv6() == ipv6)?;
    subnet.gateway
}

/// What an endpoint resolves by: the owner's names, then its aliases on this network.
pub(super) fn names(places: &Places, endpoint: &EndpointRecord) -> Vec<String> {
    let mut names = places.names.clone();
    let aliases = endpoint.options.aliases.iter().filter(|alias| !places.names.contains(alias));
    // The name first, because reverse look-ups answer with it; ids last.
    names.splice(
        1.min(places.names.len())..,
        aliases.cloned().chain(places.names.iter().skip(1).cloned()).collect::<Vec<_>>(),
    );
    names
}
