//! What is in the table before there is any network? Its sets, its chains and their rules, in the order of nft's
//! own text:
//!
//! ```text
//! guard:       @nh,128,8 127 meta nfproto ipv4 iifname @bridges drop                 (ip daddr 127.0.0.0/8)
//!              @nh,96,8 127 meta nfproto ipv4 iifname @bridges drop                  (ip saddr 127.0.0.0/8)
//!              meta iifgroup 26451 iifname @segments notrack
//! published:   dnat ip to meta l4proto . ip daddr . th dport map @published4_at      (and so on, 12 maps)
//! prerouting:  ip daddr 127.0.0.0/8 return
//!              th dport 53 iifname @bridges fib daddr . iif type local return
//!              fib daddr type local jump published
//! output:      fib daddr type local jump published
//! postrouting: ip saddr @masqueraded4 oifname != @bridges masquerade                 (and IPv6)
//!              ip saddr @subnets4 ct status dnat masquerade                          (and IPv6)
//!              ip saddr 127.0.0.0/8 ct status dnat oifname @bridges masquerade       (and ::1)
//! forward:     ct state established,related accept
//!              iifname . oifname vmap @within
//!              iifname @internal drop
//!              oifname @internal drop
//!              ct status dnat accept
//!              oifname vmap @towards
//! input:       iifname @internal fib daddr . iif type unicast drop
//! ```
//!
//! - `fib daddr type local`: a packet that only passes through is never intercepted (CVE-2025-67499).
//! - Loopback in `prerouting`: translation comes before the kernel's check for such strangers from outside, so a
//!   port of 127.0.0.1 would be open to neighbours of the host.
//! - Port 53 of the own gateway is gantry-netd's, even when a container publishes 53 on every address.
//! - Segments: where bridged packets pass the IP hooks, a connection would be settled without translation on its
//!   way through the segment, before the network's own bridge sees it.
//! - The guard is evaluated for every packet of every container, so each of its rules begins with what nearly no packet
//!   passes and the kernel reads fastest: a byte of the header before the family, the number of a link's group before a look-up of
//!   its name (segments have a group of their own). The look-up alone made a connection within a bridge 3 % slower.
//! - Every container's packet to a published port gets the gateway's source: an answer that finds another way
//!   than back through the host would not be recognised.

use gantry_types::Protocol;

use super::TABLE;
use super::attribute::{Verb, Writer};
use super::expression::{Base, Expressions, Is, Meta, R0, Tracked, Verdict};
use super::set;
use crate::bridge::SEGMENT_GROUP;
use crate::netlink::socket::CREATE;

/// NFPROTO_IPV4, NFPROTO_IPV6.
const IPV4: u8 = 2;
const IPV6: u8 = 10;
/// RTN_UNICAST, RTN_LOCAL.
const UNICAST: u32 = 1;
const LOCAL: u32 = 2;
/// IPS_DST_NAT.
const TRANSLATED: u32 = 1 << 5;
/// Bits of the states established and related.
const KNOWN: u32 = 0b110;
/// NLM_F_APPEND.
const APPEND: u16 = 0x800;

/// The messages that fill an empty table. They follow the one that makes it.
pub fn base() -> Vec<u8> {
    let mut writer = Writer::default();
    for (id, set) in (1..).zip(set::ALL) {
        set.make(&mut writer, id);
    }
    for (name, hook) in CHAINS {
        chain(&mut writer, name, hook.as_ref());
    }
    guard(&mut writer);
    published(&mut writer);
    destinations(&mut writer);
    postrouting(&mut writer);
    forward(&mut writer);
    rule(&mut writer, "input", |e| {
        e.meta(Meta::InterfaceIn, R0).member(Is::Equal, set::INTERNAL.name);
        e.destination_kind(true).compare(Is::Equal, &UNICAST.to_ne_bytes()).verdict(Verdict::Drop);
    });
    writer.bytes
}

