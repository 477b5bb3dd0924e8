//! Which control group a container lives in and what limits it there. Like the rest of the runtime it has two
//! halves: `compile` turns the spec's resources into a [`CgroupPlan`], which is data; [`Cgroup`] carries it out
//! on the hierarchies, of version 1, 2, or both (hybrid: controllers on version 1, and a version 2 folder beside
//! them for being born in and for `cgroup.kill`). A container is in a folder of its own in *every* hierarchy,
//! limits or not: its cgroup namespace is rooted there. Once it lives, [`update`] compiles a change of its
//! resources, the group is frozen and thawed, and [`stats`] tells what it used.
//!
//! ```text
//!  <mountpoint of the hierarchy>/gantry/<namespace>/<container>     one such folder per hierarchy
//! ```

#[cfg(feature = "plan")]
mod compile;
mod directory;
mod door;
mod end;
mod error;
mod freeze;
#[cfg(feature = "plan")]
mod host;
#[cfg(feature = "plan")]
mod live;
#[cfg(feature = "plan")]
mod location;
mod observe;
#[cfg(feature = "plan")]
pub mod stats;

#[cfg(feature = "plan")]
pub use compile::{CgroupPlanError, CgroupUpdate, merge, plan, update};
pub use directory::Cgroup;
pub use door::Doors;
#[cfg(feature = "plan")]
pub use end::prune;
pub use error::CgroupError;
#[cfg(feature = "plan")]
pub use host::{Hierarchy, Host, UnifiedHierarchy};
#[cfg(feature = "plan")]
pub use live::CgroupAtError;
#[cfg(feature = "plan")]
pub use location::folder;

/// What making a container's control group means.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct CgroupPlan {
    /// The folder below each hierarchy's mountpoint: `gantry/default/1f2e`, without a slash at either end.
    #[prost(string, tag = "1")]
    pub path: String,
    /// One per hierarchy, in the order they are made.
    #[prost(message, repeated, tag = "2")]
    pub folders: Vec<Folder>,
    /// The device filter for the version 2 folder: eBPF instructions of eight bytes in the machine's order.
    /// Empty means that devices are not filtered there.
    #[prost(bytes = "vec", tag = "3")]
    pub device_filter: Vec<u8>,
    /// Whether a service manager has made the folders, with somebody in them. Version 4 of a plan.
    #[prost(bool, tag = "4")]
    pub given: bool,
}

/// A container's folder in one hierarchy.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Folder {
    /// Where the hierarchy is mounted.
    #[prost(string, tag = "1")]
    pub mountpoint: String,
    /// Which version it is.
    #[prost(enumeration = "Version", tag = "2")]
    pub version: i32,
    /// Version 1: what the hierarchy controls, `cpu`, or its name, `name=systemd`. Version 2: what must be
    /// enabled on the way down.
    #[prost(string, repeated, tag = "3")]
    pub controllers: Vec<String>,
    /// Files to write, in this order, before any process is in it.
    #[prost(message, repeated, tag = "4")]
    pub writes: Vec<Write>,
}

/// The two kinds of hierarchies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum Version {
    /// One hierarchy per controller.
    Legacy = 0,
    /// One for all.
    Unified = 1,
}

/// One value written to one file of a folder.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Write {
    /// The file's name.
    #[prost(string, tag = "1")]
    pub file: String,
    /// What is written, in one write(2).
    #[prost(string, tag = "2")]
    pub value: String,
    /// Whether a kernel without the file is good enough (swap accounting, I/O weights).
    #[prost(bool, tag = "3")]
    pub optional: bool,
    /// What is tried first when a kernel with another I/O scheduler has another file for it.
    #[prost(message, optional, tag = "4")]
    pub preferred: Option<PreferredFile>,
    /// A file of the folder whose number may not be above the value (the spec's `checkBeforeUpdate`); empty
    /// asks nothing.
    #[prost(string, tag = "5")]
    pub usage: String,
}

/// A file that is written instead where it exists.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct PreferredFile {
    /// The file's name.
    #[prost(string, tag = "1")]
    pub file: String,
    /// What is written.
    #[prost(string, tag = "2")]
    pub value: String,
}

#[cfg(all(test, feature = "plan"))]
mod tests;
