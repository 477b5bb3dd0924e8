//! Changes of attributes: of a copy of a host path before it is attached, and of what is mounted already.

use std::ffi::CStr;
use std::os::fd::AsFd;

use gantry_linux::Errno;
use gantry_linux::mount::{self, AttributeChange, MountAttributes};
use gantry_linux::path::is_procfs;

use super::prepare::propagation;
use super::steps::Setup;

/// The change of a whole tree and then that of its topmost mount.
pub(super) type Changes = [AttributeChange<'static>; 2];

/// Lays them out: what is set and cleared on the topmost mount, and on all; the propagation, and whether for all.
pub(super) fn changes(
    (set, clear): (u64, u64),
    (set_all, clear_all): (u64, u64),
    (kind, kind_all): (u64, bool),
) -> Result<Changes, Errno> {
    let kind = propagation(kind)?;
    let change = |set, clear, propagation, recursive| AttributeChange {
        set: MountAttributes::from_bits_retain(set),
        clear: MountAttributes::from_bits_retain(clear),
        propagation,
        id_map: None,
        recursive,
    };
    let (all, top) = if kind_all { (kind, None) } else { (None, kind) };
    Ok([change(set_all, clear_all, all, true), change(set, clear, top, false)])
}

/// Carries out those of them that change something.
pub(super) fn apply(mounted: impl AsFd, changes: &Changes) -> Result<(), Errno> {
    for change in changes {
        if !(change.set | change.clear).is_empty() || change.propagation.is_some() {
            mount::set_attributes(mounted.as_fd(), change).map_err(|error| error.errno)?;
        }
    }
    Ok(())
}

impl Setup<'_> {
    /// Changes the topmost mount at a path. No mount is there: EINVAL, as from mount(2). A link that leads into procfs
    /// is refused, as it is for new mounts.
    pub(super) fn remount(&self, target: &CStr, changes: &Changes, may_be_proc: bool) -> Result<(), Errno> {
        let place = self.find(target)?;
        if !may_be_proc && is_procfs(place.as_fd()).map_err(|error| error.errno)? {
            return Err(Errno::LOOP);
        }
        if !mount::is_mount_root(place.as_fd()).map_err(|error| error.errno)? {
            return Err(Errno::INVAL);
        }
        apply(place, changes)
    }
}
