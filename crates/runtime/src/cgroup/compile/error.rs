//! Why a spec's resources cannot be turned into a plan.

use gantry_types::{Class, Classified};

/// A resource that cannot be planned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CgroupPlanError {
    /// The group's path is not one.
    #[error("the control group path '{path}' is not absolute and plain")]
    Path {
        /// What was given, cut.
        path: String,
    },
    /// A value is outside what it may be.
    #[error("linux.resources.{field} cannot be '{value}': {rule}")]
    Value {
        /// The field of the OCI spec.
        field: &'static str,
        /// What was given, cut.
        value: String,
        /// What it may be.
        rule: &'static str,
    },
    /// The version of control groups on this machine has nothing for the field.
    #[error("linux.resources.{field} does not exist with control groups version {version}")]
    Unsupported {
        /// The field of the OCI spec.
        field: &'static str,
        /// 1 or 2.
        version: u8,
    },
    /// The machine's kernel has no such controller, or it is not mounted.
    #[error("this machine has no control group controller '{controller}'")]
    NoController {
        /// Its name.
        controller: String,
    },
    /// A limit that has no value that would mean none.
    #[error("the limit in {file} cannot be taken back, only changed")]
    Permanent {
        /// The file.
        file: String,
    },
    /// No hierarchy is mounted.
    #[error("this machine has no control groups mounted")]
    NoHierarchy,
}

impl CgroupPlanError {
    /// A refused value, cut to what fits a message.
    #[expect(clippy::needless_pass_by_value, reason = "numbers and texts, written where they are made")]
    pub(super) fn value(field: &'static str, value: impl ToString, rule: &'static str) -> Self {
        Self::Value { field, value: value.to_string().chars().take(80).collect(), rule }
    }
}

impl Classified for CgroupPlanError {
    fn class(&self) -> Class {
        match self {
            Self::Path { .. } | Self::Value { .. } => Class::InvalidArgument,
            Self::Unsupported { .. } | Self::NoController { .. } => Class::Unimplemented,
            Self::Permanent { .. } | Self::NoHierarchy => Class::FailedPrecondition,
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::Path { .. } => "CGROUP_PATH_INVALID",
            Self::Value { .. } => "RESOURCE_INVALID",
            Self::Unsupported { .. } => "RESOURCE_UNSUPPORTED",
            Self::NoController { .. } => "CGROUP_CONTROLLER_MISSING",
            Self::Permanent { .. } => "RESOURCE_PERMANENT",
            Self::NoHierarchy => "CGROUPS_NOT_MOUNTED",
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::NoHierarchy => Some("mount /sys/fs/cgroup".into()),
            Self::NoController { controller } => {
                Some(format!("leave the limit out, or boot a kernel with the {controller} controller"))
            }
            Self::Path { .. } | Self::Value { .. } | Self::Unsupported { .. } | Self::Permanent { .. } => {
                None
            }
        }
    }
}
