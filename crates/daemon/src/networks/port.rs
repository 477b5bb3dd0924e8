//! Ports of the host, within a transaction. A range is one row (how it is found is in [`super::taken`]); two owners never have
//! the same port on the same address, where an address that is left out is every one. What a process of the host listens on is not taken from
//! it: that is seen by binding for a moment, which never waits.

use std::net::{Ipv4Addr, Ipv6Addr};

use gantry_network::{pick_ports, port_is_free};
use gantry_store::Transaction;
use gantry_types::{PortRange, Protocol, PublishedPort};

use super::problem::NetworkProblem;
use super::tables::{HostPortRow, Owner, PUBLISHED};
use super::taken;
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
        taken::insert(tx, &port, &HostPortRow { owner: owner.clone(), ports })?;
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
            taken::remove(tx, &port);
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
        taken::remove(tx, &port);
    }
    tx.remove(&PUBLISHED, &owner.key());
}

/// The same with its host's ports decided.
fn settle(tx: &Transaction<'_>, port: PublishedPort) -> Result<PublishedPort, NetworkProblem> {
    let count = port.container_ports.count();
    let exhausted = NetworkProblem::PortsExhausted { count, protocol: port.protocol };
    match port.host_ports {
        Some(ports) if ports.count() == count => match taken::holder(tx, &port, ports) {
            None if is_free_on_host(&port, ports) => Ok(port),
            None => Err(in_use(&port, ports, "a process of the host".to_owned())),
            Some(holder) => Err(in_use(&port, ports, describe(&holder))),
        },
        // One of the container's, and the first free one of several.
        Some(ports) => {
            pick(tx, &port, ports, 1, ports.first()).ok_or_else(|| in_use(&port, ports, "others".to_owned()))
        }
        None => {
            let all = PortRange::new(PICKED_FIRST, PICKED_LAST).expect("in order");
            let start = rand::random_range(PICKED_FIRST..=PICKED_LAST);
            pick(tx, &port, all, count, start).ok_or(exhausted)
        }
    }
}

/// The first `count` free ports in a row within `within`, from `start` on.
fn pick(
    tx: &Transaction<'_>,
    port: &PublishedPort,
    within: PortRange,
    count: u32,
    start: u16,
) -> Option<PublishedPort> {
    let mut free = taken::Free::new(tx, port);
    let is_free =
        |number| PortRange::one(number).is_some_and(|one| free.is_free(one) && is_free_on_host(port, one));
    let ports = pick_ports(within, count, start, is_free)?;
    Some(PublishedPort { host_ports: Some(ports), ..*port })
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

/// Whether no process of the host listens there. SCTP, whose module would be loaded by asking, and the rest of a very long range are not tried out.
fn is_free_on_host(port: &PublishedPort, ports: PortRange) -> bool {
    if port.protocol == Protocol::Sctp {
        return true;
    }
    let addresses = match port.host_address {
        Some(address) => vec![address],
        None => vec![Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()],
    };
    let last = u32::from(ports.first()) + (ports.count() - 1).min(TRIED_MAX);
    (u32::from(ports.first())..=last).filter_map(|number| u16::try_from(number).ok()).all(|number| {
        // What the kernel refuses for another reason is not taken: an address that comes up later.
        addresses.iter().all(|address| port_is_free(port.protocol, *address, number).unwrap_or(true))
    })
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

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
