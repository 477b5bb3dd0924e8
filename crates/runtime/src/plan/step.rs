//! The operations between the attaching of the root filesystem and the change of root. Every path here is
//! inside the container: the executor resolves it beneath the root's descriptor and nowhere else. Host
//! paths are only in [`Bind::source`], which is opened before the clone.

/// One operation. An executor that does not know it finds `op` empty and refuses the plan.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Step {
    /// What to do.
    #[prost(oneof = "Op", tags = "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15")]
    pub op: Option<Op>,
}

impl Step {
    /// The lowest executor version that leaves nothing of it out.
    #[cfg(feature = "plan")]
    pub(super) fn lowest_version(&self) -> u32 {
        match &self.op {
            Some(Op::Bind(bind)) if bind.id_map.is_some() => 2,
            Some(Op::Mount(mount)) if mount.copy_up => 2,
            Some(Op::Remount(_)) => 3,
            Some(
                Op::Mount(_)
                | Op::Bind(_)
                | Op::Device(_)
                | Op::Symlink(_)
                | Op::Folder(_)
                | Op::Console(_)
                | Op::Mask(_)
                | Op::Readonly(_)
                | Op::RootAttributes(_)
                | Op::Hostname(_)
                | Op::Domainname(_)
                | Op::Sysctl(_)
                | Op::Loopback(_)
                | Op::EnterCgroupNamespace(_),
            )
            | None => 1,
        }
    }
}

impl From<Op> for Step {
    fn from(op: Op) -> Self {
        Self { op: Some(op) }
    }
}

/// What a step does.
#[derive(Clone, PartialEq, Eq, prost::Oneof)]
pub enum Op {
    /// A fresh filesystem.
    #[prost(message, tag = "1")]
    Mount(Mount),
    /// A host folder or file.
    #[prost(message, tag = "2")]
    Bind(Bind),
    /// A device node.
    #[prost(message, tag = "3")]
    Device(Device),
    /// A symbolic link.
    #[prost(message, tag = "4")]
    Symlink(Symlink),
    /// A folder that has to exist.
    #[prost(message, tag = "5")]
    Folder(Folder),
    /// The pseudo terminal, and `/dev/console` on top of its replica.
    #[prost(message, tag = "6")]
    Console(Console),
    /// Paths made unreadable.
    #[prost(message, tag = "7")]
    Mask(Mask),
    /// Paths made read-only.
    #[prost(message, tag = "8")]
    Readonly(Readonly),
    /// Attributes of the root mount itself.
    #[prost(message, tag = "9")]
    RootAttributes(RootAttributes),
    /// The host name.
    #[prost(message, tag = "10")]
    Hostname(Name),
    /// The NIS domain name.
    #[prost(message, tag = "11")]
    Domainname(Name),
    /// A kernel parameter.
    #[prost(message, tag = "12")]
    Sysctl(Sysctl),
    /// The loopback link of a new network namespace.
    #[prost(message, tag = "13")]
    Loopback(Loopback),
    /// A new cgroup namespace, once the child is in its cgroup.
    #[prost(message, tag = "14")]
    EnterCgroupNamespace(EnterCgroupNamespace),
    /// A mount of an earlier step, or of the root filesystem, that changes. Version 3.
    #[prost(message, tag = "15")]
    Remount(Remount),
}

/// One filesystem parameter, as fsconfig(2) takes it.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Setting {
    /// The parameter.
    #[prost(string, tag = "1")]
    pub key: String,
    /// Its value; absent for a flag.
    #[prost(string, optional, tag = "2")]
    pub value: Option<String>,
}

/// A fresh filesystem at a path, which is made if it is missing and must not be a symbolic link when it is
/// `/proc` or `/sys`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Mount {
    /// Absolute path in the container.
    #[prost(string, tag = "1")]
    pub target: String,
    /// Filesystem type, as fsopen(2) takes it.
    #[prost(string, tag = "2")]
    pub fstype: String,
    /// What mountinfo shows as the source.
    #[prost(string, tag = "3")]
    pub source: String,
    /// `MOUNT_ATTR_*` of mount_setattr(2).
    #[prost(uint64, tag = "4")]
    pub attributes: u64,
    /// The filesystem's own parameters.
    #[prost(message, repeated, tag = "5")]
    pub settings: Vec<Setting>,
    /// `MS_SHARED`, `MS_SLAVE`, `MS_PRIVATE` or `MS_UNBINDABLE`; 0 keeps private.
    #[prost(uint64, tag = "7")]
    pub propagation: u64,
    /// Whether what the root filesystem has at the target is copied into it (`tmpcopyup`). Version 2.
    #[prost(bool, tag = "8")]
    pub copy_up: bool,
}

