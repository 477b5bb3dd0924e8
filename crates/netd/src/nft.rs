//! The few netlink messages of nf_tables that netd makes or reads by itself: the batch around the rules from the files,
//! the table, the kernel's generation, and notices of what was deleted (include/uapi/linux/netfilter/nf_tables.h).
//! The rules themselves are bytes that the engine encoded; they are only walked through.

use gantry_network::netd::{TABLE, is_own_port};

/// Bytes of `struct nlmsghdr`, and of `struct nfgenmsg` after it.
const HEADER_BYTES: usize = 16;
const GENERIC_BYTES: usize = 4;

const NFNL_SUBSYS_NFTABLES: u16 = 10;
const NFPROTO_INET: u8 = 1;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_CREATE: u16 = 0x400;
const NLMSG_ERROR: u16 = 2;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const NFNL_BATCH_GENID: u16 = 1;
const NEWTABLE: u16 = kind(0);
const DELTABLE: u16 = kind(2);
const NEWGEN: u16 = kind(15);
const GETGEN: u16 = kind(16);
/// Chain, rule, set, element, object and flowtable.
const DELETIONS: [u16; 7] = [DELTABLE, kind(5), kind(8), kind(11), kind(14), kind(20), kind(24)];
/// The first attribute of all of these is the table's name; of a generation it is the number.
const FIRST_ATTRIBUTE: u16 = 1;

/// The group of `bind` for nf_tables' notices.
pub(crate) const NOTICES: u32 = 1 << (7 - 1);

const fn kind(number: u16) -> u16 {
    NFNL_SUBSYS_NFTABLES << 8 | number
}

/// One netlink message, as it came.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Message<'m> {
    kind: u16,
    flags: u16,
    sequence: u32,
    port: u32,
    payload: &'m [u8],
}

/// What a message that came says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Notice {
    /// Somebody else deleted something in our table.
    Damage,
    /// A message that was sent under this sequence number was refused with this errno.
    Refusal { sequence: u32, errno: i32 },
    /// The kernel's generation.
    Generation(u32),
    /// Nothing that matters.
    Other,
}

/// The messages in a buffer. Stops at what is malformed; `None` at its end means that it was.
pub(crate) fn messages(bytes: &[u8]) -> impl Iterator<Item = Option<Message<'_>>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let Some((message, after)) = split(rest) else {
            rest = &[];
            return Some(None);
        };
        rest = after;
        Some(Some(message))
    })
}

fn split(bytes: &[u8]) -> Option<(Message<'_>, &[u8])> {
    let length = usize::try_from(u32_at(bytes, 0)?).ok()?;
    let payload = bytes.get(HEADER_BYTES..length)?;
    let message = Message {
        kind: u16_at(bytes, 4)?,
        flags: u16_at(bytes, 6)?,
        sequence: u32_at(bytes, 8)?,
        port: u32_at(bytes, 12)?,
        payload,
    };
    Some((message, bytes.get(length.next_multiple_of(4)..).unwrap_or_default()))
}

impl Message<'_> {
    /// What it says.
    pub(crate) fn notice(&self) -> Notice {
        if self.kind == NLMSG_ERROR {
            let errno = u32_at(self.payload, 0).map_or(0, u32::cast_signed).saturating_neg();
            return Notice::Refusal { sequence: self.sequence, errno };
        }
        let attribute = self.payload.get(GENERIC_BYTES..).and_then(first_attribute);
        if self.kind == NEWGEN {
            let number = attribute.and_then(|value| value.first_chunk::<4>());
            return number.map_or(Notice::Other, |number| Notice::Generation(u32::from_be_bytes(*number)));
        }
        let ours = || {
            self.payload.first() == Some(&NFPROTO_INET)
                && attribute.and_then(|value| value.strip_suffix(b"\0")) == Some(TABLE.as_bytes())
        };
        if DELETIONS.contains(&self.kind) && !is_own_port(self.port) && ours() {
            return Notice::Damage;
        }
        Notice::Other
    }
}

