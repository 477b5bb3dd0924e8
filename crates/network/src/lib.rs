//! Networks: namespaces, links, addresses, routes, nftables, ports and subnets, and the files that gantry-netd
//! reads. Blocking; works in the network namespace of the calling thread. No store, no daemon, no API.
//!
//! Read `namespace`, `bridge` and `attach` for links, `nftables` for rules and ports, `subnet`, `address` and `port`
//! for what is given out, `flow` for connections that must end, `observe` for what is there, `cni` for networks of
//! plugins.

pub mod netd;

#[cfg(feature = "engine")]
mod address;
#[cfg(feature = "engine")]
mod attach;
#[cfg(feature = "engine")]
mod bridge;
#[cfg(feature = "engine")]
pub mod cni;
#[cfg(feature = "engine")]
mod error;
#[cfg(feature = "engine")]
mod flow;
#[cfg(feature = "engine")]
mod forwarding;
#[cfg(feature = "engine")]
mod host;
#[cfg(feature = "engine")]
mod mac;
#[cfg(feature = "engine")]
mod namespace;
#[cfg(feature = "engine")]
mod netlink;
#[cfg(feature = "engine")]
pub mod nftables;
#[cfg(feature = "engine")]
mod observe;
#[cfg(feature = "engine")]
mod port;
#[cfg(feature = "engine")]
mod setting;
#[cfg(feature = "engine")]
mod subnet;

#[cfg(feature = "engine")]
pub use address::{first_usable, is_for_endpoints, next_address};
#[cfg(feature = "engine")]
pub use attach::{ChildMode, Interface, Route};
#[cfg(feature = "engine")]
pub use bridge::{Bridge, BridgeSpec, SEGMENT_ENDPOINTS_MAX, segment_name};
#[cfg(feature = "engine")]
pub use error::{Attempt, NetworkError, Result};
#[cfg(feature = "engine")]
pub use host::Host;
#[cfg(feature = "engine")]
pub use mac::mac_of;
#[cfg(feature = "engine")]
pub use namespace::Netns;
#[cfg(feature = "engine")]
pub use observe::{Counters, Link};
#[cfg(feature = "engine")]
pub use port::{pick_ports, port_is_free, ports_clash};
#[cfg(feature = "engine")]
pub use subnet::SubnetPool;
