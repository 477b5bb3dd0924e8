//! What can be wrong with a request or an image config when it is turned into an OCI spec: one variant
//! per kind of value, each with what a person can do about it.

use gantry_types::{Class, Classified};

use crate::seccomp::ProfileError;

/// Why no spec can be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// Neither the request nor the image names a program.
    #[error("no command is given, and the image has none")]
    NoCommand,
    /// A process has more arguments or environment than is taken.
    #[error("{what} of the process exceed the limit of {max}")]
    ProcessTooLarge {
        /// What there is too much of.
        what: &'static str,
        /// The limit.
        max: usize,
    },
    /// An argument or an environment entry holds a zero byte.
    #[error("{what} {text:?} holds a zero byte")]
    ZeroByte {
        /// What kind of value.
        what: &'static str,
        /// The value.
        text: String,
    },
    /// An environment entry of the request is not `NAME=value`.
    #[error("environment entry {text:?} is not NAME=value")]
    Environment {
        /// The entry.
        text: String,
    },
    /// A path is not what its place needs.
    #[error("{what} {path:?} {rule}")]
    Path {
        /// What the path is.
        what: &'static str,
        /// The path.
        path: String,
        /// What it breaks.
        rule: &'static str,
    },
    /// Two mounts have the same target.
    #[error("two mounts have the target {target:?}")]
    MountTwice {
        /// The path inside the container.
        target: String,
    },
    /// A mount option is unknown or malformed.
    #[error("mount option {option:?} is not one of {kind}")]
    MountOption {
        /// The option.
        option: String,
        /// What kind of option it should have been.
        kind: &'static str,
    },
    /// More of something than one container may have.
    #[error("a container has at most {max} {what}")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// The limit.
        max: usize,
    },
    /// A host or domain name is malformed, or cannot be set here.
    #[error("{what} {name:?} {rule}")]
    Name {
        /// Which name.
        what: &'static str,
        /// Its text.
        name: String,
        /// What it breaks.
        rule: &'static str,
    },
    /// A capability has an unknown name.
    #[error("capability {name:?} is unknown")]
    UnknownCapability {
        /// The name as given.
        name: String,
    },
    /// A capability is known, and this kernel has not got it.
    #[error("capability {name} is not in this kernel, or not in the daemon's own set")]
    CapabilityMissing {
        /// The canonical name.
        name: &'static str,
    },
    /// A signal has an unknown name or number.
    #[error("signal {text:?} is unknown")]
    UnknownSignal {
        /// The text as given.
        text: String,
    },
    /// A ulimit has an unknown name.
    #[error("ulimit {name:?} is unknown")]
    UnknownUlimit {
        /// The name as given.
        name: String,
    },
    /// A soft limit is above its hard limit.
    #[error("ulimit {name}: the soft limit {soft} is above the hard limit {hard}")]
    UlimitOrder {
        /// The name.
        name: String,
        /// Soft limit.
        soft: u64,
        /// Hard limit.
        hard: u64,
    },
    /// A kernel parameter may not be set for a container, or not for this one.
    #[error("sysctl {key:?} {rule}")]
    Sysctl {
        /// The key.
        key: String,
        /// What it breaks.
        rule: &'static str,
    },
    /// The host has no such device.
    #[error("the host has no device {path:?}")]
    DeviceMissing {
        /// The host path.
        path: String,
    },
    /// Device permissions are not made of `r`, `w` and `m`.
    #[error("device permissions {text:?} are not made of r, w and m, each at most once")]
    DevicePermissions {
        /// The text as given.
        text: String,
    },
    /// A resource limit is out of its range.
    #[error("resource {name}: {rule}")]
    Resource {
        /// Which limit.
        name: &'static str,
        /// What it breaks.
        rule: &'static str,
    },
    /// A user namespace of the container's own does not go with something else that is asked.
    #[error("a container in a user namespace of its own cannot have {what}")]
    UserNamespaceConflict {
        /// What else.
        what: &'static str,
    },
    /// The process's user or group is nobody on the host.
    #[error("{kind} {id} is outside of the container's user namespace")]
    IdUnmapped {
        /// `user` or `group`.
        kind: &'static str,
        /// Its number inside.
        id: u32,
    },
    /// A bind mount cannot have the owners of a user namespace that is not there.
    #[error("mount {target:?} cannot be id-mapped: the container is in the host's user namespace")]
    MountIdMapped {
        /// The path inside the container.
        target: String,
    },
    /// The kernel cannot give a root filesystem other owners.
    #[error("a container in a user namespace of its own needs Linux 5.19, and this is {major}.{minor}")]
    IdMappedMountsUnsupported {
        /// The kernel's version.
        major: u32,
        /// And what stands behind the point.
        minor: u32,
    },
    /// The kernel has no system call filter.
    #[error("this kernel has no seccomp filters")]
    SeccompUnsupported,
    /// The seccomp profile cannot be used.
    #[error("the seccomp profile cannot be used")]
    Profile(#[from] ProfileError),
}

