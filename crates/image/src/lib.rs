//! Images: blobs by digest ([`content`]), registries ([`registry`]), documents ([`manifest`]), layers onto disk
//! ([`unpack`]), and the use cases over them: [`Puller`] and [`import`]. Everything read here was written by strangers.
//! The registry and the pull are async; the rest blocks. Unpacked layers go through the seam in [`layers`].

pub mod content;
mod disk;
mod flight;
pub mod import;
mod layer;
pub mod layers;
pub mod manifest;
mod progress;
mod pull;
mod record;
pub mod registry;
pub mod unpack;

pub use layer::LayerError;
pub use progress::{BlobKind, BlobProgress, BlobState, Progress};
pub use pull::{PullError, PullRequest, Puller};
pub use record::{ImageRecord, LayerRecord};
