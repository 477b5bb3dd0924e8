//! `state`: what a container is doing (runtime.md "Query State").

use super::{Outcome, status};
use crate::containers::Containers;
use crate::output;

pub(super) fn state(id: &str, containers: &Containers) -> Outcome {
    let (folder, record) = containers.find(id)?;
    let status = status(&folder, &record)?;
    output::pretty(&record.state(status))?;
    Ok(None)
}
