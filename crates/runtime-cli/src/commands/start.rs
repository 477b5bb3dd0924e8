//! `start`: the command of a created container runs (runtime.md "Start").

use std::os::fd::AsFd as _;

use gantry_runtime::execute;

use super::delete::{clean_up, end};
use super::{Outcome, status};
use crate::containers::{Containers, Folder};
use crate::failure::Failure;
use crate::record::{Record, Status};
use crate::report::Report;

pub(super) fn start(id: &str, containers: &Containers, report: &Report) -> Outcome {
    let (folder, record) = containers.find(id)?;
    match status(&folder, &record)? {
        Status::Created => {}
        found @ (Status::Creating | Status::Running | Status::Paused | Status::Stopped) => {
            return Err(Failure::WrongStatus { id: id.to_owned(), verb: "start", status: found });
        }
    }
    let plan = folder.plan()?;
    execute::open_gate(folder.as_fd(), &plan)?;
    if let Err(failure) = after_start(&folder, &record) {
        // The failure that led here is the one that is told.
        drop(end(&folder, &record).and_then(|()| clean_up(folder, report)));
        return Err(failure);
    }
    Ok(None)
}

/// Runs the poststart hooks. One that fails is an error, and the container is stopped and deleted (runtime.md,
/// lifecycle 10).
pub(super) fn after_start(folder: &Folder, record: &Record) -> Result<(), Failure> {
    let plan = folder.plan()?;
    let (Some(hooks), Some(pid)) = (&plan.hooks, record.pid()) else { return Ok(()) };
    Ok(execute::poststart(hooks, pid)?)
}
