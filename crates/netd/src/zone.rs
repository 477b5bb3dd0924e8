//! What is known of networks and endpoints, arranged for questions: names and addresses per network, and networks per
//! container. One file's change is one call here, and between two questions, so a question meets the state before it or
//! after it.
//!
//! An endpoint may be known before its network: it waits, and nobody sees it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use gantry_network::netd::{Endpoint, Network, Port};
use ipnet::IpNet;

use crate::question::to_wire;

/// Everything that is known.
#[derive(Debug, Default)]
pub(crate) struct Zone {
    networks: HashMap<Rc<str>, NetworkZone>,
    endpoints: HashMap<Box<str>, Rc<EndpointZone>>,
    /// The endpoints of each container.
    containers: HashMap<Rc<str>, Vec<Rc<EndpointZone>>>,
}

/// What is known of one network.
#[derive(Debug, Default)]
pub(crate) struct NetworkZone {
    /// What its file says; absent while only its endpoints are known.
    facts: Option<Facts>,
    names: HashMap<Box<[u8]>, Vec<Rc<EndpointZone>>>,
    addresses: HashMap<IpAddr, Rc<EndpointZone>>,
}

/// What a network's file says, as far as questions need it.
#[derive(Debug)]
struct Facts {
    name: Option<Box<[u8]>>,
    subnets: Box<[IpNet]>,
    internal: bool,
}

/// What is known of one endpoint.
#[derive(Debug)]
pub(crate) struct EndpointZone {
    /// The network's id.
    pub(crate) network: Rc<str>,
    container: Rc<str>,
    /// In the order of its file.
    pub(crate) addresses: Box<[IpAddr]>,
    /// As labels; the first is what it is called in answers.
    pub(crate) names: Box<[Box<[u8]>]>,
    /// What it serves.
    pub(crate) ports: Box<[Port]>,
    /// Its own resolvers; empty means the host's.
    pub(crate) servers: Rc<[SocketAddr]>,
}

/// Who asks: seen from the network that the question came through.
#[derive(Debug)]
pub(crate) struct Asker<'z> {
    /// The network that the question came through first, then the others of the container.
    pub(crate) networks: Vec<&'z NetworkZone>,
    /// Its own resolvers; empty means the host's.
    pub(crate) servers: Option<&'z Rc<[SocketAddr]>>,
    /// Whether its questions may leave the machine.
    pub(crate) may_leave: bool,
}

impl Zone {
    /// A network's file was written.
    pub(crate) fn put_network(&mut self, network: &Network) {
        let facts = Facts {
            name: to_wire(&network.name),
            subnets: network.subnets.clone().into_boxed_slice(),
            internal: network.internal,
        };
        self.networks.entry(network.id.as_str().into()).or_default().facts = Some(facts);
    }

    /// A network's file is gone.
    pub(crate) fn remove_network(&mut self, id: &str) {
        if let Some(network) = self.networks.get_mut(id) {
            network.facts = None;
            if network.names.is_empty() && network.addresses.is_empty() {
                self.networks.remove(id);
            }
        }
    }

    /// An endpoint's file was written.
    pub(crate) fn put_endpoint(&mut self, endpoint: &Endpoint) {
        self.remove_endpoint(&endpoint.id);
        let network_id = shared_key(&self.networks, &endpoint.network);
        let container = shared_key(&self.containers, &endpoint.container);
        let mut names: Vec<Box<[u8]>> = Vec::with_capacity(endpoint.names.len());
        for name in endpoint.names.iter().filter_map(|name| to_wire(name)) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        let known = Rc::new(EndpointZone {
            network: Rc::clone(&network_id),
            container: Rc::clone(&container),
            addresses: endpoint.addresses.clone().into_boxed_slice(),
            names: names.into_boxed_slice(),
            ports: endpoint.ports.clone().into_boxed_slice(),
            servers: endpoint.dns_servers.as_slice().into(),
        });
        let network = self.networks.entry(network_id).or_default();
        for name in &known.names {
            match network.names.entry(name.clone()) {
                Entry::Occupied(mut holders) => holders.get_mut().push(Rc::clone(&known)),
                Entry::Vacant(place) => {
                    place.insert(vec![Rc::clone(&known)]);
                }
            }
        }
        for address in &known.addresses {
            network.addresses.insert(*address, Rc::clone(&known));
        }
        self.containers.entry(container).or_insert_with(|| Vec::with_capacity(1)).push(Rc::clone(&known));
        self.endpoints.insert(endpoint.id.as_str().into(), known);
    }