/// Where a chain is entered.
struct Hook {
    kind: &'static str,
    /// `enum nf_inet_hooks`.
    number: u32,
    priority: i32,
}

const fn hook(kind: &'static str, number: u32, priority: i32) -> Hook {
    Hook { kind, number, priority }
}

const CHAINS: [(&str, Option<Hook>); 7] = [
    ("published", None),
    ("guard", Some(hook("filter", 0, -300))),
    ("prerouting", Some(hook("nat", 0, -100))),
    ("output", Some(hook("nat", 3, -100))),
    ("postrouting", Some(hook("nat", 4, 100))),
    ("forward", Some(hook("filter", 2, 0))),
    ("input", Some(hook("filter", 1, 0))),
];

fn chain(writer: &mut Writer, name: &str, hook: Option<&Hook>) {
    const ACCEPT: u32 = 1;
    writer.message(Verb::NewChain, CREATE, |w| {
        w.text(1, TABLE);
        w.text(3, name);
        if let Some(hook) = hook {
            w.nest(4, |w| {
                w.number(1, hook.number);
                w.raw(2, &hook.priority.to_be_bytes());
            });
            w.number(5, ACCEPT);
            w.text(7, hook.kind);
        }
    });
}

fn rule(writer: &mut Writer, chain: &str, expressions: impl FnOnce(&mut Expressions<'_>)) {
    writer.message(Verb::NewRule, CREATE | APPEND, |w| {
        w.text(1, TABLE);
        w.text(2, chain);
        w.nest(4, |w| expressions(&mut Expressions(w)));
    });
}

impl Expressions<'_> {
    fn family(&mut self, family: u8) -> &mut Self {
        self.meta(Meta::Family, R0).compare(Is::Equal, &[family])
    }

    fn source(&mut self, family: u8) -> &mut Self {
        let (offset, length) = if family == IPV4 { (12, 4) } else { (8, 16) };
        self.family(family).payload(Base::Network, offset, length, R0)
    }

    fn destination_is_local(&mut self) -> &mut Self {
        self.destination_kind(false).compare(Is::Equal, &LOCAL.to_ne_bytes())
    }

    /// The first byte of an IPv4 address is loopback's.
    fn loopback4(&mut self, offset: u32) -> &mut Self {
        self.family(IPV4).payload(Base::Network, offset, 1, R0).compare(Is::Equal, &[127])
    }

    fn comes_from_bridge(&mut self) -> &mut Self {
        self.meta(Meta::InterfaceIn, R0).member(Is::Equal, set::BRIDGES.name)
    }

    fn leaves_to_bridge(&mut self, is: Is) -> &mut Self {
        self.meta(Meta::InterfaceOut, R0).member(is, set::BRIDGES.name)
    }
}

const SOURCE4: u32 = 12;
const DESTINATION4: u32 = 16;
const DESTINATION6: u32 = 24;

fn guard(writer: &mut Writer) {
    for offset in [DESTINATION4, SOURCE4] {
        rule(writer, "guard", |e| {
            e.payload(Base::Network, offset, 1, R0).compare(Is::Equal, &[127]);
            e.family(IPV4).comes_from_bridge().verdict(Verdict::Drop);
        });
    }
    rule(writer, "guard", |e| {
        e.meta(Meta::GroupIn, R0).compare(Is::Equal, &SEGMENT_GROUP.to_ne_bytes());
        e.meta(Meta::InterfaceIn, R0).member(Is::Equal, set::SEGMENTS.name).untracked();
    });
}

