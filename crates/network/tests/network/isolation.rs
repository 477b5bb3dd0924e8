//! Who must not reach whom, and what must not be believed: section 1.7 of the threats, row by row.

use std::net::{SocketAddr, SocketAddrV6};
use std::time::Instant;

use gantry_network::Netns;
use gantry_network::nftables::{PortForward, base};

use crate::rules::{nft, ruleset};
use crate::stage::{
    HOST4, HOST6, OUTSIDE4, OUTSIDE6, PATIENCE, Server, at, expect, ip, on_stage, publish, route, servers,
    set, set_bridge_netfilter, tcp,
};

#[test]
fn networks_are_closed_to_each_other_and_to_a_neighbour_with_a_route() {
    on_stage(|stage| {
        let (red, blue) = (stage.network(1), stage.network(2));
        let a = stage.member(&red, 2);
        let b = stage.member(&blue, 2);
        let _servers = servers(&a.netns, &["::"], 80);
        route(&mut stage.outside, "eth0", "10.9.1.0/24", HOST4);
        route(&mut stage.outside, "eth0", "fd09:1::/64", HOST6);
        stage.load(&[&red, &blue], &publish(Some("127.0.0.1"), "80", "10.9.1.2", 80));
        for own in ["10.9.1.2", "fd09:1::2"] {
            expect("another network", &b.netns, (own, 80), None);
            expect("a neighbour of the host with a route", &stage.outside, (own, 80), None);
        }
        // The same with the network open shows that it is the rule that closed it.
        let mut open = stage.network(1);
        open.rules.open = true;
        stage.host.change_rules(&red.rules.change().remove, &open.rules.change().add).expect("opened");
        expect("a neighbour of the host with a route", &stage.outside, ("10.9.1.2", 80), Some(OUTSIDE4));
        expect("another network", &b.netns, ("fd09:1::2", 80), Some("fd09:2::2"));
    });
}

#[test]
fn an_internal_network_has_no_way_out_and_none_in() {
    on_stage(|stage| {
        let (mut red, blue) = (stage.network(1), stage.network(2));
        red.rules.internal = true;
        let a = stage.member(&red, 2);
        let b = stage.member(&red, 3);
        let c = stage.member(&blue, 2);
        stage.load(
            &[&red, &blue],
            &[publish(None, "8080", "10.9.1.2", 80), publish(None, "8081", "10.9.2.2", 80)].concat(),
        );
        let _inside = servers(&a.netns, &["::"], 80);
        let _blue = servers(&c.netns, &["::"], 80);
        let _outside = servers(&stage.outside, &["::"], 80);
        let _host = servers(&stage.here, &["::"], 90);
        for (own, neighbour, gateway, host, outside, other) in [
            ("10.9.1.2", "10.9.1.3", "10.9.1.1", HOST4, OUTSIDE4, "10.9.2.2"),
            ("fd09:1::2", "fd09:1::3", "fd09:1::1", HOST6, OUTSIDE6, "fd09:2::2"),
        ] {
            expect("a neighbour", &b.netns, (own, 80), Some(neighbour));
            expect("to its own gateway", &a.netns, (gateway, 90), Some(own));
            expect("out", &a.netns, (outside, 80), None);
            expect("to another network", &a.netns, (other, 80), None);
            expect("to another address of the host", &a.netns, (host, 90), None);
            expect("to a published port", &a.netns, (host, 8081), None);
            expect("to a published port by the gateway", &a.netns, (gateway, 8081), None);
            expect("from another network", &c.netns, (own, 80), None);
            expect("from the outside", &stage.outside, (host, 8080), None);
        }
    });
}

#[test]
fn containers_that_may_not_talk_to_each_other_do_not_by_bridge_nor_by_router() {
    for bridge_netfilter in [false, true] {
        on_stage(|stage| {
            set_bridge_netfilter(bridge_netfilter);
            let mut red = stage.network(1);
            red.rules.inter_container = false;
            red.bridge.isolated = true;
            let a = stage.member(&red, 2);
            let mut b = stage.member(&red, 3);
            stage.load(&[&red], &publish(None, "8080", "10.9.1.2", 80));
            let _servers = servers(&a.netns, &["::"], 80);
            let _host = servers(&stage.here, &["10.9.1.1"], 90);
            expect("a neighbour", &b.netns, ("10.9.1.2", 80), None);
            expect("a neighbour", &b.netns, ("fd09:1::2", 80), None);
            route(&mut b.netns, "eth0", "10.9.1.2/32", "10.9.1.1");
            set("ipv4/conf/gbr1/send_redirects", "0");
            expect("a neighbour by the router", &b.netns, ("10.9.1.2", 80), None);
            expect("the host", &b.netns, ("10.9.1.1", 90), Some("10.9.1.3"));
            expect("the outside", &stage.outside, (HOST4, 8080), Some(OUTSIDE4));
        });
    }
}