impl Classified for SpecError {
    fn class(&self) -> Class {
        match self {
            Self::NoCommand
            | Self::ProcessTooLarge { .. }
            | Self::ZeroByte { .. }
            | Self::Environment { .. }
            | Self::Path { .. }
            | Self::MountTwice { .. }
            | Self::MountOption { .. }
            | Self::TooMany { .. }
            | Self::Name { .. }
            | Self::UnknownCapability { .. }
            | Self::UnknownSignal { .. }
            | Self::UnknownUlimit { .. }
            | Self::UlimitOrder { .. }
            | Self::Sysctl { .. }
            | Self::DevicePermissions { .. }
            | Self::Resource { .. }
            | Self::UserNamespaceConflict { .. }
            | Self::IdUnmapped { .. }
            | Self::MountIdMapped { .. } => Class::InvalidArgument,
            Self::DeviceMissing { .. } | Self::CapabilityMissing { .. } => Class::FailedPrecondition,
            Self::SeccompUnsupported | Self::IdMappedMountsUnsupported { .. } => Class::Unimplemented,
            Self::Profile(error) => error.class(),
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::NoCommand => "NO_COMMAND",
            Self::ProcessTooLarge { .. } => "PROCESS_TOO_LARGE",
            Self::ZeroByte { .. } => "ZERO_BYTE",
            Self::Environment { .. } => "ENVIRONMENT_MALFORMED",
            Self::Path { .. } => "PATH_REFUSED",
            Self::MountTwice { .. } => "MOUNT_TWICE",
            Self::MountOption { .. } => "MOUNT_OPTION_UNKNOWN",
            Self::TooMany { .. } => "TOO_MANY",
            Self::Name { .. } => "NAME_REFUSED",
            Self::UnknownCapability { .. } => "CAPABILITY_UNKNOWN",
            Self::CapabilityMissing { .. } => "CAPABILITY_MISSING",
            Self::UnknownSignal { .. } => "SIGNAL_UNKNOWN",
            Self::UnknownUlimit { .. } => "ULIMIT_UNKNOWN",
            Self::UlimitOrder { .. } => "ULIMIT_ORDER",
            Self::Sysctl { .. } => "SYSCTL_REFUSED",
            Self::DeviceMissing { .. } => "DEVICE_MISSING",
            Self::DevicePermissions { .. } => "DEVICE_PERMISSIONS_MALFORMED",
            Self::Resource { .. } => "RESOURCE_OUT_OF_RANGE",
            Self::UserNamespaceConflict { .. } => "USER_NAMESPACE_CONFLICT",
            Self::IdUnmapped { .. } => "ID_UNMAPPED",
            Self::MountIdMapped { .. } => "MOUNT_ID_MAPPED",
            Self::IdMappedMountsUnsupported { .. } => "ID_MAPPED_MOUNTS_UNSUPPORTED",
            Self::SeccompUnsupported => "SECCOMP_UNSUPPORTED",
            Self::Profile(error) => error.reason(),
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::NoCommand => "give the command after the image's name",
            Self::ProcessTooLarge { .. } => "pass large data in a file, with a mount",
            Self::ZeroByte { .. } => "take the zero byte out",
            Self::Environment { .. } => {
                "write NAME=value; the daemon never looks a name up in its own environment"
            }
            Self::Path { .. } => "give an absolute path without '..'",
            Self::MountTwice { .. } => "keep one of the two",
            Self::MountOption { .. } => "see mount(8) for the options of a tmpfs and of a bind mount",
            Self::TooMany { .. } | Self::Name { .. } => return None,
            Self::UnknownCapability { .. } => "use a name of capabilities(7) such as NET_ADMIN, or ALL",
            Self::CapabilityMissing { .. } => "leave the capability out",
            Self::UnknownSignal { .. } => "use a name such as SIGTERM, RTMIN+3, or a number from 1 to 64",
            Self::UnknownUlimit { .. } => {
                "use one of as, core, cpu, data, fsize, locks, memlock, msgqueue, nice, nofile, nproc, rss, rtprio, rttime, sigpending, stack"
            }
            Self::UlimitOrder { .. } => "raise the hard limit, or lower the soft one",
            Self::Sysctl { .. } => {
                "set net.*, or kernel.msg*, kernel.sem, kernel.shm* and fs.mqueue.*, or kernel.domainname, in a container that has the namespace to itself"
            }
            Self::DeviceMissing { .. } => "give the path of a character or block device of the host",
            Self::DevicePermissions { .. } => "write rwm, or a part of it",
            Self::Resource { .. } => "see the limits in the API's description of resources",
            Self::UserNamespaceConflict { .. } | Self::IdMappedMountsUnsupported { .. } => {
                "leave that out, or run the container in the host's user namespace (--userns host)"
            }
            Self::IdUnmapped { .. } => {
                "choose another user, or more ids (--userns auto:size=N, --uidmap, --gidmap)"
            }
            Self::MountIdMapped { .. } => "leave idmap out, or add --userns auto",
            Self::SeccompUnsupported => "run the container with the filter set to unconfined, if you must",
            Self::Profile(error) => return error.hint(),
        };
        Some(hint.to_owned())
    }
}
