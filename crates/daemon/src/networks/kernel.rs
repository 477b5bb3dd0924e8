//! From rows to the kernel and to netd's files, and back. Blocking; every step can be repeated. A change goes to
//! the files first, then to the kernel, as `gantry_network::netd` wants it; whatever a crash leaves between the two
//! is put right at the next start ([`super::sweep`]).

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use gantry_network::netd::{self, Ruleset};
use gantry_network::nftables::{NetworkRules, PortForward, base};
use gantry_network::{
    Bridge, BridgeSpec, ChildMode, Host, Interface, Netns, NetworkError, Route, SEGMENT_ENDPOINTS_MAX,
};
use gantry_types::{
    EndpointId, InterfaceName, MacAddress, NetworkDriver, NetworkId, ParentMode, PublishedPort,
};
use ipnet::IpNet;

use super::Networks;
use super::problem::NetworkProblem;
use super::tables::{EndpointRecord, NetworkRecord};
use crate::error::Error;

/// Ports of one range that have SRV records, at the most.
const SERVICES_PER_RANGE_MAX: usize = 16;
/// Ports of one range whose flows are looked for when it goes; each is a walk over all flows.
const FLOWS_PORTS_MAX: usize = 16;
/// The port that names are asked for on.
const DNS_PORT: u16 = 53;

