//! Gantry's API in Rust: the generated protobuf code of every service, the conversions between its messages
//! and the vocabulary, errors as gRPC statuses and back, and a connect helper. `shim` is the private protocol
//! between the daemon and a container's shim, and is all there is without the `grpc` feature, so that the shim
//! carries no gRPC stack. What a call does is deliberately absent: that is the daemon's.

pub mod shim;

#[cfg(feature = "grpc")]
mod generated;
#[cfg(feature = "grpc")]
pub use generated::*;

#[cfg(feature = "grpc")]
pub mod authority;
#[cfg(feature = "grpc")]
pub mod connect;
#[cfg(feature = "grpc")]
pub mod convert;
#[cfg(feature = "grpc")]
pub mod filter;
#[cfg(feature = "grpc")]
pub mod page;
#[cfg(feature = "grpc")]
pub mod status;
