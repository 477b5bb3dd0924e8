//! Gantry's vocabulary. Every identifier is its own type, parsed once at the edge; states and their
//! transitions, limits and error classes are here too. No I/O and no clock.

mod class;
mod container;
mod digest;
mod id;
mod labels;
mod limits;
mod network;
mod platform;
mod reference;
mod state;
mod user_namespace;

pub use class::{Class, Classified, Resource};
pub use container::*;
pub use digest::{Algorithm, Digest, DigestError};
pub use id::*;
pub use labels::Labels;
pub use limits::*;
pub use network::*;
pub use platform::{Platform, PlatformError};
pub use reference::{Reference, ReferenceError};
pub use state::*;
pub use user_namespace::{IdMapping, IdMappingError, UserNamespace, check_mappings, outside};
