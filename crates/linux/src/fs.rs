//! What durable storage needs beyond std: syncing a filesystem or a folder, atomic exchange, and cutting a test
//! filesystem's power.

use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::Path;

pub use rustix::fs::RenameFlags;
use rustix::fs::{Mode, OFlags};

use crate::error::{Result, SyscallError};
use crate::sys;

/// Writes out everything of the filesystem that a file is on (syncfs(2)). Since Linux 5.8 it tells write errors.
pub fn sync_filesystem(file: BorrowedFd<'_>) -> Result<()> {
    rustix::fs::syncfs(file).map_err(SyscallError::fd("syncfs", file))
}

/// Writes out a file's bytes and what is needed to read them. After a failure the bytes are lost: do not retry.
pub fn sync_data(file: BorrowedFd<'_>) -> Result<()> {
    rustix::fs::fdatasync(file).map_err(SyscallError::fd("fdatasync", file))
}

/// Writes out a folder, so that the names in it survive.
pub fn sync_directory(path: &Path) -> Result<()> {
    let directory =
        rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map_err(SyscallError::path("open", path))?;
    rustix::fs::fsync(&directory).map_err(SyscallError::path("fsync", path))
}

/// Renames within or between open folders: plainly, only where nothing is (NOREPLACE), or swapping (EXCHANGE).
pub fn rename(from: (BorrowedFd<'_>, &Path), to: (BorrowedFd<'_>, &Path), flags: RenameFlags) -> Result<()> {
    rustix::fs::renameat_with(from.0, from.1, to.0, to.1, flags)
        .map_err(SyscallError::path("renameat2", to.1))
}

/// How much is lost when a filesystem is shut down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PowerCut {
    /// Nothing: all is written first.
    AfterSync,
    /// What the journal does not have yet.
    KeepJournal,
    /// Everything that was not synced.
    Now,
}

/// Shuts a filesystem down as a power cut does (FS_IOC_SHUTDOWN; ext4, XFS, f2fs). Every later call on it fails
/// until it is mounted again. For tests on a filesystem of their own.
pub fn cut_power(filesystem: BorrowedFd<'_>, how: PowerCut) -> Result<()> {
    const FS_IOC_SHUTDOWN: libc::c_ulong = 0x8004_587d;
    let flag: u32 = match how {
        PowerCut::AfterSync => 0,
        PowerCut::KeepJournal => 1,
        PowerCut::Now => 2,
    };
    // SAFETY: the ioctl reads one 32-bit number, which is live.
    let returned =
        unsafe { libc::syscall(libc::SYS_ioctl, filesystem.as_raw_fd(), FS_IOC_SHUTDOWN, &raw const flag) };
    sys::check(returned).map(drop).map_err(SyscallError::name("ioctl", "FS_IOC_SHUTDOWN"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn a_rename_that_must_not_replace_does_not() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(folder.path().join("a"), "a").expect("write");
        std::fs::write(folder.path().join("b"), "b").expect("write");
        let directory = std::fs::File::open(folder.path()).expect("open");
        let at = |name| (directory.as_fd(), Path::new(name));
        assert_eq!(
            rename(at("a"), at("b"), RenameFlags::NOREPLACE).expect_err("b is there").errno,
            crate::Errno::EXIST
        );
        rename(at("a"), at("b"), RenameFlags::EXCHANGE).expect("swapped");
        assert_eq!(std::fs::read(folder.path().join("b")).expect("read"), b"a");
        sync_directory(folder.path()).expect("fsync");
        sync_data(directory.as_fd()).expect("fdatasync");
    }
}
