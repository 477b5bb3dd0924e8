//! `start`: the command of a created container runs (runtime.md "Start").

use std::os::fd::AsFd as _;

use gantry_linux::signal::Signal;
use gantry_runtime::execute;

use super::kill::signal_first;
use super::{Outcome, status};
use crate::containers::{Containers, Folder};
use crate::failure::Failure;
use crate::record::{Record, Status};

pub(super) fn start(id: &str, containers: &Containers) -> Outcome {
    let (folder, record) = containers.find(id)?;
    match status(&folder, &record)? {
        Status::Created => {}
        found @ (Status::Creating | Status::Running | Status::Paused | Status::Stopped) => {
            return Err(Failure::WrongStatus { id: id.to_owned(), verb: "start", status: found });
        }
    }
    let plan = folder.plan()?;
    execute::open_gate(folder.as_fd(), &plan)?;
    after_start(&folder, &record)?;
    Ok(None)
}

/// Runs the poststart hooks. One that fails is an error and stops the container (runtime.md, lifecycle 10).
pub(super) fn after_start(folder: &Folder, record: &Record) -> Result<(), Failure> {
    let plan = folder.plan()?;
    let (Some(hooks), Some(pid)) = (&plan.hooks, record.pid()) else { return Ok(()) };
    execute::poststart(hooks, pid).map_err(|error| {
        // The failure that led here is the one that is told; a process that has ended needs no signal.
        drop(signal_first(record, Signal::KILL));
        Failure::Execute(error)
    })
}
