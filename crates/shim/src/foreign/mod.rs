//! How does the shim supervise a container that it does not make? Another OCI runtime (crun, runc, anything with
//! their command line) makes it, and the shim does what stays the same: it mounts the root filesystem where only it
//! and the runtime see it, gives standard streams, is the parent of what the runtime leaves behind, and keeps the
//! exit. Nothing of this runs for Gantry's own containers.
//!
//! ```text
//!  Launch   mount namespace ─ overlay, network namespace ─ `create` ── pid file ── a pidfd to watch
//!  Start    `start`          Exec  `exec --detach`         Kill  `kill`
//!  the end  reaped as any child ── `delete --force` ── unmounted
//! ```
//!
//! Deliberately absent: JSON (the daemon writes the spec and reads what the runtime said), pause, update and statistics,
//! which the daemon does through the control group, and commands side by side: the loop waits for one, at most
//! [`command::LIMIT`].

mod children;
mod command;
mod console;
mod exec;
mod launch;
mod mounts;

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use gantry_api::shim::v1::{Failure, FailureKind, ForeignLaunch};
use gantry_linux::signal::Signal;

use crate::failure;
use crate::process::Process;

/// A container's other runtime.
#[derive(Debug)]
pub(crate) struct Foreign {
    bundle: PathBuf,
    /// The programme and its global arguments.
    command: Vec<CString>,
    container_id: String,
    /// Readable when a child ended.
    children: OwnedFd,
    /// Whether the runtime may still know the container.
    known: bool,
}

impl Foreign {
    /// Takes over being the parent of everything that the runtime leaves behind.
    fn new(launch: &ForeignLaunch, bundle: &str) -> Result<Self, Failure> {
        let invalid = |message| failure::refuse(FailureKind::InvalidRequest, message);
        let command: Result<Vec<_>, _> =
            launch.command.iter().map(|word| CString::new(word.as_str())).collect();
        let command = command.map_err(|_| invalid("the runtime's command has a NUL"))?;
        if command.is_empty() || launch.container_id.is_empty() {
            return Err(invalid("another runtime needs a command and a container id"));
        }
        let children = children::adopt().map_err(|error| failure::syscall("adopt children", "", &error))?;
        let container_id = launch.container_id.clone();
        Ok(Self { bundle: PathBuf::from(bundle), command, container_id, children, known: false })
    }

    fn children_as_fd(&self) -> BorrowedFd<'_> {
        self.children.as_fd()
    }

    /// Lets the programme go.
    fn start(&self) -> Result<(), Failure> {
        self.run("start", &[&self.container_id], None)
    }

    /// Signals init. The runtime does it, because only it knows what init is to it.
    pub(crate) fn kill(&self, init: &Process, signal: Signal) -> Result<(), Failure> {
        let asked = self.run("kill", &[&self.container_id, &signal.number().to_string()], None);
        match asked {
            // Either it has just ended, which the pidfd tells better, or it must end whatever the runtime says.
            Err(_) if signal == Signal::KILL => init.signal(signal),
            Err(failure) => Err(failure),
            Ok(()) => Ok(()),
        }
    }

    /// Has the runtime forget the container, with whatever is left of it. Repeating it is harmless.
    pub(crate) fn delete(&mut self) -> Result<(), Failure> {
        if self.known {
            self.run("delete", &["--force", &self.container_id], None)?;
            self.known = false;
        }
        Ok(())
    }

    /// Takes everything down that outlives a process; what could not be is told, one line each.
    pub(crate) fn take_down(&mut self) -> Vec<String> {
        let left = self.delete().err().map(|failure| ["runtime: ", failure.message.trim()].concat());
        // It may be gone, or never have been there; and it ends with the shim's namespace at the latest.
        mounts::detach_rootfs(&self.bundle);
        left.into_iter().collect()
    }
}
