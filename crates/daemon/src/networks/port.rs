//! Ports of the host, within a transaction. A range is one row; two owners never have the same port on the
//! same address, where an address that is left out is every one. What a process of the host listens on is not taken from
//! it: that is seen by binding for a moment, which never waits.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};

use gantry_store::{Page, Transaction};
use gantry_types::{PortRange, Protocol, PublishedPort};

use super::problem::NetworkProblem;
use super::tables::{HOST_PORTS, HostPortRow, Owner, PUBLISHED};
use crate::error::Error;

/// Where free ports are picked from: Linux's own default for connections that go out (ip(7),
/// `ip_local_port_range`), as docker does.
const PICKED_FIRST: u16 = 32768;
const PICKED_LAST: u16 = 60999;
/// Ports of one range that are tried out against listeners of the host.
const TRIED_MAX: u32 = 1024;

/// The owner's published ports.
pub(crate) fn of_owner(tx: &Transaction<'_>, owner: &Owner) -> Vec<PublishedPort> {
    tx.get(&PUBLISHED, &owner.key()).map(|row| (*row.value).clone()).unwrap_or_default()
}

/// Takes `asked` for the owner beside what it has; each has its host's ports afterwards.
pub(crate) fn take(tx: &mut Transaction<'_>, owner: &Owner, asked: &[PublishedPort]) -> Result<(), Error> {
    if asked.is_empty() {
        return Ok(());
    }
    let mut published = of_owner(tx, owner);
    for port in asked {
        let port = settle(tx, *port)?;
        let ports = port.host_ports.expect("settled");
        let row = HostPortRow { owner: owner.clone(), ports };
        tx.insert(&HOST_PORTS, &key(&port), row)?;
        published.push(port);
    }
    tx.insert(&PUBLISHED, &owner.key(), published)?;
    Ok(())
}

/// Gives back those of the owner's that `asked` names: what is left out there fits anything.
pub(crate) fn give_back(
    tx: &mut Transaction<'_>,
    owner: &Owner,
    asked: &[PublishedPort],
) -> Result<(), Error> {
    let mut published = of_owner(tx, owner);
    for wanted in asked {
        let fits = |port: &PublishedPort| {
            port.container_ports == wanted.container_ports
                && port.protocol == wanted.protocol
                && wanted.host_ports.is_none_or(|ports| port.host_ports == Some(ports))
                && (wanted.host_address.is_none() || port.host_address == wanted.host_address)
        };
        if !published.iter().any(fits) {
            let port = format!("{}/{}", wanted.container_ports, wanted.protocol);
            return Err(NetworkProblem::PortNotFound { port }.into());
        }
        for port in published.extract_if(.., |port| fits(port)) {
            tx.remove(&HOST_PORTS, &key(&port));
        }
    }
    if published.is_empty() {
        tx.remove(&PUBLISHED, &owner.key());
    } else {
        tx.insert(&PUBLISHED, &owner.key(), published)?;
    }
    Ok(())
}

/// Gives everything of the owner's back.
pub(crate) fn give_all_back(tx: &mut Transaction<'_>, owner: &Owner) {
    for port in of_owner(tx, owner) {
        tx.remove(&HOST_PORTS, &key(&port));
    }
    tx.remove(&PUBLISHED, &owner.key());
}

/// The same with its host's ports decided.
fn settle(tx: &Transaction<'_>, port: PublishedPort) -> Result<PublishedPort, NetworkProblem> {
    let count = port.container_ports.count();
    let exhausted = NetworkProblem::PortsExhausted { count, protocol: port.protocol };
    match port.host_ports {
        Some(ports) if ports.count() == count => match holder(tx, &port, ports) {
            None if is_free_on_host(&port, ports) => Ok(port),
            None => Err(in_use(&port, ports, "a process of the host".to_owned())),
            Some(holder) => Err(in_use(&port, ports, describe(&holder))),
        },
        // One of the container's, and the first free one of several.
        Some(ports) => pick(tx, &port, ports, 1).ok_or_else(|| in_use(&port, ports, "others".to_owned())),
        None => {
            let all = PortRange::new(PICKED_FIRST, PICKED_LAST).expect("in order");
            pick(tx, &port, all, count).ok_or(exhausted)
        }
    }
}

