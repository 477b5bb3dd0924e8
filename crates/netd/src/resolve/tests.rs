//! What is answered, read by the oracle.

use std::net::IpAddr;

use gantry_network::netd::{Endpoint, Network, Port};
use gantry_types::Protocol;
use hickory_proto::op::{DnsResponse, Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use proptest::prelude::*;

use super::*;
use crate::answer::UDP_BYTES_MIN;

fn network(id: &str, name: &str, subnet: &str, internal: bool) -> Network {
    Network {
        id: id.to_owned(),
        name: name.to_owned(),
        bridge: "gbr0".to_owned(),
        gateways: vec![],
        subnets: vec![subnet.parse().expect("a subnet"), "fd00::/64".parse().expect("a subnet")],
        internal,
        dns: true,
        rules: vec![],
    }
}

fn endpoint(id: &str, network: &str, container: &str, address: &str, names: &[&str]) -> Endpoint {
    Endpoint {
        id: id.to_owned(),
        network: network.to_owned(),
        container: container.to_owned(),
        addresses: vec![address.parse().expect("an address")],
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        ports: vec![Port { name: "http".to_owned(), protocol: Protocol::Tcp, number: 80 }],
        dns_servers: vec![],
        rules: vec![],
    }
}

/// Two networks and an internal one: `web` is on both of the first, `db` on the second, `vault` on the internal one.
fn zone() -> Zone {
    let mut zone = Zone::default();
    zone.put_network(&network("n1", "front", "10.0.1.0/24", false));
    // Before its network.
    zone.put_endpoint(&endpoint("e2", "n2", "web-id", "10.0.2.2", &["web"]));
    zone.put_network(&network("n2", "back", "10.0.2.0/24", false));
    zone.put_network(&network("n3", "inside", "10.0.3.0/24", true));
    zone.put_endpoint(&endpoint("e1", "n1", "web-id", "10.0.1.2", &["web", "WWW", "not a name", "web-id"]));
    zone.put_endpoint(&endpoint("e3", "n2", "db-id", "10.0.2.3", &["db", "example.org"]));
    zone.put_endpoint(&endpoint("e4", "n1", "lone-id", "10.0.1.4", &["lone"]));
    zone.put_endpoint(&endpoint("e5", "n3", "vault-id", "10.0.3.2", &["vault"]));
    zone
}

fn query(name: &str, kind: RecordType, payload: Option<u16>) -> Vec<u8> {
    let mut message = Message::new(77, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).expect("a name"), kind));
    if let Some(payload) = payload {
        let mut edns = Edns::new();
        edns.set_max_payload(payload);
        message.set_edns(edns);
    }
    message.to_vec().expect("encoded")
}

fn ask_as(zone: &Zone, network: &str, source: &str, packet: &[u8]) -> Result<Message, Decision> {
    let mut out = Vec::new();
    let source: IpAddr = source.parse().expect("an address");
    match decide(zone, network, source, Transport::Udp, packet, 0, &mut out) {
        Decision::Answer => {
            Ok(DnsResponse::from_buffer(out).expect("an answer that the oracle reads").into_message())
        }
        other @ (Decision::Silence | Decision::Forward(_)) => Err(other),
    }
}

fn addresses(message: &Message) -> Vec<String> {
    message.answers.iter().map(|record| record.data.to_string()).collect()
}

#[test]
fn names_of_all_networks_of_the_asker_resolve_and_no_others() {
    let zone = zone();
    let ask = |network, source, name| ask_as(&zone, network, source, &query(name, RecordType::A, None));
    let answer = ask("n1", "10.0.1.2", "lone.").expect("on the same network");
    assert_eq!(addresses(&answer), ["10.0.1.4"]);
    assert!(answer.metadata.authoritative && answer.metadata.recursion_desired);
    assert_eq!((answer.metadata.id, answer.answers[0].ttl), (77, 0));
    assert_eq!(addresses(&ask("n1", "10.0.1.2", "db.").expect("on its other network")), ["10.0.2.3"]);
    assert!(matches!(ask("n1", "10.0.1.4", "db."), Err(Decision::Forward(_))));
    assert!(matches!(ask("n1", "10.0.1.4", "vault."), Err(Decision::Forward(_))));
    assert_eq!(ask("n1", "10.0.2.2", "web.").expect_err("from outside the subnet"), Decision::Silence);
    assert_eq!(ask("n9", "10.0.1.2", "web.").expect_err("no such network"), Decision::Silence);
}

