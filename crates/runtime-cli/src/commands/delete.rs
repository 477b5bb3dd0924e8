//! `delete`: what `create` made goes (runtime.md "Delete"): the control group with whoever is left in it, the
//! folder, and then the poststop hooks run. A created container may be deleted, as with runc; a running one
//! only by force.

use std::os::fd::AsFd as _;
use std::time::Duration;

use gantry_linux::event::wait_readable;
use gantry_linux::signal::Signal;
use gantry_linux::wait::open_pidfd;
use gantry_runtime::cgroup::Cgroup;
use gantry_runtime::execute;

use super::Outcome;
use super::kill::signal_first;
use crate::containers::{Containers, Folder};
use crate::failure::Failure;
use crate::options::Delete;
use crate::record::{Record, Status};
use crate::report::Report;
use crate::scope;

/// How long a killed process may take to go: unmounting takes time.
const GONE_DEADLINE: Duration = Duration::from_secs(10);

/// How long a container that may have been killed just now is waited for.
const ENDING_DEADLINE: Duration = Duration::from_millis(100);

pub(super) fn delete(options: &Delete, containers: &Containers, report: &Report) -> Outcome {
    let (folder, record) = match containers.find(&options.id) {
        Err(Failure::UnknownContainer { .. }) if options.force => {
            // What a `create` that was killed left is removed too.
            containers.remains(&options.id)?.map_or(Ok(()), Folder::remove)?;
            return Ok(None);
        }
        found => found?,
    };
    let found = match folder.status(&record) {
        Status::Running if !options.force && ends_soon(&record) => Status::Stopped,
        found @ (Status::Creating | Status::Created | Status::Running | Status::Paused | Status::Stopped) => {
            found
        }
    };
    match (found, options.force) {
        (Status::Running | Status::Paused | Status::Creating, false) => {
            let status = super::status(&folder, &record)?;
            return Err(Failure::WrongStatus { id: options.id.clone(), verb: "delete", status });
        }
        (Status::Created, _) | (Status::Running | Status::Paused | Status::Creating, true) => {
            end(&folder, &record)?;
        }
        (Status::Stopped, _) => {}
    }
    clean_up(folder, report)?;
    Ok(None)
}

/// Whether a running container is about to be gone: callers delete right after they killed.
fn ends_soon(record: &Record) -> bool {
    let pidfd = record.pid().and_then(|pid| open_pidfd(pid).ok());
    pidfd.is_none_or(|pidfd| wait_readable(pidfd.as_fd(), Some(ENDING_DEADLINE)).unwrap_or(false))
}

/// Removes everything of a container whose first process has ended. Goes on past a failure, and tells the
/// first one.
pub(super) fn clean_up(folder: Folder, report: &Report) -> Result<(), Failure> {
    let plan = folder.plan();
    let cgroup = match &plan {
        Ok(plan) => plan.cgroup.as_ref().map(Cgroup::open).transpose(),
        // Nothing was made before the plan was kept.
        Err(_) => Ok(None),
    };
    let unit = folder.record()?.and_then(|record| record.scope);
    let removed = cgroup.map_err(Failure::from).and_then(|cgroup| {
        let Some(cgroup) = cgroup else { return Ok(()) };
        cgroup.kill()?;
        unit.as_deref().map_or(Ok(()), scope::end)?;
        Ok(cgroup.remove()?)
    });
    // When it failed the folder stays: it is what leads to the control group.
    removed?;
    let folder_removed = folder.remove();
    if let Some(hooks) = plan.ok().and_then(|plan| plan.hooks) {
        for error in execute::poststop(&hooks) {
            report.warning(&Failure::Poststop(error).line());
        }
    }
    folder_removed
}

/// Kills the first process, and everybody with it, and waits until it is gone.
pub(super) fn end(folder: &Folder, record: &Record) -> Result<(), Failure> {
    let Some(pid) = record.pid() else { return Ok(()) };
    let Ok(pidfd) = open_pidfd(pid) else { return Ok(()) };
    match signal_first(record, Signal::KILL) {
        Err(Failure::NotRunning) => return Ok(()),
        signalled => signalled?,
    }
    let cgroup = super::cgroup_of(folder)?;
    cgroup.as_ref().map_or(Ok(()), Cgroup::kill)?;
    let gone = |wait| wait_readable(pidfd.as_fd(), Some(wait)).map_err(Failure::kernel);
    if gone(ENDING_DEADLINE)? {
        return Ok(());
    }
    // Somebody may have moved it into a group that version 1's freezer holds still: there it does not even die. Back in
    // the container's own it does, and the other group stays as its owner wants it. A process that has ended keeps its
    // number as long as the pidfd tells nothing.
    if let Some(cgroup) = cgroup {
        cgroup.join(pid)?;
    }
    gone(GONE_DEADLINE).map(drop)
}
