//! Which devices does a container have? The ones of the request as nodes, and the control group's rules:
//! deny everything, then allow. That the deny comes first is what makes the list a list (runc's
//! GHSA-g54h-m393-cpwq). The nodes that every container has (`/dev/null` and so on, OCI runtime-spec
//! config-linux.md "Default Devices") are the plan's; only their rules are here.

use gantry_types::{DEVICES_MAX, Device};
use oci_spec::runtime::{LinuxDevice, LinuxDeviceCgroup, LinuxDeviceType};

use super::{DeviceKind, DeviceNode, HostFacts, SpecError, paths};

/// Character devices that every container may use: null, zero, full, random, urandom, tty, console, ptmx,
/// and (without a minor number) the pseudo terminals.
const CHARACTER: [(i64, Option<i64>); 9] = [
    (1, Some(3)),
    (1, Some(5)),
    (1, Some(7)),
    (1, Some(8)),
    (1, Some(9)),
    (5, Some(0)),
    (5, Some(1)),
    (5, Some(2)),
    (136, None),
];

/// Nodes to make, and rules for the control group.
pub(crate) fn build(
    asked: &[Device],
    privileged: bool,
    host: &HostFacts,
) -> Result<(Vec<LinuxDevice>, Vec<LinuxDeviceCgroup>), SpecError> {
    if asked.len() > DEVICES_MAX {
        return Err(SpecError::TooMany { what: "devices", max: DEVICES_MAX });
    }
    let mut nodes = Vec::new();
    let mut rules = if privileged { vec![rule(true, None, None, None, "rwm")] } else { default_rules() };
    for device in asked {
        let access = permissions(&device.permissions)?;
        paths::absolute("device", &device.host_path)?;
        let target = paths::target("device", &device.container_path)?;
        let node = host
            .devices
            .get(&device.host_path)
            .ok_or_else(|| SpecError::DeviceMissing { path: device.host_path.clone() })?;
        nodes.push(device_node(target, node));
        if !privileged {
            rules.push(rule(
                true,
                Some(kind(node)),
                Some(node.major.into()),
                Some(node.minor.into()),
                &access,
            ));
        }
    }
    if privileged {
        for (path, node) in &host.devices {
            let asked_already = asked.iter().any(|device| device.container_path == *path);
            if path.starts_with("/dev/") && !asked_already {
                nodes.push(device_node(paths::inside("device", path)?, node));
            }
        }
    }
    Ok((nodes, rules))
}

fn default_rules() -> Vec<LinuxDeviceCgroup> {
    let mut rules = vec![
        rule(false, None, None, None, "rwm"),
        // Making a node is harmless while opening it is not allowed.
        rule(true, Some(LinuxDeviceType::C), None, None, "m"),
        rule(true, Some(LinuxDeviceType::B), None, None, "m"),
    ];
    rules.extend(
        CHARACTER
            .iter()
            .map(|(major, minor)| rule(true, Some(LinuxDeviceType::C), Some(*major), *minor, "rwm")),
    );
    rules
}

fn rule(
    allow: bool,
    kind: Option<LinuxDeviceType>,
    major: Option<i64>,
    minor: Option<i64>,
    access: &str,
) -> LinuxDeviceCgroup {
    let mut rule = LinuxDeviceCgroup::default();
    rule.set_allow(allow)
        .set_typ(Some(kind.unwrap_or(LinuxDeviceType::A)))
        .set_major(major)
        .set_minor(minor)
        .set_access(Some(access.to_owned()));
    rule
}

fn device_node(path: std::path::PathBuf, node: &DeviceNode) -> LinuxDevice {
    let mut device = LinuxDevice::default();
    device
        .set_path(path)
        .set_typ(kind(node))
        .set_major(node.major.into())
        .set_minor(node.minor.into())
        .set_file_mode(Some(node.mode & 0o7777))
        .set_uid(Some(node.uid))
        .set_gid(Some(node.gid));
    device
}

fn kind(node: &DeviceNode) -> LinuxDeviceType {
    match node.kind {
        DeviceKind::Block => LinuxDeviceType::B,
        DeviceKind::Character => LinuxDeviceType::C,
    }
}

/// Empty means all three.
fn permissions(text: &str) -> Result<String, SpecError> {
    let text = if text.is_empty() { "rwm" } else { text };
    let once = text.char_indices().all(|(at, c)| !text[..at].contains(c));
    if !once || !text.chars().all(|c| "rwm".contains(c)) {
        return Err(SpecError::DevicePermissions { text: text.chars().take(64).collect() });
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::tests::host;

    fn device(host_path: &str, container_path: &str, permissions: &str) -> Device {
        Device {
            host_path: host_path.to_owned(),
            container_path: container_path.to_owned(),
            permissions: permissions.to_owned(),
        }
    }

    #[test]
    fn rules_begin_with_a_denial_and_end_with_the_request() {
        let (nodes, rules) = build(&[device("/dev/fuse", "/dev/x", "rw")], false, &host()).expect("is valid");
        assert!(!rules[0].allow() && rules[0].typ() == Some(LinuxDeviceType::A));
        assert_eq!(rules.last().map(ToString::to_string).as_deref(), Some("c 10:229 rw"));
        assert_eq!((nodes[0].major(), nodes[0].minor()), (10, 229));
    }

    #[test]
    fn a_privileged_container_has_every_device() {
        let (nodes, rules) = build(&[], true, &host()).expect("is valid");
        assert_eq!(nodes.len(), host().devices.len());
        assert_eq!(rules.len(), 1);
        assert!(rules[0].allow());
    }

    #[test]
    fn bad_devices_are_refused() {
        for (case, class) in [
            (device("/dev/nope", "/dev/x", "rwm"), "DEVICE_MISSING"),
            (device("/dev/fuse", "/dev/../x", "rwm"), "PATH_REFUSED"),
            (device("/dev/fuse", "/proc/x", "rwm"), "PATH_REFUSED"),
            (device("dev/fuse", "/dev/x", "rwm"), "PATH_REFUSED"),
            (device("/dev/fuse", "/dev/x", "rr"), "DEVICE_PERMISSIONS_MALFORMED"),
            (device("/dev/fuse", "/dev/x", "x"), "DEVICE_PERMISSIONS_MALFORMED"),
        ] {
            let error = build(&[case], false, &host()).expect_err("is refused");
            assert_eq!(gantry_types::Classified::reason(&error), class);
        }
    }
}
