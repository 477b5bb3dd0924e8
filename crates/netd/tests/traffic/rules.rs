//! The rules come back. `nft` is the oracle of what the kernel has.

use std::time::Duration;

use gantry_network::netd::{Endpoint, NFT_PORT_PREFIX, Ruleset};
use hickory_proto::rr::RecordType;

use crate::world::{BRIDGE, GATEWAY, Netns, World, ask, endpoint, network, say, until};

/// A message that makes a chain of this name in our table, as the engine would encode it.
fn chain(name: &str) -> Vec<u8> {
    let attribute = |number: u16, text: &str| {
        let mut bytes = u16::try_from(5 + text.len()).expect("short").to_ne_bytes().to_vec();
        bytes.extend(number.to_ne_bytes());
        bytes.extend(text.as_bytes());
        bytes.push(0);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    };
    let body = [vec![1, 0, 0, 0], attribute(1, "gantry"), attribute(3, name)].concat();
    let length = u32::try_from(16 + body.len()).expect("short");
    // NFT_MSG_NEWCHAIN, NLM_F_REQUEST | NLM_F_CREATE | NLM_F_ACK.
    let head =
        [&length.to_ne_bytes()[..], &0x0a03u16.to_ne_bytes(), &0x0405u16.to_ne_bytes(), &[0; 8]].concat();
    [head, body].concat()
}

fn with_rules(id: &str, address: &str) -> Endpoint {
    Endpoint { rules: chain(&format!("endpoint-{id}")), ..endpoint(id, "one", address, &[id]) }
}

fn prepared() -> Option<World> {
    let world = World::new()?;
    world
        .folder
        .write_ruleset(&Ruleset { rules: [chain("first"), chain("second")].concat() })
        .expect("written");
    let mut one = network("one", BRIDGE, GATEWAY);
    one.rules = chain("network-one");
    world.put_network(&one);
    world.folder.write_endpoint(&with_rules("a", "10.88.1.10")).expect("written");
    world.folder.write_endpoint(&with_rules("b", "10.88.1.11")).expect("written");
    Some(world)
}

fn chains(host: &Netns) -> Vec<String> {
    let output = host.output("nft list table inet gantry");
    let text = String::from_utf8(output.stdout).expect("text");
    text.lines()
        .filter_map(|line| line.trim().strip_prefix("chain ")?.strip_suffix(" {").map(str::to_owned))
        .collect()
}

const ALL: [&str; 5] = ["first", "second", "network-one", "endpoint-a", "endpoint-b"];

#[test]
fn the_rules_of_the_files_are_there_from_the_start_and_after_every_kind_of_damage() {
    let Some(world) = prepared() else { return };
    world.host.command("nft add table inet other");
    let _netd = world.netd();
    until("they are there", || chains(&world.host) == ALL);
    let damages = [
        "nft flush ruleset",
        "nft delete table inet gantry",
        "nft delete chain inet gantry endpoint-a",
        "nft destroy table inet gantry",
    ];
    for damage in damages.iter().cycle().take(12) {
        let before = world.status().expect("a status").heals;
        let output = world.host.output(damage);
        if !output.status.success() {
            // nft before 1.0.7 does not know `destroy`.
            say(&format!("skipped: {damage}: {}", String::from_utf8_lossy(&output.stderr)));
            continue;
        }
        until(damage, || {
            chains(&world.host) == ALL && world.status().is_some_and(|status| status.heals > before)
        });
    }
    let status = world.status().expect("a status");
    assert_eq!((status.heal_failure.as_str(), status.left_out.len()), ("", 0));
}

