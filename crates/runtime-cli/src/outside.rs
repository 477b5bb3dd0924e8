//! What of a container is the host's, and so not in a checkpoint's images: volumes and masks (mounts), a network
//! namespace that was joined, standard descriptors that lead out. CRIU has to be told each by a name at the
//! checkpoint, and at the restore what is there instead. The names are made from the plan alone, so that the images
//! need no list beside them; only the descriptors' names, which are numbers of that moment, are kept in one.

mod mounts;

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

use gantry_linux::Pid;
use gantry_runtime::plan::{NamespaceKind, Plan};
use rustix::fs::{Mode, OFlags};

pub(crate) use self::mounts::{make_mountpoints, mounts_for_restore, mounts_to_leave_out};
use crate::failure::Failure;

/// The file beside the images with the names of standard input, output and error: runc's name and form.
const DESCRIPTORS: &str = "descriptors.json";
/// Joined namespaces that can be external, and the name that each has in the images: runc's.
const NAMESPACES: [(NamespaceKind, &str, &str); 2] =
    [(NamespaceKind::Network, "net", "extRootNetNS"), (NamespaceKind::Pid, "pid", "extRootPidNS")];

/// Refuses what could be written and not read again: CRIU opens the images as root of the container's user namespace,
/// who is nobody to their owner.
pub(crate) fn check(plan: &Plan) -> Result<(), Failure> {
    if plan.namespaces.iter().any(|namespace| namespace.kind() == NamespaceKind::User) {
        let why = "CRIU cannot read images as the root of a user namespace".to_owned();
        return Err(Failure::Unavailable {
            what: "the checkpoint of a container with a user namespace",
            why,
        });
    }
    Ok(())
}

/// The namespaces that the container joined, as CRIU takes them at a checkpoint.
pub(crate) fn namespaces_to_leave_out(plan: &Plan, pid: Pid) -> Result<Vec<String>, Failure> {
    let mut external = Vec::new();
    for (_, file, name, _) in joined(plan) {
        let path = format!("/proc/{pid}/ns/{file}");
        let inode = fs::metadata(&path).map_err(|error| Failure::file("open", &path, error))?.ino();
        external.push(format!("{file}[{inode}]:{name}"));
    }
    Ok(external)
}

/// Those that a restored container joins, open, with their names.
pub(crate) fn namespaces_for_restore(plan: &Plan) -> Result<Vec<(String, OwnedFd)>, Failure> {
    let open = |(_, _, name, path): (_, _, &str, &str)| {
        let opened = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
        let opened = opened.map_err(|errno| Failure::file("open", path, errno.into()))?;
        Ok((name.to_owned(), opened))
    };
    joined(plan).map(open).collect()
}

fn joined(plan: &Plan) -> impl Iterator<Item = (NamespaceKind, &'static str, &'static str, &str)> {
    plan.namespaces.iter().filter(|namespace| !namespace.path.is_empty()).filter_map(|namespace| {
        let (kind, file, name) = NAMESPACES.into_iter().find(|(kind, ..)| *kind == namespace.kind())?;
        Some((kind, file, name, namespace.path.as_str()))
    })
}

/// What standard input, output and error of a process are called in the images, in this order.
pub(crate) fn descriptors_of(pid: Pid) -> Result<Vec<String>, Failure> {
    let inside = mounts::ids_of(pid)?;
    (0..3).map(|number| descriptor_of(pid, number, &inside)).collect()
}

fn descriptor_of(pid: Pid, number: u32, inside: &[u64]) -> Result<String, Failure> {
    let path = format!("/proc/{pid}/fd/{number}");
    let name = match fs::read_link(&path) {
        // The process may have closed it.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(String::new()),
        name => name.map_err(|error| Failure::file("read", &path, error))?,
    };
    let name = name.to_string_lossy().into_owned();
    if !name.starts_with('/') {
        return Ok(name);
    }
    let info = format!("/proc/{pid}/fdinfo/{number}");
    let text = fs::read_to_string(&info).map_err(|error| Failure::file("read", &info, error))?;
    let mount = mounts::id_in(&text).unwrap_or_default();
    if inside.contains(&mount) {
        return Ok(name);
    }
    let found = fs::metadata(&path).map_err(|error| Failure::file("open", &path, error))?;
    let is_terminal = found.file_type().is_char_device() && is_terminal(found.rdev());
    Ok(if is_terminal {
        format!("tty[{:x}:{:x}]", found.rdev(), found.dev())
    } else {
        format!("file[{mount:x}:{:x}]", found.ino())
    })
}

