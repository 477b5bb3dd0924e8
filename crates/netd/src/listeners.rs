//! Where questions come in: a UDP and a TCP socket for each gateway address of each network that has DNS. What cannot be
//! listened on (the bridge is not there yet, another server holds the port) is tried again each second, and its reason
//! stands in the status.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::rc::Rc;
use std::time::{Duration, Instant};

use gantry_network::netd::{ListenerStatus, Network};

use crate::poller::{Poller, Token};
use crate::slots::{Key, Slots};
use crate::socket;
use crate::upstream::{PORT, interface_index};

/// How long to wait before something that failed is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// One gateway address.
#[derive(Debug)]
pub(crate) struct Listener {
    /// The network's id.
    pub(crate) network: Rc<str>,
    bridge: String,
    address: SocketAddr,
    /// The bridge's index when the sockets were made: a bridge made anew has another, and hears nothing through them.
    index: Option<u32>,
    /// Both sockets, or why there are none.
    sockets: Result<(UdpSocket, TcpListener), String>,
}

impl Listener {
    /// The socket for questions over UDP.
    pub(crate) fn datagrams(&self) -> Option<&UdpSocket> {
        self.sockets.as_ref().ok().map(|(datagrams, _)| datagrams)
    }

    /// The socket for connections.
    pub(crate) fn connections(&self) -> Option<&TcpListener> {
        self.sockets.as_ref().ok().map(|(_, connections)| connections)
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Listeners {
    slots: Slots<Listener>,
    retry_at: Option<Instant>,
}

impl Listeners {
    /// What is listened on under a key.
    pub(crate) fn get(&self, key: Key) -> Option<&Listener> {
        self.slots.get(key)
    }

    /// Whether netd itself answers there: to ask it would be to ask oneself.
    pub(crate) fn is_own(&self, address: SocketAddr) -> bool {
        self.slots.iter().any(|(_, listener)| listener.address == address)
    }

    /// A network's file was written: listens where it says, and goes on listening where nothing changed.
    pub(crate) fn put(&mut self, network: &Network, poller: &Poller, now: Instant) {
        let index = interface_index(&network.bridge);
        let wanted: Vec<SocketAddr> = if network.dns && !network.bridge.is_empty() {
            network.gateways.iter().map(|gateway| SocketAddr::new(*gateway, PORT)).collect()
        } else {
            Vec::new()
        };
        let mut kept = Vec::new();
        for key in self.slots.keys() {
            let Some(listener) = self.slots.get(key) else { continue };
            if *listener.network != *network.id {
                continue;
            }
            let same = listener.sockets.is_ok()
                && listener.index == index
                && listener.bridge == network.bridge
                && wanted.contains(&listener.address);
            if same {
                kept.push(listener.address);
            } else {
                self.slots.remove(key);
            }
        }
        let id: Rc<str> = network.id.as_str().into();
        for address in wanted.into_iter().filter(|address| !kept.contains(address)) {
            self.listen(&id, &network.bridge, address, poller, now);
        }
    }

    /// A network's file is gone.
    pub(crate) fn remove(&mut self, network: &str) {
        for key in self.slots.keys() {
            if self.slots.get(key).is_some_and(|listener| *listener.network == *network) {
                self.slots.remove(key);
            }
        }
    }

    /// When something that failed wants to be tried again.
    pub(crate) fn retry_at(&self) -> Option<Instant> {
        self.retry_at
    }

    /// Tries again what failed, if it is time; whether it was.
    pub(crate) fn retry(&mut self, poller: &Poller, now: Instant) -> bool {
        if self.retry_at.is_none_or(|at| at > now) {
            return false;
        }
        self.retry_at = None;
        for key in self.slots.keys() {
            if self.slots.get(key).is_some_and(|listener| listener.sockets.is_err())
                && let Some(failed) = self.slots.remove(key)
            {
                self.listen(&failed.network, &failed.bridge, failed.address, poller, now);
            }
        }
        true
    }

    /// How they are.
    pub(crate) fn status(&self) -> Vec<ListenerStatus> {
        let mut list: Vec<_> = self
            .slots
            .iter()
            .map(|(_, listener)| ListenerStatus {
                network: listener.network.to_string(),
                address: listener.address,
                failure: listener.sockets.as_ref().err().cloned().unwrap_or_default(),
            })
            .collect();
        list.sort_unstable_by(|one, other| (&one.network, one.address).cmp(&(&other.network, other.address)));
        list
    }

    fn listen(
        &mut self,
        network: &Rc<str>,
        bridge: &str,
        address: SocketAddr,
        poller: &Poller,
        now: Instant,
    ) {
        let made = self.slots.insert_with(|key| {
            let sockets = open(key, bridge, address, poller);
            Ok::<_, std::convert::Infallible>(Listener {
                network: Rc::clone(network),
                bridge: bridge.to_owned(),
                address,
                index: interface_index(bridge),
                sockets: sockets.map_err(|error| reason(&error, bridge, address)),
            })
        });
        let Ok(key) = made;
        if self.slots.get(key).is_some_and(|listener| listener.sockets.is_err()) {
            self.retry_at = Some(now + RETRY);
        }
    }
}

fn open(
    key: Key,
    bridge: &str,
    address: SocketAddr,
    poller: &Poller,
) -> io::Result<(UdpSocket, TcpListener)> {
    let datagrams = socket::datagrams(address, bridge)?;
    let connections = socket::listener(address, bridge)?;
    poller.add(&datagrams, Token::Datagrams(key), false)?;
    poller.add(&connections, Token::Listener(key), false)?;
    Ok((datagrams, connections))
}

/// The reason in words that an operator can act on.
fn reason(error: &io::Error, bridge: &str, address: SocketAddr) -> String {
    match rustix::io::Errno::from_io_error(error).or_else(|| {
        let syscall = error.get_ref()?.downcast_ref::<gantry_linux::SyscallError>()?;
        Some(syscall.errno)
    }) {
        Some(rustix::io::Errno::ADDRINUSE) => {
            format!("{address} is taken: another DNS server listens there or on all addresses")
        }
        Some(rustix::io::Errno::NODEV) => format!("there is no interface {bridge}"),
        Some(_) | None => error.to_string(),
    }
}
