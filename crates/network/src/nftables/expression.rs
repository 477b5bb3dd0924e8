//! Which expressions do our rules consist of? Each is a name and attributes (`enum nft_*_attributes`). Values
//! travel in sixteen registers of 4 bytes, numbered from 8; longer values take several.

use super::attribute::Writer;

/// The first 4-byte register (NFT_REG32_00).
pub(super) const R0: u32 = 8;
/// The register whose value is a verdict (NFT_REG_VERDICT).
const VERDICT: u32 = 0;

/// Where a rule sends a packet (`enum nft_verdicts`, `enum nf_inet_verdicts`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Drop,
    Accept,
    Return,
    Jump(&'static str),
}

/// What is read of a packet's way (`enum nft_meta_keys`).
#[derive(Debug, Clone, Copy)]
pub(super) enum Meta {
    InterfaceIn = 6,
    InterfaceOut = 7,
    /// The family, as NFPROTO number.
    Family = 15,
    /// The transport protocol's number.
    Protocol = 16,
    /// The group of the link that it came in by, in the machine's order.
    GroupIn = 21,
}

/// What is read of a connection (`enum nft_ct_keys`).
#[derive(Debug, Clone, Copy)]
pub(super) enum Tracked {
    State = 0,
    Status = 2,
}

/// Which header a payload's offset counts from (`enum nft_payload_bases`).
#[derive(Debug, Clone, Copy)]
pub(super) enum Base {
    Network = 1,
    Transport = 2,
}

/// One side of a comparison's outcome (`enum nft_cmp_ops`).
#[derive(Debug, Clone, Copy)]
pub(super) enum Is {
    Equal = 0,
    Unequal = 1,
}

/// A rule's expressions, in order.
#[derive(Debug)]
pub(super) struct Expressions<'a>(pub(super) &'a mut Writer);

impl Expressions<'_> {
    fn one(&mut self, name: &str, attributes: impl FnOnce(&mut Writer)) -> &mut Self {
        // NFTA_LIST_ELEM, NFTA_EXPR_NAME, NFTA_EXPR_DATA
        self.0.nest(1, |writer| {
            writer.text(1, name);
            writer.nest(2, attributes);
        });
        self
    }

    pub(super) fn meta(&mut self, key: Meta, register: u32) -> &mut Self {
        self.one("meta", |w| {
            w.number(2, key as u32);
            w.number(1, register);
        })
    }

    pub(super) fn payload(&mut self, base: Base, offset: u32, length: u32, register: u32) -> &mut Self {
        self.one("payload", |w| {
            w.number(1, register);
            w.number(2, base as u32);
            w.number(3, offset);
            w.number(4, length);
        })
    }

    pub(super) fn compare(&mut self, is: Is, value: &[u8]) -> &mut Self {
        self.one("cmp", |w| {
            w.number(1, R0);
            w.number(2, is as u32);
            w.nest(3, |w| w.raw(1, value));
        })
    }

    /// Goes on when any bit of `mask` is set in what is read of the connection, in the machine's order.
    pub(super) fn tracked(&mut self, key: Tracked, mask: u32) -> &mut Self {
        self.one("ct", |w| {
            w.number(2, key as u32);
            w.number(1, R0);
        });
        self.one("bitwise", |w| {
            w.number(1, R0);
            w.number(2, R0);
            w.number(3, 4);
            w.number(6, 0);
            w.nest(4, |w| w.raw(1, &mask.to_ne_bytes()));
            w.nest(5, |w| w.raw(1, &[0; 4]));
        });
        self.compare(Is::Unequal, &[0; 4])
    }

    /// Goes on when the value from the first register on is in the set, or is not.
    pub(super) fn member(&mut self, is: Is, set: &str) -> &mut Self {
        self.one("lookup", |w| {
            w.text(1, set);
            w.number(2, R0);
            // NFT_LOOKUP_F_INV
            w.number(5, is as u32);
        })
    }

    /// Replaces the value from the first register on by what the map has for it, or ends the rule.
    pub(super) fn mapped(&mut self, map: &str) -> &mut Self {
        self.lookup_into(map, R0)
    }

    /// Does what the map has for the value from the first register on, if it has anything.
    pub(super) fn verdict_of(&mut self, map: &str) -> &mut Self {
        self.lookup_into(map, VERDICT)
    }

    fn lookup_into(&mut self, map: &str, register: u32) -> &mut Self {
        self.one("lookup", |w| {
            w.text(1, map);
            w.number(2, R0);
            w.number(3, register);
        })
    }

    /// The kind of the destination address, as RTN number; of the packet's own link alone, or of any.
    pub(super) fn destination_kind(&mut self, own_link: bool) -> &mut Self {
        const ADDRESS_KIND: u32 = 3;
        const DESTINATION: u32 = 1 << 1;
        const LINK: u32 = 1 << 3;
        self.one("fib", |w| {
            w.number(3, if own_link { DESTINATION | LINK } else { DESTINATION });
            w.number(2, ADDRESS_KIND);
            w.number(1, R0);
        })
    }

    /// Sends to the address in the first register, and to the port in the register given, or to the same.
    pub(super) fn destination_nat(&mut self, family: u8, port: Option<u32>) -> &mut Self {
        self.one("nat", |w| {
            w.number(1, 1);
            w.number(2, u32::from(family));
            w.number(3, R0);
            if let Some(register) = port {
                w.number(5, register);
            }
        })
    }

    /// The packet is no part of a connection until it comes in again elsewhere.
    pub(super) fn untracked(&mut self) -> &mut Self {
        self.one("notrack", |_| {})
    }

    pub(super) fn masquerade(&mut self) -> &mut Self {
        self.one("masq", |_| {})
    }

    pub(super) fn verdict(&mut self, verdict: Verdict) -> &mut Self {
        self.one("immediate", |w| {
            w.number(1, VERDICT);
            w.nest(2, |w| verdict.write(w));
        })
    }
}

impl Verdict {
    /// NFTA_DATA_VERDICT, in rules and in elements of verdict maps.
    pub(super) fn write(self, writer: &mut Writer) {
        let (code, chain) = match self {
            Self::Drop => (0, None),
            Self::Accept => (1, None),
            Self::Jump(chain) => (-3, Some(chain)),
            Self::Return => (-5, None),
        };
        writer.nest(2, |w| {
            w.raw(1, &i32::to_be_bytes(code));
            if let Some(chain) = chain {
                w.text(2, chain);
            }
        });
    }
}
