//! Published and exposed ports, both ways. On the wire a range is two numbers of which the second may be
//! left out.

use gantry_types::{ExposedPort, PortRange, Protocol, PublishedPort};

use super::check;
use super::field::{FieldProblem, InvalidField};
use super::network::address;
use crate::networks::v1;

impl TryFrom<v1::PublishedPort> for PublishedPort {
    type Error = InvalidField;

    fn try_from(given: v1::PublishedPort) -> Result<Self, InvalidField> {
        let container_ports = range("container_port", given.container_port, given.container_port_last)?;
        let host_ports = match (given.host_port, given.host_port_last) {
            (0, 0) => None,
            (first, 0) => {
                let last = first.saturating_add(container_ports.count() - 1);
                Some(range("host_port", first, last)?)
            }
            (first, last) => Some(range("host_port", first, last)?),
        };
        let port = Self {
            host_address: address("host_address", &given.host_address)?,
            host_ports,
            container_ports,
            protocol: protocol(given.protocol)?,
        };
        if !port.is_even() {
            let problem =
                FieldProblem::Conflict { other: "container_port_last: there are not as many ports" };
            return Err(InvalidField::new("host_port_last", problem));
        }
        Ok(port)
    }
}

impl From<&PublishedPort> for v1::PublishedPort {
    fn from(port: &PublishedPort) -> Self {
        Self {
            host_address: port.host_address.map(|address| address.to_string()).unwrap_or_default(),
            host_port: port.host_ports.map_or(0, |ports| ports.first().into()),
            host_port_last: port.host_ports.map_or(0, |ports| ports.last().into()),
            container_port: port.container_ports.first().into(),
            container_port_last: port.container_ports.last().into(),
            protocol: v1::Protocol::from(port.protocol).into(),
        }
    }
}

impl TryFrom<v1::ExposedPort> for ExposedPort {
    type Error = InvalidField;

    fn try_from(given: v1::ExposedPort) -> Result<Self, InvalidField> {
        Ok(Self { ports: range("port", given.port, given.port_last)?, protocol: protocol(given.protocol)? })
    }
}

impl From<&ExposedPort> for v1::ExposedPort {
    fn from(port: &ExposedPort) -> Self {
        Self {
            port: port.ports.first().into(),
            port_last: port.ports.last().into(),
            protocol: v1::Protocol::from(port.protocol).into(),
        }
    }
}

impl From<Protocol> for v1::Protocol {
    fn from(protocol: Protocol) -> Self {
        match protocol {
            Protocol::Tcp => Self::Tcp,
            Protocol::Udp => Self::Udp,
            Protocol::Sctp => Self::Sctp,
        }
    }
}

fn protocol(number: i32) -> Result<Protocol, InvalidField> {
    Ok(match check::known::<v1::Protocol>("protocol", "Protocol", number)? {
        v1::Protocol::Unspecified | v1::Protocol::Tcp => Protocol::Tcp,
        v1::Protocol::Udp => Protocol::Udp,
        v1::Protocol::Sctp => Protocol::Sctp,
    })
}

/// Ports `first` to `last`, where a `last` of 0 is the first.
fn range(name: &str, first: u32, last: u32) -> Result<PortRange, InvalidField> {
    let last = if last == 0 { first } else { last };
    let out_of_range = |number: u32, min: u32| {
        let problem =
            FieldProblem::OutOfRange { number: number.into(), min: min.into(), max: u64::from(u16::MAX) };
        InvalidField::new(name, problem)
    };
    let number = |number: u32| u16::try_from(number).map_err(|_| out_of_range(number, 1));
    PortRange::new(number(first)?, number(last)?).ok_or_else(|| out_of_range(last, first.max(1)))
}
