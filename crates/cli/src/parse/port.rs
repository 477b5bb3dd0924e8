//! Ports as docker writes them: `[address:][host][-last]:container[-last][/protocol]`, and the ports that are
//! only exposed.

use gantry_api::networks::v1::{ExposedPort, Protocol, PublishedPort};
use gantry_types::PortRange;

/// One `--publish`.
pub(crate) fn published(text: &str) -> Result<PublishedPort, String> {
    let (rest, protocol) = protocol(text)?;
    let (rest, container) = match rest.rsplit_once(':') {
        Some((rest, container)) => (Some(rest), container),
        None => (None, rest),
    };
    let (address, host) = match rest {
        None => ("", ""),
        Some(rest) => match rest.rsplit_once(':') {
            Some((address, host)) => (address, host),
            None => ("", rest),
        },
    };
    let container = range(container)?;
    let host = match host {
        "" | "0" => None,
        host => Some(range(host)?),
    };
    if let Some(host) = host
        && host.count() != container.count()
        && container.count() != 1
    {
        return Err(format!(
            "{text:?} has {} ports of the host for {} of the container",
            host.count(),
            container.count()
        ));
    }
    let address = address.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(address);
    if !address.is_empty() && address.parse::<std::net::IpAddr>().is_err() {
        return Err(format!(
            "{address:?} is no IP address; ports are written [ADDRESS:][HOST:]CONTAINER[/PROTOCOL]"
        ));
    }
    Ok(PublishedPort {
        host_address: address.to_owned(),
        host_port: host.map_or(0, |host| host.first().into()),
        host_port_last: host.map_or(0, |host| host.last().into()),
        container_port: container.first().into(),
        container_port_last: container.last().into(),
        protocol: protocol.into(),
    })
}

/// One `--expose`: `80`, `80/udp`, `8000-8010`.
pub(crate) fn exposed(text: &str) -> Result<ExposedPort, String> {
    let (ports, protocol) = protocol(text)?;
    let ports = range(ports)?;
    Ok(ExposedPort { port: ports.first().into(), port_last: ports.last().into(), protocol: protocol.into() })
}

/// The word of a protocol.
pub(crate) fn protocol_word(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Unspecified | Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
        Protocol::Sctp => "sctp",
    }
}

fn protocol(text: &str) -> Result<(&str, Protocol), String> {
    let Some((rest, protocol)) = text.rsplit_once('/') else { return Ok((text, Protocol::Tcp)) };
    match protocol.to_ascii_lowercase().as_str() {
        "tcp" => Ok((rest, Protocol::Tcp)),
        "udp" => Ok((rest, Protocol::Udp)),
        "sctp" => Ok((rest, Protocol::Sctp)),
        _ => Err(format!("{protocol:?} is no protocol; there are tcp, udp and sctp")),
    }
}

fn range(text: &str) -> Result<PortRange, String> {
    text.parse().map_err(|error: gantry_types::PortError| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> (String, u32, u32, u32, u32, Protocol) {
        let port = published(text).expect(text);
        let protocol = port.protocol();
        (
            port.host_address,
            port.host_port,
            port.host_port_last,
            port.container_port,
            port.container_port_last,
            protocol,
        )
    }

    #[test]
    fn every_form_of_docker_is_read() {
        let tcp = Protocol::Tcp;
        assert_eq!(parts("80"), (String::new(), 0, 0, 80, 80, tcp));
        assert_eq!(parts("8080:80"), (String::new(), 8080, 8080, 80, 80, tcp));
        assert_eq!(parts("127.0.0.1:8080:80"), ("127.0.0.1".into(), 8080, 8080, 80, 80, tcp));
        assert_eq!(parts("127.0.0.1::80/udp"), ("127.0.0.1".into(), 0, 0, 80, 80, Protocol::Udp));
        assert_eq!(parts("[::1]:1-3:4-6/SCTP"), ("::1".into(), 1, 3, 4, 6, Protocol::Sctp));
        assert_eq!(parts("8000-8010:80"), (String::new(), 8000, 8010, 80, 80, tcp));
        assert_eq!(parts("0:80"), (String::new(), 0, 0, 80, 80, tcp));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for text in ["", ":", "0", "80:", "a:80", "1-2:3-5", "80/icmp", "300.0.0.1:1:1", "1:2:3:4", "65536"] {
            assert!(published(text).is_err(), "{text:?}");
        }
        assert!(exposed("80-90/udp").is_ok() && exposed("").is_err());
    }
}
