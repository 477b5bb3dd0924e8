//! Which subnet does a new network get, when nobody asked for one? The first of a configured pool, of the pool's
//! size, that overlaps nothing that is taken: other networks' subnets, and what the host routes. Pure.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::address::{address, number};

/// Addresses that networks are cut from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SubnetPool {
    /// All of them.
    pub base: IpNet,
    /// The prefix length of each network's part; not shorter than the base's.
    pub prefix: u8,
}

impl SubnetPool {
    /// The first part of it that overlaps nothing taken.
    pub fn choose(&self, taken: &[IpNet]) -> Option<IpNet> {
        let size = span(self.base.addr(), self.prefix)?;
        if self.prefix < self.base.prefix_len() {
            return None;
        }
        let last = number(self.base.broadcast());
        let mut first = number(self.base.network());
        // Every turn jumps behind something taken, so there are at most as many as those.
        loop {
            let end = first.checked_add(size)?;
            if end > last {
                return None;
            }
            let obstacle = taken
                .iter()
                .filter(|net| net.addr().is_ipv4() == self.base.addr().is_ipv4())
                .find(|net| number(net.network()) <= end && number(net.broadcast()) >= first);
            let Some(obstacle) = obstacle else {
                return IpNet::new(address(first, self.base), self.prefix).ok();
            };
            first = (number(obstacle.broadcast()) | size).checked_add(1)?;
        }
    }
}

/// How far the last address of a subnet is from its first.
fn span(family: IpAddr, prefix: u8) -> Option<u128> {
    let bits: u32 = if family.is_ipv4() { 32 } else { 128 };
    let free = bits.checked_sub(u32::from(prefix))?;
    Some(1_u128.checked_shl(free).map_or(u128::MAX, |count| count - 1))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use proptest::prelude::*;

    fn net(text: &str) -> IpNet {
        text.parse().expect("a subnet")
    }

    fn overlap(a: IpNet, b: IpNet) -> bool {
        a.contains(&b.network()) || b.contains(&a.network())
    }

    #[test]
    fn the_first_free_part_is_chosen_whatever_the_size_of_what_is_in_the_way() {
        let pool = SubnetPool { base: net("10.208.0.0/12"), prefix: 20 };
        assert_eq!(pool.choose(&[]), Some(net("10.208.0.0/20")));
        assert_eq!(pool.choose(&[net("10.208.0.0/20")]), Some(net("10.208.16.0/20")));
        assert_eq!(pool.choose(&[net("10.208.5.0/24"), net("10.208.16.1/32")]), Some(net("10.208.32.0/20")));
        assert_eq!(pool.choose(&[net("10.208.0.0/13")]), Some(net("10.216.0.0/20")));
        assert_eq!(pool.choose(&[net("10.0.0.0/8")]), None, "a company that routes all of it");
        let pool = SubnetPool { base: net("fd00::/56"), prefix: 64 };
        assert_eq!(pool.choose(&[net("fd00::/64"), net("10.0.0.0/8")]), Some(net("fd00:0:0:1::/64")));
    }

    #[test]
    fn pools_at_the_end_of_all_addresses_end() {
        let pool = SubnetPool { base: net("255.255.255.0/24"), prefix: 25 };
        assert_eq!(pool.choose(&[net("255.255.255.0/25")]), Some(net("255.255.255.128/25")));
        assert_eq!(pool.choose(&[net("255.255.255.0/24")]), None);
        let pool = SubnetPool { base: net("ffff::/16"), prefix: 16 };
        assert_eq!(pool.choose(&[net("ffff::/64")]), None);
        assert_eq!(SubnetPool { base: net("10.0.0.0/16"), prefix: 8 }.choose(&[]), None);
    }

    proptest! {
        #[test]
        fn what_is_chosen_overlaps_nothing_and_is_found_if_there_is_any(
            taken in proptest::collection::vec((any::<u8>(), 12_u8..=32), 0..40), prefix in 12_u8..=20,
        ) {
            let base = net("10.208.0.0/12");
            let taken: Vec<IpNet> = taken
                .into_iter()
                .map(|(octet, prefix)| {
                    let address = Ipv4Addr::new(10, 0xd0 | (octet >> 4), octet << 4, octet);
                    IpNet::new(address.into(), prefix).expect("a prefix").trunc()
                })
                .collect();
            let free = |net: &IpNet| taken.iter().all(|other| !overlap(*net, *other));
            let expected = base.subnets(prefix).expect("longer").find(free);
            prop_assert_eq!(SubnetPool { base, prefix }.choose(&taken), expected);
        }
    }
}
