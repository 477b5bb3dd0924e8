//! The small languages of flags: each file reads one, and its errors say what is allowed.

pub(crate) mod device;
pub(crate) mod environment;
pub(crate) mod filter;
pub(crate) mod keys;
pub(crate) mod mount;
pub(crate) mod network;
pub(crate) mod number;
pub(crate) mod pair;
pub(crate) mod port;
pub(crate) mod time;
