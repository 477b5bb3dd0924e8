//! What was opened, asked of the descriptor itself: a path proves nothing (CVE-2025-31133, CVE-2025-52881).

use std::os::fd::BorrowedFd;

pub use rustix::fs::FileType;

use super::Node;
use crate::error::{Errno, Result, SyscallError};

/// Filesystem types by the magic numbers of statfs(2).
pub mod magic {
    /// procfs.
    pub const PROC: u64 = 0x9fa0;
    /// sysfs.
    pub const SYSFS: u64 = 0x6265_6572;
    /// cgroup v2.
    pub const CGROUP2: u64 = 0x6367_7270;
    /// cgroup v1.
    pub const CGROUP: u64 = 0x0027_e0eb;
    /// tmpfs.
    pub const TMPFS: u64 = 0x0102_1994;
    /// devpts.
    pub const DEVPTS: u64 = 0x1cd1;
    /// overlayfs.
    pub const OVERLAY: u64 = 0x794c_7630;
    /// ext2, ext3 and ext4.
    pub const EXT: u64 = 0xef53;
    /// XFS.
    pub const XFS: u64 = 0x5846_5342;
    /// Btrfs.
    pub const BTRFS: u64 = 0x9123_683e;
}

/// The magic number of the filesystem that a file is on.
pub fn filesystem_magic(file: BorrowedFd<'_>) -> Result<u64> {
    let status = rustix::fs::fstatfs(file).map_err(SyscallError::fd("fstatfs", file))?;
    Ok(u64::try_from(status.f_type).unwrap_or_default())
}

/// Whether a file is on procfs.
pub fn is_procfs(file: BorrowedFd<'_>) -> Result<bool> {
    Ok(filesystem_magic(file)? == magic::PROC)
}

/// What kind of file it is.
pub fn file_type(file: BorrowedFd<'_>) -> Result<FileType> {
    let status = rustix::fs::fstat(file).map_err(SyscallError::fd("fstat", file))?;
    Ok(FileType::from_raw_mode(status.st_mode))
}

/// Refuses a file that is not this node, with ENODEV.
pub fn verify_node(file: BorrowedFd<'_>, node: Node) -> Result<()> {
    let status = rustix::fs::fstat(file).map_err(SyscallError::fd("fstat", file))?;
    let (kind, device) = match node {
        Node::Character { major, minor } => (FileType::CharacterDevice, rustix::fs::makedev(major, minor)),
        Node::Block { major, minor } => (FileType::BlockDevice, rustix::fs::makedev(major, minor)),
        Node::Fifo => (FileType::Fifo, status.st_rdev),
    };
    if FileType::from_raw_mode(status.st_mode) == kind && status.st_rdev == device {
        Ok(())
    } else {
        Err(SyscallError::fd("fstat", file)(Errno::NODEV))
    }
}

/// Device and inode, which tell whether two descriptors are the same file.
pub fn identity(file: BorrowedFd<'_>) -> Result<(u64, u64)> {
    let status = rustix::fs::fstat(file).map_err(SyscallError::fd("fstat", file))?;
    Ok((status.st_dev, status.st_ino))
}
