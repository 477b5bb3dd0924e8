//! `pause` and `resume`: every process of the container is held still, or goes on.

use super::{Outcome, cgroup_of, status};
use crate::containers::Containers;
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
    cgroup_of(&folder)?.ok_or_else(no_group)?.freeze()?;
    Ok(None)
}

pub(super) fn resume(id: &str, containers: &Containers) -> Outcome {
    let (folder, record) = containers.find(id)?;
    match status(&folder, &record)? {
        Status::Paused => {}
        found @ (Status::Creating | Status::Created | Status::Running | Status::Stopped) => {
            return Err(Failure::WrongStatus { id: id.to_owned(), verb: "resume", status: found });
        }
    }
    cgroup_of(&folder)?.ok_or_else(no_group)?.thaw()?;
    Ok(None)
}

fn no_group() -> Failure {
    Failure::Unavailable { what: "pause", why: "the container has no control group of its own".to_owned() }
}