/// The value of the attribute in front, if it is the first of its kind.
fn first_attribute(bytes: &[u8]) -> Option<&[u8]> {
    let length = usize::from(u16_at(bytes, 0)?);
    // The two upper bits are flags.
    if u16_at(bytes, 2)? & 0x3fff != FIRST_ATTRIBUTE {
        return None;
    }
    bytes.get(4..length)
}

/// Asks for the kernel's generation.
pub(crate) fn generation_request() -> Vec<u8> {
    let mut bytes = Vec::new();
    push(&mut bytes, GETGEN, NLM_F_REQUEST, 0, [0; 4], &[]);
    bytes
}

/// A batch that makes the table anew.
#[derive(Debug)]
pub(crate) struct Batch {
    bytes: Vec<u8>,
}

/// Rules that are no whole messages of nf_tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the rules are damaged")]
pub(crate) struct DamagedRules;

impl Batch {
    /// A batch that the kernel refuses unless its generation is this one. Begins with an empty table.
    pub(crate) fn new(generation: u32) -> Self {
        let mut bytes = Vec::with_capacity(4096);
        let subsystem = NFNL_SUBSYS_NFTABLES.to_be_bytes();
        let number = generation.to_be_bytes();
        push(&mut bytes, BATCH_BEGIN, NLM_F_REQUEST, 0, [0, 0, subsystem[0], subsystem[1]], &number);
        let name = [TABLE.as_bytes(), b"\0"].concat();
        // Deleting what is not there would fail; so it is added first.
        for (kind, flags) in [(NEWTABLE, NLM_F_CREATE), (DELTABLE, 0), (NEWTABLE, NLM_F_CREATE)] {
            push(&mut bytes, kind, NLM_F_REQUEST | flags, 0, [NFPROTO_INET, 0, 0, 0], &name);
        }
        Self { bytes }
    }

    /// Adds a file's rules under a sequence number, which a refusal names.
    pub(crate) fn add(&mut self, rules: &[u8], sequence: u32) -> Result<(), DamagedRules> {
        let start = self.bytes.len();
        for message in messages(rules) {
            let Some(message) = message.filter(|message| message.kind >> 8 == NFNL_SUBSYS_NFTABLES) else {
                self.bytes.truncate(start);
                return Err(DamagedRules);
            };
            // Only refusals are wanted, no confirmation.
            let flags = message.flags & !NLM_F_ACK | NLM_F_REQUEST;
            put(&mut self.bytes, message.kind, flags, sequence, &[message.payload]);
        }
        Ok(())
    }

    /// The whole batch.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        let subsystem = NFNL_SUBSYS_NFTABLES.to_be_bytes();
        push(&mut self.bytes, BATCH_END, NLM_F_REQUEST, 0, [0, 0, subsystem[0], subsystem[1]], &[]);
        self.bytes
    }
}

/// One message with one attribute, or none.
fn push(bytes: &mut Vec<u8>, kind: u16, flags: u16, sequence: u32, generic: [u8; 4], attribute: &[u8]) {
    if attribute.is_empty() {
        return put(bytes, kind, flags, sequence, &[&generic]);
    }
    let number = if kind == BATCH_BEGIN { NFNL_BATCH_GENID } else { FIRST_ATTRIBUTE };
    let length = u16::try_from(4 + attribute.len()).expect("small");
    put(bytes, kind, flags, sequence, &[&generic, &length.to_ne_bytes(), &number.to_ne_bytes(), attribute]);
}

fn put(bytes: &mut Vec<u8>, kind: u16, flags: u16, sequence: u32, payload: &[&[u8]]) {
    let length = HEADER_BYTES + payload.iter().map(|piece| piece.len()).sum::<usize>();
    let start = bytes.len();
    bytes.extend_from_slice(&u32::try_from(length).expect("a file's size is bounded").to_ne_bytes());
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(&flags.to_ne_bytes());
    bytes.extend_from_slice(&sequence.to_ne_bytes());
    bytes.extend_from_slice(&[0; 4]);
    for piece in payload {
        bytes.extend_from_slice(piece);
    }
    bytes.resize(start + length.next_multiple_of(4), 0);
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk::<2>().map(|bytes| u16::from_ne_bytes(*bytes))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk::<4>().map(|bytes| u32::from_ne_bytes(*bytes))
}
