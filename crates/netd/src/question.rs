//! What a packet asks. The one place where netd reads bytes that a container made: each is looked at once, from front to
//! back, and nothing is followed (a compression pointer in a question is refused, RFC 9267 section 2).
//!
//! Only the header, the single question and the OPT record (RFC 6891) matter; a query that is forwarded goes on as the
//! bytes it is.

/// Bytes of a message's header.
pub(crate) const HEADER_BYTES: usize = 12;
/// Bytes of a name as it travels, with its root (RFC 1035 section 2.3.4).
const WIRE_NAME_BYTES_MAX: usize = 255;
/// Records beside the question that a query may have.
const RECORDS_MAX: u16 = 8;
/// The bit of the second header word that says "answer".
pub(crate) const FLAG_RESPONSE: u16 = 0x8000;
const OPCODE_MASK: u16 = 0x7800;

/// Types of records (RFC 1035 section 3.2.2 and later).
pub(crate) mod kind {
    pub(crate) const A: u16 = 1;
    pub(crate) const PTR: u16 = 12;
    pub(crate) const AAAA: u16 = 28;
    pub(crate) const SRV: u16 = 33;
    pub(crate) const OPT: u16 = 41;
    pub(crate) const IXFR: u16 = 251;
    pub(crate) const AXFR: u16 = 252;
    pub(crate) const ANY: u16 = 255;
}

/// The class of the Internet.
pub(crate) const CLASS_IN: u16 = 1;

/// What an answer's header says of its success.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    NoError,
    FormatError,
    ServerFailure,
    NoSuchName,
    NotImplemented,
    Refused,
    /// A version of EDNS that is not known (RFC 6891 section 6.1.3); half of it stands in the OPT record.
    BadVersion,
}

impl Outcome {
    /// The twelve bits of it.
    pub(crate) fn code(self) -> u16 {
        match self {
            Self::NoError => 0,
            Self::FormatError => 1,
            Self::ServerFailure => 2,
            Self::NoSuchName => 3,
            Self::NotImplemented => 4,
            Self::Refused => 5,
            Self::BadVersion => 16,
        }
    }
}

/// A name in lower case, as labels with their lengths, without the root.
#[derive(Clone, Copy)]
pub(crate) struct WireName {
    bytes: [u8; WIRE_NAME_BYTES_MAX],
    length: usize,
}

impl WireName {
    /// The bytes: a length, so many bytes of a label, and so on.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl std::fmt::Debug for WireName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("WireName").field(&String::from_utf8_lossy(self.as_bytes())).finish()
    }
}

/// A query with one question.
#[derive(Debug, Clone)]
pub(crate) struct Question {
    /// The second word of its header.
    pub(crate) flags: u16,
    /// The name.
    pub(crate) name: WireName,
    /// The type of record.
    pub(crate) kind: u16,
    /// The class.
    pub(crate) class: u16,
    /// Where the question ends in the packet.
    pub(crate) end: usize,
    /// The asker's OPT record.
    pub(crate) edns: Option<Edns>,
}

/// What an OPT record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Edns {
    /// The size of answers over UDP that the asker takes.
    pub(crate) payload_bytes: u16,
    /// The version; 0 is the only one.
    pub(crate) version: u8,
}

/// Why there is no question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoQuestion {
    /// It is no query: too short, or an answer. To answer it could make two servers answer each other for ever.
    Silence,
    /// It is a query that cannot be answered, and that is to be said.
    Say(Outcome),
}

