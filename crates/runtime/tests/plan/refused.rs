//! Specs that are not compiled: what is not there yet is refused by its name, and what is wrong or dangerous
//! too. Nothing is dropped in silence.

use gantry_runtime::plan::PlanError;
use serde_json::{Value, json};

use crate::{plan, smallest, unified};

/// The smallest spec with one more value at a JSON pointer.
fn with(pointer: &str, value: &Value) -> Result<(), PlanError> {
    let mut spec = smallest();
    let (parent, key) = pointer.rsplit_once('/').expect("a pointer");
    let parent = spec.pointer_mut(parent).expect("its parent").as_object_mut().expect("an object");
    parent.insert(key.to_owned(), value.clone());
    plan(&spec, unified()).map(drop)
}

#[test]
fn what_is_not_there_yet_is_refused_by_name() {
    let namespace = |kind: &str, path: &str| json!([{"type": "mount"}, {"type": kind, "path": path}]);
    for (pointer, value, field) in [
        ("/process/apparmorProfile", json!("docker-default"), "process.apparmorProfile"),
        ("/process/selinuxLabel", json!("system_u:object_r:x"), "process.selinuxLabel"),
        ("/process/scheduler", json!({"policy": "SCHED_FIFO"}), "process.scheduler"),
        ("/process/ioPriority", json!({"class": "IOPRIO_CLASS_IDLE", "priority": 1}), "process.ioPriority"),
        ("/linux/uidMappings", json!([{"containerID": 0, "hostID": 1, "size": 1}]), "linux.uidMappings"),
        ("/linux/mountLabel", json!("system_u:object_r:x"), "linux.mountLabel"),
        ("/linux/intelRdt", json!({"closID": "x"}), "linux.intelRdt"),
        ("/linux/personality", json!({"domain": "LINUX32"}), "linux.personality"),
        ("/linux/timeOffsets", json!({"boottime": {"secs": 1}}), "linux.timeOffsets"),
        ("/linux/rootfsPropagation", json!("shared"), "linux.rootfsPropagation \"shared\""),
        ("/linux/namespaces", json!([{"type": "mount"}, {"type": "user"}]), "linux.namespaces user"),
        ("/linux/namespaces", json!([{"type": "mount"}, {"type": "time"}]), "linux.namespaces time"),
        ("/linux/namespaces", namespace("pid", "/proc/1/ns/pid"), "linux.namespaces pid with a path"),
        (
            "/mounts",
            json!([{"destination": "/x", "type": "tmpfs", "options": ["tmpcopyup"]}]),
            "mounts[0].options \"tmpcopyup\"",
        ),
        (
            "/mounts",
            json!([{"destination": "/x", "type": "bind", "source": "/y", "options": ["idmap"]}]),
            "mounts[0].options \"idmap\"",
        ),
        (
            "/mounts",
            json!([{"destination": "/x", "type": "bind", "source": "/y", "options": ["sync"]}]),
            "mounts[0].options \"sync\" of a bind mount",
        ),
    ] {
        assert_eq!(
            with(pointer, &value),
            Err(PlanError::Unsupported { field: field.to_owned() }),
            "{pointer}"
        );
    }
}

#[test]
fn what_would_reach_beyond_the_container_is_refused() {
    let mount = |destination: &str, kind: &str| json!([{"destination": destination, "type": kind, "source": "/host"}]);
    let net = json!([{"type": "mount"}]);
    assert!(net.is_array());
    for (pointer, value) in [
        ("/mounts", mount("/", "bind")),
        ("/mounts", mount("/x/..", "bind")),
        ("/mounts", mount("/proc", "bind")),
        ("/mounts", mount("/proc", "tmpfs")),
        ("/mounts", mount("/x/../proc/self/attr", "tmpfs")),
        ("/mounts", mount("/proc/self", "bind")),
        ("/linux/sysctl", json!({"kernel.core_pattern": "x"})),
        ("/linux/sysctl", json!({"net.ipv4.ip_forward": "1"})),
        ("/linux/sysctl", json!({"kernel.shmmax+kernel.core_pattern": "1"})),
        ("/hostname", json!("without-a-uts-namespace")),
        ("/hooks", json!({"poststop": [{"path": "bin/true"}]})),
        ("/hooks", json!({"prestart": [{"path": "/bin/true", "timeout": 0}]})),
        ("/hooks", json!({"prestart": [{"path": "/bin/true", "args": ["a\u{0}b"]}]})),
        ("/process/cwd", json!("relative")),
        ("/process/env", json!(["NOVALUE"])),
        ("/process/env", json!(["=x"])),
        ("/process/env", json!(["A=x\u{0}y"])),
        ("/process/args", json!([])),
        ("/process/args", json!([""])),
        ("/process/rlimits", json!([{"type": "RLIMIT_NOFILE", "soft": 2, "hard": 1}])),
        ("/process/oomScoreAdj", json!(-1001)),
        ("/linux/namespaces", json!([])),
        ("/linux/namespaces", json!([{"type": "mount"}, {"type": "ipc"}, {"type": "ipc"}])),
        ("/linux/devices", json!([{"path": "/dev/x", "type": "a", "major": 1, "minor": 1}])),
        ("/linux/devices", json!([{"path": "/dev/x", "type": "c", "major": -1, "minor": 1}])),
    ] {
        assert!(with(pointer, &value).is_err(), "{pointer} {value}");
    }
}