/// The first `count` free ports in a row within `within`, from a random place on.
fn pick(tx: &Transaction<'_>, port: &PublishedPort, within: PortRange, count: u32) -> Option<PublishedPort> {
    let places = within.count().checked_sub(count - 1)?;
    let begin = if within.first() == PICKED_FIRST { rand::random::<u32>() % places } else { 0 };
    for step in 0..places {
        let first = u32::from(within.first()) + (begin + step) % places;
        let last = first + count - 1;
        let ports = PortRange::new(u16::try_from(first).ok()?, u16::try_from(last).ok()?)?;
        if holder(tx, port, ports).is_none() && is_free_on_host(port, ports) {
            return Some(PublishedPort { host_ports: Some(ports), ..*port });
        }
    }
    None
}

/// Who has one of these ports on an address that meets the port's.
fn holder(tx: &Transaction<'_>, port: &PublishedPort, ports: PortRange) -> Option<Owner> {
    let rows = tx.scan(&HOST_PORTS, &Page::prefix(&port.protocol.to_string()));
    rows.into_iter()
        .filter(|((_, _, address), row)| row.value.ports.overlaps(ports) && meets(port.host_address, address))
        .map(|(_, row)| row.value.owner.clone())
        .next()
}

fn meets(ours: Option<IpAddr>, theirs: &str) -> bool {
    let theirs: Option<IpAddr> = theirs.parse().ok();
    match (ours, theirs) {
        (Some(ours), Some(theirs)) => {
            ours == theirs
                || (ours.is_ipv4() == theirs.is_ipv4() && (ours.is_unspecified() || theirs.is_unspecified()))
        }
        (None, _) | (_, None) => true,
    }
}

fn key(port: &PublishedPort) -> (String, u64, String) {
    let first = port.host_ports.map_or(0, PortRange::first);
    let address = port.host_address.map(|address| address.to_string()).unwrap_or_default();
    (port.protocol.to_string(), first.into(), address)
}

fn in_use(port: &PublishedPort, ports: PortRange, holder: String) -> NetworkProblem {
    NetworkProblem::PortInUse { ports, protocol: port.protocol, holder }
}

fn describe(owner: &Owner) -> String {
    match owner {
        Owner::Container(_, id) => format!("container {}", id.short()),
        Owner::Sandbox(_, id) => format!("sandbox {}", id.short()),
    }
}

/// Whether no process of the host listens there. SCTP and the rest of a very long range are not tried out.
fn is_free_on_host(port: &PublishedPort, ports: PortRange) -> bool {
    let addresses = match port.host_address {
        Some(address) => vec![address],
        None => vec![Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()],
    };
    let last = u32::from(ports.first()) + (ports.count() - 1).min(TRIED_MAX);
    (u32::from(ports.first())..=last).filter_map(|number| u16::try_from(number).ok()).all(|number| {
        addresses.iter().all(|address| {
            let address = SocketAddr::new(*address, number);
            let in_use = |error: std::io::Error| error.kind() == std::io::ErrorKind::AddrInUse;
            match port.protocol {
                Protocol::Tcp => !TcpListener::bind(address).is_err_and(in_use),
                Protocol::Udp => !UdpSocket::bind(address).is_err_and(in_use),
                Protocol::Sctp => true,
            }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_left_out_meets_every_other() {
        let address = |text: &str| text.parse::<IpAddr>().ok();
        for (ours, theirs, met) in [
            ("", "127.0.0.1", true),
            ("127.0.0.1", "", true),
            ("127.0.0.1", "127.0.0.2", false),
            ("0.0.0.0", "127.0.0.1", true),
            ("0.0.0.0", "::1", false),
            ("::", "::1", true),
        ] {
            assert_eq!(meets(address(ours), theirs), met, "{ours} {theirs}");
        }
    }

    #[test]
    fn what_the_host_listens_on_is_not_free() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let number = listener.local_addr().expect("bound").port();
        let ports = PortRange::one(number).expect("bound");
        let port = PublishedPort {
            host_address: None,
            host_ports: Some(ports),
            container_ports: ports,
            protocol: Protocol::Tcp,
        };
        assert!(!is_free_on_host(&port, ports));
        assert!(is_free_on_host(&PublishedPort { protocol: Protocol::Udp, ..port }, ports));
    }
}
