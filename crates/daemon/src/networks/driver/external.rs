//! Another program as a driver: `gantry.networks.driver.v1.DriverService` over a unix socket. Each call connects anew, so
//! a driver that was started again is found without anybody noticing; connecting costs less than any link.

use std::time::Duration;

use gantry_api::connect::connect_unix;
use gantry_api::network_driver::v1;
use gantry_api::network_driver::v1::driver_service_client::DriverServiceClient;
use gantry_types::{MacAddress, PublishedPort};
use tonic::transport::Channel;
use tonic::{Code, Response, Status};

use super::super::attachment::Made;
use super::super::tables::NetworkRecord;
use super::{Abilities, DriverProblem, Link};
use crate::config;
use crate::error::Error;

/// Bytes of one answer at the most.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// Addresses of one link, and resolvers, at the most.
const ADDRESSES_MAX: usize = 16;
const NAMESERVERS_MAX: usize = 3;

/// A driver of the configuration.
pub(in super::super) struct External<'a> {
    name: &'a str,
    config: &'a config::Driver,
}

impl<'a> External<'a> {
    pub(super) fn new(config: &'a config::Networks, network: &NetworkRecord) -> Result<Self, Error> {
        let name = &network.options.external.driver;
        if let Some((name, config)) = config.drivers.get_key_value(name) {
            return Ok(Self { name, config });
        }
        let known = config.drivers.keys().cloned().collect();
        Err(DriverProblem::Unknown { name: name.clone(), known }.into())
    }

    pub(super) async fn abilities(&self) -> Result<Abilities, Error> {
        let asked = self.call("GetCapabilities", async |mut client| {
            client.get_capabilities(v1::GetCapabilitiesRequest {}).await
        });
        let v1::GetCapabilitiesResponse { ports, addresses, mac } = asked.await?;
        Ok(Abilities { ports, addresses, mac })
    }

    pub(super) async fn create(&self, network: &NetworkRecord) -> Result<(), Error> {
        let request = v1::CreateNetworkRequest { network: Some(message(network)) };
        let told = self.call("CreateNetwork", async |mut client| client.create_network(request).await);
        told.await.map(drop)
    }

    pub(super) async fn remove(&self, network: &NetworkRecord) -> Result<(), Error> {
        let request = v1::RemoveNetworkRequest { network: Some(message(network)) };
        let told = self.call("RemoveNetwork", async |mut client| client.remove_network(request).await);
        told.await.map(drop)
    }

    pub(super) async fn join(&self, link: &Link<'_>) -> Result<Made, Error> {
        let attachment = link.attachment;
        let request = v1::JoinRequest {
            network: Some(message(link.network)),
            endpoint: Some(endpoint(link)),
            addresses: attachment.addresses.iter().map(ToString::to_string).collect(),
            mac: attachment.mac.map(|mac| mac.to_string()).unwrap_or_default(),
            aliases: attachment.aliases.clone(),
            ports: attachment.ports.iter().filter_map(mapping).collect(),
        };
        let answer = self.call("Join", async |mut client| client.join(request).await).await?;
        made(answer)
            .map_err(|rule| DriverProblem::Answer { network: link.network.name.to_string(), rule }.into())
    }

    pub(super) async fn leave(&self, link: &Link<'_>) -> Result<(), Error> {
        let request = v1::LeaveRequest {
            network: Some(message(link.network)),
            endpoint: Some(endpoint(link)),
            state: state(link),
        };
        self.call("Leave", async |mut client| client.leave(request).await).await.map(drop)
    }

    pub(super) async fn check(&self, link: &Link<'_>) -> Result<(), Error> {
        let request = v1::CheckRequest {
            network: Some(message(link.network)),
            endpoint: Some(endpoint(link)),
            state: state(link),
        };
        let checked = self.call("Check", async |mut client| match client.check(request).await {
            Err(status) if status.code() == Code::Unimplemented => Ok(Response::new(v1::CheckResponse {})),
            other => other,
        });
        checked.await.map(drop)
    }

