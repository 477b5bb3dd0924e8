//! A network's row: finding it by what a caller wrote, and filling in what was left open. Subnets come from the
//! configured pools, in the sizes configured, and overlap neither another network nor a route of the host.

use std::collections::HashSet;

use gantry_network::{SubnetPool, first_usable};
use gantry_store::{Page, Store, Transaction};
use gantry_types::{
    DEFAULT_BRIDGE, DEFAULT_NETWORK, InterfaceName, Namespace, NetworkDriver, NetworkId, NetworkName,
    NetworkOptions, Subnet,
};
use ipnet::IpNet;

use super::driver::Abilities;
use super::problem::NetworkProblem;
use super::tables::{ADDRESSES, NETWORK_NAMES, NETWORKS, NetworkRecord};
use crate::clock;
use crate::config;
use crate::error::Error;

/// The default network's id, the same on every machine.
pub(crate) fn default_id() -> NetworkId {
    NetworkId::from_random(b"gantry's default network gantry0").as_str().parse().expect("an id reads back")
}

/// Whether a caller means the default network.
pub(crate) fn is_default(text: &str) -> bool {
    text == DEFAULT_NETWORK || text == default_id().as_str()
}

/// Which network `text` means in a namespace: an id, else a name, else the only id that begins so.
pub(crate) fn find(
    tx: &Transaction<'_>,
    namespace: &Namespace,
    text: &str,
) -> Result<NetworkRecord, NetworkProblem> {
    let visible = |record: &NetworkRecord| record.is_default || record.namespace == *namespace;
    let by_id = |id: &NetworkId| {
        tx.get(&NETWORKS, id).map(|row| (*row.value).clone()).filter(|record| visible(record))
    };
    if is_default(text)
        && let Some(record) = by_id(&default_id())
    {
        return Ok(record);
    }
    if let Ok(id) = text.parse::<NetworkId>()
        && let Some(record) = by_id(&id)
    {
        return Ok(record);
    }
    if let Ok(name) = text.parse::<NetworkName>()
        && let Some(row) = tx.get(&NETWORK_NAMES, &(namespace.clone(), name))
        && let Some(record) = by_id(&row.value)
    {
        return Ok(record);
    }
    let not_found = || NetworkProblem::NotFound {
        text: text.chars().take(160).collect(),
        namespace: namespace.to_string(),
    };
    if text.is_empty() || !text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        return Err(not_found());
    }
    let mut matches = all_of(tx, namespace).into_iter().filter(|record| record.id.as_str().starts_with(text));
    match (matches.next(), matches.next()) {
        (Some(record), None) => Ok(record),
        (Some(_), Some(_)) => Err(NetworkProblem::Ambiguous { text: text.to_owned() }),
        (None, _) => Err(not_found()),
    }
}

/// Every network that a namespace sees, by name.
pub(crate) fn all_of(tx: &Transaction<'_>, namespace: &Namespace) -> Vec<NetworkRecord> {
    let names = tx.scan(&NETWORK_NAMES, &Page::prefix(namespace));
    let mut ids: Vec<NetworkId> = names.into_iter().map(|(_, row)| (*row.value).clone()).collect();
    if !ids.contains(&default_id()) {
        ids.push(default_id());
    }
    let mut records: Vec<NetworkRecord> =
        ids.iter().filter_map(|id| tx.get(&NETWORKS, id)).map(|row| (*row.value).clone()).collect();
    records.sort_by(|a, b| a.name.cmp(&b.name));
    records
}

/// How many addresses of a network are taken.
pub(crate) fn addresses_taken(tx: &Transaction<'_>, id: &NetworkId) -> Vec<String> {
    let rows = tx.scan(&ADDRESSES, &Page::prefix(id));
    let owners: HashSet<String> = rows.into_iter().map(|(_, row)| (*row.value).clone()).collect();
    owners.into_iter().collect()
}

/// The record of a new network, without its subnets.
pub(crate) fn new(namespace: Namespace, name: NetworkName, options: NetworkOptions) -> NetworkRecord {
    let id = NetworkId::from_random(&rand::random());
    let bridge = match options.driver {
        NetworkDriver::Bridge => Some(options.bridge.name.clone().unwrap_or_else(|| link_name(&id))),
        NetworkDriver::Macvlan | NetworkDriver::Ipvlan | NetworkDriver::Cni | NetworkDriver::External => None,
    };
    NetworkRecord {
        namespace,
        id,
        name,
        options,
        bridge,
        is_default: false,
        abilities: Abilities::default(),
        created_unix_ns: clock::unix_ns(),
    }
}

/// The record of the default network, without its subnets.
pub(crate) fn new_default(config: &config::Networks) -> NetworkRecord {
    NetworkRecord {
        namespace: Namespace::default(),
        id: default_id(),
        name: DEFAULT_NETWORK.parse().expect("it is a name"),
        options: NetworkOptions {
            ipv6: config.default_ipv6,
            subnets: config.default_subnets.iter().map(|prefix| bare(*prefix)).collect(),
            ..NetworkOptions::default()
        },
        bridge: Some(DEFAULT_BRIDGE.parse().expect("it is a link's name")),
        is_default: true,
        abilities: Abilities::default(),
        created_unix_ns: clock::unix_ns(),
    }
}

/// Names of bridges are made of ids, so that a leftover is known for what it is.
fn link_name(id: &NetworkId) -> InterfaceName {
    format!("gn{}", id.short()).parse().expect("14 letters and digits are a link's name")
}

fn bare(prefix: IpNet) -> Subnet {
    Subnet { prefix, gateway: None, range: None }
}

