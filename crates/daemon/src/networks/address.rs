//! Places on networks and their addresses, within a transaction. Addresses are given one after the other and
//! come round again only at the subnet's end, so that an address that was just given back rests: neighbours and
//! connections remember it for a while.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};

use gantry_store::{Page, Transaction};
use gantry_types::{EndpointId, EndpointOptions, InterfaceName, MacAddress, NetworkId, Subnet};
use ipnet::IpNet;

use super::problem::NetworkProblem;
use super::tables::{ADDRESSES, ENDPOINTS, EndpointRecord, NetworkRecord, Owner};
use crate::error::Error;

/// Addresses tried before a subnet counts as full; no network has so many endpoints.
const TRIES_MAX: u128 = 1 << 20;

/// Where the next address is looked for, by network and family. Only a beginning: the rows decide.
#[derive(Debug, Default)]
pub(crate) struct Cursors {
    next: Mutex<HashMap<(NetworkId, bool), u128>>,
}

impl Cursors {
    fn get(&self, network: &NetworkId, ipv6: bool) -> Option<u128> {
        let next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        next.get(&(network.clone(), ipv6)).copied()
    }

    fn set(&self, network: &NetworkId, ipv6: bool, address: u128) {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        next.insert((network.clone(), ipv6), address);
    }
}

/// The owner's places, in the order they were asked for.
pub(crate) fn of_owner(tx: &Transaction<'_>, owner: &Owner) -> Vec<EndpointRecord> {
    let rows = tx.scan(&ENDPOINTS, &Page::prefix(&owner.key()));
    let mut endpoints: Vec<_> = rows.into_iter().map(|(_, row)| (*row.value).clone()).collect();
    endpoints.sort_by_key(|endpoint| endpoint.rank);
    endpoints
}

/// Makes a place with its addresses.
pub(crate) fn take(
    tx: &mut Transaction<'_>,
    cursors: &Cursors,
    owner: &Owner,
    network: &NetworkRecord,
    options: &EndpointOptions,
) -> Result<EndpointRecord, Error> {
    let key = (owner.key(), network.id.clone());
    let others = of_owner(tx, owner);
    if others.iter().any(|other| other.network == network.id) {
        return Err(NetworkProblem::EndpointExists { name: network.name.to_string() }.into());
    }
    let id = EndpointId::from_random(&rand::random());
    let interface = interface(&others, options)?;
    let mut families = [None, None];
    for subnet in &network.options.subnets {
        let ipv6 = subnet.prefix.addr().is_ipv6();
        let asked = if ipv6 { options.ipv6.map(IpAddr::V6) } else { options.ipv4.map(IpAddr::V4) };
        let address = match asked {
            Some(address) => check(tx, network, subnet, address)?,
            None => free(tx, cursors, network, subnet)?,
        };
        tx.insert(&ADDRESSES, &(network.id.clone(), address.to_string()), owner.key())?;
        families[usize::from(ipv6)] = Some(address);
    }
    let [ipv4, ipv6] = families;
    let outside = |address| NetworkProblem::AddressOutside { address, name: network.name.to_string() };
    if let (Some(address), None) = (options.ipv4, ipv4) {
        return Err(outside(address.into()).into());
    }
    if let (Some(address), None) = (options.ipv6, ipv6) {
        return Err(outside(address.into()).into());
    }
    let endpoint = EndpointRecord {
        mac: options.mac.or_else(|| ipv4.or(ipv6).map(gantry_network::mac_of)).unwrap_or_else(|| mac_of(&id)),
        id,
        owner: owner.clone(),
        network: network.id.clone(),
        ipv4: ipv4.and_then(|address| if let IpAddr::V4(address) = address { Some(address) } else { None }),
        ipv6: ipv6.and_then(|address| if let IpAddr::V6(address) = address { Some(address) } else { None }),
        interface,
        rank: others.iter().map(|other| other.rank + 1).max().unwrap_or(0),
        options: options.clone(),
    };
    tx.insert(&ENDPOINTS, &key, endpoint.clone())?;
    Ok(endpoint)
}

/// Takes a place away, and gives its addresses back.
pub(crate) fn give_back(tx: &mut Transaction<'_>, endpoint: &EndpointRecord) {
    for address in endpoint.addresses() {
        tx.remove(&ADDRESSES, &(endpoint.network.clone(), address.to_string()));
    }
    tx.remove(&ENDPOINTS, &(endpoint.owner.key(), endpoint.network.clone()));
}

/// Whether an address asked for can be had.
fn check(
    tx: &Transaction<'_>,
    network: &NetworkRecord,
    subnet: &Subnet,
    address: IpAddr,
) -> Result<IpAddr, NetworkProblem> {
    let name = || network.name.to_string();
    if !subnet.prefix.contains(&address) || is_special(subnet, address) {
        return Err(NetworkProblem::AddressOutside { address, name: name() });
    }
    if tx.get(&ADDRESSES, &(network.id.clone(), address.to_string())).is_some() {
        return Err(NetworkProblem::AddressInUse { address, name: name() });
    }
    Ok(address)
}

