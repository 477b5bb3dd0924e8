//! Links: made in place, found again, counted, taken away.

use gantry_network::nftables::PortForward;
use gantry_network::{BridgeSpec, ChildMode, Host, Interface, Netns, Route, SubnetPool, port_is_free};
use gantry_types::{Class, Classified, MacAddress, Protocol};

use crate::stage::{HOST4, OUTSIDE4, PATIENCE, Server, at, ip, name, net, on_stage, publish, set, tcp, udp};

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
fn a_second_name_serves_while_the_first_is_taken() {
    on_stage(|stage| {
        let bridge = stage.bridge("gbr9", &["10.9.9.1/24"]);
        let _before = stage.guest(&bridge, "gv9", &["10.9.9.2/24"], &[]);
        let mut netns = Netns::make().expect("a namespace");
        let interface = Interface {
            name: name("eth0"),
            mac: None,
            mtu: None,
            addresses: vec![net("10.9.9.3/24")],
            routes: Vec::new(),
        };
        let refused = stage.host.attach(&bridge, &name("gv9"), &mut netns, &interface);
        assert_eq!(refused.expect_err("taken").errno(), Some(gantry_linux::Errno::EXIST));
        stage.host.attach(&bridge, &name("gv9a"), &mut netns, &interface).expect("attached");
    });
}

#[test]
fn a_link_that_others_made_in_the_namespace_is_not_taken_for_the_new_one() {
    on_stage(|stage| {
        let bridge = stage.bridge("gbr10", &["10.9.10.1/24"]);
        let interface = |link: &str, address: &str| Interface {
            name: name(link),
            mac: None,
            mtu: None,
            addresses: vec![net(address)],
            routes: Vec::new(),
        };
        let mut netns = Netns::make().expect("a namespace");
        let same = netns.descriptor().try_clone_to_owned().expect("copied");
        let mut others = Netns::from_descriptor(same).expect("opened");
        let first = interface("eth1", "10.9.10.2/24");
        stage.host.attach(&bridge, &name("gv10a"), &mut others, &first).expect("attached");
        let second = interface("eth0", "10.9.10.3/24");
        stage.host.attach(&bridge, &name("gv10b"), &mut netns, &second).expect("attached");
        stage.host.detach(&name("gv10a")).expect("detached");
        let _server = Server::tcp(&netns, at("10.9.10.3", 80));
        assert!(
            tcp(&stage.here, at("10.9.10.3", 80), PATIENCE).is_ok(),
            "its address went with the other link"
        );
    });
}

#[test]
fn a_bridges_port_has_no_address_of_its_own() {
    on_stage(|stage| {
        let bridge = stage.bridge("gbr11", &["10.9.11.1/24", "fd09:11::1/64"]);
        let guest = stage.guest(&bridge, "gv11", &["10.9.11.2/24", "fd09:11::2/64"], &[]);
        let _server = Server::tcp(&guest.netns, at("fd09:11::2", 80));
        assert!(tcp(&stage.here, at("fd09:11::2", 80), PATIENCE).is_ok(), "the link is up");
        let addresses = || std::fs::read_to_string("/proc/thread-self/net/if_inet6").expect("readable");
        let addresses = stage.here.run(addresses).expect("entered");
        assert!(addresses.contains("gbr11") && !addresses.contains("gv11"), "{addresses}");
    });
}

