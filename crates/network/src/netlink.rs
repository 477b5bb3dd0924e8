//! Netlink: `socket` is the connection, `route` the messages about links, addresses and routes.

pub(crate) mod route;
pub(crate) mod socket;
