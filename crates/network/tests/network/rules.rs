//! The table: what is loaded is what nft reads from `rules.nft`, in one batch; put back after a flush; nobody
//! else's tables change.

use gantry_network::Netns;
use gantry_network::nftables::{NamespaceClaim, NetworkRules, PortForward, base, owned_by};
use gantry_types::{PortRange, Protocol};
use serde_json::Value;

use crate::stage::{ip, name, net, on_stage};

/// Runs nft in the calling thread's network namespace.
#[expect(clippy::disallowed_methods, reason = "nft is the oracle")]
pub(crate) fn nft(arguments: &[&str]) -> String {
    let output = std::process::Command::new("nft").args(arguments).output().expect("nft is installed");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "nft {arguments:?}: {errors}");
    String::from_utf8(output.stdout).expect("nft writes UTF-8")
}

/// The ruleset as nft reads it, without what differs from load to load.
pub(crate) fn ruleset() -> Vec<Value> {
    let text = nft(&["-j", "list", "ruleset"]);
    let Value::Object(mut all) = serde_json::from_str(&text).expect("JSON") else { panic!("no object") };
    let Some(Value::Array(mut items)) = all.remove("nftables") else { panic!("no list") };
    items.retain(|item| item.get("metainfo").is_none());
    items.iter_mut().for_each(forget_handles);
    items
}

