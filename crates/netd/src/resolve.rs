//! What is the answer to a question? In this order:
//!
//! 1. A source outside the network's subnets gets none. What is no query gets none; what cannot be read is told so.
//! 2. Names of the container's networks, the one that the question came through first: `<name>` and
//!    `<name>.<network>`, before any real domain of that name. The first network that has an address of the family asked
//!    for answers; a name that has none of that family exists nevertheless, and the answer is empty (RFC 2308 section 2.2).
//! 3. `_<port>._<protocol>.<name>` (SRV) for such names, with the port's name or number.
//! 4. Reverse look-ups of addresses in the container's networks; an address of theirs that nobody has is not asked
//!    elsewhere, because private addresses are nobody else's business (RFC 6303).
//! 5. Everything else goes to the container's resolvers, or the host's; but for a container that is on internal networks
//!    alone it does not exist.
//!
//! Pure: it looks at the zone and writes bytes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;

use gantry_network::netd::Port;

use crate::answer::{self, Answer, TCP_BYTES_MAX, UDP_BYTES_MAX, UDP_BYTES_MIN};
use crate::question::{self, CLASS_IN, NoQuestion, Outcome, Question, kind};
use crate::zone::{Asker, EndpointZone, NetworkZone, Zone};

/// How a question came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    Udp,
    Tcp,
}

/// What to do with a packet.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Nothing.
    Silence,
    /// The answer is in the buffer.
    Answer,
    /// Somebody else knows.
    Forward(Forward),
}

/// A question for somebody else.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Forward {
    /// Whom to ask; empty means the host's resolvers.
    pub(crate) servers: Rc<[SocketAddr]>,
    /// Where the question ends in the packet: so much of an answer must be the same.
    pub(crate) question_end: usize,
}

/// Decides about `packet`, that came from `source` through the network `id`. `turn` is another number each time: it
/// says who comes first among several.
pub(crate) fn decide(
    zone: &Zone,
    id: &str,
    source: IpAddr,
    transport: Transport,
    packet: &[u8],
    turn: usize,
    out: &mut Vec<u8>,
) -> Decision {
    let Some(asker) = zone.asker(id, source) else { return Decision::Silence };
    let question = match question::parse(packet) {
        Ok(question) => question,
        Err(NoQuestion::Silence) => return Decision::Silence,
        Err(NoQuestion::Say(outcome)) => {
            answer::unreadable(out, packet, outcome);
            return Decision::Answer;
        }
    };
    let limit = match transport {
        Transport::Tcp => TCP_BYTES_MAX,
        Transport::Udp => question.edns.map_or(UDP_BYTES_MIN, |edns| {
            usize::from(edns.payload_bytes).clamp(UDP_BYTES_MIN, UDP_BYTES_MAX)
        }),
    };
    let mut reply = Reply { packet, question: &question, limit, turn, out };
    if question.class != CLASS_IN || matches!(question.kind, kind::AXFR | kind::IXFR) {
        return reply.nothing(Outcome::Refused);
    }
    match own(zone, &asker, &mut reply) {
        Some(decision) => decision,
        None if asker.may_leave => Decision::Forward(Forward {
            servers: asker.servers.map_or_else(|| [].into(), Rc::clone),
            question_end: question.end,
        }),
        None => reply.nothing(Outcome::NoSuchName),
    }
}

/// The answer, where it is netd's to give.
fn own(zone: &Zone, asker: &Asker<'_>, reply: &mut Reply<'_>) -> Option<Decision> {
    let name = reply.question.name;
    let name = name.as_bytes();
    let mut found = asker.networks.iter().filter_map(|network| network.find(name)).peekable();
    if found.peek().is_some() {
        let bad_version = reply.question.edns.is_some_and(|edns| edns.version != 0);
        return Some(if bad_version { reply.nothing(Outcome::BadVersion) } else { reply.addresses(found) });
    }
    match reply.question.kind {
        kind::SRV => service(zone, asker, name, reply),
        kind::PTR => {
            let address = reverse_address(name)?;
            let mut networks = asker.networks.iter();
            match networks.clone().find_map(|network| network.holder(address).map(|holder| (network, holder)))
            {
                Some((network, holder)) => Some(reply.pointer(network, holder)),
                None if networks.any(|network| network.contains(address)) => {
                    Some(reply.nothing(Outcome::NoSuchName))
                }
                None => None,
            }
        }
        _ => None,
    }
}

/// `_<port>._<protocol>.<name>`.
fn service(zone: &Zone, asker: &Asker<'_>, name: &[u8], reply: &mut Reply<'_>) -> Option<Decision> {
    let (service, rest) = underscored(name)?;
    let (protocol, rest) = underscored(rest)?;
    let endpoints = asker.networks.iter().find_map(|network| network.find(rest))?;
    let wanted = |port: &&Port| {
        port.protocol.as_str().as_bytes() == protocol
            && (port.name.as_bytes().eq_ignore_ascii_case(service)
                || port.number.to_string().as_bytes() == service)
    };
    let places: Vec<(u16, &Rc<EndpointZone>)> = endpoints
        .iter()
        .flat_map(|endpoint| endpoint.ports.iter().filter(wanted).map(move |port| (port.number, endpoint)))
        .collect();
    if places.is_empty() {
        return Some(reply.nothing(Outcome::NoSuchName));
    }
    Some(reply.services(zone, &places))
}

