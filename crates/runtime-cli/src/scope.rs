//! How a container comes into a scope of systemd's, and out of it. The scope is there before the container, with a
//! placeholder in it; the container is born in it, and then the placeholder goes. Because that one counts as a process,
//! the number of processes is limited last.

use gantry_runtime::cgroup::{Cgroup, CgroupUpdate};
use gantry_runtime::plan::Plan;
use gantry_runtime::systemd::{Placeholder, Scope, Systemd, SystemdError};

use crate::containers::Folder;
use crate::failure::Failure;
use crate::record::Record;

/// A scope that is there for a container that is not yet. Dropped before it is settled, it is stopped: systemd may miss
/// that a folder is empty that goes at once.
#[derive(Debug)]
pub(crate) struct Begun {
    /// The plan for this scope.
    pub(crate) plan: Plan,
    /// What comes last.
    last: CgroupUpdate,
    unit: String,
    systemd: Systemd,
    /// Until the container is in the scope.
    placeholder: Option<Placeholder>,
    settled: bool,
}

/// Makes the scope of a container with its limits.
pub(crate) fn begin(scope: &Scope, id: &str, plan: &Plan) -> Result<Begun, Failure> {
    let mut plan = plan.clone();
    let mut systemd = Systemd::connect()?;
    let placeholder = Placeholder::start().map_err(|source| SystemdError::Placeholder { source })?;
    let last = systemd.start(scope, &format!("container {id}"), &mut plan, placeholder.pid())?;
    let unit = scope.unit.clone();
    Ok(Begun { plan, last, unit, systemd, placeholder: Some(placeholder), settled: false })
}

impl Begun {
    /// The container is in the scope: the placeholder goes, and the last limit is set.
    pub(crate) fn settle(mut self) -> Result<(), Failure> {
        self.placeholder = None;
        if let (false, Some(group)) = (self.last.is_empty(), &self.plan.cgroup) {
            self.systemd.limit(&self.unit, &self.last.folders)?;
            // systemd writes it a moment later; the container may begin before.
            Cgroup::open(group)?.update(&self.last)?;
        }
        self.settled = true;
        Ok(())
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        if !self.settled {
            self.placeholder = None;
            // The failure that led here is the one that is told.
            let _ = self.systemd.stop(&self.unit);
        }
    }
}

/// Ends the scope of a container that failed after it was made. That failure is the one that is told.
pub(crate) fn abandon(folder: &Folder) {
    if let Ok(Some(Record { scope: Some(unit), .. })) = folder.record() {
        drop(end(&unit));
    }
}

/// Ends the scope of a container whose processes are gone.
pub(crate) fn end(unit: &str) -> Result<(), Failure> {
    Ok(Systemd::connect()?.stop(unit)?)
}

/// Tells systemd the limits of an update.
pub(crate) fn limit(unit: &str, update: &CgroupUpdate) -> Result<(), Failure> {
    Ok(Systemd::connect()?.limit(unit, &update.folders)?)
}
