//! `features`: what this runtime knows (runtime-spec, features.md). Only what is carried out is listed.

use serde_json::{Value, json};

use super::Outcome;
use crate::criu::Criu;
use crate::options::Globals;
use crate::output;
use crate::record::OCI_VERSION;

/// The words of a mount's `options` that are not the filesystem's own; most have an `r` form for the whole tree.
const MOUNT_OPTIONS: &[&str] = &[
    "acl",
    "async",
    "atime",
    "bind",
    "defaults",
    "dev",
    "diratime",
    "dirsync",
    "exec",
    "iversion",
    "lazytime",
    "loud",
    "mand",
    "noacl",
    "noatime",
    "nodev",
    "nodiratime",
    "noexec",
    "noiversion",
    "nolazytime",
    "nomand",
    "norelatime",
    "nostrictatime",
    "nosuid",
    "nosymfollow",
    "private",
    "ratime",
    "rbind",
    "rdev",
    "rdiratime",
    "relatime",
    "rexec",
    "rnoatime",
    "rnodev",
    "rnodiratime",
    "rnoexec",
    "rnorelatime",
    "rnostrictatime",
    "rnosuid",
    "rnosymfollow",
    "ro",
    "rprivate",
    "rro",
    "rrw",
    "rshared",
    "rslave",
    "rw",
    "shared",
    "silent",
    "slave",
];

pub(super) fn features(globals: &Globals) -> Outcome {
    let capabilities: Vec<&str> = gantry_runtime::spec::CapabilitySet::ALL.names().collect();
    output::pretty(&json!({
        "ociVersionMin": "1.0.0",
        "ociVersionMax": OCI_VERSION,
        "hooks": ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"],
        "mountOptions": MOUNT_OPTIONS,
        "linux": {
            "namespaces": ["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"],
            "capabilities": capabilities,
            "cgroup": {"v1": true, "v2": true, "systemd": true, "systemdUser": false, "rdma": true},
            "seccomp": {
                "enabled": true,
                "actions": ["SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO", "SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS",
                            "SCMP_ACT_KILL_THREAD", "SCMP_ACT_LOG", "SCMP_ACT_NOTIFY", "SCMP_ACT_TRACE",
                            "SCMP_ACT_TRAP"],
                "operators": ["SCMP_CMP_EQ", "SCMP_CMP_GE", "SCMP_CMP_GT", "SCMP_CMP_LE", "SCMP_CMP_LT",
                              "SCMP_CMP_MASKED_EQ", "SCMP_CMP_NE"],
                "archs": ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM", "SCMP_ARCH_X32", "SCMP_ARCH_X86",
                          "SCMP_ARCH_X86_64"]
            },
            "apparmor": {"enabled": true},
            "selinux": {"enabled": true},
            "intelRdt": {"enabled": false},
            "mountExtensions": {"idmap": {"enabled": true}}
        },
        "annotations": annotations(globals)
    }))?;
    Ok(None)
}

/// What is there only where CRIU is installed, under runc's name and ours. Whether it can work with this kernel only
/// `criu check` tells.
fn annotations(globals: &Globals) -> Value {
    match Criu::find(globals.criu.as_deref()).and_then(|criu| criu.describe()) {
        Ok((version, features)) => {
            let yes_or_no = |has: Option<bool>| has.unwrap_or(false).to_string();
            let release = format!("{}.{}.{}", version.major, version.minor, version.patch.unwrap_or(0));
            json!({
                "org.opencontainers.runc.checkpoint.enabled": "true",
                "gantry.criu.version": release,
                "gantry.criu.pre-dump": yes_or_no(features.memory_tracking)
            })
        }
        Err(_) => json!({"org.opencontainers.runc.checkpoint.enabled": "false"}),
    }
}
