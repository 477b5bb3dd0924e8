//! Which mount points does every container find below its image's layers? The folders and files that an engine mounts over
//! in all of them. Made when the driver opens, and again when some of them are gone; empty, and never written to.

use std::os::fd::BorrowedFd;

use rustix::fs::{Mode, OFlags, chmodat, mkdirat, openat};
use rustix::io::Errno;

use super::names::MOUNT_POINTS;

/// Folders with their modes, parents first.
const FOLDERS: [(&str, u32); 5] =
    [("", 0o755), ("dev", 0o755), ("etc", 0o755), ("proc", 0o555), ("sys", 0o555)];

/// Files of mode 0644.
const FILES: [&str; 3] = ["etc/hostname", "etc/hosts", "etc/resolv.conf"];

/// Makes what is missing beneath the driver's folder.
pub(super) fn make(folder: BorrowedFd<'_>) -> Result<(), Errno> {
    for (name, mode) in FOLDERS {
        let (path, mode) = (format!("{MOUNT_POINTS}/{name}"), Mode::from_raw_mode(mode));
        match mkdirat(folder, path.as_str(), mode) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno),
        }
        // Whatever the umask is.
        chmodat(folder, path.as_str(), mode, rustix::fs::AtFlags::empty())?;
    }
    for name in FILES {
        let (path, mode) = (format!("{MOUNT_POINTS}/{name}"), Mode::from_raw_mode(0o644));
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(folder, path.as_str(), flags, mode)?;
        rustix::fs::fchmod(&file, mode)?;
    }
    Ok(())
}