/// Fills in subnets, gateways and MTU, and writes the network's rows. `routed` is what the host reaches.
pub(crate) fn insert(
    tx: &mut Transaction<'_>,
    mut record: NetworkRecord,
    config: &config::Networks,
    routed: &[IpNet],
) -> Result<NetworkRecord, Error> {
    let name_key = (record.namespace.clone(), record.name.clone());
    if tx.get(&NETWORK_NAMES, &name_key).is_some() || (!record.is_default && is_default(record.name.as_str()))
    {
        return Err(NetworkProblem::NameTaken { name: record.name.to_string() }.into());
    }
    let others = tx.scan(&NETWORKS, &Page::all());
    let same_link =
        others.iter().find(|(_, other)| record.bridge.is_some() && other.value.bridge == record.bridge);
    if let (Some((_, other)), Some(link)) = (same_link, &record.bridge) {
        return Err(
            NetworkProblem::LinkTaken { link: link.to_string(), name: other.value.name.to_string() }.into()
        );
    }
    let mut taken: Vec<(IpNet, String)> = others
        .iter()
        .filter(|(_, other)| other.value.options.driver == NetworkDriver::Bridge)
        .flat_map(|(_, other)| {
            let name = format!("network {}", other.value.name);
            other.value.options.subnets.iter().map(move |subnet| (subnet.prefix, name.clone()))
        })
        .collect();
    taken.extend(routed.iter().map(|prefix| (*prefix, "a route of the host".to_owned())));
    fill_in(&mut record, config, &taken)?;
    tx.insert(&NETWORKS, &record.id, record.clone())?;
    tx.insert(&NETWORK_NAMES, &name_key, record.id.clone())?;
    Ok(record)
}

fn fill_in(
    record: &mut NetworkRecord,
    config: &config::Networks,
    taken: &[(IpNet, String)],
) -> Result<(), NetworkProblem> {
    let options = &mut record.options;
    if options.driver.is_foreign() {
        return Ok(());
    }
    // A network on a host link lives in that link's subnet, which the host has a route to.
    let own = options.driver == NetworkDriver::Bridge;
    let prefixes: Vec<IpNet> = taken.iter().map(|(prefix, _)| *prefix).collect();
    let choose = |pool: &config::Pool| SubnetPool { base: pool.base, prefix: pool.size }.choose(&prefixes);
    for (wanted, ipv6, pools) in
        [(options.ipv4, false, &config.ipv4_pools), (options.ipv6, true, &config.ipv6_pools)]
    {
        let has = options.subnets.iter().any(|subnet| subnet.prefix.addr().is_ipv6() == ipv6);
        if wanted && !has {
            let prefix = pools.iter().find_map(choose).ok_or(NetworkProblem::PoolsExhausted)?;
            options.subnets.push(bare(prefix));
        }
    }
    if !options.ipv4 {
        options.subnets.retain(|subnet| subnet.prefix.addr().is_ipv6());
    }
    options.subnets.sort_by_key(|subnet| subnet.prefix.addr().is_ipv6());
    for subnet in &mut options.subnets {
        let prefix = subnet.prefix;
        if own && let Some((other, holder)) = taken.iter().find(|(other, _)| overlap(prefix, *other)) {
            return Err(NetworkProblem::SubnetOverlaps { prefix, other: *other, holder: holder.clone() });
        }
        if prefix.prefix_len() + 1 > prefix.max_prefix_len() {
            return Err(NetworkProblem::SubnetTooSmall { prefix });
        }
        if own && subnet.gateway.is_none() {
            subnet.gateway = Some(first_usable(prefix));
        }
    }
    if options.mtu.is_none() {
        options.mtu = (config.mtu != 0).then_some(config.mtu);
    }
    Ok(())
}

fn overlap(a: IpNet, b: IpNet) -> bool {
    a.contains(&b) || b.contains(&a)
}

/// A network by its id.
pub(crate) fn get(store: &Store, id: &NetworkId) -> Result<NetworkRecord, NetworkProblem> {
    store
        .get(&NETWORKS, id)
        .map(|row| (*row.value).clone())
        .ok_or_else(|| NetworkProblem::NotFound { text: id.to_string(), namespace: String::new() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(options: NetworkOptions) -> NetworkRecord {
        new(Namespace::default(), "net".parse().expect("a name"), options)
    }

    fn taken(prefixes: &[&str]) -> Vec<(IpNet, String)> {
        prefixes.iter().map(|prefix| (prefix.parse().expect("a prefix"), "test".to_owned())).collect()
    }

    #[test]
    fn a_subnet_is_the_first_of_the_pools_that_overlaps_nothing() {
        let config = config::Networks::default();
        let first = config.ipv4_pools[0].base.subnets(config.ipv4_pools[0].size).expect("fits");
        let subnets: Vec<IpNet> = first.take(3).collect();
        let mut record = record(NetworkOptions { ipv6: true, ..NetworkOptions::default() });
        let taken = taken(&[&subnets[0].to_string(), &format!("{}/32", subnets[1].addr())]);
        fill_in(&mut record, &config, &taken).expect("there is room");
        assert_eq!(record.options.subnets[0].prefix, subnets[2]);
        assert!(record.options.subnets.iter().all(|subnet| subnet.gateway.is_some()));
        assert!(record.options.subnets[1].prefix.addr().is_ipv6());
    }

    #[test]
    fn a_subnet_asked_for_that_overlaps_is_refused_with_who_has_it() {
        let options = NetworkOptions {
            subnets: vec![bare("10.1.0.0/16".parse().expect("a prefix"))],
            ..NetworkOptions::default()
        };
        let problem = fill_in(&mut record(options), &config::Networks::default(), &taken(&["10.1.2.0/24"]));
        assert!(matches!(problem, Err(NetworkProblem::SubnetOverlaps { .. })), "{problem:?}");
    }
}
