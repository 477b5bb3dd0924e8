//! The crate's tests against real disks, real sockets and hostile bytes. Needs root: layers hold devices and owners.

mod archive;
mod docker_registry;
mod folders;
mod hostile_registry;
mod hostile_tars;
mod import;
mod pull;
mod sample;
mod scripted;
mod unpacking;