#[test]
fn the_network_that_the_question_came_through_answers_first() {
    let zone = zone();
    let packet = query("web.", RecordType::A, None);
    assert_eq!(addresses(&ask_as(&zone, "n1", "10.0.1.2", &packet).expect("answered")), ["10.0.1.2"]);
    assert_eq!(addresses(&ask_as(&zone, "n2", "10.0.2.2", &packet).expect("answered")), ["10.0.2.2"]);
    let packet = query("web.back.", RecordType::A, None);
    assert_eq!(addresses(&ask_as(&zone, "n1", "10.0.1.2", &packet).expect("answered")), ["10.0.2.2"]);
}

#[test]
fn case_does_not_matter_and_a_name_that_is_none_is_not_served() {
    let zone = zone();
    for name in ["www.", "wWw.FRONT.", "WEB-ID."] {
        let answer = ask_as(&zone, "n1", "10.0.1.4", &query(name, RecordType::A, None)).expect("answered");
        assert_eq!(addresses(&answer), ["10.0.1.2"], "{name}");
        assert_eq!(answer.queries[0].name().to_ascii(), name, "the question is repeated as it was asked");
    }
    let mut packet = query("notXaXname.", RecordType::A, None);
    packet.iter_mut().filter(|byte| **byte == b'X').for_each(|byte| *byte = b' ');
    assert!(matches!(ask_as(&zone, "n1", "10.0.1.4", &packet), Err(Decision::Forward(_))));
}

#[test]
fn a_name_without_an_address_of_that_family_exists_nevertheless() {
    let mut zone = zone();
    for kind in [RecordType::AAAA, RecordType::MX, RecordType::HTTPS] {
        let answer = ask_as(&zone, "n1", "10.0.1.2", &query("lone.", kind, None)).expect("answered");
        assert_eq!(answer.metadata.response_code, ResponseCode::NoError);
        assert!(answer.answers.is_empty(), "{kind}");
    }
    let mut dual = endpoint("e4", "n1", "lone-id", "10.0.1.4", &["lone"]);
    dual.addresses.push("fd00::4".parse().expect("an address"));
    zone.put_endpoint(&dual);
    let answer = ask_as(&zone, "n1", "10.0.1.2", &query("lone.", RecordType::AAAA, None)).expect("answered");
    assert_eq!(addresses(&answer), ["fd00::4"]);
    let answer = ask_as(&zone, "n1", "10.0.1.2", &query("lone.", RecordType::ANY, None)).expect("answered");
    assert_eq!(addresses(&answer), ["10.0.1.4", "fd00::4"]);
}

#[test]
fn own_names_come_before_real_domains_for_who_sees_them() {
    let zone = zone();
    let packet = query("example.org.", RecordType::A, None);
    assert_eq!(addresses(&ask_as(&zone, "n2", "10.0.2.2", &packet).expect("answered")), ["10.0.2.3"]);
    assert!(matches!(ask_as(&zone, "n1", "10.0.1.4", &packet), Err(Decision::Forward(_))));
}

#[test]
fn a_service_of_several_containers_is_answered_with_all_each_first_in_turn() {
    let mut zone = zone();
    for number in 10..13 {
        let (id, address) = (format!("s{number}"), format!("10.0.1.{number}"));
        zone.put_endpoint(&endpoint(&id, "n1", &id, &address, &[&id, "service"]));
    }
    let packet = query("service.", RecordType::A, None);
    let mut first = Vec::new();
    for turn in 0..3 {
        let mut out = Vec::new();
        let source = "10.0.1.2".parse().expect("an address");
        decide(&zone, "n1", source, Transport::Udp, &packet, turn, &mut out);
        let answer = DnsResponse::from_buffer(out).expect("an answer").into_message();
        let mut all = addresses(&answer);
        first.push(all[0].clone());
        all.sort();
        assert_eq!(all, ["10.0.1.10", "10.0.1.11", "10.0.1.12"]);
    }
    assert_eq!(first, ["10.0.1.10", "10.0.1.11", "10.0.1.12"]);
}

