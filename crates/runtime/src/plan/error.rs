//! Why a spec cannot be compiled. Every field of the spec that is set is either honoured or named here:
//! nothing is dropped in silence.

use gantry_types::{Class, Classified};

use crate::cgroup::CgroupPlanError;

/// A spec that cannot become a plan. Fields are named as in the OCI runtime-spec's JSON.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// The field is set and this version does not carry it out.
    #[error("{field} is not supported yet")]
    Unsupported {
        /// Which.
        field: String,
    },
    /// The field must be there.
    #[error("{field} is missing")]
    Missing {
        /// Which.
        field: &'static str,
    },
    /// The field's value means nothing, or nothing that is allowed.
    #[error("{field} has the value {value:?}, which is not valid")]
    Invalid {
        /// Which.
        field: String,
        /// What it says.
        value: String,
    },
    /// The limits cannot be expressed on this host's control groups.
    #[error("the control group cannot be planned")]
    Cgroup(#[from] CgroupPlanError),
}

impl PlanError {
    pub(crate) fn unsupported(field: impl Into<String>) -> Self {
        Self::Unsupported { field: field.into() }
    }

    pub(crate) fn invalid(field: impl Into<String>, value: impl Into<String>) -> Self {
        Self::Invalid { field: field.into(), value: value.into() }
    }
}

impl Classified for PlanError {
    fn class(&self) -> Class {
        match self {
            Self::Unsupported { .. } => Class::Unimplemented,
            Self::Missing { .. } | Self::Invalid { .. } => Class::InvalidArgument,
            Self::Cgroup(error) => error.class(),
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::Unsupported { .. } => "SPEC_UNSUPPORTED",
            Self::Missing { .. } | Self::Invalid { .. } => "SPEC_INVALID",
            Self::Cgroup(error) => error.reason(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Unsupported { .. } | Self::Missing { .. } | Self::Invalid { .. } => None,
            Self::Cgroup(error) => error.hint(),
        }
    }
}