    /// An endpoint's file is gone.
    pub(crate) fn remove_endpoint(&mut self, id: &str) {
        let Some(known) = self.endpoints.remove(id) else { return };
        if let Some(of_container) = self.containers.get_mut(&known.container) {
            of_container.retain(|other| !Rc::ptr_eq(other, &known));
            if of_container.is_empty() {
                self.containers.remove(&known.container);
            }
        }
        let Some(network) = self.networks.get_mut(&known.network) else { return };
        for name in &known.names {
            if let Some(holders) = network.names.get_mut(name) {
                holders.retain(|other| !Rc::ptr_eq(other, &known));
                if holders.is_empty() {
                    network.names.remove(name);
                }
            }
        }
        for address in &known.addresses {
            // Another endpoint may have taken the address before this one's file went.
            if network.addresses.get(address).is_some_and(|holder| Rc::ptr_eq(holder, &known)) {
                network.addresses.remove(address);
            }
        }
        if network.facts.is_none() && network.names.is_empty() && network.addresses.is_empty() {
            self.networks.remove(&known.network);
        }
    }

    /// The ids of all endpoints.
    pub(crate) fn endpoint_ids(&self) -> impl Iterator<Item = &str> {
        self.endpoints.keys().map(|id| &**id)
    }

    /// The ids of all networks that have a file.
    pub(crate) fn network_ids(&self) -> impl Iterator<Item = &str> {
        self.networks.iter().filter(|(_, network)| network.facts.is_some()).map(|(id, _)| &**id)
    }

    /// Who asks from `source` through the network `id`. `None` where nobody may: the source is outside its subnets.
    pub(crate) fn asker(&self, id: &str, source: IpAddr) -> Option<Asker<'_>> {
        let network = self.networks.get(id)?;
        let facts = network.facts.as_ref()?;
        if !network.contains(source) {
            return None;
        }
        let mut asker = Asker { networks: vec![network], servers: None, may_leave: !facts.internal };
        let Some(endpoint) = network.addresses.get(&source) else { return Some(asker) };
        asker.servers = Some(&endpoint.servers);
        let others = self.containers.get(&endpoint.container).map(Vec::as_slice).unwrap_or_default();
        for other in others.iter().filter(|other| !Rc::ptr_eq(other, endpoint)) {
            let Some(network) = self.networks.get(&other.network) else { continue };
            let Some(facts) = &network.facts else { continue };
            asker.may_leave |= !facts.internal;
            asker.networks.push(network);
        }
        Some(asker)
    }

    /// The network of an endpoint.
    pub(crate) fn network_of(&self, endpoint: &EndpointZone) -> Option<&NetworkZone> {
        self.networks.get(&endpoint.network)
    }
}

impl NetworkZone {
    /// Who has this name, or this name before the network's own.
    pub(crate) fn find(&self, name: &[u8]) -> Option<&[Rc<EndpointZone>]> {
        if let Some(found) = self.names.get(name) {
            return Some(found);
        }
        let own = self.name()?;
        let before = name.strip_suffix(own)?;
        // The rest must be whole labels: it is in the table only then, because labels say their lengths.
        self.names.get(before).map(Vec::as_slice)
    }

    /// The network's name as labels; `None` where it is no name.
    pub(crate) fn name(&self) -> Option<&[u8]> {
        self.facts.as_ref()?.name.as_deref()
    }

    /// Who has an address.
    pub(crate) fn holder(&self, address: IpAddr) -> Option<&Rc<EndpointZone>> {
        self.addresses.get(&address)
    }

    /// Whether an address is of one of its subnets; a link's own IPv6 addresses are too.
    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        let facts = self.facts.as_ref();
        let subnets = facts.map(|facts| &*facts.subnets).unwrap_or_default();
        subnets.iter().any(|subnet| subnet.contains(&address))
    }
}

fn shared_key<T>(table: &HashMap<Rc<str>, T>, key: &str) -> Rc<str> {
    table.get_key_value(key).map_or_else(|| key.into(), |(shared, _)| Rc::clone(shared))
}