/// Reads a packet.
pub(crate) fn parse(packet: &[u8]) -> Result<Question, NoQuestion> {
    const MALFORMED: NoQuestion = NoQuestion::Say(Outcome::FormatError);
    if packet.len() < HEADER_BYTES {
        return Err(NoQuestion::Silence);
    }
    let word = |at: usize| u16_at(packet, at).unwrap_or(0);
    let flags = word(2);
    if flags & FLAG_RESPONSE != 0 {
        return Err(NoQuestion::Silence);
    }
    if flags & OPCODE_MASK != 0 {
        return Err(NoQuestion::Say(Outcome::NotImplemented));
    }
    let (questions, answers, authorities, additionals) = (word(4), word(6), word(8), word(10));
    if questions != 1 || answers != 0 || authorities.saturating_add(additionals) > RECORDS_MAX {
        return Err(MALFORMED);
    }
    let (name, end) = read_name(packet, HEADER_BYTES).ok_or(MALFORMED)?;
    let kind = u16_at(packet, end).ok_or(MALFORMED)?;
    let class = u16_at(packet, end + 2).ok_or(MALFORMED)?;
    let end = end + 4;
    let edns = read_edns(packet, end, authorities + additionals).ok_or(MALFORMED)?;
    Ok(Question { flags, name, kind, class, end, edns })
}

/// The name at `at`, and where it ends.
fn read_name(packet: &[u8], at: usize) -> Option<(WireName, usize)> {
    let mut name = WireName { bytes: [0; WIRE_NAME_BYTES_MAX], length: 0 };
    let mut at = at;
    loop {
        let length = usize::from(*packet.get(at)?);
        if length == 0 {
            return Some((name, at + 1));
        }
        // The root needs the last byte.
        if length > 63 || name.length + 1 + length >= WIRE_NAME_BYTES_MAX {
            return None;
        }
        let label = packet.get(at + 1..at + 1 + length)?;
        let place = &mut name.bytes[name.length..=name.length + length];
        place[0] = packet[at];
        place[1..].copy_from_slice(label);
        place[1..].make_ascii_lowercase();
        name.length += 1 + length;
        at += 1 + length;
    }
}

/// The first OPT among `count` records at `at`. Outside is `None` where they are malformed.
#[expect(clippy::option_option, reason = "malformed and absent are two things, and this is private")]
fn read_edns(packet: &[u8], at: usize, count: u16) -> Option<Option<Edns>> {
    let mut at = at;
    for _ in 0..count {
        at = skip_name(packet, at)?;
        let kind = u16_at(packet, at)?;
        if kind == kind::OPT {
            let payload_bytes = u16_at(packet, at + 2)?;
            // The extended outcome comes first, then the version.
            let version = *packet.get(at + 5)?;
            return Some(Some(Edns { payload_bytes, version }));
        }
        let length = usize::from(u16_at(packet, at + 8)?);
        at = at + 10 + length;
        packet.get(..at)?;
    }
    Some(None)
}

/// Where the name at `at` ends; a pointer ends it and is not followed.
fn skip_name(packet: &[u8], at: usize) -> Option<usize> {
    let mut at = at;
    loop {
        match *packet.get(at)? {
            0 => return Some(at + 1),
            length @ 1..=63 => at += 1 + usize::from(length),
            0xc0..=0xff => return Some(at + 2),
            64..=0xbf => return None,
        }
    }
}

/// The number at `at`, in the network's order.
pub(crate) fn u16_at(packet: &[u8], at: usize) -> Option<u16> {
    let bytes = packet.get(at..at + 2)?;
    Some(u16::from_be_bytes([bytes[0], bytes[1]]))
}

/// A name's text as labels in lower case, without the root. `None` where it is no name.
pub(crate) fn to_wire(text: &str) -> Option<Box<[u8]>> {
    if !gantry_network::netd::is_name(text) {
        return None;
    }
    let mut bytes = Vec::with_capacity(text.len() + 1);
    for label in text.split('.') {
        bytes.push(u8::try_from(label.len()).ok()?);
        bytes.extend(label.bytes().map(|byte| byte.to_ascii_lowercase()));
    }
    Some(bytes.into_boxed_slice())
}

#[cfg(test)]
mod tests {
    use std::str::FromStr as _;

    use hickory_proto::op::{Edns as OracleEdns, Message, MessageType, OpCode, Query};
    use hickory_proto::rr::{Name, RecordType};
    use proptest::prelude::*;

    use super::*;

