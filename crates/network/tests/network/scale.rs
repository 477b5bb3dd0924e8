//! Many of everything: ports of a bridge beyond what one Linux bridge has, ten thousand published ports. How long
//! they take is `examples/cost.rs`'s to say.

use gantry_linux::Errno;
use gantry_network::nftables::PortForward;
use gantry_network::{Interface, Netns, SEGMENT_ENDPOINTS_MAX, mac_of, segment_name};
use gantry_types::{Class, Classified, PortRange, Protocol};

use crate::rules::{elements, ruleset};
use crate::stage::{
    HOST4, OUTSIDE4, PATIENCE, Server, at, expect, ip, name, on_stage, servers, set_bridge_netfilter, tcp,
};

#[test]
fn a_network_goes_on_in_a_second_segment_beside_a_full_one() {
    on_stage(|stage| {
        let mut red = stage.network(1);
        // Links only: the bridge counts ports, not namespaces.
        let mut crowd = Netns::make().expect("namespace");
        let mut add = |number: usize| {
            let interface = Interface {
                name: name(&format!("eth{number}")),
                mac: None,
                mtu: None,
                addresses: vec![],
                routes: vec![],
            };
            stage.host.attach(&red.bridge, &name(&format!("gvc{number}")), &mut crowd, &interface)
        };
        for number in 0..SEGMENT_ENDPOINTS_MAX {
            add(number).expect("room");
        }
        let a = stage.member(&red, 2);
        let mac = mac_of(ip("10.9.1.1"));
        let segment = stage.host.make_segment(&red.bridge, 1, mac, None).expect("segment");
        assert_eq!(segment.name, segment_name(&red.bridge.name, 1));
        assert_eq!(stage.host.make_segment(&red.bridge, 1, mac, None).expect("again"), segment);
        red.rules.bridges.push(segment.name.clone());
        let b = stage.guest(&segment, "gvb", &["10.9.1.3/24", "fd09:1::3/64"], &["10.9.1.1", "fd09:1::1"]);
        let forward = |container: &str| {
            PortForward::new(Protocol::Tcp, None, "8080".parse().expect("port"), ip(container), 80)
                .expect("possible")
        };
        stage.load(&[&red], &[forward("10.9.1.3")]);
        let _servers = [servers(&b.netns, &["::"], 80), servers(&stage.outside, &["::"], 80)];
        for bridge_netfilter in [false, true] {
            set_bridge_netfilter(bridge_netfilter);
            expect("the first segment", &a.netns, ("10.9.1.3", 80), Some("10.9.1.2"));
            expect("the first segment", &a.netns, ("fd09:1::3", 80), Some("fd09:1::2"));
            expect("out", &b.netns, (OUTSIDE4, 80), Some(HOST4));
            assert_eq!(tcp(&stage.outside, at(HOST4, 8080), PATIENCE).expect("in"), ip(OUTSIDE4));
        }
        stage.host.remove_bridge(&red.bridge.name).expect("removed");
        let names: Vec<_> = stage.host.links().expect("links").into_iter().map(|link| link.name).collect();
        assert!(!names.contains(&segment.name) && !names.iter().any(|name| name.as_str().starts_with("gbn")));
    });
}

#[test]
fn a_bridge_without_a_port_left_says_so_and_leaves_nothing() {
    on_stage(|stage| {
        let bridge = stage.bridge("gbr1", &["10.9.1.1/24"]);
        let mut crowd = Netns::make().expect("namespace");
        let mut attach = |number: u32| {
            let inside = name(&format!("eth{number}"));
            let interface =
                Interface { name: inside, mac: None, mtu: None, addresses: vec![], routes: vec![] };
            stage.host.attach(&bridge, &name(&format!("gvc{number}")), &mut crowd, &interface)
        };
        for number in 0..1023 {
            attach(number).expect("a port is left");
        }
        let error = attach(1023).expect_err("BR_MAX_PORTS");
        assert_eq!((error.class(), error.errno()), (Class::ResourceExhausted, Some(Errno::XFULL)));
        assert!(error.to_string().starts_with("making link eth1023 with its end gvc1023"), "{error}");
        assert_eq!(stage.host.link(&name("gvc1023")).expect("asked"), None);
    });
}

