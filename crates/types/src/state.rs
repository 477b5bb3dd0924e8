//! A container's states and the one function that moves between them.
//!
//! ```text
//!  Creating ──Prepared──► Created ──Start──► Starting ──Started──► Running ◄──Pause, Resume──► Paused
//!     │                      │                  │                     │                          │
//!     │                      │             StartFailed              Exit                        Exit
//!     │                      │                  ▼                     ▼                          │
//!     └──────Remove──┐       │               Exited ◄─────────────────┴──────────────────────────┘
//!                    ▼       │                │   └──Start──► Starting
//!                 Removing ◄─┴────Remove──────┘
//! ```
//!
//! `Removing` is the last state: the record goes when everything on the host is gone. Stopping is not a
//! state but something being done to a live container.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Where a container is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ContainerState {
    /// Its intent is recorded; its snapshot and folders are being made.
    Creating,
    /// Everything on disk is there; it never ran since it was created.
    Created,
    /// A start is recorded and under way.
    Starting,
    /// Its init process is alive.
    Running,
    /// Its processes are alive and held still.
    Paused,
    /// Its init process ended, or could not be started.
    Exited,
    /// It is being taken away; nothing else can be done with it.
    Removing,
}

/// What can happen to a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContainerEvent {
    /// Snapshot and folders are made.
    Prepared,
    /// A client asked for a start.
    Start,
    /// The init process runs the user's programme.
    Started,
    /// The start did not get that far.
    StartFailed,
    /// All its processes stand still.
    Pause,
    /// They go on.
    Resume,
    /// The init process ended.
    Exit,
    /// A client asked for removal, or a failed create is unwound.
    Remove,
}

/// A transition that the drawing above does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a container that is {state} cannot take the event {event:?}")]
pub struct TransitionError {
    /// The state it is in.
    pub state: ContainerState,
    /// The event that was refused.
    pub event: ContainerEvent,
}

impl ContainerState {
    /// The state after `event`.
    pub fn after(self, event: ContainerEvent) -> Result<Self, TransitionError> {
        use ContainerEvent as E;
        match (self, event) {
            (Self::Creating, E::Prepared) => Ok(Self::Created),
            (Self::Created | Self::Exited, E::Start) => Ok(Self::Starting),
            (Self::Starting, E::Started) | (Self::Paused, E::Resume) => Ok(Self::Running),
            (Self::Starting, E::StartFailed | E::Exit) | (Self::Running | Self::Paused, E::Exit) => {
                Ok(Self::Exited)
            }
            (Self::Running, E::Pause) => Ok(Self::Paused),
            (Self::Creating | Self::Created | Self::Exited | Self::Removing, E::Remove) => Ok(Self::Removing),
            (Self::Creating, E::Start | E::Started | E::StartFailed | E::Pause | E::Resume | E::Exit)
            | (
                Self::Created | Self::Exited,
                E::Prepared | E::Started | E::StartFailed | E::Pause | E::Resume | E::Exit,
            )
            | (Self::Starting, E::Prepared | E::Start | E::Pause | E::Resume | E::Remove)
            | (Self::Running, E::Prepared | E::Start | E::Started | E::StartFailed | E::Resume | E::Remove)
            | (Self::Paused, E::Prepared | E::Start | E::Started | E::StartFailed | E::Pause | E::Remove)
            | (
                Self::Removing,
                E::Prepared | E::Start | E::Started | E::StartFailed | E::Pause | E::Resume | E::Exit,
            ) => Err(TransitionError { state: self, event }),
        }
    }

    /// Whether a process of it may be alive.
    pub fn is_alive(self) -> bool {
        match self {
            Self::Starting | Self::Running | Self::Paused => true,
            Self::Creating | Self::Created | Self::Exited | Self::Removing => false,
        }
    }

    /// The lower-case word that people and filters use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Created => "created",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Exited => "exited",
            Self::Removing => "removing",
        }
    }
}

impl fmt::Display for ContainerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::ContainerEvent as E;
    use super::ContainerState as S;

    const STATES: [S; 7] =
        [S::Creating, S::Created, S::Starting, S::Running, S::Paused, S::Exited, S::Removing];
    const EVENTS: [E; 8] =
        [E::Prepared, E::Start, E::Started, E::StartFailed, E::Pause, E::Resume, E::Exit, E::Remove];

    #[test]
    fn every_pair_of_state_and_event_is_as_drawn() {
        let drawn = |state: S, event: E| match (state, event) {
            (S::Creating, E::Prepared) => Some(S::Created),
            (S::Created | S::Exited, E::Start) => Some(S::Starting),
            (S::Starting, E::Started) | (S::Paused, E::Resume) => Some(S::Running),
            (S::Starting, E::StartFailed | E::Exit) | (S::Running | S::Paused, E::Exit) => Some(S::Exited),
            (S::Running, E::Pause) => Some(S::Paused),
            (S::Creating | S::Created | S::Exited | S::Removing, E::Remove) => Some(S::Removing),
            _ => None,
        };
        for state in STATES {
            for event in EVENTS {
                assert_eq!(state.after(event).ok(), drawn(state, event), "{state} {event:?}");
            }
        }
    }

    #[test]
    fn removal_is_final_and_a_live_container_is_never_removed() {
        for event in EVENTS {
            assert!(matches!(S::Removing.after(event), Ok(S::Removing) | Err(_)));
        }
        for state in STATES.into_iter().filter(|state| state.is_alive()) {
            assert!(state.after(E::Remove).is_err());
        }
    }
}
