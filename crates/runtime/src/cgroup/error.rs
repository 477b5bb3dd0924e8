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
            | Self::Join { source, .. }
            | Self::Read { source, .. }
            | Self::Kill { source, .. }
            | Self::Remove { source, .. } => source.errno,
            Self::Populated { .. } => Errno::BUSY,
        }
    }

    /// The file or folder it is about.
    pub fn path(&self) -> &str {
        match self {
            Self::Create { path, .. }
            | Self::Limit { path, .. }
            | Self::DeviceFilter { path, .. }
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
                _ => source.class(),
            },
            Self::Create { source, .. }
            | Self::DeviceFilter { source, .. }
            | Self::Join { source, .. }
            | Self::Read { source, .. }
            | Self::Kill { source, .. }
            | Self::Remove { source, .. } => source.class(),
            Self::Populated { .. } => Class::DeadlineExceeded,
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::Create { .. } => "CGROUP_CREATE_FAILED",
            Self::Limit { .. } => "CGROUP_LIMIT_REFUSED",
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
            Self::Create { .. }
            | Self::DeviceFilter { .. }
            | Self::Join { .. }
            | Self::Read { .. }
            | Self::Kill { .. }
            | Self::Remove { .. }
            | Self::Populated { .. } => None,
        }
    }
}
