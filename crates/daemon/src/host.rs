//! What the daemon learns of its machine once, at its start: everything that specs and plans depend on
//! beside the request. Device nodes that a request names are looked at when it is made.

use std::collections::BTreeMap;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use gantry_runtime::seccomp::Architecture;
use gantry_runtime::spec::{CapabilitySet, DeviceKind, DeviceNode, HostFacts};
use gantry_types::ContainerOptions;

use crate::error::Error;

/// Folder levels below `/dev` that a privileged container's devices are looked for in.
const DEVICE_FOLDERS_DEEP: usize = 4;

/// Looks at the machine. Devices are left empty.
pub(crate) fn look() -> Result<HostFacts, Error> {
    let architecture =
        Architecture::host().ok_or(Error::Machine { rule: "its processor is not known to Gantry" })?;
    let name = rustix::system::uname();
    let release = name.release().to_string_lossy().into_owned();
    Ok(HostFacts {
        capabilities: bounding_capabilities()?,
        seccomp: Path::new("/proc/sys/kernel/seccomp/actions_avail").exists(),
        architecture,
        kernel: kernel_version(&release),
        cpus: possible_cpus(),
        thermal_throttle: Path::new("/sys/devices/system/cpu/cpu0/thermal_throttle").exists(),
        hostname: name.nodename().to_string_lossy().into_owned(),
        devices: BTreeMap::new(),
    })
}

/// The device nodes that `options` need to be known: those named, or all of them.
pub(crate) fn devices(options: &ContainerOptions) -> BTreeMap<String, DeviceNode> {
    let mut nodes = BTreeMap::new();
    for device in &options.devices {
        if let Some(node) = device_node(Path::new(&device.host_path)) {
            nodes.insert(device.host_path.clone(), node);
        }
    }
    if options.security.privileged {
        collect_devices(Path::new("/dev"), DEVICE_FOLDERS_DEEP, &mut nodes);
    }
    nodes
}

fn collect_devices(folder: &Path, levels: usize, nodes: &mut BTreeMap<String, DeviceNode>) {
    // Folders that the container has its own mounts of (runtime-spec, config-linux.md).
    const OWN: [&str; 4] = ["/dev/pts", "/dev/shm", "/dev/mqueue", "/dev/fd"];
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for path in entries.filter_map(Result::ok).map(|entry| entry.path()) {
        let Some(text) = path.to_str() else { continue };
        let Ok(metadata) = std::fs::symlink_metadata(&path) else { continue };
        if metadata.is_dir() && levels > 1 && !OWN.contains(&text) {
            collect_devices(&path, levels - 1, nodes);
        } else if text != "/dev/console"
            && let Some(node) = device_node(&path)
        {
            nodes.insert(text.to_owned(), node);
        }
    }
}

fn device_node(path: &Path) -> Option<DeviceNode> {
    let metadata = std::fs::symlink_metadata(path).ok()?;
    let metadata = if metadata.is_symlink() { std::fs::metadata(path).ok()? } else { metadata };
    let kind = match metadata.file_type() {
        kind if kind.is_block_device() => DeviceKind::Block,
        kind if kind.is_char_device() => DeviceKind::Character,
        _ => return None,
    };
    Some(DeviceNode {
        kind,
        major: rustix::fs::major(metadata.rdev()),
        minor: rustix::fs::minor(metadata.rdev()),
        mode: metadata.permissions().mode() & 0o7777,
        uid: metadata.uid(),
        gid: metadata.gid(),
    })
}

/// What the daemon itself may at most give (capabilities(7), the bounding set).
fn bounding_capabilities() -> Result<CapabilitySet, Error> {
    let path = PathBuf::from("/proc/self/status");
    let status = std::fs::read_to_string(&path)
        .map_err(|source| Error::Io { action: "read the daemon's own capabilities", source })?;
    let bits = status
        .lines()
        .find_map(|line| line.strip_prefix("CapBnd:"))
        .and_then(|digits| u64::from_str_radix(digits.trim(), 16).ok())
        .ok_or(Error::Machine { rule: "the kernel does not tell the daemon's capabilities" })?;
    Ok(CapabilitySet::from_bits(bits))
}

fn kernel_version(release: &str) -> (u32, u32) {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|digits| digits.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

/// Processors that may ever be there: the list ends with the highest.
fn possible_cpus() -> u32 {
    let list = std::fs::read_to_string("/sys/devices/system/cpu/possible").unwrap_or_default();
    let highest = list.trim().rsplit([',', '-']).next().and_then(|digits| digits.parse::<u32>().ok());
    highest.map_or(1, |highest| highest + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_releases_of_all_shapes_have_a_version() {
        assert_eq!(kernel_version("6.1.0-32-cloud-amd64"), (6, 1));
        assert_eq!(kernel_version("6.18.44-fc"), (6, 18));
        assert_eq!(kernel_version("5"), (5, 0));
    }

    #[test]
    fn a_symlink_to_a_device_is_the_device_and_a_file_is_none() {
        assert_eq!(device_node(Path::new("/dev/null")).map(|node| (node.major, node.minor)), Some((1, 3)));
        assert!(device_node(Path::new("/proc/self/status")).is_none());
        assert!(device_node(Path::new("/does/not/exist")).is_none());
    }
}
