//! Which address does a new endpoint get? The next one behind the last that was given out, so that an address rests
//! before it is used again, and the answer costs the same with one endpoint and with thousands: taken addresses
//! are kept as intervals. Pure; the store says which are taken.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use gantry_types::{Class, Classified};
use ipnet::IpNet;

/// The addresses of one subnet.
#[derive(Debug, Clone)]
pub struct AddressPool {
    subnet: IpNet,
    /// First and last of what is given out unasked.
    range: (u128, u128),
    /// First to last of what is taken or never given out; intervals neither touch nor overlap.
    taken: BTreeMap<u128, u128>,
    next: u128,
}

/// Why there is no such address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// All are taken.
    #[error("subnet {subnet} has no free address")]
    Exhausted {
        /// The subnet.
        subnet: IpNet,
    },
    /// Somebody has it, or it is the gateway's, the subnet's own or the broadcast address.
    #[error("address {address} is taken")]
    Taken {
        /// The address.
        address: IpAddr,
    },
    /// It belongs elsewhere.
    #[error("address {address} is not of subnet {subnet}")]
    Foreign {
        /// The address.
        address: IpAddr,
        /// The subnet.
        subnet: IpNet,
    },
}

impl Classified for AddressError {
    fn class(&self) -> Class {
        match self {
            Self::Exhausted { .. } => Class::ResourceExhausted,
            Self::Taken { .. } => Class::FailedPrecondition,
            Self::Foreign { .. } => Class::InvalidArgument,
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::Exhausted { .. } => "ADDRESSES_EXHAUSTED",
            Self::Taken { .. } => "ADDRESS_TAKEN",
            Self::Foreign { .. } => "ADDRESS_FOREIGN",
        }
    }
}

impl AddressPool {
    /// A pool where the gateway alone is taken. `range` is the part that is given out unasked; `None` is all.
    pub fn new(subnet: IpNet, gateway: Option<IpAddr>, range: Option<IpNet>) -> Self {
        let (first, last) = (number(subnet.network()), number(subnet.broadcast()));
        let part = range.filter(|range| subnet.contains(range)).unwrap_or(subnet);
        let range = (number(part.network()), number(part.broadcast()));
        let mut pool = Self { subnet, range, taken: BTreeMap::new(), next: range.0 };
        // Subnets of two addresses and of one have no broadcast (RFC 3021), and all of theirs are hosts'.
        if last - first > 1 {
            pool.insert(first);
            pool.insert(last);
        }
        if let Some(gateway) = gateway.filter(|gateway| subnet.contains(gateway)) {
            pool.insert(number(gateway));
        }
        pool
    }

    /// The next free address.
    pub fn take(&mut self) -> Result<IpAddr, AddressError> {
        let found = self
            .free_from(self.next)
            .or_else(|| self.free_from(self.range.0))
            .ok_or(AddressError::Exhausted { subnet: self.subnet })?;
        self.insert(found);
        self.next = found.checked_add(1).filter(|next| *next <= self.range.1).unwrap_or(self.range.0);
        Ok(self.address(found))
    }

    /// An address that was asked for, or that the store says is taken.
    pub fn take_this(&mut self, address: IpAddr) -> Result<(), AddressError> {
        if !self.subnet.contains(&address) {
            return Err(AddressError::Foreign { address, subnet: self.subnet });
        }
        if self.holds(number(address)) {
            return Err(AddressError::Taken { address });
        }
        self.insert(number(address));
        Ok(())
    }

    /// Gives one back; false when it was not taken.
    pub fn release(&mut self, address: IpAddr) -> bool {
        let address = number(address);
        let Some((first, last)) = self.interval_of(address) else { return false };
        self.taken.remove(&first);
        if first < address {
            self.taken.insert(first, address - 1);
        }
        if address < last {
            self.taken.insert(address + 1, last);
        }
        true
    }

    fn free_from(&self, start: u128) -> Option<u128> {
        let candidate = match self.interval_of(start) {
            Some((_, last)) => last.checked_add(1)?,
            None => start,
        };
        (candidate <= self.range.1).then_some(candidate)
    }

    fn holds(&self, address: u128) -> bool {
        self.interval_of(address).is_some()
    }

    fn interval_of(&self, address: u128) -> Option<(u128, u128)> {
        let (first, last) = self.taken.range(..=address).next_back()?;
        (*last >= address).then_some((*first, *last))
    }