#[test]
fn what_does_not_fit_is_truncated_and_says_so_and_tcp_has_it_whole() {
    let mut zone = zone();
    for number in 20..120 {
        let (id, address) = (format!("s{number}"), format!("10.0.1.{number}"));
        zone.put_endpoint(&endpoint(&id, "n1", &id, &address, &["many"]));
    }
    let source: IpAddr = "10.0.1.2".parse().expect("an address");
    for (payload, transport, limit, truncated) in [
        (None, Transport::Udp, UDP_BYTES_MIN, true),
        (Some(0), Transport::Udp, UDP_BYTES_MIN, true),
        (Some(u16::MAX), Transport::Udp, UDP_BYTES_MAX, true),
        (None, Transport::Tcp, TCP_BYTES_MAX, false),
    ] {
        let mut out = Vec::new();
        decide(&zone, "n1", source, transport, &query("many.", RecordType::A, payload), 0, &mut out);
        assert!(out.len() <= limit);
        let answer = DnsResponse::from_buffer(out).expect("an answer").into_message();
        assert_eq!(answer.metadata.truncation, truncated);
        assert_eq!(answer.answers.len() == 100, !truncated);
        assert_eq!(answer.edns.is_some(), payload.is_some());
    }
}

#[test]
fn a_reverse_look_up_says_name_and_network_and_nothing_of_ours_is_asked_elsewhere() {
    let zone = zone();
    let ask = |name| ask_as(&zone, "n1", "10.0.1.2", &query(name, RecordType::PTR, None));
    let target = |answer: &Message| answer.answers[0].data.to_string();
    assert_eq!(target(&ask("4.1.0.10.in-addr.arpa.").expect("answered")), "lone.front.");
    assert_eq!(target(&ask("3.2.0.10.in-addr.arpa.").expect("answered")), "db.back.");
    let nobody = ask("99.1.0.10.in-addr.arpa.").expect("answered");
    assert_eq!(nobody.metadata.response_code, ResponseCode::NXDomain);
    for elsewhere in
        ["2.3.0.10.in-addr.arpa.", "1.2.0.192.in-addr.arpa.", "x.1.0.10.in-addr.arpa.", "0.10.in-addr.arpa."]
    {
        assert!(matches!(ask(elsewhere), Err(Decision::Forward(_))), "{elsewhere}");
    }
    let v6 = Name::from("fd00::4".parse::<IpAddr>().expect("an address")).to_ascii();
    let nobody = ask(&v6).expect("answered");
    assert_eq!(nobody.metadata.response_code, ResponseCode::NXDomain);
}

#[test]
fn a_service_record_names_port_and_container() {
    let zone = zone();
    let ask = |name| ask_as(&zone, "n1", "10.0.1.4", &query(name, RecordType::SRV, None));
    for name in ["_http._tcp.web.", "_80._tcp.web.front.", "_HTTP._TCP.www."] {
        let answer = ask(name).expect("answered");
        assert_eq!(answer.answers[0].data.to_string(), "0 1 80 web.front.", "{name}");
    }
    let none = ask("_http._udp.web.").expect("answered");
    assert_eq!(none.metadata.response_code, ResponseCode::NXDomain);
    assert!(matches!(ask("_http._tcp.db."), Err(Decision::Forward(_))));
}

#[test]
fn a_container_on_internal_networks_alone_asks_nobody_else() {
    let mut zone = zone();
    let packet = query("leak.example.com.", RecordType::TXT, Some(1232));
    let answer = ask_as(&zone, "n3", "10.0.3.2", &packet).expect("answered");
    assert_eq!(answer.metadata.response_code, ResponseCode::NXDomain);
    // An address that nobody has, on the internal network.
    assert!(ask_as(&zone, "n3", "10.0.3.77", &packet).is_ok());
    // With a leg outside it could ask there itself.
    zone.put_endpoint(&endpoint("e6", "n1", "vault-id", "10.0.1.6", &["vault"]));
    assert!(matches!(ask_as(&zone, "n3", "10.0.3.2", &packet), Err(Decision::Forward(_))));
    zone.remove_endpoint("e6");
    assert!(ask_as(&zone, "n3", "10.0.3.2", &packet).is_ok());
}

