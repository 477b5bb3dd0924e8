//! What an owner has of networks, read from the rows: the places with their networks, the ports, the names; and
//! what of it a container's own files (`/etc/hosts`, `/etc/resolv.conf`) say.

use std::net::IpAddr;

use gantry_store::Store;
use gantry_types::{ContainerOptions, Namespace};

use super::places::{Places, gateway_of};
use super::tables::{NETWORKS, Owner, SandboxRecord};
use super::{address, attachment, port};
use crate::tables::ContainerRecord;

/// What goes into a container's files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct FileFacts {
    /// Its own addresses, first place first.
    pub addresses: Vec<IpAddr>,
    /// Whom it asks for names; empty means as the host.
    pub nameservers: Vec<IpAddr>,
    /// The host's address on its first network.
    pub host_gateway: Option<IpAddr>,
}

/// The places of a container.
pub(crate) fn of_container(store: &Store, record: &ContainerRecord) -> Places {
    let owner = Owner::Container(record.namespace.clone(), record.id.clone());
    let names = vec![record.name.to_string(), record.id.short().to_owned(), record.id.to_string()];
    read(store, &owner, names, &record.options)
}

/// The places of a sandbox.
pub(crate) fn of_sandbox(store: &Store, record: &SandboxRecord) -> Places {
    let owner = Owner::Sandbox(record.namespace.clone(), record.id.clone());
    let names = vec![record.hostname.clone(), record.id.short().to_owned(), record.id.to_string()];
    read(store, &owner, names, &ContainerOptions::default())
}

/// The owner of a container's places.
pub(crate) fn owner_of(namespace: &Namespace, id: &gantry_types::ContainerId) -> Owner {
    Owner::Container(namespace.clone(), id.clone())
}

fn read(store: &Store, owner: &Owner, names: Vec<String>, options: &ContainerOptions) -> Places {
    let mut resolvers = Vec::new();
    let (all, ports) = store.view(|tx| {
        let places = address::of_owner(tx, owner).into_iter().filter_map(|mut endpoint| {
            let network = tx.get(&NETWORKS, &endpoint.network)?;
            if network.value.is_foreign() {
                let made = attachment::made(tx, &endpoint).unwrap_or_default();
                made.fill_in(&mut endpoint);
                resolvers.extend(made.nameservers);
            }
            Some((endpoint, (*network.value).clone()))
        });
        (places.collect(), port::of_owner(tx, owner))
    });
    let dns = options.dns.iter().filter_map(|text| text.parse().ok()).collect();
    Places { all, ports, owner: owner.key(), names, dns, resolvers }
}

/// What the files of a container with these places say.
pub(crate) fn of_files(places: &Places, dns: bool) -> FileFacts {
    let gateways = |ipv6| {
        places
            .all
            .iter()
            .filter(|(_, network)| network.bridge.is_some())
            .filter_map(move |(_, network)| gateway_of(network, ipv6))
    };
    let host_gateway = gateways(false).next().or_else(|| gateways(true).next());
    // netd knows every network that the asker is on by its source address, so one is enough.
    let nameservers = match host_gateway {
        Some(gateway) if dns => vec![gateway],
        _ if places.dns.is_empty() => places.resolvers.clone(),
        _ => Vec::new(),
    };
    FileFacts {
        addresses: places.all.iter().flat_map(|(endpoint, _)| endpoint.addresses()).collect(),
        nameservers,
        host_gateway,
    }
}
