//! The fence: typed wrappers over Linux system calls, with owned and borrowed descriptors, paths relative
//! to directory descriptors, and errors that name the call and its object. It is the only crate with
//! `unsafe`. It has no policy: which calls to make, in which order, is decided by the crates above.

pub mod bpf;
pub mod clone;
mod error;
pub mod event;
pub mod fs;
pub mod host;
pub mod link;
pub mod memfd;
pub mod memory;
pub mod mount;
pub mod namespace;
pub mod network;
pub mod overlay;
pub mod path;
pub mod proc;
pub mod process;
pub mod seccomp;
pub mod signal;
pub mod socket;
pub mod spawn;
mod sys;
#[cfg(test)]
mod testing;
pub mod tty;
pub mod wait;

pub use error::{Errno, Object, Result, SyscallError};
pub use path::RootDir;
pub use process::Pid;
