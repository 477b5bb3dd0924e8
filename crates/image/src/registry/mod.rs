//! A client for registries that speak the OCI distribution-spec. It resolves a name and reads blobs; deciding what to
//! read is the pull's business. Everything a registry answers is hostile: bodies have limits, waits have ends, a redirect
//! never carries credentials to another host, and HTTPS is never given up for HTTP.

mod auth;
mod body;
mod challenge;
mod client;
mod credentials;
mod endpoint;
mod error;
mod fetch;
mod tls;
mod transport;

pub(crate) use client::Repository;
pub use client::{RegistryClient, RegistryOptions, Timeouts};
pub use credentials::{Credentials, CredentialsError, DockerConfig};
pub use error::RegistryError;
pub use fetch::{BlobStream, Resolved};
