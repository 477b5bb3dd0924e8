//! Which mounts of a container CRIU must not try to make: those whose files are the host's. The plan says which paths
//! were bound; the mount table says what is there. A mount that the plan does not name is the host's too when it
//! shows a part of a filesystem that is nowhere whole in the container: masks, and devices in a user namespace.
//!
//! ```text
//!  checkpoint   mountpoint in the container ──► name: the plan's target, and the rest of the path below it
//!  restore      that name ──► path of the host: the plan's source, and the same rest
//! ```

use std::collections::BTreeSet;
use std::fs;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::path::Path;

use gantry_linux::host::unescape;
use gantry_linux::{Pid, RootDir};
use gantry_runtime::plan::{Op, Plan};

use crate::criu::message::ExternalMount;
use crate::failure::Failure;

/// Modes of what is made for a mount to be put on, as the executor makes it.
const FOLDER_MODE: u32 = 0o755;
const FILE_MODE: u32 = 0o644;
/// What is mounted over masked files.
const NULL: &str = "/dev/null";

/// One line of a mount table (proc_pid_mountinfo(5)).
#[derive(Debug, Clone, PartialEq, Eq)]
struct Line {
    id: u64,
    device: String,
    /// What of the filesystem is shown: `/` is the whole.
    part: String,
    mountpoint: String,
    fstype: String,
}

/// The mounts that a checkpoint leaves out.
pub(crate) fn mounts_to_leave_out(plan: &Plan, pid: Pid) -> Result<Vec<ExternalMount>, Failure> {
    let table = table(&format!("/proc/{pid}/mountinfo"))?;
    let root = RootDir::open_host(Path::new(&format!("/proc/{pid}/root"))).map_err(Failure::kernel)?;
    let id_at = |target: &str| {
        // A target that is gone is nobody's mount any more.
        let handle = root.open(target).ok()?;
        id_of(&handle)
    };
    let bound = binds(plan).filter_map(|(target, _)| Some((id_at(target)?, target.to_owned())));
    Ok(left_out(&table, &own_table()?, &bound.collect::<Vec<_>>()))
}

/// Pure: `host` is the host's own table, `bound` the id of the mount at each bound target, and that target.
fn left_out(table: &[Line], host: &[Line], bound: &[(u64, String)]) -> Vec<ExternalMount> {
    let whole: BTreeSet<&str> =
        table.iter().filter(|line| line.part == "/").map(|line| line.device.as_str()).collect();
    let mountpoint_of =
        |id: u64| table.iter().find(|line| line.id == id).map(|line| line.mountpoint.as_str());
    let mut mounts: Vec<ExternalMount> = Vec::new();
    for line in table.iter().filter(|line| line.mountpoint != "/") {
        let named = bound.iter().find_map(|(id, target)| {
            (line.id == *id).then(|| target.clone()).or_else(|| {
                let below = beneath(&line.mountpoint, mountpoint_of(*id)?)?;
                // What is mounted on a volume in the container alone is its own.
                host.iter().any(|other| other.device == line.device).then(|| format!("{target}{below}"))
            })
        });
        // The part of a cgroup hierarchy is the container's own, seen from outside of its cgroup namespace.
        let is_part = line.part != "/" && !line.fstype.starts_with("cgroup");
        let hosts = || (is_part && !whole.contains(line.device.as_str())).then(|| line.mountpoint.clone());
        if let Some(value) = named.or_else(hosts) {
            mounts.retain(|mount| mount.key != line.mountpoint);
            mounts.push(ExternalMount { key: line.mountpoint.clone(), value });
        }
    }
    mounts
}

