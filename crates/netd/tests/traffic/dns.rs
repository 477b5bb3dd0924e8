//! Names, as containers ask for them.

use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hickory_proto::rr::RecordType;

use crate::world::{BRIDGE, GATEWAY, World, addresses, ask, endpoint, network, until};

#[test]
fn a_container_asks_with_dig_over_udp_and_tcp() {
    let Some(world) = World::new() else { return };
    world.put_network(&network("one", BRIDGE, GATEWAY));
    let mut web = endpoint("web", "one", "10.88.1.2", &["web", "www", "abcdef012345"]);
    web.addresses.push("fd00:88::2".parse().expect("an address"));
    world.folder.write_endpoint(&web).expect("written");
    let container = world.container(BRIDGE, "10.88.1.3");
    let _netd = world.netd();
    let dig = |question: &str| container.command(&format!("dig +short +time=2 @{GATEWAY} {question}"));
    assert_eq!(dig("web"), "10.88.1.2\n");
    assert_eq!(dig("+tcp web A WWW.net-ONE AAAA abcdef012345 A"), "10.88.1.2\nfd00:88::2\n10.88.1.2\n");
    assert_eq!(dig("-x 10.88.1.2"), "web.net-one.\n");
    assert_eq!(dig("_http._tcp.web SRV"), "0 1 80 web.net-one.\n");
    let whole = container.command(&format!("dig +bufsize=1400 @{GATEWAY} web MX"));
    assert!(whole.contains("NOERROR") && whole.contains("EDNS: version: 0"), "{whole}");
    assert!(!whole.contains("malformed") && !whole.contains("WARNING"), "{whole}");
}

#[test]
fn an_ipv6_gateway_answers_too() {
    let Some(world) = World::new() else { return };
    world.host.command(&format!("ip addr add fd00:88::1/64 dev {BRIDGE} nodad"));
    let mut six = network("six", BRIDGE, "fd00:88::1");
    six.subnets = vec!["fd00:88::/64".parse().expect("a subnet")];
    world.put_network(&six);
    world.folder.write_endpoint(&endpoint("web", "six", "fd00:88::2", &["web"])).expect("written");
    let container = world.container(BRIDGE, "10.88.1.3");
    container.command("ip addr add fd00:88::3/64 dev eth0 nodad");
    let _netd = world.netd();
    assert_eq!(container.command("dig +short @fd00:88::1 web AAAA"), "fd00:88::2\n");
    assert_eq!(container.command("dig +short @fd00:88::1 -x fd00:88::2"), "web.net-six.\n");
}

#[test]
fn who_is_not_of_the_network_gets_no_answer() {
    let Some(world) = World::new() else { return };
    world.put_network(&network("one", BRIDGE, GATEWAY));
    world.folder.write_endpoint(&endpoint("web", "one", "10.88.1.2", &["web"])).expect("written");
    world.bridge("gtbr2", "10.88.2.1");
    let inside = world.container(BRIDGE, "10.88.1.3");
    let stranger = world.container("gtbr2", "10.88.2.3");
    stranger.command("ip route add default via 10.88.2.1");
    // On the right bridge with a source that is nobody's there; the host could even answer it.
    let liar = world.container(BRIDGE, "10.77.1.3");
    liar.command(&format!("ip route add {GATEWAY} dev eth0"));
    world.host.command(&format!("ip route add 10.77.1.3 dev {BRIDGE}"));
    let _netd = world.netd();
    let patience = Duration::from_millis(300);
    assert!(stranger.run(|| ask(GATEWAY, "web.", RecordType::A, patience)).is_none());
    assert!(liar.run(|| ask(GATEWAY, "web.", RecordType::A, patience)).is_none());
    // The host's own address is of the subnet.
    assert_eq!(world.host.run(|| addresses(GATEWAY, "web.")), ["10.88.1.2"]);
    assert_eq!(inside.run(|| addresses(GATEWAY, "web.")), ["10.88.1.2"]);
}

#[test]
fn no_query_is_dropped_while_records_change_and_each_answer_is_whole() {
    let Some(world) = World::new() else { return };
    world.put_network(&network("one", BRIDGE, GATEWAY));
    let pair = |id: &str, number: u32| endpoint(id, "one", &format!("10.88.1.{number}"), &["pair"]);
    world.folder.write_endpoint(&pair("still", 10)).expect("written");
    let container = world.container(BRIDGE, "10.88.1.3");
    let _netd = world.netd();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            container.run(|| {
                let mut asked = 0u32;
                while !over.load(Ordering::Relaxed) || asked < 100 {
                    let got = addresses(GATEWAY, "pair.");
                    assert!(got.contains(&"10.88.1.10".to_owned()), "{got:?} after {asked}");
                    assert!(got.len() <= 2, "{got:?}");
                    asked += 1;
                }
                asked
            })
        });
        for round in 0..300 {
            world.folder.write_endpoint(&pair("moving", 20 + round % 5)).expect("written");
            if round % 3 == 0 {
                world.folder.remove_endpoint("moving").expect("removed");
            }
            world.put_network(&network("one", BRIDGE, GATEWAY));
        }
        over.store(true, Ordering::Relaxed);
        assert!(asking.join().expect("every query was answered") >= 100);
    });
}

#[test]
fn a_new_name_answers_and_a_removed_one_does_not() {
    let Some(world) = World::new() else { return };
    world.put_network(&network("one", BRIDGE, GATEWAY));
    let container = world.container(BRIDGE, "10.88.1.3");
    let _netd = world.netd();
    assert!(container.run(|| addresses(GATEWAY, "late.")).is_empty());
    // The very next question meets the change: its file was there before.
    for round in 0..50 {
        world.folder.write_endpoint(&endpoint("late", "one", "10.88.1.9", &["late"])).expect("written");
        assert_eq!(container.run(|| addresses(GATEWAY, "late.")), ["10.88.1.9"], "round {round}");
        world.folder.remove_endpoint("late").expect("removed");
        assert!(container.run(|| addresses(GATEWAY, "late.")).is_empty(), "round {round}");
    }
}

#[test]
fn hostile_packets_do_not_stop_it() {
    let Some(world) = World::new() else { return };
    world.put_network(&network("one", BRIDGE, GATEWAY));
    world.folder.write_endpoint(&endpoint("web", "one", "10.88.1.2", &["web"])).expect("written");
    let container = world.container(BRIDGE, "10.88.1.3");
    let _netd = world.netd();
    container.run(|| {
        let socket = UdpSocket::bind("0.0.0.0:0").expect("bound");
        let valid = crate::world::query(3, "web.", RecordType::A);
        let mut state = 12345u32;
        for round in 0..20_000usize {
            let mut packet = valid.clone();
            packet.resize(round % 90, 0xc0);
            for byte in &mut packet {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                if state >> 29 == 0 {
                    *byte = state.to_be_bytes()[1];
                }
            }
            // The queue may be full; that is the network.
            let _ = socket.send_to(&packet, (GATEWAY, 53));
        }
        let mut stream = std::net::TcpStream::connect((GATEWAY, 53)).expect("connected");
        std::io::Write::write_all(&mut stream, &[0xff; 600]).expect("sent");
        until("it answers again", || addresses(GATEWAY, "web.") == ["10.88.1.2"]);
    });
}