#[test]
fn a_packet_to_somebody_else_is_not_intercepted_by_a_published_port() {
    on_stage(|stage| {
        let (red, blue) = (stage.network(1), stage.network(2));
        let a = stage.member(&red, 2);
        let b = stage.member(&blue, 2);
        stage.load(
            &[&red, &blue],
            &[publish(None, "8080", "10.9.1.2", 80), publish(None, "8080", "fd09:1::2", 80)].concat(),
        );
        let _container = servers(&a.netns, &["::"], 80);
        let _foreign = servers(&stage.outside, &["::"], 8080);
        for (outside, host, from) in [(OUTSIDE4, HOST4, "the container"), (OUTSIDE6, HOST6, "the container")]
        {
            // The container's server would say so by seeing another address than the host's.
            expect(from, &b.netns, (outside, 8080), Some(host));
            expect("the host", &stage.here, (outside, 8080), Some(host));
        }
    });
}

#[test]
fn loopback_of_the_host_is_out_of_reach_of_containers_and_neighbours() {
    on_stage(|stage| {
        let red = stage.network(1);
        let a = stage.member(&red, 2);
        stage.load(&[&red], &publish(Some("127.0.0.1"), "8081", "10.9.1.2", 80));
        let _container = servers(&a.netns, &["::"], 80);
        let _private = servers(&stage.here, &["127.0.0.1"], 90);
        for (netns, own, gateway) in [(&a.netns, "10.9.1.2", "10.9.1.1"), (&stage.outside, OUTSIDE4, HOST4)] {
            netns.run(|| send_loopback_away(own, gateway)).expect("run");
            for port in [90, 8081] {
                expect("loopback", netns, ("127.0.0.1", port), None);
            }
        }
        // Without the table the container's packets do arrive: it is the guard that stops them.
        stage.host.remove_rules().expect("removed");
        expect("loopback", &a.netns, ("127.0.0.1", 90), Some("10.9.1.2"));
    });
}

/// Makes the calling thread's namespace send what is for 127.0.0.1 to its gateway, and believe the answers.
fn send_loopback_away(own: &str, gateway: &str) {
    for setting in ["all/route_localnet", "eth0/route_localnet", "eth0/accept_local"] {
        set(&format!("ipv4/conf/{setting}"), "1");
    }
    for command in [
        "rule add pref 100 lookup local",
        "rule add pref 10 iif lo to 127.0.0.1 lookup 100",
        &format!("route add default via {gateway} dev eth0 src {own} table 100"),
        "rule del pref 0",
    ] {
        let arguments: Vec<&str> = command.split_whitespace().collect();
        command_ip(&arguments);
    }
}

