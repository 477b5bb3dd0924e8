//! From what is recorded and what the host has, to what has to be done. One pure function, used when the
//! daemon starts, when a shim says or shows that its container ended, and at the end of every ordinary
//! operation: there is no second clean-up path.

use gantry_types::{ContainerState, Exit};

/// What the host has of one container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Host {
    /// No shim answers. `exit` is what an ended shim left in the bundle.
    NoShim {
        /// The exit record, when there is one.
        exit: Option<Exit>,
    },
    /// A shim answers whose init waits before its exec, or was never launched.
    Waiting,
    /// A shim answers whose init runs.
    Running,
    /// A shim answers whose init has ended, or could not be started.
    Ended {
        /// How; `None` when the exec failed.
        exit: Option<Exit>,
    },
}

/// One thing to do. Each can be repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Make the container's folders and record it as created.
    Prepare,
    /// Take over the live container: record it as running or paused, whichever it is, and watch it.
    Adopt,
    /// Record how it ended.
    RecordExit(Exit),
    /// Record that a start did not come to anything.
    RecordStartFailed,
    /// Record that it ended while nobody could see how: a reboot, or a shim that was killed.
    RecordLost,
    /// Wait until what was recorded is durable, then let the shim clean up and end.
    ReleaseShim,
    /// Remove what may be left on the host under its id: bundle, cgroup.
    Sweep,
    /// Record that it is being removed.
    RecordRemoving,
    /// Remove its snapshot and folders, then the record itself.
    Erase,
}

impl Step {
    fn records_an_end(self) -> bool {
        match self {
            Self::RecordExit(_) | Self::RecordStartFailed | Self::RecordLost => true,
            Self::Prepare
            | Self::Adopt
            | Self::ReleaseShim
            | Self::Sweep
            | Self::RecordRemoving
            | Self::Erase => false,
        }
    }
}

/// The steps from here to rest, in order.
pub(crate) fn steps(state: ContainerState, auto_remove: bool, host: Host) -> Vec<Step> {
    let mut steps = Vec::with_capacity(5);
    match (state, host) {
        (ContainerState::Creating, Host::NoShim { .. }) => steps.extend([Step::Sweep, Step::Prepare]),
        (ContainerState::Starting | ContainerState::Running | ContainerState::Paused, Host::Running) => {
            steps.push(Step::Adopt);
        }
        (
            ContainerState::Starting | ContainerState::Running | ContainerState::Paused,
            Host::Ended { exit: Some(exit) },
        ) => {
            steps.extend([Step::RecordExit(exit), Step::ReleaseShim, Step::Sweep]);
        }
        (
            ContainerState::Starting | ContainerState::Running | ContainerState::Paused,
            Host::NoShim { exit: Some(exit) },
        ) => {
            steps.extend([Step::RecordExit(exit), Step::Sweep]);
        }
        (
            ContainerState::Starting | ContainerState::Running | ContainerState::Paused,
            Host::Waiting | Host::Ended { exit: None },
        ) => {
            steps.extend([Step::RecordStartFailed, Step::ReleaseShim, Step::Sweep]);
        }
        (
            ContainerState::Starting | ContainerState::Running | ContainerState::Paused,
            Host::NoShim { exit: None },
        ) => {
            steps.extend([Step::RecordLost, Step::Sweep]);
        }
        (
            ContainerState::Created | ContainerState::Exited | ContainerState::Removing,
            Host::NoShim { .. },
        ) => steps.push(Step::Sweep),
        // A shim of a start that was never recorded as such, or one that was not told to end yet.
        (
            ContainerState::Creating
            | ContainerState::Created
            | ContainerState::Exited
            | ContainerState::Removing,
            Host::Waiting | Host::Running | Host::Ended { .. },
        ) => steps.extend([Step::ReleaseShim, Step::Sweep]),
    }
    let ends_exited = match state {
        ContainerState::Starting | ContainerState::Running | ContainerState::Paused => {
            !steps.contains(&Step::Adopt)
        }
        ContainerState::Exited => true,
        ContainerState::Creating | ContainerState::Created | ContainerState::Removing => false,
    };
    if auto_remove && ends_exited {
        // Right behind the record of its end, so that both are on disk in one flush, and the shim waits for no other.
        let recorded = steps.iter().position(|step| !step.records_an_end()).unwrap_or(steps.len());
        steps.insert(recorded, Step::RecordRemoving);
        steps.push(Step::Erase);
    }
    if state == ContainerState::Removing {
        steps.push(Step::Erase);
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATES: [ContainerState; 7] = [
        ContainerState::Creating,
        ContainerState::Created,
        ContainerState::Starting,
        ContainerState::Running,
        ContainerState::Paused,
        ContainerState::Exited,
        ContainerState::Removing,
    ];
    const EXIT: Exit = Exit { code: 3, at_unix_ns: 1, oom_killed: false };

    fn hosts() -> [Host; 6] {
        [
            Host::NoShim { exit: None },
            Host::NoShim { exit: Some(EXIT) },
            Host::Waiting,
            Host::Running,
            Host::Ended { exit: None },
            Host::Ended { exit: Some(EXIT) },
        ]
    }

    #[test]
    fn only_a_container_that_should_run_keeps_its_shim() {
        for state in STATES {
            for host in hosts() {
                let steps = steps(state, false, host);
                let has_shim = !matches!(host, Host::NoShim { .. });
                let kept = steps.contains(&Step::Adopt);
                assert_eq!(kept, state.is_alive() && host == Host::Running, "{state} {host:?}");
                assert_eq!(steps.contains(&Step::ReleaseShim), has_shim && !kept, "{state} {host:?}");
                assert_ne!(steps.contains(&Step::Sweep), kept, "{state} {host:?}");
            }
        }
    }

    #[test]
    fn an_exit_that_is_known_is_always_the_one_recorded() {
        for state in [ContainerState::Starting, ContainerState::Running, ContainerState::Paused] {
            for host in [Host::NoShim { exit: Some(EXIT) }, Host::Ended { exit: Some(EXIT) }] {
                assert_eq!(steps(state, false, host)[0], Step::RecordExit(EXIT));
            }
        }
    }

    #[test]
    fn a_removal_is_finished_and_an_ended_container_with_auto_remove_goes() {
        for host in hosts() {
            assert_eq!(steps(ContainerState::Removing, false, host).last(), Some(&Step::Erase));
            assert_eq!(steps(ContainerState::Exited, true, host).last(), Some(&Step::Erase));
            let running = steps(ContainerState::Running, true, host);
            assert_eq!(running.last() == Some(&Step::Erase), host != Host::Running, "{host:?}");
        }
    }
}