#[test]
fn a_link_may_be_too_narrow_for_ipv6() {
    on_stage(|stage| {
        let bridge = stage.bridge("gbr12", &["10.9.12.1/24"]);
        let mut netns = Netns::make().expect("a namespace");
        let interface = Interface {
            name: name("eth0"),
            mac: None,
            mtu: Some(1279),
            addresses: vec![net("10.9.12.2/24")],
            routes: Vec::new(),
        };
        stage.host.attach(&bridge, &name("gv12"), &mut netns, &interface).expect("attached");
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

#[test]
fn many_threads_attach_and_publish_side_by_side() {
    on_stage(|stage| {
        let red = stage.network(1);
        stage.load(&[&red], &[]);
        let stage = &*stage;
        let guests: Vec<_> = std::thread::scope(|scope| {
            let red = &red;
            let threads: Vec<_> = (0..8_u8)
                .map(|thread| {
                    scope.spawn(move || {
                        (0..8)
                            .map(|number| {
                                let last = 10 + thread * 8 + number;
                                let port = format!("{}", 9000 + u16::from(last));
                                let container = format!("10.9.1.{last}");
                                let forwards = publish(None, &port, &container, 80);
                                stage
                                    .host
                                    .change_rules(&[], &PortForward::change(&forwards).add)
                                    .expect("published");
                                (last, stage.member(red, last))
                            })
                            .collect::<Vec<_>>()
                    })
                })
                .collect();
            threads.into_iter().flat_map(|thread| thread.join().expect("attached")).collect()
        });
        assert_eq!(guests.len(), 64);
        for (last, guest) in guests.iter().step_by(9) {
            let _server = Server::tcp(&guest.netns, at("::", 80));
            let seen = tcp(&stage.outside, at(HOST4, 9000 + u16::from(*last)), PATIENCE).expect("published");
            assert_eq!(seen, ip(OUTSIDE4));
        }
    });
}

#[test]
fn a_macvlan_link_is_made_in_place_and_reaches_the_outside_directly() {
    on_stage(|stage| {
        // The trunk plays the host: its eth0 is the parent.
        let mut trunk = Netns::make().expect("namespace");
        let uplink = stage.host.find_bridge(&name("uplink")).expect("asked").expect("there");
        let link = |addresses: &[&str]| Interface {
            name: name("eth0"),
            mac: None,
            mtu: None,
            addresses: addresses.iter().map(|address| net(address)).collect(),
            routes: vec![],
        };
        stage.host.attach(&uplink, &name("up2"), &mut trunk, &link(&[])).expect("trunk");
        let mut inside = Netns::make().expect("namespace");
        trunk
            .run(|| {
                let host = Host::new();
                let interface = Interface {
                    mac: Some(MacAddress::local([2, 9, 9, 9, 9, 9])),
                    ..link(&["198.51.100.77/24", "2001:db8:51::77/64"])
                };
                host.attach_child(&name("eth0"), ChildMode::MacvlanBridge, &mut inside, &interface)
                    .expect("macvlan");
                let missing =
                    host.attach_child(&name("eth7"), ChildMode::MacvlanBridge, &mut inside, &interface);
                assert_eq!(missing.expect_err("no parent").reason(), "LINK_MISSING");
            })
            .expect("run");
        let _servers = [Server::tcp(&stage.outside, at("::", 80))];
        for (outside, own) in [("198.51.100.2", "198.51.100.77"), ("2001:db8:51::2", "2001:db8:51::77")] {
            assert_eq!(tcp(&inside, at(outside, 80), PATIENCE).expect("tcp"), ip(own));
        }
        inside.remove_link(&name("eth0")).expect("removed");
        inside.remove_link(&name("eth0")).expect("removed again");
        assert_eq!(inside.links().expect("links").len(), 1);
    });
}

#[test]
fn ipvlan_is_made_or_refused_as_what_this_kernel_lacks() {
    on_stage(|stage| {
        let bridge = stage.bridge("gbr6", &["10.9.6.1/24"]);
        let trunk = stage.guest(&bridge, "gv6", &["10.9.6.2/24"], &[]);
        let mut inside = Netns::make().expect("namespace");
        let interface = Interface {
            name: name("eth0"),
            mac: None,
            mtu: None,
            addresses: vec![net("10.9.6.3/24")],
            routes: vec![],
        };
        let made = trunk
            .netns
            .run(|| Host::new().attach_child(&name("eth0"), ChildMode::IpvlanL2, &mut inside, &interface))
            .expect("run");
        match made {
            Ok(()) => {
                let _server = Server::tcp(&stage.here, at("10.9.6.1", 80));
                assert_eq!(tcp(&inside, at("10.9.6.1", 80), PATIENCE).expect("tcp"), ip("10.9.6.3"));
            }
            Err(error) => {
                assert_eq!((error.class(), error.reason()), (Class::Unimplemented, "LINK_KIND_MISSING"));
                assert_eq!(error.to_string(), "this kernel has no ipvlan links");
                assert_eq!(inside.links().expect("links").len(), 1);
            }
        }
    });
}

#[test]
fn forwarding_is_switched_on_without_losing_the_routers_of_the_host() {
    on_stage(|stage| {
        for setting in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
            set(setting, "0");
        }
        set("ipv6/conf/uplink/accept_ra", "1");
        for ipv6 in [false, true, true] {
            stage.host.enable_forwarding(ipv6).expect("forwarding");
        }
        let read = |name: &str| std::fs::read_to_string(format!("/proc/sys/net/{name}")).expect("read");
        assert_eq!(read("ipv4/ip_forward"), "1\n");
        assert_eq!(read("ipv6/conf/all/forwarding"), "1\n");
        assert_eq!(read("ipv6/conf/uplink/accept_ra"), "2\n", "hears its routers though it forwards");
        assert_eq!(read("ipv6/conf/default/accept_ra"), "1\n", "links to come are not ours");
    });
}

#[test]
fn a_port_that_a_program_of_the_host_has_is_not_free() {
    on_stage(|stage| {
        let free = |protocol, address: &str, port| port_is_free(protocol, ip(address), port).expect("tried");
        let _tcp = Server::tcp(&stage.here, at("127.0.0.1", 8080));
        let _udp = Server::udp(&stage.here, at("::1", 53));
        assert!(!free(Protocol::Tcp, "127.0.0.1", 8080) && !free(Protocol::Tcp, "0.0.0.0", 8080));
        assert!(free(Protocol::Tcp, "::", 8080) && free(Protocol::Udp, "127.0.0.1", 8080));
        assert!(!free(Protocol::Udp, "::", 53) && free(Protocol::Udp, "0.0.0.0", 53));
        assert!(free(Protocol::Sctp, "0.0.0.0", 8080));
        let foreign = port_is_free(Protocol::Tcp, ip("192.0.2.1"), 80).expect_err("not ours");
        assert_eq!(foreign.class(), Class::InvalidArgument);
        assert!(foreign.hint().is_some_and(|hint| hint.contains("no address of this host")));
    });
}

#[test]
fn the_hosts_routes_are_known_so_that_no_network_overlaps_them() {
    on_stage(|stage| {
        let _bridge = stage.bridge("gbr7", &["10.208.0.1/20", "fd07::1/64"]);
        let routed = stage.host.routed_subnets().expect("routes");
        assert_eq!(
            routed.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["10.208.0.0/20", "198.51.100.0/24", "2001:db8:51::/64", "fd07::/64",]
        );
        let pool = SubnetPool { base: net("10.208.0.0/12"), prefix: 20 };
        assert_eq!(pool.choose(&routed), Some(net("10.208.16.0/20")));
    });
}