    fn query(name: &str, kind: RecordType, payload: Option<u16>) -> Vec<u8> {
        let mut message = Message::new(7, MessageType::Query, OpCode::Query);
        message.add_query(Query::query(Name::from_str(name).expect("a name"), kind));
        if let Some(payload) = payload {
            let mut edns = OracleEdns::new();
            edns.set_max_payload(payload);
            message.set_edns(edns);
        }
        message.to_vec().expect("encoded")
    }

    #[test]
    fn a_query_is_read_as_the_oracle_wrote_it() {
        let packet = query("WeB.Front.", RecordType::AAAA, Some(1400));
        let question = parse(&packet).expect("a question");
        assert_eq!(question.name.as_bytes(), b"\x03web\x05front");
        assert_eq!((question.kind, question.class), (kind::AAAA, CLASS_IN));
        assert_eq!(question.edns, Some(Edns { payload_bytes: 1400, version: 0 }));
        assert_eq!(question.name.as_bytes(), &*to_wire("web.FRONT").expect("a name"));
    }

    #[test]
    fn an_answer_is_met_with_silence_and_rubbish_with_a_format_error() {
        let mut packet = query("web.", RecordType::A, None);
        packet[2] |= 0x80;
        assert_eq!(parse(&packet).expect_err("an answer"), NoQuestion::Silence);
        assert_eq!(parse(&packet[..11]).expect_err("short"), NoQuestion::Silence);
        packet[2] &= 0x7f;
        let malformed = NoQuestion::Say(Outcome::FormatError);
        assert_eq!(parse(&packet[..packet.len() - 1]).expect_err("cut"), malformed);
        // A pointer to itself where a label should be.
        packet[12] = 0xc0;
        packet[13] = 12;
        assert_eq!(parse(&packet).expect_err("a loop"), malformed);
        packet[2] = 0x28;
        assert_eq!(parse(&packet).expect_err("an update"), NoQuestion::Say(Outcome::NotImplemented));
    }

    #[test]
    fn a_name_of_255_bytes_is_read_and_one_more_is_refused() {
        let longest = format!("{}.{}.{}.{}.", "a".repeat(63), "b".repeat(63), "c".repeat(63), "d".repeat(61));
        let packet = query(&longest, RecordType::A, None);
        assert_eq!(parse(&packet).expect("a question").name.as_bytes().len(), 254);
        let mut packet = vec![0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in [63, 63, 63, 62] {
            packet.push(label);
            packet.resize(packet.len() + usize::from(label), b'x');
        }
        packet.extend([0, 0, 1, 0, 1]);
        assert_eq!(parse(&packet).expect_err("too long"), NoQuestion::Say(Outcome::FormatError));
    }

    proptest! {
        #[test]
        fn no_packet_makes_it_panic_and_what_it_reads_lies_within(packet in prop::collection::vec(any::<u8>(), 0..600)) {
            if let Ok(question) = parse(&packet) {
                prop_assert!(question.end <= packet.len());
                prop_assert!(question.name.as_bytes().len() <= 254);
            }
        }

        #[test]
        fn a_damaged_query_is_read_or_refused(at in 0usize..80, byte: u8, cut in 0usize..90) {
            let mut packet = query("some.longer.name.example.", RecordType::SRV, Some(4096));
            let length = packet.len();
            packet[at % length] = byte;
            packet.truncate(length.saturating_sub(cut).max(1));
            if let Ok(question) = parse(&packet) {
                prop_assert!(question.end <= packet.len());
            }
        }

        #[test]
        fn whatever_the_oracle_writes_is_read_alike(labels in prop::collection::vec("[a-zA-Z0-9_]{1,20}", 1..6), payload: Option<u16>) {
            let text = labels.join(".");
            let packet = query(&format!("{text}."), RecordType::A, payload);
            let question = parse(&packet).expect("a question");
            let wire = to_wire(&text);
            prop_assert_eq!(Some(question.name.as_bytes()), wire.as_deref());
        }
    }
}
