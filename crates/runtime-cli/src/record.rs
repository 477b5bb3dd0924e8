//! What is known of a container between two commands: the record, which is the file `state.json` and what
//! `state` prints of it, and the status, which is never stored but looked at. A container's process is known by
//! its number and its start time together, so that a later process of the same number is never taken for it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use gantry_linux::Pid;
use serde::{Deserialize, Serialize};

/// The specification's version that states say.
pub(crate) const OCI_VERSION: &str = "1.2.1";

/// A container's record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Record {
    pub(crate) oci_version: String,
    pub(crate) id: String,
    /// The first process as the host numbers it; 0 while it is being made.
    pub(crate) pid: i32,
    /// When that began, in clock ticks after the machine did (proc_pid_stat(5)).
    pub(crate) started_ticks: u64,
    pub(crate) bundle: PathBuf,
    pub(crate) rootfs: PathBuf,
    /// Present also when it is empty: callers index it.
    #[serde(default)]
    pub(crate) annotations: BTreeMap<String, String>,
    /// When it was made, RFC 3339.
    pub(crate) created: String,
    /// Who made it.
    pub(crate) owner: String,
    /// The unit that holds it, where systemd made its control group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) scope: Option<String>,
}

/// Where in its life a container is (runtime-spec, runtime.md "State"), and runc's `paused`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    Creating,
    Created,
    Running,
    Paused,
    Stopped,
}

/// What `state` and `list` print.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct State<'a> {
    pub(crate) oci_version: &'a str,
    pub(crate) id: &'a str,
    /// 0 once it has ended.
    pub(crate) pid: i32,
    pub(crate) status: &'static str,
    pub(crate) bundle: &'a PathBuf,
    pub(crate) rootfs: &'a PathBuf,
    pub(crate) created: &'a str,
    pub(crate) annotations: &'a BTreeMap<String, String>,
    pub(crate) owner: &'a str,
}

impl Record {
    /// The first process, once there is one.
    pub(crate) fn pid(&self) -> Option<Pid> {
        Pid::from_raw(self.pid)
    }

    /// Whether the first process lives: not ended, not a zombie, and the same.
    pub(crate) fn is_alive(&self) -> bool {
        self.pid().and_then(start_of).is_some_and(|ticks| ticks == self.started_ticks)
    }

    /// The state with this status.
    pub(crate) fn state(&self, status: Status) -> State<'_> {
        State {
            oci_version: &self.oci_version,
            id: &self.id,
            pid: if status == Status::Stopped { 0 } else { self.pid },
            status: status.word(),
            bundle: &self.bundle,
            rootfs: &self.rootfs,
            created: &self.created,
            annotations: &self.annotations,
            owner: &self.owner,
        }
    }
}

impl Status {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// When a process began; `None` when there is none of that number, or only what is left of it.
pub(crate) fn start_of(pid: Pid) -> Option<u64> {
    let text = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    start_in(&String::from_utf8_lossy(&text))
}

/// The name in parentheses may hold anything, so fields are counted from its end: the state is the first, the
/// start time the twentieth.
fn start_in(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace();
    if matches!(fields.next()?, "Z" | "X" | "x") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        Record {
            oci_version: OCI_VERSION.to_owned(),
            id: "c1".to_owned(),
            pid: gantry_linux::process::current_pid().as_raw(),
            started_ticks: start_of(gantry_linux::process::current_pid()).expect("this process lives"),
            bundle: "/b".into(),
            rootfs: "/b/rootfs".into(),
            annotations: BTreeMap::new(),
            created: "2026-01-01T00:00:00Z".to_owned(),
            owner: "root".to_owned(),
            scope: None,
        }
    }

    #[test]
    fn a_process_is_the_same_only_with_its_start_time() {
        let mut record = record();
        assert!(record.is_alive());
        record.started_ticks += 1;
        assert!(!record.is_alive());
    }

    #[test]
    fn a_name_with_parentheses_does_not_move_the_fields() {
        let stat = "7 (a) R (b) S 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 9 9";
        assert_eq!(start_in(stat), Some(4711));
        assert_eq!(start_in(&stat.replace(") S", ") Z")), None);
        assert_eq!(start_in("garbage"), None);
    }

    #[test]
    fn the_state_has_what_the_specification_asks() {
        let json = serde_json::to_value(record().state(Status::Created)).expect("serialises");
        for field in ["ociVersion", "id", "status", "pid", "bundle", "annotations"] {
            assert!(json.get(field).is_some(), "{field} is missing");
        }
        assert_eq!(json["status"], "created");
        let ended = serde_json::to_value(record().state(Status::Stopped)).expect("serialises");
        assert_eq!(ended["pid"], 0);
    }

    #[test]
    fn a_record_survives_its_file() {
        let json = serde_json::to_string(&record()).expect("serialises");
        assert_eq!(serde_json::from_str::<Record>(&json).expect("parses"), record());
    }
}
