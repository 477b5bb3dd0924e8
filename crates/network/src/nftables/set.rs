//! Which sets and maps does the table have, and how are their elements written? Exact keys are hash tables, whose
//! lookup costs the same for one port and for ten thousand; intervals of one field are trees, whose lookup hardly
//! costs more. Intervals in a concatenation are the kernel's per-field tables, which every lookup walks from end to end (5,000
//! of them double a connection's cost): they are for what is rare, ranges at one address and SCTP's.

use super::TABLE;
use super::attribute::{Verb, Writer};
use super::expression::Verdict;
use crate::netlink::socket::CREATE;

/// A field of a key or of data: nft's number of its type (for whoever lists the table) and its bytes.
#[derive(Debug, Clone, Copy)]
struct Field {
    kind: u32,
    bytes: u32,
}

const ADDRESS4: Field = Field { kind: 7, bytes: 4 };
const ADDRESS6: Field = Field { kind: 8, bytes: 16 };
const PROTOCOL: Field = Field { kind: 12, bytes: 1 };
const PORT: Field = Field { kind: 13, bytes: 2 };
const LINK: Field = Field { kind: 41, bytes: 16 };

/// What a set has for its keys.
#[derive(Debug, Clone, Copy)]
enum Data {
    Nothing,
    Fields(&'static [Field]),
    Verdict,
}

/// A note for nft (NFTNL_UDATA_SET_KEYBYTEORDER, 4 bytes, 1): texts are in the machine's order. Without it
/// nft shows them empty; the kernel does not read it.
const TEXT_NOTE: [u8; 6] = {
    let [a, b, c, d] = 1_u32.to_ne_bytes();
    [0, 4, a, b, c, d]
};

/// A set or map of the table.
#[derive(Debug)]
pub(super) struct Set {
    pub(super) name: &'static str,
    key: &'static [Field],
    data: Data,
    interval: bool,
}

const fn set(name: &'static str, key: &'static [Field], data: Data, interval: bool) -> Set {
    Set { name, key, data, interval }
}

pub(super) const PUBLISHED4: Set =
    set("published4", &[PROTOCOL, PORT], Data::Fields(&[ADDRESS4, PORT]), false);
pub(super) const PUBLISHED4_AT: Set =
    set("published4_at", &[PROTOCOL, ADDRESS4, PORT], Data::Fields(&[ADDRESS4, PORT]), false);
pub(super) const RANGES4_TCP: Set = set("ranges4_tcp", &[PORT], Data::Fields(&[ADDRESS4]), true);
pub(super) const RANGES4_UDP: Set = set("ranges4_udp", &[PORT], Data::Fields(&[ADDRESS4]), true);
/// SCTP's, and in files of the release before everybody's.
pub(super) const RANGES4: Set = set("ranges4", &[PROTOCOL, PORT], Data::Fields(&[ADDRESS4]), true);
pub(super) const RANGES4_AT: Set =
    set("ranges4_at", &[PROTOCOL, ADDRESS4, PORT], Data::Fields(&[ADDRESS4]), true);
pub(super) const PUBLISHED6: Set =
    set("published6", &[PROTOCOL, PORT], Data::Fields(&[ADDRESS6, PORT]), false);
pub(super) const PUBLISHED6_AT: Set =
    set("published6_at", &[PROTOCOL, ADDRESS6, PORT], Data::Fields(&[ADDRESS6, PORT]), false);
pub(super) const RANGES6_TCP: Set = set("ranges6_tcp", &[PORT], Data::Fields(&[ADDRESS6]), true);
pub(super) const RANGES6_UDP: Set = set("ranges6_udp", &[PORT], Data::Fields(&[ADDRESS6]), true);
/// SCTP's, and in files of the release before everybody's.
pub(super) const RANGES6: Set = set("ranges6", &[PROTOCOL, PORT], Data::Fields(&[ADDRESS6]), true);
pub(super) const RANGES6_AT: Set =
    set("ranges6_at", &[PROTOCOL, ADDRESS6, PORT], Data::Fields(&[ADDRESS6]), true);
/// The links of all bridges and their segments.
pub(super) const BRIDGES: Set = set("bridges", &[LINK], Data::Nothing, false);
/// The links of further segments alone.
pub(super) const SEGMENTS: Set = set("segments", &[LINK], Data::Nothing, false);
/// The bridges of internal networks.
pub(super) const INTERNAL: Set = set("internal", &[LINK], Data::Nothing, false);
/// The subnets of all bridges.
pub(super) const SUBNETS4: Set = set("subnets4", &[ADDRESS4], Data::Nothing, true);
pub(super) const SUBNETS6: Set = set("subnets6", &[ADDRESS6], Data::Nothing, true);
/// The subnets whose packets leave with the host's address.
pub(super) const MASQUERADED4: Set = set("masqueraded4", &[ADDRESS4], Data::Nothing, true);
pub(super) const MASQUERADED6: Set = set("masqueraded6", &[ADDRESS6], Data::Nothing, true);
/// What becomes of packets from one link to another.
pub(super) const WITHIN: Set = set("within", &[LINK, LINK], Data::Verdict, false);
/// What becomes of packets to a link that nothing before has let pass.
pub(super) const TOWARDS: Set = set("towards", &[LINK], Data::Verdict, false);

pub(super) const ALL: [&Set; 21] = [
    &PUBLISHED4,
    &PUBLISHED4_AT,
    &RANGES4_TCP,
    &RANGES4_UDP,
    &RANGES4,
    &RANGES4_AT,
    &PUBLISHED6,
    &PUBLISHED6_AT,
    &RANGES6_TCP,
    &RANGES6_UDP,
    &RANGES6,
    &RANGES6_AT,
    &BRIDGES,
    &SEGMENTS,
    &INTERNAL,
    &SUBNETS4,
    &SUBNETS6,
    &MASQUERADED4,
    &MASQUERADED6,
    &WITHIN,
    &TOWARDS,
];

/// An element: its key, the end of its interval, what the set has for it.
#[derive(Debug, Clone)]
pub(super) struct Element {
    key: Vec<u8>,
    /// Of a concatenation: the last key of the interval.
    last: Option<Vec<u8>>,
    data: Value,
    /// Of one field: this is the first key behind an interval.
    behind: bool,
}

/// What a set has for a key.
#[derive(Debug, Clone)]
pub(super) enum Value {
    Nothing,
    Bytes(Vec<u8>),
    Verdict(Verdict),
}

impl Element {
    pub(super) fn new(key: Vec<u8>, data: Value) -> Self {
        Self { key, last: None, data, behind: false }
    }

