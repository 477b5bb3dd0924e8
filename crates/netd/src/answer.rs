//! Writing an answer into a buffer that is used again and again. Owner names point at the question, so an address costs
//! 16 or 28 bytes; what does not fit is left out and the answer says that it is truncated (RFC 2181 section 9).
//!
//! The time to live is 0: a name is gone when its container is, and nobody may remember it.

use std::net::IpAddr;

use crate::question::{CLASS_IN, FLAG_RESPONSE, HEADER_BYTES, Outcome, Question, kind};

/// Bytes of an answer over UDP to who says nothing of sizes (RFC 1035 section 4.2.1).
pub(crate) const UDP_BYTES_MIN: usize = 512;
/// Bytes of an answer over UDP at the most: no network cuts it to pieces (the figure of DNS flag day 2020).
pub(crate) const UDP_BYTES_MAX: usize = 1232;
/// Bytes of a message over TCP at the most.
pub(crate) const TCP_BYTES_MAX: usize = 65_535;

const FLAG_AUTHORITATIVE: u16 = 0x0400;
const FLAG_TRUNCATED: u16 = 0x0200;
const FLAG_RECURSION_AVAILABLE: u16 = 0x0080;
/// What is taken over from the query: that recursion is desired, and that checking is disabled.
const FLAGS_KEPT: u16 = 0x0110;
const OPT_BYTES: usize = 11;
/// A pointer to the question's name.
const POINTER: [u8; 2] = [0xc0, 0x0c];

/// An answer that is being written.
#[derive(Debug)]
pub(crate) struct Answer<'b> {
    out: &'b mut Vec<u8>,
    limit: usize,
    flags: u16,
    count: u16,
    outcome: Outcome,
    edns: bool,
}

impl<'b> Answer<'b> {
    /// Begins the answer to `question`, which `packet` holds.
    pub(crate) fn new(
        out: &'b mut Vec<u8>,
        packet: &[u8],
        question: &Question,
        outcome: Outcome,
        limit: usize,
    ) -> Self {
        out.clear();
        out.extend_from_slice(&packet[..question.end]);
        let edns = question.edns.is_some();
        let flags = FLAG_RESPONSE | FLAG_RECURSION_AVAILABLE | question.flags & FLAGS_KEPT;
        Self { out, limit: limit - if edns { OPT_BYTES } else { 0 }, flags, count: 0, outcome, edns }
    }

    /// Says that the answer is netd's own to give.
    pub(crate) fn authoritative(&mut self) {
        self.flags |= FLAG_AUTHORITATIVE;
    }

    /// Adds an address; false, and truncated, where it does not fit.
    pub(crate) fn address(&mut self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => self.record(kind::A, &[&address.octets()]),
            IpAddr::V6(address) => self.record(kind::AAAA, &[&address.octets()]),
        }
    }

    /// Adds a name that an address belongs to; the labels are without the root.
    pub(crate) fn pointer(&mut self, labels: &[&[u8]]) -> bool {
        let mut data: Vec<&[u8]> = labels.to_vec();
        data.push(&[0]);
        self.record(kind::PTR, &data)
    }

    /// Adds a service's place (RFC 2782); equal priorities and weights.
    pub(crate) fn service(&mut self, port: u16, labels: &[&[u8]]) -> bool {
        let [high, low] = port.to_be_bytes();
        let numbers = [0, 0, 0, 1, high, low];
        let mut data: Vec<&[u8]> = vec![&numbers];
        data.extend_from_slice(labels);
        data.push(&[0]);
        self.record(kind::SRV, &data)
    }

    fn record(&mut self, kind: u16, data: &[&[u8]]) -> bool {
        let length: usize = data.iter().map(|piece| piece.len()).sum();
        if self.out.len() + POINTER.len() + 10 + length > self.limit {
            self.flags |= FLAG_TRUNCATED;
            return false;
        }
        self.out.extend_from_slice(&POINTER);
        self.out.extend_from_slice(&kind.to_be_bytes());
        self.out.extend_from_slice(&CLASS_IN.to_be_bytes());
        self.out.extend_from_slice(&[0; 4]);
        self.out.extend_from_slice(&u16::try_from(length).expect("a few names").to_be_bytes());
        for piece in data {
            self.out.extend_from_slice(piece);
        }
        self.count += 1;
        true
    }

    /// Writes what comes last: the OPT record, and the header over the query's own.
    pub(crate) fn finish(self) {
        let code = self.outcome.code();
        if self.edns {
            let [size_high, size_low] = u16::try_from(UDP_BYTES_MAX).expect("a small number").to_be_bytes();
            let extended = u8::try_from(code >> 4).expect("12 bits");
            let [kind_high, kind_low] = kind::OPT.to_be_bytes();
            self.out
                .extend_from_slice(&[0, kind_high, kind_low, size_high, size_low, extended, 0, 0, 0, 0, 0]);
        }
        write_header(self.out, self.flags | code & 0xf, self.count, u16::from(self.edns));
    }
}

/// An answer that says nothing but why there is none, to a query that could not be read.
pub(crate) fn unreadable(out: &mut Vec<u8>, packet: &[u8], outcome: Outcome) {
    out.clear();
    out.extend_from_slice(&packet[..HEADER_BYTES]);
    let asked = u16::from_be_bytes([packet[2], packet[3]]);
    out[4..].fill(0);
    let flags = FLAG_RESPONSE | asked & 0x7900 | outcome.code() & 0xf;
    out[2..4].copy_from_slice(&flags.to_be_bytes());
}

fn write_header(out: &mut [u8], flags: u16, answers: u16, additionals: u16) {
    out[2..4].copy_from_slice(&flags.to_be_bytes());
    out[4..6].copy_from_slice(&1u16.to_be_bytes());
    out[6..8].copy_from_slice(&answers.to_be_bytes());
    out[8..10].fill(0);
    out[10..12].copy_from_slice(&additionals.to_be_bytes());
}

/// An answer that repeats the question and says nothing but why there is no more.
pub(crate) fn failure(out: &mut Vec<u8>, packet: &[u8], question_end: usize, outcome: Outcome) {
    out.clear();
    out.extend_from_slice(&packet[..question_end]);
    let asked = u16::from_be_bytes([packet[2], packet[3]]);
    let flags = FLAG_RESPONSE | FLAG_RECURSION_AVAILABLE | asked & FLAGS_KEPT;
    write_header(out, flags | outcome.code() & 0xf, 0, 0);
}
