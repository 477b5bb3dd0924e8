//! What the daemon can do, one use case a file, each readable from top to bottom. A use case takes checked
//! values and knows nothing of gRPC; `rpc/` converts to and from it.

pub(crate) mod attach_network;
pub(crate) mod create;
pub(crate) mod folders;
pub(crate) mod import;
pub(crate) mod lease;
pub(crate) mod network;
pub(crate) mod processes;
pub(crate) mod pull;
pub(crate) mod remove;
pub(crate) mod remove_image;
pub(crate) mod rename;
pub(crate) mod sandbox;
pub(crate) mod stats;
pub(crate) mod stop;
pub(crate) mod tag;
pub(crate) mod wait;
