//! Where do these tests happen? A thread of its own becomes the *host*: it has a network namespace of its own, with
//! the engine's bridges and its nftables table, and a link to a second namespace that plays the outside
//! world. The machine's own network is never touched. Everything dies with the last descriptor.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use gantry_linux::namespace::{Namespaces, unshare};
use gantry_network::nftables::{NetworkRules, PortForward, base};
use gantry_network::{Bridge, BridgeSpec, Host, Interface, Netns, Route};
use gantry_types::{InterfaceName, MacAddress, PortRange, Protocol};

/// How long an answer may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);
/// How long nothing must come before it counts as refused.
pub(crate) const SILENCE: Duration = Duration::from_millis(400);

/// The host's addresses towards the outside, and the outside's own.
pub(crate) const HOST4: &str = "198.51.100.1";
pub(crate) const HOST6: &str = "2001:db8:51::1";
pub(crate) const OUTSIDE4: &str = "198.51.100.2";
pub(crate) const OUTSIDE6: &str = "2001:db8:51::2";

/// A host and the world around it.
pub(crate) struct Stage {
    pub(crate) host: Host,
    /// The host's own namespace, to run something in from another thread.
    pub(crate) here: Netns,
    pub(crate) outside: Netns,
}

/// A bridge network and its rules.
pub(crate) struct Network {
    pub(crate) number: u8,
    pub(crate) bridge: Bridge,
    pub(crate) rules: NetworkRules,
}

/// A container's namespace with its addresses.
pub(crate) struct Guest {
    pub(crate) netns: Netns,
    pub(crate) port: InterfaceName,
}

