//! Generated protobuf code. `shim` is the private protocol between the daemon and a container's shim, and
//! is all there is without the `grpc` feature, so that the shim carries no gRPC stack.

pub mod shim;
