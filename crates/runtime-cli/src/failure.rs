//! Why a command failed. Other engines read these words: Docker maps `executable file not found` and
//! `no such file or directory` to exit code 127, containerd takes `does not exist` and `container not running`
//! for a container that is gone. So the texts of those are as they are on purpose.

use std::io;
use std::path::PathBuf;

use gantry_linux::{Errno, SyscallError};
use gantry_runtime::cgroup::{CgroupError, CgroupPlanError};
use gantry_runtime::execute::{ExecuteError, Operation};
use gantry_runtime::plan::PlanError;
use gantry_runtime::seccomp::SeccompError;
use gantry_runtime::systemd::{ScopeError, SystemdError};
use gantry_types::{Class, Classified};

use crate::record::Status;

/// A command that failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The arguments mean nothing.
    #[error("{problem}")]
    Usage {
        /// What is wrong with them.
        problem: String,
    },
    /// No container has this id.
    #[error("container {id:?} does not exist")]
    UnknownContainer {
        /// The id.
        id: String,
    },
    /// A container has this id already.
    #[error("container with given ID already exists: {id:?}")]
    Exists {
        /// The id.
        id: String,
    },
    /// It is not the name of a container.
    #[error("invalid character in container ID {id:?}")]
    InvalidId {
        /// What was given.
        id: String,
    },
    /// The container has ended, and what was asked needs a process.
    #[error("container not running")]
    NotRunning,
    /// The container is in the wrong state.
    #[error("cannot {verb} container {id:?}: it is {status}")]
    WrongStatus {
        /// The id.
        id: String,
        /// What was asked.
        verb: &'static str,
        /// The state that it is in.
        status: Status,
    },
    /// A file cannot be used.
    #[error("{action} {}", path.display())]
    File {
        /// What was done with it.
        action: &'static str,
        /// Which.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A file's JSON is not what it should be.
    #[error("parse {}", path.display())]
    Json {
        /// Which.
        path: PathBuf,
        /// Where and why.
        #[source]
        source: serde_json::Error,
    },
    /// A field of the spec, or of a process, cannot be used.
    #[error("{field}: {problem}")]
    Spec {
        /// Which, as the runtime-spec names it.
        field: &'static str,
        /// Why not.
        problem: String,
    },
    /// The spec cannot be compiled.
    #[error("the spec cannot be carried out")]
    Plan(#[from] PlanError),
    /// The spec's system call filter cannot be compiled.
    #[error("linux.seccomp cannot be compiled")]
    Seccomp(#[from] SeccompError),
    /// The plan could not be carried out.
    #[error("unable to start container process")]
    Execute(#[from] ExecuteError),
    /// A hook that follows the end failed.
    #[error("the container is deleted, but its poststop hook failed")]
    Poststop(#[source] ExecuteError),
    /// The control group refused.
    #[error("the control group")]
    Cgroup(#[from] CgroupError),
    /// The limits cannot be expressed on this host's control groups.
    #[error("the control group cannot be planned")]
    Limits(#[from] CgroupPlanError),
    /// systemd did not do its part.
    #[error("the control group driver systemd")]
    Systemd(#[from] SystemdError),
    /// The path means no unit of systemd's.
    #[error("the control group driver systemd")]
    Scope(#[from] ScopeError),
    /// The kernel refused.
    #[error("the kernel refused")]
    Kernel(#[source] SyscallError),
    /// What was asked needs something that this machine does not have.
    #[error("{what} is not available: {why}")]
    Unavailable {
        /// What was asked.
        what: &'static str,
        /// What is missing.
        why: String,
    },
    /// Another program that was run for the command failed.
    #[error("{program} failed with {status}")]
    Program {
        /// Which.
        program: &'static str,
        /// How it ended.
        status: String,
    },
    /// There is no CRIU on this machine.
    #[error("checkpoint and restore are not available: no criu in PATH")]
    NoCriu,
    /// CRIU could not do it.
    #[error("criu could not {action} the container, and says why in {}: {message}", log.display())]
    Criu {
        /// What it was to do.
        action: &'static str,
        /// The end of its log, in one line.
        message: String,
        /// The whole log.
        log: PathBuf,
    },
    /// CRIU seemed to be stuck.
    #[error("criu was to {action} the container, neither answered nor went on in its log {} for {seconds} s, and was killed", log.display())]
    CriuSilent {
        /// What it was to do.
        action: &'static str,
        /// For how long.
        seconds: u64,
        /// Its log.
        log: PathBuf,
    },
}

impl Failure {
    pub(crate) fn usage(problem: impl Into<String>) -> Self {
        Self::Usage { problem: problem.into() }
    }

    pub(crate) fn file(action: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::File { action, path: path.into(), source }
    }

    pub(crate) fn json(path: impl Into<PathBuf>, source: serde_json::Error) -> Self {
        Self::Json { path: path.into(), source }
    }

    pub(crate) fn kernel(source: SyscallError) -> Self {
        Self::Kernel(source)
    }

    /// The failure and its causes in one line. The kernel's words begin with a small letter, as Go writes them:
    /// docker compares them.
    pub(crate) fn line(&self) -> String {
        let mut line = self.to_string();
        let mut next = std::error::Error::source(self);
        while let Some(cause) = next {
            let text = cause.to_string();
            let mut letters = text.chars();
            line.push_str(": ");
            line.extend(letters.next().into_iter().flat_map(char::to_lowercase));
            line.push_str(letters.as_str());
            next = cause.source();
        }
        if let Self::Execute(error) = self {
            line.push_str(customary(error));
        }
        if let Some(hint) = self.hint() {
            line.push_str(" (");
            line.push_str(&hint);
            line.push(')');
        }
        line
    }
}

/// What runc says of these, and its callers and conformance suites look for.
fn customary(error: &ExecuteError) -> &'static str {
    match (error.operation, error.errno) {
        (Operation::Exec, Errno::NOENT) => ": executable file not found in $PATH",
        (Operation::WorkingDir, _) => ": chdir failed",
        (Operation::Mount, Errno::LOOP) => ": it must be mounted on ordinary directory",
        _ => "",
    }
}

impl Classified for Failure {
    fn class(&self) -> Class {
        match self {
            Self::Usage { .. } | Self::InvalidId { .. } | Self::Json { .. } | Self::Spec { .. } => {
                Class::InvalidArgument
            }
            Self::UnknownContainer { .. } => Class::NotFound,
            Self::Exists { .. } => Class::AlreadyExists,
            Self::NotRunning | Self::WrongStatus { .. } | Self::File { .. } | Self::NoCriu => {
                Class::FailedPrecondition
            }
            Self::Plan(error) => error.class(),
            Self::Seccomp(error) => error.class(),
            Self::Execute(error) | Self::Poststop(error) => error.class(),
            Self::Cgroup(error) => error.class(),
            Self::Limits(error) => error.class(),
            Self::Systemd(error) => error.class(),
            Self::Scope(error) => error.class(),
            Self::Kernel(_) | Self::Program { .. } | Self::Criu { .. } => Class::Internal,
            Self::CriuSilent { .. } => Class::DeadlineExceeded,
            Self::Unavailable { .. } => Class::Unimplemented,
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::Usage { .. } => "USAGE",
            Self::InvalidId { .. } => "CONTAINER_ID_INVALID",
            Self::UnknownContainer { .. } => "CONTAINER_UNKNOWN",
            Self::Exists { .. } => "CONTAINER_EXISTS",
            Self::NotRunning => "CONTAINER_NOT_RUNNING",
            Self::WrongStatus { .. } => "CONTAINER_WRONG_STATUS",
            Self::File { .. } => "FILE_UNUSABLE",
            Self::Json { .. } => "JSON_MALFORMED",
            Self::Spec { .. } => "SPEC_INVALID",
            Self::Plan(error) => error.reason(),
            Self::Seccomp(error) => error.reason(),
            Self::Execute(error) | Self::Poststop(error) => error.reason(),
            Self::Cgroup(error) => error.reason(),
            Self::Limits(error) => error.reason(),
            Self::Systemd(error) => error.reason(),
            Self::Scope(error) => error.reason(),
            Self::Kernel(_) => "KERNEL_REFUSED",
            Self::Unavailable { .. } => "UNAVAILABLE",
            Self::Program { .. } => "PROGRAM_FAILED",
            Self::NoCriu => "CRIU_MISSING",
            Self::Criu { .. } => "CRIU_FAILED",
            Self::CriuSilent { .. } => "CRIU_SILENT",
        }
    }

    /// Of this program's own failures, systemd's and a root that is no mount: what the library's other errors advise is
    /// meant for the daemon's users.
    fn hint(&self) -> Option<String> {
        if let Self::Systemd(error) = self {
            return error.hint();
        }
        if let Self::Scope(error) = self {
            return error.hint();
        }
        if let Self::Execute(error) = self
            && error.operation == Operation::Propagation
        {
            return error.hint();
        }
        matches!(self, Self::NoCriu).then(|| "install criu, or name it with --criu".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_one_line_with_its_causes() {
        let cause = io::Error::from_raw_os_error(2);
        let line = Failure::file("open", "/x/config.json", cause).line();
        assert_eq!(line, "open /x/config.json: no such file or directory (os error 2)");
    }

    #[test]
    fn engines_find_the_words_that_they_look_for() {
        let gone = Failure::UnknownContainer { id: "x".into() };
        assert!(gone.line().contains("does not exist"));
        assert_eq!(Failure::NotRunning.line(), "container not running");
    }

    #[test]
    fn a_missing_criu_says_what_to_do_and_a_failing_one_where_to_look() {
        assert!(Failure::NoCriu.line().ends_with("(install criu, or name it with --criu)"));
        let (message, log) = ("Error (x): no".to_owned(), "/w/dump.log".into());
        let line = Failure::Criu { action: "checkpoint", message, log }.line();
        assert_eq!(
            line,
            "criu could not checkpoint the container, and says why in /w/dump.log: Error (x): no"
        );
    }
}
