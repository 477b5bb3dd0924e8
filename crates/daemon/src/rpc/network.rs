//! Networks, places on them, ports and sandboxes as the API tells them.

use std::borrow::Cow;
use std::time::Duration;

use gantry_api::convert::timestamp;
use gantry_api::networks::v1::{Endpoint, EndpointCounters, Network, PublishedPort, Sandbox};
use gantry_store::{Row, Transaction};
use gantry_types::{Namespace, NetworkId};
use ipnet::IpNet;

use super::{Service, list};
use crate::error::{Chain, Error};
use crate::networks::places::{Places, gateway_of};
use crate::networks::tables::{
    ENDPOINTS, EndpointRecord, NETWORKS, NetworkRecord, Owner, SANDBOXES, SandboxRecord,
};
use crate::networks::{NetworkProblem, address, attachment, facts, port, record, sandbox};
use crate::tables::{CONTAINERS, ContainerRecord};

/// How long drivers may take to look at all links of a network.
const CHECK_TIMEOUT: Duration = Duration::from_secs(10);

/// What lists of networks can be filtered by.
pub(super) const FIELDS: [&str; 5] = ["id", "name", "driver", "internal", "labels."];

impl Service {
    /// Which network `text` means.
    pub(super) fn network(&self, namespace: &Namespace, text: &str) -> Result<NetworkRecord, Error> {
        Ok(self.daemon.store.view(|tx| record::find(tx, namespace, text))?)
    }

    /// The network as it is now; with its endpoints where they are asked for.
    pub(super) fn network_message(&self, id: &NetworkId, with_endpoints: bool) -> Result<Network, Error> {
        let (row, endpoints) = self.daemon.store.view(|tx| {
            let endpoints: Vec<EndpointRecord> = record::addresses_taken(tx, id)
                .into_iter()
                .filter_map(|owner| tx.get(&ENDPOINTS, &(owner, id.clone())))
                .map(|row| (*row.value).clone())
                .collect();
            (tx.get(&NETWORKS, id), endpoints)
        });
        let row =
            row.ok_or_else(|| NetworkProblem::NotFound { text: id.to_string(), namespace: String::new() })?;
        let mut network = to_network(&row, endpoints.len());
        if with_endpoints {
            let messages = endpoints.iter().map(|endpoint| {
                let mut message = self.endpoint_message(endpoint, &row.value);
                message.counters =
                    self.daemon.networks.counters(&endpoint.id).map(|counters| EndpointCounters {
                        received_bytes: counters.received_bytes,
                        received_packets: counters.received_packets,
                        sent_bytes: counters.sent_bytes,
                        sent_packets: counters.sent_packets,
                    });
                message
            });
            network.endpoints = messages.collect();
            network.endpoints.sort_by(|a, b| (&a.container_name, &a.id).cmp(&(&b.container_name, &b.id)));
        }
        Ok(network)
    }

    /// Asks a network's driver what is wrong with each place's link.
    pub(super) async fn check_links(&self, record: &NetworkRecord, network: &mut Network) {
        let deadline = tokio::time::Instant::now() + CHECK_TIMEOUT;
        for endpoint in network.endpoints.iter_mut().filter(|endpoint| endpoint.connected) {
            let owner =
                if endpoint.container_id.is_empty() { &endpoint.sandbox_id } else { &endpoint.container_id };
            let checked = tokio::time::timeout_at(deadline, self.daemon.check_link(owner, record)).await;
            endpoint.problem = match checked {
                Ok(Ok(())) => String::new(),
                Ok(Err(error)) => Chain(&error).to_string(),
                Err(_) => "its driver did not answer in time".to_owned(),
            };
        }
    }

    /// A container's places.
    pub(super) fn endpoints_of(&self, record: &ContainerRecord) -> Vec<Endpoint> {
        self.messages(&facts::of_container(&self.daemon.store, record))
    }

    /// An owner's published ports.
    pub(super) fn ports_of(&self, owner: &Owner) -> Vec<PublishedPort> {
        let ports = self.daemon.store.view(|tx| port::of_owner(tx, owner));
        ports.iter().map(Into::into).collect()
    }

    pub(super) fn sandbox_message(
        &self,
        namespace: &Namespace,
        id: &gantry_types::SandboxId,
    ) -> Result<Sandbox, Error> {
        let row = self.daemon.store.get(&SANDBOXES, &(namespace.clone(), id.clone()));
        let row = row.ok_or_else(|| NetworkProblem::SandboxNotFound {
            text: id.to_string(),
            namespace: namespace.to_string(),
        })?;
        Ok(self.to_sandbox(&row))
    }

    pub(super) fn to_sandbox(&self, row: &Row<SandboxRecord>) -> Sandbox {
        let record = &row.value;
        let path = sandbox::path(self.daemon.layout.state(), &record.id);
        let there = sandbox::is_namespace(&path);
        Sandbox {
            namespace: record.namespace.to_string(),
            id: record.id.to_string(),
            labels: record.labels.clone(),
            create_time: Some(timestamp(record.created_unix_ns)),
            revision: row.revision.0,
            endpoints: self.messages(&facts::of_sandbox(&self.daemon.store, record)),
            ports: self.ports_of(&Owner::Sandbox(record.namespace.clone(), record.id.clone())),
            netns_path: if there { path.to_string_lossy().into_owned() } else { String::new() },
            hostname: record.hostname.clone(),
        }
    }

    fn messages(&self, places: &Places) -> Vec<Endpoint> {
        places.all.iter().map(|(endpoint, network)| self.endpoint_message(endpoint, network)).collect()
    }

