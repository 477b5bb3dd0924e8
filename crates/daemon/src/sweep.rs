//! Taking away what a container may have left on the host under its id when no shim did it: its cgroup with
//! everybody in it, and its bundle. Repeating it is harmless.

use std::io;
use std::path::Path;

use gantry_types::{ContainerId, Namespace};

use crate::assemble::Daemon;
use crate::error::Error;

/// What another runtime knows of the container, in its bundle: a folder, or a symbolic link to one elsewhere.
pub(crate) const RUNTIME_STATE: &str = "runtime";

/// Kills who is left, and takes away cgroup and bundle. The cgroup may be known to be gone, and with it what another
/// runtime knew; a scope that it was in may still be there.
pub(crate) fn sweep(
    daemon: &Daemon,
    namespace: &Namespace,
    id: &ContainerId,
    cgroup_is_gone: bool,
) -> Result<(), Error> {
    let bundle = daemon.layout.bundle(namespace, id);
    // Without a bundle no shim was ever started, so there is no cgroup either.
    if !bundle.exists() {
        return Ok(());
    }
    if !cgroup_is_gone || daemon.scope(namespace, id).is_some() {
        daemon.remove_cgroup(namespace, id)?;
        if let Ok(state) = std::fs::read_link(bundle.join(RUNTIME_STATE)) {
            remove_folder(&state, "remove what another runtime knows of the container")?;
        }
    }
    remove_folder(&bundle, "remove the container's bundle")
}

fn remove_folder(folder: &Path, action: &'static str) -> Result<(), Error> {
    match std::fs::remove_dir_all(folder) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(Error::Io { action, source }),
        _ => Ok(()),
    }
}

/// Every bundle below the folder of all.
pub(crate) fn bundles(shims: &Path) -> Vec<(Namespace, ContainerId)> {
    let names = |folder: &Path| -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
        entries.filter_map(Result::ok).filter_map(|entry| entry.file_name().into_string().ok()).collect()
    };
    let mut found = Vec::new();
    for namespace in names(shims) {
        let Ok(parsed) = namespace.parse::<Namespace>() else { continue };
        let ids = names(&shims.join(&namespace));
        found.extend(ids.iter().filter_map(|id| id.parse().ok()).map(|id| (parsed.clone(), id)));
    }
    found
}