/// Whether a device is one that CRIU takes for a terminal: the kernel's majors of consoles, serial lines and
/// pseudo terminals (admin-guide/devices.txt).
fn is_terminal(device: u64) -> bool {
    matches!(rustix::fs::major(device), 3..=5 | 136..=143 | 188 | 204)
}

/// Of descriptors' names, those that CRIU has to be told are not the container's own.
pub(crate) fn external_files(names: &[String]) -> impl Iterator<Item = String> {
    names.iter().filter(|name| name.starts_with("file[") || name.starts_with("tty[")).cloned()
}

/// Of descriptors' names, those that the restoring process's own take the place of, with their numbers. A name that
/// several have is one file: CRIU takes one descriptor for it.
pub(crate) fn replaced(names: &[String]) -> Vec<(usize, String)> {
    let leads_out =
        |name: &str| ["pipe:", "socket:", "file[", "tty["].iter().any(|kind| name.starts_with(kind));
    let mut replaced: Vec<(usize, String)> = Vec::new();
    for (number, name) in names.iter().enumerate() {
        if leads_out(name) && !replaced.iter().any(|(_, other)| other == name) {
            replaced.push((number, name.clone()));
        }
    }
    replaced
}

/// Keeps the descriptors' names beside the images.
pub(crate) fn keep_descriptors(images: &Path, names: &[String]) -> Result<(), Failure> {
    let path = images.join(DESCRIPTORS);
    let bytes = serde_json::to_vec(names).map_err(|error| Failure::json(&path, error))?;
    fs::write(&path, bytes).map_err(|error| Failure::file("write", path, error))
}

/// Those names. Images of a process without descriptors, or of another program, have none.
pub(crate) fn kept_descriptors(images: &Path) -> Result<Vec<String>, Failure> {
    let path = images.join(DESCRIPTORS);
    match fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        bytes => {
            let bytes = bytes.map_err(|error| Failure::file("read", &path, error))?;
            serde_json::from_slice(&bytes).map_err(|error| Failure::json(path, error))
        }
    }
}

#[cfg(test)]
mod tests {
    use gantry_linux::process::current_pid;
    use gantry_runtime::plan::Namespace;

    use super::*;

    #[test]
    fn only_descriptors_that_lead_out_are_replaced_and_each_file_once() {
        let names = ["/dev/null", "pipe:[7]", "pipe:[7]", "file[2a:1]"].map(str::to_owned);
        assert_eq!(replaced(&names), [(1, "pipe:[7]".to_owned()), (3, "file[2a:1]".to_owned())]);
        assert_eq!(external_files(&names).collect::<Vec<_>>(), ["file[2a:1]"]);
    }

    #[test]
    fn names_of_descriptors_survive_their_file() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(kept_descriptors(folder.path()).expect("none").is_empty());
        let names = descriptors_of(current_pid()).expect("names");
        assert_eq!(names.len(), 3);
        keep_descriptors(folder.path(), &names).expect("kept");
        assert_eq!(kept_descriptors(folder.path()).expect("read"), names);
    }

    #[test]
    fn a_joined_network_is_left_out_and_a_new_one_is_not() {
        let namespace = |kind: NamespaceKind, path: &str| Namespace {
            kind: kind.into(),
            path: path.to_owned(),
            ..Namespace::default()
        };
        let plan = Plan {
            namespaces: vec![
                namespace(NamespaceKind::Network, "/proc/self/ns/net"),
                namespace(NamespaceKind::Pid, ""),
            ],
            ..Plan::default()
        };
        let left_out = namespaces_to_leave_out(&plan, current_pid()).expect("its own");
        assert!(left_out.len() == 1 && left_out[0].ends_with("]:extRootNetNS"), "{left_out:?}");
        let opened = namespaces_for_restore(&plan).expect("opened");
        assert_eq!(opened.len(), 1);
        assert_eq!(opened[0].0, "extRootNetNS");
    }
}