/// The next free address.
fn free(
    tx: &Transaction<'_>,
    cursors: &Cursors,
    network: &NetworkRecord,
    subnet: &Subnet,
) -> Result<IpAddr, NetworkProblem> {
    let range = subnet.range.unwrap_or(subnet.prefix);
    let (first, last) = (number(range.network()), number(range.broadcast()));
    let ipv6 = range.addr().is_ipv6();
    let begin = cursors.get(&network.id, ipv6).filter(|next| (first..=last).contains(next)).unwrap_or(first);
    let all = (last - first).saturating_add(1);
    let mut candidate = begin;
    for _ in 0..all.min(TRIES_MAX) {
        let address = address(candidate, ipv6);
        candidate = if candidate == last { first } else { candidate + 1 };
        if !is_special(subnet, address)
            && tx.get(&ADDRESSES, &(network.id.clone(), address.to_string())).is_none()
        {
            cursors.set(&network.id, ipv6, candidate);
            return Ok(address);
        }
    }
    Err(NetworkProblem::AddressesExhausted { name: network.name.to_string(), prefix: range })
}

/// Addresses that no endpoint has: the gateway's, the subnet's own, and IPv4's broadcast.
fn is_special(subnet: &Subnet, address: IpAddr) -> bool {
    let prefix = subnet.prefix;
    let wide = prefix.prefix_len() + 1 < prefix.max_prefix_len();
    subnet.gateway == Some(address)
        || (wide && address == prefix.network())
        || (wide && address.is_ipv4() && address == prefix.broadcast())
}

/// The first address that a gateway can have.
pub(crate) fn first_usable(prefix: IpNet) -> IpAddr {
    let first = number(prefix.network());
    let step = u128::from(prefix.prefix_len() + 1 < prefix.max_prefix_len());
    address(first + step, prefix.addr().is_ipv6())
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u32::from(address).into(),
        IpAddr::V6(address) => address.into(),
    }
}

fn address(number: u128, ipv6: bool) -> IpAddr {
    if ipv6 {
        Ipv6Addr::from(number).into()
    } else {
        Ipv4Addr::from(u32::try_from(number).expect("it is of an IPv4 range")).into()
    }
}

/// A hardware address made of an endpoint's random id.
fn mac_of(id: &EndpointId) -> MacAddress {
    let byte = |index: usize| u8::from_str_radix(&id.as_str()[index * 2..index * 2 + 2], 16);
    MacAddress::local(std::array::from_fn(|index| byte(index).expect("an id is hex digits")))
}

/// The link's name: as asked, else the first free `eth<n>`.
fn interface(others: &[EndpointRecord], options: &EndpointOptions) -> Result<InterfaceName, NetworkProblem> {
    let taken = |name: &InterfaceName| others.iter().any(|other| other.interface == *name);
    if let Some(asked) = &options.interface {
        if taken(asked) || asked.as_str() == "lo" {
            return Err(NetworkProblem::InterfaceTaken { interface: asked.to_string() });
        }
        return Ok(asked.clone());
    }
    let free = (0..=others.len()).map(|index| format!("eth{index}").parse().expect("a link's name"));
    Ok(free.into_iter().find(|name| !taken(name)).expect("one more than there are others"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subnet(prefix: &str, gateway: &str) -> Subnet {
        let gateway = Some(gateway.parse().expect("an address"));
        Subnet { prefix: prefix.parse().expect("a prefix"), gateway, range: None }
    }

    #[test]
    fn network_gateway_and_broadcast_are_no_endpoints() {
        let four = subnet("10.0.0.0/24", "10.0.0.1");
        for (address, special) in
            [("10.0.0.0", true), ("10.0.0.1", true), ("10.0.0.255", true), ("10.0.0.2", false)]
        {
            assert_eq!(is_special(&four, address.parse().expect("an address")), special, "{address}");
        }
        let six = subnet("fd00::/64", "fd00::1");
        for (address, special) in
            [("fd00::", true), ("fd00::1", true), ("fd00::2", false), ("fd00::ffff:ffff:ffff:ffff", false)]
        {
            assert_eq!(is_special(&six, address.parse().expect("an address")), special, "{address}");
        }
    }

    #[test]
    fn a_gateway_is_the_first_usable_address() {
        let first = |prefix: &str| first_usable(prefix.parse().expect("a prefix")).to_string();
        assert_eq!(first("10.0.0.0/24"), "10.0.0.1");
        assert_eq!(first("10.0.0.0/31"), "10.0.0.0");
        assert_eq!(first("fd00::/64"), "fd00::1");
    }
}
