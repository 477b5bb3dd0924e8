//! What is mounted in a container, and in which order? The kernel filesystems that every container has,
//! the three files that Gantry writes for it, and the request's own mounts, which win over both where
//! they have the same target. Making a missing bind source is the daemon's, mounting is the plan's.

use std::path::{Path, PathBuf};

use gantry_types::{ContainerOptions, MOUNTS_MAX, NamespaceMode};
use oci_spec::runtime::Mount;

use super::{GeneratedFiles, SpecError, paths, user_namespace};

/// Bytes of `/dev/shm` unless the request says otherwise.
const SHM_SIZE_BYTES: u64 = 64 << 20;

/// Flags of a tmpfs that exclude each other, pair by pair (mount(8)).
const OPPOSITES: [(&str, &str); 6] = [
    ("ro", "rw"),
    ("noexec", "exec"),
    ("nosuid", "suid"),
    ("nodev", "dev"),
    ("noatime", "atime"),
    ("nodiratime", "diratime"),
];
/// Further flags of a tmpfs.
const FLAGS: [&str; 6] = ["sync", "async", "dirsync", "relatime", "norelatime", "strictatime"];
/// Options of a tmpfs that have a number (with a unit, for sizes).
const NUMBERS: [&str; 6] = ["size", "mode", "uid", "gid", "nr_inodes", "nr_blocks"];
/// Ways in which mounts travel between namespaces (mount_namespaces(7)).
const PROPAGATIONS: [&str; 6] = ["private", "rprivate", "slave", "rslave", "shared", "rshared"];

/// Every mount of the container, parents before children.
pub(crate) fn build(options: &ContainerOptions, files: &GeneratedFiles) -> Result<Vec<Mount>, SpecError> {
    if options.mounts.len() > MOUNTS_MAX {
        return Err(SpecError::TooMany { what: "mounts", max: MOUNTS_MAX });
    }
    let mut asked: Vec<Mount> = Vec::new();
    for mount in &options.mounts {
        let mount = user_mount(mount, options)?;
        if asked.iter().any(|other| other.destination() == mount.destination()) {
            return Err(SpecError::MountTwice { target: mount.destination().display().to_string() });
        }
        asked.push(mount);
    }
    let covered = |target: &Path| {
        asked.iter().any(|mount| {
            mount.destination() == target
                || mount.destination() == Path::new("/dev") && target.starts_with("/dev")
        })
    };
    let mut mounts = kernel_mounts(options);
    mounts.extend(file_mounts(options, files));
    mounts.retain(|mount| !covered(mount.destination()));
    mounts.extend(asked);
    // Stable, so that what was asked later lies on top among equals; the kernel mounts stay in front.
    mounts.sort_by_key(|mount| mount.destination().components().count());
    Ok(mounts)
}

/// Checks the volumes that an image declares; without a volume engine they are kept and not mounted.
pub fn image_volumes(image: &gantry_types::ImageConfig) -> Result<Vec<PathBuf>, SpecError> {
    image.volumes.iter().map(|path| paths::target("image volume", path)).collect()
}

fn kernel_mounts(options: &ContainerOptions) -> Vec<Mount> {
    let privileged = options.security.privileged;
    let kernel_files: &[&str] =
        if privileged { &["nosuid", "noexec", "nodev"] } else { &["nosuid", "noexec", "nodev", "ro"] };
    let terminals = ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"];
    // The group of terminals, where there is such a group.
    let terminals = &terminals[..if user_namespace::has_group(options, 5) { 6 } else { 5 }];
    let mut mounts = vec![
        mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        system(options, kernel_files),
        mount("/dev/pts", "devpts", "devpts", terminals),
        mount("/sys/fs/cgroup", "cgroup", "cgroup", kernel_files),
    ];
    // It shows the queues of whichever ipc namespace mounts it, the host's too; few hosts have it mounted. Of a namespace
    // that is another user namespace's nobody may mount it.
    if options.ipc_mode == NamespaceMode::Private || options.own_user_namespace().is_none() {
        mounts.push(mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]));
    }
    match options.ipc_mode {
        NamespaceMode::Private => {
            let size = format!("size={}", options.shm_size_bytes.unwrap_or(SHM_SIZE_BYTES));
            mounts.push(mount(
                "/dev/shm",
                "tmpfs",
                "shm",
                &["nosuid", "noexec", "nodev", "mode=1777", &size],
            ));
        }
        NamespaceMode::Host => {
            let bind = ["rbind", "rprivate", "nosuid", "noexec", "nodev"];
            mounts.push(mount("/dev/shm", "bind", "/dev/shm", &bind));
        }
    }
    mounts
}

/// `/sys`. It shows the network namespace's links, and so may only be mounted by those whom that belongs to; for others
/// it is the host's, without what is mounted below, and nobody in a user namespace could write to it anyway.
fn system(options: &ContainerOptions, flags: &[&str]) -> Mount {
    if user_namespace::owns_network(options) {
        return mount("/sys", "sysfs", "sysfs", flags);
    }
    mount("/sys", "bind", "/sys", &["bind", "rprivate", "nosuid", "noexec", "nodev", "ro"])
}