#[expect(clippy::disallowed_methods, reason = "policy routing is no business of the engine's")]
fn command_ip(arguments: &[&str]) {
    let output = std::process::Command::new("ip").args(arguments).output().expect("ip is installed");
    assert!(output.status.success(), "ip {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_rogue_router_changes_nothing_on_the_host_nor_in_a_container() {
    on_stage(|stage| {
        let red = stage.network(1);
        let a = stage.member(&red, 2);
        let b = stage.member(&red, 3);
        let before = stage.host.routed_subnets().expect("routes");
        advertise(&a.netns);
        // What is sent behind it has come: so has the advertisement, and was not believed.
        let _host = servers(&stage.here, &["fd09:1::1"], 90);
        let _neighbour = servers(&b.netns, &["fd09:1::3"], 90);
        expect("the host", &a.netns, ("fd09:1::1", 90), Some("fd09:1::2"));
        expect("the neighbour", &a.netns, ("fd09:1::3", 90), Some("fd09:1::2"));
        assert_eq!(stage.host.routed_subnets().expect("routes"), before);
        assert!(!believes(&stage.here) && !believes(&b.netns));
        // A link that is told to believe does: the advertisement is one.
        b.netns
            .run(|| ["accept_ra", "autoconf"].map(|name| set(&format!("ipv6/conf/eth0/{name}"), "1")))
            .expect("run");
        let deadline = Instant::now() + PATIENCE;
        while !believes(&b.netns) {
            assert!(Instant::now() < deadline, "the advertisement is not well formed");
            advertise(&a.netns);
            expect("the neighbour", &a.netns, ("fd09:1::3", 90), Some("fd09:1::2"));
        }
    });
}

/// Whether the advertised prefix has had any effect in a namespace.
fn believes(netns: &Netns) -> bool {
    let read = |name: &str| std::fs::read_to_string(format!("/proc/thread-self/net/{name}")).expect("read");
    netns
        .run(|| ["if_inet6", "ipv6_route"].iter().any(|name| read(name).contains("20010db8bad0")))
        .expect("run")
}

/// Sends a router advertisement (RFC 4861 4.2) with a prefix to configure addresses from, to everybody on the link.
fn advertise(from: &Netns) {
    let mut packet = vec![134, 0, 0, 0, 64, 0, 0x07, 0x08, 0, 0, 0, 0, 0, 0, 0, 0];
    packet.extend([3, 4, 64, 0xc0, 0, 1, 0x51, 0x80, 0, 0, 0x38, 0x40, 0, 0, 0, 0]);
    packet.extend([0x20, 0x01, 0x0d, 0xb8, 0xba, 0xd0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    from.run(|| {
        use rustix::net::{AddressFamily, SendFlags, SocketType, sockopt};
        let socket =
            rustix::net::socket(AddressFamily::INET6, SocketType::RAW, Some(rustix::net::ipproto::ICMPV6))
                .expect("raw");
        // Neighbour discovery is believed with this hop limit only.
        sockopt::set_ipv6_multicast_hops(&socket, 255).expect("hops");
        // eth0 is the namespace's second link.
        let everybody: SocketAddr = SocketAddrV6::new("ff02::1".parse().expect("an address"), 0, 0, 2).into();
        rustix::net::sendto(&socket, &packet, SendFlags::empty(), &everybody).expect("sent");
    })
    .expect("run");
}

#[test]
fn a_network_without_ipv6_has_none_in_its_containers_nor_on_its_bridge() {
    on_stage(|stage| {
        let bridge = stage.bridge("gbr5", &["10.9.5.1/24"]);
        let guest = stage.guest(&bridge, "gv5", &["10.9.5.2/24"], &["10.9.5.1"]);
        for (netns, link) in [(&guest.netns, "eth0"), (&stage.here, "gbr5")] {
            let addresses = netns
                .run(|| std::fs::read_to_string("/proc/thread-self/net/if_inet6"))
                .expect("run")
                .expect("read");
            assert!(!addresses.lines().any(|line| line.ends_with(link)), "{addresses}");
        }
    });
}

#[test]
fn nobody_elses_tables_change_and_a_flush_is_undone_by_one_batch() {
    on_stage(|stage| {
        nft(&["add table inet filter; add chain inet filter input { type filter hook input priority 0; }; \
               add table ip nat; add chain ip nat DOCKER; add rule ip nat DOCKER counter"]);
        let theirs = ruleset();
        let red = stage.network(1);
        let a = stage.member(&red, 2);
        let forwards = publish(None, "8080", "10.9.1.2", 80);
        stage.load(&[&red], &forwards);
        let all = ruleset();
        assert!(theirs.iter().all(|item| all.contains(item)), "theirs are as they were");
        let _server = Server::tcp(&a.netns, at("10.9.1.2", 80));
        nft(&["flush ruleset"]);
        assert!(tcp(&stage.outside, at(HOST4, 8080), PATIENCE).is_err(), "refused without the table");
        stage.load(&[&red], &forwards);
        assert_eq!(tcp(&stage.outside, at(HOST4, 8080), PATIENCE).expect("back"), ip(OUTSIDE4));
        let mine: Vec<_> = all.into_iter().filter(|item| !theirs.contains(item)).collect();
        assert_eq!(ruleset(), mine);
        stage.host.remove_rules().expect("removed");
        stage.host.remove_rules().expect("removed again");
        assert!(ruleset().is_empty());
    });
}

#[test]
fn a_change_is_taken_whole_or_not_at_all_and_may_be_repeated() {
    on_stage(|stage| {
        let red = stage.network(1);
        stage.load(&[&red], &[]);
        let empty = ruleset();
        let change = PortForward::change(&publish(None, "80", "10.9.1.2", 80));
        let other = PortForward::change(&publish(None, "80", "10.9.1.3", 80));
        stage.host.change_rules(&[], &change.add).expect("added");
        stage.host.change_rules(&[], &change.add).expect("added again");
        let one = ruleset();
        // The second half clashes with what is there, so that the first does not come either.
        let half = PortForward::change(&publish(None, "81", "10.9.1.3", 80)).add;
        let error = stage.host.change_rules(&[], &[half, other.add.clone()].concat()).expect_err("clash");
        assert!(error.to_string().starts_with("adding elements to set published4 in nftables"), "{error}");
        assert_eq!(ruleset(), one);
        stage.host.change_rules(&change.remove, &other.add).expect("replaced");
        stage.host.change_rules(&change.remove, &[]).expect("removed");
        stage.host.change_rules(&other.remove, &[]).expect("gone already");
        assert_eq!(ruleset(), empty);
        stage.host.change_rules(&red.rules.change().remove, &[]).expect("removed");
        stage.host.change_rules(&red.rules.change().remove, &[]).expect("removed again");
        stage.host.load_rules([base().as_slice()]).expect("empty");
        let nothing = ruleset();
        stage.host.change_rules(&red.rules.change().remove, &[]).expect("nothing to remove");
        assert_eq!(ruleset(), nothing);
    });
}