#[test]
fn what_is_not_ours_is_left_alone_and_starts_no_healing() {
    let Some(world) = prepared() else { return };
    let _netd = world.netd();
    until("they are there", || chains(&world.host) == ALL);
    world.host.command("nft add table inet other");
    world.host.command("nft add table ip gantry");
    world.host.command("nft delete table ip gantry");
    world.host.command("nft delete table inet other");
    world.host.command("nft add chain inet gantry theirs");
    // A question is answered after everything that came before it.
    let container = world.container(BRIDGE, "10.88.1.3");
    assert!(container.run(|| ask(GATEWAY, "a.", RecordType::A, Duration::from_secs(2))).is_some());
    assert_eq!(world.status().expect("a status").heals, 1);
    world.host.command("nft delete chain inet gantry theirs");
    until("even a chain of theirs is damage to our table", || {
        chains(&world.host) == ALL && world.status().is_some_and(|status| status.heals == 2)
    });
}

#[test]
fn a_change_through_a_port_of_ours_is_not_undone() {
    use rustix::net::netlink::{NETFILTER, SocketAddrNetlink};
    use rustix::net::{AddressFamily, SendFlags, SocketType};
    let Some(world) = prepared() else { return };
    let _netd = world.netd();
    until("they are there", || chains(&world.host) == ALL);
    world.host.run(|| {
        let socket =
            rustix::net::socket(AddressFamily::NETLINK, SocketType::RAW, Some(NETFILTER)).expect("socket");
        rustix::net::bind(&socket, &SocketAddrNetlink::new(NFT_PORT_PREFIX | 0xfffe, 0)).expect("bound");
        let frame = |kind: u16| {
            [&20u32.to_ne_bytes()[..], &kind.to_ne_bytes(), &1u16.to_ne_bytes(), &[0; 8], &[0, 0, 0, 10]]
                .concat()
        };
        let mut delete = chain("endpoint-a");
        // NFT_MSG_DELCHAIN.
        delete[4..6].copy_from_slice(&0x0a05u16.to_ne_bytes());
        let batch = [frame(0x10), delete, frame(0x11)].concat();
        rustix::net::send(&socket, &batch, SendFlags::empty()).expect("sent");
    });
    let left = ["first", "second", "network-one", "endpoint-b"];
    assert_eq!(chains(&world.host), left);
    let container = world.container(BRIDGE, "10.88.1.3");
    assert!(container.run(|| ask(GATEWAY, "a.", RecordType::A, Duration::from_secs(2))).is_some());
    assert_eq!(world.status().expect("a status").heals, 1);
    assert_eq!(chains(&world.host), left);
}

#[test]
fn a_file_that_the_kernel_refuses_is_left_out_and_told_and_the_others_come_back() {
    let Some(world) = prepared() else { return };
    let mut refused = with_rules("refused", "10.88.1.12");
    // A deletion of what is not there.
    refused.rules = chain("nobody");
    refused.rules[4..6].copy_from_slice(&0x0a05u16.to_ne_bytes());
    world.folder.write_endpoint(&refused).expect("written");
    let mut damaged = with_rules("damaged", "10.88.1.13");
    damaged.rules = vec![0xff; 30];
    world.folder.write_endpoint(&damaged).expect("written");
    let _netd = world.netd();
    until("the others are there", || chains(&world.host) == ALL);
    until("it is told", || world.status().is_some_and(|status| status.left_out.len() == 2));
    let left_out = world.status().expect("a status").left_out;
    assert!(
        left_out[0].starts_with("endpoints/damaged: ") && left_out[1].starts_with("endpoints/refused: "),
        "{left_out:?}"
    );
}

#[test]
fn a_thousand_endpoints_come_back_while_names_are_answered() {
    let Some(world) = prepared() else { return };
    for number in 0..1000u32 {
        let address = format!("10.88.{}.{}", 2 + number / 250, 1 + number % 250);
        world.folder.write_endpoint(&with_rules(&format!("many-{number}"), &address)).expect("written");
    }
    let container = world.container(BRIDGE, "10.88.1.3");
    let _netd = world.netd();
    until("they are there", || chains(&world.host).len() == 1005);
    for round in 0..5 {
        world.host.command("nft flush ruleset");
        assert!(
            container.run(|| ask(GATEWAY, "a.", RecordType::A, Duration::from_secs(2))).is_some(),
            "round {round}"
        );
        until("they are back", || chains(&world.host).len() == 1005);
    }
}
