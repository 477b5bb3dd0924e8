//! Which system calls may a container make? A profile (the default one, docker's JSON, or the filter of an
//! OCI spec) is resolved against the machine and the container's capabilities, and compiled to the classic
//! BPF program of seccomp(2). All of it is pure; installing the program is `execute`'s work.
//!
//! Why an own compiler: a start pays for every instruction, because the kernel compiles the program and
//! runs it once per system call to find those it always allows. Contiguous calls with one action become
//! one range, and ranges one balanced tree per architecture, so the default profile has a quarter of
//! the instructions that libseccomp makes of it. libseccomp is the oracle of the tests.

mod architecture;
mod assemble;
mod compile;
mod condition;
mod default;
mod error;
mod profile;
mod rules;
mod syscalls;

pub use architecture::Architecture;
pub use assemble::Instruction;
pub use compile::{CacheKey, Filter, cache_key, compile, compile_for};
pub use default::default_profile;
pub use error::{ProfileError, SeccompError};
pub use profile::{Target, parse_profile};

#[cfg(test)]
mod tests;
