//! How are nf_tables messages written? A header of netlink, one of nfnetlink, then attributes: 16-bit length and
//! kind, the value, padding to 4 bytes; numbers in network order, nests flagged
//! (`linux/netfilter/nf_tables.h`).

use crate::netlink::socket::{HEADER, REQUEST, aligned};

/// NFNL_SUBSYS_NFTABLES, in a message's type.
const SUBSYSTEM: u16 = 10;
/// NFPROTO_INET.
const INET: u8 = 1;
/// NLA_F_NESTED.
const NESTED: u16 = 0x8000;
/// `struct nfgenmsg`.
pub(crate) const FAMILY_HEADER: usize = 4;

/// What a message does (`enum nf_tables_msg_types`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    NewTable = 0,
    GetTable = 1,
    DeleteTable = 2,
    NewChain = 3,
    GetChain = 4,
    NewRule = 6,
    NewSet = 9,
    NewElements = 12,
    DeleteElements = 14,
}

/// Messages one behind the other.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    pub(crate) bytes: Vec<u8>,
}

impl Writer {
    /// One message about our table's family.
    pub(crate) fn message(&mut self, verb: Verb, flags: u16, body: impl FnOnce(&mut Self)) {
        self.framed(SUBSYSTEM << 8 | verb as u16, flags, [INET, 0, 0, 0], body);
    }

    /// NFNL_MSG_BATCH_BEGIN (16) or NFNL_MSG_BATCH_END (17).
    pub(crate) fn batch_mark(&mut self, kind: u16) {
        self.framed(kind, 0, [0, 0, 0, SUBSYSTEM.to_be_bytes()[1]], |_| {});
    }

    /// One message of nfnetlink.
    pub(crate) fn framed(
        &mut self,
        kind: u16,
        flags: u16,
        family: [u8; FAMILY_HEADER],
        body: impl FnOnce(&mut Self),
    ) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; HEADER]);
        self.bytes.extend_from_slice(&family);
        body(self);
        let length = u32::try_from(self.bytes.len() - start).expect("messages are far below 4 GiB");
        self.bytes[start..start + 4].copy_from_slice(&length.to_ne_bytes());
        self.bytes[start + 4..start + 6].copy_from_slice(&kind.to_ne_bytes());
        self.bytes[start + 6..start + 8].copy_from_slice(&(REQUEST | flags).to_ne_bytes());
    }

    /// A value as it is.
    pub(crate) fn raw(&mut self, kind: u16, value: &[u8]) {
        let length = u16::try_from(4 + value.len()).expect("attributes are far below 64 KiB");
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value);
        self.bytes.resize(aligned(self.bytes.len()), 0);
    }

    /// A text with its NUL.
    pub(crate) fn text(&mut self, kind: u16, value: &str) {
        let mut bytes = Vec::with_capacity(value.len() + 1);
        bytes.extend_from_slice(value.as_bytes());
        bytes.push(0);
        self.raw(kind, &bytes);
    }

    pub(crate) fn number(&mut self, kind: u16, value: u32) {
        self.raw(kind, &value.to_be_bytes());
    }

    /// Attributes within an attribute.
    pub(crate) fn nest(&mut self, kind: u16, inside: impl FnOnce(&mut Self)) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 2]);
        self.bytes.extend_from_slice(&(kind | NESTED).to_ne_bytes());
        inside(self);
        let length = u16::try_from(self.bytes.len() - start).expect("nests are far below 64 KiB");
        self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
    }
}
