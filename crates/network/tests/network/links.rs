//! Links: made in place, found again, counted, taken away.

use gantry_network::{BridgeSpec, Interface, Netns, Route};
use gantry_types::{Class, Classified, MacAddress};

use crate::stage::{PATIENCE, Server, at, ip, name, net, on_stage, tcp, udp};

#[test]
fn containers_on_a_bridge_and_the_host_reach_each_other_on_both_families() {
    on_stage(|stage| {
        let bridge = stage.bridge("gbr0", &["10.9.0.1/24", "fd09::1/64"]);
        let a = stage.guest(&bridge, "gv0a", &["10.9.0.2/24", "fd09::2/64"], &["10.9.0.1", "fd09::1"]);
        let b = stage.guest(&bridge, "gv0b", &["10.9.0.3/24", "fd09::3/64"], &["10.9.0.1", "fd09::1"]);
        for (server, client) in [("10.9.0.2", "10.9.0.3"), ("fd09::2", "fd09::3")] {
            let _tcp = Server::tcp(&a.netns, at(server, 80));
            let _udp = Server::udp(&a.netns, at(server, 53));
            assert_eq!(tcp(&b.netns, at(server, 80), PATIENCE).expect("tcp"), ip(client));
            assert_eq!(udp(&b.netns, at(server, 53), PATIENCE).expect("udp"), ip(client));
        }
        for gateway in ["10.9.0.1", "fd09::1"] {
            let _host = Server::tcp(&stage.here, at(gateway, 81));
            assert!(tcp(&a.netns, at(gateway, 81), PATIENCE).is_ok(), "{gateway}");
        }
        let counters = stage.host.link(&a.port).expect("link").expect("there").counters.from_inside();
        assert!(counters.received_packets > 0 && counters.sent_bytes > 0, "{counters:?}");
    });
}

#[test]
fn a_bridge_is_made_again_without_change_and_removed_twice() {
    on_stage(|stage| {
        let first = stage.bridge("gbr1", &["10.9.1.1/24"]);
        let _guest = stage.guest(&first, "gv1", &["10.9.1.2/24"], &[]);
        assert_eq!(stage.bridge("gbr1", &["10.9.1.1/24"]), first);
        assert_eq!(
            stage.host.find_bridge(&name("gbr1")).expect("found"),
            Some(first.clone()),
            "found by its name, gateways and all"
        );
        stage.host.remove_bridge(&first.name).expect("removed");
        stage.host.remove_bridge(&first.name).expect("removed again");
        assert_eq!(stage.host.find_bridge(&name("gbr1")).expect("asked"), None);
    });
}

#[test]
fn a_link_of_another_kind_under_a_bridges_name_is_not_taken_over() {
    on_stage(|stage| {
        let spec =
            BridgeSpec { name: name("up0"), gateways: vec![], mac: MacAddress::local([2; 6]), mtu: None };
        let error = stage.host.make_bridge(&spec).expect_err("up0 is a veth");
        assert_eq!((error.class(), error.reason()), (Class::FailedPrecondition, "LINK_NOT_A_BRIDGE"));
    });
}

#[test]
fn a_refused_address_leaves_no_link_and_its_error_says_what_was_attempted() {
    on_stage(|stage| {
        let bridge = stage.bridge("gbr2", &["10.9.2.1/24"]);
        let mut netns = Netns::make().expect("namespace");
        let interface = Interface {
            name: name("eth0"),
            mac: None,
            mtu: None,
            addresses: vec![net("10.9.2.2/24")],
            routes: vec![Route::default_by(ip("10.99.0.1"))],
        };
        let error =
            stage.host.attach(&bridge, &name("gv2"), &mut netns, &interface).expect_err("unreachable");
        let text = error.to_string();
        assert!(text.starts_with("adding a route to 0.0.0.0/0 through eth0 failed"), "{text}");
        assert!(text.contains("the kernel says"), "{text}");
        assert_eq!(error.class(), Class::FailedPrecondition);
        assert_eq!(stage.host.link(&name("gv2")).expect("asked"), None);
        assert_eq!(netns.links().expect("listed").len(), 1, "loopback alone");
    });
}

#[test]
fn a_running_container_gets_a_second_link_and_loses_it() {
    on_stage(|stage| {
        let first = stage.bridge("gbr3", &["10.9.3.1/24"]);
        let second = stage.bridge("gbr4", &["10.9.4.1/24", "fd09:4::1/64"]);
        let guest = stage.guest(&first, "gv3", &["10.9.3.2/24"], &["10.9.3.1"]);
        let descriptor = guest.netns.into_descriptor();
        let mut again = Netns::from_descriptor(descriptor).expect("opened again");
        let interface = Interface {
            name: name("eth1"),
            mac: Some(MacAddress::local([2, 1, 2, 3, 4, 5])),
            mtu: Some(1400),
            addresses: vec![net("10.9.4.2/24"), net("fd09:4::2/64")],
            routes: vec![],
        };
        stage.host.attach(&second, &name("gv4"), &mut again, &interface).expect("second link");
        let _server = Server::tcp(&again, at("fd09:4::2", 80));
        assert!(tcp(&stage.here, at("fd09:4::2", 80), PATIENCE).is_ok());
        stage.host.detach(&name("gv4")).expect("detached");
        stage.host.detach(&name("gv4")).expect("detached again");
        let names: Vec<String> =
            again.links().expect("listed").into_iter().map(|link| link.name.to_string()).collect();
        assert_eq!(names, ["lo", "eth0"]);
    });
}
