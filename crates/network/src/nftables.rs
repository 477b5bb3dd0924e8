//! Which rules does Gantry load? One table, `inet gantry`, and nothing in anybody else's. Its chains are written
//! once and never change (`base`); what comes and goes are elements of its sets and maps: a few for each network
//! (`network`), one for each published port or range (`port`), none for a container.
//!
//! ```text
//! prerouting, raw     guard         bridges may not send to or from 127.0.0.0/8 (they have route_localnet)
//! prerouting, dstnat  prerouting    to an address of the host's: published
//! output, dstnat      output        the same, for what the host itself sends, 127.0.0.1 and ::1 included
//!                     owner         nothing; its comment says whose the table is
//!                     published     maps {protocol . [host address .] port} to {address [. port]}
//! postrouting, srcnat postrouting   out of a network: the host's address; published inbound traffic keeps its
//!                                   source, but for what comes from a container or from loopback
//! forward, filter     forward       flows that are known pass; networks are closed to each other and to the
//!                                   outside but for published ports; internal ones altogether
//! input, filter       input         internal networks reach their own gateway's addresses alone
//! ```
//!
//! A *change* is bytes: whole netlink messages without the begin and the end of a batch, so that a file holds
//! them for gantry-netd, which puts the table back after somebody flushed it. Why not a crate's messages:
//! `netlink-packet-netfilter` 0.4 has no nat, masq, ct, fib nor verdict maps, and has no place for expressions
//! of others; what is missing would have been more than what is here.
//!
//! A range of ports that leads to the same ports is one element. One that leads to others is an element for
//! each port: the kernel's translation has no way to shift a range that holds when a tuple is taken.

mod apply;
mod attribute;
mod base;
mod claim;
mod expression;
mod network;
mod owner;
mod port;
mod set;

pub(crate) use attribute::{FAMILY_HEADER, Writer};
pub use base::base;
pub use claim::NamespaceClaim;
pub use network::NetworkRules;
pub use owner::{OWNER_BYTES_MAX, owned_by};
pub use port::PortForward;

/// The table's name.
pub const TABLE: &str = "gantry";

/// What a network or an endpoint adds to the table, and what takes it away again. Adding twice is as good as once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Change {
    /// Messages that add elements; for the file that gantry-netd reads, too.
    pub add: Vec<u8>,
    /// Messages that remove the same, one for each element.
    pub remove: Vec<u8>,
}
