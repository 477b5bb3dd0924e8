//! Device nodes in the container. Nobody makes one in a user namespace: there they are made on the host's side before the
//! birth, on a filesystem that no mount table shows, with the modes and owners that were asked for, and bound from
//! there. Without the privilege for that the host's node of the same path is bound, verified to be the device that was
//! asked for. Nothing that runs in the child allocates.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use gantry_linux::mount::MountAttributes;
use gantry_linux::path::{Node, verify_node};
use gantry_linux::{Errno, mount};
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Uid};

use super::{ExecuteError, Operation, beneath};
use crate::plan::{self, IdMap, Op, Plan};

/// Where the nodes of a container in a user namespace are made, and for whom.
pub(super) struct NodeFolder<'p> {
    folder: OwnedFd,
    ids: &'p IdMap,
    made: usize,
}

impl<'p> NodeFolder<'p> {
    /// The place for the nodes of a plan with a user namespace and devices; `None` when this process may not have one.
    pub(super) fn of(plan: &'p Plan) -> Result<Option<Self>, ExecuteError> {
        let is_device = |step: &plan::Step| matches!(step.op, Some(Op::Device(_)));
        let Some(ids) = plan.ids.as_ref().filter(|_| plan.steps.iter().any(is_device)) else {
            return Ok(None);
        };
        let attributes = MountAttributes::NOSUID | MountAttributes::NOEXEC;
        match mount::new_filesystem("tmpfs", &[("mode", Some("0711"))], attributes) {
            Ok(folder) => Ok(Some(Self { folder, ids, made: 0 })),
            Err(error) if error.errno == Errno::PERM => Ok(None),
            Err(error) => Err(ExecuteError::new(Operation::Device, "", error.errno)),
        }
    }

    /// Makes a node and opens it. An owner that the namespace does not have stays the host's root, whom it sees as nobody.
    pub(super) fn node(&mut self, device: &plan::Device) -> Result<Option<OwnedFd>, ExecuteError> {
        let fail = |errno| ExecuteError::new(Operation::Device, &device.path, errno);
        self.made += 1;
        let name = self.made.to_string();
        let mode = Mode::from_raw_mode(device.mode);
        let kind = FileType::from_raw_mode(device.mode);
        let numbers = rustix::fs::makedev(device.major, device.minor);
        match rustix::fs::mknodat(&self.folder, &name, kind, mode, numbers) {
            Err(Errno::PERM) => return Ok(None),
            result => result.map_err(fail)?,
        }
        // Whatever this process's umask is.
        rustix::fs::chmodat(&self.folder, &name, mode, AtFlags::empty()).map_err(fail)?;
        let uid = self.ids.outside_user(device.uid).map(Uid::from_raw);
        let gid = self.ids.outside_group(device.gid).map(Gid::from_raw);
        rustix::fs::chownat(&self.folder, &name, uid, gid, AtFlags::SYMLINK_NOFOLLOW).map_err(fail)?;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let node = rustix::fs::openat(&self.folder, &name, flags, Mode::empty()).map_err(fail)?;
        Ok(Some(node))
    }

    /// What the child attaches.
    pub(super) fn into_mount(self) -> OwnedFd {
        self.folder
    }
}

/// Makes one node, or binds the one that stands ready. One that the image brought is taken if it is the right
/// one, and refused otherwise.
pub(super) fn make(
    root: BorrowedFd<'_>,
    step: &plan::Device,
    path: &CStr,
    ready: Option<&OwnedFd>,
) -> Result<(), Errno> {
    let (above, name) = beneath::split(path)?;
    let parent = above.folder(root)?;
    if let Some(ready) = ready {
        return match existing(step, parent.as_fd(), name) {
            Err(Errno::NOENT) => bind(root, ready.as_fd(), path),
            found => found,
        };
    }
    let mode = Mode::from_raw_mode(step.mode);
    let kind = FileType::from_raw_mode(step.mode);
    let device = rustix::fs::makedev(step.major, step.minor);
    match rustix::fs::mknodat(&parent, name, kind, mode, device) {
        Ok(()) => {}
        Err(Errno::EXIST) => return existing(step, parent.as_fd(), name),
        Err(Errno::PERM) => return bind_hosts(root, step, path),
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
fn bind_hosts(root: BorrowedFd<'_>, step: &plan::Device, path: &CStr) -> Result<(), Errno> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let source = rustix::fs::open(path, flags, Mode::empty())?;
    verify_node(source.as_fd(), node(step)).map_err(|error| error.errno)?;
    bind(root, source.as_fd(), path)
}

fn bind(root: BorrowedFd<'_>, source: BorrowedFd<'_>, path: &CStr) -> Result<(), Errno> {
    let tree = mount::clone_tree(source, false).map_err(|error| error.errno)?;
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