    pub(super) fn endpoint_message(&self, endpoint: &EndpointRecord, network: &NetworkRecord) -> Endpoint {
        let connected = self.daemon.networks.is_connected(&endpoint.id);
        let with_length = |ipv6: bool| {
            let subnet = network.options.subnets.iter().find(|subnet| subnet.prefix.addr().is_ipv6() == ipv6);
            let address = endpoint.addresses().find(|address| address.is_ipv6() == ipv6);
            match (address, subnet) {
                (Some(address), Some(subnet)) => IpNet::new(address, subnet.prefix.prefix_len())
                    .map(|net| net.to_string())
                    .unwrap_or_default(),
                _ => String::new(),
            }
        };
        let gateway = |ipv6| gateway_of(network, ipv6).map(|address| address.to_string()).unwrap_or_default();
        // A driver's addresses are in its own row, with the gateways that it told.
        let made = self.daemon.store.view(|tx| attachment::made(tx, endpoint));
        let mut message = Endpoint {
            id: endpoint.id.to_string(),
            network_id: network.id.to_string(),
            network_name: network.name.to_string(),
            ipv4: with_length(false),
            ipv6: with_length(true),
            ipv4_gateway: gateway(false),
            ipv6_gateway: gateway(true),
            mac: endpoint.mac.to_string(),
            interface: if connected { endpoint.interface.to_string() } else { String::new() },
            options: Some((&endpoint.options).into()),
            connected,
            ..Endpoint::default()
        };
        match &endpoint.owner {
            Owner::Container(namespace, id) => {
                message.container_id = id.to_string();
                if let Some(row) = self.daemon.store.get(&CONTAINERS, &(namespace.clone(), id.clone())) {
                    message.container_name = row.value.name.to_string();
                    message.names = vec![message.container_name.clone(), id.short().to_owned()];
                }
            }
            Owner::Sandbox(namespace, id) => {
                message.sandbox_id = id.to_string();
                if let Some(row) = self.daemon.store.get(&SANDBOXES, &(namespace.clone(), id.clone())) {
                    message.names = vec![row.value.hostname.clone(), id.short().to_owned()];
                }
            }
        }
        message.names.extend(endpoint.options.aliases.iter().cloned());
        if network.is_foreign() {
            let text = |value: Option<String>| value.unwrap_or_default();
            let made = made.unwrap_or_default();
            let address = |ipv6| text(made.address(ipv6).map(|net| net.to_string()));
            let gateway = |ipv6| text(made.gateway(ipv6).map(|address| address.to_string()));
            (message.ipv4, message.ipv6) = (address(false), address(true));
            (message.ipv4_gateway, message.ipv6_gateway) = (gateway(false), gateway(true));
            message.mac = text(made.mac.map(|mac| mac.to_string()));
        }
        message
    }
}

/// A network without its endpoints.
pub(super) fn to_network(row: &Row<NetworkRecord>, endpoints: usize) -> Network {
    let record = &row.value;
    Network {
        namespace: record.namespace.to_string(),
        id: record.id.to_string(),
        name: record.name.to_string(),
        labels: record.options.labels.clone(),
        create_time: Some(timestamp(record.created_unix_ns)),
        revision: row.revision.0,
        options: Some((&record.options).into()),
        link: record.bridge.as_ref().map(ToString::to_string).unwrap_or_default(),
        endpoints: Vec::new(),
        endpoints_count: u32::try_from(endpoints).unwrap_or(u32::MAX),
        is_default: record.is_default,
    }
}

/// Every network of a namespace with how many places it has.
pub(super) fn all(tx: &Transaction<'_>, namespace: &Namespace) -> Vec<(String, Network)> {
    let records = record::all_of(tx, namespace).into_iter();
    records
        .filter_map(|record| tx.get(&NETWORKS, &record.id))
        .map(|row| {
            let endpoints = record::addresses_taken(tx, &row.value.id).len();
            (row.value.name.to_string(), to_network(&row, endpoints))
        })
        .collect()
}

pub(super) fn values_of<'a>(network: &'a Network, field: &str) -> Vec<Cow<'a, str>> {
    match field {
        "id" => vec![Cow::Borrowed(&*network.id)],
        "name" => vec![Cow::Borrowed(&*network.name)],
        "driver" => {
            let driver = network.options.as_ref().map(|options| match options.driver() {
                gantry_api::networks::v1::NetworkDriver::Cni => "cni",
                gantry_api::networks::v1::NetworkDriver::External => {
                    options.external.as_ref().map_or("external", |external| &external.driver)
                }
                gantry_api::networks::v1::NetworkDriver::Macvlan => "macvlan",
                gantry_api::networks::v1::NetworkDriver::Ipvlan => "ipvlan",
                gantry_api::networks::v1::NetworkDriver::Unspecified
                | gantry_api::networks::v1::NetworkDriver::Bridge => "bridge",
            });
            driver.map(Cow::Borrowed).into_iter().collect()
        }
        "internal" => {
            let internal = network.options.as_ref().is_some_and(|options| options.internal);
            vec![Cow::Borrowed(if internal { "true" } else { "false" })]
        }
        _ => list::label(&network.labels, field),
    }
}

/// A container's places by their network, for its use cases.
pub(super) fn place_on(tx: &Transaction<'_>, owner: &Owner, network: &NetworkId) -> Option<EndpointRecord> {
    address::of_owner(tx, owner).into_iter().find(|endpoint| endpoint.network == *network)
}
