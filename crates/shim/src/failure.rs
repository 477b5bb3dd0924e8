//! How refusals and kernel errors become the protocol's `Failure`: the one place that knows its kinds.

use std::io;

use gantry_api::shim::v1::{Failure, FailureKind};
use gantry_linux::{Errno, SyscallError};
use gantry_runtime::cgroup::CgroupError;
use gantry_runtime::execute::{ExecuteError, Operation};

/// A failure without an errno: the request is at fault.
pub(crate) fn refuse(kind: FailureKind, message: &str) -> Failure {
    Failure { kind: kind.into(), message: message.to_owned(), ..Failure::default() }
}

/// The container is not in the phase that `needs` says.
pub(crate) fn wrong_phase(needs: &str) -> Failure {
    refuse(FailureKind::WrongPhase, needs)
}

/// A step of the shim's own failed.
pub(crate) fn step(step: &str, object: &str, error: &io::Error) -> Failure {
    let errno = error.raw_os_error().unwrap_or(0);
    Failure {
        kind: kind_of(errno).into(),
        message: [step, " ", object, ": ", &error.to_string()].concat(),
        errno,
        step: step.to_owned(),
        object: object.to_owned(),
        ..Failure::default()
    }
}

/// A wrapped system call failed.
pub(crate) fn syscall(step: &str, object: &str, error: &SyscallError) -> Failure {
    self::step(step, object, &io::Error::from_raw_os_error(error.errno.raw_os_error()))
}

/// A plan could not be carried out.
pub(crate) fn execute(error: &ExecuteError) -> Failure {
    let errno = error.errno.raw_os_error();
    let kind = match error.exit_code() {
        127 => FailureKind::CommandNotFound,
        126 => FailureKind::CommandNotExecutable,
        _ if error.operation == Operation::Plan => FailureKind::Unsupported,
        _ if error.operation == Operation::IdMap => FailureKind::IdMap,
        _ => kind_of(errno),
    };
    Failure {
        kind: kind.into(),
        message: [&error.to_string(), ": ", &error.errno.to_string()].concat(),
        errno,
        step: error.operation.to_string(),
        object: error.object.clone(),
        operation: error.operation.into(),
    }
}

/// The control group could not do it.
pub(crate) fn cgroup(error: &CgroupError) -> Failure {
    let errno = error.errno().raw_os_error();
    Failure {
        kind: kind_of(errno).into(),
        message: [&error.to_string(), ": ", &error.errno().to_string()].concat(),
        errno,
        step: "cgroup".to_owned(),
        object: error.path().to_owned(),
        ..Failure::default()
    }
}

fn kind_of(errno: i32) -> FailureKind {
    let exhausted = [Errno::NOMEM, Errno::NOSPC, Errno::DQUOT, Errno::MFILE, Errno::NFILE, Errno::AGAIN];
    if exhausted.iter().any(|known| known.raw_os_error() == errno) {
        FailureKind::ResourceExhausted
    } else {
        FailureKind::System
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exec(errno: Errno) -> Failure {
        execute(&ExecuteError { operation: Operation::Exec, object: "/bin/x".into(), errno })
    }

    #[test]
    fn a_missing_command_and_an_unusable_one_are_told_apart() {
        assert_eq!(exec(Errno::NOENT).kind(), FailureKind::CommandNotFound);
        assert_eq!(exec(Errno::ACCESS).kind(), FailureKind::CommandNotExecutable);
        let failure = exec(Errno::NOENT);
        assert_eq!((failure.object.as_str(), failure.errno), ("/bin/x", 2));
        assert_eq!(failure.operation, i32::from(Operation::Exec));
        assert_eq!(
            failure.message,
            "cannot run the command \"/bin/x\": No such file or directory (os error 2)"
        );
    }

    #[test]
    fn a_full_disk_is_exhaustion_and_other_errors_are_the_systems() {
        let full = step("open log", "/x", &io::Error::from_raw_os_error(28));
        assert_eq!(full.kind(), FailureKind::ResourceExhausted);
        let missing = step("open log", "/x", &io::Error::from_raw_os_error(2));
        assert_eq!((missing.kind(), missing.errno), (FailureKind::System, 2));
    }
}