/// A host folder or file at a path; the mountpoint is made as folder or file, whichever the source is.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Bind {
    /// Absolute host path, opened by the executor before the clone.
    #[prost(string, tag = "1")]
    pub source: String,
    /// Absolute path in the container.
    #[prost(string, tag = "2")]
    pub target: String,
    /// Whether mounts below the source come with it.
    #[prost(bool, tag = "3")]
    pub recursive: bool,
    /// `MOUNT_ATTR_*` to set on the topmost mount.
    #[prost(uint64, tag = "4")]
    pub set: u64,
    /// `MOUNT_ATTR_*` to clear on the topmost mount.
    #[prost(uint64, tag = "5")]
    pub clear: u64,
    /// `MOUNT_ATTR_*` to set on every mount of the tree (`rro`).
    #[prost(uint64, tag = "6")]
    pub set_all: u64,
    /// `MOUNT_ATTR_*` to clear on every mount of the tree.
    #[prost(uint64, tag = "7")]
    pub clear_all: u64,
    /// `MS_SHARED`, `MS_SLAVE`, `MS_PRIVATE` or `MS_UNBINDABLE`.
    #[prost(uint64, tag = "8")]
    pub propagation: u64,
    /// Whether the propagation is for every mount of the tree.
    #[prost(bool, tag = "9")]
    pub propagation_all: bool,
    /// Shows other ids than the files have. Version 2.
    #[prost(message, optional, tag = "10")]
    pub id_map: Option<super::MountIdMap>,
}

/// Attributes of the mount at a path, which must be the root of one. What is not named stays as it is.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Remount {
    /// Absolute path in the container.
    #[prost(string, tag = "1")]
    pub target: String,
    /// `MOUNT_ATTR_*` to set on this mount.
    #[prost(uint64, tag = "2")]
    pub set: u64,
    /// `MOUNT_ATTR_*` to clear on this mount.
    #[prost(uint64, tag = "3")]
    pub clear: u64,
    /// `MOUNT_ATTR_*` to set on it and every mount below.
    #[prost(uint64, tag = "4")]
    pub set_all: u64,
    /// `MOUNT_ATTR_*` to clear on it and every mount below.
    #[prost(uint64, tag = "5")]
    pub clear_all: u64,
    /// `MS_SHARED`, `MS_SLAVE`, `MS_PRIVATE` or `MS_UNBINDABLE`; 0 leaves it.
    #[prost(uint64, tag = "6")]
    pub propagation: u64,
    /// Whether the propagation is for every mount below too.
    #[prost(bool, tag = "7")]
    pub propagation_all: bool,
}

/// A device node at a path.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Device {
    /// Absolute path in the container.
    #[prost(string, tag = "1")]
    pub path: String,
    /// Type and permission bits, as in `st_mode`.
    #[prost(uint32, tag = "2")]
    pub mode: u32,
    /// Major number.
    #[prost(uint32, tag = "3")]
    pub major: u32,
    /// Minor number.
    #[prost(uint32, tag = "4")]
    pub minor: u32,
    /// Owner.
    #[prost(uint32, tag = "5")]
    pub uid: u32,
    /// Group.
    #[prost(uint32, tag = "6")]
    pub gid: u32,
}

/// A symbolic link; one that exists already is left alone.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Symlink {
    /// Absolute path in the container.
    #[prost(string, tag = "1")]
    pub path: String,
    /// What it points to.
    #[prost(string, tag = "2")]
    pub target: String,
}

/// A folder that has to exist.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Folder {
    /// Absolute path in the container.
    #[prost(string, tag = "1")]
    pub path: String,
}

/// The pseudo terminal of [`super::Terminal`] is opened in the container's own devpts, which an earlier
/// step mounted at `/dev/pts`.
#[derive(Clone, PartialEq, Eq, Hash, Copy, prost::Message)]
pub struct Console {}

/// Paths made unreadable: an empty read-only folder over folders, the null device over the rest. Missing
/// ones are skipped.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Mask {
    /// Absolute paths in the container.
    #[prost(string, repeated, tag = "1")]
    pub paths: Vec<String>,
}

/// Paths made read-only; missing ones are skipped.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Readonly {
    /// Absolute paths in the container.
    #[prost(string, repeated, tag = "1")]
    pub paths: Vec<String>,
}

/// Attributes of the root mount.
#[derive(Clone, PartialEq, Eq, Hash, Copy, prost::Message)]
pub struct RootAttributes {
    /// `MOUNT_ATTR_*` to set.
    #[prost(uint64, tag = "1")]
    pub set: u64,
}

/// A host or domain name.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Name {
    /// At most 64 bytes.
    #[prost(string, tag = "1")]
    pub name: String,
}

/// A kernel parameter of a namespace that the container owns.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Sysctl {
    /// Path below `/proc/sys`, with slashes.
    #[prost(string, tag = "1")]
    pub path: String,
    /// What is written.
    #[prost(string, tag = "2")]
    pub value: String,
}

/// The loopback link of a new network namespace is set up.
#[derive(Clone, PartialEq, Eq, Hash, Copy, prost::Message)]
pub struct Loopback {}

/// The child waits until it is in its cgroup and makes a new cgroup namespace there, so that the cgroup is
/// the root that the container sees.
#[derive(Clone, PartialEq, Eq, Hash, Copy, prost::Message)]
pub struct EnterCgroupNamespace {}
