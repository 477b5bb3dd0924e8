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

use self::bus::Bus;
pub use self::error::SystemdError;
pub use self::placeholder::Placeholder;
use self::properties::Property;
pub use self::scope::{Scope, ScopeError};
use self::wire::Value;
use crate::cgroup::{Folder, Host};

/// How long systemd may take for a whole operation: it may be starting or stopping many others.
const DEADLINE: Duration = Duration::from_secs(30);

/// systemd's word for a unit that is there already.
const UNIT_EXISTS: &str = "org.freedesktop.systemd1.UnitExists";
/// And for one that is not.
const NO_SUCH_UNIT: &str = "org.freedesktop.systemd1.NoSuchUnit";

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

    /// Makes a scope with the limits that `folders` have writes for, and waits until it is there. The number of
    /// processes is not limited yet: see [`Systemd::limit`]. A unit of that name that failed before makes room.
    pub fn start(
        &mut self,
        scope: &Scope,
        description: &str,
        folders: &[Folder],
        placeholder: &Placeholder,
    ) -> Result<(), SystemdError> {
        let mut properties = vec![
            ("Description", Value::Text(description.to_owned())),
            ("Slice", Value::Text(scope.slice.clone())),
            ("PIDs", Value::Numbers(vec![placeholder.pid().as_raw().unsigned_abs()])),
            ("Delegate", Value::Flag(true)),
            ("DefaultDependencies", Value::Flag(false)),
            ("CollectMode", Value::Text("inactive-or-failed".to_owned())),
            ("CPUAccounting", Value::Flag(true)),
            ("MemoryAccounting", Value::Flag(true)),
            ("IOAccounting", Value::Flag(true)),
            ("TasksAccounting", Value::Flag(true)),
        ];
        properties.extend(properties::of(folders)?.into_iter().filter(|(name, _)| *name != "TasksMax"));
        // systemd's default is a share of the machine's; ours is what the spec says, and it says none yet.
        properties.push(("TasksMax", Value::Number(u64::MAX)));
        match self.start_unit(&scope.unit, &properties) {
            Err(SystemdError::Refused { name, .. }) if name == UNIT_EXISTS => {
                self.forget(&scope.unit)?;
                self.start_unit(&scope.unit, &properties)
            }
            started => started,
        }
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

fn put_properties(body: &mut wire::Writer, properties: &[Property]) {
    body.array(8, |list| {
        for (name, value) in properties {
            list.align(8);
            list.text(name);
            list.variant(value);
        }
    });
}