/// A first label that begins with an underscore, without it, and the rest.
fn underscored(name: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = name.split_first()?;
    let (label, rest) = rest.split_at_checked(usize::from(*length))?;
    Some((label.strip_prefix(b"_")?, rest))
}

/// The address that a name of `in-addr.arpa` or `ip6.arpa` stands for (RFC 1035 section 3.5, RFC 3596 section 2.5).
fn reverse_address(name: &[u8]) -> Option<IpAddr> {
    if let Some(labels) = name.strip_suffix(b"\x07in-addr\x04arpa") {
        let mut octets = [0u8; 4];
        let mut rest = labels;
        for octet in octets.iter_mut().rev() {
            let (label, after) = rest.split_at_checked(1 + usize::from(*rest.first()?))?;
            *octet = std::str::from_utf8(&label[1..]).ok()?.parse().ok()?;
            rest = after;
        }
        return rest.is_empty().then(|| IpAddr::V4(Ipv4Addr::from(octets)));
    }
    let labels = name.strip_suffix(b"\x03ip6\x04arpa")?;
    let mut octets = [0u8; 16];
    if labels.len() != 64 {
        return None;
    }
    for (place, pair) in octets.iter_mut().rev().zip(labels.chunks_exact(4)) {
        let &[1, low, 1, high] = pair else { return None };
        let digit = |byte: u8| char::from(byte).to_digit(16);
        *place = u8::try_from(digit(high)? << 4 | digit(low)?).ok()?;
    }
    Some(IpAddr::V6(Ipv6Addr::from(octets)))
}

/// The answer that is to be written.
struct Reply<'r> {
    packet: &'r [u8],
    question: &'r Question,
    limit: usize,
    turn: usize,
    out: &'r mut Vec<u8>,
}

impl Reply<'_> {
    fn begin(&mut self, outcome: Outcome) -> Answer<'_> {
        Answer::new(self.out, self.packet, self.question, outcome, self.limit)
    }

    fn nothing(&mut self, outcome: Outcome) -> Decision {
        let mut answer = self.begin(outcome);
        if outcome == Outcome::NoSuchName {
            answer.authoritative();
        }
        answer.finish();
        Decision::Answer
    }

    /// All addresses of the family of the first network that has some.
    fn addresses<'z>(&mut self, found: impl Iterator<Item = &'z [Rc<EndpointZone>]>) -> Decision {
        let wanted = |address: &&IpAddr| match self.question.kind {
            kind::A => address.is_ipv4(),
            kind::AAAA => address.is_ipv6(),
            kind::ANY => true,
            _ => false,
        };
        let turn = self.turn;
        let mut answer = Answer::new(self.out, self.packet, self.question, Outcome::NoError, self.limit);
        answer.authoritative();
        for endpoints in found {
            let first = turn % endpoints.len();
            let in_turn = endpoints[first..].iter().chain(&endpoints[..first]);
            let mut addresses =
                in_turn.flat_map(|endpoint| endpoint.addresses.iter().filter(&wanted)).peekable();
            if addresses.peek().is_some() {
                addresses.all(|address| answer.address(*address));
                break;
            }
        }
        answer.finish();
        Decision::Answer
    }

    fn pointer(&mut self, network: &NetworkZone, holder: &EndpointZone) -> Decision {
        let Some(name) = holder.names.first() else { return self.nothing(Outcome::NoSuchName) };
        let mut answer = self.begin(Outcome::NoError);
        answer.authoritative();
        answer.pointer(&full_name(name, Some(network)));
        answer.finish();
        Decision::Answer
    }

    fn services(&mut self, zone: &Zone, places: &[(u16, &Rc<EndpointZone>)]) -> Decision {
        let first = self.turn % places.len();
        let mut answer = self.begin(Outcome::NoError);
        answer.authoritative();
        for (port, endpoint) in places[first..].iter().chain(&places[..first]) {
            let Some(name) = endpoint.names.first() else { continue };
            if !answer.service(*port, &full_name(name, zone.network_of(endpoint))) {
                break;
            }
        }
        answer.finish();
        Decision::Answer
    }
}

/// `<name>.<network>`, or the name alone where both together are too long or the network's is no name.
fn full_name<'n>(name: &'n [u8], network: Option<&'n NetworkZone>) -> Vec<&'n [u8]> {
    let after = network.and_then(NetworkZone::name).filter(|after| name.len() + after.len() < 255);
    [name].into_iter().chain(after).collect()
}

#[cfg(test)]
mod tests;
