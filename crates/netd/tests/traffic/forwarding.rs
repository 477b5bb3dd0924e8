//! What netd does not know itself.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;

use crate::world::{BRIDGE, GATEWAY, Netns, World, addresses, ask, endpoint, network, until};

/// A server on the host's loopback that gives every A question this address, and counts.
fn upstream(host: &Netns, listen: &str, answer: Ipv4Addr) -> Arc<AtomicUsize> {
    let listen = SocketAddr::new(listen.parse().expect("an address"), 53);
    let (datagrams, stream) =
        host.run(|| (UdpSocket::bind(listen).expect("bound"), TcpListener::bind(listen).expect("bound")));
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    // The threads end with the test's process.
    std::thread::spawn(move || {
        let mut packet = [0; 4096];
        while let Ok((length, from)) = datagrams.recv_from(&mut packet) {
            counter.fetch_add(1, Ordering::Relaxed);
            let reply = respond(&packet[..length], answer);
            // One with the wrong id first: somebody guesses.
            let mut guess = reply.clone();
            guess[0] ^= 0xff;
            let _ = datagrams.send_to(&guess, from);
            let _ = datagrams.send_to(&reply, from);
        }
    });
    let counter = Arc::clone(&asked);
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = stream.accept() {
            counter.fetch_add(1, Ordering::Relaxed);
            let mut length = [0; 2];
            let _ = stream.read_exact(&mut length);
            let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
            let _ = stream.read_exact(&mut query);
            let reply = respond(&query, answer);
            let length = u16::try_from(reply.len()).expect("short").to_be_bytes();
            let _ = stream.write_all(&[&length[..], &reply].concat());
        }
    });
    asked
}

/// The query with one address after its question; what came after the question comes after the address.
fn respond(query: &[u8], address: Ipv4Addr) -> Vec<u8> {
    let mut end = 12;
    while query[end] != 0 {
        end += 1 + usize::from(query[end]);
    }
    end += 5;
    let mut reply = query[..end].to_vec();
    reply[2] |= 0x80;
    reply[7] = 1;
    reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
    reply.extend(address.octets());
    reply.extend(&query[end..]);
    reply
}

fn forwarded() -> Option<World> {
    let world = World::new()?;
    world.put_network(&network("one", BRIDGE, GATEWAY));
    world.folder.write_endpoint(&endpoint("web", "one", "10.88.1.2", &["web"])).expect("written");
    Some(world)
}

#[test]
fn unknown_names_are_asked_of_a_real_server_on_loopback_over_udp_and_tcp() {
    let Some(world) = forwarded() else { return };
    let pid_file = world.state.path().join("dnsmasq.pid");
    let texts: Vec<String> =
        (0..12).map(|number| format!("--txt-record=big.test,{}{number}", "x".repeat(240))).collect();
    let _dnsmasq = world.host.spawn(&format!(
        "dnsmasq --keep-in-foreground --no-resolv --no-hosts --conf-file=/dev/null --bind-interfaces \
         --listen-address=127.0.0.53 --user=root --pid-file={} --address=/a.test/192.0.2.7 {}",
        pid_file.display(),
        texts.join(" ")
    ));
    until("dnsmasq is ready", || crate::world::exists(&pid_file));
    std::fs::write(world.resolv_conf(), "nameserver 127.0.0.53\n").expect("written");
    let container = world.container(BRIDGE, "10.88.1.3");
    let _netd = world.netd();
    let dig = |question: &str| container.command(&format!("dig +time=3 +tries=1 @{GATEWAY} {question}"));
    assert_eq!(dig("+short a.test"), "192.0.2.7\n");
    assert_eq!(dig("+short +tcp a.test"), "192.0.2.7\n");
    // Truncated over UDP, so dig asks again over TCP and gets all of it.
    let whole = dig("big.test TXT");
    assert!(whole.contains("ANSWER: 12,") && whole.contains("(TCP)"), "{whole}");
    let edns = dig("+bufsize=4096 +nsid +dnssec a.test");
    assert!(edns.contains("EDNS: version: 0"), "{edns}");
    assert!(dig("none.test").contains("REFUSED") || dig("none.test").contains("NXDOMAIN"));
    assert_eq!(dig("+short web"), "10.88.1.2\n");
}

#[test]
fn a_changed_resolv_conf_is_followed_and_a_dead_server_is_passed_over() {
    let Some(world) = forwarded() else { return };
    let first = upstream(&world.host, "127.0.0.11", Ipv4Addr::new(192, 0, 2, 11));
    let second = upstream(&world.host, "127.0.0.12", Ipv4Addr::new(192, 0, 2, 12));
    std::fs::write(world.resolv_conf(), "nameserver 127.0.0.11\n").expect("written");
    let container = world.container(BRIDGE, "10.88.1.3");
    let _netd = world.netd();
    assert_eq!(container.run(|| addresses(GATEWAY, "x.example.")), ["192.0.2.11"]);
    assert_eq!(first.load(Ordering::Relaxed), 1);
    // Nobody listens at the first: refused at once, and the next one is asked.
    let replaced = world.state.path().join("new");
    std::fs::write(&replaced, "nameserver 127.0.0.99\nnameserver 127.0.0.12\n").expect("written");
    std::fs::rename(&replaced, world.resolv_conf()).expect("renamed");
    until("the new one is asked", || container.run(|| addresses(GATEWAY, "x.example.")) == ["192.0.2.12"]);
    assert!(second.load(Ordering::Relaxed) >= 1);
    until("the status says so", || world.status().is_some_and(|status| status.upstreams.len() == 2));
}