#[test]
fn a_name_dies_with_its_endpoint_and_an_address_goes_over_to_who_has_it_now() {
    let mut zone = zone();
    let web = query("lone.", RecordType::A, None);
    zone.put_endpoint(&endpoint("e7", "n1", "other-id", "10.0.1.4", &["heir"]));
    zone.remove_endpoint("e4");
    assert!(matches!(ask_as(&zone, "n1", "10.0.1.2", &web), Err(Decision::Forward(_))));
    let reverse = query("4.1.0.10.in-addr.arpa.", RecordType::PTR, None);
    let answer = ask_as(&zone, "n1", "10.0.1.2", &reverse).expect("answered");
    assert_eq!(answer.answers[0].data.to_string(), "heir.front.");
    zone.remove_network("n1");
    assert_eq!(ask_as(&zone, "n1", "10.0.1.2", &reverse).expect_err("no network"), Decision::Silence);
    for id in ["e1", "e2", "e3", "e5", "e7"] {
        zone.remove_endpoint(id);
    }
    assert_eq!(zone.endpoint_ids().count(), 0);
}

#[test]
fn other_classes_and_transfers_are_refused_and_another_version_of_edns_too() {
    let zone = zone();
    let ask =
        |packet: &[u8]| ask_as(&zone, "n1", "10.0.1.2", packet).expect("answered").metadata.response_code;
    let mut chaos = query("version.bind.", RecordType::TXT, None);
    let last = chaos.len() - 1;
    chaos[last] = 3;
    assert_eq!(ask(&chaos), ResponseCode::Refused);
    assert_eq!(ask(&query("front.", RecordType::AXFR, None)), ResponseCode::Refused);
    let mut versioned = query("web.", RecordType::A, Some(1232));
    let version = versioned.len() - 5;
    versioned[version] = 1;
    let answer = ask_as(&zone, "n1", "10.0.1.2", &versioned).expect("answered");
    assert_eq!(answer.edns.as_ref().map(Edns::rcode_high), Some(1));
}

#[test]
fn the_own_resolvers_of_a_container_go_with_its_question() {
    let mut zone = zone();
    let mut own = endpoint("e4", "n1", "lone-id", "10.0.1.4", &["lone"]);
    own.dns_servers = vec!["192.0.2.53:53".parse().expect("an address")];
    zone.put_endpoint(&own);
    let packet = query("example.com.", RecordType::A, None);
    let Err(Decision::Forward(forward)) = ask_as(&zone, "n1", "10.0.1.4", &packet) else {
        panic!("forwarded")
    };
    assert_eq!(*forward.servers, own.dns_servers[..]);
    assert_eq!(forward.question_end, packet.len());
}

proptest! {
    #[test]
    fn no_packet_makes_it_panic_and_every_answer_is_one_that_the_oracle_reads(
        packet in prop::collection::vec(any::<u8>(), 0..300),
        turn: usize,
    ) {
        let zone = zone();
        let mut out = Vec::new();
        let source = "10.0.1.2".parse().expect("an address");
        let decision = decide(&zone, "n1", source, Transport::Udp, &packet, turn, &mut out);
        if decision == Decision::Answer {
            prop_assert!(out.len() <= UDP_BYTES_MAX && out[2] & 0x80 != 0 && out[..2] == packet[..2]);
        }
    }

    #[test]
    fn a_damaged_query_is_answered_forwarded_or_passed_over(at in 0usize..60, byte: u8, turn: usize) {
        let zone = zone();
        let mut packet = query("_http._tcp.web.front.", RecordType::SRV, Some(900));
        let length = packet.len();
        packet[at % length] = byte;
        let mut out = Vec::new();
        let source = "10.0.1.2".parse().expect("an address");
        let decision = decide(&zone, "n1", source, Transport::Udp, &packet, turn, &mut out);
        if decision == Decision::Answer {
            prop_assert!(out.len() <= 900);
        }
    }
}
