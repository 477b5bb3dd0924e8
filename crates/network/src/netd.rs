//! What `gantry-netd` knows of the networks: files beneath `<state>/netd/`, written by gantryd, read by netd, and
//! true whether either of them runs. They are the whole agreement between the two; there is no socket.
//!
//! ```text
//! <state>/netd/                0700, on a tmpfs: nothing is flushed, nothing outlives the machine
//!   ruleset                    [`Ruleset`]: what the nftables table has before there is any network
//!   networks/<network id>      [`Network`]: where to listen, whose source addresses to believe, its rules
//!   endpoints/<endpoint id>    [`Endpoint`]: names, addresses, ports, resolvers, its rules
//!   lock                       held (flock) by the netd that serves; its pid is the content
//!   status                     [`Status`]: what that netd says of itself
//! ```
//!
//! A file is one protobuf message with a version first. It is written under a name that begins with a dot and
//! renamed, so a reader sees the old one or the new one. Fields are added, never renumbered; [`VERSION`] counts
//! what an older netd would misread, and it leaves such a file out and says so in its status.
//!
//! # Rules
//!
//! `rules` are netlink messages of nf_tables, each with its header, one after the other, padded to four bytes:
//! no batch around them, and nothing that makes or deletes the table. netd sends, as one batch: add, delete
//! and add the table `inet gantry`, the ruleset's, each network's and each endpoint's in the order of their ids. So an
//! endpoint's rules may name what its network's and the ruleset's make, and nothing else.
//!
//! Who changed the table is seen by the netlink port of the sender: Gantry's programs bind theirs within
//! [`NFT_PORT_PREFIX`]. What anybody else deletes in the table, netd puts back.
//!
//! A change is made **in the files first, then in the kernel**, and a deletion tolerates that the thing is gone. netd
//! reads the kernel's generation before it reads the files and says it in its batch, so the kernel refuses the batch if a
//! change came between; it then reads again. So what is removed cannot come back.
//!
//! Absent: a container's search domains and resolver options. They stand in its own `resolv.conf`.

mod error;
mod folder;
mod instance;
mod message;
mod name;
mod record;
mod status;

pub use error::NetdError;
pub use folder::{Folder, Unreadable};
pub use instance::{Instance, running};
pub use name::{LABEL_BYTES_MAX, NAME_BYTES_MAX, is_name};
pub use record::{Endpoint, Network, Port, Ruleset};
pub use status::{ListenerStatus, Status};

/// The version of files that this code writes, and the highest that it reads.
pub const VERSION: u32 = 1;
/// The nftables table of Gantry; its family is `inet`.
pub const TABLE: &str = "gantry";
/// The upper half of the netlink port ids of Gantry's nftables sockets ("GN"). Above every process id, and positive, so
/// the kernel never gives such a one by itself.
pub const NFT_PORT_PREFIX: u32 = 0x474e_0000;
/// The folder beneath the state folder.
pub const FOLDER: &str = "netd";
/// Bytes of one file at the most: an endpoint with 10,000 published ports has about 2 MiB of rules.
pub const FILE_BYTES_MAX: u64 = 16 << 20;

/// Whether a netlink port id is one of Gantry's.
pub fn is_own_port(port: u32) -> bool {
    port & 0xffff_0000 == NFT_PORT_PREFIX
}
