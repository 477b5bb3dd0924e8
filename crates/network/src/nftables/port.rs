//! What does a published port add to the table? One element: of a hash table when it is one port, of an interval
//! map when it is a range that leads to the same ports (in a tree of its protocol's, or with others at its address). A range
//! that leads to other ports has an element for each of them.

use std::net::IpAddr;

use gantry_types::{PortRange, Protocol};

use super::Change;
use super::attribute::Writer;
use super::set::{self, Element, Set, Value};

/// Ports of the host that lead to a container's, of one family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PortForward {
    protocol: Protocol,
    at: Option<IpAddr>,
    ports: PortRange,
    container: IpAddr,
    /// The first of as many.
    container_first: u16,
}

impl PortForward {
    /// Ports at one address of the host, or at all of them: `None` and the unspecified address mean that.
    /// There is no forward from one family to the other, nor to ports beyond the last.
    pub fn new(
        protocol: Protocol,
        at: Option<IpAddr>,
        ports: PortRange,
        container: IpAddr,
        container_first: u16,
    ) -> Option<Self> {
        let one_family = at.is_none_or(|at| at.is_ipv4() == container.is_ipv4());
        let count = ports.last() - ports.first();
        let possible = one_family && container_first > 0 && container_first.checked_add(count).is_some();
        let at = at.filter(|at| !at.is_unspecified());
        possible.then_some(Self { protocol, at, ports, container, container_first })
    }

    /// The elements of several forwards.
    pub fn change(forwards: &[Self]) -> Change {
        let mut add = Writer::default();
        let mut remove = Writer::default();
        for set in [
            &set::PUBLISHED4,
            &set::PUBLISHED4_AT,
            &set::RANGES4_TCP,
            &set::RANGES4_UDP,
            &set::RANGES4,
            &set::RANGES4_AT,
            &set::PUBLISHED6,
            &set::PUBLISHED6_AT,
            &set::RANGES6_TCP,
            &set::RANGES6_UDP,
            &set::RANGES6,
            &set::RANGES6_AT,
        ] {
            let of_set = forwards.iter().filter(|forward| forward.set().name == set.name);
            let parts: Vec<Vec<Element>> = of_set.flat_map(Self::elements).collect();
            set.add(&mut add, &parts.concat());
            for part in &parts {
                set.remove(&mut remove, part);
            }
        }
        Change { add: add.bytes, remove: remove.bytes }
    }

    /// Whether it is one element, however many ports.
    fn is_interval(&self) -> bool {
        self.ports.count() > 1 && self.ports.first() == self.container_first
    }

    fn set(&self) -> &'static Set {
        match (self.container, self.is_interval(), self.at, self.protocol) {
            (IpAddr::V4(_), false, None, _) => &set::PUBLISHED4,
            (IpAddr::V4(_), false, Some(_), _) => &set::PUBLISHED4_AT,
            (IpAddr::V4(_), true, None, Protocol::Tcp) => &set::RANGES4_TCP,
            (IpAddr::V4(_), true, None, Protocol::Udp) => &set::RANGES4_UDP,
            (IpAddr::V4(_), true, None, Protocol::Sctp) => &set::RANGES4,
            (IpAddr::V4(_), true, Some(_), _) => &set::RANGES4_AT,
            (IpAddr::V6(_), false, None, _) => &set::PUBLISHED6,
            (IpAddr::V6(_), false, Some(_), _) => &set::PUBLISHED6_AT,
            (IpAddr::V6(_), true, None, Protocol::Tcp) => &set::RANGES6_TCP,
            (IpAddr::V6(_), true, None, Protocol::Udp) => &set::RANGES6_UDP,
            (IpAddr::V6(_), true, None, Protocol::Sctp) => &set::RANGES6,
            (IpAddr::V6(_), true, Some(_), _) => &set::RANGES6_AT,
        }
    }

    /// Whether its set has the port alone for its key: a tree, whose intervals are two elements for the kernel.
    fn is_in_tree(&self) -> bool {
        self.is_interval() && self.at.is_none() && self.protocol != Protocol::Sctp
    }

    /// What is added and removed together: an element, or the two ends of an interval.
    fn elements(&self) -> Vec<Vec<Element>> {
        let data = || Value::Bytes(octets(self.container));
        if self.is_in_tree() {
            let first = Element::new(self.ports.first().to_be_bytes().to_vec(), data());
            let behind = self.ports.last().checked_add(1);
            let behind = behind.map(|port| Element::behind(port.to_be_bytes().to_vec()));
            return vec![std::iter::once(first).chain(behind).collect()];
        }
        if self.is_interval() {
            let (first, last) = (self.key(self.ports.first()), self.key(self.ports.last()));
            return vec![vec![Element::range(first, last, data())]];
        }
        (self.ports.first()..=self.ports.last())
            .zip(self.container_first..)
            .map(|(port, container_port)| {
                let mut data = octets(self.container);
                data.extend(padded(container_port));
                vec![Element::new(self.key(port), Value::Bytes(data))]
            })
            .collect()
    }

    fn key(&self, port: u16) -> Vec<u8> {
        let mut key = vec![self.protocol.number(), 0, 0, 0];
        if let Some(at) = self.at {
            key.extend(octets(at));
        }
        key.extend(padded(port));
        key
    }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// A port in a register of its own.
fn padded(port: u16) -> [u8; 4] {
    let [high, low] = port.to_be_bytes();
    [high, low, 0, 0]
}
