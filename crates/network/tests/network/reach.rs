//! Who reaches whom, and which address does the server see? Every cell for IPv4 and IPv6, TCP and UDP, with and
//! without bridged packets passing the IP hooks.

use gantry_network::nftables::PortForward;

use crate::stage::{
    HOST4, HOST6, OUTSIDE4, OUTSIDE6, expect, on_stage, publish, servers, set_bridge_netfilter,
};

/// Everything that the matrix publishes of the container with these addresses.
fn forwards(v4: &str, v6: &str) -> Vec<PortForward> {
    [
        publish(None, "8080", v4, 80),
        publish(None, "8080", v6, 80),
        publish(Some("127.0.0.1"), "8081", v4, 80),
        publish(Some("::1"), "8081", v6, 80),
        publish(Some(HOST4), "8082", v4, 80),
        publish(Some(HOST6), "8082", v6, 80),
        publish(None, "78-82", v4, 78),
        publish(None, "78-82", v6, 78),
        publish(None, "7000-7009", v4, 75),
        publish(None, "7000-7009", v6, 75),
    ]
    .concat()
}

/// The matrix, with bridged packets passing the IP hooks or not.
fn matrix(bridge_netfilter: bool) {
    on_stage(|stage| {
        set_bridge_netfilter(bridge_netfilter);
        let (red, blue) = (stage.network(1), stage.network(2));
        let a = stage.member(&red, 2);
        let b = stage.member(&red, 3);
        let c = stage.member(&blue, 2);
        stage.load(&[&red, &blue], &forwards("10.9.1.2", "fd09:1::2"));
        let _servers = servers(&a.netns, &["::"], 80);
        for (own, host, outside, gateway, loopback) in [
            ("10.9.1.2", HOST4, OUTSIDE4, "10.9.1.1", "127.0.0.1"),
            ("fd09:1::2", HOST6, OUTSIDE6, "fd09:1::1", "::1"),
        ] {
            let neighbour = own.replace("::2", "::3").replace("1.2", "1.3");
            expect("a neighbour", &b.netns, (own, 80), Some(&neighbour));
            expect("the host", &stage.here, (own, 80), Some(gateway));
            for port in [8080, 8082, 80, 7005] {
                expect("the outside", &stage.outside, (host, port), Some(outside));
            }
            // br_netfilter translates before the kernel refuses what comes for ::1.
            for port in [8080, 8081, 80, 7005].into_iter().filter(|_| loopback != "::1" || !bridge_netfilter)
            {
                expect("the host by loopback", &stage.here, (loopback, port), Some(gateway));
            }
            for port in [8080, 8082, 80, 7005] {
                expect("the host by its address", &stage.here, (host, port), Some(host));
                expect("the container itself", &a.netns, (host, port), Some(gateway));
                expect("a neighbour by the host", &b.netns, (host, port), Some(gateway));
                expect("another network by the host", &c.netns, (host, port), Some(gateway));
            }
            expect("a neighbour by the gateway", &b.netns, (gateway, 8080), Some(gateway));
        }
        for (own, host) in [("10.9.1.2", HOST4), ("fd09:1::2", HOST6)] {
            expect("another network directly", &c.netns, (own, 80), None);
            expect("the outside to a port of loopback", &stage.outside, (host, 8081), None);
            expect("a neighbour to a port of loopback", &b.netns, (host, 8081), None);
            expect("the outside to a port nobody published", &stage.outside, (host, 7010), None);
        }
    });
}

#[test]
fn everybody_reaches_what_is_published_and_neighbours_reach_each_other() {
    matrix(false);
}

#[test]
fn the_same_holds_when_bridged_packets_pass_the_ip_hooks() {
    matrix(true);
}

#[test]
fn containers_reach_the_outside_with_the_hosts_address() {
    on_stage(|stage| {
        let red = stage.network(1);
        let a = stage.member(&red, 2);
        stage.load(&[&red], &[]);
        let _servers = servers(&stage.outside, &["::"], 80);
        expect("a container", &a.netns, (OUTSIDE4, 80), Some(HOST4));
        expect("a container", &a.netns, (OUTSIDE6, 80), Some(HOST6));
    });
}

#[test]
fn port_53_of_the_gateway_stays_the_resolvers_when_a_container_publishes_it_everywhere() {
    on_stage(|stage| {
        let red = stage.network(1);
        let a = stage.member(&red, 2);
        let b = stage.member(&red, 3);
        stage.load(&[&red], &publish(None, "53", "10.9.1.2", 53));
        let _container = servers(&a.netns, &["10.9.1.2", "fd09:1::2"], 53);
        let _resolver = servers(&stage.here, &["10.9.1.1", "fd09:1::1"], 53);
        expect("a neighbour asks the resolver", &b.netns, ("10.9.1.1", 53), Some("10.9.1.3"));
        expect("the outside", &stage.outside, (HOST4, 53), Some(OUTSIDE4));
    });
}
