//! How a container's control group is made where systemd owns the tree: as a transient scope, by the five calls of
//! org.freedesktop.systemd1(5) that this takes (docs/decisions/0008). systemd makes the folder and is told every limit
//! that it has a property for, so that a reload writes ours and not its own; whatever it has none for is written to the
//! folder as without it, which `Delegate=yes` allows. The container is born in the scope like in any folder; because a
//! scope begins with a process, a [`Placeholder`] keeps it until then.
//!
//! ```text
//!  cgroupsPath machine-one.slice:box:c1   ->  unit box-c1.scope, folder machine.slice/machine-one.slice/box-c1.scope
//! ```
//!
//! Only machines with version 2 alone, and only the system's instance. Deliberately absent: user instances, slices as
//! containers' groups, properties from annotations.

mod bus;
mod error;
mod placeholder;
mod properties;
mod scope;
mod wire;

use std::time::{Duration, Instant};

use gantry_linux::Pid;

use self::bus::Bus;
pub use self::error::SystemdError;
pub use self::placeholder::Placeholder;
use self::properties::Property;
pub use self::scope::{Scope, ScopeError, is_slice};
use self::wire::Value;
use crate::cgroup::{CgroupPlan, CgroupUpdate, Folder, Host};
use crate::plan::Plan;

/// How long systemd may take for a whole operation: it may be starting or stopping many others.
const DEADLINE: Duration = Duration::from_secs(30);

/// systemd's word for a unit that is there already.
const UNIT_EXISTS: &str = "org.freedesktop.systemd1.UnitExists";
/// And for one that is not.
const NO_SUCH_UNIT: &str = "org.freedesktop.systemd1.NoSuchUnit";

/// The file of the limit that comes last.
const PROCESSES: &str = "pids.max";
/// The version of plans whose folders are there.
const GIVEN_VERSION: u32 = 4;

/// A connection to systemd, for one command.
#[derive(Debug)]
pub struct Systemd {
    bus: Bus,
    deadline: Instant,
}

/// Whether scopes can be had on this machine: what else there would be to say of it is said by this first.
pub fn check(host: &Host) -> Result<(), SystemdError> {
    if !bus::is_booted() {
        return Err(SystemdError::Absent);
    }
    if host.has_legacy_controllers() || host.unified.is_none() { Err(SystemdError::Legacy) } else { Ok(()) }
}

impl Systemd {
    /// Connects to the instance that is process 1.
    pub fn connect() -> Result<Self, SystemdError> {
        let deadline = Instant::now() + DEADLINE;
        Ok(Self { bus: Bus::connect(deadline)?, deadline })
    }

    /// Makes a scope with the limits that the plan has writes for, around a process that does nothing, and waits until it
    /// is there. The plan is then one for this scope, and what comes back is for when that process has gone
    /// ([`Systemd::limit`], [`crate::cgroup::Cgroup::update`]): it would count among those of a limit of their number. A
    /// unit of that name that failed before makes room.
    pub fn start(
        &mut self,
        scope: &Scope,
        description: &str,
        plan: &mut Plan,
        placeholder: Pid,
    ) -> Result<CgroupUpdate, SystemdError> {
        let group = plan.cgroup.get_or_insert_default();
        let mut properties = vec![
            ("Description", Value::Text(description.to_owned())),
            ("Slice", Value::Text(scope.slice.clone())),
            ("PIDs", Value::Numbers(vec![placeholder.as_raw().unsigned_abs()])),
            ("Delegate", Value::Flag(true)),
            ("DefaultDependencies", Value::Flag(false)),
            ("CollectMode", Value::Text("inactive-or-failed".to_owned())),
            ("CPUAccounting", Value::Flag(true)),
            ("MemoryAccounting", Value::Flag(true)),
            ("IOAccounting", Value::Flag(true)),
            ("TasksAccounting", Value::Flag(true)),
        ];
        let last = take_last(group);
        properties.extend(properties::of(&group.folders)?);
        // systemd's default is a share of the machine's; ours is what the spec says, and it says none yet.
        properties.push(("TasksMax", Value::Number(u64::MAX)));
        match self.start_unit(&scope.unit, &properties) {
            Err(SystemdError::Refused { name, .. }) if name == UNIT_EXISTS => {
                self.forget(&scope.unit)?;
                self.start_unit(&scope.unit, &properties)
            }
            started => started,
        }?;
        group.given = true;
        plan.version = plan.version.max(GIVEN_VERSION);
        Ok(last)
    }