    /// All keys from one to another, of a concatenation.
    pub(super) fn range(first: Vec<u8>, last: Vec<u8>, data: Value) -> Self {
        Self { key: first, last: Some(last), data, behind: false }
    }

    /// The first key behind an interval of one field; the element before is its first.
    pub(super) fn behind(key: Vec<u8>) -> Self {
        Self { key, last: None, data: Value::Nothing, behind: true }
    }

    /// NFTA_LIST_ELEM; without its data when it is to be removed.
    fn write(&self, writer: &mut Writer, with_data: bool) {
        const INTERVAL_END: u32 = 1;
        writer.nest(1, |w| {
            if self.behind {
                w.number(3, INTERVAL_END);
            }
            w.nest(1, |w| w.raw(1, &self.key));
            if let Some(last) = &self.last {
                w.nest(10, |w| w.raw(1, last));
            }
            match &self.data {
                Value::Bytes(bytes) if with_data => w.nest(2, |w| w.raw(1, bytes)),
                Value::Verdict(verdict) if with_data => w.nest(2, |w| verdict.write(w)),
                Value::Nothing | Value::Bytes(_) | Value::Verdict(_) => {}
            }
        });
    }
}

impl Set {
    /// The message that makes it. `id` is its number within the batch.
    pub(super) fn make(&self, writer: &mut Writer, id: u32) {
        const INTERVAL: u32 = 0x4;
        const MAP: u32 = 0x8;
        const CONCATENATION: u32 = 0x80;
        const VERDICT: u32 = 0xffff_ff00;
        let concatenated = self.key.len() > 1;
        let mut flags = 0;
        if self.interval {
            flags |= INTERVAL | if concatenated { CONCATENATION } else { 0 };
        }
        if !matches!(self.data, Data::Nothing) {
            flags |= MAP;
        }
        writer.message(Verb::NewSet, CREATE, |w| {
            w.text(1, TABLE);
            w.text(2, self.name);
            w.number(3, flags);
            w.number(4, kind(self.key));
            w.number(5, length(self.key));
            match self.data {
                Data::Nothing => {}
                Data::Fields(fields) => {
                    w.number(6, kind(fields));
                    w.number(7, length(fields));
                }
                Data::Verdict => {
                    w.number(6, VERDICT);
                    w.number(7, 0);
                }
            }
            w.number(10, id);
            if matches!(self.key, [field] if field.kind == LINK.kind) {
                w.raw(13, &TEXT_NOTE);
            }
            if self.interval && concatenated {
                // NFTA_SET_DESC, NFTA_SET_DESC_CONCAT, NFTA_LIST_ELEM, NFTA_SET_FIELD_LEN
                w.nest(9, |w| {
                    w.nest(2, |w| {
                        for field in self.key {
                            w.nest(1, |w| w.number(1, field.bytes));
                        }
                    });
                });
            }
        });
    }

    /// The message that adds elements, as many as there are.
    pub(super) fn add(&self, writer: &mut Writer, elements: &[Element]) {
        // An attribute's length has 16 bits; the longest element takes 116 bytes.
        for elements in elements.chunks(512) {
            self.message(writer, Verb::NewElements, CREATE, elements, true);
        }
    }

    /// The message that removes elements that came together: one, or the two ends of an interval.
    pub(super) fn remove(&self, writer: &mut Writer, elements: &[Element]) {
        self.message(writer, Verb::DeleteElements, 0, elements, false);
    }

    fn message(&self, writer: &mut Writer, verb: Verb, flags: u16, elements: &[Element], with_data: bool) {
        writer.message(verb, flags, |w| {
            w.text(1, TABLE);
            w.text(2, self.name);
            w.nest(3, |w| {
                for element in elements {
                    element.write(w, with_data);
                }
            });
        });
    }
}

/// nft's number of a concatenation: six bits for each field.
fn kind(fields: &[Field]) -> u32 {
    fields.iter().fold(0, |kind, field| kind << 6 | field.kind)
}

/// Each field of a concatenation is padded to a register.
fn length(fields: &[Field]) -> u32 {
    match fields {
        [field] => field.bytes,
        fields => fields.iter().map(|field| field.bytes.next_multiple_of(4)).sum(),
    }
}
