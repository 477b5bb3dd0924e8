//! A client that never falls silent follows a port to its next container.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use gantry_network::nftables::PortForward;
use gantry_types::Protocol;

use crate::stage::{HOST4, HOST6, PATIENCE, Server, at, ip, on_stage};

#[test]
fn a_client_that_goes_on_sending_reaches_the_next_container_once_the_old_flow_is_forgotten() {
    on_stage(|stage| {
        let red = stage.network(1);
        let (a, b) = (stage.member(&red, 2), stage.member(&red, 3));
        stage.load(&[&red], &[]);
        for (host, first, second) in [(HOST4, "10.9.1.2", "10.9.1.3"), (HOST6, "fd09:1::2", "fd09:1::3")] {
            let forward = |container: &str| {
                let port = "5353".parse().expect("a port");
                PortForward::change(&[
                    PortForward::new(Protocol::Udp, None, port, ip(container), 53).expect("possible")
                ])
            };
            let client = stage.outside.run(|| {
                UdpSocket::bind(if host == HOST4 { "0.0.0.0:0" } else { "[::]:0" }).and_then(|socket| {
                    socket.connect(at(host, 5353))?;
                    socket.set_read_timeout(Some(Duration::from_millis(200)))?;
                    Ok(socket)
                })
            });
            let client = client.expect("run").expect("client");
            // Before anybody listens: the flow to the host itself is tracked from now on.
            drop(client.send(b"?"));
            drop(client.recv(&mut [0; 64]));
            stage.host.change_rules(&[], &forward(first).add).expect("published");
            stage.host.forget_flows_to(host == HOST6, Protocol::Udp, 5353).expect("forgotten");
            let server = Server::udp(&a.netns, at(first, 53));
            assert!(answers(&client, PATIENCE), "the new port is seen in spite of the old flow");
            drop(server);
            // On a slow machine it was asked more than once: its late answers are nobody else's.
            while client.recv(&mut [0; 64]).is_ok() {}
            // The port leads elsewhere now; the flow goes on until it is forgotten.
            let _second = Server::udp(&b.netns, at(second, 53));
            stage.host.change_rules(&forward(first).remove, &forward(second).add).expect("moved");
            assert!(!answers(&client, Duration::from_millis(400)), "this is what forgetting is for");
            stage.host.forget_flows_of(ip(first)).expect("forgotten");
            assert!(answers(&client, PATIENCE), "the next container has the port");
        }
    });
}

fn answers(client: &UdpSocket, patience: Duration) -> bool {
    let deadline = Instant::now() + patience;
    while Instant::now() < deadline {
        drop(client.send(b"?"));
        if client.recv(&mut [0; 64]).is_ok() {
            return true;
        }
    }
    false
}
