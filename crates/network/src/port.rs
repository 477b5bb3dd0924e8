//! Is a port of the host free, and which one is picked when nobody says? Forwards are compared with each other
//! without asking the kernel; programs of the host are found by trying to bind, as the kernel would tell them.

use std::net::{IpAddr, SocketAddr};

use gantry_linux::Errno;
use gantry_types::{PortRange, Protocol};
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

use crate::error::{Attempt, NetworkError, Result, syscall};

/// Whether two places that ports are published at clash: one protocol, a port in common, and one address or any.
/// `None` is every address of both families.
pub fn ports_clash(
    (protocol, at, ports): (Protocol, Option<IpAddr>, PortRange),
    (other_protocol, other_at, other_ports): (Protocol, Option<IpAddr>, PortRange),
) -> bool {
    let meet = match (at, other_at) {
        (None, _) | (_, None) => true,
        (Some(at), Some(other)) => {
            at == other || at.is_ipv4() == other.is_ipv4() && (at.is_unspecified() || other.is_unspecified())
        }
    };
    protocol == other_protocol && meet && ports.overlaps(other_ports)
}

/// The first run of `count` ports within `among` that are all free, looking from `start` on and then from the
/// beginning.
pub fn pick_ports(
    among: PortRange,
    count: u32,
    start: u16,
    mut is_free: impl FnMut(u16) -> bool,
) -> Option<PortRange> {
    let start = start.clamp(among.first(), among.last());
    let mut run = 0;
    let turns = (start..=among.last()).chain(among.first()..=among.last());
    let mut before = None;
    for port in turns {
        run = if !is_free(port) {
            0
        } else if before.is_some_and(|before: u16| before.checked_add(1) == Some(port)) {
            run + 1
        } else {
            1
        };
        before = Some(port);
        if run >= count.max(1) {
            return PortRange::new(u16::try_from(u32::from(port) + 1 - run).ok()?, port);
        }
    }
    None
}

/// Whether no program of the host has the port. Of SCTP, kernels without it have none.
pub fn port_is_free(protocol: Protocol, at: IpAddr, port: u16) -> Result<bool> {
    let (kind, number) = match protocol {
        Protocol::Tcp => (SocketType::STREAM, rustix::net::ipproto::TCP),
        Protocol::Udp => (SocketType::DGRAM, rustix::net::ipproto::UDP),
        Protocol::Sctp => (SocketType::STREAM, rustix::net::ipproto::SCTP),
    };
    let family = if at.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let attempt = || Attempt::TryPort { address: SocketAddr::new(at, port), protocol };
    let failed = |call, errno| NetworkError::Call { attempt: attempt(), source: syscall(call)(errno) };
    let socket = match rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, Some(number)) {
        Ok(socket) => socket,
        Err(Errno::PROTONOSUPPORT | Errno::AFNOSUPPORT | Errno::SOCKTNOSUPPORT) => return Ok(true),
        Err(errno) => return Err(failed("socket", errno)),
    };
    if at.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true).map_err(|errno| failed("setsockopt", errno))?;
    }
    if protocol == Protocol::Tcp {
        // Connections that have ended are in nobody's way; listeners still are.
        sockopt::set_socket_reuseaddr(&socket, true).map_err(|errno| failed("setsockopt", errno))?;
    }
    match rustix::net::bind(&socket, &SocketAddr::new(at, port)) {
        Ok(()) => Ok(true),
        Err(Errno::ADDRINUSE) => Ok(false),
        Err(errno) => Err(failed("bind", errno)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn range(first: u16, last: u16) -> PortRange {
        PortRange::new(first, last).expect("in order")
    }

    #[test]
    fn an_unspecified_address_clashes_with_its_family_and_none_with_both() {
        let at = |text: &str| Some(text.parse().expect("an address"));
        let place = |at: Option<IpAddr>| (Protocol::Tcp, at, range(80, 80));
        assert!(ports_clash(place(None), place(at("::1"))));
        assert!(ports_clash(place(at("0.0.0.0")), place(at("127.0.0.1"))));
        assert!(!ports_clash(place(at("0.0.0.0")), place(at("::1"))));
        assert!(!ports_clash(place(at("127.0.0.1")), place(at("127.0.0.2"))));
        assert!(!ports_clash((Protocol::Udp, None, range(80, 80)), place(None)));
        assert!(!ports_clash((Protocol::Tcp, None, range(81, 90)), place(None)));
        assert!(ports_clash((Protocol::Tcp, None, range(70, 90)), place(None)));
    }

    proptest! {
        #[test]
        fn what_is_picked_is_free_in_order_and_found_if_there_is_any(
            taken in proptest::collection::btree_set(100_u16..140, 0..40), count in 1_u32..6, start in 90_u16..150,
        ) {
            let among = range(100, 139);
            let free = |port: u16| !taken.contains(&port);
            let exists = (100..=140 - count).any(|first| (first..first + count).all(|port| free(u16::try_from(port).expect("below 140"))));
            match pick_ports(among, count, start, free) {
                Some(picked) => {
                    prop_assert_eq!(picked.count(), count);
                    prop_assert!((picked.first()..=picked.last()).all(free));
                    prop_assert!(picked.first() >= 100 && picked.last() <= 139);
                }
                None => prop_assert!(!exists),
            }
        }
    }
}
