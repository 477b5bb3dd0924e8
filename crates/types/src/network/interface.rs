//! Names and hardware addresses of links. A name is checked against everything the kernel refuses and what
//! would be a path or a wildcard elsewhere, so that it can be used anywhere.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Class, Classified};

/// A link's name: 1 to 15 letters, digits, `-`, `_` and `.`, and not `.` or `..` (IFNAMSIZ of netdevice(7)).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct InterfaceName(Box<str>);

/// Why a text is no link's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a link's name: 1 to 15 letters, digits, '-', '_' and '.'")]
pub struct InterfaceNameError {
    /// What was given, cut to 64 characters.
    pub text: String,
}

impl InterfaceName {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for InterfaceName {
    type Err = InterfaceNameError;

    fn from_str(text: &str) -> Result<Self, InterfaceNameError> {
        let letters = text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
        if (1..=15).contains(&text.len()) && letters && !matches!(text, "." | "..") {
            Ok(Self(text.into()))
        } else {
            Err(InterfaceNameError { text: text.chars().take(64).collect() })
        }
    }
}

impl TryFrom<String> for InterfaceName {
    type Error = InterfaceNameError;

    fn try_from(text: String) -> Result<Self, InterfaceNameError> {
        text.parse()
    }
}

impl From<InterfaceName> for String {
    fn from(name: InterfaceName) -> Self {
        name.0.into()
    }
}

impl fmt::Display for InterfaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Classified for InterfaceNameError {
    fn class(&self) -> Class {
        Class::InvalidArgument
    }

    fn reason(&self) -> &'static str {
        "INTERFACE_NAME_INVALID"
    }
}

/// An Ethernet address of one station: neither multicast nor all zero. Written as `02:42:ac:11:00:02`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MacAddress([u8; 6]);

/// Why a text is no hardware address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a station's Ethernet address like 02:42:ac:11:00:02")]
pub struct MacAddressError {
    /// What was given, cut to 64 characters.
    pub text: String,
}

impl MacAddress {
    /// The six bytes.
    pub fn octets(self) -> [u8; 6] {
        self.0
    }

    /// A locally administered address of these bytes: the first one's two lowest bits become `10` (IEEE 802).
    pub fn local(mut octets: [u8; 6]) -> Self {
        octets[0] = (octets[0] & 0xfc) | 0x02;
        Self(octets)
    }
}

impl FromStr for MacAddress {
    type Err = MacAddressError;

    fn from_str(text: &str) -> Result<Self, MacAddressError> {
        let invalid = || MacAddressError { text: text.chars().take(64).collect() };
        let mut octets = [0; 6];
        let mut parts = text.split([':', '-']);
        for octet in &mut octets {
            let part = parts.next().filter(|part| part.len() == 2).ok_or_else(invalid)?;
            if !part.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(invalid());
            }
            *octet = u8::from_str_radix(part, 16).map_err(|_| invalid())?;
        }
        if parts.next().is_some() || octets[0] & 1 == 1 || octets == [0; 6] {
            return Err(invalid());
        }
        Ok(Self(octets))
    }
}

impl TryFrom<String> for MacAddress {
    type Error = MacAddressError;

    fn try_from(text: String) -> Result<Self, MacAddressError> {
        text.parse()
    }
}

impl From<MacAddress> for String {
    fn from(address: MacAddress) -> Self {
        address.to_string()
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, rest @ ..] = self.0;
        write!(f, "{first:02x}")?;
        rest.iter().try_for_each(|octet| write!(f, ":{octet:02x}"))
    }
}

impl Classified for MacAddressError {
    fn class(&self) -> Class {
        Class::InvalidArgument
    }

    fn reason(&self) -> &'static str {
        "MAC_ADDRESS_INVALID"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_a_path_or_too_long_is_refused() {
        for text in ["", ".", "..", "a/b", "a b", "eth0:1", "a%d", "0123456789abcdef", "a\n"] {
            assert!(text.parse::<InterfaceName>().is_err(), "{text:?}");
        }
        assert_eq!("eth0".parse::<InterfaceName>().expect("valid").as_str(), "eth0");
    }

    #[test]
    fn a_station_address_reads_back_and_others_are_refused() {
        let address: MacAddress = "02:42:AC:11:00:02".parse().expect("valid");
        assert_eq!(address.to_string(), "02:42:ac:11:00:02");
        for text in [
            "",
            "02:42:ac:11:00",
            "02:42:ac:11:00:02:03",
            "01:00:5e:00:00:01",
            "00:00:00:00:00:00",
            "+2:42:ac:11:00:02",
        ] {
            assert!(text.parse::<MacAddress>().is_err(), "{text:?}");
        }
        assert_eq!(MacAddress::local([0xff; 6]).octets()[0], 0xfe);
    }
}