fn published(writer: &mut Writer) {
    // Data is put into registers from the first on: an address, then a port.
    let maps4 = [
        (&set::PUBLISHED4_AT, true, Some(R0 + 1)),
        (&set::PUBLISHED4, false, Some(R0 + 1)),
        (&set::RANGES4_AT, true, None),
        (&set::RANGES4, false, None),
    ];
    let maps6 = [
        (&set::PUBLISHED6_AT, true, Some(R0 + 4)),
        (&set::PUBLISHED6, false, Some(R0 + 4)),
        (&set::RANGES6_AT, true, None),
        (&set::RANGES6, false, None),
    ];
    for (family, offset, length, maps) in [(IPV4, DESTINATION4, 4, maps4), (IPV6, DESTINATION6, 16, maps6)] {
        for (map, at, port) in maps {
            rule(writer, "published", |e| {
                e.family(family).meta(Meta::Protocol, R0);
                let mut next = R0 + 1;
                if at {
                    e.payload(Base::Network, offset, length, next);
                    next += length / 4;
                }
                e.payload(Base::Transport, 2, 2, next).mapped(map.name).destination_nat(family, port);
            });
        }
        let trees = if family == IPV4 {
            [(&set::RANGES4_TCP, Protocol::Tcp), (&set::RANGES4_UDP, Protocol::Udp)]
        } else {
            [(&set::RANGES6_TCP, Protocol::Tcp), (&set::RANGES6_UDP, Protocol::Udp)]
        };
        for (map, protocol) in trees {
            rule(writer, "published", |e| {
                e.family(family).meta(Meta::Protocol, R0).compare(Is::Equal, &[protocol.number()]);
                e.payload(Base::Transport, 2, 2, R0).mapped(map.name).destination_nat(family, None);
            });
        }
    }
}

fn destinations(writer: &mut Writer) {
    rule(writer, "prerouting", |e| {
        e.loopback4(DESTINATION4).verdict(Verdict::Return);
    });
    rule(writer, "prerouting", |e| {
        e.payload(Base::Transport, 2, 2, R0).compare(Is::Equal, &53_u16.to_be_bytes()).comes_from_bridge();
        e.destination_kind(true).compare(Is::Equal, &LOCAL.to_ne_bytes()).verdict(Verdict::Return);
    });
    for chain in ["prerouting", "output"] {
        rule(writer, chain, |e| {
            e.destination_is_local().verdict(Verdict::Jump("published"));
        });
    }
}

fn postrouting(writer: &mut Writer) {
    for (family, masqueraded, subnets) in
        [(IPV4, &set::MASQUERADED4, &set::SUBNETS4), (IPV6, &set::MASQUERADED6, &set::SUBNETS6)]
    {
        rule(writer, "postrouting", |e| {
            e.source(family).member(Is::Equal, masqueraded.name).leaves_to_bridge(Is::Unequal).masquerade();
        });
        rule(writer, "postrouting", |e| {
            e.source(family).member(Is::Equal, subnets.name);
            e.tracked(Tracked::Status, TRANSLATED).masquerade();
        });
    }
    rule(writer, "postrouting", |e| {
        e.loopback4(SOURCE4).tracked(Tracked::Status, TRANSLATED).leaves_to_bridge(Is::Equal).masquerade();
    });
    rule(writer, "postrouting", |e| {
        e.source(IPV6).compare(Is::Equal, &std::net::Ipv6Addr::LOCALHOST.octets());
        e.tracked(Tracked::Status, TRANSLATED).leaves_to_bridge(Is::Equal).masquerade();
    });
}

fn forward(writer: &mut Writer) {
    rule(writer, "forward", |e| {
        e.tracked(Tracked::State, KNOWN).verdict(Verdict::Accept);
    });
    rule(writer, "forward", |e| {
        e.meta(Meta::InterfaceIn, R0).meta(Meta::InterfaceOut, R0 + 4).verdict_of(set::WITHIN.name);
    });
    for interface in [Meta::InterfaceIn, Meta::InterfaceOut] {
        rule(writer, "forward", |e| {
            e.meta(interface, R0).member(Is::Equal, set::INTERNAL.name).verdict(Verdict::Drop);
        });
    }
    rule(writer, "forward", |e| {
        e.tracked(Tracked::Status, TRANSLATED).verdict(Verdict::Accept);
    });
    rule(writer, "forward", |e| {
        e.meta(Meta::InterfaceOut, R0).verdict_of(set::TOWARDS.name);
    });
}
