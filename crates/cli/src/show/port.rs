//! Published ports in docker's words: `80/tcp -> 0.0.0.0:8080`, a line for each port and family.

use gantry_api::networks::v1::{Protocol, PublishedPort};

use crate::parse::port::protocol_word;

/// One port of a container, and where it is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) container_port: u32,
    pub(crate) protocol: Protocol,
    /// `0.0.0.0:8080`
    pub(crate) host: String,
}

impl Line {
    /// `80/tcp`
    pub(crate) fn container(&self) -> String {
        format!("{}/{}", self.container_port, protocol_word(self.protocol))
    }
}

/// Every port of every range.
pub(crate) fn lines(ports: &[PublishedPort]) -> Vec<Line> {
    let mut lines = Vec::new();
    for port in ports {
        let last = port.container_port_last.max(port.container_port);
        for number in port.container_port..=last {
            let host_port = port.host_port + (number - port.container_port);
            for address in addresses(port) {
                let host = format!("{address}:{host_port}");
                lines.push(Line { container_port: number, protocol: port.protocol(), host });
            }
        }
    }
    lines
}

/// The column of `ps`: ranges stay ranges.
pub(crate) fn summary(ports: &[PublishedPort]) -> String {
    let range =
        |first: u32, last: u32| if last > first { format!("{first}-{last}") } else { first.to_string() };
    let mut texts = Vec::new();
    for port in ports {
        let host = range(port.host_port, port.host_port_last);
        let container = range(port.container_port, port.container_port_last);
        for address in addresses(port) {
            texts.push(format!("{address}:{host}->{container}/{}", protocol_word(port.protocol())));
        }
    }
    texts.join(", ")
}

/// Both families where none is named.
fn addresses(port: &PublishedPort) -> Vec<String> {
    match port.host_address.as_str() {
        "" => vec!["0.0.0.0".into(), "[::]".into()],
        address if address.contains(':') => vec![format!("[{address}]")],
        address => vec![address.into()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_a_line_for_each_port_and_one_part_of_a_summary() {
        let port = PublishedPort {
            host_address: "127.0.0.1".into(),
            host_port: 8000,
            host_port_last: 8001,
            container_port: 80,
            container_port_last: 81,
            protocol: Protocol::Udp.into(),
        };
        let lines = lines(std::slice::from_ref(&port));
        assert_eq!((lines[1].container(), lines[1].host.as_str()), ("81/udp".into(), "127.0.0.1:8001"));
        assert_eq!(summary(&[port]), "127.0.0.1:8000-8001->80-81/udp");
    }
}
