//! The OCI runtime: a spec is compiled to a [`plan::Plan`] by pure code, and a plan is carried out by
//! [`execute`]. With feature `plan` (the daemon, the OCI command line) the compiler is here too; without it
//! (the shim) only the plan's types and the executor are, with no JSON and no OCI types in the process.

pub mod cgroup;
pub mod execute;
pub mod plan;
#[cfg(feature = "plan")]
pub mod seccomp;
#[cfg(feature = "plan")]
pub mod spec;
#[cfg(feature = "plan")]
pub mod systemd;
#[cfg(feature = "plan")]
pub mod user;
