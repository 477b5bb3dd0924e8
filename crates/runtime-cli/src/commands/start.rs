//! `start`: the command of a created container runs (runtime.md "Start").

use std::os::fd::AsFd as _;

use gantry_runtime::execute;

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
    after_start(&folder, &record, report)?;
    Ok(None)
}

/// Runs the poststart hooks; one that fails stops nothing (config.md "Poststart").
pub(super) fn after_start(folder: &Folder, record: &Record, report: &Report) -> Result<(), Failure> {
    let plan = folder.plan()?;
    if let (Some(hooks), Some(pid)) = (&plan.hooks, record.pid()) {
        if let Err(error) = execute::poststart(hooks, pid) {
            report.warning(&Failure::Execute(error).line());
        }
    }
    Ok(())
}