    /// One call, within the driver's time.
    async fn call<T>(
        &self,
        call: &'static str,
        ask: impl AsyncFnOnce(DriverServiceClient<Channel>) -> Result<Response<T>, Status>,
    ) -> Result<T, Error> {
        let driver = || self.name.to_owned();
        let socket = self.config.socket().expect("the configuration was checked");
        let asked = async {
            let channel = connect_unix(&socket).await;
            let channel =
                channel.map_err(|source| DriverProblem::Unreachable { driver: driver(), socket, source })?;
            let client = DriverServiceClient::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX);
            let answer = ask(client).await.map_err(|status| DriverProblem::Refused {
                driver: driver(),
                call,
                status: Box::new(status),
            })?;
            Ok::<_, DriverProblem>(answer.into_inner())
        };
        let timeout_ms = self.config.timeout_ms;
        match tokio::time::timeout(Duration::from_millis(timeout_ms), asked).await {
            Ok(answer) => Ok(answer?),
            Err(_) => Err(DriverProblem::Timeout { driver: driver(), call, timeout_ms }.into()),
        }
    }
}

fn message(network: &NetworkRecord) -> v1::Network {
    let options = &network.options;
    let text = |value: Option<String>| value.unwrap_or_default();
    v1::Network {
        id: network.id.to_string(),
        namespace: network.namespace.to_string(),
        name: network.name.to_string(),
        options: options.external.options.clone(),
        subnets: options
            .subnets
            .iter()
            .map(|subnet| v1::Subnet {
                prefix: subnet.prefix.to_string(),
                gateway: text(subnet.gateway.map(|gateway| gateway.to_string())),
                range: text(subnet.range.map(|range| range.to_string())),
            })
            .collect(),
        no_ipv4: !options.ipv4,
        ipv6: options.ipv6,
        internal: options.internal,
        mtu: options.mtu.unwrap_or_default(),
    }
}

fn endpoint(link: &Link<'_>) -> v1::Endpoint {
    let netns = link.netns.as_ref().map(|path| path.to_string_lossy().into_owned());
    v1::Endpoint {
        id: link.attachment.endpoint.to_string(),
        owner_id: link.attachment.owner.key(),
        netns_path: netns.unwrap_or_default(),
        interface: link.attachment.interface.to_string(),
    }
}

fn state(link: &Link<'_>) -> Vec<u8> {
    link.attachment.made.as_ref().map(|made| made.state.clone()).unwrap_or_default()
}

fn mapping(port: &PublishedPort) -> Option<v1::PortMapping> {
    Some(v1::PortMapping {
        host_address: port.host_address.map(|address| address.to_string()).unwrap_or_default(),
        host_port: port.host_ports?.first().into(),
        endpoint_port: port.container_ports.first().into(),
        count: port.container_ports.count(),
        protocol: port.protocol.to_string(),
    })
}

/// What was made, if it is of the form that the proto promises; else the rule that it breaks.
fn made(answer: v1::JoinResponse) -> Result<Made, &'static str> {
    fn all<T: std::str::FromStr>(
        texts: &[String],
        max: usize,
        rule: &'static str,
    ) -> Result<Vec<T>, &'static str> {
        if texts.len() > max {
            return Err(rule);
        }
        texts.iter().map(|text| text.parse().map_err(|_| rule)).collect()
    }
    let mac = match answer.mac.as_str() {
        "" => None,
        text => Some(text.parse::<MacAddress>().map_err(|_| "mac is a station's Ethernet address")?),
    };
    Ok(Made {
        addresses: all(&answer.addresses, ADDRESSES_MAX, "addresses are at most 16, like 10.1.0.2/16")?,
        gateways: all(&answer.gateways, 2, "gateways are at most two addresses")?,
        nameservers: all(&answer.nameservers, NAMESERVERS_MAX, "nameservers are at most three addresses")?,
        mac,
        state: answer.state,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_of_another_form_is_refused() {
        let good = v1::JoinResponse {
            addresses: vec!["10.1.0.2/16".into(), "fd00::2/64".into()],
            gateways: vec!["10.1.0.1".into()],
            mac: "02:00:00:00:00:01".into(),
            ..v1::JoinResponse::default()
        };
        let taken = made(good.clone()).expect("as promised");
        assert_eq!(taken.address(true).map(|net| net.to_string()).as_deref(), Some("fd00::2/64"));
        for bad in [
            v1::JoinResponse { addresses: vec!["10.1.0.2".into()], ..good.clone() },
            v1::JoinResponse { addresses: vec!["10.1.0.2/16".into(); 17], ..good.clone() },
            v1::JoinResponse { gateways: vec!["10.1.0.1/16".into()], ..good.clone() },
            v1::JoinResponse { mac: "nonsense".into(), ..good.clone() },
        ] {
            assert!(made(bad.clone()).is_err(), "{bad:?}");
        }
    }
}