    /// Tells systemd the limits that change, until the unit's end.
    pub fn limit(&mut self, unit: &str, folders: &[Folder]) -> Result<(), SystemdError> {
        let properties = properties::of(folders)?;
        if properties.is_empty() {
            return Ok(());
        }
        let mut body = wire::Writer::default();
        body.text(unit);
        body.flag(true);
        put_properties(&mut body, &properties);
        self.bus.call("SetUnitProperties", "sba(sv)", &body, self.deadline).map(drop)
    }

    /// Stops a unit and waits for its end. One that is gone already is no failure.
    pub fn stop(&mut self, unit: &str) -> Result<(), SystemdError> {
        let mut body = wire::Writer::default();
        body.text(unit);
        body.text("replace");
        let stopped = match self.bus.call("StopUnit", "ss", &body, self.deadline) {
            Err(SystemdError::Refused { name, .. }) if name == NO_SUCH_UNIT => return Ok(()),
            answer => answer.and_then(|answer| self.bus.wait_for_job(&answer, unit, self.deadline)),
        };
        // Whatever became of the job, the name is free afterwards if it can be.
        let forgotten = self.forget(unit);
        stopped.and(forgotten)
    }

    fn start_unit(&mut self, unit: &str, properties: &[Property]) -> Result<(), SystemdError> {
        let mut body = wire::Writer::default();
        body.text(unit);
        body.text("fail");
        put_properties(&mut body, properties);
        // No units beside it.
        body.array(8, |_| {});
        let answer = self.bus.call("StartTransientUnit", "ssa(sv)a(sa(sv))", &body, self.deadline)?;
        self.bus.wait_for_job(&answer, unit, self.deadline)
    }

    /// Lets a failed unit's name go.
    fn forget(&mut self, unit: &str) -> Result<(), SystemdError> {
        let mut body = wire::Writer::default();
        body.text(unit);
        match self.bus.call("ResetFailedUnit", "s", &body, self.deadline) {
            Err(SystemdError::Refused { name, .. }) if name == NO_SUCH_UNIT => Ok(()),
            answer => answer.map(drop),
        }
    }
}

/// Takes the limit of the number of processes out of a plan.
fn take_last(group: &mut CgroupPlan) -> CgroupUpdate {
    let mut folders = Vec::new();
    for folder in &mut group.folders {
        let (last, first) = folder.writes.drain(..).partition(|write| write.file == PROCESSES);
        folder.writes = first;
        folders.push(Folder { writes: last, ..folder.clone() });
    }
    folders.retain(|folder| !folder.writes.is_empty());
    CgroupUpdate { path: group.path.clone(), folders, device_filter: None }
}

fn put_properties(body: &mut wire::Writer, properties: &[Property]) {
    body.array(8, |list| {
        for (name, value) in properties {
            list.align(8);
            list.text(name);
            list.variant(value);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::Write;

    #[test]
    fn the_number_of_processes_comes_last() {
        let write = |file: &str| Write { file: file.to_owned(), value: "1".to_owned(), ..Write::default() };
        let writes = vec![write("memory.max"), write(PROCESSES)];
        let folder = Folder { mountpoint: "/c".to_owned(), writes, ..Folder::default() };
        let mut group = CgroupPlan { path: "a/b".to_owned(), folders: vec![folder], ..CgroupPlan::default() };
        let last = take_last(&mut group);
        assert_eq!(group.folders[0].writes, [write("memory.max")]);
        assert_eq!((last.path.as_str(), &*last.folders[0].writes), ("a/b", &[write(PROCESSES)][..]));
        assert!(take_last(&mut group).is_empty());
    }
}
