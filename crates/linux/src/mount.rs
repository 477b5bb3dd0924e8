//! How filesystems are made, copied, changed and put into place: the descriptor-based mount API (Linux 5.2,
//! `mount_setattr` 5.12). A mount is an `OwnedFd`; while detached it is in nobody's mount table, and it is
//! unmounted when its last descriptor is closed. No path of a container is ever resolved here: destinations are
//! descriptors. Nothing allocates but error texts and [`FsContext::messages`].

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags,
};

use crate::error::{Errno, Object, Result, SyscallError};
use crate::sys;

bitflags::bitflags! {
    /// Attributes of one mount (`MOUNT_ATTR_*`).
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    pub struct MountAttributes: u64 {
        /// Read-only.
        const RDONLY = 0x1;
        /// Set-user-id bits have no effect.
        const NOSUID = 0x2;
        /// Device files cannot be opened.
        const NODEV = 0x4;
        /// Nothing can be executed.
        const NOEXEC = 0x8;
        /// The field of the access time modes; clear it whole before one is set.
        const ATIME_FIELD = 0x70;
        /// Access times are never updated.
        const NOATIME = 0x10;
        /// Access times are always updated.
        const STRICTATIME = 0x20;
        /// Access times of directories are never updated.
        const NODIRATIME = 0x80;
        /// Ids are mapped; set by [`AttributeChange::id_map`].
        const IDMAP = 0x10_0000;
        /// Symbolic links are not followed.
        const NOSYMFOLLOW = 0x20_0000;
    }
}

/// How mount events travel between peers (mount_namespaces(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Propagation {
    /// Neither in nor out.
    Private,
    /// In, not out.
    Slave,
    /// In and out.
    Shared,
    /// Private, and it cannot be bound elsewhere.
    Unbindable,
}

/// A change of a mount's attributes.
#[derive(Debug, Clone, Copy, Default)]
pub struct AttributeChange<'fd> {
    /// Attributes to set.
    pub set: MountAttributes,
    /// Attributes to clear.
    pub clear: MountAttributes,
    /// The new propagation, or `None` to leave it.
    pub propagation: Option<Propagation>,
    /// A user namespace whose mapping shifts the ids of files; detached mounts only.
    pub id_map: Option<BorrowedFd<'fd>>,
    /// Whether all mounts beneath change too, all or none.
    pub recursive: bool,
}

/// A filesystem being configured (fsopen(2)).
#[derive(Debug)]
pub struct FsContext {
    descriptor: OwnedFd,
}

impl FsContext {
    /// Begins a filesystem of a type: `overlay`, `tmpfs`, `proc`…
    pub fn open(fs_type: &str) -> Result<Self> {
        let descriptor = rustix::mount::fsopen(fs_type, FsOpenFlags::FSOPEN_CLOEXEC)
            .map_err(SyscallError::path("fsopen", fs_type))?;
        Ok(Self { descriptor })
    }

    /// Sets an option that has no value.
    pub fn set_flag(&self, key: &str) -> Result<()> {
        rustix::mount::fsconfig_set_flag(&self.descriptor, key).map_err(SyscallError::path("fsconfig", key))
    }

    /// Sets an option; the kernel takes at most 255 bytes of value.
    pub fn set_string(&self, key: &str, value: &str) -> Result<()> {
        rustix::mount::fsconfig_set_string(&self.descriptor, key, value)
            .map_err(SyscallError::path("fsconfig", value))
    }

    /// Sets an option to an open file. Overlay's directories since Linux 6.13.
    pub fn set_descriptor(&self, key: &str, value: BorrowedFd<'_>) -> Result<()> {
        rustix::mount::fsconfig_set_fd(&self.descriptor, key, value)
            .map_err(SyscallError::path("fsconfig", key))
    }

    /// Makes the superblock.
    pub fn create(&self) -> Result<()> {
        rustix::mount::fsconfig_create(&self.descriptor).map_err(SyscallError::name("fsconfig", "create"))
    }

