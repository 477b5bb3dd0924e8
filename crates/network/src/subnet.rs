//! Which subnet does a new network get, when nobody asked for one? The first of a configured pool, of the pool's
//! size, that overlaps nothing that is taken: other networks' subnets, and what the host routes. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// Addresses that networks are cut from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SubnetPool {
    /// All of them.
    pub base: IpNet,
    /// The prefix length of each network's part; not shorter than the base's.
    pub prefix: u8,
}

impl SubnetPool {
    /// The pools of a machine that configures none: 256 networks of 4,094 addresses, 128 of 254 should a
    /// company use all of the first, and 65,536 of IPv6. `global` are 40 bits of the machine's own, random
    /// and kept (RFC 4193 3.2.1).
    pub fn defaults(global: [u8; 5]) -> [Self; 3] {
        let mut unique = [0; 16];
        unique[0] = 0xfd;
        unique[1..6].copy_from_slice(&global);
        let unique = Ipv6Addr::from(unique);
        [
            Self { base: Ipv4Net::new_assert(Ipv4Addr::new(10, 208, 0, 0), 12).into(), prefix: 20 },
            Self { base: Ipv4Net::new_assert(Ipv4Addr::new(192, 168, 128, 0), 17).into(), prefix: 24 },
            Self { base: Ipv6Net::new_assert(unique, 48).into(), prefix: 64 },
        ]
    }

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
                return IpNet::new(self.address(first), self.prefix).ok();
            };
            first = (number(obstacle.broadcast()) | size).checked_add(1)?;
        }
    }

    fn address(&self, number: u128) -> IpAddr {
        match self.base {
            IpNet::V4(_) => Ipv4Addr::from(u32::try_from(number).unwrap_or(u32::MAX)).into(),
            IpNet::V6(_) => Ipv6Addr::from(number).into(),
        }
    }
}

/// The first of several pools' choices for a family.
pub fn choose_subnet(pools: &[SubnetPool], ipv6: bool, taken: &[IpNet]) -> Option<IpNet> {
    pools.iter().filter(|pool| pool.base.addr().is_ipv6() == ipv6).find_map(|pool| pool.choose(taken))
}

/// How far the last address of a subnet is from its first.
fn span(family: IpAddr, prefix: u8) -> Option<u128> {
    let bits: u32 = if family.is_ipv4() { 32 } else { 128 };
    let free = bits.checked_sub(u32::from(prefix))?;
    Some(1_u128.checked_shl(free).map_or(u128::MAX, |count| count - 1))
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u32::from(address).into(),
        IpAddr::V6(address) => address.into(),
    }
}

#[cfg(test)]
mod tests {
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
        let pools = SubnetPool::defaults([1, 2, 3, 4, 5]);
        assert_eq!(choose_subnet(&pools, false, &[net("10.0.0.0/8")]), Some(net("192.168.128.0/24")));
        assert_eq!(choose_subnet(&pools, true, &[]), Some(net("fd01:203:405::/64")));
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
