//! The pure half, without a kernel: what specs become, held as golden files that people read, and what must
//! hold for every spec.

mod golden;
mod properties;
mod refused;
mod text;

use gantry_runtime::cgroup::{Hierarchy, Host, UnifiedHierarchy};
use gantry_runtime::plan::{Overlay, Plan, PlanError, PlanInput, Root, Rootfs, compile};
use serde_json::{Value, json};

/// A machine with version 2 alone.
fn unified() -> Host {
    let controllers = ["cpu", "cpuset", "io", "memory", "pids"].map(str::to_owned).to_vec();
    let unified = UnifiedHierarchy { mountpoint: "/sys/fs/cgroup".to_owned(), controllers };
    Host { legacy: Vec::new(), unified: Some(unified) }
}

/// A machine with two hierarchies of version 1 and a named one.
fn legacy() -> Host {
    let hierarchy = |name: &str, controllers: &[&str]| Hierarchy {
        mountpoint: format!("/sys/fs/cgroup/{name}"),
        controllers: controllers.iter().map(|&text| text.to_owned()).collect(),
    };
    let legacy = vec![
        hierarchy("cpu,cpuacct", &["cpu", "cpuacct"]),
        hierarchy("devices", &["devices"]),
        hierarchy("pids", &["pids"]),
        hierarchy("systemd", &["name=systemd"]),
    ];
    Host { legacy, unified: None }
}

fn plan(spec: &Value, cgroups: Host) -> Result<Plan, PlanError> {
    let overlay = Overlay {
        lower: vec!["/layers/2".to_owned(), "/layers/1".to_owned()],
        upper: "/c/fs".to_owned(),
        work: "/c/work".to_owned(),
        volatile: false,
        settings: Vec::new(),
    };
    let rootfs = Rootfs { root: Some(Root::Overlay(overlay)), id_mapped: false };
    let spec = serde_json::from_value(spec.clone()).expect("a spec");
    compile(&spec, &PlanInput { rootfs, cgroups, ..PlanInput::default() })
}

/// The smallest spec that compiles.
fn smallest() -> Value {
    json!({
        "ociVersion": "1.2.0",
        "root": {"path": "rootfs"},
        "process": {"user": {"uid": 0, "gid": 0}, "args": ["sh"], "env": ["PATH=/bin"], "cwd": "/"},
        "linux": {"namespaces": [{"type": "mount"}]}
    })
}

/// A spec like those of ordinary containers.
fn ordinary() -> Value {
    let capabilities = json!(["CAP_CHOWN", "CAP_KILL"]);
    json!({
        "ociVersion": "1.2.0",
        "root": {"path": "rootfs", "readonly": true},
        "hostname": "box",
        "process": {
            "terminal": true, "consoleSize": {"height": 24, "width": 80},
            "user": {"uid": 1000, "gid": 1000, "additionalGids": [1000, 5], "umask": 18},
            "args": ["sh", "-c", "true"], "env": ["PATH=/bin", "TERM=xterm"], "cwd": "/work/../srv",
            "capabilities": {"bounding": capabilities, "permitted": capabilities},
            "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 1024, "hard": 4096}],
            "noNewPrivileges": true, "oomScoreAdj": 100
        },
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
             "options": ["nosuid", "strictatime", "mode=755", "size=65536k", "ro"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
             "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]},
            {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
             "options": ["nosuid", "noexec", "nodev", "relatime", "ro"]},
            {"destination": "/data", "type": "bind", "source": "/host/data", "options": ["rbind", "ro", "rro", "rslave"]},
            {"destination": "/etc/hosts", "type": "bind", "source": "/host/hosts", "options": ["bind", "noatime"]}
        ],
        "linux": {
            "cgroupsPath": "/gantry/default/box",
            "resources": {"pids": {"limit": 64}},
            "namespaces": [{"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"},
                           {"type": "mount"}, {"type": "cgroup"}],
            "sysctl": {"net.ipv4.ip_forward": "1", "kernel.shmmax": "65536"},
            "devices": [{"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 438}],
            "maskedPaths": ["/proc/kcore", "/sys/firmware"],
            "readonlyPaths": ["/proc/sys"]
        }
    })
}

/// A spec with what only newer executors carry out.
fn extraordinary() -> Value {
    let mut spec = ordinary();
    let map = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
    let hook = json!([{"path": "/usr/bin/hook", "args": ["hook", "now"], "env": ["A=b"], "timeout": 3}]);
    spec["hooks"] =
        json!({"createRuntime": hook, "startContainer": hook, "poststop": [{"path": "/bin/true"}]});
    spec["annotations"] = json!({"b": "2", "a": "1"});
    let process = &mut spec["process"];
    process["scheduler"] = json!({"policy": "SCHED_RR", "priority": 5});
    process["ioPriority"] = json!({"class": "IOPRIO_CLASS_BE", "priority": 4});
    process["execCPUAffinity"] = json!({"initial": "0", "final": "0-1"});
    process["apparmorProfile"] = json!("confined");
    let mounts = spec["mounts"].as_array_mut().expect("a list");
    mounts.push(
        json!({"destination": "/own", "type": "bind", "source": "/host/own", "options": ["rbind", "ridmap"],
                       "uidMappings": map, "gidMappings": map}),
    );
    mounts.push(json!({"destination": "/run", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup"]}));
    let linux = &mut spec["linux"];
    linux["namespaces"] = json!([{"type": "pid", "path": "/proc/7/ns/pid"}, {"type": "mount"}, {"type": "user"},
                                 {"type": "time"}, {"type": "uts"}, {"type": "ipc"}, {"type": "network"}]);
    linux["uidMappings"] = map.clone();
    linux["gidMappings"] = map;
    linux["timeOffsets"] = json!({"monotonic": {"secs": -3, "nanosecs": 5}, "boottime": {"secs": 9}});
    linux["netDevices"] = json!({"eth9": {"name": "eth0"}, "eth8": {}});
    linux["rootfsPropagation"] = json!("rshared");
    linux["personality"] = json!({"domain": "LINUX32"});
    linux["memoryPolicy"] =
        json!({"mode": "MPOL_INTERLEAVE", "nodes": "0-1", "flags": ["MPOL_F_STATIC_NODES"]});
    spec
}
