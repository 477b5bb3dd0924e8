//! Networks in docker's words: a row of `network ls`, and the document of `network inspect`.

use gantry_api::networks::v1::{Network, NetworkDriver, NetworkOptions};
use serde_json::{Map, Value, json};

use super::moment;

/// The fields of one row; `truncate` shortens ids.
pub(crate) fn row(network: &Network, truncate: bool) -> Value {
    let id = if truncate { network.id.get(..12).unwrap_or(&network.id) } else { &network.id };
    let options = network.options.clone().unwrap_or_default();
    let subnets: Vec<&str> = options.subnets.iter().map(|subnet| subnet.prefix.as_str()).collect();
    let labels: Vec<String> = network.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let driver = driver(&options);
    json!({
        "ID": id, "Name": network.name, "Driver": driver, "Scope": "local",
        "Subnets": subnets.join(", "), "Containers": network.endpoints_count.to_string(),
        "Internal": options.internal, "IPv6": options.ipv6, "Labels": labels.join(","),
        "CreatedAt": moment::rfc3339(&network.create_time.unwrap_or_default()),
    })
}

/// The header above a field of a row.
pub(crate) fn header(field: &str) -> String {
    match field {
        "ID" => "NETWORK ID".into(),
        "CreatedAt" => "CREATED AT".into(),
        other => other.to_uppercase(),
    }
}

/// The document of `network inspect`.
pub(crate) fn document(network: &Network) -> Value {
    let options = network.options.clone().unwrap_or_default();
    let bridge = options.bridge.clone().unwrap_or_default();
    let config: Vec<Value> = options
        .subnets
        .iter()
        .map(|subnet| json!({"Subnet": subnet.prefix, "Gateway": subnet.gateway, "IPRange": subnet.range}))
        .collect();
    let containers: Map<String, Value> = network
        .endpoints
        .iter()
        .map(|endpoint| {
            let owner =
                if endpoint.container_id.is_empty() { &endpoint.sandbox_id } else { &endpoint.container_id };
            let counters = endpoint.counters.unwrap_or_default();
            let document = json!({
                "Name": endpoint.container_name, "EndpointID": endpoint.id, "MacAddress": endpoint.mac,
                "IPv4Address": endpoint.ipv4, "IPv6Address": endpoint.ipv6, "Names": endpoint.names,
                "Interface": endpoint.interface, "Connected": endpoint.connected,
                "RxBytes": counters.received_bytes, "RxPackets": counters.received_packets,
                "TxBytes": counters.sent_bytes, "TxPackets": counters.sent_packets, "Problem": endpoint.problem,
            });
            (owner.clone(), document)
        })
        .collect();
    let driver = driver(&options).to_owned();
    // A configuration that was taken is JSON.
    let cni = options.cni.map(|cni| serde_json::from_str::<Value>(&cni.configuration).unwrap_or_default());
    let external = options.external.map(|external| external.options);
    json!({
        "Name": network.name, "Id": network.id, "Created": moment::rfc3339(&network.create_time.unwrap_or_default()),
        "Namespace": network.namespace, "Scope": "local", "Driver": driver,
        "EnableIPv4": !options.no_ipv4, "EnableIPv6": options.ipv6, "IPAM": {"Driver": "default", "Config": config},
        "Internal": options.internal, "Attachable": true, "Link": network.link, "Mtu": options.mtu,
        "Icc": !bridge.isolated_endpoints, "Masquerade": !bridge.no_masquerade, "HostAddress": bridge.host_address,
        "Parent": options.parent.map(|parent| parent.link), "Cni": cni, "Options": external, "Labels": network.labels, "Revision": network.revision,
        "Containers": containers,
    })
}

/// The name that `network create --driver` takes.
fn driver(options: &NetworkOptions) -> &str {
    match options.driver() {
        NetworkDriver::Unspecified | NetworkDriver::Bridge => "bridge",
        NetworkDriver::Macvlan => "macvlan",
        NetworkDriver::Ipvlan => "ipvlan",
        NetworkDriver::Cni => "cni",
        NetworkDriver::External => options.external.as_ref().map_or("external", |external| &external.driver),
    }
}
