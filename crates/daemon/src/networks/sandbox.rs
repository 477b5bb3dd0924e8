//! Sandboxes: network namespaces that outlive the containers in them, held by a bind mount at
//! `<state>/netns/<id>`, which is the one thing of Gantry's in the host's mount table, one line for each sandbox.
//! After a reboot a sandbox is made again when it is next used.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gantry_types::SandboxId;

use super::facts;
use super::problem::NetworkProblem;
use super::tables::{Owner, SandboxRecord};
use crate::assemble::Daemon;
use crate::error::{Chain, Error};

/// Where a sandbox's namespace is.
pub(crate) fn path(state: &Path, id: &SandboxId) -> PathBuf {
    path_of(state, id.as_str())
}

/// Where an owner's namespace is pinned, when it is.
pub(super) fn path_of(state: &Path, owner: &str) -> PathBuf {
    folder(state).join(owner)
}

fn folder(state: &Path) -> PathBuf {
    state.join("netns")
}

impl Daemon {
    /// The sandbox's namespace, made with its links if it is not there.
    pub(crate) async fn open_sandbox(self: &Arc<Self>, record: &SandboxRecord) -> Result<OwnedFd, Error> {
        let path = path(self.layout.state(), &record.id);
        if is_namespace(&path) {
            return self.blocking.run(move || open(&path)).await;
        }
        let mut netns = self.take_namespace().await?;
        let places = facts::of_sandbox(&self.store, record);
        let daemon = Arc::clone(self);
        if !places.has_foreign() {
            let work = move || {
                daemon.networks.connect_all(&places, &mut netns)?;
                let descriptor = netns.into_descriptor();
                pin_anew(&descriptor, &path)?;
                Ok(descriptor)
            };
            return self.blocking.run(work).await;
        }
        let work = move || {
            daemon.networks.attach_all(&places, &mut netns)?;
            let descriptor = netns.into_descriptor();
            pin_anew(&descriptor, &path)?;
            Ok::<_, Error>((places, descriptor))
        };
        let (places, descriptor) = self.blocking.run(work).await?;
        let joined = self.join_all(&places, descriptor.as_fd()).await;
        let (daemon, record) = (Arc::clone(self), record.clone());
        let tell = move || {
            joined?;
            daemon.networks.tell_all(None, &facts::of_sandbox(&daemon.store, &record))?;
            Ok(descriptor)
        };
        self.blocking.run(tell).await
    }

    /// Takes the sandbox's namespace away, and with it its links.
    pub(crate) async fn close_sandbox(self: &Arc<Self>, record: &SandboxRecord) -> Result<(), Error> {
        let owner = Owner::Sandbox(record.namespace.clone(), record.id.clone());
        if let Err(error) = self.leave_all(&owner, None).await {
            // It is tried again when the daemon starts, or the network is to be removed.
            tracing::warn!(error = %Chain(&error), id = record.id.short(), "a sandbox's link is still its driver's");
        }
        let (daemon, record) = (Arc::clone(self), record.clone());
        self.blocking
            .run(move || {
                daemon.networks.forget_all(&facts::of_sandbox(&daemon.store, &record))?;
                unpin(&path(daemon.layout.state(), &record.id))
            })
            .await
    }
}

/// Takes away pinned namespaces that are nobody's; those of `kept` owners are drivers' to let go.
pub(crate) fn sweep(
    state: &Path,
    known: impl Fn(&SandboxId) -> bool,
    kept: &HashSet<String>,
) -> Result<(), Error> {
    let entries = match std::fs::read_dir(folder(state)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(failed("listed")(source).into()),
    };
    for entry in entries.filter_map(Result::ok) {
        let id = entry.file_name().to_str().and_then(|name| name.parse::<SandboxId>().ok());
        match id {
            Some(id) if known(&id) && is_namespace(&entry.path()) => {}
            Some(id) if kept.contains(id.as_str()) => {}
            Some(_) | None => unpin(&entry.path())?,
        }
    }
    Ok(())
}

/// Opens a pinned namespace.
pub(super) fn open(path: &Path) -> Result<OwnedFd, Error> {
    Ok(File::open(path).map_err(failed("opened"))?.into())
}

/// Whether a namespace is mounted there, and not only the file to mount it on.
pub(crate) fn is_namespace(path: &Path) -> bool {
    /// PROC_SUPER_MAGIC's sibling for namespaces, NSFS_MAGIC of linux/magic.h.
    const NSFS_MAGIC: i64 = 0x6e73_6673;
    rustix::fs::statfs(path).is_ok_and(|statfs| statfs.f_type == NSFS_MAGIC)
}

/// Pins a namespace, in the place of another that may be pinned there.
pub(super) fn pin_anew(netns: &OwnedFd, path: &Path) -> Result<(), Error> {
    if is_namespace(path) {
        let inode = |stat: rustix::io::Result<rustix::fs::Stat>| {
            stat.map(|stat| (stat.st_dev, stat.st_ino)).map_err(|errno| failed("looked at")(errno.into()))
        };
        if inode(rustix::fs::fstat(netns))? == inode(rustix::fs::stat(path))? {
            return Ok(());
        }
        unpin(path)?;
    }
    pin(netns, path)
}

fn pin(netns: &OwnedFd, path: &Path) -> Result<(), Error> {
    if let Some(parent) = path.parent() {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(parent).map_err(failed("pinned"))?;
    }
    File::create(path).map_err(failed("pinned"))?;
    let source = PathBuf::from(format!("/proc/self/fd/{}", netns.as_raw_fd()));
    rustix::mount::mount_bind(&source, path).map_err(|errno| failed("pinned")(errno.into()))?;
    Ok(())
}

/// Lets a namespace end with those who use it; nothing to do when none is pinned.
pub(super) fn unpin(path: &Path) -> Result<(), Error> {
    match rustix::mount::unmount(path, rustix::mount::UnmountFlags::DETACH) {
        Ok(()) | Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => {}
        Err(errno) => return Err(failed("released")(errno.into()).into()),
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("released")(error).into()),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn failed(action: &'static str) -> impl Fn(io::Error) -> NetworkProblem {
    move |source| NetworkProblem::NamespaceFile { action, source }
}
