//! One process that the shim watches over: init, or an exec. Its end is learnt from its pidfd, which cannot
//! be confused with a later process of the same number.

use std::os::fd::{AsFd, OwnedFd};

use gantry_api::shim::v1::{Exited, Failure, FailureKind, ProcessState};
use gantry_linux::signal::{self, Signal};
use gantry_linux::{Pid, wait};

use crate::clock;
use crate::failure;
use crate::poller::{Interest, Poller, Token};
use crate::streams::{Ends, Streams};

/// The slot of init; execs count on from it.
pub(crate) const INIT: u32 = 0;

/// A process, running or ended.
#[derive(Debug)]
pub(crate) struct Process {
    slot: u32,
    exec_id: String,
    pid: Pid,
    /// While it runs the programme; `None` before, and once it is reaped.
    pidfd: Option<OwnedFd>,
    interest: Interest,
    started_at_unix_ns: i64,
    exit: Option<Exited>,
    /// Whether its record was taken, and only its output is still read, for what it left behind.
    forgotten: bool,
    /// Its standard streams.
    pub(crate) streams: Streams,
}

/// A process that was just made, by whomever.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) pid: Pid,
    pub(crate) pidfd: OwnedFd,
    /// The shim's ends of its streams.
    pub(crate) ends: Ends,
}

impl Process {
    /// A process whose programme does not run yet.
    pub(crate) fn new(slot: u32, exec_id: String, pid: Pid, streams: Streams) -> Self {
        Self {
            slot,
            exec_id,
            pid,
            pidfd: None,
            interest: Interest::NONE,
            started_at_unix_ns: 0,
            exit: None,
            forgotten: false,
            streams,
        }
    }

    /// Its programme runs: watch for its end. A process that cannot be watched is killed.
    pub(crate) fn started(&mut self, pidfd: OwnedFd, poller: &Poller) -> Result<(), Failure> {
        self.started_at_unix_ns = clock::unix_ns();
        if let Err(error) = self.interest.change(poller, &pidfd, Token::Process(self.slot), Interest::READ) {
            // Neither can fail for a child that is not reaped.
            let _ = signal::send_to_pidfd(pidfd.as_fd(), Signal::KILL);
            let _ = wait::wait_pidfd(pidfd.as_fd());
            return Err(failure::step("watch process", &self.exec_id, &error));
        }
        self.pidfd = Some(pidfd);
        Ok(())
    }

    pub(crate) fn exec_id(&self) -> &str {
        &self.exec_id
    }

    /// Its number, in the shim's pid namespace.
    pub(crate) fn pid(&self) -> u32 {
        self.pid.as_raw().unsigned_abs()
    }

    pub(crate) fn pidfd(&self) -> Option<&OwnedFd> {
        self.pidfd.as_ref()
    }

    pub(crate) fn started_at_unix_ns(&self) -> i64 {
        self.started_at_unix_ns
    }

    /// How it ended.
    pub(crate) fn exit(&self) -> Option<&Exited> {
        self.exit.as_ref()
    }

    /// Its record was taken.
    pub(crate) fn forget(&mut self, poller: &Poller) {
        self.forgotten = true;
        self.streams.detach_all(poller);
    }

    /// Whether there is nothing more to know of it.
    pub(crate) fn is_forgotten(&self) -> bool {
        self.forgotten
    }

    /// Notes, once its record is complete, that the out-of-memory killer was at work.
    pub(crate) fn exit_mut(&mut self) -> Option<&mut Exited> {
        self.exit.as_mut()
    }

    /// Reaps it if it has ended; `true` the one time that it had.
    pub(crate) fn reap(&mut self, poller: &Poller) -> bool {
        let Some(pidfd) = &self.pidfd else { return false };
        let exit_code = match wait::try_wait_pidfd(pidfd.as_fd()) {
            Ok(None) => return false,
            Ok(Some(exit)) => exit.shell_code().unsigned_abs(),
            // Only if somebody else reaped it, which nobody can: told as the kernel would tell the unknown.
            Err(_) => 255,
        };
        let _ = self.interest.change(poller, pidfd, Token::Process(self.slot), Interest::NONE);
        self.pidfd = None;
        let exec_id = self.exec_id.clone();
        self.exit = Some(Exited { exec_id, exit_code, at_unix_ns: clock::unix_ns(), oom_killed: false });
        true
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) -> Result<(), Failure> {
        let Some(pidfd) = &self.pidfd else {
            return Err(failure::refuse(FailureKind::NoSuchProcess, "the process does not run"));
        };
        signal::send_to_pidfd(pidfd.as_fd(), signal).map_err(|error| match error.errno {
            gantry_linux::Errno::SRCH => {
                failure::refuse(FailureKind::NoSuchProcess, "the process has just ended")
            }
            _ => failure::syscall("send signal", &self.exec_id, &error),
        })
    }

    /// Whether it has this number; the number of one that was reaped may be another's.
    pub(crate) fn is_pid(&self, pid: Pid) -> bool {
        self.pid == pid
    }

    /// What State tells of it.
    pub(crate) fn state(&self) -> ProcessState {
        ProcessState {
            exec_id: self.exec_id.clone(),
            pid: self.pid(),
            started_at_unix_ns: self.started_at_unix_ns,
            exit: self.exit.clone(),
            terminal: self.streams.terminal().is_some(),
            stdin_open: self.streams.is_input_open(),
            attachments: u32::try_from(self.streams.attachments()).expect("bounded"),
        }
    }
}