/// A network that is up.
#[derive(Debug, Clone)]
pub(crate) struct Up {
    /// Its bridges, the first and further segments, each with how many endpoints it got; none on a host link.
    segments: Vec<(Bridge, usize)>,
}

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
    fn way_in(&self, ipv6: bool) -> Option<&(EndpointRecord, NetworkRecord)> {
        let can = |(_, network): &(EndpointRecord, NetworkRecord)| network.bridge.is_some();
        self.gateway(ipv6).filter(|place| can(place)).or_else(|| {
            self.all
                .iter()
                .find(|place| can(place) && !place.1.options.internal && gateway_of(&place.1, ipv6).is_some())
        })
    }

    fn forwards(&self, endpoint: &EndpointId) -> Vec<PortForward> {
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
    fn services(&self) -> Vec<netd::Port> {
        let all = self.ports.iter().flat_map(|port| {
            let (first, last) = (port.container_ports.first(), port.container_ports.last());
            (first..=last).take(SERVICES_PER_RANGE_MAX).map(move |number| (port.protocol, number))
        });
        all.map(|(protocol, number)| netd::Port { name: String::new(), protocol, number }).collect()
    }

    /// The link of a place, as it is to be inside.
    fn interface(&self, endpoint: &EndpointRecord, network: &NetworkRecord) -> Interface {
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

impl Networks {
    /// Gives a namespace a link on each network, and tells netd and the table.
    pub(crate) fn connect_all(&self, places: &Places, netns: &mut Netns) -> Result<(), Error> {
        for (endpoint, network) in &places.all {
            self.attach(places, endpoint, network, netns, true)?;
        }
        self.tell_all(None, places)
    }

    /// Gives a namespace a link on one network, with the default routes that lead through it or without.
    pub(crate) fn attach(
        &self,
        places: &Places,
        endpoint: &EndpointRecord,
        network: &NetworkRecord,
        netns: &mut Netns,
        with_routes: bool,
    ) -> Result<(), Error> {
        let mut interface = places.interface(endpoint, network);
        if !with_routes {
            interface.routes.clear();
        }
        let Some(_) = &network.bridge else {
            let (parent, mode) = child_mode(network);
            return Ok(self.host.attach_child(&parent, mode, netns, &interface)?);
        };
        let bridge = self.segment(network)?;
        attach_fresh(&self.host, &bridge, endpoint, netns, &interface)
    }

    /// Writes netd's files of all places, and changes the table in one batch. `before` is what was told last;
    /// places that are no more are forgotten.
    pub(crate) fn tell_all(&self, before: Option<&Places>, now: &Places) -> Result<(), Error> {
        let of = |places: &Places| -> Vec<PortForward> {
            places.all.iter().flat_map(|(endpoint, _)| places.forwards(&endpoint.id)).collect()
        };
        let (old, new) = (before.map(of).unwrap_or_default(), of(now));
        for (endpoint, _) in before.iter().flat_map(|before| &before.all) {
            if !now.all.iter().any(|(other, _)| other.id == endpoint.id) {
                self.folder.remove_endpoint(endpoint.id.as_str())?;
            }
        }
        for (endpoint, network) in &now.all {
            self.folder.write_endpoint(&netd::Endpoint {
                id: endpoint.id.to_string(),
                network: network.id.to_string(),
                container: now.owner.clone(),
                addresses: endpoint.addresses().collect(),
                names: names(now, endpoint),
                ports: now.services(),
                dns_servers: now.dns.iter().map(|address| SocketAddr::new(*address, DNS_PORT)).collect(),
                rules: PortForward::change(&now.forwards(&endpoint.id)).add,
            })?;
        }
        let gone: Vec<_> = old.iter().filter(|forward| !new.contains(forward)).copied().collect();
        let fresh: Vec<_> = new.iter().filter(|forward| !old.contains(forward)).copied().collect();
        self.change(&PortForward::change(&gone).remove, &PortForward::change(&fresh).add)?;
        self.forget_flows(before, now)
    }

    /// Ends the flows of places that are no more, and of ports that lead there no more: those that stand would go
    /// on, and whoever goes on sending UDP would never reach those who have the address or the port next.
    fn forget_flows(&self, before: Option<&Places>, now: &Places) -> Result<(), Error> {
        let Some(before) = before else { return Ok(()) };
        for (endpoint, _) in &before.all {
            if !now.all.iter().any(|(other, _)| other.id == endpoint.id) {
                for address in endpoint.addresses() {
                    self.host.forget_flows_of(address)?;
                }
            }
        }
        for port in before.ports.iter().filter(|port| !now.ports.contains(port)) {
            let Some(ports) = port.host_ports else { continue };
            for number in (ports.first()..=ports.last()).take(FLOWS_PORTS_MAX) {
                for ipv6 in [false, true] {
                    if before.way_in(ipv6).is_some() {
                        self.host.forget_flows_to(ipv6, port.protocol, number)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Takes everything of these places away but their links, which end with the namespace.
    pub(crate) fn forget_all(&self, places: &Places) -> Result<(), Error> {
        // An endpoint's file is the mark that there is something.
        if !places.all.iter().any(|(endpoint, _)| self.is_connected(&endpoint.id)) {
            return Ok(());
        }
        let nothing = Places { all: Vec::new(), ..places.clone() };
        self.tell_all(Some(places), &nothing)
    }

    /// Takes the link of a place from a namespace that lives.
    pub(crate) fn detach(
        &self,
        endpoint: &EndpointRecord,
        network: &NetworkRecord,
        netns: &mut Netns,
    ) -> Result<(), Error> {
        if network.bridge.is_none() {
            return Ok(netns.remove_link(&endpoint.interface)?);
        }
        for link in port_names(&endpoint.id) {
            self.host.detach(&link)?;
        }
        Ok(())
    }

    /// Gives the default routes to the places that have them now.
    pub(crate) fn move_routes(before: &Places, now: &Places, netns: &mut Netns) -> Result<(), Error> {
        for ipv6 in [false, true] {
            let [old, new] = [before, now].map(|places| {
                let (endpoint, network) = places.gateway(ipv6)?;
                Some((endpoint.id.clone(), endpoint.interface.clone(), gateway_of(network, ipv6)?))
            });
            if old == new {
                continue;
            }
            let stays = |id: &EndpointId| now.all.iter().any(|(endpoint, _)| endpoint.id == *id);
            if let Some((id, interface, gateway)) = old
                && stays(&id)
            {
                netns.remove_routes(&interface, &[Route::default_by(gateway)])?;
            }
            if let Some((_, interface, gateway)) = new {
                netns.add_routes(&interface, &[Route::default_by(gateway)])?;
            }
        }
        Ok(())
    }

    /// What went over a place's link.
    pub(crate) fn counters(&self, endpoint: &EndpointId) -> Option<gantry_network::Counters> {
        port_names(endpoint)
            .find_map(|name| self.host.link(&name).ok().flatten())
            .map(|link| link.counters.from_inside())
    }

    /// Whether the kernel and netd have something of a place.
    pub(crate) fn is_connected(&self, endpoint: &EndpointId) -> bool {
        self.folder.endpoints_path().join(endpoint.as_str()).exists()
    }

    /// The network's first bridge, made where it is missing.
    pub(crate) fn bring_up(&self, network: &NetworkRecord) -> Result<(), Error> {
        if network.bridge.is_some() { self.with_up(network, |_| Ok(())) } else { Ok(()) }
    }

    /// Takes a network from the kernel and from netd.
    pub(crate) fn bring_down(&self, network: &NetworkRecord) -> Result<(), Error> {
        let slot = self.slot(&network.id);
        let mut up = slot.lock().unwrap_or_else(PoisonError::into_inner);
        let file = self.folder.network(network.id.as_str())?;
        self.folder.remove_network(network.id.as_str())?;
        if file.is_some() || up.is_some() {
            let bridges = up.iter().flat_map(|up| up.segments.iter().map(|(bridge, _)| bridge.name.clone()));
            let change = rules_of(network, bridges.chain(network.bridge.clone()).collect()).change();
            self.change(&change.remove, &[])?;
        }
        *up = None;
        if let Some(bridge) = &network.bridge {
            self.host.remove_bridge(bridge)?;
        }
        self.up.lock().unwrap_or_else(PoisonError::into_inner).remove(&network.id);
        Ok(())
    }

    /// A bridge of the network that has a port left.
    fn segment(&self, network: &NetworkRecord) -> Result<Bridge, Error> {
        self.with_up(network, |up| {
            if let Some((bridge, count)) =
                up.segments.iter_mut().find(|(_, count)| *count < SEGMENT_ENDPOINTS_MAX)
            {
                *count += 1;
                return Ok(bridge.clone());
            }
            let first = up.segments[0].0.clone();
            let number = u8::try_from(up.segments.len()).map_err(|_| NetworkProblem::AddressesExhausted {
                name: network.name.to_string(),
                prefix: network.options.subnets[0].prefix,
            })?;
            let mut bridge =
                self.host.make_segment(&first, number, mac_of(&network.id, number), network.options.mtu)?;
            bridge.isolated = first.isolated;
            up.segments.push((bridge.clone(), 1));
            self.tell_network(network, up)?;
            Ok(bridge)
        })
    }

    /// Runs something with a network that is up; others of the same network wait, those of others do not.
    fn with_up<T>(
        &self,
        network: &NetworkRecord,
        work: impl FnOnce(&mut Up) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let slot = self.slot(&network.id);
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(up) = &mut *slot {
            return work(up);
        }
        self.prepare(network.options.ipv6)?;
        let mut up = self.make(network)?;
        let result = work(&mut up);
        *slot = Some(up);
        result
    }

    fn slot(&self, id: &NetworkId) -> Arc<Mutex<Option<Up>>> {
        Arc::clone(self.up.lock().unwrap_or_else(PoisonError::into_inner).entry(id.clone()).or_default())
    }

    fn make(&self, network: &NetworkRecord) -> Result<Up, Error> {
        let name = network.bridge.clone().expect("only bridges are brought up");
        let gateways = network
            .options
            .subnets
            .iter()
            .filter_map(|subnet| IpNet::new(subnet.gateway?, subnet.prefix.prefix_len()).ok());
        let bridge = self.host.make_bridge(&BridgeSpec {
            name,
            gateways: gateways.collect(),
            mac: mac_of(&network.id, 0),
            mtu: network.options.mtu,
        })?;
        let links = self.host.links()?;
        let ports = links.iter().filter(|link| link.bridge == Some(bridge.index)).count();
        let bridge = Bridge { isolated: !network.options.bridge.inter_container, ..bridge };
        let up = Up { segments: vec![(bridge, ports)] };
        self.tell_network(network, &up)?;
        Ok(up)
    }

    fn tell_network(&self, network: &NetworkRecord, up: &Up) -> Result<(), Error> {
        let bridges: Vec<InterfaceName> = up.segments.iter().map(|(bridge, _)| bridge.name.clone()).collect();
        let change = rules_of(network, bridges).change();
        self.folder.write_network(&netd::Network {
            id: network.id.to_string(),
            name: network.name.to_string(),
            bridge: network.bridge.as_ref().map(ToString::to_string).unwrap_or_default(),
            gateways: network.options.subnets.iter().filter_map(|subnet| subnet.gateway).collect(),
            subnets: network.options.subnets.iter().map(|subnet| subnet.prefix).collect(),
            internal: network.options.internal,
            dns: self.config.dns,
            rules: change.add.clone(),
        })?;
        self.change(&[], &change.add)
    }

    /// The table and the host's forwarding, once.
    fn prepare(&self, ipv6: bool) -> Result<(), Error> {
        let mut prepared = self.prepared.lock().unwrap_or_else(PoisonError::into_inner);
        if !*prepared {
            if self.folder.ruleset()?.is_none() {
                self.folder.write_ruleset(&Ruleset { rules: base() })?;
            }
            self.load_everything()?;
            *prepared = true;
        }
        self.host.enable_forwarding(false)?;
        if ipv6 {
            self.host.enable_forwarding(true)?;
        }
        self.keeper.wake();
        Ok(())
    }

    /// Loads the whole table anew from the files, as netd does.
    pub(super) fn load_everything(&self) -> Result<(), Error> {
        let Some(ruleset) = self.folder.ruleset()? else { return Ok(()) };
        let (networks, bad) = self.folder.networks()?;
        let (endpoints, worse) = self.folder.endpoints()?;
        for unreadable in bad.iter().chain(&worse) {
            tracing::warn!(id = unreadable.id, error = %unreadable.error, "a file of gantry-netd cannot be read");
        }
        let rules = networks.iter().map(|file| &file.rules).chain(endpoints.iter().map(|file| &file.rules));
        let parts = std::iter::once(&ruleset.rules).chain(rules).map(Vec::as_slice);
        Ok(self.host.load_rules(parts)?)
    }

    fn change(&self, remove: &[u8], add: &[u8]) -> Result<(), Error> {
        if remove.is_empty() && add.is_empty() {
            return Ok(());
        }
        match self.host.change_rules(remove, add) {
            // Somebody took the whole table away; it is put back with this change in it, from the files.
            Err(error) if error.errno() == Some(gantry_linux::Errno::NOENT) => self.load_everything(),
            other => Ok(other?),
        }
    }

    pub(super) fn host(&self) -> &Host {
        &self.host
    }

    pub(super) fn folder(&self) -> &netd::Folder {
        &self.folder
    }
}

/// What an endpoint resolves by: the owner's names, then its aliases on this network.
fn names(places: &Places, endpoint: &EndpointRecord) -> Vec<String> {
    let mut names = places.names.clone();
    let aliases = endpoint.options.aliases.iter().filter(|alias| !places.names.contains(alias));
    // The name first, because reverse look-ups answer with it; ids last.
    names.splice(
        1.min(places.names.len())..,
        aliases.cloned().chain(places.names.iter().skip(1).cloned()).collect::<Vec<_>>(),
    );
    names
}

/// Names that the outer end of a link may have: the second and later ones while the kernel still takes the link
/// of the run before away.
fn port_names(id: &EndpointId) -> impl Iterator<Item = InterfaceName> + use<> {
    let short = id.short().to_owned();
    ["", "a", "b", "c"]
        .into_iter()
        .map(move |turn| format!("gv{short}{turn}").parse().expect("15 letters and digits are a link's name"))
}

fn attach_fresh(
    host: &Host,
    bridge: &Bridge,
    endpoint: &EndpointRecord,
    netns: &mut Netns,
    interface: &Interface,
) -> Result<(), Error> {
    let mut taken = None;
    for name in port_names(&endpoint.id) {
        match host.attach(bridge, &name, netns, interface) {
            Err(error) if error.errno() == Some(gantry_linux::Errno::EXIST) => taken = Some(error),
            other => return Ok(other?),
        }
    }
    Err(taken.map_or_else(
        || NetworkProblem::InterfaceTaken { interface: interface.name.to_string() }.into(),
        |error: NetworkError| error.into(),
    ))
}

fn rules_of(network: &NetworkRecord, bridges: Vec<InterfaceName>) -> NetworkRules {
    NetworkRules {
        bridges,
        subnets: network.options.subnets.iter().map(|subnet| subnet.prefix).collect(),
        internal: network.options.internal,
        inter_container: network.options.bridge.inter_container,
        masquerade: network.options.bridge.masquerade,
        open: false,
    }
}

/// A bridge's hardware address, made of the network's random id.
fn mac_of(id: &NetworkId, segment: u8) -> MacAddress {
    let byte = |index: usize| u8::from_str_radix(&id.as_str()[index * 2..index * 2 + 2], 16);
    let mut octets: [u8; 6] = std::array::from_fn(|index| byte(index).expect("an id is hex digits"));
    octets[5] = octets[5].wrapping_add(segment);
    MacAddress::local(octets)
}

fn child_mode(network: &NetworkRecord) -> (InterfaceName, ChildMode) {
    let parent = &network.options.parent;
    let mode = match (network.options.driver, parent.mode) {
        (NetworkDriver::Ipvlan, Some(ParentMode::L3)) => ChildMode::IpvlanL3,
        (NetworkDriver::Ipvlan, Some(ParentMode::L3s)) => ChildMode::IpvlanL3s,
        (NetworkDriver::Ipvlan, _) => ChildMode::IpvlanL2,
        (_, Some(ParentMode::Private)) => ChildMode::MacvlanPrivate,
        (_, Some(ParentMode::Vepa)) => ChildMode::MacvlanVepa,
        (_, Some(ParentMode::Passthru)) => ChildMode::MacvlanPassthru,
        (_, _) => ChildMode::MacvlanBridge,
    };
    (parent.link.clone().expect("checked at the edge"), mode)
}
