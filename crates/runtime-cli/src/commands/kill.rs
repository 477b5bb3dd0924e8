//! `kill`: a signal for a container's first process, or for all of them (runtime.md "Kill").

use std::os::fd::AsFd as _;

use gantry_linux::Errno;
use gantry_linux::signal::{Signal, send_to_pidfd};
use gantry_linux::wait::open_pidfd;

use super::{Outcome, cgroup_of, of_running};
use crate::containers::{Containers, Folder};
use crate::failure::Failure;
use crate::options::Kill;
use crate::record::{Record, Status};

pub(super) fn kill(options: &Kill, containers: &Containers) -> Outcome {
    let word = options.signal.as_deref().unwrap_or("TERM");
    let signal = Signal::parse(word).ok_or_else(|| Failure::usage(format!("unknown signal {word:?}")))?;
    let (folder, record) = containers.find(&options.id)?;
    if options.all {
        return of_running(&record, kill_all(&folder, &record, signal)).map(|()| None);
    }
    match folder.status(&record) {
        Status::Created | Status::Running | Status::Paused => {}
        Status::Creating | Status::Stopped => return Err(Failure::NotRunning),
    }
    signal_first(&record, signal)?;
    if signal == Signal::KILL {
        match of_running(&record, thaw(&folder)) {
            // It got its signal, and whoever waited for its end has taken everything away.
            Err(Failure::NotRunning) => {}
            thawed => thawed?,
        }
    }
    Ok(None)
}

/// Signals the first process, and no other that got its number since.
pub(super) fn signal_first(record: &Record, signal: Signal) -> Result<(), Failure> {
    let pid = record.pid().ok_or(Failure::NotRunning)?;
    let gone = |error: gantry_linux::SyscallError| match error.errno {
        Errno::SRCH => Failure::NotRunning,
        _ => Failure::Kernel(error),
    };
    let pidfd = open_pidfd(pid).map_err(gone)?;
    // Looked at after the pidfd is open: what it is of cannot change any more.
    if !record.is_alive() {
        return Err(Failure::NotRunning);
    }
    send_to_pidfd(pidfd.as_fd(), signal).map_err(gone)
}

/// Every process in the control group. That of a stopped container may still have some.
fn kill_all(folder: &Folder, record: &Record, signal: Signal) -> Result<(), Failure> {
    match cgroup_of(folder)? {
        Some(cgroup) if signal == Signal::KILL => cgroup.kill()?,
        Some(cgroup) => cgroup.signal_all(signal)?,
        None => signal_first(record, signal)?,
    }
    Ok(())
}

/// A frozen process dies only once it is thawed, where version 1's freezer froze it.
fn thaw(folder: &Folder) -> Result<(), Failure> {
    match cgroup_of(folder)? {
        Some(cgroup) if cgroup.is_frozen()? => Ok(cgroup.thaw()?),
        _ => Ok(()),
    }
}