#[test]
fn a_container_with_resolvers_of_its_own_asks_those() {
    let Some(world) = forwarded() else { return };
    let hosts = upstream(&world.host, "127.0.0.11", Ipv4Addr::new(192, 0, 2, 11));
    let _own = upstream(&world.host, "127.0.0.12", Ipv4Addr::new(192, 0, 2, 12));
    std::fs::write(world.resolv_conf(), "nameserver 127.0.0.11\n").expect("written");
    let mut own = endpoint("own", "one", "10.88.1.4", &["own"]);
    own.dns_servers = vec!["127.0.0.12:53".parse().expect("an address")];
    world.folder.write_endpoint(&own).expect("written");
    let container = world.container(BRIDGE, "10.88.1.4");
    let _netd = world.netd();
    assert_eq!(container.run(|| addresses(GATEWAY, "x.example.")), ["192.0.2.12"]);
    assert_eq!(container.command(&format!("dig +short +tcp @{GATEWAY} x.example")), "192.0.2.12\n");
    assert_eq!(hosts.load(Ordering::Relaxed), 0);
}

#[test]
fn from_an_internal_network_no_query_leaves() {
    let Some(world) = forwarded() else { return };
    let asked = upstream(&world.host, "127.0.0.11", Ipv4Addr::new(192, 0, 2, 11));
    std::fs::write(world.resolv_conf(), "nameserver 127.0.0.11\n").expect("written");
    world.bridge("gtbr3", "10.88.3.1");
    let mut inside = network("inside", "gtbr3", "10.88.3.1");
    inside.internal = true;
    world.put_network(&inside);
    let mut own = endpoint("vault", "inside", "10.88.3.2", &["vault"]);
    own.dns_servers = vec!["127.0.0.11:53".parse().expect("an address")];
    world.folder.write_endpoint(&own).expect("written");
    let container = world.container("gtbr3", "10.88.3.2");
    let outside = world.container(BRIDGE, "10.88.1.3");
    let _netd = world.netd();
    for kind in [RecordType::A, RecordType::TXT, RecordType::PTR, RecordType::SRV, RecordType::HTTPS] {
        let answer = container.run(|| ask("10.88.3.1", "secret.example.", kind, Duration::from_secs(2)));
        assert_eq!(answer.expect("an answer").metadata.response_code, ResponseCode::NXDomain, "{kind}");
    }
    let over_tcp = container.command("dig +tcp @10.88.3.1 secret.example");
    assert!(over_tcp.contains("NXDOMAIN"), "{over_tcp}");
    assert_eq!(container.run(|| addresses("10.88.3.1", "vault.")), ["10.88.3.2"]);
    assert_eq!(asked.load(Ordering::Relaxed), 0);
    assert_eq!(outside.run(|| addresses(GATEWAY, "x.example.")), ["192.0.2.11"]);
    assert_eq!(asked.load(Ordering::Relaxed), 1);
}

#[test]
fn without_an_upstream_the_failure_is_told_at_once_and_netd_never_asks_itself() {
    let Some(world) = forwarded() else { return };
    std::fs::write(world.resolv_conf(), format!("nameserver {GATEWAY}\n")).expect("written");
    let container = world.container(BRIDGE, "10.88.1.3");
    let _netd = world.netd();
    let answer = container.run(|| ask(GATEWAY, "x.example.", RecordType::A, Duration::from_secs(1)));
    assert_eq!(answer.expect("an answer").metadata.response_code, ResponseCode::ServFail);
}

#[test]
fn one_asker_cannot_have_more_than_its_share_of_questions_under_way() {
    let Some(world) = forwarded() else { return };
    // Silent, but there.
    let silent = world.host.run(|| UdpSocket::bind("127.0.0.11:53").expect("bound"));
    std::fs::write(world.resolv_conf(), "nameserver 127.0.0.11\n").expect("written");
    let container = world.container(BRIDGE, "10.88.1.3");
    let netd = world.netd();
    let refused = container.run(|| {
        let socket = UdpSocket::bind("0.0.0.0:0").expect("bound");
        socket.connect((GATEWAY, 53)).expect("connected");
        socket.set_read_timeout(Some(Duration::from_secs(1))).expect("set");
        for number in 0..400u16 {
            socket.send(&crate::world::query(number, "x.example.", RecordType::A)).expect("sent");
        }
        let mut packet = [0; 512];
        let mut refused = 0;
        while let Ok(length) = socket.recv(&mut packet) {
            assert!(length >= 12 && packet[3] & 0xf == 2);
            refused += 1;
            if refused == 144 {
                break;
            }
        }
        refused
    });
    assert_eq!(refused, 144, "256 are under way");
    let open = std::fs::read_dir(format!("/proc/{}/fd", netd.0.id())).expect("it runs").count();
    assert!(open < 300, "{open} descriptors");
    drop(silent);
}
