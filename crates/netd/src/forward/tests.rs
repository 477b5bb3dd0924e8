//! What is believed to be an answer.

use super::*;

/// `a.` of type A, id 0x0102.
const QUERY: [u8; 19] = [1, 2, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, b'a', 0, 0, 1, 0, 1];

fn answer() -> Vec<u8> {
    let mut answer = QUERY.to_vec();
    answer[2] |= 0x80;
    answer
}

#[test]
fn only_an_answer_with_the_id_and_the_question_is_believed() {
    assert!(answers(&answer(), &QUERY, QUERY.len()));
    let mut upper = answer();
    upper[13] = b'A';
    assert!(answers(&upper, &QUERY, QUERY.len()), "some servers do not keep the case");
    assert!(!answers(&QUERY, &QUERY, QUERY.len()), "a query is no answer");
    for (at, byte) in [(0, 9), (1, 9), (5, 2), (13, b'b'), (16, 28), (18, 3)] {
        let mut other = answer();
        other[at] = byte;
        assert!(!answers(&other, &QUERY, QUERY.len()), "byte {at}");
    }
    for length in 0..QUERY.len() {
        assert!(!answers(&answer()[..length], &QUERY, QUERY.len()), "cut to {length}");
    }
}

#[test]
fn a_server_that_could_not_read_the_question_need_not_repeat_it() {
    let mut refusal = answer();
    refusal.truncate(12);
    refusal[5] = 0;
    assert!(!answers(&refusal, &QUERY, QUERY.len()), "success without a question is none");
    refusal[3] = 1;
    assert!(answers(&refusal, &QUERY, QUERY.len()));
}

#[test]
fn ids_differ() {
    let mut random = Random::default();
    let ids: std::collections::HashSet<_> = (0..1000).map(|_| random.id()).collect();
    assert!(ids.len() > 900, "{}", ids.len());
}

#[test]
fn without_a_server_the_asker_hears_of_the_failure_at_once_with_its_own_id() {
    let poller = Poller::new().expect("epoll");
    let mut forwards = Forwards::default();
    let client = Client::Datagram(Key { slot: 0, turn: 0 }, "127.0.0.1:9".parse().expect("an address"));
    let reply = forwards.start(client, &QUERY, QUERY.len(), [].into(), &poller, Instant::now());
    let (_, message) = reply.expect("a failure");
    assert_eq!(message[..2], QUERY[..2]);
    assert_eq!(message[3] & 0xf, 2);
    assert!(forwards.deadline().is_none());
}

#[test]
fn silent_servers_are_asked_one_after_the_other_and_then_it_is_given_up() {
    let poller = Poller::new().expect("epoll");
    let silent: Vec<_> = (0..2).map(|_| std::net::UdpSocket::bind("127.0.0.1:0").expect("bound")).collect();
    let servers: Rc<[SocketAddr]> = silent.iter().map(|socket| socket.local_addr().expect("bound")).collect();
    let mut forwards = Forwards::default();
    let client = Client::Datagram(Key { slot: 0, turn: 0 }, "127.0.0.1:9".parse().expect("an address"));
    let start = Instant::now();
    assert!(forwards.start(client, &QUERY, QUERY.len(), servers, &poller, start).is_none());
    let mut packet = [0; 64];
    let (length, from_first) = silent[0].recv_from(&mut packet).expect("asked");
    assert_eq!(packet[2..length], QUERY[2..]);
    assert!(forwards.expire(&poller, start).is_empty());
    assert!(forwards.expire(&poller, start + PATIENCE).is_empty());
    let mut second = [0; 64];
    let (_, from_second) = silent[1].recv_from(&mut second).expect("asked");
    assert_ne!((packet[..2].to_vec(), from_first.port()), (second[..2].to_vec(), from_second.port()));
    let replies = forwards.expire(&poller, start + 2 * PATIENCE);
    assert_eq!(replies.len(), 1);
    assert_eq!(replies[0].1[3] & 0xf, 2);
    assert!(forwards.askers.is_empty() && forwards.deadline().is_none());
}
