//! Manifests, indexes and configs (OCI image-spec and Docker's schema 2): from hostile bytes to checked values.
//! Documents are parsed into values that know only the fields used here; the original bytes are what is hashed
//! and stored, because a round trip would drop what we do not know.

mod config;
mod document;
mod error;
mod media_type;
mod platform;

use gantry_types::{Digest, Labels};

pub use config::{ConfigFile, chain_ids};
pub use document::{Document, Index, IndexEntry, Manifest};
pub use error::ManifestError;
pub(crate) use media_type::ACCEPT;
pub use media_type::{Compression, MediaType};
pub use platform::choose;

/// A reference from one document to another blob (OCI image-spec, descriptor.md).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Descriptor {
    /// What the blob says it is.
    pub media_type: MediaType,
    /// The blob's digest.
    pub digest: Digest,
    /// The blob's bytes.
    pub size: u64,
    /// The annotations, uninterpreted.
    pub annotations: Labels,
}
