//! What goes wrong with systemd. Its own refusals are told with their D-Bus name, by which they are known.

use gantry_linux::SyscallError;
use gantry_types::{Class, Classified};

use crate::cgroup::Write;

/// A call of systemd that failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SystemdError {
    /// Another program is process 1.
    #[error("systemd does not run this machine: there is no /run/systemd/system")]
    Absent,
    /// Controllers are on version 1's hierarchies.
    #[error(
        "systemd's scopes are used with control groups of version 2 alone, and here version 1 has controllers"
    )]
    Legacy,
    /// Only root may ask the system's instance.
    #[error("the system's instance of systemd makes scopes for root alone")]
    NotRoot,
    /// Neither its own socket nor the bus answers.
    #[error("systemd cannot be reached at {path}")]
    Unreachable {
        /// The socket that was tried last.
        path: &'static str,
        /// Why.
        source: SyscallError,
    },
    /// The other end does not let us in.
    #[error("systemd's socket does not accept this user")]
    NotAccepted,
    /// The connection broke.
    #[error("the connection to systemd failed")]
    Connection {
        /// Why.
        source: SyscallError,
    },
    /// The other end closed it.
    #[error("systemd closed the connection")]
    Closed,
    /// What came is no message.
    #[error("systemd's answer is not a message of D-Bus")]
    Malformed,
    /// It did not answer in time.
    #[error("systemd did not answer {call} in time")]
    Late {
        /// What was asked.
        call: String,
    },
    /// It refused.
    #[error("systemd refused {call}: {name}: {message}")]
    Refused {
        /// What was asked.
        call: String,
        /// The error's name.
        name: String,
        /// What it says.
        message: String,
    },
    /// The job of a unit did not end well.
    #[error("systemd's job for {unit} ended as {result:?}")]
    Job {
        /// The unit.
        unit: String,
        /// systemd's word: `failed`, `timeout`, `canceled` and so on.
        result: String,
    },
    /// A limit that no property can say.
    #[error("systemd has no way to say {value:?} for {file}")]
    Value {
        /// The control group's file.
        file: String,
        /// The value.
        value: String,
    },
    /// The process that begins a scope cannot be made.
    #[error("the process that begins a scope cannot be made")]
    Placeholder {
        /// Why.
        source: SyscallError,
    },
}

impl SystemdError {
    pub(super) fn value(write: &Write) -> Self {
        Self::Value { file: write.file.clone(), value: write.value.clone() }
    }

    pub(super) fn connection(source: SyscallError) -> Self {
        Self::Connection { source }
    }
}

impl Classified for SystemdError {
    fn class(&self) -> Class {
        match self {
            Self::Absent | Self::Legacy => Class::Unimplemented,
            Self::NotRoot | Self::NotAccepted => Class::PermissionDenied,
            Self::Unreachable { .. } | Self::Connection { .. } | Self::Closed => Class::Unavailable,
            Self::Malformed => Class::Internal,
            Self::Late { .. } => Class::DeadlineExceeded,
            Self::Refused { .. } | Self::Job { .. } => Class::FailedPrecondition,
            Self::Value { .. } => Class::InvalidArgument,
            Self::Placeholder { source } => source.class(),
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::Absent => "SYSTEMD_ABSENT",
            Self::Legacy => "SYSTEMD_NEEDS_CGROUP_V2",
            Self::NotRoot => "SYSTEMD_NEEDS_ROOT",
            Self::Unreachable { .. } => "SYSTEMD_UNREACHABLE",
            Self::NotAccepted => "SYSTEMD_NOT_ACCEPTED",
            Self::Connection { .. } => "SYSTEMD_CONNECTION_FAILED",
            Self::Closed => "SYSTEMD_CONNECTION_CLOSED",
            Self::Malformed => "SYSTEMD_ANSWER_MALFORMED",
            Self::Late { .. } => "SYSTEMD_LATE",
            Self::Refused { .. } => "SYSTEMD_REFUSED",
            Self::Job { .. } => "SYSTEMD_JOB_FAILED",
            Self::Value { .. } => "SYSTEMD_LIMIT_INVALID",
            Self::Placeholder { .. } => "SYSTEMD_PLACEHOLDER_FAILED",
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Absent | Self::Legacy | Self::NotRoot => Some(
                "set the engine's cgroup driver to cgroupfs (gantryd: containers.cgroup_manager)".to_owned(),
            ),
            Self::Unreachable { .. } => Some("see whether systemctl works here, as root".to_owned()),
            Self::Job { unit, .. } => Some(format!("see journalctl --unit {unit}")),
            Self::NotAccepted
            | Self::Connection { .. }
            | Self::Closed
            | Self::Malformed
            | Self::Late { .. }
            | Self::Refused { .. }
            | Self::Value { .. }
            | Self::Placeholder { .. } => None,
        }
    }
}
