//! Which paths may be named, and which are hidden? The lexical rules for every path that a request or an
//! image gives, and the lists of what a container may not see or write. These rules are a courtesy to
//! people and a second fence: where a path leads is decided when it is opened beneath the root.

use std::path::PathBuf;

use super::{HostFacts, SpecError};

/// Bytes of one path (`PATH_MAX`).
const PATH_BYTES_MAX: usize = 4096;

/// Kernel files that read as empty: each has told a container about the host, or let it change it.
const MASKED: [&str; 12] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];
/// Kernel files that a container may read and not write.
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];
/// Files below `/proc` that may be mount targets, for the sake of lxcfs and the like.
const PROC_TARGETS: [&str; 11] = [
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/loadavg",
    "/proc/meminfo",
    "/proc/net/dev",
    "/proc/slabinfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/sys/crypto/fips_enabled",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/uptime",
];

/// Masked paths of an ordinary container; absent ones are skipped when the plan runs.
pub(crate) fn masked(host: &HostFacts) -> Vec<String> {
    let mut paths: Vec<String> = MASKED.iter().map(|path| (*path).to_owned()).collect();
    paths.extend(
        (0..host.cpus)
            .filter(|_| host.thermal_throttle)
            .map(|cpu| format!("/sys/devices/system/cpu/cpu{cpu}/thermal_throttle")),
    );
    paths
}

/// Read-only paths of an ordinary container.
pub(crate) fn read_only() -> Vec<String> {
    READ_ONLY.iter().map(|path| (*path).to_owned()).collect()
}

/// Checks a mount target or device path inside the container and answers it without `//` and `/./`.
pub(crate) fn target(what: &'static str, path: &str) -> Result<PathBuf, SpecError> {
    let clean = inside(what, path)?;
    let text = clean.to_string_lossy();
    let rule = if text == "/" {
        "is the container's root"
    } else if text == "/proc" || text.starts_with("/proc/") && !PROC_TARGETS.contains(&&*text) {
        "would cover a part of /proc, which confinement relies on"
    } else {
        return Ok(clean);
    };
    Err(refused(what, path, rule))
}

/// Checks an absolute path inside the container and answers it without `//` and `/./`.
pub(crate) fn inside(what: &'static str, path: &str) -> Result<PathBuf, SpecError> {
    absolute(what, path)?;
    let mut clean = PathBuf::from("/");
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => return Err(refused(what, path, "holds '..'")),
            part => clean.push(part),
        }
    }
    Ok(clean)
}

/// Checks that a path is absolute, of a sane length and free of control characters.
pub(crate) fn absolute(what: &'static str, path: &str) -> Result<(), SpecError> {
    let rule = if !path.starts_with('/') {
        "is not absolute"
    } else if path.len() >= PATH_BYTES_MAX {
        "is longer than the kernel takes"
    } else if path.chars().any(char::is_control) {
        "holds a control character"
    } else {
        return Ok(());
    };
    Err(refused(what, path, rule))
}

pub(crate) fn refused(what: &'static str, path: &str, rule: &'static str) -> SpecError {
    SpecError::Path { what, path: path.chars().take(PATH_BYTES_MAX).collect(), rule }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_absolute_plain_and_outside_proc() {
        for (path, clean) in [
            ("/data", "/data"),
            ("//data/./x/", "/data/x"),
            ("/proc/cpuinfo", "/proc/cpuinfo"),
            ("/process", "/process"),
            ("/sys/fs/cgroup", "/sys/fs/cgroup"),
        ] {
            assert_eq!(target("mount target", path), Ok(PathBuf::from(clean)), "{path}");
        }
        for path in [
            "",
            "data",
            "./data",
            "/",
            "//",
            "/.",
            "/a/../etc",
            "/..",
            "/proc",
            "/proc/",
            "//proc//",
            "/proc/self",
            "/proc/sys",
            "/proc/1/attr",
            "/proc/./sysrq-trigger",
            "/a\0b",
            "/a\nb",
        ] {
            assert!(target("mount target", path).is_err(), "{path:?}");
        }
        assert!(target("mount target", &format!("/{}", "a".repeat(5000))).is_err());
    }
}
