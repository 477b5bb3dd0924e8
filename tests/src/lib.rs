//! What do the end-to-end tests stand on? On real things only: a private daemon per test, a real registry, images made
//! at run time from the machine's own packages, and a look at the machine afterwards.
//!
//! Nothing here pretends to be a part of Gantry or of the kernel. The tests themselves are in `e2e/`, a file per
//! behaviour; `tidy/` holds the rules of the house; `bench/` measures and is no test.

pub mod certificates;
pub mod cgroup;
pub mod cli;
pub mod daemon;
pub mod dns;
pub mod fixture;
mod http;
pub mod image;
mod leftover;
pub mod machine;
pub mod network;
pub mod network_driver;
pub mod outcome;
pub mod programs;
pub mod proxy;
pub mod registry;
pub mod steps;
pub mod terminal;
pub mod trial;
pub mod wait;
