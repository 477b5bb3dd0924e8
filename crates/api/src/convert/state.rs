//! States, exits and modes, both ways.

use gantry_types::{ContainerState, Exit, NamespaceMode};

use super::check;
use super::field::InvalidField;
use super::time::{duration_since_epoch_ns, timestamp};
use crate::containers::v1;

impl From<ContainerState> for v1::ContainerState {
    fn from(state: ContainerState) -> Self {
        match state {
            ContainerState::Creating => Self::Creating,
            ContainerState::Created => Self::Created,
            ContainerState::Starting => Self::Starting,
            ContainerState::Running => Self::Running,
            ContainerState::Paused => Self::Paused,
            ContainerState::Exited => Self::Exited,
            ContainerState::Removing => Self::Removing,
        }
    }
}

impl v1::ContainerState {
    /// The vocabulary's state; `None` for the number that is never sent.
    pub fn to_state(self) -> Option<ContainerState> {
        match self {
            Self::Unspecified => None,
            Self::Creating => Some(ContainerState::Creating),
            Self::Created => Some(ContainerState::Created),
            Self::Starting => Some(ContainerState::Starting),
            Self::Running => Some(ContainerState::Running),
            Self::Paused => Some(ContainerState::Paused),
            Self::Exited => Some(ContainerState::Exited),
            Self::Removing => Some(ContainerState::Removing),
        }
    }
}

impl From<Exit> for v1::Exit {
    fn from(exit: Exit) -> Self {
        Self { code: exit.code, time: Some(timestamp(exit.at_unix_ns)), oom_killed: exit.oom_killed }
    }
}

impl From<&v1::Exit> for Exit {
    fn from(exit: &v1::Exit) -> Self {
        let at_unix_ns = exit.time.as_ref().map_or(0, duration_since_epoch_ns);
        Self { code: exit.code, at_unix_ns, oom_killed: exit.oom_killed }
    }
}

/// A namespace's mode asked for.
pub(super) fn mode(name: &str, number: i32) -> Result<NamespaceMode, InvalidField> {
    Ok(match check::known::<v1::NamespaceMode>(name, "NamespaceMode", number)? {
        v1::NamespaceMode::Unspecified | v1::NamespaceMode::Private => NamespaceMode::Private,
        v1::NamespaceMode::Host => NamespaceMode::Host,
    })
}

impl From<NamespaceMode> for v1::NamespaceMode {
    fn from(mode: NamespaceMode) -> Self {
        match mode {
            NamespaceMode::Private => Self::Private,
            NamespaceMode::Host => Self::Host,
        }
    }
}
