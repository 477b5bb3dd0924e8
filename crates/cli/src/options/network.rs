//! The flags of `run` and `create` that say which network a container gets.

use clap::Args;
use gantry_api::containers::v1::{ContainerOptions, NetworkMode};
use gantry_api::networks::v1::{ExposedPort, NetworkAttachment, PublishedPort};
use gantry_types::DEFAULT_NETWORK;

use crate::failure::Failure;
use crate::parse::network::attachment;
use crate::parse::port::{exposed, published};

/// Flags of a container's network.
#[derive(Debug, Args)]
pub(super) struct NetworkFlags {
    /// Network: none, host, container:NAME, sandbox:ID, or networks by name; several may be given
    #[arg(long, visible_alias = "net", value_name = "NETWORK[:ip=…,alias=…]")]
    network: Vec<String>,
    /// Publish a port or a range
    #[arg(short, long, value_name = "[ADDRESS:][HOST:]CONTAINER[/PROTOCOL]", value_parser = published)]
    publish: Vec<PublishedPort>,
    /// Publish every exposed port on a free one of the host
    #[arg(short = 'P', long)]
    publish_all: bool,
    /// Say that the container listens on a port
    #[arg(long, value_name = "PORT[/PROTOCOL]", value_parser = exposed)]
    expose: Vec<ExposedPort>,
    /// IPv4 address on its first network
    #[arg(long, value_name = "ADDRESS")]
    ip: Option<String>,
    /// IPv6 address on its first network
    #[arg(long, value_name = "ADDRESS")]
    ip6: Option<String>,
    /// Hardware address on its first network
    #[arg(long, value_name = "ADDRESS")]
    mac_address: Option<String>,
    /// Further name on its networks
    #[arg(long, visible_alias = "net-alias", value_name = "NAME")]
    network_alias: Vec<String>,
}

impl NetworkFlags {
    /// The options with what was asked of the network.
    pub(super) fn apply(self, mut options: ContainerOptions) -> Result<ContainerOptions, Failure> {
        let first = self.network.first().map_or("", String::as_str);
        let alone = |mode: NetworkMode| match self.network.len() {
            0 | 1 => Ok(mode.into()),
            _ => Err(Failure::new(format!("--network {first} cannot be combined with others"))),
        };
        match first.split_once(':') {
            Some(("container", peer)) => {
                options.network = alone(NetworkMode::Container)?;
                peer.clone_into(&mut options.network_container);
            }
            Some(("sandbox", sandbox)) => {
                options.network = alone(NetworkMode::Sandbox)?;
                sandbox.clone_into(&mut options.network_sandbox);
            }
            _ if first == "none" => options.network = alone(NetworkMode::None)?,
            _ if first == "host" => options.network = alone(NetworkMode::Host)?,
            _ => {
                options.network = NetworkMode::Networks.into();
                options.networks = self.attachments()?;
            }
        }
        let of_a_place = [self.ip.is_some(), self.ip6.is_some(), self.mac_address.is_some()];
        if options.networks.is_empty() && (of_a_place.contains(&true) || !self.network_alias.is_empty()) {
            return Err(Failure::new(format!(
                "--ip, --ip6, --mac-address and --network-alias need a network, and {first} is none"
            ))
            .hint("choose one with --network, or leave them out"));
        }
        if let Some(place) = options.networks.first_mut() {
            let place = place.options.get_or_insert_default();
            let set = |field: &mut String, given: Option<String>| {
                if let Some(given) = given {
                    *field = given;
                }
            };
            set(&mut place.ipv4, self.ip);
            set(&mut place.ipv6, self.ip6);
            set(&mut place.mac, self.mac_address);
        }
        for place in &mut options.networks {
            place.options.get_or_insert_default().aliases.extend(self.network_alias.iter().cloned());
        }
        options.ports = self.publish;
        options.publish_all_ports = self.publish_all;
        options.exposed_ports = self.expose;
        Ok(options)
    }

    fn attachments(&self) -> Result<Vec<NetworkAttachment>, Failure> {
        let default = [DEFAULT_NETWORK.to_owned()];
        let given = if self.network.is_empty() { &default[..] } else { &self.network };
        given
            .iter()
            .map(|text| {
                match text.as_str() {
                    // What docker's clients call the default network.
                    "default" => Ok(attachment(DEFAULT_NETWORK)),
                    "none" | "host" => {
                        Err(Failure::new(format!("--network {text} cannot be combined with others")))
                    }
                    _ => Ok(attachment(text)),
                }?
                .map_err(Failure::new)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        flags: NetworkFlags,
    }

    fn options(words: &str) -> Result<ContainerOptions, Failure> {
        let words = ["gantry"].into_iter().chain(words.split_whitespace());
        Line::try_parse_from(words).expect("well formed").flags.apply(ContainerOptions::default())
    }

    #[test]
    fn without_a_flag_it_is_the_default_network() {
        let options = options("").expect("allowed");
        assert_eq!(options.network(), NetworkMode::Networks);
        assert_eq!(options.networks[0].network, DEFAULT_NETWORK);
    }

    #[test]
    fn an_address_and_an_alias_go_to_the_first_and_to_all_networks() {
        let options =
            options("--network a --network b:ip=10.0.0.2 --ip 10.1.0.2 --network-alias x").expect("allowed");
        let places: Vec<_> = options.networks.iter().filter_map(|place| place.options.as_ref()).collect();
        assert_eq!((places[0].ipv4.as_str(), places[1].ipv4.as_str()), ("10.1.0.2", "10.0.0.2"));
        assert!(places.iter().all(|place| place.aliases == ["x"]));
    }

    #[test]
    fn modes_that_exclude_each_other_are_refused() {
        for words in
            ["--network none --network a", "--network a --network host", "--network none --ip 10.0.0.1"]
        {
            assert!(options(words).is_err(), "{words}");
        }
    }
}
