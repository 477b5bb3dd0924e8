//! Where another runtime finds the root filesystem and the network namespace: at paths of the bundle folder, in a mount
//! namespace that it shares with the shim alone. The machine's mount table does not grow, and when the shim is gone,
//! however that came, so are the mounts. Mounts that the machine makes later are still seen; what is mounted here is
//! not seen there, so that a volume shared both ways is refused by the daemon.

use std::ffi::CString;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use gantry_api::shim::v1::Failure;
use gantry_api::shim::{NETWORK_FILE, ROOTFS_FOLDER};
use gantry_linux::SyscallError;
use gantry_linux::mount::{Propagation, attach_at, clone_tree, detach, set_propagation};
use gantry_linux::namespace::{Namespaces, unshare};
use gantry_runtime::execute::{ExecuteError, Operation, mount_overlay};
use gantry_runtime::plan::Overlay;

use crate::failure;

/// Makes the mount namespace with both mounts in it.
pub(super) fn make(bundle: &Path, overlay: &Overlay, network: Option<OwnedFd>) -> Result<(), Failure> {
    let fail = |step, error: &SyscallError| failure::syscall(step, &bundle.to_string_lossy(), error);
    unshare(Namespaces::MOUNT).map_err(|error| fail("make mount namespace", &error))?;
    set_propagation(c"/", Propagation::Slave, true)
        .map_err(|error| failure::execute(&no_propagation(&error)))?;
    let root = bundle.join(ROOTFS_FOLDER);
    match std::fs::create_dir(&root) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            return Err(failure::step("make folder", &root.to_string_lossy(), &error));
        }
        _ => {}
    }
    let mount = mount_overlay(overlay).map_err(|error| fail("mount", &error))?;
    put(mount.as_fd(), &root).map_err(|error| fail("mount", &error))?;
    if let Some(network) = network {
        let place = bundle.join(NETWORK_FILE);
        File::create(&place).map_err(|error| failure::step("make file", &place.to_string_lossy(), &error))?;
        clone_tree(network.as_fd(), false)
            .and_then(|mount| put(mount.as_fd(), &place))
            .map_err(|error| fail("bind network namespace", &error))?;
    }
    Ok(())
}

/// As where Gantry itself makes the container, and with the same advice.
fn no_propagation(error: &SyscallError) -> ExecuteError {
    ExecuteError { operation: Operation::Propagation, object: String::new(), errno: error.errno }
}

/// The container is in its network namespace, and the mount would only keep that alive.
pub(super) fn detach_network(bundle: &Path) {
    take_off(&bundle.join(NETWORK_FILE));
}

/// Its upper folder is free for the next mount when this returns.
pub(super) fn detach_rootfs(bundle: &Path) {
    take_off(&bundle.join(ROOTFS_FOLDER));
}

fn put(mount: BorrowedFd<'_>, place: &Path) -> Result<(), SyscallError> {
    attach_at(mount, &c_path(place))
}

fn take_off(place: &Path) {
    // Nothing may be mounted there.
    let _ = detach(&c_path(place));
}

fn c_path(path: &Path) -> CString {
    CString::new(path.as_os_str().as_encoded_bytes()).expect("the bundle folder was opened by this path")
}
