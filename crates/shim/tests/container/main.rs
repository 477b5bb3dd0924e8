//! The real shim with real containers, driven over its protocol as a daemon drives it. Needs root and a
//! static busybox; every container is gone at the end of its test.

mod bench;
mod cgroup;
mod ending;
mod exec;
mod failing;
mod living;
mod memory;
mod nursery;
mod streams;