/// Runs a test on a new stage, unless it may not: then says so and answers without running it.
#[expect(clippy::print_stdout, reason = "a skip is said aloud")]
pub(crate) fn on_stage(test: impl FnOnce(&mut Stage) + Send) {
    if !rustix::process::geteuid().is_root() {
        println!("SKIP: network namespaces need root");
        return;
    }
    std::thread::scope(|scope| {
        let actor = scope.spawn(|| {
            unshare(Namespaces::NETWORK).expect("unshare");
            gantry_linux::network::bring_loopback_up().expect("loopback");
            let mut stage = Stage::set();
            test(&mut stage);
        });
        actor.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
}

impl Stage {
    fn set() -> Self {
        let host = Host::new();
        let here = gantry_linux::namespace::open_own(Namespaces::NETWORK).expect("own namespace");
        let here = Netns::from_descriptor(here).expect("own namespace");
        let mut outside = Netns::make().expect("the outside");
        let uplink = host
            .make_bridge(&BridgeSpec {
                name: name("uplink"),
                gateways: vec![net(&format!("{HOST4}/24")), net(&format!("{HOST6}/64"))],
                mac: MacAddress::local([2, 0, 0, 0, 9, 1]),
                mtu: None,
            })
            .expect("uplink");
        // An ordinary link of a host does not have what our bridges have.
        set("ipv4/conf/uplink/route_localnet", "0");
        let interface = Interface {
            name: name("eth0"),
            mac: None,
            mtu: None,
            addresses: vec![net(&format!("{OUTSIDE4}/24")), net(&format!("{OUTSIDE6}/64"))],
            routes: vec![],
        };
        host.attach(&uplink, &name("up0"), &mut outside, &interface).expect("the link to the outside");
        Self { host, here, outside }
    }

    /// A bridge of the engine's.
    pub(crate) fn bridge(&self, bridge: &str, gateways: &[&str]) -> Bridge {
        let last = bridge.bytes().last().unwrap_or(0);
        let spec = BridgeSpec {
            name: name(bridge),
            gateways: gateways.iter().map(|gateway| net(gateway)).collect(),
            mac: MacAddress::local([2, 0, 0, 1, 0, last]),
            mtu: None,
        };
        self.host.make_bridge(&spec).expect("bridge")
    }

    /// A network with a bridge, subnets `10.9.<number>.0/24` and `fd09:<number>::/64`, and its rules.
    pub(crate) fn network(&self, number: u8) -> Network {
        let gateways = [format!("10.9.{number}.1/24"), format!("fd09:{number}::1/64")];
        let bridge = self.bridge(&format!("gbr{number}"), &gateways.each_ref().map(String::as_str));
        let rules = NetworkRules {
            bridges: vec![bridge.name.clone()],
            subnets: gateways.iter().map(|gateway| net(gateway).trunc()).collect(),
            internal: false,
            inter_container: true,
            masquerade: true,
            open: false,
        };
        Network { number, bridge, rules }
    }

    /// Loads the table and lets the host forward.
    pub(crate) fn load(&self, networks: &[&Network], forwards: &[PortForward]) {
        let parts: Vec<Vec<u8>> = std::iter::once(base())
            .chain(networks.iter().map(|network| network.rules.change().add))
            .chain([PortForward::change(forwards).add])
            .collect();
        self.host.load_rules(parts.iter().map(Vec::as_slice)).expect("rules");
        self.host.enable_forwarding(false).expect("forwarding");
        self.host.enable_forwarding(true).expect("forwarding");
    }

    /// A container on a network, with both families and default routes.
    pub(crate) fn member(&self, network: &Network, last: u8) -> Guest {
        let n = network.number;
        self.guest(
            &network.bridge,
            &format!("gv{n}x{last}"),
            &[&format!("10.9.{n}.{last}/24"), &format!("fd09:{n}::{last}/64")],
            &[&format!("10.9.{n}.1"), &format!("fd09:{n}::1")],
        )
    }

    /// A container on a bridge.
    pub(crate) fn guest(&self, bridge: &Bridge, port: &str, addresses: &[&str], gateways: &[&str]) -> Guest {
        let mut netns = Netns::make().expect("namespace");
        let interface = Interface {
            name: name("eth0"),
            mac: None,
            mtu: None,
            addresses: addresses.iter().map(|address| net(address)).collect(),
            routes: gateways.iter().map(|gateway| Route::default_by(ip(gateway))).collect(),
        };
        self.host.attach(bridge, &name(port), &mut netns, &interface).expect("attach");
        Guest { netns, port: name(port) }
    }
}

/// Whether bridged packets pass the IP hooks too, as with br_netfilter loaded.
pub(crate) fn set_bridge_netfilter(on: bool) {
    for family in ["iptables", "ip6tables"] {
        set(&format!("bridge/bridge-nf-call-{family}"), if on { "1" } else { "0" });
    }
}

pub(crate) fn name(text: &str) -> InterfaceName {
    text.parse().expect("a link's name")
}

pub(crate) fn net(text: &str) -> ipnet::IpNet {
    text.parse().expect("a subnet")
}

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

pub(crate) fn at(address: &str, port: u16) -> SocketAddr {
    SocketAddr::new(ip(address), port)
}

/// Writes a setting of the calling thread's namespace.
pub(crate) fn set(path: &str, value: &str) {
    std::fs::write(format!("/proc/sys/net/{path}"), value).expect("a setting");
}

/// A server that tells every client the address it sees the client at.
pub(crate) struct Server {
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub(crate) fn tcp(netns: &Netns, address: SocketAddr) -> Self {
        let listener = netns.run(|| TcpListener::bind(address)).expect("enter").expect("bind");
        listener.set_nonblocking(true).expect("nonblocking");
        Self::start(move || match listener.accept() {
            Ok((mut stream, peer)) => drop(stream.write_all(peer.to_string().as_bytes())),
            Err(_) => wait_readable(&listener),
        })
    }

    pub(crate) fn udp(netns: &Netns, address: SocketAddr) -> Self {
        let socket = netns.run(|| UdpSocket::bind(address)).expect("enter").expect("bind");
        socket.set_nonblocking(true).expect("nonblocking");
        Self::start(move || match socket.recv_from(&mut [0; 64]) {
            Ok((_, peer)) => drop(socket.send_to(peer.to_string().as_bytes(), peer)),
            Err(_) => wait_readable(&socket),
        })
    }

    fn start(mut step: impl FnMut() + Send + 'static) -> Self {
        let ended = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&ended);
        let thread = std::thread::spawn(move || {
            while !asked.load(Ordering::Relaxed) {
                step();
            }
        });
        Self { ended, thread: Some(thread) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// Waits a moment for something to read, so that a server also hears that it should stop.
fn wait_readable(descriptor: &impl std::os::fd::AsFd) {
    let mut polled = [rustix::event::PollFd::new(descriptor, rustix::event::PollFlags::IN)];
    let moment = rustix::event::Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
    rustix::event::poll(&mut polled, Some(&moment)).expect("poll");
}

/// Asks a TCP server which address it sees; from the namespace given.
pub(crate) fn tcp(from: &Netns, to: SocketAddr, patience: Duration) -> io::Result<IpAddr> {
    from.run(|| {
        let mut stream = TcpStream::connect_timeout(&to, patience)?;
        stream.set_read_timeout(Some(patience))?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        seen(&text)
    })
    .expect("enter")
}

/// Asks a UDP server which address it sees.
pub(crate) fn udp(from: &Netns, to: SocketAddr, patience: Duration) -> io::Result<IpAddr> {
    from.run(|| {
        let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = UdpSocket::bind(any)?;
        socket.connect(to)?;
        socket.set_read_timeout(Some(patience))?;
        socket.send(b"?")?;
        let mut text = [0; 64];
        let read = socket.recv(&mut text)?;
        seen(&String::from_utf8_lossy(&text[..read]))
    })
    .expect("enter")
}

fn seen(text: &str) -> io::Result<IpAddr> {
    text.parse::<SocketAddr>().map(|peer| peer.ip().to_canonical()).map_err(io::Error::other)
}

/// Asks by both protocols and compares what the server saw; `None` means that nothing may answer.
pub(crate) fn expect(what: &str, from: &Netns, to: (&str, u16), seen: Option<&str>) {
    for (protocol, ask) in [("tcp", tcp as fn(_, _, _) -> _), ("udp", udp)] {
        let patience = if seen.is_some() { PATIENCE } else { SILENCE };
        let answer: io::Result<IpAddr> = ask(from, at(to.0, to.1), patience);
        match (answer, seen) {
            (Ok(answer), Some(seen)) => assert_eq!(answer, ip(seen), "{what} to {to:?} by {protocol}"),
            (Ok(answer), None) => panic!("{what} to {to:?} by {protocol} answered {answer}"),
            (Err(error), Some(_)) => panic!("{what} to {to:?} by {protocol}: {error}"),
            (Err(_), None) => {}
        }
    }
}

/// Servers of both protocols at a port.
pub(crate) fn servers(netns: &Netns, addresses: &[&str], port: u16) -> Vec<Server> {
    addresses
        .iter()
        .flat_map(|address| [Server::tcp(netns, at(address, port)), Server::udp(netns, at(address, port))])
        .collect()
}

/// Both protocols' forwards of one place.
pub(crate) fn publish(place: Option<&str>, ports: &str, container: &str, first: u16) -> [PortForward; 2] {
    let ports: PortRange = ports.parse().expect("ports");
    [Protocol::Tcp, Protocol::Udp].map(|protocol| {
        PortForward::new(protocol, place.map(ip), ports, ip(container), first).expect("possible")
    })
}

/// Adds routes to a namespace as its owner would.
pub(crate) fn route(netns: &mut Netns, link: &str, to: &str, gateway: &str) {
    let route = Route { destination: net(to), gateway: Some(ip(gateway)), metric: None };
    netns.add_routes(&name(link), &[route]).expect("route");
}
