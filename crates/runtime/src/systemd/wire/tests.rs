//! Messages against the bytes of the D-Bus Specification's rules, and damaged ones.

use super::*;

const TARGET: Target = Target { destination: "d.d", path: "/p", interface: "i.i" };

/// A message as a peer would write it: a kind, its fields and its body.
fn message(kind: u8, fields: &[(u8, &str, &str)], reply_to: u32, body: &Writer) -> Vec<u8> {
    let mut bytes = Writer { bytes: vec![b'l', kind, 0, 1] };
    bytes.number(length(body.bytes.len()));
    bytes.number(9);
    bytes.array(8, |list| {
        for (code, signature, text) in fields {
            list.align(8);
            list.bytes.push(*code);
            list.signature(signature);
            if *signature == "g" { list.signature(text) } else { list.text(text) }
        }
        list.align(8);
        list.bytes.push(5);
        list.signature("u");
        list.number(reply_to);
    });
    bytes.align(8);
    bytes.bytes.extend(&body.bytes);
    bytes.bytes
}

fn removed() -> Vec<u8> {
    let mut body = Writer::default();
    body.number(7);
    body.text("/job/7");
    body.text("c1.scope");
    body.text("done");
    message(4, &[(1, "o", "/p"), (3, "s", "JobRemoved"), (8, "g", "uoss")], 3, &body)
}

#[test]
fn a_call_is_laid_out_as_the_specification_says() {
    let mut body = Writer::default();
    body.text("ab");
    let bytes = call(TARGET, "M", "s", &body, 258);
    assert_eq!(bytes[..16], [b'l', 1, 0, 1, 7, 0, 0, 0, 2, 1, 0, 0, 71, 0, 0, 0]);
    // The path: code, its signature, its length at a multiple of four, its bytes and a zero.
    assert_eq!(bytes[16..27], [1, 1, b'o', 0, 2, 0, 0, 0, b'/', b'p', 0]);
    assert_eq!(bytes[80..84], [8, 1, b'g', 0], "the fifth field is at a multiple of eight");
    assert_eq!(bytes[bytes.len() - 7..], [2, 0, 0, 0, b'a', b'b', 0]);
    assert_eq!(bytes.len() - 7, 88, "the body is at a multiple of eight");
    assert_eq!(total(bytes.first_chunk().expect("a prefix")).expect("fits"), bytes.len());
}

#[test]
fn properties_are_padded_to_eight_and_the_padding_is_not_counted() {
    let mut body = Writer::default();
    body.array(8, |list| {
        list.align(8);
        list.text("A");
        list.variant(&Value::Number(5));
        list.align(8);
        list.text("B");
        list.variant(&Value::Numbers(vec![6]));
    });
    let first = [1, 0, 0, 0, b'A', 0, 1, b't', 0, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0];
    let second = [1, 0, 0, 0, b'B', 0, 2, b'a', b'u', 0, 0, 0, 4, 0, 0, 0, 6, 0, 0, 0];
    assert_eq!(body.bytes[..8], [44, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(body.bytes[8..32], first);
    assert_eq!(body.bytes[32..], second);
}

#[test]
fn a_signal_and_an_error_are_read() {
    let signal = decode(&removed()).expect("a message");
    assert_eq!((signal.kind, signal.member.as_str()), (Kind::Signal, "JobRemoved"));
    assert_eq!(signal.texts().expect("texts"), ["/job/7", "c1.scope", "done"]);
    let mut body = Writer::default();
    body.text("no such thing");
    let error = decode(&message(3, &[(4, "s", "a.b.No"), (8, "g", "s")], 3, &body)).expect("a message");
    assert_eq!((error.kind, error.reply_to, error.error.as_str()), (Kind::Error, Some(3), "a.b.No"));
    assert_eq!(error.texts().expect("texts"), ["no such thing"]);
}

#[test]
fn a_damaged_message_is_refused_and_never_a_panic() {
    let good = removed();
    for cut in 0..good.len() {
        assert!(decode(&good[..cut]).is_err(), "cut at {cut}");
    }
    for at in 0..good.len() {
        for value in [0, 1, 0x7f, 0xff] {
            let mut bytes = good.clone();
            bytes[at] = value;
            if let Ok(message) = decode(&bytes) {
                let _ = message.texts();
            }
        }
    }
    let mut huge = good;
    huge[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(total(huge.first_chunk().expect("a prefix")).is_err());
}
