//! Many of everything: ports of a bridge beyond what one Linux bridge has, ten thousand published ports. How long
//! they take is `examples/cost.rs`'s to say.

use gantry_linux::Errno;
use gantry_network::nftables::PortForward;
use gantry_network::{Interface, Netns, mac_of};
use gantry_types::{Class, Classified, PortRange, Protocol};

use crate::rules::ruleset;
use crate::stage::{
    HOST4, OUTSIDE4, PATIENCE, Server, at, expect, ip, name, on_stage, servers, set_bridge_netfilter, tcp,
};

#[test]
fn a_network_goes_on_in_a_second_segment_when_its_bridge_has_no_more_ports() {
    on_stage(|stage| {
        let mut red = stage.network(1);
        // Links only: the bridge counts ports, not namespaces.
        let mut crowd = Netns::make().expect("namespace");
        let mut full = None;
        for number in 0..1100 {
            let interface = Interface {
                name: name(&format!("eth{number}")),
                mac: None,
                mtu: None,
                addresses: vec![],
                routes: vec![],
            };
            // One port is left for the tie to the next segment, as the engine's limit leaves one.
            let port = name(&format!("gvc{number}"));
            if let Err(error) = stage.host.attach(&red.bridge, &port, &mut crowd, &interface) {
                full = Some((number, error));
                break;
            }
        }
        let (number, error) = full.expect("a bridge ends at 1,023 ports");
        assert_eq!(
            (number, error.class(), error.errno()),
            (1023, Class::ResourceExhausted, Some(Errno::XFULL))
        );
        assert_eq!(stage.host.link(&name("gvc1023")).expect("asked"), None, "nothing is left of it");
        for number in 0..3 {
            stage.host.detach(&name(&format!("gvc{number}"))).expect("room again");
        }
        let a = stage.member(&red, 2);
        let mac = mac_of(ip("10.9.1.1"));
        let segment = stage.host.make_segment(&red.bridge, 1, mac, None).expect("segment");
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