/// `/etc/hostname`, `/etc/hosts` and `/etc/resolv.conf`.
fn file_mounts(options: &ContainerOptions, files: &GeneratedFiles) -> Vec<Mount> {
    let access = if options.read_only_rootfs { "ro" } else { "rw" };
    [
        ("/etc/hostname", &files.hostname),
        ("/etc/hosts", &files.hosts),
        ("/etc/resolv.conf", &files.resolv_conf),
    ]
    .into_iter()
    .map(|(target, source)| {
        let mut mount = mount(target, "bind", "", &["bind", "rprivate", access]);
        mount.set_source(Some(source.clone()));
        mount
    })
    .collect()
}

fn user_mount(asked: &gantry_types::Mount, all: &ContainerOptions) -> Result<Mount, SpecError> {
    let target = paths::target("mount target", asked.target())?;
    let mut built = Mount::default();
    built.set_destination(target);
    match asked {
        gantry_types::Mount::Bind {
            source,
            target: _,
            read_only,
            recursive,
            propagation,
            create_source: _,
            id_mapped,
        } => {
            paths::absolute("mount source", source)?;
            let propagation = propagation.as_deref().unwrap_or("rprivate");
            if !PROPAGATIONS.contains(&propagation) {
                return Err(SpecError::MountOption {
                    option: propagation.to_owned(),
                    kind: "private, rprivate, slave, rslave, shared, rshared",
                });
            }
            let mut options =
                vec![if *recursive { "rbind" } else { "bind" }.to_owned(), propagation.to_owned()];
            match (read_only, recursive) {
                // `rro` reaches the submounts that `ro` would leave writable.
                (true, true) => options.extend(["ro".to_owned(), "rro".to_owned()]),
                (true, false) => options.push("ro".to_owned()),
                (false, _) => options.push("rw".to_owned()),
            }
            if *id_mapped {
                if all.own_user_namespace().is_none() {
                    return Err(SpecError::MountIdMapped { target: asked.target().to_owned() });
                }
                options.push(if *recursive { "ridmap" } else { "idmap" }.to_owned());
            }
            built
                .set_typ(Some("bind".to_owned()))
                .set_source(Some(PathBuf::from(source)))
                .set_options(Some(options));
        }
        gantry_types::Mount::Tmpfs { target: _, size_bytes, mode, read_only, options } => {
            built
                .set_typ(Some("tmpfs".to_owned()))
                .set_source(Some(PathBuf::from("tmpfs")))
                .set_options(Some(tmpfs_options(*size_bytes, *mode, *read_only, options)?));
        }
    }
    Ok(built)
}

fn tmpfs_options(
    size_bytes: Option<u64>,
    mode: Option<u32>,
    read_only: bool,
    asked: &[String],
) -> Result<Vec<String>, SpecError> {
    let mut options = vec!["noexec".to_owned(), "nosuid".to_owned(), "nodev".to_owned()];
    options.push(format!("mode={:o}", mode.unwrap_or(0o1777) & 0o7777));
    options.extend(size_bytes.map(|size| format!("size={size}")));
    for option in asked {
        let key = option.split_once('=').map_or(option.as_str(), |(key, _)| key);
        let opposite = OPPOSITES.iter().find_map(|(no, yes)| match option.as_str() {
            text if text == *no => Some(*yes),
            text if text == *yes => Some(*no),
            _ => None,
        });
        let known = opposite.is_some() || FLAGS.contains(&option.as_str()) || numbered(option);
        if !known {
            return Err(SpecError::MountOption {
                option: option.chars().take(256).collect(),
                kind: "a tmpfs's options",
            });
        }
        options.retain(|present| {
            let present_key = present.split_once('=').map_or(present.as_str(), |(key, _)| key);
            Some(present.as_str()) != opposite && present_key != key
        });
        options.push(option.clone());
    }
    if read_only {
        options.retain(|option| option != "rw" && option != "ro");
        options.push("ro".to_owned());
    }
    Ok(options)
}

/// Whether an option is `key=number`, with a unit where the kernel takes one (tmpfs(5)).
fn numbered(option: &str) -> bool {
    let Some((key, value)) = option.split_once('=') else {
        return false;
    };
    let units: &[char] = match key {
        "size" => &['k', 'K', 'm', 'M', 'g', 'G', '%'],
        "nr_inodes" | "nr_blocks" => &['k', 'K', 'm', 'M', 'g', 'G'],
        _ => &[],
    };
    let digits = value.strip_suffix(units).unwrap_or(value);
    NUMBERS.contains(&key)
        && !digits.is_empty()
        && digits.len() <= 20
        && digits.bytes().all(|byte| byte.is_ascii_digit() && (key != "mode" || byte < b'8'))
}

fn mount(target: &str, kind: &str, source: &str, options: &[&str]) -> Mount {
    let mut mount = Mount::default();
    mount
        .set_destination(PathBuf::from(target))
        .set_typ(Some(kind.to_owned()))
        .set_source(Some(PathBuf::from(source)))
        .set_options(Some(options.iter().map(|option| (*option).to_owned()).collect()));
    mount
}

#[cfg(test)]
mod tests;