/// What is there instead when the plan's container is restored.
pub(crate) fn mounts_for_restore(plan: &Plan) -> Result<Vec<ExternalMount>, Failure> {
    let own = own_table()?;
    let mut mounts = Vec::new();
    let mut add = |key: &str, value: &str| {
        mounts.push(ExternalMount { key: key.to_owned(), value: value.to_owned() });
    };
    for (target, source) in binds(plan) {
        let found = fs::canonicalize(source).map_err(|error| Failure::file("open", source, error))?;
        let found = found.to_string_lossy();
        add(target, &found);
        for line in &own {
            if let Some(below) = beneath(&line.mountpoint, &found) {
                add(&format!("{target}{below}"), &line.mountpoint);
            }
        }
    }
    for step in plan.steps.iter().filter_map(|step| step.op.as_ref()) {
        if let Op::Mask(mask) = step {
            mask.paths.iter().for_each(|path| add(path, NULL));
        } else if let Op::Device(device) = step {
            add(&device.path, &device.path);
        }
    }
    Ok(mounts)
}

/// Makes what the mounts of a plan are put on, where it is missing in a root filesystem. What is below another mount
/// is in that one.
pub(crate) fn make_mountpoints(plan: &Plan, rootfs: &Path) -> Result<(), Failure> {
    let root = RootDir::open_host(rootfs).map_err(Failure::kernel)?;
    let mut covered: Vec<&str> = Vec::new();
    for step in plan.steps.iter().filter_map(|step| step.op.as_ref()) {
        let (target, file) = if let Op::Mount(mount) = step {
            (mount.target.as_str(), false)
        } else if let Op::Bind(bind) = step {
            (bind.target.as_str(), !Path::new(&bind.source).is_dir())
        } else {
            continue;
        };
        if !covered.iter().any(|other| beneath(target, other).is_some()) {
            let made = if file {
                root.create_file(target, FILE_MODE)
            } else {
                root.create_dir_all(target, FOLDER_MODE)
            };
            made.map_err(Failure::kernel)?;
        }
        covered.push(target);
    }
    Ok(())
}

/// The ids of all mounts that a process sees.
pub(super) fn ids_of(pid: Pid) -> Result<Vec<u64>, Failure> {
    Ok(table(&format!("/proc/{pid}/mountinfo"))?.into_iter().map(|line| line.id).collect())
}

/// The mount's id in what `/proc/*/fdinfo` says of a descriptor.
pub(super) fn id_in(info: &str) -> Option<u64> {
    info.lines().find_map(|line| line.strip_prefix("mnt_id:"))?.trim().parse().ok()
}

fn id_of(handle: &OwnedFd) -> Option<u64> {
    let path = format!("/proc/self/fdinfo/{}", handle.as_fd().as_raw_fd());
    id_in(&fs::read_to_string(path).ok()?)
}

fn binds(plan: &Plan) -> impl Iterator<Item = (&str, &str)> {
    plan.steps.iter().filter_map(|step| {
        let Some(Op::Bind(bind)) = &step.op else { return None };
        Some((bind.target.as_str(), bind.source.as_str()))
    })
}

/// The rest of a path below a folder, with its slash.
fn beneath<'a>(path: &'a str, folder: &str) -> Option<&'a str> {
    path.strip_prefix(folder.trim_end_matches('/')).filter(|rest| rest.len() > 1 && rest.starts_with('/'))
}

fn own_table() -> Result<Vec<Line>, Failure> {
    table("/proc/self/mountinfo")
}

fn table(path: &str) -> Result<Vec<Line>, Failure> {
    let text = fs::read_to_string(path).map_err(|error| Failure::file("read", path, error))?;
    Ok(text.lines().filter_map(line_in).collect())
}

