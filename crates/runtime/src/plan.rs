//! What a container's start is made of: an ordered list of kernel operations, worked out before anything
//! happens. The types are here; `compile` makes them from an OCI spec, and
//! [`crate::execute`] carries them out. Plans travel to the shim and are kept on disk, so the messages only
//! grow: fields are added, never renumbered, and [`VERSION`] counts what an older shim could not carry out.

#[cfg(feature = "plan")]
mod compile;
#[cfg(feature = "plan")]
mod error;
mod hooks;
mod identity;
mod process;
mod scheduling;
mod step;

#[cfg(feature = "plan")]
pub use compile::{PlanInput, compile, compile_exec};
#[cfg(feature = "plan")]
pub use error::PlanError;
pub use hooks::{Hook, Hooks};
pub use identity::{IdMap, IdRange, MountIdMap};
pub use process::{Capabilities, ExecPlan, Listener, Process, Rlimit, Seccomp, Terminal};
pub use scheduling::{Affinity, IoPriority, MemoryPolicy, Scheduler};
pub use step::{
    Bind, Console, Device, EnterCgroupNamespace, Folder, Loopback, Mask, Mount, Name, Op, Readonly, Remount,
    RootAttributes, Setting, Step, Symlink, Sysctl,
};

use crate::cgroup::CgroupPlan;

/// The highest version that this code carries out. A plan says the lowest one that is enough for it: 1, or more
/// when it has something that came later (the fields say so), so that an older shim refuses only those.
pub const VERSION: u32 = 4;

/// Everything that starting one container means. Executed in this order: cgroup, root filesystem and bind
/// sources on the host side; clone; then in the child mount propagation, root, `steps` in their order, the
/// change of root, and `process`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Plan {
    /// The lowest executor version that carries this out faithfully.
    #[prost(uint32, tag = "1")]
    pub version: u32,
    /// Where the root filesystem comes from.
    #[prost(message, optional, tag = "2")]
    pub rootfs: Option<Rootfs>,
    /// Namespaces; a kind that is missing is shared with the executor.
    #[prost(message, repeated, tag = "3")]
    pub namespaces: Vec<Namespace>,
    /// Whether mounts of the host go on appearing in the container (`slave`) or nothing passes (false).
    #[prost(bool, tag = "4")]
    pub slave_propagation: bool,
    /// What the child does before it changes its root, in order.
    #[prost(message, repeated, tag = "5")]
    pub steps: Vec<Step>,
    /// The container's process.
    #[prost(message, optional, tag = "6")]
    pub process: Option<Process>,
    /// Whether Gantry's own tiny init is pid 1 and the process its child.
    #[prost(bool, tag = "7")]
    pub init: bool,
    /// The control group, made before the process; absent leaves it in the executor's.
    #[prost(message, optional, tag = "8")]
    pub cgroup: Option<CgroupPlan>,
    /// The operator's programmes. Version 2.
    #[prost(message, optional, tag = "9")]
    pub hooks: Option<Hooks>,
    /// The mappings of a new user namespace. Version 2.
    #[prost(message, optional, tag = "10")]
    pub ids: Option<IdMap>,
    /// What is written to `timens_offsets` of a new time namespace: lines of clock, seconds, nanoseconds.
    /// Version 2.
    #[prost(string, tag = "11")]
    pub clock_offsets: String,
    /// The propagation that the root mount has in the end: `MS_SHARED` and so on; 0 is private. Version 2.
    #[prost(uint64, tag = "12")]
    pub root_propagation: u64,
    /// Whether the mounts below the root get it too.
    #[prost(bool, tag = "13")]
    pub root_propagation_all: bool,
    /// Links of the host that move into the container's network namespace. Version 2.
    #[prost(message, repeated, tag = "14")]
    pub net_devices: Vec<NetDevice>,
}

/// A network link of the host that becomes the container's, with its addresses.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct NetDevice {
    /// Its name on the host.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Its name in the container.
    #[prost(string, tag = "2")]
    pub name_inside: String,
}

