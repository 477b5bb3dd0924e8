//! Which address does a new endpoint get? The next one behind the last that was given out, so that an address rests
//! before it is used again: neighbours and connections remember it for a while. Pure; who asks knows which are taken,
//! and is asked about one after the other until one is not.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use gantry_types::Subnet;
use ipnet::IpNet;

/// Addresses tried before a subnet counts as full; no network has so many endpoints.
const TRIES_MAX: u128 = 1 << 20;

/// The next free address behind `last`, and from the beginning again behind the end; `None` when all are taken. A
/// subnet's range bounds what is given unasked.
pub fn next_address(
    subnet: &Subnet,
    last: Option<IpAddr>,
    mut is_taken: impl FnMut(IpAddr) -> bool,
) -> Option<IpAddr> {
    let range = subnet.range.unwrap_or(subnet.prefix);
    let (first, end) = (number(range.network()), number(range.broadcast()));
    let behind = |given: u128| if given == end { first } else { given + 1 };
    let last = last.filter(|last| range.contains(last)).map(number);
    let mut candidate = last.map_or(first, behind);
    for _ in 0..(end - first).saturating_add(1).min(TRIES_MAX) {
        let address = address(candidate, range);
        if is_for_endpoints(subnet, address) && !is_taken(address) {
            return Some(address);
        }
        candidate = behind(candidate);
    }
    None
}

/// Whether an endpoint can have the address: one of the subnet's, and neither the gateway's, nor the subnet's own, nor
/// IPv4's broadcast. Subnets of two addresses and of one have no such (RFC 3021), and all of theirs are hosts'.
pub fn is_for_endpoints(subnet: &Subnet, address: IpAddr) -> bool {
    let prefix = subnet.prefix;
    let special = is_wide(prefix)
        && (address == prefix.network() || (address.is_ipv4() && address == prefix.broadcast()));
    prefix.contains(&address) && subnet.gateway != Some(address) && !special
}

/// The first address that a gateway can have.
pub fn first_usable(prefix: IpNet) -> IpAddr {
    address(number(prefix.network()) + u128::from(is_wide(prefix)), prefix)
}

/// An address as a number to count with.
pub(crate) fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u32::from(address).into(),
        IpAddr::V6(address) => address.into(),
    }
}

/// The address of a number, in the family of `family`.
pub(crate) fn address(number: u128, family: IpNet) -> IpAddr {
    match family {
        IpNet::V4(_) => Ipv4Addr::from(u32::try_from(number).unwrap_or(u32::MAX)).into(),
        IpNet::V6(_) => Ipv6Addr::from(number).into(),
    }
}

fn is_wide(prefix: IpNet) -> bool {
    prefix.prefix_len() + 1 < prefix.max_prefix_len()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn subnet(prefix: &str, gateway: &str) -> Subnet {
        let gateway = Some(ip(gateway));
        Subnet { prefix: prefix.parse().expect("a prefix"), gateway, range: None }
    }

    /// Every address that is given, one after the other, until there is none.
    fn all(subnet: &Subnet) -> Vec<IpAddr> {
        let mut given: Vec<IpAddr> = Vec::new();
        while let Some(address) =
            next_address(subnet, given.last().copied(), |address| given.contains(&address))
        {
            given.push(address);
        }
        given
    }

    #[test]
    fn network_gateway_and_broadcast_are_no_endpoints() {
        let four = subnet("10.0.0.0/24", "10.0.0.1");
        for (address, can) in [
            ("10.0.0.0", false),
            ("10.0.0.1", false),
            ("10.0.0.255", false),
            ("10.0.0.2", true),
            ("10.0.1.2", false),
        ] {
            assert_eq!(is_for_endpoints(&four, ip(address)), can, "{address}");
        }
        let six = subnet("fd00::/64", "fd00::1");
        for (address, can) in
            [("fd00::", false), ("fd00::1", false), ("fd00::2", true), ("fd00::ffff:ffff:ffff:ffff", true)]
        {
            assert_eq!(is_for_endpoints(&six, ip(address)), can, "{address}");
        }
    }

    #[test]
    fn a_gateway_is_the_first_usable_address() {
        let first = |prefix: &str| first_usable(prefix.parse().expect("a prefix")).to_string();
        assert_eq!(first("10.0.0.0/24"), "10.0.0.1");
        assert_eq!(first("10.0.0.0/31"), "10.0.0.0");
        assert_eq!(first("fd00::/64"), "fd00::1");
    }

    #[test]
    fn an_address_rests_until_all_others_were_given() {
        let subnet = subnet("10.0.0.0/29", "10.0.0.1");
        assert_eq!(next_address(&subnet, None, |_| false), Some(ip("10.0.0.2")));
        assert_eq!(next_address(&subnet, Some(ip("10.0.0.2")), |_| false), Some(ip("10.0.0.3")));
        assert_eq!(next_address(&subnet, Some(ip("10.0.0.6")), |_| false), Some(ip("10.0.0.2")), "again");
        assert_eq!(next_address(&subnet, Some(ip("10.0.9.9")), |_| false), Some(ip("10.0.0.2")), "another's");
        assert_eq!(next_address(&subnet, None, |_| true), None);
    }

    #[test]
    fn a_range_bounds_what_is_given_unasked_only() {
        let range = Some("10.0.0.128/30".parse().expect("a subnet"));
        let subnet = Subnet { range, ..subnet("10.0.0.0/24", "10.0.0.1") };
        assert_eq!(all(&subnet), ["10.0.0.128", "10.0.0.129", "10.0.0.130", "10.0.0.131"].map(ip));
        assert!(is_for_endpoints(&subnet, ip("10.0.0.2")));
    }

    #[test]
    fn subnets_without_broadcast_and_those_at_the_end_are_used_whole() {
        assert_eq!(all(&subnet("10.0.0.0/31", "10.0.0.0")), [ip("10.0.0.1")]);
        assert_eq!(all(&subnet("255.255.255.252/30", "255.255.255.253")), [ip("255.255.255.254")]);
        assert_eq!(all(&subnet("ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffc/126", "::1")).len(), 3);
        let whole = Subnet { prefix: "::/0".parse().expect("a prefix"), gateway: None, range: None };
        assert_eq!(next_address(&whole, None, |_| false), Some(ip("::1")));
    }

    proptest! {
        #[test]
        fn what_is_given_was_free_and_is_the_next_of_a_plain_set(
            taken in proptest::collection::btree_set(0_u8..64, 0..64), last in proptest::option::of(0_u8..64),
        ) {
            let at = |last: u8| IpAddr::from([10, 0, 0, last]);
            let free: BTreeSet<u8> = (2..63).filter(|number| !taken.contains(number)).collect();
            let behind = last.and_then(|last| free.range(last + 1..).next());
            let expected = behind.or_else(|| free.first()).copied().map(at);
            let is_taken = |address| taken.iter().any(|number| at(*number) == address);
            let given = next_address(&subnet("10.0.0.0/26", "10.0.0.1"), last.map(at), is_taken);
            prop_assert_eq!(given, expected);
        }
    }
}