fn line_in(text: &str) -> Option<Line> {
    let (fields, filesystem) = text.split_once(" - ")?;
    let fields: Vec<&str> = fields.split(' ').collect();
    let [id, _, device, part, mountpoint, ..] = fields[..] else { return None };
    Some(Line {
        id: id.parse().ok()?,
        device: device.to_owned(),
        part: unescape(part),
        mountpoint: unescape(mountpoint),
        fstype: filesystem.split(' ').next().unwrap_or_default().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use gantry_runtime::plan::{Bind, Mask, Mount, Step};

    use super::*;

    const TABLE: &str = "\
100 90 254:1 /bundle/rootfs / rw - ext4 /dev/vda1 rw
101 100 0:50 / /proc rw - proc proc rw
102 100 0:51 / /dev rw - tmpfs tmpfs rw
103 102 0:52 / /dev/pts rw - devpts devpts rw
104 102 0:52 /0 /dev/console rw - devpts devpts rw
105 100 254:1 /srv/data /data rw - ext4 /dev/vda1 rw
106 105 254:9 / /data/disk rw - xfs /dev/vdb rw
107 101 0:5 /null /proc/kcore rw - devtmpfs udev rw
108 101 0:50 /sys /proc/sys ro - proc proc rw
109 100 254:1 /etc/my\\040hosts /etc/hosts rw - ext4 /dev/vda1 rw
110 105 0:60 / /data/scratch rw - tmpfs tmpfs rw
111 100 0:27 /gantry/c1 /sys/fs/cgroup ro - cgroup2 cgroup rw
";
    const HOST: &str =
        "90 1 254:1 / / rw - ext4 /dev/vda1 rw\n91 90 254:9 / /srv/data/disk rw - xfs /dev/vdb rw\n";

    fn bind(source: &str, target: &str) -> Step {
        Op::Bind(Bind { source: source.to_owned(), target: target.to_owned(), ..Bind::default() }).into()
    }

    #[test]
    fn volumes_and_masks_are_the_hosts_and_the_containers_own_filesystems_are_not() {
        let [table, host] = [TABLE, HOST].map(|text| text.lines().filter_map(line_in).collect::<Vec<_>>());
        assert_eq!(table[9].part, "/etc/my hosts");
        let bound = [(105, "/vol/link".to_owned()), (109, "/etc/hosts".to_owned())];
        let pairs: Vec<(String, String)> =
            left_out(&table, &host, &bound).into_iter().map(|mount| (mount.key, mount.value)).collect();
        let expected = [
            ("/data", "/vol/link"),
            ("/data/disk", "/vol/link/disk"),
            ("/proc/kcore", "/proc/kcore"),
            ("/etc/hosts", "/etc/hosts"),
        ];
        assert_eq!(pairs, expected.map(|(key, value)| (key.to_owned(), value.to_owned())));
    }

    #[test]
    fn a_restore_names_what_the_checkpoint_left_out() {
        let folder = tempfile::tempdir().expect("a folder");
        let source = folder.path().canonicalize().expect("a path").to_string_lossy().into_owned();
        let mask = Op::Mask(Mask { paths: vec!["/proc/kcore".to_owned()] }).into();
        let plan = Plan { steps: vec![bind(&source, "/data"), mask], ..Plan::default() };
        let mounts = mounts_for_restore(&plan).expect("mounts");
        let value =
            |key: &str| mounts.iter().find(|mount| mount.key == key).map(|mount| mount.value.as_str());
        assert_eq!((value("/data"), value("/proc/kcore")), (Some(source.as_str()), Some(NULL)));
        let missing = Plan { steps: vec![bind("/nonexistent/volume", "/data")], ..Plan::default() };
        assert!(mounts_for_restore(&missing).expect_err("no source").line().contains("/nonexistent/volume"));
    }

    #[test]
    fn mountpoints_are_made_in_the_root_alone_and_not_below_other_mounts() {
        let root = tempfile::tempdir().expect("a folder");
        let mount = |target: &str| Op::Mount(Mount { target: target.to_owned(), ..Mount::default() }).into();
        let steps = vec![mount("/dev"), mount("/dev/pts"), bind("/dev/null", "/etc/file"), bind("/", "/a/b")];
        make_mountpoints(&Plan { steps, ..Plan::default() }, root.path()).expect("made");
        assert!(root.path().join("a/b").is_dir() && root.path().join("etc/file").is_file());
        assert!(root.path().join("dev").is_dir() && !root.path().join("dev/pts").exists());
    }
}
