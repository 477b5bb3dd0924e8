//! What does a network add to the table? Its links, its subnets, and what becomes of packets between them and the
//! rest. The same number of elements whatever the number of its containers.

use gantry_types::InterfaceName;
use ipnet::IpNet;

use super::Change;
use super::attribute::Writer;
use super::expression::Verdict;
use super::set::{self, Element, Set, Value};

/// A bridge network, as the rules see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkRules {
    /// Its bridge, and its further segments.
    pub bridges: Vec<InterfaceName>,
    /// Its subnets.
    pub subnets: Vec<IpNet>,
    /// Whether nothing goes in or out.
    pub internal: bool,
    /// Whether its endpoints may talk to each other. What stays on one bridge is the ports' own isolation's to
    /// stop: [`crate::Bridge::isolated`].
    pub inter_container: bool,
    /// Whether packets that leave it get the host's address.
    pub masquerade: bool,
    /// Whether its addresses can be reached from outside and from other networks, without published ports.
    pub open: bool,
}

impl NetworkRules {
    /// The elements.
    pub fn change(&self) -> Change {
        let mut parts: Vec<(&Set, Vec<Element>)> = Vec::new();
        for (number, bridge) in self.bridges.iter().enumerate() {
            let link = link(bridge);
            if number > 0 {
                parts.push((&set::SEGMENTS, vec![Element::new(link.to_vec(), Value::Nothing)]));
            }
            parts.push((&set::BRIDGES, vec![Element::new(link.to_vec(), Value::Nothing)]));
            let within = if self.inter_container { Verdict::Accept } else { Verdict::Drop };
            let pair = [link, link].concat();
            parts.push((&set::WITHIN, vec![Element::new(pair, Value::Verdict(within))]));
            if self.internal {
                parts.push((&set::INTERNAL, vec![Element::new(link.to_vec(), Value::Nothing)]));
            }
            let towards = if self.open { Verdict::Accept } else { Verdict::Drop };
            parts.push((&set::TOWARDS, vec![Element::new(link.to_vec(), Value::Verdict(towards))]));
        }
        for subnet in &self.subnets {
            let (subnets, masqueraded) = match subnet {
                IpNet::V4(_) => (&set::SUBNETS4, &set::MASQUERADED4),
                IpNet::V6(_) => (&set::SUBNETS6, &set::MASQUERADED6),
            };
            parts.push((subnets, interval(*subnet)));
            if self.masquerade && !self.internal {
                parts.push((masqueraded, interval(*subnet)));
            }
        }
        let (mut add, mut remove) = (Writer::default(), Writer::default());
        for (set, elements) in parts {
            set.add(&mut add, &elements);
            set.remove(&mut remove, &elements);
        }
        Change { add: add.bytes, remove: remove.bytes }
    }
}

/// A link's name as a key.
fn link(name: &InterfaceName) -> [u8; 16] {
    let mut key = [0; 16];
    key[..name.as_str().len()].copy_from_slice(name.as_str().as_bytes());
    key
}

/// The first address of a subnet, and the first behind it, unless it ends where addresses end.
fn interval(subnet: IpNet) -> Vec<Element> {
    let (first, behind) = match subnet {
        IpNet::V4(net) => (
            net.network().octets().to_vec(),
            u32::from(net.broadcast()).checked_add(1).map(|address| address.to_be_bytes().to_vec()),
        ),
        IpNet::V6(net) => (
            net.network().octets().to_vec(),
            u128::from(net.broadcast()).checked_add(1).map(|address| address.to_be_bytes().to_vec()),
        ),
    };
    let mut elements = vec![Element::new(first, Value::Nothing)];
    elements.extend(behind.map(Element::behind));
    elements
}