    /// Makes a detached mount of the superblock.
    pub fn mount(&self, attributes: MountAttributes) -> Result<OwnedFd> {
        let attributes = rustix::mount::MountAttrFlags::from_bits_retain(low_bits(attributes));
        rustix::mount::fsmount(&self.descriptor, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
            .map_err(SyscallError::caller("fsmount"))
    }

    /// What the kernel said about failures, one message each, for the log.
    pub fn messages(&self) -> Vec<String> {
        let mut messages = Vec::new();
        let mut buffer = [0u8; 1024];
        while let Ok(length @ 1..) = rustix::io::read(&self.descriptor, &mut buffer) {
            messages.push(String::from_utf8_lossy(&buffer[..length]).trim_end().to_owned());
        }
        messages
    }
}

impl AsFd for FsContext {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// Makes a detached filesystem of a type with options, in one go. An option without a value is a flag.
pub fn new_filesystem(
    fs_type: &str,
    options: &[(&str, Option<&str>)],
    attributes: MountAttributes,
) -> Result<OwnedFd> {
    let context = FsContext::open(fs_type)?;
    for (key, value) in options {
        match value {
            Some(value) => context.set_string(key, value)?,
            None => context.set_flag(key)?,
        }
    }
    context.create()?;
    context.mount(attributes)
}

/// A detached copy of the mount that an open file is on, rooted at that file (a bind mount). Of a mount that is
/// detached itself only Linux 6.15 makes one; before it is EINVAL.
pub fn clone_tree(source: BorrowedFd<'_>, recursive: bool) -> Result<OwnedFd> {
    let mut flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    rustix::mount::open_tree(source, c"", flags).map_err(SyscallError::fd("open_tree", source))
}

/// Puts a mount, detached or not, onto what `target` is open on.
pub fn attach(mount: BorrowedFd<'_>, target: BorrowedFd<'_>) -> Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    rustix::mount::move_mount(mount, c"", target, c"", flags).map_err(SyscallError::fd("move_mount", target))
}

/// Puts a mount onto a path of the caller's own, symbolic links not followed.
pub fn attach_at(mount: BorrowedFd<'_>, path: &CStr) -> Result<()> {
    rustix::mount::move_mount(mount, c"", rustix::fs::CWD, path, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .map_err(SyscallError::fd("move_mount", mount))
}

/// Changes the attributes of a mount whose root is open.
pub fn set_attributes(mount: BorrowedFd<'_>, change: &AttributeChange<'_>) -> Result<()> {
    #[repr(C)]
    struct MountAttr {
        set: u64,
        clear: u64,
        propagation: u64,
        userns: u64,
    }
    let mut set = change.set;
    let mut userns = 0;
    if let Some(namespace) = change.id_map {
        set |= MountAttributes::IDMAP;
        userns = sys::number(namespace).into();
    }
    let attributes = MountAttr {
        set: set.bits(),
        clear: change.clear.bits(),
        propagation: change
            .propagation
            .map_or(0, |propagation| u64::from(propagation_flags(propagation).bits())),
        userns,
    };
    let flags = libc::AT_EMPTY_PATH | if change.recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is an empty C string, the structure is as long as told and outlives the call.
    let returned = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attributes,
            size_of::<MountAttr>(),
        )
    };
    sys::check(returned).map(drop).map_err(SyscallError::fd("mount_setattr", mount))
}

/// Changes propagation by path (mount(2)), for `/` of a fresh mount namespace.
pub fn set_propagation(path: &CStr, propagation: Propagation, recursive: bool) -> Result<()> {
    let mut flags = propagation_flags(propagation);
    if recursive {
        flags |= MountPropagationFlags::REC;
    }
    rustix::mount::mount_change(path, flags).map_err(SyscallError::name("mount", "propagation"))
}

/// Makes the working directory the root, with the old root stacked on top of it (`pivot_root(".", ".")`), to be
/// taken off by [`detach`] of `.`.
pub fn pivot_root_here() -> Result<()> {
    rustix::process::pivot_root(c".", c".").map_err(SyscallError::name("pivot_root", "the working directory"))
}

/// Takes the mount at a path out of the tree at once; it goes when nobody uses it any more. A symbolic link is not followed.
pub fn detach(path: &CStr) -> Result<()> {
    rustix::mount::unmount(path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)
        .map_err(SyscallError::name("umount2", "a path"))
}

/// Whether the mount that a file is open on is the root of that mount (statx STATX_ATTR_MOUNT_ROOT, Linux 5.8).
pub fn is_mount_root(file: BorrowedFd<'_>) -> Result<bool> {
    const STATX_ATTR_MOUNT_ROOT: u64 = 0x2000;
    let status =
        rustix::fs::statx(file, c"", rustix::fs::AtFlags::EMPTY_PATH, rustix::fs::StatxFlags::empty())
            .map_err(SyscallError::fd("statx", file))?;
    if status.stx_attributes_mask.bits() & STATX_ATTR_MOUNT_ROOT == 0 {
        return Err(SyscallError::new("statx", Object::Name("mount root"), Errno::OPNOTSUPP));
    }
    Ok(status.stx_attributes.bits() & STATX_ATTR_MOUNT_ROOT != 0)
}

fn low_bits(attributes: MountAttributes) -> u32 {
    u32::try_from(attributes.bits()).expect("attributes are in the low 32 bits")
}

fn propagation_flags(propagation: Propagation) -> MountPropagationFlags {
    match propagation {
        Propagation::Private => MountPropagationFlags::PRIVATE,
        Propagation::Slave => MountPropagationFlags::DOWNSTREAM,
        Propagation::Shared => MountPropagationFlags::SHARED,
        Propagation::Unbindable => MountPropagationFlags::UNBINDABLE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{Mode, OFlags};

    #[test]
    fn a_detached_tmpfs_is_used_and_made_read_only_without_being_seen() {
        if !crate::testing::is_root_or_skipped() {
            return;
        }
        let options = [("size", Some("64k")), ("mode", Some("0700"))];
        let tmpfs = new_filesystem("tmpfs", &options, MountAttributes::NOSUID).expect("tmpfs");
        let create = |name: &CStr| {
            rustix::fs::openat(&tmpfs, name, OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC, Mode::RUSR)
        };
        create(c"before").expect("writable");
        assert!(is_mount_root(tmpfs.as_fd()).expect("statx"));
        let change = AttributeChange { set: MountAttributes::RDONLY, ..AttributeChange::default() };
        set_attributes(tmpfs.as_fd(), &change).expect("mount_setattr");
        assert_eq!(create(c"after").expect_err("read-only"), Errno::ROFS);
    }

    #[test]
    fn the_kernel_tells_why_an_option_is_bad() {
        if !crate::testing::is_root_or_skipped() {
            return;
        }
        let context = FsContext::open("tmpfs").expect("fsopen");
        let error = context.set_string("no_such_option", "1").expect_err("unknown");
        assert_eq!(error.errno, Errno::INVAL);
        assert!(context.messages().iter().any(|message| message.contains("no_such_option")));
    }
}
