//! `/dev`: the nodes every container has (runtime-spec, config-linux.md "Default Devices"), the spec's own,
//! the links, and the console.

use std::collections::BTreeMap;

use oci_spec::runtime::{Linux, LinuxDevice, LinuxDeviceType, Mount as SpecMount};

use super::{mounts, path};
use crate::plan::{Console, Device, Op, PlanError, Step, Symlink};

const S_IFCHR: u32 = 0o020_000;
const S_IFBLK: u32 = 0o060_000;
const S_IFIFO: u32 = 0o010_000;

const DEFAULTS: [(&str, u32, u32); 6] = [
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
];

const LINKS: [(&str, &str); 5] = [
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
    ("/dev/ptmx", "pts/ptmx"),
];

pub(super) fn compile(
    mounts: &[SpecMount],
    linux: &Linux,
    terminal: bool,
    steps: &mut Vec<Step>,
) -> Result<(), PlanError> {
    let own = linux.devices().as_deref().unwrap_or_default();
    if own.len() > gantry_types::DEVICES_MAX {
        return Err(PlanError::invalid("linux.devices", format!("{} of them", own.len())));
    }
    // What is bound at /dev has its own nodes; nothing is made in a folder of the host.
    if mounts::owns_dev(mounts) {
        let mut devices = BTreeMap::new();
        for (index, (path, major, minor)) in DEFAULTS.into_iter().enumerate() {
            let mode = S_IFCHR | 0o666;
            devices.insert(
                path.to_owned(),
                (index, Device { path: path.to_owned(), mode, major, minor, uid: 0, gid: 0 }),
            );
        }
        for (index, device) in own.iter().enumerate() {
            let device = node(index, device)?;
            let order = devices.get(&device.path).map_or(DEFAULTS.len() + index, |(order, _)| *order);
            devices.insert(device.path.clone(), (order, device));
        }
        let mut devices: Vec<_> = devices.into_values().collect();
        devices.sort_by_key(|(order, _)| *order);
        steps.extend(devices.into_iter().map(|(_, device)| Op::Device(device).into()));
        steps.extend(LINKS.map(|(path, target)| {
            Op::Symlink(Symlink { path: path.to_owned(), target: target.to_owned() }).into()
        }));
    }
    if terminal {
        steps.push(Op::Console(Console {}).into());
    }
    Ok(())
}

fn node(index: usize, device: &LinuxDevice) -> Result<Device, PlanError> {
    let field = format!("linux.devices[{index}]");
    let number = |value: i64| {
        u32::try_from(value)
            .map_err(|_| PlanError::invalid(format!("{field}.major or minor"), value.to_string()))
    };
    let kind = match device.typ() {
        LinuxDeviceType::C | LinuxDeviceType::U => S_IFCHR,
        LinuxDeviceType::B => S_IFBLK,
        LinuxDeviceType::P => S_IFIFO,
        LinuxDeviceType::A => return Err(PlanError::invalid(format!("{field}.type"), "a")),
    };
    Ok(Device {
        path: path::clean(&format!("{field}.path"), &device.path().to_string_lossy())?,
        mode: kind | (device.file_mode().unwrap_or(0o666) & 0o7777),
        major: number(device.major())?,
        minor: number(device.minor())?,
        uid: device.uid().unwrap_or(0),
        gid: device.gid().unwrap_or(0),
    })
}