    fn insert(&mut self, address: u128) {
        if self.holds(address) {
            return;
        }
        let before = address.checked_sub(1).and_then(|before| self.interval_of(before));
        let behind = address.checked_add(1).and_then(|behind| self.interval_of(behind));
        if let Some((first, _)) = behind {
            self.taken.remove(&first);
        }
        let first = before.map_or(address, |(first, _)| first);
        self.taken.insert(first, behind.map_or(address, |(_, last)| last));
    }

    fn address(&self, number: u128) -> IpAddr {
        match self.subnet {
            IpNet::V4(_) => Ipv4Addr::from(u32::try_from(number).unwrap_or(u32::MAX)).into(),
            IpNet::V6(_) => Ipv6Addr::from(number).into(),
        }
    }
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
    use std::collections::BTreeSet;

    fn pool(subnet: &str) -> AddressPool {
        let subnet: IpNet = subnet.parse().expect("a subnet");
        AddressPool::new(subnet, subnet.hosts().next(), None)
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn gateway_network_and_broadcast_are_nobodys_and_a_released_address_rests() {
        let mut pool = pool("10.0.0.0/29");
        assert_eq!(pool.take(), Ok(ip("10.0.0.2")));
        assert_eq!(pool.take_this(ip("10.0.0.4")), Ok(()));
        assert_eq!(pool.take(), Ok(ip("10.0.0.3")));
        assert!(pool.release(ip("10.0.0.2")));
        assert!(!pool.release(ip("10.0.0.2")));
        assert_eq!([pool.take(), pool.take()], [Ok(ip("10.0.0.5")), Ok(ip("10.0.0.6"))]);
        assert_eq!(pool.take(), Ok(ip("10.0.0.2")), "only now again");
        assert!(matches!(pool.take(), Err(AddressError::Exhausted { .. })));
        for taken in ["10.0.0.0", "10.0.0.1", "10.0.0.4", "10.0.0.7"] {
            assert_eq!(pool.take_this(ip(taken)), Err(AddressError::Taken { address: ip(taken) }));
        }
        assert!(matches!(pool.take_this(ip("10.0.1.2")), Err(AddressError::Foreign { .. })));
    }

    #[test]
    fn a_range_bounds_what_is_given_unasked_only() {
        let subnet = "10.0.0.0/24".parse().expect("a subnet");
        let range = "10.0.0.128/30".parse().expect("a subnet");
        let mut pool = AddressPool::new(subnet, Some(ip("10.0.0.1")), Some(range));
        let taken: Vec<_> = std::iter::from_fn(|| pool.take().ok()).collect();
        assert_eq!(taken, ["10.0.0.128", "10.0.0.129", "10.0.0.130", "10.0.0.131"].map(ip));
        assert_eq!(pool.take_this(ip("10.0.0.2")), Ok(()));
    }

    #[test]
    fn subnets_without_broadcast_and_those_at_the_end_are_used_whole() {
        let mut two = AddressPool::new("10.0.0.0/31".parse().expect("a subnet"), Some(ip("10.0.0.0")), None);
        assert_eq!(two.take(), Ok(ip("10.0.0.1")));
        assert!(two.take().is_err());
        let mut end = pool("255.255.255.252/30");
        assert_eq!(end.take(), Ok(ip("255.255.255.254")));
        assert!(end.take().is_err());
        let mut wide = AddressPool::new("fd00::/64".parse().expect("a subnet"), Some(ip("fd00::1")), None);
        assert_eq!(wide.take(), Ok(ip("fd00::2")));
    }

    proptest! {
        #[test]
        fn it_agrees_with_a_plain_set(steps in proptest::collection::vec((0_u8..3, 0_u8..64), 0..300)) {
            let mut pool = pool("10.0.0.0/26");
            let mut set: BTreeSet<u128> = [0, 1, 63].map(|last| number(ip("10.0.0.0")) + last).into();
            for (step, last) in steps {
                let asked = IpAddr::from([10, 0, 0, last]);
                match step {
                    0 => {
                        let taken = pool.take().ok();
                        prop_assert_eq!(taken.is_none(), set.len() == 64);
                        prop_assert!(taken.is_none_or(|address| set.insert(number(address))));
                    }
                    1 => prop_assert_eq!(pool.take_this(asked).is_ok(), set.insert(number(asked))),
                    _ => prop_assert_eq!(pool.release(asked), set.remove(&number(asked))),
                }
                let kept: usize = pool.taken.iter().map(|(a, b)| usize::try_from(b - a + 1).unwrap_or(0)).sum();
                prop_assert_eq!(kept, set.len());
            }
        }
    }
}
