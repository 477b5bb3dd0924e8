//! What goes wrong with control groups on the host. A value that the kernel refuses is told with its file, so
//! that the client sees which limit it was.

use gantry_linux::{Errno, SyscallError};
use gantry_types::{Class, Classified};

/// A control group operation that failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CgroupError {
    /// A folder cannot be made.
    #[error("the control group {path} cannot be made")]
    Create {
        /// The folder.
        path: String,
        /// Why.
        source: SyscallError,
    },
    /// A limit is refused by the kernel, or its file is missing.
    #[error("the control group file {path} does not take the value '{value}'")]
    Limit {
        /// The file.
        path: String,
        /// What was written.
        value: String,
        /// Why.
        source: SyscallError,
    },
    /// A limit is below what is in use.
    #[error("the control group file {path} is not set to {value}, for {used} are in use")]
    InUse {
        /// The file.
        path: String,
        /// What was asked for.
        value: u64,
        /// What is in use.
        used: u64,
    },
    /// Neither version has a freezer here.
    #[error("the control group {path} has no freezer")]
    NoFreezer {
        /// The folder below every hierarchy.
        path: String,
    },
    /// Its processes cannot be held still, or let go.
    #[error("the processes of the control group {path} cannot be frozen or thawed")]
    Freeze {
        /// The folder or file.
        path: String,
        /// Why.
        source: SyscallError,
    },
    /// Not all of them were still when the time was over.
    #[error("the control group {path} is not frozen after {waited_ms} ms")]
    NotFrozen {
        /// The folder.
        path: String,
        /// How long it was waited.
        waited_ms: u64,
    },
    /// The device filter cannot be loaded or attached.
    #[error("the device filter of the control group {path} cannot be set")]
    DeviceFilter {
        /// The folder.
        path: String,
        /// Why.
        source: SyscallError,
    },
    /// A process cannot be put into a folder.
    #[error("process {pid} cannot join the control group {path}")]
    Join {
        /// The process.
        pid: i32,
        /// The folder.
        path: String,
        /// Why.
        source: SyscallError,
    },
    /// A file or folder cannot be read.
    #[error("the control group file {path} cannot be read")]
    Read {
        /// The file or folder.
        path: String,
        /// Why.
        source: SyscallError,
    },
    /// Its processes cannot be killed.
    #[error("the processes of the control group {path} cannot be killed")]
    Kill {
        /// The folder.
        path: String,
        /// Why.
        source: SyscallError,
    },
    /// A folder cannot be removed.
    #[error("the control group {path} cannot be removed")]
    Remove {
        /// The folder.
        path: String,
        /// Why.
        source: SyscallError,
    },
    /// Processes were still there when the time was over.
    #[error("the control group {path} still has processes after {waited_ms} ms")]
    Populated {
        /// The folder.
        path: String,
        /// How long it was waited.
        waited_ms: u64,
    },
}

impl CgroupError {
    /// The kernel's answer.
    pub fn errno(&self) -> Errno {
        match self {
            Self::Create { source, .. }
            | Self::Limit { source, .. }
            | Self::DeviceFilter { source, .. }
            | Self::Freeze { source, .. }
            | Self::Join { source, .. }
            | Self::Read { source, .. }
            | Self::Kill { source, .. }
            | Self::Remove { source, .. } => source.errno,
            Self::Populated { .. } | Self::NotFrozen { .. } | Self::InUse { .. } => Errno::BUSY,
            Self::NoFreezer { .. } => Errno::NOENT,
        }
    }

    /// The file or folder it is about.
    pub fn path(&self) -> &str {
        match self {
            Self::Create { path, .. }
            | Self::Limit { path, .. }
            | Self::DeviceFilter { path, .. }
            | Self::InUse { path, .. }
            | Self::NoFreezer { path, .. }
            | Self::Freeze { path, .. }
            | Self::NotFrozen { path, .. }
            | Self::Join { path, .. }
            | Self::Read { path, .. }
            | Self::Kill { path, .. }
            | Self::Remove { path, .. }
            | Self::Populated { path, .. } => path,
        }
    }
}

impl Classified for CgroupError {
    fn class(&self) -> Class {
        match self {
            Self::Limit { source, .. } => match source.errno {
                Errno::INVAL | Errno::RANGE | Errno::NODEV => Class::InvalidArgument,
                Errno::NOENT => Class::Unimplemented,
                // Memory that cannot be taken back.
                Errno::BUSY => Class::FailedPrecondition,
                _ => source.class(),
            },
            Self::Create { source, .. }
            | Self::DeviceFilter { source, .. }
            | Self::Freeze { source, .. }
            | Self::Join { source, .. }
            | Self::Read { source, .. }
            | Self::Kill { source, .. }
            | Self::Remove { source, .. } => source.class(),
            Self::Populated { .. } | Self::NotFrozen { .. } => Class::DeadlineExceeded,
            Self::InUse { .. } => Class::FailedPrecondition,
            Self::NoFreezer { .. } => Class::Unimplemented,
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::Create { .. } => "CGROUP_CREATE_FAILED",
            Self::Limit { .. } => "CGROUP_LIMIT_REFUSED",
            Self::InUse { .. } => "CGROUP_LIMIT_IN_USE",
            Self::NoFreezer { .. } => "CGROUP_NO_FREEZER",
            Self::Freeze { .. } => "CGROUP_FREEZE_FAILED",
            Self::NotFrozen { .. } => "CGROUP_NOT_FROZEN",
            Self::DeviceFilter { .. } => "CGROUP_DEVICE_FILTER_FAILED",
            Self::Join { .. } => "CGROUP_JOIN_FAILED",
            Self::Read { .. } => "CGROUP_READ_FAILED",
            Self::Kill { .. } => "CGROUP_KILL_FAILED",
            Self::Remove { .. } => "CGROUP_REMOVE_FAILED",
            Self::Populated { .. } => "CGROUP_STILL_POPULATED",
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Limit { path, .. } if self.errno() == Errno::NOENT => {
                Some(format!("this kernel, or the parent of the group, does not offer {path}"))
            }
            Self::Limit { .. } => Some("check the value of the resource limit against this machine".into()),
            Self::InUse { .. } => {
                Some("choose a higher limit, or let the container free memory first".into())
            }
            Self::NoFreezer { .. } => {
                Some("mount the freezer controller, or control groups version 2".into())
            }
            Self::Create { .. }
            | Self::DeviceFilter { .. }
            | Self::Freeze { .. }
            | Self::NotFrozen { .. }
            | Self::Join { .. }
            | Self::Read { .. }
            | Self::Kill { .. }
            | Self::Remove { .. }
            | Self::Populated { .. } => None,
        }
    }
}
