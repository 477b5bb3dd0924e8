//! Who is in a scope before its container? systemd makes no scope without a process, and removes one without. This one
//! does nothing; it ends with its [`Placeholder`], or with whoever made it.

use std::os::fd::{AsFd, OwnedFd};

use gantry_linux::clone::{Clone as Side, CloneOptions, clone};
use gantry_linux::process::{close_all_but, exit_now};
use gantry_linux::wait::wait_pidfd;
use gantry_linux::{Object, Pid, SyscallError};
use rustix::pipe::PipeFlags;

/// A process that waits for its end.
#[derive(Debug)]
pub struct Placeholder {
    pid: Pid,
    pidfd: OwnedFd,
    /// Closed, it tells the process to end.
    held: Option<OwnedFd>,
}

impl Placeholder {
    /// Makes the process. The caller has one thread.
    pub fn start() -> Result<Self, SyscallError> {
        let (waits, held) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)
            .map_err(|errno| SyscallError::new("pipe2", Object::Name("a pipe"), errno))?;
        match clone(&CloneOptions::default())? {
            Side::Parent { pid, pidfd } => Ok(Self { pid, pidfd, held: Some(held) }),
            Side::Child => {
                // Nobody's descriptor stays open in it: not this pipe's other end, not the caller's output.
                let _ = close_all_but(0, &[waits.as_fd()]);
                let _ = rustix::io::read(&waits, &mut [0u8; 1]);
                exit_now(0)
            }
        }
    }

    /// Its process id.
    pub fn pid(&self) -> Pid {
        self.pid
    }
}

impl Drop for Placeholder {
    fn drop(&mut self) {
        drop(self.held.take());
        // It ends at once; killed by somebody else, it has ended already.
        let _ = wait_pidfd(self.pidfd.as_fd());
    }
}
