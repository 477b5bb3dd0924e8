//! What does each step of a container's network cost? Run as root; works in a network namespace of its own:
//!
//!     cargo run -p gantry-network --example cost
//!
//! Prints the median and the 10th and 90th percentile in microseconds.

use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use gantry_linux::namespace::{Namespaces, unshare};
use gantry_network::nftables::{NetworkRules, PortForward, base};
use gantry_network::{Bridge, BridgeSpec, Host, Interface, Netns, Result, Route, mac_of};
use gantry_types::{PortRange, Protocol};

const ENDPOINTS: u16 = 1000;

fn main() {
    let measured = std::thread::spawn(|| {
        unshare(Namespaces::NETWORK).expect("needs root");
        gantry_linux::network::bring_loopback_up().expect("loopback");
        endpoints();
        ports();
    });
    measured.join().expect("measured");
}

#[expect(clippy::print_stdout, reason = "a report for people")]
fn tell(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100].as_secs_f64() * 1e6;
    println!("{what:<58}{:>9.0} ({:.0} - {:.0})", at(50), at(10), at(90));
}

fn timed<T>(times: &mut Vec<Duration>, work: impl FnOnce() -> Result<T>) -> T {
    let start = Instant::now();
    let answer = work().expect("the kernel does it");
    times.push(start.elapsed());
    answer
}

fn address(number: u16) -> IpAddr {
    let [high, low] = number.to_be_bytes();
    Ipv4Addr::new(10, 9, high, low).into()
}

fn network(host: &Host) -> Bridge {
    let name: gantry_types::InterfaceName = "gbr0".parse().expect("a name");
    let gateway = "10.9.0.1/16".parse().expect("a subnet");
    let mac = mac_of(address(1));
    let spec = BridgeSpec { name: name.clone(), gateways: vec![gateway], mac, mtu: None };
    let bridge = host.make_bridge(&spec).expect("bridge");
    let rules = NetworkRules {
        bridges: vec![name],
        subnets: vec![gateway.trunc()],
        internal: false,
        inter_container: true,
        masquerade: true,
        open: false,
    };
    host.load_rules([base().as_slice(), &rules.change().add]).expect("rules");
    host.enable_forwarding(false).expect("forwarding");
    bridge
}

fn endpoints() {
    let host = Host::new();
    let bridge = network(&host);
    let mut all = Vec::new();
    let (mut made, mut attached, mut published) = (Vec::new(), Vec::new(), Vec::new());
    for number in 0..ENDPOINTS {
        let address = address(number + 2);
        let interface = Interface {
            name: "eth0".parse().expect("a name"),
            mac: Some(mac_of(address)),
            mtu: None,
            addresses: vec![ipnet::IpNet::new(address, 16).expect("a prefix")],
            routes: vec![Route::default_by(self::address(1))],
        };
        let mut netns = timed(&mut made, Netns::make);
        let port = format!("gv{number:012x}").parse().expect("a name");
        timed(&mut attached, || host.attach(&bridge, &port, &mut netns, &interface));
        let port = PortRange::one(20_000 + number).expect("a port");
        let forward = PortForward::new(Protocol::Tcp, None, port, address, 80).expect("possible");
        timed(&mut published, || host.change_rules(&[], &PortForward::change(&[forward]).add));
        all.push(netns);
    }
    for (what, times) in
        [("namespace made", made), ("link, up, address, route", attached), ("port published", published)]
    {
        tell(&format!("{what}, first 100 endpoints"), times[..100].to_vec());
        tell(&format!("{what}, last 100 of {ENDPOINTS}"), times[times.len() - 100..].to_vec());
    }
    let mut given_up = Vec::new();
    for netns in all {
        timed(&mut given_up, || {
            drop(netns);
            Ok(())
        });
    }
    tell("namespace given up", given_up);
}

fn ports() {
    let host = Host::new();
    let bridge = host.find_bridge(&"gbr0".parse().expect("a name")).expect("asked").expect("made before");
    let server = address(60_000);
    let mut netns = Netns::make().expect("namespace");
    let interface = Interface {
        name: "eth0".parse().expect("a name"),
        mac: None,
        mtu: None,
        addresses: vec![ipnet::IpNet::new(server, 16).expect("a prefix")],
        routes: vec![Route::default_by(address(1))],
    };
    host.attach(&bridge, &"gvserver".parse().expect("a name"), &mut netns, &interface).expect("attach");
    let listener = netns.run(|| TcpListener::bind((server, 80))).expect("enter").expect("bind");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            drop(stream);
        }
    });
    for count in [1_u16, 100, 10_000] {
        let forwards: Vec<PortForward> = (0..count)
            .map(|number| {
                let port = PortRange::one(30_000 + number).expect("a port");
                PortForward::new(Protocol::Tcp, None, port, server, 80).expect("possible")
            })
            .collect();
        let change = PortForward::change(&forwards);
        let mut published = Vec::new();
        timed(&mut published, || host.change_rules(&[], &change.add));
        tell(&format!("{count} ports published in one batch"), published);
        let mut one = Vec::new();
        let other = PortForward::new(Protocol::Udp, None, PortRange::one(53).expect("a port"), server, 53);
        let other = PortForward::change(&[other.expect("possible")]);
        for _ in 0..200 {
            timed(&mut one, || host.change_rules(&[], &other.add));
            timed(&mut one, || host.change_rules(&other.remove, &[]));
        }
        tell(&format!("one more or one less, beside {count}"), one);
        let mut connected = Vec::new();
        for number in 0..500 {
            let port = 30_000 + number % count;
            timed(&mut connected, || Ok(TcpStream::connect(("127.0.0.1", port)).expect("connected")));
        }
        tell(&format!("connection through one of {count}"), connected);
        host.change_rules(&change.remove, &[]).expect("removed");
    }
}
