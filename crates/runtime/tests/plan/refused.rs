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
    for (pointer, value, field) in [
        ("/linux/intelRdt", json!({"closID": "x"}), "linux.intelRdt"),
        (
            "/mounts",
            json!([{"destination": "/x", "type": "bind", "source": "/y", "options": ["copy"]}]),
            "mounts[0].options \"copy\"",
        ),
        (
            "/mounts",
            json!([{"destination": "/x", "type": "bind", "source": "/y", "options": ["mode=7"]}]),
            "mounts[0].options \"mode\" of a bind mount",
        ),
        (
            "/mounts",
            json!([{"destination": "/x", "type": "bind", "source": "/y"},
                   {"destination": "/x", "options": ["remount", "size=1k"]}]),
            "mounts[1].options \"size\" for a remount of a bind mount",
        ),
        (
            "/mounts",
            json!([{"destination": "/sys/fs/cgroup", "type": "cgroup", "options": ["ro", "nsdelegate"]}]),
            "mounts[0].options \"nsdelegate\" of control groups that the host has mounted",
        ),
        (
            "/mounts",
            json!([{"destination": "/x", "type": "tmpfs", "options": ["idmap"]}]),
            "mounts[0].uidMappings of a mount that is not a bind mount",
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
        ("/mounts", json!([{"destination": "/", "options": ["remount", "bind", "ro"]}])),
        ("/mounts", json!([{"destination": "/x", "options": ["remount", "bind", "idmap"]}])),
        ("/mounts", json!([{"destination": "/x", "options": ["remount", "tmpcopyup"]}])),
        (
            "/mounts",
            json!([{"destination": "/x", "type": "bind", "source": "/y",
                    "options": ["idmap=uids=@0-0-1;gids=@0-0-1"]}]),
        ),
        ("/linux/maskedPaths", json!(["proc/keys"])),
        ("/linux/readonlyPaths", json!(["../sys"])),
        ("/linux/sysctl", json!({"kernel.core_pattern": "x"})),
        ("/linux/sysctl", json!({"net.ipv4.ip_forward": "1"})),
        ("/linux/sysctl", json!({"kernel.shmmax+kernel.core_pattern": "1"})),
        ("/hostname", json!("without-a-uts-namespace")),
        ("/hooks", json!({"poststop": [{"path": "bin/true"}]})),
        ("/hooks", json!({"prestart": [{"path": "/bin/true", "timeout": 0}]})),
        ("/hooks", json!({"prestart": [{"path": "/bin/true", "args": ["a\u{0}b"]}]})),
        ("/linux/namespaces", json!([{"type": "mount"}, {"type": "user"}])),
        ("/linux/uidMappings", json!([{"containerID": 0, "hostID": 1, "size": 1}])),
        ("/linux/timeOffsets", json!({"boottime": {"secs": 1}})),
        ("/linux/netDevices", json!({"eth9": {}})),
        ("/linux/rootfsPropagation", json!("sideways")),
        ("/process/ioPriority", json!({"class": "IOPRIO_CLASS_BE", "priority": 8})),
        ("/process/scheduler", json!({"policy": "SCHED_OTHER", "nice": 20})),
        ("/process/execCPUAffinity", json!({"initial": "9-1"})),
        ("/process/apparmorProfile", json!("two\nlines")),
        ("/process/cwd", json!("relative")),
        ("/process/env", json!(["NOVALUE"])),
        ("/process/env", json!(["=x"])),
        ("/process/env", json!(["A=x\u{0}y"])),
        ("/process/args", json!([])),
        ("/process/args", json!([""])),
        ("/process/rlimits", json!([{"type": "RLIMIT_NOFILE", "soft": 2, "hard": 1}])),
        ("/process/oomScoreAdj", json!(-1001)),
        ("/linux/namespaces", json!([{"type": "mount"}, {"type": "ipc"}, {"type": "ipc"}])),
        ("/linux/devices", json!([{"path": "/dev/x", "type": "a", "major": 1, "minor": 1}])),
        ("/linux/devices", json!([{"path": "/dev/x", "type": "c", "major": -1, "minor": 1}])),
    ] {
        assert!(with(pointer, &value).is_err(), "{pointer} {value}");
    }
}

#[test]
fn a_domain_name_that_a_kernel_parameter_sets_to_something_else_is_refused() {
    for (parameter, fits) in [("here.example", true), ("there.example", false)] {
        let mut spec = smallest();
        spec["domainname"] = json!("here.example");
        spec["linux"]["namespaces"].as_array_mut().expect("a list").push(json!({"type": "uts"}));
        spec["linux"]["sysctl"] = json!({"kernel.domainname": parameter});
        assert_eq!(plan(&spec, unified()).is_ok(), fits, "{parameter}");
    }
}
