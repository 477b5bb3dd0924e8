//! Device nodes in the container. Where they may not be made, in a user namespace, the host's node of the same
//! path is bound there, verified to be the device that was asked for. Nothing here allocates.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd};

use gantry_linux::path::{Node, verify_node};
use gantry_linux::{Errno, mount};
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Uid};

use super::beneath;
use crate::plan;

/// Makes one node. One that the image brought is taken if it is the right one, and refused otherwise.
pub(super) fn make(root: BorrowedFd<'_>, step: &plan::Device, path: &CStr) -> Result<(), Errno> {
    let (above, name) = beneath::split(path)?;
    let parent = above.folder(root)?;
    let mode = Mode::from_raw_mode(step.mode);
    let kind = FileType::from_raw_mode(step.mode);
    let device = rustix::fs::makedev(step.major, step.minor);
    match rustix::fs::mknodat(&parent, name, kind, mode, device) {
        Ok(()) => {}
        Err(Errno::EXIST) => return existing(step, parent.as_fd(), name),
        Err(Errno::PERM) => return bind(root, step, path),
        Err(errno) => return Err(errno),
    }
    if (step.uid, step.gid) == (0, 0) {
        return Ok(());
    }
    let (uid, gid) = (Uid::from_raw(step.uid), Gid::from_raw(step.gid));
    rustix::fs::chownat(&parent, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
}

/// A node of the root filesystem is no device for a user namespace's container on a filesystem that is its
/// own, but then it could not have made it either.
fn existing(step: &plan::Device, parent: BorrowedFd<'_>, name: &CStr) -> Result<(), Errno> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let found = rustix::fs::openat(parent, name, flags, Mode::empty())?;
    verify_node(found.as_fd(), node(step)).map_err(|error| error.errno)
}

/// The host's root is still this process's: the path is the host's own.
fn bind(root: BorrowedFd<'_>, step: &plan::Device, path: &CStr) -> Result<(), Errno> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let source = rustix::fs::open(path, flags, Mode::empty())?;
    verify_node(source.as_fd(), node(step)).map_err(|error| error.errno)?;
    let tree = mount::clone_tree(source.as_fd(), false).map_err(|error| error.errno)?;
    let place = beneath::file(root, path)?;
    mount::attach(tree.as_fd(), place.as_fd()).map_err(|error| error.errno)
}

fn node(step: &plan::Device) -> Node {
    let (major, minor) = (step.major, step.minor);
    let kind = FileType::from_raw_mode(step.mode);
    if kind.is_block_device() {
        Node::Block { major, minor }
    } else if kind.is_fifo() {
        Node::Fifo
    } else {
        Node::Character { major, minor }
    }
}
