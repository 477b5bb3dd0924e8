//! One layer from compressed bytes to a committed folder, in one pass, on threads of its own:
//!
//! ```text
//!   socket ─(task)─┬─► keep:    sha256 of the blob, written to its ingest ──► blob
//!   or a file      └─► inflate: gzip, zstd, plain ─► unpack: sha256 (diff id), tar onto disk ──► layer
//! ```
//!
//! Channels between them are short, so that a slow disk slows the network down and memory stays bounded. The layer is committed
//! only when its diff id is the one the config names; the blob only when its digest is the one the manifest names.
//! Dropping the sending side ends the threads; what they hold (folder, ingest) is discarded or kept for the next try.

mod chunks;
mod error;
mod keep;
mod unpacking;

pub use error::LayerError;
pub(crate) use keep::{keep, replay_blob};
pub(crate) use unpacking::unpacking;