#[test]
fn ten_thousand_published_ports_are_as_many_elements_and_all_answer() {
    on_stage(|stage| {
        let red = stage.network(1);
        let a = stage.member(&red, 2);
        let one = |port: u16| PortRange::one(port).expect("not zero");
        let forwards: Vec<PortForward> = (10_000..20_000)
            .map(|port| {
                PortForward::new(Protocol::Tcp, None, one(port), ip("10.9.1.2"), 80).expect("possible")
            })
            .collect();
        stage.load(&[&red], &forwards);
        let published = ruleset().into_iter().find_map(|item| {
            let map = item.get("map")?;
            (map.get("name")? == "published4")
                .then(|| map.get("elem").and_then(|e| e.as_array()).map_or(0, Vec::len))
        });
        assert_eq!(published, Some(10_000));
        let _server = Server::tcp(&a.netns, at("10.9.1.2", 80));
        for port in [10_000, 14_321, 19_999] {
            assert_eq!(tcp(&stage.outside, at(HOST4, port), PATIENCE).expect("answers"), ip(OUTSIDE4));
        }
        // All of them go in one batch, too.
        stage.host.change_rules(&PortForward::change(&forwards).remove, &[]).expect("removed");
        assert!(tcp(&stage.outside, at(HOST4, 10_000), PATIENCE).is_err());
    });
}

#[test]
fn thousands_of_ranges_are_as_many_elements_of_a_tree_and_all_answer() {
    on_stage(|stage| {
        let red = stage.network(1);
        let a = stage.member(&red, 2);
        let two = |first: u16| PortRange::new(first, first + 1).expect("in order");
        let to = |ports: PortRange| {
            PortForward::new(Protocol::Tcp, None, ports, ip("10.9.1.2"), ports.first()).expect("possible")
        };
        let forwards: Vec<PortForward> = (20_000..30_000).step_by(2).map(|first| to(two(first))).collect();
        stage.load(&[&red], &forwards);
        // The kernel's per-field tables are walked from end to end by every look-up.
        assert_eq!((elements("ranges4_tcp").len(), elements("ranges4").len()), (5000, 0));
        for port in [20_000, 25_001, 29_999] {
            let _server = Server::tcp(&a.netns, at("10.9.1.2", port));
            assert_eq!(tcp(&stage.outside, at(HOST4, port), PATIENCE).expect("answers"), ip(OUTSIDE4));
        }
        stage.host.change_rules(&PortForward::change(&forwards).remove, &[]).expect("removed");
        assert_eq!(elements("ranges4_tcp").len(), 0);
    });
}

#[test]
fn a_range_in_a_file_of_the_release_before_leads_where_it_led() {
    on_stage(|stage| {
        let red = stage.network(1);
        let a = stage.member(&red, 2);
        stage.load(&[&red], &[]);
        let range = "8000-8010".parse().expect("ports");
        let sctp = PortForward::new(Protocol::Sctp, None, range, ip("10.9.1.2"), 8000).expect("possible");
        // It put ranges of every protocol where SCTP's are: an element's key begins with the protocol's number.
        let [of_sctp, of_tcp] = [Protocol::Sctp, Protocol::Tcp].map(|protocol| [protocol.number(), 0, 0, 0]);
        let mut older = PortForward::change(&[sctp]).add;
        let places: Vec<usize> =
            (0..older.len() - 3).filter(|start| older[*start..start + 4] == of_sctp).collect();
        assert_eq!(places.len(), 2, "the first key and the last");
        for start in places {
            older[start..start + 4].copy_from_slice(&of_tcp);
        }
        stage.host.change_rules(&[], &older).expect("taken");
        let _server = Server::tcp(&a.netns, at("10.9.1.2", 8005));
        assert_eq!(tcp(&stage.outside, at(HOST4, 8005), PATIENCE).expect("answers"), ip(OUTSIDE4));
    });
}
