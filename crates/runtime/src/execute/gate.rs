//! How a container that does not die with its creator is started later, by another process: its child waits at
//! a gate, two FIFOs in a folder of the caller's. Whoever writes the word into `start` lets the command run;
//! `outcome` then ends without a byte when the exec succeeded, and tells the trouble otherwise. The child holds
//! both open until its exec, so that one without a reader is a container that is gone.
//!
//! ```text
//!  <folder>/start      one byte, to the child
//!  <folder>/outcome    the child's trouble, or its end
//! ```

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use gantry_linux::Errno;
use gantry_linux::event::wait_readable;
use rustix::fs::{FileType, Mode, OFlags};

use super::handshake::{self, Answer};
use super::words::Words;
use super::{ExecuteError, Operation};
use crate::plan::Plan;

const START: &CStr = c"start";
const OUTCOME: &CStr = c"outcome";

/// The child's side of a gate.
#[derive(Debug)]
pub struct Gate {
    pub(super) start: OwnedFd,
    pub(super) outcome: OwnedFd,
}

impl Gate {
    /// Makes the two FIFOs in a folder that only the caller's user can enter.
    pub fn make(folder: BorrowedFd<'_>) -> Result<Self, ExecuteError> {
        let make = |name: &'static CStr| {
            rustix::fs::mknodat(folder, name, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
            rustix::fs::openat(folder, name, OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
        };
        Ok(Self { start: make(START).map_err(failed)?, outcome: make(OUTCOME).map_err(failed)? })
    }
}

/// Lets the command run of a container that waits at the gate in `folder`, and returns once its exec
/// succeeded. `plan` is the container's, for the words of its failure.
pub fn open_gate(folder: BorrowedFd<'_>, plan: &Plan) -> Result<(), ExecuteError> {
    let open = |name, access| {
        let flags = access | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(folder, name, flags, Mode::empty())
    };
    // Before the word, so that nothing the child says is lost.
    let outcome = open(OUTCOME, OFlags::RDONLY).map_err(failed)?;
    let start = open(START, OFlags::WRONLY).map_err(|errno| match errno {
        Errno::NXIO => ExecuteError::new(Operation::Ended, "", Errno::CHILD),
        errno => failed(errno),
    })?;
    rustix::io::write(&start, &[handshake::START]).map_err(failed)?;
    let mut buffer = [0; handshake::PACKET_BYTES];
    wait_readable(outcome.as_fd(), None).map_err(|error| failed(error.errno))?;
    let length = rustix::io::read(&outcome, &mut buffer).map_err(failed)?;
    match handshake::answer(&buffer, length, None) {
        Answer::Closed => Ok(()),
        Answer::Trouble(trouble) => Err(Words::of(plan)?.error(trouble, None)),
        Answer::Ready | Answer::Master(_) | Answer::Asks(_) => {
            Err(ExecuteError::new(Operation::Handshake, "", Errno::PROTO))
        }
    }
}

fn failed(errno: Errno) -> ExecuteError {
    ExecuteError::new(Operation::Handshake, "the gate", errno)
}
