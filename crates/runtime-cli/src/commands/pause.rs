//! `pause` and `resume`: every process of the container is held still, or goes on.

use gantry_runtime::cgroup::{Cgroup, CgroupError};

use super::{Outcome, cgroup_of, of_running, status};
use crate::containers::{Containers, Folder};
use crate::failure::Failure;
use crate::record::Status;

pub(super) fn pause(id: &str, containers: &Containers) -> Outcome {
    let (folder, record) = containers.find(id)?;
    match status(&folder, &record)? {
        Status::Created | Status::Running => {}
        found @ (Status::Creating | Status::Paused | Status::Stopped) => {
            return Err(Failure::WrongStatus { id: id.to_owned(), verb: "pause", status: found });
        }
    }
    of_running(&record, change(&folder, Cgroup::freeze))
}

pub(super) fn resume(id: &str, containers: &Containers) -> Outcome {
    let (folder, record) = containers.find(id)?;
    match status(&folder, &record)? {
        Status::Paused => {}
        found @ (Status::Creating | Status::Created | Status::Running | Status::Stopped) => {
            return Err(Failure::WrongStatus { id: id.to_owned(), verb: "resume", status: found });
        }
    }
    of_running(&record, change(&folder, Cgroup::thaw))
}

fn change(folder: &Folder, change: fn(&Cgroup) -> Result<(), CgroupError>) -> Outcome {
    let why = || "the container has no control group of its own".to_owned();
    let cgroup = cgroup_of(folder)?.ok_or_else(|| Failure::Unavailable { what: "pause", why: why() })?;
    change(&cgroup)?;
    Ok(None)
}
