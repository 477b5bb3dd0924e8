//! Places on networks and their addresses, within a transaction: which rows say that an address is taken, and
//! which address was given last. Which one is next is [`gantry_network::next_address`]'s to say.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use gantry_network::{is_for_endpoints, next_address};
use gantry_store::{Page, Transaction};
use gantry_types::{EndpointId, EndpointOptions, InterfaceName, NetworkId, Subnet};

use super::driver::DriverProblem;
use super::problem::NetworkProblem;
use super::tables::{ADDRESSES, ENDPOINTS, EndpointRecord, NetworkRecord, Owner, mac_of_id};
use crate::error::Error;

/// The address given last, by network and family; the next is looked for behind it. The rows decide.
#[derive(Debug, Default)]
pub(crate) struct Cursors {
    last: Mutex<HashMap<(NetworkId, bool), IpAddr>>,
}

impl Cursors {
    fn get(&self, network: &NetworkId, ipv6: bool) -> Option<IpAddr> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.get(&(network.clone(), ipv6)).copied()
    }

    fn set(&self, network: &NetworkId, address: IpAddr) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.insert((network.clone(), address.is_ipv6()), address);
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
    if network.is_foreign() {
        check_wishes(network, options)?;
        tx.insert(&ADDRESSES, &(network.id.clone(), id.to_string()), owner.key())?;
    }
    let [ipv4, ipv6] = families;
    let outside = |address| NetworkProblem::AddressOutside { address, name: network.name.to_string() };
    if let (Some(address), None, false) = (options.ipv4, ipv4, network.is_foreign()) {
        return Err(outside(address.into()).into());
    }
    if let (Some(address), None, false) = (options.ipv6, ipv6, network.is_foreign()) {
        return Err(outside(address.into()).into());
    }
    let endpoint = EndpointRecord {
        mac: options
            .mac
            .or_else(|| ipv4.or(ipv6).map(gantry_network::mac_of))
            .unwrap_or_else(|| mac_of_id(id.as_str(), 0)),
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
    tx.remove(&ADDRESSES, &(endpoint.network.clone(), endpoint.id.to_string()));
    tx.remove(&ENDPOINTS, &(endpoint.owner.key(), endpoint.network.clone()));
}

/// Whether what is asked of a place can be asked of its network's driver.
fn check_wishes(network: &NetworkRecord, options: &EndpointOptions) -> Result<(), DriverProblem> {
    let refuse = |what| Err(DriverProblem::Cannot { network: network.name.to_string(), what });
    if (options.ipv4.is_some() || options.ipv6.is_some()) && !network.abilities.addresses {
        return refuse("an address of the caller's choice");
    }
    if options.mac.is_some() && !network.abilities.mac {
        return refuse("a hardware address of the caller's choice");
    }
    Ok(())
}

/// Whether an address asked for can be had.
fn check(
    tx: &Transaction<'_>,
    network: &NetworkRecord,
    subnet: &Subnet,
    address: IpAddr,
) -> Result<IpAddr, NetworkProblem> {
    let name = || network.name.to_string();
    if !is_for_endpoints(subnet, address) {
        return Err(NetworkProblem::AddressOutside { address, name: name() });
    }
    if is_taken(tx, network, address) {
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
    let prefix = subnet.range.unwrap_or(subnet.prefix);
    let last = cursors.get(&network.id, prefix.addr().is_ipv6());
    let address = next_address(subnet, last, |address| is_taken(tx, network, address))
        .ok_or_else(|| NetworkProblem::AddressesExhausted { name: network.name.to_string(), prefix })?;
    cursors.set(&network.id, address);
    Ok(address)
}

fn is_taken(tx: &Transaction<'_>, network: &NetworkRecord, address: IpAddr) -> bool {
    tx.get(&ADDRESSES, &(network.id.clone(), address.to_string())).is_some()
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
