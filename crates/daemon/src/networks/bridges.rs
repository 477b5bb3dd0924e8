//! Which bridges does a network have, and which of them has room? They are made when the first place on it is
//! used, or found as a daemon before this one left them; netd and the table hear of each. Blocking; each step
//! can be repeated.

use std::sync::{Arc, Mutex, PoisonError};

use gantry_network::nftables::NetworkRules;
use gantry_network::{Bridge, BridgeSpec, Link, SEGMENT_ENDPOINTS_MAX, netd, segment_name};
use gantry_types::{InterfaceName, NetworkId};
use ipnet::IpNet;

use super::Networks;
use super::problem::NetworkProblem;
use super::tables::{NetworkRecord, mac_of_id};
use crate::error::Error;

/// A network that is up.
#[derive(Debug, Clone)]
pub(crate) struct Up {
    /// Its bridges, the first and further segments, each with how many endpoints it got; none on a host link.
    segments: Vec<(Bridge, usize)>,
}

impl Networks {
    /// The network's first bridge, made where it is missing.
    pub(crate) fn bring_up(&self, network: &NetworkRecord) -> Result<(), Error> {
        if network.bridge.is_some() { self.with_up(network, |_| Ok(())) } else { Ok(()) }
    }

    /// Takes a network from the kernel and from netd.
    pub(crate) fn bring_down(&self, network: &NetworkRecord) -> Result<(), Error> {
        let slot = self.slot(&network.id);
        let mut up = slot.lock().unwrap_or_else(PoisonError::into_inner);
        let file = self.folder.network(network.id.as_str())?;
        let mut bridges: Vec<InterfaceName> = network.bridge.iter().cloned().collect();
        if let Some(first) = &network.bridge {
            bridges.extend(further(first, &self.host.links()?).map(|(_, name)| name));
            // Before its file, by which the next daemon would know it: a bridge may have any name.
            self.host.remove_bridge(first)?;
        }
        self.folder.remove_network(network.id.as_str())?;
        if file.is_some() || up.is_some() {
            let change = rules_of(network, bridges).change();
            self.change(&change.remove, &[])?;
        }
        *up = None;
        self.up.lock().unwrap_or_else(PoisonError::into_inner).remove(&network.id);
        Ok(())
    }

    /// A bridge of the network that has a port left.
    pub(super) fn segment(&self, network: &NetworkRecord) -> Result<Bridge, Error> {
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
            let bridge = self.make_segment(network, &first, number)?;
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
            mac: mac_of_id(network.id.as_str(), 0),
            mtu: network.options.mtu,
        })?;
        let bridge = Bridge { isolated: !network.options.bridge.inter_container, ..bridge };
        let links = self.host.links()?;
        let ports = |bridge: &Bridge| links.iter().filter(|link| link.bridge == Some(bridge.index)).count();
        let mut segments = vec![(bridge.clone(), ports(&bridge))];
        // Those that the daemon before this one made.
        for (number, _) in further(&bridge.name, &links) {
            let segment = self.make_segment(network, &bridge, number)?;
            let count = ports(&segment);
            segments.push((segment, count));
        }
        let up = Up { segments };
        self.tell_network(network, &up)?;
        Ok(up)
    }

    fn make_segment(&self, network: &NetworkRecord, first: &Bridge, number: u8) -> Result<Bridge, Error> {
        let mac = mac_of_id(network.id.as_str(), number);
        let bridge = self.host.make_segment(first, number, mac, network.options.mtu)?;
        Ok(Bridge { isolated: first.isolated, ..bridge })
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
}

/// The further segments of a network that are there, by its first bridge.
pub(super) fn further(first: &InterfaceName, links: &[Link]) -> impl Iterator<Item = (u8, InterfaceName)> {
    (1..=u8::MAX)
        .map(|number| (number, segment_name(first, number)))
        .take_while(|(_, name)| links.iter().any(|link| link.name == *name))
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
