//! `spec`: a config.json to begin with, in the bundle's folder: a shell in every namespace but the user's, with
//! the capabilities and protected paths that runc's own template made usual.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;

use gantry_linux::process::{effective_gid, effective_uid};
use serde_json::{Value, json};

use super::Outcome;
use crate::failure::Failure;
use crate::options::Template;
use crate::record::OCI_VERSION;

pub(super) fn spec(options: &Template) -> Outcome {
    let folder = options.bundle.as_deref().unwrap_or_else(|| Path::new("."));
    let path = folder.join("config.json");
    let mut value = template();
    if options.rootless {
        make_rootless(&mut value);
    }
    let text = serde_json::to_string_pretty(&value).map_err(|error| Failure::json(&path, error))?;
    let opened = OpenOptions::new().write(true).create_new(true).open(&path);
    opened
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(|error| Failure::file("write", path, error))?;
    Ok(None)
}

fn template() -> Value {
    let capabilities = json!(["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]);
    json!({
        "ociVersion": OCI_VERSION,
        "process": {
            "terminal": true,
            "user": {"uid": 0, "gid": 0},
            "args": ["sh"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": {"bounding": capabilities, "effective": capabilities, "permitted": capabilities},
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": true
        },
        "root": {"path": "rootfs", "readonly": true},
        "hostname": "gantry",
        "mounts": mounts(),
        "linux": {
            "resources": {"devices": [{"allow": false, "access": "rwm"}]},
            "namespaces": [
                {"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"},
                {"type": "cgroup"}
            ],
            "maskedPaths": ["/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
                            "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware",
                            "/proc/scsi"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
        }
    })
}

fn mounts() -> Value {
    json!([
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
         "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
        {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
         "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
        {"destination": "/dev/shm", "type": "tmpfs", "source": "shm",
         "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]},
        {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue",
         "options": ["nosuid", "noexec", "nodev"]},
        {"destination": "/sys", "type": "sysfs", "source": "sysfs",
         "options": ["nosuid", "noexec", "nodev", "ro"]},
        {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
         "options": ["nosuid", "noexec", "nodev", "relatime", "ro"]}
    ])
}

/// For a caller without privileges: its own ids are root's inside, the host's network and `/sys` are shared,
/// and nothing is asked that only the host's root may give.
fn make_rootless(spec: &mut Value) {
    let linux = &mut spec["linux"];
    linux["namespaces"] = json!([
        {"type": "pid"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}, {"type": "cgroup"}, {"type": "user"}
    ]);
    linux["uidMappings"] = json!([{"containerID": 0, "hostID": effective_uid(), "size": 1}]);
    linux["gidMappings"] = json!([{"containerID": 0, "hostID": effective_gid(), "size": 1}]);
    if let Some(linux) = linux.as_object_mut() {
        linux.remove("resources");
    }
    let Some(mounts) = spec["mounts"].as_array_mut() else { return };
    mounts.retain(|mount| mount["destination"] != "/sys/fs/cgroup");
    for mount in mounts {
        if mount["destination"] == "/sys" {
            *mount = json!({"destination": "/sys", "type": "none", "source": "/sys",
                            "options": ["rbind", "nosuid", "noexec", "nodev", "ro"]});
        }
        if let Some(options) = mount["options"].as_array_mut() {
            options.retain(|option| option != "gid=5");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_template_is_a_spec() {
        let spec: oci_spec::runtime::Spec = serde_json::from_value(template()).expect("a spec");
        assert_eq!(spec.mounts().as_ref().map(Vec::len), Some(7));
        let mut rootless = template();
        make_rootless(&mut rootless);
        let spec: oci_spec::runtime::Spec = serde_json::from_value(rootless).expect("a spec");
        assert!(spec.linux().as_ref().is_some_and(|linux| linux.uid_mappings().is_some()));
    }

    #[test]
    fn a_config_that_is_there_is_not_overwritten() {
        let folder = tempfile::tempdir().expect("a folder");
        let options = Template { bundle: Some(folder.path().into()), rootless: false };
        spec(&options).expect("written");
        assert!(matches!(spec(&options), Err(Failure::File { .. })));
    }
}