/// Where the root filesystem comes from.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Rootfs {
    /// How it is made.
    #[prost(oneof = "Root", tags = "1, 2")]
    pub root: Option<Root>,
    /// Whether its files' ids are inside ids of the container's user namespace, so that they are shifted by
    /// an id-mapped mount; otherwise they are ids of the host. Version 2.
    #[prost(bool, tag = "3")]
    pub id_mapped: bool,
}

/// How the root filesystem is made.
#[derive(Clone, PartialEq, Eq, prost::Oneof)]
pub enum Root {
    /// An overlay, mounted detached: no line in any mount table until the child attaches it.
    #[prost(message, tag = "1")]
    Overlay(Overlay),
    /// A folder of the host, cloned with its submounts.
    #[prost(string, tag = "2")]
    Folder(String),
}

/// An overlayfs (kernel documentation, filesystems/overlayfs).
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Overlay {
    /// Absolute paths, topmost first; at least one.
    #[prost(string, repeated, tag = "1")]
    pub lower: Vec<String>,
    /// Absolute path that takes the writes; empty is a read-only overlay, which needs two lower folders.
    #[prost(string, tag = "2")]
    pub upper: String,
    /// Absolute path on the filesystem of `upper`, empty when that is.
    #[prost(string, tag = "3")]
    pub work: String,
    /// Whether writes are never synced (`volatile`).
    #[prost(bool, tag = "4")]
    pub volatile: bool,
    /// Further options.
    #[prost(message, repeated, tag = "5")]
    pub settings: Vec<Setting>,
}

/// One namespace of the container.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Namespace {
    /// Which.
    #[prost(enumeration = "NamespaceKind", tag = "1")]
    pub kind: i32,
    /// The namespace file to join; empty means a new one.
    #[prost(string, tag = "2")]
    pub path: String,
    /// Whether the executor's caller passes the namespace as an open descriptor; `path` is empty. Version 2.
    #[prost(bool, tag = "3")]
    pub passed: bool,
}

/// The kinds of namespaces that plans know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
pub enum NamespaceKind {
    /// A plan that does not say; refused by the executor.
    Unspecified = 0,
    /// Mounts. Every container has its own.
    Mount = 1,
    /// Process ids.
    Pid = 2,
    /// Host and domain name.
    Uts = 3,
    /// System V and POSIX message queues, shared memory.
    Ipc = 4,
    /// Network stack.
    Network = 5,
    /// The cgroup root that is seen; made by the step [`EnterCgroupNamespace`], after the child is in its cgroup.
    Cgroup = 6,
    /// Users, groups and capabilities. Version 2.
    User = 7,
    /// Boot and monotonic clocks (Linux 6.1: a process enters a new one by its exec). Version 2.
    Time = 8,
}

impl Plan {
    /// The lowest executor version that carries everything in it out.
    #[cfg(feature = "plan")]
    fn lowest_version(&self) -> u32 {
        // Those that version 1 could not join.
        let joined = |kind| matches!(kind, NamespaceKind::Mount | NamespaceKind::Pid | NamespaceKind::Cgroup);
        let namespace = |one: &Namespace| {
            one.passed
                || matches!(one.kind(), NamespaceKind::User | NamespaceKind::Time)
                || (!one.path.is_empty() && joined(one.kind()))
        };
        let has_mounts = |one: &Namespace| one.kind() == NamespaceKind::Mount;
        let second = self.hooks.is_some()
            || !self.namespaces.iter().any(has_mounts)
            || self.root_propagation != 0
            || !self.net_devices.is_empty()
            || self.namespaces.iter().any(namespace)
            || self.rootfs.as_ref().is_some_and(|rootfs| rootfs.id_mapped)
            || self.process.as_ref().is_some_and(Process::is_second_version);
        let steps = self.steps.iter().map(Step::lowest_version).max().unwrap_or(1);
        steps.max(if second { 2 } else { 1 })
    }
}
