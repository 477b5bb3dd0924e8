//! Published and exposed ports. A range stays one thing from the command line to the kernel's map.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Class, Classified};

/// What is carried over a port.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Protocol {
    /// Its name as people write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }

    /// Its number in an IP header (IANA).
    pub fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a text or a pair of numbers is no port.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {rule}")]
pub struct PortError {
    /// What was given, cut to 64 characters.
    pub text: String,
    /// What it should be.
    pub rule: &'static str,
}

impl PortError {
    fn new(text: &str, rule: &'static str) -> Self {
        Self { text: text.chars().take(64).collect(), rule }
    }
}

impl Classified for PortError {
    fn class(&self) -> Class {
        Class::InvalidArgument
    }

    fn reason(&self) -> &'static str {
        "PORT_INVALID"
    }
}

impl FromStr for Protocol {
    type Err = PortError;

    fn from_str(text: &str) -> Result<Self, PortError> {
        [Self::Tcp, Self::Udp, Self::Sctp]
            .into_iter()
            .find(|protocol| protocol.as_str().eq_ignore_ascii_case(text))
            .ok_or_else(|| PortError::new(text, "tcp, udp or sctp"))
    }
}

/// Ports from `first` to `last`, both 1 to 65535 and in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PortRange {
    first: u16,
    last: u16,
}

impl PortRange {
    /// A range; `None` when a number is 0 or they are out of order.
    pub fn new(first: u16, last: u16) -> Option<Self> {
        (first > 0 && first <= last).then_some(Self { first, last })
    }

    /// One port; `None` when it is 0.
    pub fn one(port: u16) -> Option<Self> {
        Self::new(port, port)
    }

    /// The lowest.
    pub fn first(self) -> u16 {
        self.first
    }

    /// The highest.
    pub fn last(self) -> u16 {
        self.last
    }

    /// How many, at least 1.
    pub fn count(self) -> u32 {
        u32::from(self.last - self.first) + 1
    }

    /// Whether they share a port.
    pub fn overlaps(self, other: Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}

impl FromStr for PortRange {
    type Err = PortError;

    /// `80` or `8000-8010`.
    fn from_str(text: &str) -> Result<Self, PortError> {
        let rule = "a port or a range of ports, 1 to 65535";
        let number = |part: &str| {
            // Without this, "+80" would be a port.
            if !part.bytes().all(|b| b.is_ascii_digit()) {
                return Err(PortError::new(text, rule));
            }
            part.parse::<u16>().map_err(|_| PortError::new(text, rule))
        };
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        Self::new(number(first)?, number(last)?).ok_or_else(|| PortError::new(text, rule))
    }
}

/// A port that an image or a caller says the container listens on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ExposedPort {
    /// The port, or several.
    pub ports: PortRange,
    /// What is carried.
    pub protocol: Protocol,
}

impl fmt::Display for ExposedPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.ports, self.protocol)
    }
}

impl FromStr for ExposedPort {
    type Err = PortError;

    /// `80`, `80/udp`, `8000-8010/tcp`; TCP where nothing is said.
    fn from_str(text: &str) -> Result<Self, PortError> {
        let (ports, protocol) = match text.split_once('/') {
            Some((ports, protocol)) => (ports, protocol.parse()?),
            None => (text, Protocol::Tcp),
        };
        Ok(Self { ports: ports.parse()?, protocol })
    }
}

/// Ports of the host that lead to a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PublishedPort {
    /// The host's address; `None` means the network's `host_address`, else every one of both families.
    pub host_address: Option<IpAddr>,
    /// The host's ports: as many as the container's, or more for one of the container's, of which the first
    /// free one is taken. `None` means free ones, picked when the container is created and kept.
    pub host_ports: Option<PortRange>,
    /// The container's ports, in the same order.
    pub container_ports: PortRange,
    /// What is carried.
    pub protocol: Protocol,
}

impl PublishedPort {
    /// Whether as many ports of the host lead to as many of the container, or one of several is to be picked.
    pub fn is_even(&self) -> bool {
        self.host_ports.is_none_or(|host| {
            host.count() == self.container_ports.count() || self.container_ports.count() == 1
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_in_order_and_without_port_zero() {
        for text in ["", "0", "-", "1-", "-1", "+80", "80-79", "65536", "1-2-3", " 80"] {
            assert!(text.parse::<PortRange>().is_err(), "{text:?}");
        }
        let range: PortRange = "8000-8010".parse().expect("valid");
        assert_eq!((range.count(), range.to_string()), (11, "8000-8010".to_owned()));
        assert!(range.overlaps("8010".parse().expect("valid")));
        assert!(!range.overlaps("8011-9000".parse().expect("valid")));
    }

    #[test]
    fn an_exposed_port_is_tcp_unless_it_says_otherwise() {
        assert_eq!("80".parse::<ExposedPort>().expect("valid").to_string(), "80/tcp");
        assert_eq!("53/UDP".parse::<ExposedPort>().expect("valid").to_string(), "53/udp");
        assert!("53/icmp".parse::<ExposedPort>().is_err());
    }
}