fn forget_handles(value: &mut Value) {
    match value {
        Value::Object(object) => {
            object.remove("handle");
            object.values_mut().for_each(forget_handles);
        }
        Value::Array(items) => items.iter_mut().for_each(forget_handles),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn networks() -> [NetworkRules; 2] {
    let open = NetworkRules {
        bridges: vec![name("gbr0"), name("gbs01")],
        subnets: vec![net("10.9.0.0/24"), net("fd09::/64")],
        internal: false,
        inter_container: true,
        masquerade: true,
        open: false,
    };
    let internal = NetworkRules {
        bridges: vec![name("gbr1")],
        subnets: vec![net("10.9.1.0/24")],
        internal: true,
        inter_container: false,
        ..open.clone()
    };
    [open, internal]
}

pub(crate) fn forward(at: Option<&str>, ports: &str, container: &str, first: u16) -> PortForward {
    let ports: PortRange = ports.parse().expect("ports");
    PortForward::new(Protocol::Tcp, at.map(ip), ports, ip(container), first).expect("possible")
}

/// A range at every address that leads to the same ports.
fn range(protocol: Protocol, ports: &str, container: &str) -> PortForward {
    let ports: PortRange = ports.parse().expect("ports");
    PortForward::new(protocol, None, ports, ip(container), ports.first()).expect("possible")
}

fn forwards() -> Vec<PortForward> {
    vec![
        forward(None, "80", "10.9.0.2", 8080),
        forward(Some("127.0.0.1"), "81", "10.9.0.2", 81),
        forward(None, "8000-8010", "10.9.0.2", 8000),
        forward(Some("198.51.100.1"), "9000-9002", "10.9.0.2", 9000),
        forward(None, "7000-7001", "10.9.0.2", 70),
        forward(None, "80", "fd09::2", 8080),
        forward(Some("::1"), "81", "fd09::2", 81),
        forward(None, "8000-8010", "fd09::2", 8000),
        forward(Some("2001:db8:51::1"), "9000-9002", "fd09::2", 9000),
        range(Protocol::Tcp, "65000-65535", "10.9.0.2"),
        range(Protocol::Tcp, "8011-8020", "10.9.0.2"),
        range(Protocol::Udp, "5000-5001", "10.9.0.2"),
        range(Protocol::Udp, "5000-5001", "fd09::2"),
        range(Protocol::Sctp, "8000-8010", "10.9.0.2"),
        range(Protocol::Sctp, "8000-8010", "fd09::2"),
    ]
}

#[test]
fn what_is_loaded_is_what_nft_reads_from_the_reference() {
    on_stage(|stage| {
        let parts: Vec<Vec<u8>> = std::iter::once(base())
            .chain(networks().iter().map(|network| network.change().add))
            .chain([PortForward::change(&forwards()).add])
            .collect();
        stage.host.load_rules(parts.iter().map(Vec::as_slice)).expect("loaded");
        let ours = ruleset();
        let reference = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/network/rules.nft");
        let other = Netns::make().expect("namespace");
        let theirs = other
            .run(|| {
                nft(&["-f", reference]);
                ruleset()
            })
            .expect("run");
        for (ours, theirs) in ours.iter().zip(&theirs) {
            assert_eq!(sorted(ours), sorted(theirs));
        }
        assert_eq!(ours.len(), theirs.len());
    });
}

/// The elements of a map, as nft tells them.
pub(crate) fn elements(map: &str) -> Vec<String> {
    let is_it = |item: &Value| item.get("map").is_some_and(|found| found["name"] == map);
    let item = ruleset().into_iter().find(is_it).expect("the map is there");
    let elements = item["map"].get("elem").and_then(Value::as_array).cloned().unwrap_or_default();
    let mut texts: Vec<String> = elements.iter().map(Value::to_string).collect();
    texts.sort();
    texts
}

#[test]
fn ranges_side_by_side_come_twice_go_alone_and_change_hands_in_one_batch() {
    on_stage(|stage| {
        stage.host.load_rules([base().as_slice()]).expect("loaded");
        let all = ["8000-8010", "60000-64999", "8011-8020", "65000-65535", "1-2"];
        let to =
            |ports: &str, container: &str| PortForward::change(&[range(Protocol::Tcp, ports, container)]);
        let told = |ports: &str, container: &str| {
            let (first, last) = ports.split_once('-').expect("a range");
            format!("[{{\"range\":[{first},{last}]}},\"{container}\"]")
        };
        let expect = |ranges: &[(&str, &str)]| {
            let mut expected: Vec<String> = ranges.iter().map(|(ports, to)| told(ports, to)).collect();
            expected.sort();
            assert_eq!(elements("ranges4_tcp"), expected);
        };
        let (one, other) = ("10.9.0.2", "10.9.0.3");
        for ports in all.into_iter().chain(all) {
            stage.host.change_rules(&[], &to(ports, one).add).expect("added");
        }
        expect(&all.map(|ports| (ports, one)));
        for ports in ["8000-8010", "65000-65535"] {
            stage.host.change_rules(&to(ports, one).remove, &to(ports, other).add).expect("moved");
        }
        expect(&all.map(|ports| (ports, if ports == all[0] || ports == all[3] { other } else { one })));
        // What meets another is refused, and nothing of it stays.
        stage.host.change_rules(&[], &to("8010-8011", one).add).expect_err("two places for one port");
        for ports in ["8000-8010", "8000-8010", "60000-64999"] {
            stage.host.change_rules(&to(ports, one).remove, &[]).expect("removed");
        }
        expect(&[("8011-8020", one), ("65000-65535", other), ("1-2", one)]);
        let rest = all.map(|ports| range(Protocol::Tcp, ports, one));
        stage.host.change_rules(&PortForward::change(&rest).remove, &[]).expect("those that are there");
        expect(&[]);
    });
}

#[test]
fn a_table_says_whose_it_is() {
    on_stage(|stage| {
        assert_eq!(stage.host.rules_owner().expect("no table"), None);
        let long = "x".repeat(300);
        for (owner, read) in [("0123 /run/gantry", "0123 /run/gantry"), (&long, &long[..127])] {
            let parts = [base(), owned_by(owner)];
            stage.host.load_rules(parts.iter().map(Vec::as_slice)).expect("loaded");
            assert_eq!(stage.host.rules_owner().expect("read").as_deref(), Some(read));
        }
        stage.host.load_rules([base().as_slice()]).expect("loaded");
        assert_eq!(stage.host.rules_owner().expect("nobody's"), None);
    });
}

/// Elements have no order of their own.
fn sorted(item: &Value) -> Value {
    let mut item = item.clone();
    for kind in ["set", "map"] {
        if let Some(Value::Array(elements)) = item.get_mut(kind).and_then(|set| set.get_mut("elem")) {
            elements.sort_by_key(Value::to_string);
        }
    }
    item
}

#[test]
fn one_daemon_at_a_time_has_the_namespace() {
    on_stage(|_stage| {
        let take = || NamespaceClaim::take().expect("the kernel answers");
        let claim = take().expect("nobody has it");
        assert!(take().is_none());
        // What a firewall's reload does leaves it alone.
        nft(&["flush", "ruleset"]);
        assert!(take().is_none());
        drop(claim);
        assert!(take().is_some());
    });
}
